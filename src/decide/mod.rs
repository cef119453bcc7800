//! What one tick does, decided from what is remembered and what was seen. Pure: no clock, no I/O, no
//! randomness, no log.
//!
//! The phases run in this order, each on the registry as the phases before it leave it: runs that were
//! forgotten (`unrecorded`), runs in flight (`runs`), runs that must end (`handoffs`), what that means
//! for their items (`items`), sessions to go on with and items to dispatch (`dispatch`, past the `gates`), and
//! what trackers have to be told (`notes`).

mod dispatch;
mod items;
mod reconcile;
mod throttle;
mod writeback;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::config::{Config, Role};
use crate::model::{
    Action, ClockReading, Decision, FleetView, GateVerdict, Gates, Held, HoldReason, ItemId, Launch,
    Observed, Plan, RecordUpdate, RunId, RunObservation, SourceView, Step, WorkItem, World,
};
use crate::registry::{AgentRecord, Registry};

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

/// The plan for one tick.
pub fn decide(config: &Config, registry: &Registry, world: &World, request: &Request) -> Plan {
    let mut planner = Planner::new(config, registry, world, request);
    planner.write(registry);
    planner.plan
}

/// The plan for one tick, and what every rule says in it of starting one item: those behind the first one that holds
/// too.
pub fn explain(config: &Config, registry: &Registry, world: &World, id: &ItemId) -> (Plan, Gates) {
    let request = Request::default();
    let mut planner = Planner::new(config, registry, world, &request);
    planner.explained = Some(id.clone());
    planner.write(registry);
    (planner.plan, planner.gates)
}

/// Whether an agent of an item that a person wants tried again can go on with its session. `answered`: the person has
/// something to say to it, so that no failure is behind it and `resumes_max` does not bound it.
pub fn can_go_on(config: &Config, agent: &AgentRecord, answered: bool) -> bool {
    let session = agent.session.as_ref().filter(|_| !agent.succeeded);
    session.is_some_and(|session| match answered {
        true => reconcile::runs::goes_on(config, agent),
        false => reconcile::runs::may_resume(config, agent, session),
    })
}

/// The cool-offs that a provider or the machine caused: a person may know better.
pub fn providers_cooling(registry: &Registry) -> impl Iterator<Item = &String> {
    registry.cool_offs.keys().filter(|scope| throttle::cool_offs::is_lifted_by_retry(scope))
}

/// What the next runs of an item would be started with, whatever keeps it from being started now; none where it is
/// not in its source.
///
/// # Errors
///
/// A prompt that can't be rendered.
pub fn next_launches(
    config: &Config,
    registry: &Registry,
    world: &World,
    id: &ItemId,
) -> Result<Vec<Launch>, String> {
    let request = Request::default();
    let mut planner = Planner::new(config, registry, world, &request);
    dispatch::queue::next_launches(&mut planner, id)
}

/// A plan in the making, and the registry as it leaves it.
struct Planner<'a> {
    config: &'a Config,
    world: &'a World,
    request: &'a Request,
    now: &'a ClockReading,
    /// The remembered state with every step so far applied.
    registry: Registry,
    plan: Plan,
    group: u32,
    /// Items with something that can't be told: nothing is decided about them.
    uncertain: BTreeSet<ItemId>,
    /// Most remembered items are absent at once: that any of them is gone takes longer to tell.
    mass_absence: bool,
    /// The items of the source, by id.
    seen: BTreeMap<&'a ItemId, &'a WorkItem>,
    /// The item of which every gate is asked.
    explained: Option<ItemId>,
    gates: Gates,
}

impl<'a> Planner<'a> {
    fn new(config: &'a Config, registry: &Registry, world: &'a World, request: &'a Request) -> Self {
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

    /// All phases. `before`: what was remembered when the tick began.
    fn write(&mut self, before: &Registry) {
        if let Some(why) = self.world.fleet.unknown() {
            self.plan.errors.push(format!("agents: {why}"));
        }
        throttle::cool_offs::right_the_clock(self);
        reconcile::unrecorded::adopt(self);
        reconcile::runs::reconcile(self);
        if self.request.judge_only {
            return items::lifecycle::finish_all(self);
        }
        reconcile::handoffs::reap(self, before);
        if self.request.reap_only {
            return;
        }
        items::lifecycle::drop_removed_roles(self);
        dispatch::crews::regroup(self);
        match &self.world.source {
            Observed::Unknown(why) => self.plan.errors.push(format!("items: {why}")),
            Observed::Known(view) => {
                self.plan.errors.extend(view.unreadable.iter().map(|one| one.why.clone()))
            }
        }
        items::lifecycle::follow(self);
        dispatch::queue::dispatch(self);
        items::standstill::note(self);
        writeback::notify(self);
    }

    /// Adds a decision that stands alone.
    fn decide(&mut self, item: Option<&ItemId>, because: impl Into<String>, action: Action) {
        self.group += 1;
        self.decide_in_group(item, because, action);
    }

    /// Adds a decision that falls when an earlier one of the current group fails.
    fn decide_in_group(&mut self, item: Option<&ItemId>, because: impl Into<String>, action: Action) {
        let decision = Decision { action, item: item.cloned(), because: because.into(), group: self.group };
        self.step(Step::Decide(decision));
    }

    fn refresh(&mut self, refresh: RecordUpdate) {
        self.step(Step::RecordUpdate(refresh));
    }

    /// Adds a step. One that the records refuse is an error of its item, and no step.
    fn step(&mut self, step: Step) {
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

    fn hold(
        &mut self,
        item: &ItemId,
        code: HoldReason,
        because: impl Into<String>,
        until: Option<Timestamp>,
    ) {
        self.plan.held.push(Held { item: item.clone(), code, because: because.into(), until });
    }

    fn explains(&self, item: &ItemId) -> bool {
        self.explained.as_ref() == Some(item)
    }

    fn explain(&mut self, verdicts: Vec<GateVerdict>) {
        self.gates = Gates { after: self.plan.steps.len(), verdicts };
    }

    /// What can't be told is reported, and its item is left alone.
    fn mark_unknown(&mut self, item: Option<&ItemId>, what: String) {
        self.plan.errors.push(what);
        self.uncertain.extend(item.cloned());
    }

    /// Whether this tick looks at the item at all.
    fn is_selected(&self, item: &ItemId) -> bool {
        self.request.item.as_ref().is_none_or(|only| only == item)
    }

    fn role(&self, name: &str) -> Option<&'a Role> {
        self.config.roles.iter().find(|role| role.name == name)
    }

    fn fleet(&self) -> Option<&'a FleetView> {
        self.world.fleet.known()
    }

    fn source(&self) -> Option<&'a SourceView> {
        self.world.source.known()
    }

    fn observation(&self, run: &RunId) -> Option<&'a RunObservation> {
        self.fleet()?.runs.get(run)
    }

    /// Items, runs of which this tick may decide about.
    fn item_ids(&self) -> Vec<ItemId> {
        self.registry.items.keys().filter(|id| self.is_selected(id)).cloned().collect()
    }
}
