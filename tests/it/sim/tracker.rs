//! The items as they are: people file, edit, close, delete and spoil them.

use std::collections::{BTreeMap, BTreeSet};

use factory_tick::config::Scope;
use factory_tick::fingerprint;
use factory_tick::model::{ItemId, ItemState, SourceView, Status, Unclear, WorkItem, Writeback};
use jiff::Timestamp;

use super::dice::Dice;

/// Two of them lose what tells them apart when they become names; one is nothing but such characters.
const KEYS: [&str; 8] = ["AR-1", "ar.1", "ar 1", "AR-2", "web#3", "AR-1-impl", "é", "AR-4"];

/// Few, so that an edit may take an earlier edit back. The role's template can't be rendered for the last.
const TITLES: [&str; 4] = ["[go] a", "[go] b", "c", "[go] unrenderable"];

#[derive(Clone, Debug)]
pub(super) struct Tracked {
    pub(super) item: WorkItem,
    pub(super) present: bool,
    pub(super) malformed: bool,
    /// Complete reads in a row that did not have it open and in scope.
    pub(super) missing_reads: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tracker {
    pub(super) items: BTreeMap<ItemId, Tracked>,
    /// Dispatches whose `started` was taken and answered.
    pub(super) announced: BTreeSet<(ItemId, u64)>,
    scope: Scope,
}

impl Tracker {
    pub(super) fn new(dice: &mut Dice, scope: &Scope) -> Tracker {
        let mut tracker = Tracker { scope: scope.clone(), ..Tracker::default() };
        for number in 0..dice.range(1, 8) {
            let id = ItemId(format!("dir:{number}"));
            let mut item = WorkItem {
                id: id.clone(),
                key: KEYS[number as usize].to_owned(),
                title: TITLES[dice.index(3)].to_owned(),
                body: String::new(),
                labels: vec!["factory".to_owned()],
                priority: dice.percent(50).then(|| dice.range(0, 6) as i64),
                state: ItemState::Open,
                blocked_by: Vec::new(),
                created_at: dice
                    .percent(70)
                    .then(|| Timestamp::from_second(dice.range(1, 9) as i64).unwrap()),
                updated_at: None,
                origin: format!("{number}.json"),
                hash: String::new(),
                content_hash: String::new(),
            };
            if dice.percent(40) {
                item.labels.insert(0, "backend".to_owned());
            }
            if dice.percent(15) {
                item.blocked_by = vec![dice.pick(&KEYS).to_owned()];
            }
            hash(&mut item);
            let tracked = Tracked { item, present: dice.percent(75), malformed: false, missing_reads: 0 };
            tracker.items.insert(id, tracked);
        }
        tracker
    }

    /// Somebody does something to some item.
    pub(super) fn edit(&mut self, dice: &mut Dice) {
        let nth = dice.index(self.items.len());
        let Some(tracked) = self.items.values_mut().nth(nth) else { return };
        let item = &mut tracked.item;
        match dice.range(0, 9) {
            0 | 1 => item.title = dice.pick(&TITLES).to_owned(),
            2 => item.body = format!("body {}", dice.range(0, 3)),
            3 => toggle(&mut item.labels, "backend"),
            4 => toggle(&mut item.labels, "factory"),
            5 => {
                item.state = match item.state {
                    ItemState::Open => ItemState::Closed,
                    ItemState::Closed => ItemState::Open,
                };
            }
            6 | 7 => tracked.present = !tracked.present,
            8 => tracked.malformed = !tracked.malformed,
            _ => {
                item.blocked_by =
                    if dice.percent(70) { Vec::new() } else { vec![dice.pick(&KEYS).to_owned()] };
            }
        }
        hash(item);
    }

    /// An agent describes its own item anew.
    pub(super) fn edit_body(&mut self, id: &ItemId, dice: &mut Dice) {
        if let Some(tracked) = self.items.get_mut(id) {
            tracked.item.body = format!("body {}", dice.throw());
            hash(&mut tracked.item);
        }
    }

    /// Ordinary work: somebody describes an item anew, closes what is done, or files one again.
    pub(super) fn work_goes_on(&mut self, dice: &mut Dice) {
        let nth = dice.index(self.items.len());
        let Some(tracked) = self.items.values_mut().nth(nth) else { return };
        let item = &mut tracked.item;
        match dice.range(0, 5) {
            0..=3 => item.body = format!("body {}", dice.throw()),
            4 => (tracked.present, item.state) = (true, ItemState::Open),
            _ => tracked.present = !tracked.present,
        }
        hash(item);
    }

    /// Somebody tidies up: every item is readable again, and nothing of it goes on changing.
    pub(super) fn tidy(&mut self) {
        self.items.values_mut().for_each(|tracked| tracked.malformed = false);
    }

    /// One complete read.
    pub(super) fn view(&self) -> SourceView {
        let mut view = SourceView::default();
        for tracked in self.items.values().filter(|tracked| tracked.present) {
            if tracked.malformed {
                let (origin, id) = (tracked.item.origin.clone(), Some(tracked.item.id.clone()));
                view.unclear.push(Unclear { origin, id, why: "spoiled".to_owned() });
            } else {
                view.items.push(tracked.item.clone());
            }
        }
        view
    }

    /// Open, in scope and readable.
    pub(super) fn is_eligible(&self, id: &ItemId) -> bool {
        self.items.get(id).is_some_and(|tracked| {
            let item = &tracked.item;
            tracked.present
                && !tracked.malformed
                && item.state == ItemState::Open
                && self.scope.labels.iter().all(|label| item.labels.contains(label))
                && item.title.starts_with(&self.scope.title_prefix)
        })
    }

    /// A complete read was taken; `remembered`: what it showed of this item was written down.
    pub(super) fn count_read(&mut self, remembered: impl Fn(&ItemId) -> bool) {
        let ids: Vec<_> = self.items.keys().cloned().collect();
        for id in ids {
            let eligible = self.is_eligible(&id);
            let Some(tracked) = self.items.get_mut(&id) else { continue };
            let unclear = tracked.present && tracked.malformed;
            if eligible {
                if remembered(&id) {
                    tracked.missing_reads = 0;
                }
            } else if !unclear {
                tracked.missing_reads += 1;
            }
        }
    }

    /// An older generation may remember a read without an item that a lost one had struck off again.
    pub(super) fn forget_a_read(&mut self) {
        self.items.values_mut().for_each(|tracked| tracked.missing_reads += 1);
    }

    pub(super) fn take(&mut self, note: &Writeback) {
        if note.status == Status::Started {
            self.announced.insert((note.item.clone(), note.dispatch));
        }
    }
}

fn toggle(labels: &mut Vec<String>, label: &str) {
    if let Some(at) = labels.iter().position(|one| one == label) {
        labels.remove(at);
    } else {
        labels.push(label.to_owned());
        labels.sort();
    }
}

fn hash(item: &mut WorkItem) {
    item.hash =
        fingerprint::item(&item.title, &item.body, &item.labels, item.state, &item.blocked_by, item.priority);
    item.content_hash = fingerprint::content(&item.title, &item.body);
}
