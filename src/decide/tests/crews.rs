//! Crews whose runs the machine ended or never began: what starts again, and with whom.

use super::*;

fn refused() -> RunObservation {
    RunObservation::Refused(Refusal { because: "no lock".into(), ..Refusal::default() })
}

// Origin: an audit - both roles were fenced in one tick; the first started again at once, the second only when the first had
// finished.
// covers: P04
#[test]
fn crew_that_was_fenced_starts_whole() {
    let mut factory = Factory::crew("", &["A"]);
    factory.tick_told();
    factory.see("a-impl.1", RunObservation::Fenced);
    factory.see("a-rev.1", RunObservation::Fenced);
    let plan = factory.tick_told();
    let expected = [
        "fail a-impl.1 infra",
        "fail a-rev.1 infra",
        "start a-impl.2",
        "start a-rev.2",
        "writeback A started",
    ];
    assert_eq!(told(&plan), expected);
}

// The verdicts of one tick come first, whatever the order of the names.
// covers: P04
#[test]
fn refused_role_starts_beside_its_crew_in_any_order() {
    for (refused_run, other, started) in
        [("a-impl.1", "a-rev.1", "start a-impl.2"), ("a-rev.1", "a-impl.1", "start a-rev.2")]
    {
        let mut factory = Factory::crew("", &["A"]);
        factory.tick_told();
        factory.see(refused_run, refused());
        factory.see(other, alive());
        assert!(told(&factory.tick_told()).contains(&started.to_owned()));
    }
}

// covers: P04
#[test]
fn refused_roles_start_together_beside_a_kept_one() {
    let mut factory = Factory::crew("", &["A"]);
    let third = crate::config::Role {
        name: "third".into(),
        suffix: "third".into(),
        ..factory.config.roles[1].clone()
    };
    factory.config.roles.push(third);
    factory.tick_told();
    factory.see("a-rev.1", succeeded());
    factory.see("a-impl.1", refused());
    factory.see("a-third.1", refused());
    let plan = told(&factory.tick_told());
    assert_eq!(plan.iter().filter(|line| line.starts_with("start ")).count(), 2, "{plan:?}");
}

// A refused role was to start beside its crew. The crew then failed, and waits: nothing is left to start beside.
// covers: P04
#[test]
fn role_whose_crew_failed_waits_for_the_whole_dispatch() {
    let mut factory = Factory::crew("[tick]\nstarts_max = 2\n", &["A"]);
    factory.tick_told();
    factory.see("a-impl.1", alive());
    factory.see("a-rev.1", refused());
    factory.missing_env.insert("reviewer".into(), vec!["TOKEN".into()]);
    factory.tick_told();
    assert!(!factory.agent("a-rev").follow_ups.is_empty(), "it waits beside its crew");
    factory.see("a-impl.1", failed());
    factory.missing_env.clear();
    let plan = factory.tick_told();
    assert_eq!(started(&plan), 0, "{:?}", told(&plan));
    factory.later(3600);
    assert_eq!(told(&factory.tick_told()), ["start a-impl.2", "start a-rev.2", "writeback A started"]);
}

// A machine that was restarted ends a whole crew: the session goes on, and the other role starts beside it.
// covers: P04
#[test]
fn restarted_machine_lets_a_crew_go_on_together() {
    let mut factory = Factory::crew("", &["A"]);
    factory.config.roles[1].resume = vec!["agent".into(), "{session}".into()];
    factory.tick_told();
    for run in ["a-impl.1", "a-rev.1"] {
        factory.see(run, alive());
    }
    factory.tick_told();
    factory.reboot();
    let over = |session: Option<&str>| {
        let reported = Reported { session: session.map(Into::into), ..Reported::default() };
        RunObservation::Rebooted(Box::new(Ended { claim: Some(launcher()), reported, ..Ended::default() }))
    };
    factory.see("a-impl.1", over(None));
    factory.see("a-rev.1", over(Some("s-1")));
    let plan = told(&factory.tick_told());
    assert!(
        plan.contains(&"start a-impl.2".to_owned()) && plan.contains(&"resume a-rev.2".to_owned()),
        "{plan:?}"
    );
}

fn started(plan: &Plan) -> usize {
    plan.decisions().filter(|(_, one)| matches!(one.action, Action::Start(_) | Action::Resume(_))).count()
}
