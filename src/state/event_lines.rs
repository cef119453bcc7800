//! The lines that the log of events gets of a plan, and of what became of it.

use serde_json::{Value, json};

use crate::model::{Action, ClockReading, Happened, Outcome, Plan, RecordUpdate, Step};
use crate::registry::Registry;
use crate::state::event_subject::EventSubject;

/// The events of a plan. `before`: the registry that it was decided on.
pub fn of_plan(before: &Registry, plan: &Plan, now: &ClockReading) -> Vec<Value> {
    let subject = EventSubject::new(before, plan);
    let event = |step| Some(subject.add_to(step_event(step, now)?, step));
    plan.steps.iter().filter_map(event).collect()
}

/// The events of what became of a plan's effects. `before`: the registry that the plan was decided on.
pub fn of_outcomes(before: &Registry, plan: &Plan, outcomes: &[Outcome], now: &ClockReading) -> Vec<Value> {
    let subject = EventSubject::new(before, plan);
    let event = |outcome: &Outcome| {
        let step = plan.steps.get(outcome.step)?;
        Some(subject.add_to(outcome_event(plan, outcome, now)?, step))
    };
    outcomes.iter().filter_map(event).collect()
}

fn step_event(step: &Step, now: &ClockReading) -> Option<Value> {
    match step {
        Step::Decide(decision) => Some(json!({
            "at": now.at,
            "event": decision.action.name(),
            "item": decision.item,
            "run": decision.action.run(),
            "code": decision.action.code(),
            "because": decision.because,
            "argv": match &decision.action {
                Action::Start(launch) | Action::Resume(launch) => Some(&launch.argv),
                _ => None,
            },
        })),
        Step::RecordUpdate(RecordUpdate::Renew { item, because }) => {
            Some(json!({"at": now.at, "event": "renew", "item": item, "because": because}))
        }
        Step::RecordUpdate(_) => None,
    }
}

/// The event of an outcome; `None` where the decision's own event says everything.
fn outcome_event(plan: &Plan, outcome: &Outcome, now: &ClockReading) -> Option<Value> {
    let Some(Step::Decide(decision)) = plan.steps.get(outcome.step) else { return None };
    let result = match &outcome.happened {
        Happened::Tried | Happened::Told => return None,
        Happened::FenceWon => json!({"ok": true, "fence": "won"}),
        Happened::FenceLost => json!({"ok": true, "fence": "lost"}),
        Happened::FencedLate => json!({"ok": true, "fence": "late"}),
        Happened::NotStarted { class, error } => json!({"ok": false, "class": class, "error": error}),
        Happened::NotTried(why) => json!({"ok": false, "error": format!("not tried: {why}")}),
        Happened::Failed(error) => json!({"ok": false, "error": error}),
        Happened::Reaped(reaped) => json!({
            "ok": reaped.survivors.is_empty(),
            "signalled": reaped.signalled,
            "survivors": reaped.survivors,
            "skipped": reaped.skipped,
        }),
    };
    let mut event = json!({
        "at": now.at,
        "event": format!("{}_outcome", decision.action.name()),
        "item": decision.item,
        "run": decision.action.run(),
    });
    if let (Some(event), Value::Object(result)) = (event.as_object_mut(), result) {
        event.extend(result);
    }
    Some(event)
}
