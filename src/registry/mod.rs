//! What is remembered between ticks, and the only transitions it may make.
//!
//! [`Registry::intend`] applies a plan before any of its effects, [`Registry::note`] applies what became
//! of them. `decide` folds its own steps through [`Registry::apply`] while it plans, so the plan that is
//! committed and the plan that was reasoned about cannot differ.

mod absent;
pub mod backoff;
mod begin;
mod counts;
mod daily_spend;
mod done;
mod follow_ups;
mod intend;
mod limits;
pub mod naming;
mod note;
mod outbox;
mod records;
mod refresh;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{
    Action, AgentName, ClockReading, ItemId, Launch, Plan, RecordUpdate, RunId, Standstill, Step, Survivor,
    WorkItem,
};

pub use daily_spend::DailySpend;
pub use done::{DoneDetails, DoneItem};
pub use outbox::{Note, Notified, Outbox, TrackerNote};
pub use records::{
    AgentPhase, AgentRecord, CoolOff, Counters, DayStarts, FailureStreak, Handoff, ItemPhase, ItemRecord,
    Last, LastSuccess, MACHINE, Message, Named, Names, ParkedBy, Paused, Refusals,
};

/// Best-effort notes are dropped after this many tries: a tracker that is gone for good must not cost
/// a request per item and tick for ever.
pub const NOTE_TRIES_MAX: u32 = 5;

/// Everything that is remembered. Written whole, read whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Items that were ever dispatched or parked and still matter.
    pub items: BTreeMap<ItemId, ItemRecord>,
    /// Their agents.
    pub agents: BTreeMap<AgentName, AgentRecord>,
    /// Runs that must end, until zero survivors were seen.
    pub handoffs: BTreeMap<RunId, Handoff>,
    /// Names once given; never forgotten.
    pub names: Names,
    /// Cumulative counters.
    pub counters: Counters,
    /// What starts nothing for now, by `role:<name>`.
    pub cool_offs: BTreeMap<String, CoolOff>,
    /// By role: refusals of its credentials in a row.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refusals: BTreeMap<String, Refusals>,
    /// What a person paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// What has failed since anything ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_streak: Option<FailureStreak>,
    /// Items whose work is done and of which nothing may act.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub done: BTreeMap<ItemId, DoneItem>,
    /// Details of those that went into it since the last commit. They are stored apart.
    #[serde(skip)]
    pub fresh_details: Vec<DoneDetails>,
    /// What does not go on by itself.
    #[serde(default, skip_serializing_if = "Standstill::is_none")]
    pub standstill: Standstill,
    /// What was spent on the day of the last start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_spend: Option<DailySpend>,
}

