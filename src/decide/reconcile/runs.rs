//! Runs in flight: what is recorded against what is seen.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::{Role, WritebackMode};
use crate::decide::dispatch::crews::{self, NeverRan};
use crate::decide::done_rule;
use crate::decide::endings::{REPLACED, fail, stop, stop_dispatch};
use crate::decide::follow_ups::{self, attempts_of_item};
use crate::decide::planner::Planner;
use crate::decide::reconcile::verdict::{Verdict, verdict};
use crate::decide::throttle::cool_offs;
use crate::model::{
    Action, AgentName, Claimed, Ended, Exit, ExitReason, FailureClass, FollowUp, FollowUpReason, Reap,
    RecordUpdate, Reported, RunFacts, RunId, RunObservation, Status,
};
use crate::registry::backoff::backoff;
use crate::registry::{AgentPhase, AgentRecord, name_survivors};

/// A launcher that has claimed its run and lives for so long has started its agent, or runs a hook: the machine starts
/// processes. A launcher that can't start one ends within milliseconds.
const STARTED_AFTER: Duration = Duration::from_secs(30);

pub(in crate::decide) fn reconcile(planner: &mut Planner) {
    if planner.fleet().is_none() {
        return;
    }
    let in_flight: Vec<_> = planner
        .registry
        .agents
        .iter()
        .filter(|(_, agent)| planner.is_selected(&agent.spec.item))
        .filter_map(|(name, agent)| Some((name.clone(), agent.run.clone()?)))
        .collect();
    let mut never_ran = Vec::new();
    for (name, run) in in_flight {
        let Some(agent) = planner.registry.agents.get(&name).cloned() else { continue };
        // Parking an item earlier in this loop has already taken this run away.
        if agent.run.as_ref() == Some(&run) {
            look(planner, &name, &agent, &run, &mut never_ran);
        }
    }
    crews::start_again(planner, never_ran);
}

fn look(
    planner: &mut Planner,
    name: &AgentName,
    agent: &AgentRecord,
    run: &RunId,
    never_ran: &mut Vec<NeverRan>,
) {
    let item = &agent.spec.item;
    let Some(observation) = planner.observation(run).cloned() else {
        return planner.mark_unknown(Some(item), format!("{run}: the fleet did not say anything about it"));
    };
    if let Some(claim) = observation.claim().filter(|_| agent.state == AgentPhase::Starting)
        && !planner.request.reap_only
        && !(planner.request.judge_only && is_in_flight(&observation))
    {
        let because = match claim.handle.pid() {
            Some(pid) => format!("its launcher was seen, pid {pid}"),
            None => "its launcher was seen".to_owned(),
        };
        let exit = match &observation {
            RunObservation::Ended(ended)
            | RunObservation::Rebooted(ended)
            | RunObservation::Replaced(ended) => ended.exit.as_ref(),
            RunObservation::Sweeping { exit, .. } => Some(&**exit),
            _ => None,
        };
        let may_have_heard = !exit.is_some_and(Exit::never_began);
        let adopt = Action::Adopt { run: run.clone(), launcher: claim.clone(), may_have_heard };
        planner.decide(Some(item), because, adopt);
    }
    match &observation {
        RunObservation::Queued => queued(planner, agent, run),
        RunObservation::Unclaimed => unclaimed(planner, agent, run),
        RunObservation::Orphaned { claim } => {
            let because = "its launcher is dead and nobody has looked for what it left behind";
            reap(planner, agent, run, claim.as_ref(), because);
        }
        RunObservation::Sweeping { claim, exit, late_after } => {
            if is_late(planner, exit, *late_after) {
                let because = "its launcher should have ended its processes long ago";
                reap(planner, agent, run, claim.as_ref(), because);
            }
        }
        RunObservation::Unknown(why) => planner.mark_unknown(Some(item), format!("{run}: {why}")),
        _ if planner.request.reap_only => {}
        RunObservation::Fenced => never_ran.push(NeverRan::fenced(run)),
        RunObservation::Refused(refusal) => never_ran.push(NeverRan::refused(run, refusal)),
        RunObservation::Alive { reported, late_after, .. } => {
            alive(planner, name, run, reported, *late_after);
        }
        RunObservation::Ended(ended) => never_ran.extend(over(planner, name, run, ended)),
        RunObservation::Rebooted(ended) if ended.exit.is_some() => {
            never_ran.extend(over(planner, name, run, ended))
        }
        RunObservation::Replaced(ended) => never_ran.extend(replaced(planner, name, run, ended)),
        RunObservation::Rebooted(ended) => {
            let agent = planner.registry.agents.get(name).unwrap_or(agent).clone();
            let facts = heard(&ended.reported);
            let follow_ups =
                resume_at(planner, &agent, &facts, attempts_of_item(planner, &agent), planner.now.at);
            never_ran.push(NeverRan::rebooted(run, facts, follow_ups));
        }
    }
}

