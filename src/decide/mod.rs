//! What one tick does, decided from what is remembered and what was seen. Pure: no clock, no I/O, no
//! randomness, no log.
//!
//! The phases run in the order of `follow_phases`, each on the registry as earlier phases leave it. Arrows between
//! files run one way: `reconcile` and `items` use `dispatch`, which uses `throttle` and `writeback`. All of them use the
//! questions that stand beside this file, and the planner.

mod dispatch;
mod done_rule;
mod eligibility;
mod endings;
mod follow_ups;
mod items;
mod planner;
mod reconcile;
mod throttle;
mod writeback;

#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::model::{FollowUpReason, Gates, ItemId, Launch, Observed, Plan, World};
use crate::registry::{AgentRecord, Registry};

use planner::Planner;
pub use planner::Request;

/// The plan for one tick.
pub fn decide(config: &Config, registry: &Registry, world: &World, request: &Request) -> Plan {
    let mut planner = Planner::new(config, registry, world, request);
    follow_phases(&mut planner, registry);
    planner.plan
}

/// All phases, in their order. `before`: the registry when the tick began.
fn follow_phases(planner: &mut Planner, before: &Registry) {
    if let Some(why) = planner.world.fleet.unknown() {
        planner.plan.errors.push(format!("agents: {why}"));
    }
    throttle::cool_offs::right_the_clock(planner);
    reconcile::unrecorded::adopt(planner);
    reconcile::runs::reconcile(planner);
    if planner.request.judge_only {
        return items::lifecycle::finish_all(planner);
    }
    reconcile::handoffs::reap(planner, before);
    if planner.request.reap_only {
        return;
    }
    items::lifecycle::drop_removed_roles(planner);
    dispatch::crews::regroup(planner);
    match &planner.world.source {
        Observed::Unknown(why) => planner.plan.errors.push(format!("items: {why}")),
        Observed::Known(view) => {
            planner.plan.errors.extend(view.unreadable.iter().map(|one| one.why.clone()))
        }
    }
    items::lifecycle::follow(planner);
    dispatch::queue::dispatch(planner);
    items::standstill::note(planner);
    writeback::notify(planner);
}

/// The plan for one tick, and what every rule says in it of starting one item: those behind the first one that holds
/// too.
pub fn explain(config: &Config, registry: &Registry, world: &World, id: &ItemId) -> (Plan, Gates) {
    let request = Request::default();
    let mut planner = Planner::new(config, registry, world, &request);
    planner.explained = Some(id.clone());
    follow_phases(&mut planner, registry);
    (planner.plan, planner.gates)
}

/// Whether an agent of an item that a person wants tried again can go on with its session. `answered`: the person has
/// something to say to it, so that no failure is behind it and `resumes_max` does not bound it.
pub fn can_go_on(config: &Config, agent: &AgentRecord, answered: bool) -> bool {
    let session = agent.session.as_ref().filter(|_| !agent.succeeded);
    let reason = if answered { FollowUpReason::Answer } else { FollowUpReason::Failure };
    // A person gives an item all its attempts back.
    session.is_some_and(|session| follow_ups::may_follow(config, agent, session, reason, 0))
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
