//! What is taken of each limit, counting runs that nobody has seen yet.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::decide::dispatch::blockers::Blockers;
use crate::decide::planner::Planner;
use crate::model::{ItemId, WorkItem};
use crate::registry::AgentPhase;

/// What this tick has taken so far, and what was taken before it.
#[derive(Clone)]
pub(in crate::decide) struct Slots {
    items: BTreeSet<ItemId>,
    labels: BTreeMap<String, u32>,
    starts: u32,
    /// Looked up when the first item asks for them.
    blockers: OnceCell<Blockers>,
}

impl Slots {
    pub(in crate::decide) fn count(planner: &Planner) -> Slots {
        let mut slots =
            Slots { items: BTreeSet::new(), labels: BTreeMap::new(), starts: 0, blockers: OnceCell::new() };
        let running = planner.registry.agents.values().filter(|agent| agent.state != AgentPhase::Idle);
        let handed_off = planner.registry.handoffs.values().filter_map(|handoff| handoff.item.as_ref());
        for id in running.map(|agent| &agent.spec.item).chain(handed_off) {
            slots.take_item(planner, id);
        }
        slots
    }

    /// Takes what so many starts of one item take.
    pub(in crate::decide) fn take(&mut self, planner: &Planner, item: &WorkItem, starts: usize) {
        self.take_item(planner, &item.id);
        self.starts += starts as u32;
    }

    fn take_item(&mut self, planner: &Planner, id: &ItemId) {
        if self.items.insert(id.clone()) {
            for label in planner.seen.get(id).iter().flat_map(|item| &item.labels) {
                *self.labels.entry(label.clone()).or_default() += 1;
            }
        }
    }

    /// How many items are in flight.
    pub(in crate::decide) fn items(&self) -> usize {
        self.items.len()
    }

    /// Whether this item is.
    pub(in crate::decide) fn holds(&self, id: &ItemId) -> bool {
        self.items.contains(id)
    }

    /// How many items with this label are.
    pub(in crate::decide) fn labelled(&self, label: &str) -> u32 {
        self.labels.get(label).copied().unwrap_or(0)
    }

    /// How many agents this tick starts or resumes so far.
    pub(in crate::decide) fn starts(&self) -> u32 {
        self.starts
    }

    /// The first unresolved blocker of an item, in words.
    pub(in crate::decide) fn blocker(&self, planner: &Planner, item: &WorkItem) -> Option<String> {
        if item.blocked_by.is_empty() {
            return None;
        }
        let blockers = self.blockers.get_or_init(|| Blockers::new(planner));
        blockers.unresolved(item).map(|blocker| blocker.because)
    }
}
