//! What items wait for: other items, by id or key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::decide::eligibility::is_eligible;
use crate::decide::planner::Planner;
use crate::model::{ItemId, ItemState, WorkItem};
use crate::registry::ItemPhase;

/// A cycle of blockers may be as long as a folder; so many links of it are told.
const LINKS_MAX: usize = 6;

/// Every name that means an item, by whether what it means is resolved: closed, or remembered as done.
///
/// Looked up, not searched for: one item may name thousands of others.
#[derive(Clone, Default)]
pub(in crate::decide) struct Blockers {
    resolved: HashSet<String>,
    /// The first open item of each name.
    open: HashMap<String, ItemId>,
    /// Names of items that are absent or cannot be read: they are neither resolved nor unknown.
    away: HashSet<String>,
    /// By item: the keys of the cycle that it is part of, and its place there.
    cycles: HashMap<ItemId, (Arc<Vec<String>>, usize)>,
}

/// The first blocker of an item that is not resolved.
pub(in crate::decide) struct Blocker {
    /// In words.
    pub(in crate::decide) because: String,
    /// Whether it stays so until a person changes an item.
    pub(in crate::decide) needs_person: bool,
    /// Whether it is an item that is there, open, and in no cycle: it will be resolved in its time.
    pub(in crate::decide) is_open: bool,
}

impl Blockers {
    /// The names of everything that is seen or remembered.
    pub(in crate::decide) fn new(planner: &Planner) -> Blockers {
        let mut blockers = Blockers::default();
        let registry = &planner.registry;
        let done = |id: &ItemId| registry.phase(id) == Some(ItemPhase::Done);
        for item in planner.seen.values() {
            if item.state == ItemState::Closed || done(&item.id) {
                blockers.resolved.extend(names(&item.id, &item.key));
            } else {
                for name in names(&item.id, &item.key) {
                    blockers.open.entry(name).or_insert_with(|| item.id.clone());
                }
            }
        }
        let unseen = registry.items.iter().filter(|(id, _)| !planner.seen.contains_key(id));
        for (id, record) in unseen {
            let is_done = record.state == ItemPhase::Done;
            let known = if is_done { &mut blockers.resolved } else { &mut blockers.away };
            known.extend(names(id, &record.key));
        }
        // The files of done items are archived, and what waited for the items may start all the same.
        let archived = registry.done.iter().filter(|(id, _)| !planner.seen.contains_key(id));
        for (id, done) in archived.filter(|(id, _)| !registry.items.contains_key(id)) {
            blockers.resolved.extend(names(id, done.key(id)));
        }
        let unclear = planner.source().into_iter().flat_map(|view| &view.unreadable);
        for id in unclear.filter_map(|one| one.id.as_ref()) {
            blockers.away.extend(names(id, id.plain()));
        }
        blockers.find_cycles(planner);
        blockers
    }

    /// Items of which each waits first for the next one of them. Other blockers of theirs may be open too: when those are
    /// resolved, the next cycle is found.
    fn find_cycles(&mut self, planner: &Planner) {
        let may_start = |item: &&WorkItem| {
            let record = planner.registry.items.get(&item.id);
            let is_under_way =
                record.is_some_and(|record| matches!(record.state, ItemPhase::Active | ItemPhase::Parked));
            !item.blocked_by.is_empty()
                && !is_under_way
                && is_eligible(planner, item)
                && !planner.registry.in_flight(&item.id)
        };
        let waiting = planner.seen.values().copied().filter(may_start);
        let next: BTreeMap<&ItemId, ItemId> =
            waiting.filter_map(|item| Some((&item.id, self.first_open(item)?.clone()))).collect();
        let mut walks: HashMap<&ItemId, usize> = HashMap::new();
        for (walk, start) in next.keys().copied().enumerate() {
            let (mut path, mut at) = (Vec::new(), Some(start));
            while let Some(id) = at.filter(|id| !walks.contains_key(id)) {
                walks.insert(id, walk);
                path.push(id);
                at = next.get(id).and_then(|id| next.get_key_value(id)).map(|(id, _)| *id);
            }
            let begin = at.and_then(|id| path.iter().position(|one| *one == id));
            let Some(cycle) = begin.map(|begin| &path[begin..]) else { continue };
            let key = |id: &&ItemId| planner.seen.get(*id).map_or_else(String::new, |item| item.key.clone());
            let keys = Arc::new(cycle.iter().map(key).collect::<Vec<_>>());
            let places = cycle.iter().enumerate();
            self.cycles.extend(places.map(|(place, id)| ((*id).clone(), (Arc::clone(&keys), place))));
        }
    }

    /// The item that an item waits for first, where that is one that is there and open.
    fn first_open(&self, item: &WorkItem) -> Option<&ItemId> {
        let unresolved = |name: &&String| self.open.contains_key(*name) || !self.resolved.contains(*name);
        item.blocked_by.iter().find(unresolved).and_then(|name| self.open.get(name))
    }

    /// The first blocker of an item that is not resolved. A key that several items share is resolved
    /// with the last of them; one that nobody has blocks, by name.
    pub(in crate::decide) fn unresolved(&self, item: &WorkItem) -> Option<Blocker> {
        item.blocked_by.iter().find_map(|blocker| {
            let (needs_person, why) = match self.open.get(blocker) {
                Some(id) if *id == item.id => (true, "which is itself".to_owned()),
                Some(_) => match self.cycles.get(&item.id) {
                    Some((keys, place)) => (true, around(keys, *place)),
                    None => (false, "which is open".to_owned()),
                },
                None if self.resolved.contains(blocker) => return None,
                None if self.away.contains(blocker) => (false, "which cannot be read now".to_owned()),
                None => (true, "which nobody knows: correct blocked_by or add it".to_owned()),
            };
            let is_open = !needs_person && self.open.contains_key(blocker);
            Some(Blocker { because: format!("blocked by {blocker}, {why}"), needs_person, is_open })
        })
    }
}

/// The whole cycle, from one item of it.
fn around(keys: &[String], place: usize) -> String {
    let key = |nth: usize| &keys[(place + nth) % keys.len()];
    let link = |nth: usize| {
        let verb = if nth == 0 { "waits for" } else { "for" };
        format!("{} {verb} {}", key(nth), key(nth + 1))
    };
    let mut links: Vec<_> = (0..keys.len().min(LINKS_MAX)).map(link).collect();
    if keys.len() > LINKS_MAX {
        links.push(format!("and so on through {} items", keys.len()));
    }
    format!("and none of them can be first: {}", links.join(", "))
}

fn names(id: &ItemId, key: &str) -> [String; 3] {
    [id.0.clone(), id.plain().to_owned(), key.to_owned()]
}
