//! Whether an item is done of which every role ended well, where it takes more than that; and how its agents go on
//! where it is not.

use crate::decide::done_rule::{all_ended_well, answers, rule};
use crate::decide::eligibility::is_eligible;
use crate::decide::follow_ups;
use crate::decide::planner::Planner;
use crate::model::{Action, DoneWhen, FailureClass, FollowUpReason, ItemId, RecordUpdate};
use crate::registry::AgentRecord;

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
    let is_open = planner.seen.get(id).is_some_and(|item| is_eligible(planner, item));
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
    let may = |agent: &AgentRecord| {
        agent.session.as_ref().is_some_and(|session| {
            follow_ups::may_follow(planner.config, agent, session, FollowUpReason::NotDone, 0)
        })
    };
    let agents = planner.registry.agents_of(id).filter(|(_, agent)| may(agent));
    agents.map(|(name, _)| name.clone()).collect()
}
