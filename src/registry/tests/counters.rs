//! What is counted.

use super::*;

/// Each twice: what is counted adds up.
#[test]
fn what_is_counted_is_counted_each_time_it_happens() {
    let mut registry = Registry::of_a();
    for n in 1..=2 {
        let mut resumed = launch(&format!("a-impl.{n}"), 1, "text 1");
        resumed.spec.session = Some("s-1".to_owned());
        registry.does(Action::Resume(resumed));
        registry.does(adopt(&format!("a-impl.{n}")));
        registry.fails(&format!("a-impl.{n}"), FailureClass::Agent);
        registry.does(Action::Park { item: id("A"), class: Some(FailureClass::Agent), by_person: false });
        registry.does(stop(&format!("a-rev.{n}"), vec![survivor(7)]));
        registry.notes(Action::Fence { run: run(&format!("a-rev.{}", n + 10)) }, FenceOutcome::Won);
    }
    registry.does(Action::Park { item: id("A"), class: None, by_person: true });
    registry.does(stop("a-rev.3", Vec::new()));
    let counted = Counters {
        dispatched: 2,
        resumes: 2,
        dispatch_backoffs: 2,
        dispatch_terminal_failures: 2,
        survivors: 2,
        dispatch_failure_reaper_handoffs: 3,
        fences: 2,
        ..Counters::default()
    };
    assert_eq!(registry.counters, counted);
}

#[test]
fn a_reap_counts_a_hand_off_once_with_whatever_it_met() {
    let mut registry = Registry::of_a();
    for n in 1..=2 {
        let run = format!("a-impl.{n}");
        registry.does(stop(&run, Vec::new()));
        let skipped = vec![Skipped { pid: 1, reason: "protected".to_owned() }];
        let survivors = vec![survivor(7)];
        let met = Reaped { skipped, survivors, identity_mismatches: 1, ..Reaped::default() };
        for _ in 0..3 {
            registry.notes(reap(&run), ReapOutcome::Reaped(met.clone()));
        }
        let ended =
            Reaped { signalled: vec![Signalled { pid: 7, signals: vec!["TERM"] }], ..Reaped::default() };
        registry.notes(reap(&run), ReapOutcome::Reaped(ended));
        // There was nothing left to end, and so nothing to count.
        registry.notes(reap(&run), ReapOutcome::Reaped(Reaped::default()));
        assert!(registry.handoffs[&self::run(&run)].survivors.is_empty());
    }
    // Of this one there was nothing at all.
    registry.does(stop("a-impl.3", Vec::new()));
    registry.notes(reap("a-impl.3"), ReapOutcome::Reaped(Reaped::default()));
    let counted = Counters {
        pid_identity_mismatches: 6,
        agents_reaped: 2,
        protected_pid_skips: 2,
        survivors: 2,
        dispatch_failure_reaper_handoffs: 3,
        dispatch_failure_reaper_handoff_failures: 2,
        dispatch_terminal_failures: 2,
        ..Counters::default()
    };
    assert_eq!(registry.counters, counted);
}

#[test]
fn an_item_whose_processes_live_on_is_parked_when_that_is_first_seen_and_not_again() {
    let mut registry = Registry::started();
    registry.does(stop("a-impl.1", Vec::new()));
    registry.notes(reap("a-impl.1"), ReapOutcome::Reaped(Reaped::default()));
    assert_eq!(registry.a().state, ItemPhase::Waiting, "nothing survived");
    let met = Reaped { survivors: vec![survivor(7)], ..Reaped::default() };
    registry.notes(reap("a-impl.1"), ReapOutcome::Reaped(met.clone()));
    assert_eq!(registry.a().state, ItemPhase::Parked);
    let why = registry.a().last.as_ref().map(|last| last.because.clone());
    assert_eq!(why.as_deref(), Some("processes of a-impl.1 could not be ended: 7 (sleep): not permitted"));
    registry.a().state = ItemPhase::Waiting;
    registry.notes(reap("a-impl.1"), ReapOutcome::Reaped(met));
    assert_eq!(registry.a().state, ItemPhase::Waiting, "a person may have brought it back");
}