impl Registry {
    /// The agents of an item. Agents are keyed by slug, so this reads its neighbours only.
    pub fn agents_of<'a>(&'a self, id: &'a ItemId) -> impl Iterator<Item = (&'a AgentName, &'a AgentRecord)> {
        let prefix = self.names.items.get(id).map(|named| format!("{}-", named.slug)).unwrap_or_default();
        let from = AgentName(prefix.clone());
        self.agents
            .range(from..)
            .take_while(move |(name, _)| name.0.starts_with(&prefix))
            .filter(move |(_, agent)| agent.spec.item == *id)
    }

    /// The name of a role's agent at an item: that of its record, whatever the suffix is by now. Without a record it is
    /// derived from the suffix, apart from every other role's agent.
    pub fn agent_name(&self, item: &ItemId, slug: &str, role: &str, suffix: &str) -> AgentName {
        let on_record = self.agents_of(item).find(|(_, agent)| agent.spec.role == role);
        on_record.map_or_else(
            || naming::agent_apart(slug, suffix, item, role, |name| self.agents.contains_key(name)),
            |(name, _)| name.clone(),
        )
    }

    /// Why a run must not be put on record: it would overwrite one that may live, or double its role at the item.
    pub fn start_refusal(&self, launch: &Launch) -> Option<String> {
        let overwritten = self.agents.get(&launch.spec.id.agent).and_then(|agent| agent.run.as_ref());
        let of_role =
            self.agents_of(&launch.spec.item).filter(|(_, agent)| agent.spec.role == launch.spec.role);
        let doubled = of_role.filter_map(|(_, agent)| agent.run.as_ref()).next();
        let alive = overwritten.or(doubled)?;
        Some(format!(
            "{} can't start: {alive} of role {:?} is on record and may live",
            launch.spec.id, launch.spec.role
        ))
    }

    /// Whether a run of the item may be alive: intended, seen, or handed off.
    pub fn in_flight(&self, id: &ItemId) -> bool {
        self.running(id) || self.handoffs_of(id).next().is_some()
    }

    /// Whether an agent of the item has a run.
    pub fn running(&self, id: &ItemId) -> bool {
        self.agents_of(id).any(|(_, agent)| agent.state != AgentPhase::Idle)
    }

    /// The hand-offs of an item: also those of which nobody knows the item, of agents that have its name.
    pub fn handoffs_of<'a>(&'a self, id: &'a ItemId) -> impl Iterator<Item = (&'a RunId, &'a Handoff)> {
        let slug = self.names.items.get(id).map(|named| named.slug.as_str());
        self.handoffs.iter().filter(move |(_, handoff)| match &handoff.item {
            Some(item) => item == id,
            None => slug == Some(handoff.agent.slug()),
        })
    }

    /// The record of an item that is to be remembered, with the names that it has or gets now.
    pub fn upsert_for(&self, item: &WorkItem) -> RecordUpdate {
        let given = &self.names.items;
        let (slug, workspace) = match given.get(&item.id) {
            Some(named) => (named.slug.clone(), named.workspace.clone()),
            None => (
                naming::slug(&item.key, &item.id, |slug| given.values().any(|named| named.slug == slug)),
                naming::workspace(&item.key, &item.id, |name| {
                    given.values().any(|named| named.workspace == name)
                }),
            ),
        };
        let (key, origin) = (item.key.clone(), item.origin.clone());
        RecordUpdate::Seen { item: item.id.clone(), key, origin, slug, workspace }
    }

    /// The workspaces that items may be started in, as far as they have names. An item that has no name yet gets one that
    /// its key tells, or that and a hash of its id.
    pub fn workspaces_wanted(&self, items: &[WorkItem]) -> BTreeSet<String> {
        // An item that was edited since it was done starts again in this tick. So does one whose run has just ended.
        let is_done = |item: &WorkItem, record: &ItemRecord| {
            record.state == ItemPhase::Done && record.hash.as_ref() == Some(&item.hash)
        };
        let is_settled = |item: &WorkItem| match self.items.get(&item.id) {
            Some(record) => is_done(item, record),
            None => self
                .done
                .get(&item.id)
                .is_some_and(|done| done.gone.is_none() && done.content_hash == item.content_hash),
        };
        let mut wanted = BTreeSet::new();
        for item in items.iter().filter(|item| !is_settled(item)) {
            match self.names.items.get(&item.id) {
                Some(named) => drop(wanted.insert(named.workspace.clone())),
                None => {
                    let named = naming::workspace(&item.key, &item.id, |_| false);
                    wanted.insert(naming::workspace(&item.key, &item.id, |name| name == named));
                    wanted.insert(named);
                }
            }
        }
        wanted
    }

    /// Whether the records fit together. What does not was written by nobody that this program knows, and a live
    /// agent could be hidden in it.
    ///
    /// # Errors
    ///
    /// The first contradiction, in words.
    pub fn check(&self) -> Result<(), String> {
        for (name, agent) in &self.agents {
            let idle = agent.state == AgentPhase::Idle;
            if idle != agent.run.is_none() {
                return Err(format!("agent {name} is {:?} with run {:?}", agent.state, agent.run));
            }
            if agent.run.as_ref().is_some_and(|run| run.agent != *name) {
                return Err(format!("agent {name} has the run of another one, {:?}", agent.run));
            }
            if !self.items.contains_key(&agent.spec.item) {
                return Err(format!(
                    "agent {name} works on {}, of which there is no record",
                    agent.spec.item
                ));
            }
        }
        if let Some(beyond) = self.beyond_count() {
            return Err(beyond);
        }
        for (id, record) in &self.items {
            // Its agents and its workspace are found by these names.
            if !self.names.items.contains_key(id) {
                return Err(format!("there is a record of {id}, and no names of it"));
            }
            if record.state == ItemPhase::Active && !self.agents_of(id).any(|(_, agent)| agent.is_busy()) {
                return Err(format!("{id} is active, and no agent of it has a run or is about to"));
            }
        }
        Ok(())
    }

    /// Writes a plan down before any of its effects. Steps that the records refuse change nothing; they are returned, with
    /// the reason, and must not be performed.
    pub fn intend(&mut self, plan: &Plan, now: &ClockReading) -> Vec<(usize, String)> {
        let steps = plan.steps.iter().enumerate();
        steps.filter_map(|(index, step)| Some((index, self.apply(step, now).err()?))).collect()
    }

    /// Applies one step of a plan.
    ///
    /// # Errors
    ///
    /// Why a start is refused. Nothing was changed.
    pub fn apply(&mut self, step: &Step, now: &ClockReading) -> Result<(), String> {
        match step {
            Step::RecordUpdate(refresh) => self.refresh(refresh, now),
            Step::Decide(decision) => {
                if let Action::Start(launch) | Action::Resume(launch) = &decision.action
                    && let Some(why) = self.start_refusal(launch)
                {
                    return Err(why);
                }
                self.act(&decision.action, decision.item.as_ref(), &decision.because, now);
                if let Some(item) = &decision.item {
                    self.recompute_phase(item);
                }
            }
        }
        Ok(())
    }
}

/// `4711 (sleep): operation not permitted`, for people.
pub fn name_survivors(survivors: &[Survivor]) -> String {
    let names: Vec<_> =
        survivors.iter().map(|one| format!("{} ({}): {}", one.pid, one.comm, one.because)).collect();
    names.join(", ")
}
