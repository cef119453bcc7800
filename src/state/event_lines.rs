//! The events of a plan, and of what became of it.

use crate::model::{Action, ClockReading, Happened, Outcome, Plan, Reaped, RecordUpdate, Step};
use crate::registry::Registry;
use crate::state::event::{self, Detail, Event};
use crate::state::event_subject::EventSubject;

/// The events of a plan. `before`: the registry that it was decided on.
pub fn of_plan(before: &Registry, plan: &Plan, now: &ClockReading) -> Vec<Event> {
    let subject = EventSubject::new(before, plan);
    let event = |step| Some(step_event(step, now)?.about(subject.of(step)));
    plan.steps.iter().filter_map(event).collect()
}

/// The events of what became of a plan's effects. `before`: the registry that the plan was decided on.
pub fn of_outcomes(before: &Registry, plan: &Plan, outcomes: &[Outcome], now: &ClockReading) -> Vec<Event> {
    let subject = EventSubject::new(before, plan);
    let event = |outcome: &Outcome| {
        let step = plan.steps.get(outcome.step)?;
        Some(outcome_event(step, &outcome.happened, now)?.about(subject.of(step)))
    };
    outcomes.iter().filter_map(event).collect()
}

fn step_event(step: &Step, now: &ClockReading) -> Option<Event> {
    match step {
        Step::Decide(decision) => {
            let argv = match &decision.action {
                Action::Start(launch) | Action::Resume(launch) => Some(launch.argv.clone()),
                _ => None,
            };
            let (code, because) = (decision.action.code(), decision.because.clone());
            Some(Event::new(now.at, decision.action.name(), Detail::Decision { code, because, argv }))
        }
        Step::RecordUpdate(RecordUpdate::Renew { because, .. }) => {
            Some(Event::new(now.at, "renew", Detail::Because { because: because.clone() }))
        }
        Step::RecordUpdate(_) => None,
    }
}

/// The event of an outcome; `None` where the decision's own event says everything.
fn outcome_event(step: &Step, happened: &Happened, now: &ClockReading) -> Option<Event> {
    let Step::Decide(decision) = step else { return None };
    let done = event::Outcome { ok: happened.is_as_meant(), ..event::Outcome::default() };
    let outcome = match happened {
        Happened::Tried | Happened::Told => return None,
        Happened::FenceWon => event::Outcome { fence: Some("won"), ..done },
        Happened::FenceLost => event::Outcome { fence: Some("lost"), ..done },
        Happened::FencedLate => event::Outcome { fence: Some("late"), ..done },
        Happened::NotStarted { class, error } => {
            event::Outcome { class: Some(class.name()), error: Some(error.clone()), ..done }
        }
        Happened::NotTried(why) => event::Outcome { error: Some(format!("not tried: {why}")), ..done },
        Happened::Failed(error) => event::Outcome { error: Some(error.to_string()), ..done },
        Happened::Reaped(reaped) => event::Outcome { reaped: Some(reaped_event(reaped)), ..done },
    };
    let name = format!("{}_outcome", decision.action.name());
    Some(Event::new(now.at, name, Detail::Outcome(Box::new(outcome))))
}

fn reaped_event(reaped: &Reaped) -> event::Reaped {
    let signalled = reaped.signalled.iter();
    let survivors = reaped.survivors.iter();
    let skipped = reaped.skipped.iter();
    event::Reaped {
        signalled: signalled
            .map(|one| event::Signalled { pid: one.pid, signals: one.signals.clone() })
            .collect(),
        survivors: survivors
            .map(|one| event::Survivor {
                pid: one.pid,
                command: one.comm.clone(),
                because: one.because.clone(),
            })
            .collect(),
        skipped: skipped.map(|one| event::Skipped { pid: one.pid, reason: one.reason.clone() }).collect(),
    }
}
