//! What is written, and what a moved state lets go of.

use super::*;

#[test]
fn a_count_of_0_that_earlier_versions_do_not_know_is_not_written() {
    let mut registry = Registry::of_a();
    let text = |registry: &Registry| serde_json::to_string(registry).unwrap();
    assert!(!text(&registry).contains("continued"));
    registry.a().continued = 2;
    assert!(text(&registry).contains(r#""continued":2"#));
    assert_eq!(serde_json::from_str::<Registry>(&text(&registry)).unwrap(), registry);
}

// covers: P12
#[test]
fn relocated_registry_lets_go_of_every_run_and_keeps_numbers() {
    let mut registry = Registry::started();
    registry.does(adopt("a-impl.1"));
    registry.does(stop("a-rev.4", Vec::new()));
    registry.agent("a-impl").session = Some("s-1".to_owned());
    assert_eq!(registry.a().state, ItemPhase::Active);
    registry.let_go_of_runs(&[run("a-impl.7"), run("b-impl.2")]);
    assert_eq!(registry.check(), Ok(()));
    assert_eq!(registry.a().state, ItemPhase::Waiting);
    assert!(registry.handoffs.is_empty());
    let agent = registry.agent("a-impl");
    assert_eq!((&agent.run, &agent.handle, &agent.session), (&None, &None, &None));
    for (name, next) in [("a-impl", 8), ("a-rev", 5), ("b-impl", 3)] {
        assert_eq!(registry.names.next_run(&crate::model::AgentName(name.to_owned())).n, next, "{name}");
    }
}

// Origin: an audit - every later tick resumed under a new name, and overwrote the record of the living run.
// covers: P01
#[test]
fn start_never_overwrites_a_run_that_may_live() {
    let mut registry = Registry::started();
    let before = registry.clone();
    let mut doubled = launch("a-coder.1", 1, "text 1");
    doubled.spec.role.clone_from(&registry.agent("a-impl").spec.role);
    for (other, words) in [(launch("a-impl.2", 2, "text 1"), "a-impl.1"), (doubled, "a-impl.1")] {
        let refused = registry.intend(&plan(Action::Start(other)), &moment(1));
        assert!(refused.len() == 1 && refused[0].1.contains(words), "{refused:?}");
        assert_eq!(registry, before);
    }
}

// covers: P01
#[test]
fn refused_step_takes_its_group_from_the_plan() {
    let decision =
        |action, group| Step::Decide(Decision { action, item: Some(id("A")), because: String::new(), group });
    let start = |text| Action::Start(launch(text, 1, "text 1"));
    let steps = vec![
        decision(start("a-impl.1"), 1),
        decision(Action::Unpause, 1),
        decision(Action::Unpause, 2),
        Step::RecordUpdate(RecordUpdate::Forgiven),
    ];
    let mut plan = Plan { steps, ..Plan::default() };
    plan.withdraw(vec![(0, "it lives".to_owned())]);
    assert_eq!(plan.steps.len(), 2);
    assert!(matches!(&plan.steps[0], Step::Decide(decision) if decision.group == 2));
    assert_eq!(plan.errors, ["it lives"]);
}
