//! What was done of items that are absent, and all of them absent at once.

use super::*;
use crate::registry::ItemPhase;

impl Factory {
    /// Takes every item away, and gives back what was there.
    fn empty(&mut self) -> Observed<Vec<WorkItem>> {
        std::mem::replace(&mut self.items, Observed::Known(Vec::new()))
    }
}

/// The work of A is done; so many others have their run.
fn one_done(others: &[&str]) -> Factory {
    let mut factory = Factory::with("[limits]\nitems_max = 20\n[tick]\nstarts_max = 20", &["A"]);
    factory.tick_told();
    factory.see("a-impl.1", succeeded());
    factory.tick_told();
    assert_eq!(factory.record("A").state, ItemPhase::Done);
    if let Observed::Known(items) = &mut factory.items {
        items.extend(others.iter().map(|key| item(key)));
    }
    factory.tick_told();
    for key in others {
        factory.see(&format!("{}-impl.1", key.to_lowercase()), alive());
    }
    factory.tick_told();
    factory
}

// The folder was not mounted for two reads: everything that was ever done was forgotten, and done again.
// covers: P11
#[test]
fn done_item_that_comes_back_unchanged_is_still_done() {
    let mut factory = one_done(&["B"]);
    let items = factory.items.clone();
    factory.remove("A");
    factory.tick_after(10);
    let plan = factory.tick_after(60_000);
    assert_eq!(told(&plan), ["forget A"]);
    factory.items = items;
    let plan = factory.tick_after(60_000);
    assert!(plan.is_empty(), "{:?}", told(&plan));
    assert_eq!(factory.registry.phase(&id("A")), Some(ItemPhase::Done));
    assert_eq!(held(&plan), [("A", HoldReason::Done), ("B", HoldReason::AlreadyActive)]);
    assert!(factory.tick_after(60_000).is_empty(), "and its tracker is told nothing");
}

// covers: P11
#[test]
fn done_item_that_comes_back_with_another_text_is_done_again() {
    let mut factory = one_done(&["B"]);
    let items = factory.items.clone();
    factory.remove("A");
    factory.tick_after(10);
    factory.tick_after(60_000);
    factory.items = items;
    factory.edit("A", |item| item.body = "more".into());
    assert_eq!(told(&factory.tick_after(60_000))[0], "start a-impl.2");
}

// covers: P11
#[test]
fn done_item_that_was_closed_and_reopened_is_done_again() {
    for away_between in [false, true] {
        let mut factory = one_done(&["B"]);
        factory.edit("A", |item| item.state = ItemState::Closed);
        factory.tick_after(10);
        assert_eq!(told(&factory.tick_after(60_000)), ["forget A"]);
        if away_between {
            let items = factory.items.clone();
            factory.remove("A");
            factory.tick_after(60_000);
            factory.items = items;
        }
        factory.edit("A", |item| item.state = ItemState::Open);
        assert_eq!(told(&factory.tick_after(60_000))[0], "start a-impl.2", "away: {away_between}");
    }
}

// It was forgotten for absence, came back closed, and was reopened: that is a reason, as it ever was.
// covers: P11
#[test]
fn done_item_that_came_back_closed_is_done_again_when_reopened() {
    let mut factory = one_done(&["B"]);
    let items = factory.items.clone();
    factory.remove("A");
    factory.tick_after(10);
    factory.tick_after(60_000);
    factory.items = items;
    factory.edit("A", |item| item.state = ItemState::Closed);
    factory.tick_after(10);
    assert_eq!(told(&factory.tick_after(60_000)), ["forget A"]);
    factory.edit("A", |item| item.state = ItemState::Open);
    assert_eq!(told(&factory.tick_after(60_000))[0], "start a-impl.2");
}

// covers: P11b
#[test]
fn empty_folder_ends_and_forgets_nothing_for_10_minutes() {
    let mut factory = one_done(&["B", "C"]);
    let items = factory.empty();
    for seconds in [1, 60, 60, 60, 60, 60, 60, 60, 60, 60] {
        let plan = factory.tick_after(seconds * 1_000);
        assert!(plan.is_empty(), "{:?}", told(&plan));
        assert!(plan.errors[0].contains("--accept-missing"), "{:?}", plan.errors);
    }
    factory.items = items;
    let plan = factory.tick_after(60_000);
    assert!(plan.is_empty() && plan.errors.is_empty(), "{:?} {:?}", told(&plan), plan.errors);
}

// covers: P11b
#[test]
fn empty_folder_is_believed_after_10_minutes_and_3_reads() {
    let mut factory = one_done(&["B"]);
    factory.empty();
    factory.tick_after(1_000);
    assert!(factory.tick_after(3_600_000).is_empty(), "two reads are not three");
    let plan = factory.tick_after(10);
    assert_eq!(told(&plan), ["forget A", "stop b-impl.1"]);
    assert!(plan.errors.is_empty());
}

