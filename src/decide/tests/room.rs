//! What is free on disk: nothing starts without room, and a failure on a full disk is the machine's.

use super::*;
use crate::registry::MACHINE;

/// The end of a run that failed with these last words, and so much room.
fn failed_with(room: Room, words: &str) -> RunObservation {
    let mut observation = over(1, ExitReason::Exited, None, words);
    if let RunObservation::Ended(ended) = &mut observation
        && let Some(exit) = &mut ended.exit
    {
        exit.room = room;
    }
    observation
}

fn full() -> Vec<Room> {
    let inodes = Some(Free { bytes: 1 << 40, inodes: Some(3) });
    vec![room(0, 1 << 40), room(1 << 40, 4096), Room { state: inodes, workspaces: None }]
}

// An agent that failed because its disk was full was charged.
// covers: P21
#[test]
fn failure_on_a_full_disk_is_of_the_machine() {
    for room in full() {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        factory.see("a-impl.1", failed_with(room, "write error"));
        let plan = factory.tick_told();
        assert!(told(&plan).contains(&"fail a-impl.1 machine".to_owned()), "{room:?}: {:?}", told(&plan));
        assert_eq!(factory.registry.items[&id("A")].attempts, 0);
        assert!(factory.registry.cool_offs.contains_key(MACHINE));
        // It did run, so its start counts: an agent that fills the disk itself must not be started for ever.
        assert_eq!(factory.registry.item_starts(&id("A"), factory.now.at), 1);
    }
}

// covers: P21
#[test]
fn agent_that_talks_of_a_full_disk_is_charged() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed_with(room(1 << 30, 1 << 30), "No space left on device (os error 28)"));
    let plan = factory.tick_told();
    assert!(told(&plan).contains(&"fail a-impl.1 agent".to_owned()), "{:?}", told(&plan));
    assert_eq!(factory.registry.items[&id("A")].attempts, 1);
}

// covers: P21
#[test]
fn success_on_a_full_disk_is_a_success() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let mut observation = succeeded();
    if let RunObservation::Ended(ended) = &mut observation {
        ended.exit.as_mut().unwrap().room = room(0, 0);
    }
    factory.see("a-impl.1", observation);
    assert!(told(&factory.tick_told()).iter().any(|line| line.starts_with("done")));
}

// covers: P21b
#[test]
fn disk_of_the_workspaces_is_looked_at_too() {
    let mut factory = Factory::new(&["A"]);
    factory.room = room(1 << 40, (5 << 30) - 1);
    let plan = factory.plan();
    assert_eq!(held(&plan), [("A", HoldReason::DiskFloor)]);
    assert!(plan.held[0].because.contains("the workspaces"), "{}", plan.held[0].because);
    factory.room = Room { state: None, workspaces: Some(Free { bytes: 1 << 40, inodes: Some(99) }) };
    assert_eq!(held(&factory.plan()), [("A", HoldReason::DiskFloor)], "no inodes");
    factory.room = Room { state: None, workspaces: Some(Free { bytes: 1 << 40, inodes: Some(100) }) };
    assert_eq!(held(&factory.plan()), []);
}
