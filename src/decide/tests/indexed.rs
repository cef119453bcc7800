//! Done items that only the index knows, and what brings them back.

use super::*;
use crate::model::{Gone, UnreadableItem};
use crate::registry::ItemPhase;

/// A is done, its tracker knows, and the index took the place of its records.
fn indexed(config: &str) -> Factory {
    let mut factory = Factory::with(config, &["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.tick_told();
    assert_eq!(factory.record("A").state, ItemPhase::Done);
    assert!(factory.tick_told().is_empty());
    factory
}

// covers: P11c
#[test]
fn done_item_leaves_the_records_for_the_index() {
    let mut factory = indexed("");
    assert!(factory.registry.items.is_empty() && factory.registry.agents.is_empty());
    let done = &factory.registry.done[&id("A")];
    assert_eq!((done.dispatch, done.gone, done.key(&id("A"))), (1, None, "A"));
    let details = factory.registry.take_details();
    assert_eq!((details.len(), &details[0].item, details[0].record.state), (1, &id("A"), ItemPhase::Done));
    assert!(details[0].agents.values().all(|agent| agent.succeeded));
    let plan = factory.tick_told();
    assert_eq!((told(&plan).len(), held(&plan)), (0, vec![("A", HoldReason::Done)]));
    factory.registry.check().unwrap();
}

// covers: P11c
#[test]
fn untold_tracker_keeps_a_done_item_on_record() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.tick();
    for _ in 0..3 {
        factory.tick();
        assert_eq!(factory.record("A").state, ItemPhase::Done);
    }
    factory.tick_told();
    factory.tick_told();
    assert!(factory.registry.items.is_empty());
}

// covers: P11c
#[test]
fn edited_item_of_the_index_is_done_again_as_its_next_dispatch() {
    let mut factory = indexed("");
    factory.edit("A", |item| item.labels = vec!["new".into()]);
    assert!(factory.tick_told().is_empty(), "a label is no reason");
    factory.edit("A", |item| item.body = "more".into());
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["start a-impl.2", "writeback A started"]);
    let renewed = |step: &crate::model::Step| {
        matches!(step, crate::model::Step::RecordUpdate(crate::model::RecordUpdate::Renew { .. }))
    };
    assert!(plan.steps.iter().any(renewed));
    assert_eq!(factory.record("A").dispatch, 2);
    assert!(factory.registry.done.is_empty());
}

// covers: P11c
#[test]
fn closed_item_of_the_index_is_forgotten_by_the_rules_for_records() {
    let mut factory = indexed("");
    factory.edit("A", |item| item.state = ItemState::Closed);
    assert!(factory.tick_after(10).is_empty());
    assert_eq!(factory.record("A").missing_reads, 1);
    assert_eq!(told(&factory.tick_after(30_000)), ["forget A"]);
    assert_eq!(factory.registry.done[&id("A")].gone, Some(Gone::Left));
    assert!(factory.tick_after(30_000).is_empty());
    assert!(factory.registry.items.is_empty());
    factory.edit("A", |item| item.state = ItemState::Open);
    assert_eq!(told(&factory.tick_after(10))[0], "start a-impl.2");
}

// covers: P11c
#[test]
fn unreadable_item_of_the_index_stays_there() {
    let mut factory = indexed("");
    factory.remove("A");
    let unreadable = UnreadableItem { id: None, origin: "A.md".to_owned(), why: "no title".to_owned() };
    let mut world = factory.world();
    if let Observed::Known(view) = &mut world.source {
        view.unreadable.push(unreadable);
    }
    let plan = decide(&factory.config, &factory.registry, &world, &Request::default());
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
}

// covers: P11c
#[test]
fn used_up_starts_park_no_item_of_the_index() {
    let mut factory = indexed("[budget]\nitem_starts_per_day = 1");
    assert!(factory.tick_told().is_empty());
    assert_eq!(factory.registry.phase(&id("A")), Some(ItemPhase::Done));
}

// covers: P11c
#[test]
fn item_of_the_index_resolves_its_blockees() {
    let mut factory = indexed("");
    if let Observed::Known(items) = &mut factory.items {
        items.push(WorkItem { blocked_by: vec!["A".into()], ..item("B") });
    }
    assert_eq!(told(&factory.tick_told()), ["start b-impl.1", "writeback B started"]);
}

// Eight of ten items are done: that two others are absent is no mass absence.
// covers: P11b P11c
#[test]
fn index_counts_as_present_in_a_mass_absence() {
    let keys = ["A", "B", "C", "D", "E", "F"];
    let mut factory = Factory::with("[limits]\nitems_max = 20\n[tick]\nstarts_max = 20", &keys);
    factory.tick_told();
    for key in ["a", "b", "c", "d"] {
        factory.see(&format!("{key}-impl.1"), succeeded());
    }
    for key in ["e", "f"] {
        factory.see(&format!("{key}-impl.1"), alive());
    }
    (0..3).for_each(|_| drop(factory.tick_told()));
    assert_eq!(factory.registry.done.len(), 4);
    factory.remove("E");
    factory.remove("F");
    factory.tick_after(10);
    assert_eq!(told(&factory.tick_after(60_000)), ["stop e-impl.1", "stop f-impl.1"]);
}
