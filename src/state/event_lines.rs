//! The events of a plan, and of what became of it.

use crate::model::{
    Action, ClockReading, FenceOutcome, NotifyOutcome, Outcome, Plan, ReapOutcome, Reaped, RecordUpdate,
    StartOutcome, Step, StepOutcome,
};
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
pub fn of_outcomes(
    before: &Registry,
    plan: &Plan,
    outcomes: &[StepOutcome],
    now: &ClockReading,
) -> Vec<Event> {
    let subject = EventSubject::new(before, plan);
    let event = |outcome: &StepOutcome| {
        let step = plan.steps.get(outcome.step)?;
        Some(outcome_event(step, &outcome.outcome, now)?.about(subject.of(step)))
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
fn outcome_event(step: &Step, outcome: &Outcome, now: &ClockReading) -> Option<Event> {
    let Step::Decide(decision) = step else { return None };
    let done = event::Outcome { ok: outcome.is_as_meant(), ..event::Outcome::default() };
    let done = event::Outcome { error: outcome.error(), ..done };
    let line = match outcome {
        Outcome::Start(StartOutcome::Tried) | Outcome::Notify(NotifyOutcome::Notified) => return None,
        Outcome::Fence(FenceOutcome::Won) => event::Outcome { fence: Some("won"), ..done },
        Outcome::Fence(FenceOutcome::Lost) => event::Outcome { fence: Some("lost"), ..done },
        Outcome::Fence(FenceOutcome::Late) => event::Outcome { fence: Some("late"), ..done },
        Outcome::Start(StartOutcome::NotStarted { class, .. }) => {
            event::Outcome { class: Some(class.name()), ..done }
        }
        Outcome::Reap(ReapOutcome::Reaped(reaped)) => {
            event::Outcome { reaped: Some(reaped_event(reaped)), ..done }
        }
        _ => done,
    };
    let name = format!("{}_outcome", decision.action.name());
    Some(Event::new(now.at, name, Detail::Outcome(Box::new(line))))
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
