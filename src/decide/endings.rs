//! How a run is taken from its agent: failed, or handed off.

use jiff::Timestamp;

use crate::decide::planner::Planner;
use crate::model::{Action, FailureClass, FollowUp, ItemId, RunFacts, RunId};
use crate::registry::{AgentPhase, AgentRecord};

/// Why a run is handed off whose launcher ran in a pid namespace that is gone.
pub(super) const REPLACED: &str = "its launcher let go of its lock in another pid namespace: its container was replaced, and processes \
     that it left there can't be seen from here";

#[expect(clippy::too_many_arguments, reason = "one line per field of the action, in its order")]
pub(super) fn fail(
    planner: &mut Planner,
    agent: &AgentRecord,
    run: &RunId,
    class: FailureClass,
    because: &str,
    facts: &RunFacts,
    follow_ups: Vec<FollowUp>,
    due_at: Option<Timestamp>,
    duplicate: bool,
) {
    let action = Action::Fail {
        item: agent.spec.item.clone(),
        run: Some(run.clone()),
        class,
        facts: facts.clone(),
        follow_ups,
        due_at,
        duplicate,
    };
    planner.decide(Some(&agent.spec.item), because, action);
}

pub(super) fn stop(
    planner: &mut Planner,
    agent: &AgentRecord,
    run: &RunId,
    because: &str,
    dispatch_failed: bool,
) {
    let action = Action::Stop { run: run.clone(), survivors: Vec::new(), dispatch_failed };
    planner.decide(Some(&agent.spec.item), because, action);
}

pub(super) fn stop_all(planner: &mut Planner, id: &ItemId, because: &str) {
    let running: Vec<_> = planner
        .registry
        .agents_of(id)
        .filter(|(_, agent)| agent.state != AgentPhase::Idle)
        .map(|(_, agent)| agent.clone())
        .collect();
    for agent in running {
        if let Some(run) = &agent.run {
            stop(planner, &agent, run, because, false);
        }
    }
}

/// What still runs of an item's latest dispatch, which failed.
pub(super) fn stop_dispatch(planner: &mut Planner, item: &ItemId, because: &str) {
    let dispatch = planner.registry.items.get(item).map(|record| record.dispatch);
    let others: Vec<_> = planner
        .registry
        .agents_of(item)
        .filter(|(_, other)| Some(other.spec.dispatch) == dispatch)
        .filter_map(|(_, other)| Some((other.clone(), other.run.clone()?)))
        .collect();
    for (other, run) in others {
        stop(planner, &other, &run, &format!("its dispatch failed: {because}"), true);
    }
}
