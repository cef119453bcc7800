//! The items as they are: people file, edit, close, delete and spoil them.

use std::collections::{BTreeMap, BTreeSet};

use factory_tick::config::Scope;
use factory_tick::fingerprint;
use factory_tick::model::{ItemId, ItemState, SourceView, Status, UnreadableItem, WorkItem, Writeback};
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
    /// Its file is away until then, by the simulator's own clock.
    away_until: u64,
    /// Complete reads in a row that did not have it open and in scope.
    pub(super) missing_reads: u32,
    /// When the first of them was, by the simulator's own clock.
    missing_since: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tracker {
    pub(super) items: BTreeMap<ItemId, Tracked>,
    /// Dispatches whose `started` was taken and answered.
    pub(super) announced: BTreeSet<(ItemId, u64)>,
    scope: Scope,
    /// When the latest tick began. What is away then is away for all of it.
    clock_ms: u64,
    /// The folder is empty until then.
    folder_away_until: u64,
}

impl Tracker {
    pub(super) fn new(dice: &mut Dice, scope: &Scope) -> Tracker {
        let mut tracker = Tracker { scope: scope.clone(), ..Tracker::default() };
        for number in 0..dice.range(1, 8) {
            let id = id(number);
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
            let tracked = Tracked {
                item,
                present: dice.percent(75),
                malformed: false,
                away_until: 0,
                missing_reads: 0,
                missing_since: 0,
            };
            tracker.items.insert(id, tracked);
        }
        tracker
    }

    /// A person files an item, or gives it another title.
    pub(super) fn file(&mut self, number: u64, title: &str) {
        let mut item = WorkItem {
            id: id(number),
            key: number.to_string(),
            title: title.to_owned(),
            body: String::new(),
            labels: Vec::new(),
            priority: None,
            state: ItemState::Open,
            blocked_by: Vec::new(),
            created_at: None,
            updated_at: None,
            origin: format!("{number}.json"),
            hash: String::new(),
            content_hash: String::new(),
        };
        hash(&mut item);
        let tracked = Tracked {
            item,
            present: true,
            malformed: false,
            away_until: 0,
            missing_reads: 0,
            missing_since: 0,
        };
        self.items.insert(id(number), tracked);
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
        self.folder_away_until = 0;
        for tracked in self.items.values_mut() {
            tracked.malformed = false;
            tracked.away_until = 0;
        }
    }

    /// One complete read.
    pub(super) fn view(&self) -> SourceView {
        let mut view = SourceView::default();
        for tracked in self.items.values().filter(|tracked| self.is_there(tracked)) {
            if tracked.malformed {
                let (origin, id) = (tracked.item.origin.clone(), Some(tracked.item.id.clone()));
                view.unreadable.push(UnreadableItem { origin, id, why: "spoiled".to_owned() });
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
            self.is_there(tracked)
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
            let unclear = self.items.get(&id).is_some_and(|one| self.is_there(one) && one.malformed);
            let Some(tracked) = self.items.get_mut(&id) else { continue };
            if eligible {
                if remembered(&id) {
                    tracked.missing_reads = 0;
                }
            } else if !unclear {
                if tracked.missing_reads == 0 {
                    tracked.missing_since = self.clock_ms;
                }
                tracked.missing_reads += 1;
            }
        }
    }

    /// A tick begins.
    pub(super) fn begin_tick(&mut self, clock_ms: u64) {
        self.clock_ms = clock_ms;
    }

    fn is_there(&self, tracked: &Tracked) -> bool {
        tracked.present && tracked.away_until <= self.clock_ms && !self.is_away()
    }

    /// Whether the folder is empty, although its items are not gone.
    pub(super) fn is_away(&self) -> bool {
        self.folder_away_until > self.clock_ms
    }

    /// One file is away, for less time than it takes to be gone.
    pub(super) fn blink(&mut self, dice: &mut Dice) {
        let nth = dice.index(self.items.len());
        if let Some(tracked) = self.items.values_mut().nth(nth) {
            tracked.away_until = self.clock_ms + dice.pick(&[14, 3_000, 29_000]);
        }
    }

    /// The whole folder is away, for less or more time than that takes.
    pub(super) fn empty_folder(&mut self, dice: &mut Dice) {
        self.folder_away_until = self.clock_ms + dice.pick(&[1_000, 60_000, 540_000, 1_200_000]);
    }

    /// Whether an item was missing for as often and as long as it takes.
    pub(super) fn is_gone(&self, id: &ItemId) -> bool {
        self.items.get(id).is_none_or(|tracked| {
            tracked.missing_reads >= 2 && self.clock_ms - tracked.missing_since >= 30_000
        })
    }

    /// Whether the folder is empty, and the item has been missing for less time than it takes to believe that.
    pub(super) fn is_away_for_a_while(&self, id: &ItemId) -> bool {
        let missing_since = self.items.get(id).map_or(0, |tracked| tracked.missing_since);
        self.is_away() && self.clock_ms - missing_since < 600_000
    }

    /// Whether an item waits for ever for its only blocker: for itself, or for a name that no item has or had.
    /// `None`: that depends on more.
    pub(super) fn is_blocked_for_ever(
        &self,
        id: &ItemId,
        is_known: impl Fn(&ItemId) -> bool,
    ) -> Option<bool> {
        let item = &self.items.get(id)?.item;
        let [blocker] = item.blocked_by.as_slice() else { return None };
        if *blocker == item.key {
            return Some(true);
        }
        let Some((id, named)) = self.items.iter().find(|(_, one)| one.item.key == *blocker) else {
            return Some(true);
        };
        if !named.present && !is_known(id) {
            return Some(true);
        }
        (self.is_there(named) && !named.malformed && named.item.blocked_by.is_empty()).then_some(false)
    }

    /// Whether the latest read shows an item in a way that is a reason to do it again.
    pub(super) fn shows_change(&self, id: &ItemId, done_of: &str) -> bool {
        self.items.get(id).is_some_and(|tracked| {
            let is_read = self.is_there(tracked) && !tracked.malformed;
            is_read && (!self.is_eligible(id) || tracked.item.content_hash != done_of)
        })
    }

    /// An older generation may remember a read without an item that a lost one had struck off again.
    pub(super) fn forget_a_read(&mut self) {
        for tracked in self.items.values_mut() {
            tracked.missing_reads += 1;
            tracked.missing_since = 0;
        }
    }

    pub(super) fn take(&mut self, note: &Writeback) {
        if note.status == Status::Started {
            self.announced.insert((note.item.clone(), note.dispatch));
        }
    }
}

/// The id of an item by its number.
pub(super) fn id(number: u64) -> ItemId {
    ItemId(format!("dir:{number}"))
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