/// Whether the run goes on: then a judgement has nothing to say of it.
fn is_in_flight(observation: &RunObservation) -> bool {
    matches!(observation, RunObservation::Alive { .. } | RunObservation::Sweeping { .. })
}

/// Its launcher is dead, and what it left can't be seen from here: the run is handed off until this namespace shows
/// nothing of it. Without a receipt of its end its item is not charged, for a container is replaced by a person.
fn replaced(planner: &mut Planner, name: &AgentName, run: &RunId, ended: &Ended) -> Option<NeverRan> {
    let agent = planner.registry.agents.get(name).cloned()?;
    if ended.exit.is_none() {
        let facts = heard(&ended.reported);
        let follow_ups =
            resume_at(planner, &agent, &facts, attempts_of_item(planner, &agent), planner.now.at);
        return Some(NeverRan::replaced(run, facts, follow_ups));
    }
    if !awaits_note(planner, &agent) {
        // First handed off, while the record still tells the launcher; then judged.
        stop(planner, &agent, run, REPLACED, false);
        // A run of a removed role gets no verdict, and of a run without an agent there is none: its item waits.
        drop(planner.role(&agent.spec.role).and_then(|role| judge(planner, &agent, role, run, ended)));
    }
    None
}

/// What is left of it is ended now; a later tick takes the verdict.
fn reap(planner: &mut Planner, agent: &AgentRecord, run: &RunId, claim: Option<&Claimed>, because: &str) {
    let handle = claim.map(|claim| claim.handle.clone()).or(agent.handle.clone());
    // Its hook has had its time, or its launcher is dead.
    let reap = Reap { run: run.clone(), handle, survivors: Vec::new(), spares_hook: false };
    planner.decide(Some(&agent.spec.item), because, Action::Reap(reap));
}

/// Whether a launcher whose agent has ended should be gone by now, by the patience that its fleet tells.
pub(in crate::decide) fn is_late(planner: &Planner, exit: &Exit, late_after: Duration) -> bool {
    planner.now.since(&exit.ended).is_none_or(|age| age > late_after)
}

/// The fleet starts it later, so that the start grace runs only from the last tick that saw it queued.
fn queued(planner: &mut Planner, agent: &AgentRecord, run: &RunId) {
    match agent.state {
        AgentPhase::Starting => planner.refresh(RecordUpdate::Queued { run: run.clone() }),
        AgentPhase::Running | AgentPhase::Idle => {
            let what = format!("{run} is on record as running, but the fleet has not started it yet");
            planner.mark_unknown(Some(&agent.spec.item), what);
        }
    }
}

/// Intended, and nobody has claimed it: give it time, then make sure that it can never start.
fn unclaimed(planner: &mut Planner, agent: &AgentRecord, run: &RunId) {
    if agent.state == AgentPhase::Running {
        let what =
            format!("{run} is on record as running, but neither its claim nor its launcher can be found");
        return planner.mark_unknown(Some(&agent.spec.item), what);
    }
    let grace = planner.config.fleet.start_grace;
    let age = agent.since.as_ref().and_then(|since| planner.now.since(since));
    let because = match age {
        Some(age) if age < grace => return,
        Some(age) => format!("nobody claimed it within {} s", age.as_secs()),
        None => "the machine was restarted before anybody claimed it".to_owned(),
    };
    planner.decide(Some(&agent.spec.item), because, Action::Fence { run: run.clone() });
}

/// Its launcher ends it at its deadline. Where it did not, the launcher is stuck or stopped.
fn alive(planner: &mut Planner, name: &AgentName, run: &RunId, reported: &Reported, late_after: Duration) {
    let Some(agent) = planner.registry.agents.get(name).cloned() else { return };
    let age = agent.since.as_ref().and_then(|since| planner.now.since(since));
    let latest = agent.spec.latest_ms().map(|ms| Duration::from_millis(ms) + late_after);
    if let (Some(age), Some(latest)) = (age, latest)
        && age > latest
        && !awaits_note(planner, &agent)
    {
        let because = "its launcher did not end it at its deadline";
        // First handed off, while the record still tells the launcher; then judged.
        stop(planner, &agent, run, because, false);
        return charge(planner, &agent, run, FailureClass::Deadline, because, &heard(reported));
    }
    if age.is_some_and(|age| age > STARTED_AFTER) {
        cool_offs::machine_started(planner, &agent);
    }
    if let Some(session) = reported.session.clone().filter(|session| agent.session.as_ref() != Some(session))
    {
        planner.refresh(RecordUpdate::Session { run: run.clone(), session });
    }
}

