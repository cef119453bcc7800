//! Items that are away from their source, for a moment or for good.

use super::*;

impl Factory {
    /// A tick so many milliseconds after the last one.
    pub(super) fn tick_after(&mut self, ms: u64) -> Plan {
        self.now.mono_ms += ms;
        self.now.at = self.now.after(Duration::from_millis(ms));
        self.tick_told()
    }
}

// `--iterations 5` took 14 ms, and `drain` looks every 2 s: both ended the agent of an item that a checkout was writing.
// covers: P03
#[test]
fn blink_of_a_file_ends_no_run_however_often_it_is_read() {
    for (reads, ms) in [(5, 3), (2, 2_000), (14, 2_000)] {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        let items = factory.items.clone();
        factory.remove("A");
        for _ in 0..reads {
            let plan = factory.tick_after(ms);
            assert!(plan.is_empty(), "{reads} reads, {ms} ms: {:?}", told(&plan));
        }
        factory.items = items;
        assert!(factory.tick_after(1_000).is_empty());
        assert_eq!(factory.record("A").missing_reads, 0);
    }
}

// covers: P03
#[test]
fn closed_or_relabelled_item_ends_its_run_after_30_seconds() {
    for change in [(|item: &mut WorkItem| item.state = ItemState::Closed) as fn(&mut WorkItem), |item| {
        item.labels = vec!["other".into()]
    }] {
        let mut factory = Factory::with("[source.scope]\nlabels = [\"go\"]", &["A"]);
        factory.edit("A", |item| item.labels = vec!["go".into()]);
        let mut factory = factory.running("a-impl.1");
        factory.edit("A", change);
        assert!(factory.tick_after(10).is_empty());
        assert!(factory.tick_after(29_999).is_empty(), "not 30 s");
        assert_eq!(told(&factory.tick_after(1)), ["stop a-impl.1"]);
    }
}

// covers: P03
#[test]
fn one_read_without_an_item_is_not_enough_after_any_time() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.remove("A");
    assert!(factory.tick_after(3_000_000).is_empty());
    assert_eq!(told(&factory.tick_after(30_000)), ["stop a-impl.1"]);
}

// covers: P03
#[test]
fn reboot_begins_the_wait_for_a_missing_item_anew() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    factory.see("a-impl.1", failed());
    factory.tick_told();
    factory.remove("A");
    factory.tick_after(10);
    factory.reboot();
    assert!(factory.tick_after(40_000).is_empty(), "{:?}", factory.record("A"));
    assert!(factory.tick_after(29_000).is_empty());
    assert_eq!(told(&factory.tick_after(1_000)), ["forget A"]);
}

// Two reads, 20 s apart, then it was back: it had never been gone, and must not get a new life.
// covers: P03
#[test]
fn item_that_came_back_in_time_keeps_its_attempts() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    factory.see("a-impl.1", failed());
    factory.tick_told();
    let items = factory.items.clone();
    factory.remove("A");
    factory.tick_after(10);
    factory.tick_after(20_000);
    factory.items = items;
    factory.tick_after(60_000);
    assert_eq!((factory.record("A").attempts, factory.record("A").missing_reads), (1, 0));
}

// Five ticks in 14 ms parked an item for five failures in a row that were one.
// covers: P03b
#[test]
fn uncharged_streak_counts_once_in_30_seconds() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    let mut seen = Vec::new();
    for (n, ms) in [(1, 3), (2, 3), (3, 29_000), (4, 30_000), (5, 3), (6, 30_000)] {
        let refused =
            RunObservation::Refused(Refusal { because: "no lock".into(), duplicate: false, machine: false });
        factory.see(&format!("a-impl.{n}"), refused);
        factory.tick_after(ms);
        seen.push(factory.record("A").uncharged_streak);
    }
    assert_eq!(seen, [1, 1, 1, 2, 2, 3]);
}

// covers: P03b
#[test]
fn reboot_counts_towards_the_uncharged_streak() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    for n in [1, 2] {
        let refused =
            RunObservation::Refused(Refusal { because: "no lock".into(), duplicate: false, machine: false });
        factory.see(&format!("a-impl.{n}"), refused);
        factory.tick_after(3);
        factory.reboot();
    }
    assert_eq!(factory.record("A").uncharged_streak, 2);
}
