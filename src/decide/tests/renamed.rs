//! Suffixes that are renamed or swapped while agents of theirs are at work: an agent keeps the name of its record.

use super::*;

/// One agent with a session that is to go on, and items that can't be read at that moment.
fn pending(mut factory: Factory, ended: &[(&str, &str)]) -> Factory {
    for (run, session) in ended {
        factory.see(run, over(1, ExitReason::Exited, Some(session), ""));
    }
    let items = std::mem::replace(&mut factory.items, Observed::broken("away"));
    factory.tick_told();
    factory.items = items;
    factory
}

fn resumable_crew() -> Factory {
    let mut factory = Factory::crew("", &["A"]);
    factory.config.roles.iter_mut().for_each(|role| role.resume = vec!["agent".into(), "{session}".into()]);
    factory.tick_told();
    ["a-impl.1", "a-rev.1"].iter().for_each(|run| factory.see(run, alive()));
    factory.tick_told();
    factory
}

// Origin: an audit - every later tick resumed the session again under the new name, and overwrote the living run.
// covers: P01
#[test]
fn renamed_suffix_resumes_once_under_the_name_on_record() {
    let mut factory = pending(Factory::new(&["A"]).running("a-impl.1"), &[("a-impl.1", "s-1")]);
    factory.config.roles[0].suffix = "coder".into();
    assert_eq!(told(&factory.tick_told()), ["resume a-impl.2"]);
    factory.see("a-impl.2", alive());
    for _ in 0..3 {
        factory.later(60);
        let plan = told(&factory.tick_told());
        assert!(plan.iter().all(|line| !line.starts_with("resume")), "{plan:?}");
    }
    assert_eq!(factory.registry.agents.len(), 1);
}

// covers: P01
#[test]
fn swapped_suffixes_change_no_agent() {
    let mut factory = pending(resumable_crew(), &[("a-impl.1", "s-1"), ("a-rev.1", "s-2")]);
    let suffixes: Vec<_> = factory.config.roles.iter().map(|role| role.suffix.clone()).collect();
    factory.config.roles[0].suffix.clone_from(&suffixes[1]);
    factory.config.roles[1].suffix.clone_from(&suffixes[0]);
    assert_eq!(told(&factory.tick_told()), ["resume a-impl.2", "resume a-rev.2"]);
    assert_eq!(
        (&*factory.agent("a-impl").spec.role, &*factory.agent("a-rev").spec.role),
        ("implementer", "reviewer")
    );
    assert_eq!(factory.agent("a-impl").session.as_deref(), Some("s-1"));
}

// covers: P01
#[test]
fn suffix_taken_by_another_role_gets_a_hash() {
    let mut factory = pending(resumable_crew(), &[("a-rev.1", "s-2")]);
    // The implementer runs on as a-impl; a new role takes its suffix.
    factory.config.roles[0].suffix = "coder".into();
    factory.config.roles[1].name = "tester".into();
    factory.config.roles[1].suffix = "impl".into();
    factory.see("a-impl.1", succeeded());
    factory.tick_told();
    factory.later(3600);
    factory.tick_told();
    factory.later(3600);
    let names: Vec<_> =
        factory.registry.agents.iter().map(|(name, one)| (name.0.clone(), one.spec.role.clone())).collect();
    let tester = names.iter().find(|(_, role)| role == "tester").expect("the new role is started");
    assert!(tester.0.starts_with("a-impl") && tester.0.len() > "a-impl".len(), "{names:?}");
    assert!(names.contains(&("a-impl".to_owned(), "implementer".to_owned())), "{names:?}");
    assert!(factory.agent("a-impl").succeeded);
}

// A registry that was lost knows an agent by its new name, and a run of the same role is found under the old one.
// covers: P01
#[test]
fn found_run_of_a_role_with_another_agent_leaves_one_of_them() {
    for (dispatch, expected) in [(1, "stop a-old.3"), (9, "stop a-impl.1")] {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        let spec = UnrecordedSpec { since: moment(-5), ..unrecorded_spec("a-old.3", dispatch) };
        factory.see("a-old.3", alive());
        factory.unrecorded =
            vec![crate::model::UnrecordedRun { run: "a-old.3".parse().unwrap(), spec: Some(spec) }];
        let plan = told(&factory.tick_told());
        assert!(plan.contains(&expected.to_owned()), "{plan:?}");
        let running = factory.registry.agents.values().filter(|agent| agent.run.is_some()).count();
        assert_eq!(running, 1, "{plan:?}");
    }
}
