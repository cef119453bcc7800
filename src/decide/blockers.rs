//! What items wait for: other items, by id or key.

use std::collections::HashSet;

use super::Draft;
use crate::model::{ItemId, ItemState, WorkItem};
use crate::registry::ItemStanding;

/// Every name that means an item, by whether what it means is resolved: closed, or remembered as done.
///
/// Looked up, not searched for: one item may name thousands of others.
#[derive(Clone, Default)]
pub(super) struct Blockers {
    resolved: HashSet<String>,
    open: HashSet<String>,
}

impl Blockers {
    /// The names of everything that is seen or remembered.
    pub(super) fn new(draft: &Draft) -> Blockers {
        let mut blockers = Blockers::default();
        let done = |id: &ItemId| {
            draft.registry.items.get(id).is_some_and(|record| record.state == ItemStanding::Done)
        };
        for item in draft.seen.values() {
            blockers.add(&item.id, &item.key, item.state == ItemState::Closed || done(&item.id));
        }
        let unseen = draft.registry.items.iter().filter(|(id, _)| !draft.seen.contains_key(id));
        for (id, record) in unseen.filter(|(_, record)| record.state == ItemStanding::Done) {
            blockers.add(id, &record.key, true);
        }
        blockers
    }

    fn add(&mut self, id: &ItemId, key: &str, resolved: bool) {
        let names = if resolved { &mut self.resolved } else { &mut self.open };
        names.extend([id.0.clone(), id.plain().to_owned(), key.to_owned()]);
    }

    /// The first blocker of an item that is not resolved, in words. A key that several items share is resolved
    /// with the last of them; one that nobody has blocks, by name.
    pub(super) fn unresolved(&self, item: &WorkItem) -> Option<String> {
        item.blocked_by.iter().find_map(|blocker| {
            if self.open.contains(blocker) {
                Some(format!("blocked by {blocker}, which is open"))
            } else if self.resolved.contains(blocker) {
                None
            } else {
                Some(format!("blocked by {blocker}, which nobody knows: correct blocked_by or add it"))
            }
        })
    }
}