/// The run is over: say what that means, and hand off what could not be ended. A run without an agent is returned: its
/// verdict waits for those of its crew.
fn over(planner: &mut Planner, name: &AgentName, run: &RunId, ended: &Ended) -> Option<NeverRan> {
    let agent = planner.registry.agents.get(name).cloned()?;
    let claimed = agent.state == AgentPhase::Running;
    let is_untold = awaits_note(planner, &agent);
    if claimed && is_untold {
        return None;
    }
    // A fenced run with a receipt did run. Its claim was taken away, so that nobody tells a required note of it any more.
    let ran = claimed || ended.exit.is_some() && !is_untold;
    if !ran && ended.survivors.is_empty() {
        // A tick fenced it, and looked all the same for what it might have left behind: it never ran.
        return Some(NeverRan::fenced(run));
    }
    let Some(role) = planner.role(&agent.spec.role) else {
        // Its role is gone from the configuration: nothing of it is charged or kept.
        stop(planner, &agent, run, "its role is no longer configured", false);
        return None;
    };
    let survivors = &ended.survivors;
    if survivors.is_empty() {
        return judge(planner, &agent, role, run, ended);
    }
    let item = Some(&agent.spec.item);
    let because = format!("processes could not be ended: {}", name_survivors(survivors));
    let stop = Action::Stop { run: run.clone(), survivors: survivors.clone(), dispatch_failed: false };
    planner.decide(item, because.clone(), stop);
    // A run without an agent is not tried again: the item is parked.
    drop(judge(planner, &agent, role, run, ended));
    let park = Action::Park { item: agent.spec.item.clone(), class: None, by_person: false };
    planner.decide(item, because, park);
    None
}

fn judge(
    planner: &mut Planner,
    agent: &AgentRecord,
    role: &Role,
    run: &RunId,
    ended: &Ended,
) -> Option<NeverRan> {
    let Ended { exit, reported, output, .. } = ended;
    let Verdict { class, because, facts, reset } =
        verdict(agent, role, exit.as_ref(), reported, output, planner.now);
    let hook_failed = ended.after_run.as_ref().map(|why| format!("the after_run hook failed: {why}"));
    if let Some(why) = &hook_failed {
        planner.refresh(RecordUpdate::AfterRun { run: run.clone(), why: why.clone() });
        planner.plan.errors.push(format!("{run}: {why}"));
    }
    if class.is_none_or(|class| class.is_of_agent()) {
        cool_offs::answered(planner, agent);
    }
    let was_started =
        exit.as_ref().is_none_or(|exit| !matches!(exit.reason, ExitReason::Infra | ExitReason::Machine));
    if was_started && class != Some(FailureClass::Machine) {
        cool_offs::machine_started(planner, agent);
    }
    if let (None, Some(why), true) = (class, hook_failed, planner.config.hooks.after_run_required) {
        // It counts as not done: the work is there, and what the hook does with it is not.
        park(planner, agent, run, FailureClass::NeedsInput, &why, &facts);
        return None;
    }
    let Some(class) = class else {
        let done = Action::Done { item: agent.spec.item.clone(), run: Some(run.clone()), facts };
        planner.decide(Some(&agent.spec.item), because, done);
        done_rule::note_end(planner, agent, run, exit.as_ref(), output);
        return None;
    };
    match class {
        FailureClass::Launch => failed_launch(planner, agent, run, &because, &facts),
        // A name that was taken kept it from starting at all: no end of a run says so.
        FailureClass::Infra | FailureClass::NameTaken => {
            return Some(NeverRan::claimed(run, FailureClass::Infra, because, facts));
        }
        FailureClass::Machine if !was_started => return Some(NeverRan::claimed(run, class, because, facts)),
        FailureClass::Killed => {
            let due = planner.now.after(planner.config.attempts.backoff_base);
            let follow_ups = resume_at(planner, agent, &facts, attempts_of_item(planner, agent), due);
            fail(planner, agent, run, class, &because, &facts, follow_ups, Some(due), false);
        }
        // No end of a run says that its item's starts are used up.
        FailureClass::NeedsInput | FailureClass::NoEffect | FailureClass::Budget => {
            park(planner, agent, run, class, &because, &facts);
        }
        FailureClass::Unfinished => unfinished(planner, agent, run, &because, &facts),
        // The next attempt is fresh, after the backoff of the failure that led to the resume.
        FailureClass::SessionGone => {
            fail(planner, agent, run, class, &because, &facts, Vec::new(), None, false)
        }
        // It is there already: an earlier run made it.
        FailureClass::SessionTaken => go_on_or_wait(planner, agent, run, class, &because, &facts),
        FailureClass::RateLimited
        | FailureClass::Unreachable
        | FailureClass::Denied
        | FailureClass::Machine => {
            go_on_or_wait(planner, agent, run, class, &because, &facts);
            cool_offs::begin(planner, agent, class, &because, reset);
        }
        FailureClass::Agent
        | FailureClass::Vanished
        | FailureClass::Deadline
        | FailureClass::Stalled
        | FailureClass::Writeback => {
            charge(planner, agent, run, class, &because, &facts);
        }
    }
    None
}

