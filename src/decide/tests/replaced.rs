//! Runs whose container was replaced, and fenced runs that had begun.

use super::*;
use crate::model::{Decision, FenceOutcome, Reap};

fn replaced(exit: Option<Exit>, session: Option<&str>) -> RunObservation {
    let reported = Reported { session: session.map(Into::into), ..Reported::default() };
    RunObservation::Replaced(Box::new(Ended { exit, reported, ..Ended::default() }))
}

// covers: P02
#[test]
fn replaced_run_is_infra_and_handed_off() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", replaced(None, Some("s-1")));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["stop a-impl.1", "fail a-impl.1 infra"]);
    let because = |(_, decision): (usize, &Decision)| decision.because.clone();
    assert!(plan.decisions().map(because).next().unwrap().contains("can't be seen from here"));
    assert_eq!(held(&plan), [("A", HoldReason::HandoffPending)]);
    assert_eq!(factory.record("A").attempts, 0);

    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["reap a-impl.1"]);
    let reap = plan.decisions().find_map(|(_, decision)| match &decision.action {
        Action::Reap(Reap { handle, .. }) => handle.clone(),
        _ => None,
    });
    assert_eq!(reap, Some(launcher().handle));

    factory.see("a-impl.1", RunObservation::Ended(Box::default()));
    assert_eq!(told(&factory.tick_told()), ["forget a-impl.1", "resume a-impl.2"]);
}

// covers: P02
#[test]
fn replaced_run_with_a_receipt_is_judged_by_it() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", replaced(Some(exit(0, ExitReason::Exited, Reported::default())), None));
    let plan = factory.tick_told();
    assert_eq!(told(&plan)[..2], ["stop a-impl.1", "done a-impl.1"]);
    assert!(factory.registry.handoffs.len() == 1 && factory.agent("a-impl").succeeded);
}

// Found by the simulator: it counted as a fault of the machine, although it had ended well.
// covers: P02
#[test]
fn replaced_run_of_a_removed_role_gets_no_verdict() {
    let mut factory = Factory::crew("", &["A"]).running("a-impl.1");
    factory.config.roles.remove(1);
    factory.see("a-impl.1", alive());
    factory.see("a-rev.1", replaced(Some(exit(0, ExitReason::Exited, Reported::default())), None));
    let plan = factory.tick_told();
    assert!(told(&plan).contains(&"stop a-rev.1".to_owned()), "{:?}", told(&plan));
    assert!(!told(&plan).iter().any(|line| line.starts_with("fail")), "{:?}", told(&plan));
}

// covers: P02
#[test]
fn replaced_run_that_no_tick_saw_is_adopted_first() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    let claimed = Ended { claim: Some(launcher()), ..Ended::default() };
    factory.see("a-impl.1", RunObservation::Replaced(Box::new(claimed)));
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.1", "stop a-impl.1", "fail a-impl.1 infra"]);
    let handoff = factory.registry.handoffs.values().next().unwrap();
    assert_eq!(handoff.handle, Some(launcher().handle));
}

// covers: P07b
#[test]
fn fenced_run_with_a_receipt_is_judged_by_it() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    let done = Ended { exit: Some(exit(0, ExitReason::Exited, Reported::default())), ..Ended::default() };
    factory.see("a-impl.1", RunObservation::Ended(Box::new(done)));
    assert_eq!(told(&factory.tick_told())[0], "done a-impl.1");
}

// covers: P07b
#[test]
fn fenced_run_with_processes_becomes_a_hand_off() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    factory.later(100);
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fence a-impl.1"]);
    let outcomes = [StepOutcome { step: 0, outcome: FenceOutcome::Late.into() }];
    factory.registry.note(&plan, &outcomes, &factory.config.attempts, &factory.now);
    factory.see("a-impl.1", RunObservation::Orphaned { claim: None });
    assert_eq!(told(&factory.tick_told()), ["reap a-impl.1"]);
    factory.see("a-impl.1", RunObservation::Ended(Box::default()));
    assert_eq!(
        told(&factory.tick_told()),
        ["forget a-impl.1", "start a-impl.2", "writeback A started"],
        "its attempt is not charged"
    );
}

// covers: P07
#[test]
fn failed_fence_keeps_an_unrecorded_run_on_record() {
    use crate::model::UnrecordedRun;
    for outcome in [
        Outcome::Fence(FenceOutcome::Failed("its lock is held".into())),
        Outcome::NotTried("the tick's deadline"),
    ] {
        let mut factory = Factory::new(&[]);
        factory.unrecorded = vec![UnrecordedRun { run: "a-impl.7".parse().unwrap(), spec: None }];
        factory.see("a-impl.7", RunObservation::Unclaimed);
        let plan = factory.tick();
        let outcomes = [StepOutcome { step: 0, outcome }];
        factory.registry.note(&plan, &outcomes, &factory.config.attempts, &factory.now);
        let handoffs: Vec<_> = factory.registry.handoffs.keys().map(ToString::to_string).collect();
        assert_eq!(handoffs, ["a-impl.7"], "its number counts as used: no later tick would find it");
    }
}
