//! The index of what is done.

use super::*;

// covers: P11c
#[test]
fn oldest_gone_item_is_dropped_from_a_full_index() {
    let mut registry = Registry::default();
    let gone = |second: i64, gone: Option<Gone>| DoneItem {
        key: None,
        origin: String::new(),
        content_hash: String::new(),
        dispatch: 1,
        at: moment(second).at,
        gone,
    };
    // Items that are there are never dropped.
    registry.done.insert(id("there"), gone(0, None));
    for n in 0..10_000 {
        registry.done.insert(id(&format!("gone-{n}")), gone(n + 1, Some(Gone::Absent)));
    }
    let done = std::mem::take(&mut registry.done);
    let mut registry = Registry { done, ..Registry::of_a() };
    let record = registry.items.get_mut(&id("A")).unwrap();
    record.state = ItemPhase::Done;
    record.gone = Some(Gone::Left);
    registry.refresh(&RecordUpdate::KeepDone { item: id("A") }, &moment(20_000));
    assert_eq!(registry.done.len(), 10_001);
    assert!(registry.done.contains_key(&id("there")) && registry.done.contains_key(&id("A")));
    assert!(!registry.done.contains_key(&id("gone-0")));
}

// covers: P11c
#[test]
fn record_from_the_index_keeps_no_details_a_second_time() {
    let mut registry = Registry::started();
    registry.does(Action::Done { item: id("A"), run: Some(run("a-impl.1")), facts: RunFacts::default() });
    registry.does(Action::Done { item: id("A"), run: None, facts: RunFacts::default() });
    let archive = RecordUpdate::Archive { item: id("A") };
    registry.refresh(&archive, &moment(0));
    assert_eq!(registry.take_details().len(), 1);
    assert_eq!(registry.latest_runs_of(&id("A")).collect::<Vec<_>>(), [run("a-impl.1")]);
    registry.refresh(&RecordUpdate::RestoreDone { item: id("A") }, &moment(1));
    let record = &registry.items[&id("A")];
    assert_eq!((record.state, record.dispatch), (ItemPhase::Done, 1));
    registry.refresh(&archive, &moment(2));
    assert!(registry.take_details().is_empty() && registry.items.is_empty());
    assert!(registry.is_done(&id("A"), None));
}
