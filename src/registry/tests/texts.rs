//! Which text an item was given, and what an edit keeps.

use super::*;

#[test]
fn one_of_a_crew_that_starts_again_alone_with_a_later_text_leaves_the_dispatch_without_one() {
    let mut registry = Registry::started();
    registry.does(Action::Start(launch("a-rev.1", 1, "text 1")));
    assert_eq!(registry.a().hash.as_deref(), Some("text 1"));
    registry.does(Action::Start(launch("a-impl.2", 1, "text 2")));
    for text in ["text 1", "text 2"] {
        assert_ne!(registry.a().hash.as_deref(), Some(text));
        assert_ne!(registry.a().content_hash.as_deref(), Some(text));
    }
    registry.does(Action::Start(launch("a-impl.3", 2, "text 2")));
    assert_eq!(registry.a().hash.as_deref(), Some("text 2"), "a dispatch anew");
}

#[test]
fn a_forgotten_run_of_a_dispatch_that_is_known_leaves_it_without_one_text_likewise() {
    let mut registry = Registry::started();
    registry.fails("a-impl.1", FailureClass::Infra);
    registry.does(Action::AdoptUnrecorded { run: run("a-impl.2"), spec: unrecorded(1, "text 2", None) });
    for text in ["text 1", "text 2"] {
        assert_ne!(registry.a().hash.as_deref(), Some(text));
    }
}

#[test]
fn the_text_of_a_forgotten_dispatch_is_that_of_all_unless_somebody_is_at_an_earlier_one() {
    for (state, follow_ups, alone) in [
        (AgentPhase::Idle, Vec::new(), true),
        (AgentPhase::Idle, failure(true), false),
        (AgentPhase::Running, Vec::new(), false),
    ] {
        let mut registry = Registry::started();
        registry.does(Action::Start(launch("a-rev.1", 1, "text 1")));
        registry.fails("a-impl.1", FailureClass::Agent);
        registry.agent("a-rev").state = state;
        registry.agent("a-rev").follow_ups = follow_ups;
        registry.does(Action::AdoptUnrecorded { run: run("a-impl.2"), spec: unrecorded(2, "text 2", None) });
        assert_eq!(registry.a().hash.as_deref() == Some("text 2"), alone);
    }
}

#[test]
fn what_was_done_of_an_earlier_text_is_not_done_of_that_of_a_forgotten_dispatch() {
    for (dispatch, text, done) in [(2, "text 2", false), (2, "text 1", true), (1, "text 2", true)] {
        let mut registry = Registry::started();
        registry.does(Action::Start(launch("a-rev.1", 1, "text 1")));
        registry.does(Action::Done { item: id("A"), run: Some(run("a-rev.1")), facts: RunFacts::default() });
        registry
            .does(Action::AdoptUnrecorded { run: run("a-impl.2"), spec: unrecorded(dispatch, text, None) });
        assert_eq!(registry.agent("a-rev").succeeded, done, "dispatch {dispatch}, {text}");
    }
}

#[test]
fn tokens_of_a_session_are_kept_by_a_forgotten_run_of_that_session_alone() {
    for (session, kept) in [(Some("s-1"), Some(100)), (Some("s-2"), None), (None, None)] {
        let mut registry = Registry::started();
        let usage = Usage { micro_usd: None, tokens: Some(100), session_tokens: Some(100) };
        let facts = RunFacts { session: Some("s-1".to_owned()), usage, ..RunFacts::default() };
        registry.does(Action::Done { item: id("A"), run: Some(run("a-impl.1")), facts });
        registry
            .does(Action::AdoptUnrecorded { run: run("a-impl.2"), spec: unrecorded(1, "text 1", session) });
        assert_eq!(registry.agent("a-impl").session_tokens, kept, "{session:?}");
    }
}

/// Told of a start, and owes that it is done.
fn owed() -> TrackerNote {
    let (status, dispatch, at) = (Status::Started, 1, moment(0).at);
    TrackerNote {
        wanted: Some(Note {
            status: Status::Done,
            dispatch,
            at,
            because: "every role ended well".to_owned(),
        }),
        notified: Some(Notified { status, dispatch, at, dropped: false }),
        ..TrackerNote::default()
    }
}

#[test]
fn a_new_life_forgets_what_was_tried_and_keeps_what_the_item_is_and_was_told() {
    let mut registry = Registry::started();
    registry.does(adopt("a-impl.1"));
    registry.fails("a-impl.1", FailureClass::Agent);
    *registry.a() = ItemRecord {
        outbox: Outbox { tracker_note: TrackerNote { tries: 1, ..owed() } },
        parked_by: Some(ParkedBy::Rule),
        state: ItemPhase::Parked,
        uncharged_streak: 2,
        missing_reads: 3,
        continued: 4,
        messages: vec![message()],
        ..registry.a().clone()
    };
    let before = registry.a().clone();
    registry
        .apply(
            &Step::RecordUpdate(RecordUpdate::Renew { item: id("A"), because: "it was edited".to_owned() }),
            &moment(10),
        )
        .unwrap();
    let expected = ItemRecord {
        state: ItemPhase::Waiting,
        attempts: 0,
        due_at: None,
        outbox: Outbox { tracker_note: owed() },
        uncharged_streak: 0,
        taken: None,
        parked_by: None,
        last: None,
        missing_reads: 0,
        continued: 0,
        ..before
    };
    assert_eq!(*registry.a(), expected);
    assert_eq!(expected.hash.as_deref(), Some("text 1"), "there is something to keep");
}
