//! More directories in `runs/` than one tick can look at.

use std::fs;

use crate::support::{Factory, NOTE_START};

// Origin: attacked - 100,000 unrecorded directories of one agent: a tick took minutes, its deadline was 50 s.
// covers: P25
#[test]
fn unrecorded_directories_are_looked_at_over_several_ticks() {
    let mut factory = Factory::with_agent(&format!("{NOTE_START} sleep 600"));
    factory.set("tick", "deadline", "\"10m\"");
    factory.item("A");
    factory.item("B");
    factory.run(&["pause"]).expect(0);
    for n in 1..=600 {
        fs::create_dir(factory.state(&format!("runs/a-impl.{n}"))).unwrap();
    }
    factory.run(&["unpause"]).expect(0);
    let first = factory.tick().expect(3);
    let decided = first.decided();
    assert_eq!(decided.iter().filter(|line| line.starts_with("fence ")).count(), 500);
    assert!(decided.contains(&"fence a-impl.500".to_owned()), "the lowest numbers come first");
    assert!(decided.contains(&"start b-impl.1".to_owned()), "only their own agent waits");
    assert_eq!(first.held(), ["fleet_unknown dir:A"]);
    assert_eq!(
        first.json()["errors"].as_array().unwrap().len(),
        1,
        "one line, however many directories are left: {}",
        first.stdout
    );
    let second = factory.tick().expect(0).decided();
    assert_eq!(second.iter().filter(|line| line.starts_with("fence ")).count(), 100);
    assert!(second.contains(&"start a-impl.601".to_owned()), "{second:?}");
    factory.run(&["stop", "--all"]).expect(0);
    // What removes old directories belongs to no run, and ends by itself.
    factory.wait_all_gone();
}
