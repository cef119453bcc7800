//! Whether an item is done of which every role ended well, where it takes more than that; and how its agents go on
//! where it is not.

use std::time::Duration;

use super::{Draft, items, runs};
use crate::config::{Config, DONE_COMMAND_MAX, Done};
use crate::fingerprint;
use crate::model::{Action, Class, Exit, ExitReason, ItemId, Output, Refresh, RunId};
use crate::registry::{AgentRecord, ItemStanding};

/// How long a launcher may take beyond its agent's end to ask.
pub(super) fn asking(config: &Config) -> Duration {
    match config.done {
        Done::Command(_) => DONE_COMMAND_MAX,
        Done::Exit | Done::Source => Duration::ZERO,
    }
}

/// How long a launcher may have taken between this end of its agent and the receipt of it.
pub(super) fn asked(config: &Config, exit: &Exit) -> Duration {
    if exit.reason == ExitReason::Exited && exit.code == Some(0) { asking(config) } else { Duration::ZERO }
}

/// Keeps of a run that ended well what is asked about later.
pub(super) fn note_end(draft: &mut Draft, run: &RunId, exit: Option<&Exit>, output: &Output) {
    if draft.config.done != Done::Exit {
        let printed = fingerprint::sha256_hex(&[output.stdout_tail.as_bytes()]);
        let answer = exit.and_then(|exit| exit.done);
        draft.refresh(Refresh::EndedWell { run: run.clone(), printed, answer });
    }
}

/// Whether every role of an item ended well and nobody has said yet what becomes of it.
pub(super) fn all_ended_well(draft: &Draft, id: &ItemId) -> bool {
    let undecided = |state| matches!(state, ItemStanding::Active | ItemStanding::Waiting);
    let ended_well =
        |role: &str| draft.registry.agents_of(id).any(|(_, agent)| agent.role == role && agent.ok);
    draft.registry.items.get(id).is_some_and(|record| undecided(record.state))
        && !draft.registry.running(id)
        && draft.config.roles.iter().all(|role| ended_well(&role.name))
}

/// Done by what is known without a look at the source.
pub(super) fn finish(draft: &mut Draft, id: &ItemId) {
    if !all_ended_well(draft, id) {
        return;
    }
    let because = match draft.config.done {
        Done::Exit => "every role ended well",
        Done::Command(_) if answers(draft, id).contains(&Some(0)) => "the done command says so",
        Done::Command(_) | Done::Source => return,
    };
    decide_done(draft, id, because);
}

/// An item that left its source, with all that was to be done for it. False: that is not what makes it done.
pub(super) fn finish_gone(draft: &mut Draft, id: &ItemId, because: &str) -> bool {
    let is_done = draft.config.done == Done::Source && all_ended_well(draft, id);
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
pub(super) fn go_on(draft: &mut Draft, id: &ItemId) {
    let is_open = draft.seen.get(id).is_some_and(|item| items::eligible(draft, item));
    // The source was read before they were seen to have ended: what they did last is seen by the next tick.
    let just_ended = |agent: &AgentRecord| agent.stopped_at == Some(draft.now.at);
    if draft.config.done == Done::Exit
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
    if matches!(draft.config.done, Done::Command(_)) && !answers(draft, id).contains(&Some(1)) {
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
    let may = |agent: &AgentRecord| {
        agent.session.as_ref().is_some_and(|session| runs::may_resume(draft.config, agent, session))
    };
    let agents = draft.registry.agents_of(id).filter(|(_, agent)| may(agent));
    agents.map(|(name, _)| name.clone()).collect()
}

/// What the command answered at the end of each role.
fn answers(draft: &Draft, id: &ItemId) -> Vec<Option<i32>> {
    let answer = |agent: &AgentRecord| agent.well.as_ref().and_then(|well| well.answer);
    draft.registry.agents_of(id).map(|(_, agent)| answer(agent)).collect()
}
