//! What keeps everything from starting, and what a person alone can release: on record, so that both are told.

use super::*;

impl Factory {
    fn blocked_by(&mut self, key: &str, blockers: &[&str]) {
        self.edit(key, |item| item.blocked_by = blockers.iter().map(ToString::to_string).collect());
    }
}

fn because(plan: &Plan, key: &str) -> String {
    plan.held.iter().find(|held| held.item == id(key)).expect("held").because.clone()
}

/// A is done and known by a key of its own, B waits for it, and a bystander keeps the folder from being empty.
fn one_done() -> Factory {
    let mut factory = Factory::new(&["A", "B"]);
    factory.item("A").key = "Key of A".into();
    factory.blocked_by("B", &["Key of A"]);
    factory.item("B").state = ItemState::Closed;
    factory.tick_told();
    let run = factory.registry.agents.values().find_map(|agent| agent.run.clone()).expect("A runs");
    factory.see(&run.to_string(), succeeded());
    factory.tick_told();
    assert_eq!(factory.record("A").state, crate::registry::ItemPhase::Done);
    factory
}

// Its file was archived when it was done, and all that waited for it waited for ever.
// covers: P10c
#[test]
fn done_blocker_stays_resolved_when_its_file_is_archived() {
    for close_first in [false, true] {
        let mut factory = one_done();
        if close_first {
            factory.item("Key of A").state = ItemState::Closed;
            factory.tick_told();
        }
        factory.remove("Key of A");
        (0..3).for_each(|_| drop(factory.tick_gone()));
        assert!(factory.registry.items.is_empty(), "it is forgotten");
        factory.item("B").state = ItemState::Open;
        for blocker in ["Key of A", "A", "dir:A"] {
            factory.blocked_by("B", &[blocker]);
            assert_eq!(told(&factory.plan())[0], "start b-impl.1", "{blocker}, closed: {close_first}");
        }
    }
}

// covers: P10c
#[test]
fn closed_blocker_that_was_never_done_is_unknown_once_it_is_gone() {
    let mut factory = Factory::new(&["A", "B"]);
    factory.blocked_by("B", &["A"]);
    factory.item("A").state = ItemState::Closed;
    assert_eq!(told(&factory.plan())[0], "start b-impl.1");
    factory.remove("A");
    assert_eq!(
        because(&factory.plan(), "B"),
        "blocked by A, which nobody knows: correct blocked_by or add it"
    );
}

// covers: P10b
#[test]
fn blocker_that_is_away_or_malformed_is_not_unknown() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    if let Observed::Known(items) = &mut factory.items {
        items.extend([item("B"), item("C")]);
    }
    factory.blocked_by("B", &["A"]);
    factory.blocked_by("C", &["D"]);
    factory.remove("A");
    factory.unreadable = vec![crate::model::UnreadableItem {
        origin: "D.md".into(),
        id: Some(id("D")),
        why: "D.md: not TOML".into(),
    }];
    let plan = factory.tick_told();
    assert_eq!(because(&plan, "B"), "blocked by A, which cannot be read now");
    assert_eq!(because(&plan, "C"), "blocked by D, which cannot be read now");
    assert!(factory.registry.standstill.stuck.is_empty());
}

// covers: P10b
#[test]
fn cycle_of_blockers_is_named() {
    let mut factory = Factory::new(&["A", "B", "C", "D", "E"]);
    factory.blocked_by("A", &["B"]);
    factory.blocked_by("B", &["dir:C"]);
    factory.blocked_by("C", &["A"]);
    factory.blocked_by("D", &["A"]);
    factory.blocked_by("E", &["E"]);
    let plan = factory.plan();
    let cycle = "blocked by B, and none of them can be first: A waits for B, B for C, C for A";
    assert_eq!(because(&plan, "A"), cycle);
    assert_eq!(
        because(&plan, "D"),
        "blocked by A, which is open",
        "it waits for the cycle, and is not in it"
    );
    assert_eq!(because(&plan, "E"), "blocked by E, which is itself");
}

