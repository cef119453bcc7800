//! Whether an item is done of which every role ended well, where it takes more than that; and how its agents go on
//! where it is not.

use std::time::Duration;

use crate::config::{Config, DONE_COMMAND_MAX};
use crate::decide::Draft;
use crate::decide::items::lifecycle;
use crate::decide::reconcile::runs;
use crate::fingerprint;
use crate::model::{Action, Class, DoneWhen, Exit, ExitReason, ItemId, Output, Refresh, RunId};
use crate::registry::{AgentRecord, ItemStanding};

/// The rule that the latest run of an agent was given. What is configured since holds for later runs: a launcher asks
/// nothing that its spec does not hold.
fn rule_of_run(config: &Config, agent: Option<&AgentRecord>) -> DoneWhen {
    agent.and_then(|agent| agent.done).unwrap_or_else(|| config.done.when())
}

/// The rule for an item: the one of its agents that asks for most.
pub(in crate::decide) fn rule(draft: &Draft, id: &ItemId) -> DoneWhen {
    let rules = draft.registry.agents_of(id).map(|(_, agent)| rule_of_run(draft.config, Some(agent)));
    rules.max().unwrap_or_else(|| draft.config.done.when())
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
    draft: &mut Draft,
    agent: &AgentRecord,
    run: &RunId,
    exit: Option<&Exit>,
    output: &Output,
) {
    if rule_of_run(draft.config, Some(agent)) != DoneWhen::Exit {
        let printed = fingerprint::sha256_hex(&[output.stdout_tail.as_bytes()]);
        let answer = exit.and_then(|exit| exit.done);
        draft.refresh(Refresh::EndedWell { run: run.clone(), printed, answer });
    }
}

/// Whether every role of an item ended well and nobody has said yet what becomes of it.
pub(in crate::decide) fn all_ended_well(draft: &Draft, id: &ItemId) -> bool {
    let undecided = |state| matches!(state, ItemStanding::Active | ItemStanding::Waiting);
    let ended_well =
        |role: &str| draft.registry.agents_of(id).any(|(_, agent)| agent.role == role && agent.ok);
    draft.registry.items.get(id).is_some_and(|record| undecided(record.state))
        && !draft.registry.running(id)
        && draft.config.roles.iter().all(|role| ended_well(&role.name))
}

/// Done by what is known without a look at the source.
pub(in crate::decide) fn finish(draft: &mut Draft, id: &ItemId) {
    if !all_ended_well(draft, id) {
        return;
    }
    let because = match rule(draft, id) {
        DoneWhen::Exit => "every role ended well",
        DoneWhen::Command if answers(draft, id).contains(&Some(0)) => "the done command says so",
        DoneWhen::Command | DoneWhen::Source => return,
    };
    decide_done(draft, id, because);
}

/// An item that left its source, with all that was to be done for it. False: that is not what makes it done.
pub(in crate::decide) fn finish_gone(draft: &mut Draft, id: &ItemId, because: &str) -> bool {
    let is_done = rule(draft, id) == DoneWhen::Source && all_ended_well(draft, id);
    if is_done {
        decide_done(draft, id, because);
    }
    is_done
}

fn decide_done(draft: &mut Draft, id: &ItemId, because: &str) {
    let action = Action::Done { item: id.clone(), run: None, left: Default::default() };
    draft.decide(Some(id), because, action);
}

/// Every role ended well and the item is not done: its agents go on, so often and as long as that changes something.
pub(in crate::decide) fn go_on(draft: &mut Draft, id: &ItemId) {
    let is_open = draft.seen.get(id).is_some_and(|item| lifecycle::eligible(draft, item));
    // The source was read before they were seen to have ended: what they did last is seen by the next tick.
    let just_ended = |agent: &AgentRecord| agent.stopped_at == Some(draft.now.at);
    if rule(draft, id) == DoneWhen::Exit
        || !is_open
        || !all_ended_well(draft, id)
        || draft.registry.agents_of(id).any(|(_, agent)| just_ended(agent))
    {
        return;
    }
    let Err((class, because)) = may_go_on(draft, id) else {
        let sessions = sessions(draft, id);
        return draft.refresh(Refresh::NotDone { item: id.clone(), go_on: sessions });
    };
    // Whoever brings it back wants its agents to go on, and not what they ended with judged once more.
    draft.refresh(Refresh::NotDone { item: id.clone(), go_on: Vec::new() });
    draft.decide(Some(id), because, Action::Park { item: id.clone(), class: Some(class), by_person: false });
}

/// Why not, and what that means.
fn may_go_on(draft: &Draft, id: &ItemId) -> Result<(), (Class, String)> {
    if rule(draft, id) == DoneWhen::Command && !answers(draft, id).contains(&Some(1)) {
        let codes: Vec<_> = answers(draft, id).into_iter().flatten().map(|code| code.to_string()).collect();
        let answer = if codes.is_empty() { "nothing".to_owned() } else { codes.join(", ") };
        let because =
            format!("the done command answered {answer}: 0 is done, 1 is not yet, anything else is neither");
        return Err((Class::Infra, because));
    }
    let (continued, max) = (draft.registry.items[id].continued, draft.config.attempts.max);
    if continued >= max {
        return Err((Class::NoEffect, format!("its agents went on {continued} times, and it is not done")));
    }
    let repeated = |agent: &AgentRecord| agent.well.as_ref().is_some_and(|well| well.repeated);
    if draft.registry.agents_of(id).all(|(_, agent)| repeated(agent)) {
        let because = "its agents went on, printed the same as before, and it is not done";
        return Err((Class::NoEffect, because.to_owned()));
    }
    Ok(())
}

fn sessions(draft: &Draft, id: &ItemId) -> Vec<crate::model::AgentName> {
    let may = |agent: &AgentRecord| agent.session.is_some() && runs::goes_on(draft.config, agent);
    let agents = draft.registry.agents_of(id).filter(|(_, agent)| may(agent));
    agents.map(|(name, _)| name.clone()).collect()
}

/// What the command answered at the end of each role.
fn answers(draft: &Draft, id: &ItemId) -> Vec<Option<i32>> {
    let answer = |agent: &AgentRecord| agent.well.as_ref().and_then(|well| well.answer);
    draft.registry.agents_of(id).map(|(_, agent)| answer(agent)).collect()
}
