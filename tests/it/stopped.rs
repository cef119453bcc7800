//! A factory that starts nothing says so: once by its exit code, and always in its status.

use serde_json::{Value, json};

use crate::support::{Factory, NOTE_START, put};

const WORKS: &str = "exec sleep 600";

fn status(factory: &Factory) -> Value {
    factory.run(&["status", "--format", "json"]).expect(0).json()
}

fn screen(factory: &Factory) -> String {
    factory.run(&["status"]).expect(0).stdout
}

// Origin: a day in which nothing was started, with 81 ticks that ended with 0 and a status in which nothing waits.
// covers: P10
#[test]
fn disk_below_its_minimum_is_told_once_and_always_shown() {
    let mut factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.set("limits", "disk_free_min", "\"8000000000GiB\"");
    factory.tick().expect(0);
    assert_eq!(status(&factory)["stopped"], Value::Null, "nothing wants to start");
    factory.item("AR-1");
    assert_eq!(factory.tick().expect(4).held(), ["disk_floor dir:AR-1"]);
    assert_eq!(factory.tick().expect(0).held(), ["disk_floor dir:AR-1"], "told once");
    let stopped = &status(&factory)["stopped"];
    assert_eq!(stopped["code"], "disk_floor");
    let words = stopped["because"].as_str().unwrap();
    assert!(
        words.contains(" MiB free for the state") && words.ends_with("less than disk_free_min"),
        "{words}"
    );
    let text = screen(&factory);
    assert!(text.contains("  stopped  nothing starts for "), "{text}");
    assert!(!text.contains("Nothing is parked"), "{text}");
    factory.set("limits", "disk_free_min", "\"0\"");
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.1");
    assert_eq!(status(&factory)["stopped"], Value::Null);
}

// covers: P10b
#[test]
fn items_that_wait_for_a_person_are_told_once_and_always_shown() {
    let factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    let item = |key: &str, blockers: &[&str]| {
        put(&factory.issues().join(format!("{key}.json")), &json!({ "blocked_by": blockers }).to_string());
    };
    item("A", &["B"]);
    item("B", &["A"]);
    item("C", &["nobody"]);
    let held = ["blocked dir:A", "blocked dir:B", "blocked dir:C"];
    assert_eq!(factory.tick().expect(4).held(), held);
    assert_eq!(factory.tick().expect(0).held(), held, "told once");
    let status = status(&factory);
    let stuck = |at: usize, key: &str| status["stuck"][at][key].as_str().unwrap().to_owned();
    assert_eq!(stuck(0, "because"), "blocked by B, and none of them can be first: A waits for B, B for A");
    assert_eq!(stuck(2, "because"), "blocked by nobody, which nobody knows: correct blocked_by or add it");
    let file = factory.issues().join("C.json");
    assert_eq!(stuck(2, "try"), format!("to release it, edit: {}", file.display()));
    let text = screen(&factory);
    assert!(text.contains("Stuck: 3") && text.contains(&file.display().to_string()), "{text}");
    factory.run(&["status", "--detailed-exitcode"]).expect(4);

    item("A", &[]);
    assert_eq!(factory.tick().expect(0).decided()[0], "start a-impl.1");
    item("C", &["somebody"]);
    factory.tick().expect(4);
    assert!(screen(&factory).contains("Stuck: 1"));
}

// Origin: `starts_per_day = 3` and two roles: one start was left all day, the next item wanted two, and each tick said 0.
// covers: P09
#[test]
fn budget_too_small_for_a_crew_is_told_once_and_always_shown() {
    let mut factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.role("review", &["sh", "-c", WORKS], "");
    factory.set("budget", "starts_per_day", "3");
    ["AR-1", "AR-2"].iter().for_each(|key| factory.item(key));
    let day = |factory: &Factory| factory.registry()["daily_spend"]["day"].as_str().unwrap().to_owned();
    assert_eq!(factory.tick().expect(4).held(), ["budget dir:AR-2"]);
    let first = day(&factory);
    let ran = factory.tick();
    let text = screen(&factory);
    // Unless midnight comes just now, in which case it is another day.
    if day(&factory) == first {
        assert!(ran.expect(0).held().contains(&"budget dir:AR-2".to_owned()));
        assert!(text.contains("2 of 3 starts; too few are left for all roles of an item until"), "{text}");
    }
}
