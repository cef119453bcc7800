//! Runs that did not start, and what people say to runs.

use super::*;

#[test]
fn a_resume_that_nobody_claimed_before_the_machine_failed_it_was_none() {
    for (class, seen, resumes) in [
        (FailureClass::Infra, false, 0),
        (FailureClass::Infra, true, 1),
        (FailureClass::Agent, false, 1),
        (FailureClass::Agent, true, 1),
    ] {
        let mut registry = Registry::of_a();
        let mut resumed = launch("a-impl.1", 1, "text 1");
        (resumed.spec.session, resumed.spec.resumes) = (Some("s-1".to_owned()), 1);
        registry.does(Action::Resume(resumed));
        if seen {
            registry.does(adopt("a-impl.1"));
        }
        registry.fails("a-impl.1", class);
        assert_eq!(registry.agent("a-impl").resumes, resumes, "{class:?}, seen: {seen}");
    }
}

#[test]
fn what_a_person_says_is_kept_until_every_run_that_is_to_hear_it_was_seen() {
    for (state, follow_ups, forgotten) in [
        (AgentPhase::Idle, Vec::new(), true),
        (AgentPhase::Running, Vec::new(), true),
        (AgentPhase::Starting, Vec::new(), false),
        (AgentPhase::Idle, failure(true), false),
    ] {
        let mut registry = Registry::started();
        registry.does(Action::Start(launch("a-rev.1", 1, "text 1")));
        registry.agent("a-rev").state = state;
        registry.agent("a-rev").follow_ups = follow_ups;
        registry.a().messages = vec![message()];
        registry.does(adopt("a-impl.1"));
        assert_eq!(registry.a().messages[0].heard, forgotten, "{state:?}");
    }
}

#[test]
fn a_run_that_lives_behind_a_lost_fence_is_handed_off_where_nobody_knew_it() {
    let fence = || Action::Fence { run: run("a-impl.1") };
    // The agent's own run is on record already, and so is one that was handed off.
    let mut known = Registry::started();
    known.notes(fence(), FenceOutcome::Lost);
    assert!(known.handoffs.is_empty());
    assert_eq!(known.agent("a-impl").run, Some(run("a-impl.1")));
    let mut ending = Registry::started();
    ending.does(stop("a-impl.1", vec![survivor(7)]));
    let before = ending.clone();
    ending.notes(fence(), FenceOutcome::Lost);
    assert_eq!(ending, before);
    // A later run of its agent says nothing of it.
    let mut forgotten = Registry::of_a();
    forgotten.does(Action::Start(launch("a-impl.2", 1, "text 1")));
    forgotten.notes(fence(), FenceOutcome::Lost);
    assert_eq!(forgotten.handoffs[&run("a-impl.1")].why, "why");
    assert_eq!(forgotten.agent("a-impl").run, Some(run("a-impl.2")), "it goes on");
}

#[test]
fn the_number_of_a_run_that_was_fenced_is_used() {
    let mut registry = Registry::default();
    registry.notes(Action::Fence { run: run("a-impl.7") }, FenceOutcome::Won);
    assert_eq!(registry.names.next_run(&AgentName("a-impl".to_owned())), run("a-impl.8"));
    assert_eq!(registry.counters.fences, 1);
}

// covers: P20b P05
#[test]
fn run_that_could_not_be_started_charges_nothing() {
    for (class, session) in [
        (FailureClass::Infra, Some("s-1")),
        (FailureClass::Infra, None),
        (FailureClass::Machine, Some("s-1")),
        (FailureClass::Machine, None),
    ] {
        let mut registry = Registry::started();
        registry.does(adopt("a-impl.1"));
        let mut other = launch("a-rev.1", 1, "text 1");
        other.spec.session = session.map(Into::into);
        let action = if session.is_some() { Action::Resume(other) } else { Action::Start(other) };
        registry.does(action.clone());
        registry.notes(action, StartOutcome::NotStarted { class, error: "no such program".to_owned() });
        assert_eq!((registry.a().attempts, registry.a().due_at), (0, None));
        assert_eq!(registry.a().uncharged_streak, u32::from(class == FailureClass::Infra), "{class:?}");
        assert_eq!(registry.cool_offs.contains_key(MACHINE), class == FailureClass::Machine);
        assert!(registry.agent("a-impl").run.is_some() && registry.handoffs.is_empty());
    }
}

// covers: P05
#[test]
fn machine_fault_of_one_tick_is_one_failure_and_its_wait_grows() {
    let mut registry = Registry::started();
    for (tick, wait) in [(0, 60), (100, 120), (300, 240), (10_000, 480)] {
        for _ in 0..3 {
            registry.cool_machine("no process", &moment(tick));
        }
        assert_eq!(registry.cool_offs[MACHINE].until, Some(moment(tick + wait).at));
    }
}
