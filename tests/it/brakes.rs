//! What stops all starts at once, and what lets them go on: too many failures in a row, and what a day may cost.

use std::fs;

use serde_json::json;

use crate::support::{Factory, NOTE_START, everything};

const FAILS: &str = "echo 'no login' >&2; exit 1";

fn status(factory: &Factory) -> serde_json::Value {
    factory.run(&["status", "--format", "json"]).expect(0).json()
}

fn held(factory: &Factory) -> Vec<String> {
    factory.tick().expect(0).held()
}

// A login ran out over night: each of 40 items used up its attempts, and all were parked by the morning.
// covers: V24 V39
#[test]
fn when_everything_fails_nothing_more_is_started_until_a_person_says_so() {
    let mut factory = Factory::with_agent(&[NOTE_START, FAILS].concat());
    factory.set("attempts", "breaker", "2");
    factory.set("limits", "items_max", "2");
    for key in ["AR-1", "AR-2", "AR-3"] {
        factory.item(key);
    }
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.wait_swept("ar-2-impl.1");
    let ran = factory.tick().expect(4);
    assert_eq!(ran.held(), ["backoff dir:AR-1", "backoff dir:AR-2", "breaker dir:AR-3"]);
    assert_eq!(held(&factory), ["backoff dir:AR-1", "backoff dir:AR-2", "breaker dir:AR-3"], "told once");

    let breaker = &status(&factory)["breaker"];
    let last = (&breaker["failures"], &breaker["item"], &breaker["because"]);
    assert_eq!(last, (&json!(2), &json!("dir:AR-2"), &json!("exit code 1: no login")));
    let text = factory.run(&["status"]).expect(0).stdout;
    assert!(text.contains("  breaker  open: 2 failures in a row for "), "{text}");
    let before = everything(&factory.state(""));
    assert!(factory.run(&["unpause", "-n"]).expect(0).stdout.contains("unpause"));
    assert_eq!(everything(&factory.state("")), before);

    factory.run(&["unpause"]).expect(0);
    assert_eq!(status(&factory)["breaker"], json!(null));
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-3-impl.1");
}

// covers: V39
#[test]
fn a_retry_of_one_item_lets_the_others_start_too() {
    let mut factory = Factory::with_agent(FAILS);
    factory.set("attempts", "breaker", "1");
    factory.set("limits", "items_max", "1");
    ["AR-1", "AR-2"].iter().for_each(|key| factory.item(key));
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(factory.tick().expect(4).held()[1], "breaker dir:AR-2");
    factory.run(&["retry", "AR-1"]).expect(0);
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2");
}

// covers: V25
#[test]
fn a_day_has_so_many_starts_and_a_restart_of_the_program_changes_nothing() {
    let mut factory = Factory::with_agent(&[NOTE_START, "exit 0"].concat());
    factory.set("budget", "starts_per_day", "2");
    ["AR-1", "AR-2", "AR-3"].iter().for_each(|key| factory.item(key));
    let ran = factory.tick().expect(4);
    assert_eq!(ran.held(), ["budget dir:AR-3"]);
    let until = ran.json()["held"][0]["until"].as_str().unwrap().to_owned();
    assert!(until.ends_with("T00:00:00Z"), "{until}");
    factory.wait_swept("ar-1-impl.1");
    factory.wait_swept("ar-2-impl.1");
    // Unless midnight comes just now, in which case it is another day.
    let day = |factory: &Factory| factory.registry()["daily_spend"]["day"].as_str().unwrap().to_owned();
    let before = day(&factory);
    let held = factory.tick().expect(0).held();
    if day(&factory) == before {
        assert!(held.contains(&"budget dir:AR-3".to_owned()), "{held:?}");
        let today = &status(&factory)["daily_spend"];
        assert_eq!((&today["starts"], &today["usd"]), (&json!(2), &json!(null)));
        let text = factory.run(&["status"]).expect(0).stdout;
        assert!(text.contains("  today   2 of 2 starts; nothing more starts until"), "{text}");
        assert_eq!(fs::read_to_string(factory.lab("starts")).unwrap().lines().count(), 2);
    }
}
