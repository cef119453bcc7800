//! The rule that makes an item done, and what its agents' ends say of it.

use crate::config::Config;
use crate::decide::planner::Planner;
use crate::fingerprint;
use crate::model::{DoneWhen, Exit, ItemId, Output, RecordUpdate, RunId};
use crate::registry::{AgentRecord, ItemPhase};

/// The rule that the latest run of an agent was given. What is configured since holds for later runs: a launcher asks
/// nothing that its spec does not hold.
fn rule_of_run(config: &Config, agent: Option<&AgentRecord>) -> DoneWhen {
    agent.map_or_else(|| config.done.when(), |agent| agent.spec.done_when)
}

/// The rule for an item: the one of its agents that asks for most.
pub(super) fn rule(planner: &Planner, id: &ItemId) -> DoneWhen {
    let rules = planner.registry.agents_of(id).map(|(_, agent)| rule_of_run(planner.config, Some(agent)));
    rules.max().unwrap_or_else(|| planner.config.done.when())
}

/// Keeps of a run that ended well what is asked about later.
pub(super) fn note_end(
    planner: &mut Planner,
    agent: &AgentRecord,
    run: &RunId,
    exit: Option<&Exit>,
    output: &Output,
) {
    if rule_of_run(planner.config, Some(agent)) != DoneWhen::Exit {
        let printed = fingerprint::sha256_hex(&[output.stdout_tail.as_bytes()]);
        let answer = exit.and_then(|exit| exit.done);
        planner.refresh(RecordUpdate::LastSuccess { run: run.clone(), printed, answer });
    }
}

/// Whether every role of an item ended well and nobody has said yet what becomes of it.
pub(super) fn all_ended_well(planner: &Planner, id: &ItemId) -> bool {
    let undecided = |state| matches!(state, ItemPhase::Active | ItemPhase::Waiting);
    let ended_well = |role: &str| {
        planner.registry.agents_of(id).any(|(_, agent)| agent.spec.role == role && agent.succeeded)
    };
    planner.registry.items.get(id).is_some_and(|record| undecided(record.state))
        && !planner.registry.running(id)
        && planner.config.roles.iter().all(|role| ended_well(&role.name))
}

/// What the command answered at the end of each role.
pub(super) fn answers(planner: &Planner, id: &ItemId) -> Vec<Option<i32>> {
    let answer = |agent: &AgentRecord| agent.last_success.as_ref().and_then(|well| well.answer);
    planner.registry.agents_of(id).map(|(_, agent)| answer(agent)).collect()
}