// covers: P11b
#[test]
fn more_than_half_of_four_items_is_a_mass_absence() {
    for (keys, away, holds) in [
        (vec!["B", "C", "D"], vec!["A", "B", "C"], true),
        (vec!["B", "C", "D"], vec!["A", "B"], false),
        (vec!["B", "C"], vec!["A", "B"], false),
        (vec!["B", "C"], vec!["A", "B", "C"], true),
        (vec!["B", "C", "D", "E"], vec!["A", "B", "C"], true),
    ] {
        let mut factory = one_done(&keys);
        away.iter().for_each(|key| factory.remove(key));
        factory.tick_after(10);
        let plan = factory.tick_after(60_000);
        assert_eq!(plan.is_empty(), holds, "{away:?} of A and {keys:?}: {:?}", told(&plan));
        assert_eq!(!plan.errors.is_empty(), holds, "{:?}", plan.errors);
    }
}

// covers: P11b
#[test]
fn present_items_go_on_during_a_mass_absence() {
    let mut factory = one_done(&["B", "C", "D"]);
    ["A", "B", "C"].iter().for_each(|key| factory.remove(key));
    if let Observed::Known(items) = &mut factory.items {
        items.push(item("E"));
    }
    factory.see("d-impl.1", failed());
    let plan = factory.tick_after(60_000);
    assert_eq!(told(&plan), ["fail d-impl.1 agent", "start e-impl.1", "writeback E started"]);
}

// One file of a full folder was deleted, and it was the only one that had ever been started.
// covers: P11b
#[test]
fn only_remembered_item_that_leaves_a_full_folder_is_gone() {
    let mut factory = Factory::with("[limits]\nitems_max = 1", &["A", "B"]).running("a-impl.1");
    factory.remove("A");
    factory.tick_after(10);
    assert_eq!(told(&factory.tick_after(60_000)), ["stop a-impl.1"]);
}

// covers: P11b
#[test]
fn reboot_begins_a_mass_absence_anew() {
    let mut factory = one_done(&["B"]);
    factory.empty();
    (0..3).for_each(|_| drop(factory.tick_after(1_000)));
    factory.reboot();
    factory.see("b-impl.1", alive());
    for _ in 0..10 {
        let plan = factory.tick_after(59_000);
        assert!(plan.is_empty(), "{:?}", told(&plan));
    }
}

// Items of which everything is done leave their source with `when = "source"`: that is what is waited for.
// covers: P11b
#[test]
fn last_item_that_leaves_as_its_done_rule_wants_is_no_mass_absence() {
    // What is configured since its run began holds for later runs.
    for configured_since in [crate::config::Done::Source, crate::config::Done::Exit] {
        let mut factory = Factory::with("[done]\nwhen = \"source\"", &["A"]).running("a-impl.1");
        factory.config.done = configured_since;
        factory.see("a-impl.1", succeeded());
        factory.empty();
        factory.tick_after(10);
        let plan = factory.tick_after(60_000);
        assert_eq!(told(&plan), ["done A", "writeback A done"]);
        assert!(plan.errors.is_empty(), "{:?}", plan.errors);
    }
}

// covers: P11b
#[test]
fn accepted_absence_is_believed_at_once() {
    let mut factory = one_done(&["B"]);
    factory.empty();
    factory.tick_after(1_000);
    let request = Request { accept_missing: true, ..Request::default() };
    let plan = decide(&factory.config, &factory.registry, &factory.world(), &request);
    assert_eq!(told(&plan), ["forget A", "stop b-impl.1"]);
    assert!(plan.errors.is_empty(), "{:?}", plan.errors);
    factory.items =
        Observed::Known(["A", "B"].map(|key| WorkItem { state: ItemState::Closed, ..item(key) }).into());
    let plan = decide(&factory.config, &factory.registry, &factory.world(), &request);
    assert!(plan.is_empty(), "a closed item is not absent: {:?}", told(&plan));
}

// Three of four items were absent for 9 minutes. The fourth was absent for 1, and its agent was ended with the others'.
// covers: P11b
#[test]
fn item_that_joins_a_mass_absence_late_has_its_own_10_minutes() {
    let mut factory = one_done(&["B", "C", "D"]);
    ["A", "B", "C"].iter().for_each(|key| factory.remove(key));
    (0..9).for_each(|_| drop(factory.tick_after(60_000)));
    factory.empty();
    factory.tick_after(30_000);
    let plan = factory.tick_after(100_000);
    assert_eq!(told(&plan), ["forget A", "stop b-impl.1", "stop c-impl.1"]);
    assert_eq!(plan.errors.len(), 1, "{:?}", plan.errors);
}

// Found by the simulator: its file was away while it was done, came back, and the work was done again.
// covers: P11
#[test]
fn item_done_while_it_was_away_is_still_done_when_it_is_back() {
    let mut factory = Factory::with("[done]\nwhen = \"source\"", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    let items = factory.empty();
    factory.tick_after(10);
    assert_eq!(told(&factory.tick_after(60_000)), ["done A", "writeback A done"]);
    factory.items = items;
    let plan = factory.tick_after(60_000);
    assert!(plan.is_empty(), "{:?}", told(&plan));
}