// covers: P10b
#[test]
fn long_cycle_is_told_in_a_few_links() {
    let keys: Vec<_> = (0..9).map(|n| format!("N{n}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let mut factory = Factory::new(&keys);
    for (nth, key) in keys.iter().enumerate() {
        factory.blocked_by(key, &[keys[(nth + 1) % keys.len()]]);
    }
    let plan = factory.plan();
    assert!(because(&plan, "N8").ends_with("N8 waits for N0, N0 for N1, N1 for N2, N2 for N3, N3 for N4, N4 for N5, and so on through 9 items"), "{}", because(&plan, "N8"));
}

// Each of them may be done although it is blocked by the other: a run of it is under way.
// covers: P10b
#[test]
fn items_under_way_are_in_no_cycle() {
    let mut factory = Factory::new(&["A", "B"]);
    factory.blocked_by("B", &["A"]);
    let mut factory = factory.running("a-impl.1");
    factory.blocked_by("A", &["B"]);
    assert_eq!(because(&factory.plan(), "B"), "blocked by A, which is open");
}

// covers: P10b
#[test]
fn stuck_item_is_on_record_until_it_is_released() {
    let mut factory = Factory::new(&["A", "B", "C"]);
    factory.blocked_by("A", &["B"]);
    factory.blocked_by("B", &["A"]);
    factory.blocked_by("C", &["nobody"]);
    let plan = factory.tick_told();
    assert!(plan.is_empty(), "that is no decision: {:?}", told(&plan));
    let stuck = |factory: &Factory| -> Vec<String> {
        let stuck = &factory.registry.standstill.stuck;
        stuck
            .iter()
            .map(|(id, one)| format!("{} {}", id.plain(), one.since.as_second() - 1_800_000_000))
            .collect()
    };
    assert_eq!(stuck(&factory), ["A 0", "B 0", "C 0"]);
    assert_eq!(factory.registry.standstill.stuck[&id("C")].origin, "C.md");
    let settled = factory.registry.clone();
    factory.later(60);
    factory.tick_told();
    assert_eq!(factory.registry, settled, "nothing new is written");
    factory.blocked_by("C", &["somebody"]);
    factory.blocked_by("B", &[]);
    factory.tick_told();
    assert_eq!(stuck(&factory), ["C 60"], "for another reason");
}

// covers: P10b
#[test]
fn tick_of_one_item_forgets_no_stuck_item() {
    let mut factory = Factory::new(&["A", "B"]);
    factory.blocked_by("A", &["nobody"]);
    factory.tick_told();
    let request = Request { item: Some(id("B")), ..Request::default() };
    let plan = decide(&factory.config, &factory.registry, &factory.world(), &request);
    factory.registry.intend(&plan, &factory.now.clone());
    assert_eq!(factory.registry.standstill.stuck.len(), 1);
}

// The folder is being mounted: what is not there yet is not unknown.
// covers: P10b
#[test]
fn mass_absence_makes_no_item_stuck() {
    let mut factory = Factory::new(&["A", "B"]).running("a-impl.1");
    factory.see("b-impl.1", alive());
    factory.items = Observed::Known(vec![item("C")]);
    factory.blocked_by("C", &["D"]);
    let plan = factory.tick_told();
    assert_eq!(plan.errors.len(), 1);
    assert!(factory.registry.standstill.stuck.is_empty());
}

// covers: P10
#[test]
fn low_disk_is_on_record_while_it_keeps_an_item_from_starting() {
    let mut factory = Factory::new(&["A"]);
    factory.room = room(1 << 30, 1 << 40);
    factory.tick_told();
    let stopped = factory.registry.standstill.stopped.clone().expect("everything is stopped");
    assert_eq!(
        (stopped.code, stopped.because.as_str()),
        (HoldReason::DiskFloor, "1024 MiB free for the state, less than disk_free_min")
    );
    factory.later(60);
    factory.room = room(1 << 29, 1 << 40);
    factory.tick_told();
    assert_eq!(factory.registry.standstill.stopped.as_ref(), Some(&stopped), "it is the same");
    factory.room = Room::default();
    factory.tick_told();
    assert_eq!(factory.registry.standstill.stopped, None);
}

// One start was left, two were wanted: the day was not spent, and nothing started for the rest of it.
// covers: P09
#[test]
fn budget_too_small_for_a_crew_is_on_record_for_the_day() {
    let mut factory = Factory::crew("[budget]\nstarts_per_day = 3", &["A"]);
    factory.tick_told();
    let is_spent = |factory: &Factory| {
        factory.registry.daily_spend.as_ref().is_some_and(|today| today.is_spent(&factory.config.budget))
    };
    assert!(!is_spent(&factory), "nobody waits for it");
    if let Observed::Known(items) = &mut factory.items {
        items.push(item("B"));
    }
    let plan = factory.tick_told();
    assert_eq!(held(&plan), [("A", HoldReason::AlreadyActive), ("B", HoldReason::Budget)]);
    assert!(is_spent(&factory));
    factory.remove("B");
    factory.tick_told();
    assert!(is_spent(&factory), "for the rest of the day");
    factory.later(86_400);
    assert!(!factory.registry.daily_spend(factory.now.at).is_spent(&factory.config.budget));
}