/// Only a person can bring it further.
fn park(
    planner: &mut Planner,
    agent: &AgentRecord,
    run: &RunId,
    class: FailureClass,
    because: &str,
    facts: &RunFacts,
) {
    fail(planner, agent, run, class, because, facts, Vec::new(), None, false);
    let park = Action::Park { item: agent.spec.item.clone(), class: Some(class), by_person: false };
    planner.decide(Some(&agent.spec.item), because, park);
}

/// Its session goes on, and is told why. The first time is free. Each further one costs an attempt, so that the
/// attempts bound it and not `resumes_max`.
fn unfinished(planner: &mut Planner, agent: &AgentRecord, run: &RunId, because: &str, facts: &RunFacts) {
    let repeats = agent.unfinished > 0;
    let charged = attempts_of_item(planner, agent) + u32::from(repeats);
    let reason = FollowUpReason::Unfinished;
    let follow_up = follow_ups::after_run(planner, agent, facts, reason, charged, planner.now.at);
    let text = Some(format!("You are not finished: {because}."));
    let follow_ups = follow_up.map(|follow_up| FollowUp { text, ..follow_up }).into_iter().collect();
    let due = planner.now.after(backoff(&planner.config.attempts, &agent.spec.item, charged));
    let due = Some(due).filter(|_| repeats);
    fail(planner, agent, run, FailureClass::Unfinished, because, facts, follow_ups, due, false);
}

/// Nobody is blamed: its session goes on as soon as it may, or it starts anew with its item's next dispatch.
fn go_on_or_wait(
    planner: &mut Planner,
    agent: &AgentRecord,
    run: &RunId,
    class: FailureClass,
    because: &str,
    facts: &RunFacts,
) {
    let follow_ups = resume_at(planner, agent, facts, attempts_of_item(planner, agent), planner.now.at);
    fail(planner, agent, run, class, because, facts, follow_ups, None, false);
}

/// The resume that may follow the failure of a run, if its session can go on.
fn resume_at(
    planner: &Planner,
    agent: &AgentRecord,
    facts: &RunFacts,
    charged: u32,
    due_at: Timestamp,
) -> Vec<FollowUp> {
    let reason = FollowUpReason::Failure;
    follow_ups::after_run(planner, agent, facts, reason, charged, due_at).into_iter().collect()
}

/// What a run leaves behind of which nothing but its own words is known.
fn heard(reported: &Reported) -> RunFacts {
    RunFacts { session: reported.session.clone(), ..RunFacts::default() }
}

/// A failure that costs an attempt; its session goes on at once where it may.
fn charge(
    planner: &mut Planner,
    agent: &AgentRecord,
    run: &RunId,
    class: FailureClass,
    because: &str,
    facts: &RunFacts,
) {
    let charged = attempts_of_item(planner, agent) + 1;
    let follow_ups = resume_at(planner, agent, facts, charged, planner.now.at);
    let due = planner.now.after(backoff(&planner.config.attempts, &agent.spec.item, charged));
    fail(planner, agent, run, class, because, facts, follow_ups, Some(due), false);
}

/// A start that could not become an agent fails its whole dispatch; a resume only itself.
fn failed_launch(planner: &mut Planner, agent: &AgentRecord, run: &RunId, because: &str, facts: &RunFacts) {
    let charged = attempts_of_item(planner, agent) + 1;
    let due = planner.now.after(backoff(&planner.config.attempts, &agent.spec.item, charged));
    fail(planner, agent, run, FailureClass::Launch, because, facts, Vec::new(), Some(due), false);
    if agent.spec.is_resume() {
        return;
    }
    stop_dispatch(planner, &agent.spec.item, because);
}

/// Whether the tracker must hear of this dispatch before any of its runs counts. The tick that started it
/// died before it could say so; this one says so, or a later one when the source can be reached again, and the
/// tick after that takes the verdict.
fn awaits_note(planner: &Planner, agent: &AgentRecord) -> bool {
    planner.config.writeback.started == WritebackMode::Required
        && planner.registry.items.get(&agent.spec.item).is_some_and(|record| {
            let notified = record.outbox.tracker_note.notified.as_ref();
            record.dispatch == agent.spec.dispatch
                && !notified
                    .is_some_and(|told| told.status == Status::Started && told.dispatch == record.dispatch)
        })
}
