//! Whether an item is done of which every role ended well, where it takes more than that; and how its agents go on
//! where it is not.

use std::time::Duration;

use crate::config::{Config, DONE_COMMAND_MAX};
use crate::decide::Planner;
use crate::decide::items::lifecycle;
use crate::decide::reconcile::runs;
use crate::fingerprint;
use crate::model::{Action, DoneWhen, Exit, ExitReason, FailureClass, ItemId, Output, RecordUpdate, RunId};
use crate::registry::{AgentRecord, ItemPhase};

/// The rule that the latest run of an agent was given. What is configured since holds for later runs: a launcher asks
/// nothing that its spec does not hold.
fn rule_of_run(config: &Config, agent: Option<&AgentRecord>) -> DoneWhen {
    agent.and_then(|agent| agent.done).unwrap_or_else(|| config.done.when())
}

/// The rule for an item: the one of its agents that asks for most.
pub(in crate::decide) fn rule(planner: &Planner, id: &ItemId) -> DoneWhen {
    let rules = planner.registry.agents_of(id).map(|(_, agent)| rule_of_run(planner.config, Some(agent)));
    rules.max().unwrap_or_else(|| planner.config.done.when())
}

/// How long the launcher of this agent's run may take beyond its end to ask.
pub(in crate::decide) fn asking(config: &Config, agent: Option<&AgentRecord>) -> Duration {
    match rule_of_run(config, agent) {
        DoneWhen::Command => DONE_COMMAND_MAX,
        DoneWhen::Exit | DoneWhen::Source => Duration::ZERO,
    }
}

/// How long a launcher may have taken between this end of its agent and the receipt of it.
pub(in crate::decide) fn asked(config: &Config, agent: Option<&AgentRecord>, exit: &Exit) -> Duration {
    let ended_well = exit.reason == ExitReason::Exited && exit.code == Some(0);
    if ended_well { asking(config, agent) } else { Duration::ZERO }
}

/// Keeps of a run that ended well what is asked about later.
pub(in crate::decide) fn note_end(
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
pub(in crate::decide) fn all_ended_well(planner: &Planner, id: &ItemId) -> bool {
    let undecided = |state| matches!(state, ItemPhase::Active | ItemPhase::Waiting);
    let ended_well =
        |role: &str| planner.registry.agents_of(id).any(|(_, agent)| agent.role == role && agent.succeeded);
    planner.registry.items.get(id).is_some_and(|record| undecided(record.state))
        && !planner.registry.running(id)
        && planner.config.roles.iter().all(|role| ended_well(&role.name))
}

/// Done by what is known without a look at the source.
pub(in crate::decide) fn finish(planner: &mut Planner, id: &ItemId) {
    if !all_ended_well(planner, id) {
        return;
    }
    let because = match rule(planner, id) {
        DoneWhen::Exit => "every role ended well",
        DoneWhen::Command if answers(planner, id).contains(&Some(0)) => "the done command says so",
        DoneWhen::Command | DoneWhen::Source => return,
    };
    decide_done(planner, id, because);
}

/// An item that left its source, with all that was to be done for it. False: that is not what makes it done.
pub(in crate::decide) fn finish_gone(planner: &mut Planner, id: &ItemId, because: &str) -> bool {
    let is_done = rule(planner, id) == DoneWhen::Source && all_ended_well(planner, id);
    if is_done {
        decide_done(planner, id, because);
    }
    is_done
}

fn decide_done(planner: &mut Planner, id: &ItemId, because: &str) {
    let action = Action::Done { item: id.clone(), run: None, facts: Default::default() };
    planner.decide(Some(id), because, action);
}

/// Every role ended well and the item is not done: its agents go on, so often and as long as that changes something.
pub(in crate::decide) fn go_on(planner: &mut Planner, id: &ItemId) {
    let is_open = planner.seen.get(id).is_some_and(|item| lifecycle::eligible(planner, item));
    // The source was read before they were seen to have ended: what they did last is seen by the next tick.
    let just_ended = |agent: &AgentRecord| agent.stopped_at == Some(planner.now.at);
    if rule(planner, id) == DoneWhen::Exit
        || !is_open
        || !all_ended_well(planner, id)
        || planner.registry.agents_of(id).any(|(_, agent)| just_ended(agent))
    {
        return;
    }
    let Err((class, because)) = may_go_on(planner, id) else {
        let sessions = sessions(planner, id);
        return planner.refresh(RecordUpdate::NotDone { item: id.clone(), go_on: sessions });
    };
    // Whoever brings it back wants its agents to go on, and not what they ended with judged once more.
    planner.refresh(RecordUpdate::NotDone { item: id.clone(), go_on: Vec::new() });
    planner.decide(
        Some(id),
        because,
        Action::Park { item: id.clone(), class: Some(class), by_person: false },
    );
}

/// Why not, and what that means.
fn may_go_on(planner: &Planner, id: &ItemId) -> Result<(), (FailureClass, String)> {
    if rule(planner, id) == DoneWhen::Command && !answers(planner, id).contains(&Some(1)) {
        let codes: Vec<_> = answers(planner, id).into_iter().flatten().map(|code| code.to_string()).collect();
        let answer = if codes.is_empty() { "nothing".to_owned() } else { codes.join(", ") };
        let because =
            format!("the done command answered {answer}: 0 is done, 1 is not yet, anything else is neither");
        return Err((FailureClass::Infra, because));
    }
    let (continued, max) = (planner.registry.items[id].continued, planner.config.attempts.max);
    if continued >= max {
        return Err((
            FailureClass::NoEffect,
            format!("its agents went on {continued} times, and it is not done"),
        ));
    }
    let repeated = |agent: &AgentRecord| agent.last_success.as_ref().is_some_and(|well| well.repeated);
    if planner.registry.agents_of(id).all(|(_, agent)| repeated(agent)) {
        let because = "its agents went on, printed the same as before, and it is not done";
        return Err((FailureClass::NoEffect, because.to_owned()));
    }
    Ok(())
}

fn sessions(planner: &Planner, id: &ItemId) -> Vec<crate::model::AgentName> {
    let may = |agent: &AgentRecord| agent.session.is_some() && runs::goes_on(planner.config, agent);
    let agents = planner.registry.agents_of(id).filter(|(_, agent)| may(agent));
    agents.map(|(name, _)| name.clone()).collect()
}

/// What the command answered at the end of each role.
fn answers(planner: &Planner, id: &ItemId) -> Vec<Option<i32>> {
    let answer = |agent: &AgentRecord| agent.last_success.as_ref().and_then(|well| well.answer);
    planner.registry.agents_of(id).map(|(_, agent)| answer(agent)).collect()
}
