//! A plan in the making: every phase adds its steps here, and reads the registry as earlier steps leave it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::config::{Config, Role};
use crate::model::{
    Action, ClockReading, Decision, FleetView, GateVerdict, Gates, Held, HoldReason, ItemId, Plan,
    RecordUpdate, RunId, RunObservation, SourceView, Step, WorkItem, World,
};
use crate::registry::Registry;

/// What is asked of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Look at this item alone.
    pub item: Option<ItemId>,
    /// End what is left of dead launchers, failed starts and hand-offs, and nothing else.
    pub reap_only: bool,
    /// Start and resume nothing: why. All else goes on.
    pub hold_starts: Option<String>,
    /// Items that are absent are meant to be: a person says so.
    pub accept_missing: bool,
    /// Judge runs that have ended, and nothing else. A person's order does so first: else it throws away a run that
    /// ended well since the last tick.
    pub judge_only: bool,
}

impl Request {
    /// Whether the decision needs the items of the source.
    pub fn needs_source(&self) -> bool {
        !self.reap_only && !self.judge_only
    }
}

/// A plan in the making, and the registry as it leaves it.
pub(super) struct Planner<'a> {
    pub(super) config: &'a Config,
    pub(super) world: &'a World,
    pub(super) request: &'a Request,
    pub(super) now: &'a ClockReading,
    /// The remembered state with every step so far applied.
    pub(super) registry: Registry,
    pub(super) plan: Plan,
    pub(super) group: u32,
    /// Items with something that can't be told: nothing is decided about them.
    pub(super) uncertain: BTreeSet<ItemId>,
    /// Most remembered items are absent at once: that any of them is gone takes longer to tell.
    pub(super) mass_absence: bool,
    /// The items of the source, by id.
    pub(super) seen: BTreeMap<&'a ItemId, &'a WorkItem>,
    /// The item of which every gate is asked.
    pub(super) explained: Option<ItemId>,
    pub(super) gates: Gates,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        config: &'a Config,
        registry: &Registry,
        world: &'a World,
        request: &'a Request,
    ) -> Self {
        let seen = world.source.known().map(|view| view.items.iter().map(|item| (&item.id, item)).collect());
        Planner {
            config,
            world,
            request,
            now: &world.now,
            registry: registry.clone(),
            plan: Plan::default(),
            group: 0,
            uncertain: BTreeSet::new(),
            mass_absence: false,
            seen: seen.unwrap_or_default(),
            explained: None,
            gates: Gates::default(),
        }
    }

    /// Adds a decision that stands alone.
    pub(super) fn decide(&mut self, item: Option<&ItemId>, because: impl Into<String>, action: Action) {
        self.group += 1;
        self.decide_in_group(item, because, action);
    }

    /// Adds a decision that falls when an earlier one of the current group fails.
    pub(super) fn decide_in_group(
        &mut self,
        item: Option<&ItemId>,
        because: impl Into<String>,
        action: Action,
    ) {
        let decision = Decision { action, item: item.cloned(), because: because.into(), group: self.group };
        self.step(Step::Decide(decision));
    }

    pub(super) fn refresh(&mut self, refresh: RecordUpdate) {
        self.step(Step::RecordUpdate(refresh));
    }

    /// Adds a step. One that the records refuse is an error of its item, and no step.
    pub(super) fn step(&mut self, step: Step) {
        match self.registry.apply(&step, self.now) {
            Ok(()) => self.plan.steps.push(step),
            Err(why) => {
                let item = match &step {
                    Step::Decide(decision) => decision.item.clone(),
                    Step::RecordUpdate(_) => None,
                };
                self.mark_unknown(item.as_ref(), why);
            }
        }
    }

    pub(super) fn hold(
        &mut self,
        item: &ItemId,
        code: HoldReason,
        because: impl Into<String>,
        until: Option<Timestamp>,
    ) {
        self.plan.held.push(Held { item: item.clone(), code, because: because.into(), until });
    }

    pub(super) fn explains(&self, item: &ItemId) -> bool {
        self.explained.as_ref() == Some(item)
    }

    pub(super) fn explain(&mut self, verdicts: Vec<GateVerdict>) {
        self.gates = Gates { after: self.plan.steps.len(), verdicts };
    }

    /// What can't be told is reported, and its item is left alone.
    pub(super) fn mark_unknown(&mut self, item: Option<&ItemId>, what: String) {
        self.plan.errors.push(what);
        self.uncertain.extend(item.cloned());
    }

    /// Whether this tick looks at the item at all.
    pub(super) fn is_selected(&self, item: &ItemId) -> bool {
        self.request.item.as_ref().is_none_or(|only| only == item)
    }

    pub(super) fn role(&self, name: &str) -> Option<&'a Role> {
        self.config.roles.iter().find(|role| role.name == name)
    }

    pub(super) fn fleet(&self) -> Option<&'a FleetView> {
        self.world.fleet.known()
    }

    pub(super) fn source(&self) -> Option<&'a SourceView> {
        self.world.source.known()
    }

    pub(super) fn observation(&self, run: &RunId) -> Option<&'a RunObservation> {
        self.fleet()?.runs.get(run)
    }

    /// Items, runs of which this tick may decide about.
    pub(super) fn item_ids(&self) -> Vec<ItemId> {
        self.registry.items.keys().filter(|id| self.is_selected(id)).cloned().collect()
    }
}
