//! What a person orders: tried again, parked, started anew, paused.

use std::fs;

use serde_json::json;

use crate::support::{Factory, NOTE_START, Ran};

/// An agent that works until it is ended.
const WORKS: &str = "exec sleep 600";

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

/// A refusal says why on stderr, and nothing else anywhere.
#[track_caller]
fn refusal(ran: Ran) -> String {
    let ran = ran.expect(5);
    assert_eq!(ran.stdout, "");
    ran.stderr
}

fn prompt_of(factory: &Factory, run: &str) -> String {
    fs::read_to_string(factory.state("runs").join(run).join("prompt.md")).unwrap()
}

// ---------------------------------------------------------------------------------------------
// retry

#[test]
fn an_answer_reaches_the_agent_that_asked() {
    let asks = r#"case $(cat) in *orders*) exit 0;; *) echo "FACTORY_PARK=which table?";; esac"#;
    let factory = Factory::with_agent(&[NOTE_START, asks].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.tick().expect(4);
    let status = factory.run(&["status"]).expect(0).stdout;
    assert_has(&status, &["→ to answer: factory-tick retry AR-1 --message"]);

    let ran = factory.run(&["retry", "AR-1", "--message", "the orders table"]).expect(0);
    assert_has(&ran.stdout, &["retry: ok (1 retry)", "retry  AR-1"]);
    let events = fs::read_to_string(factory.state("events.jsonl")).unwrap();
    assert!(events.lines().last().unwrap().contains("\"event\":\"retry\""), "{events}");
    assert_eq!(factory.recorded("AR-1")["state"], "waiting");

    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2");
    factory.wait_swept("ar-1-impl.2");
    assert_has(&prompt_of(&factory, "ar-1-impl.2"), &["# From the person in charge\n\nthe orders table\n"]);
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
    assert_eq!(factory.recorded("AR-1")["message"], json!(null));
}

#[test]
fn a_retry_goes_on_with_the_session_and_a_fresh_one_does_not() {
    let mut factory = Factory::new();
    let resume = format!(
        "resume = {}",
        json!(["sh", "-c", "cat >> \"$LAB/heard\"; echo \"FACTORY_PARK=still\"", "x", "{session}"])
    );
    factory.role("impl", &["sh", "-c", "echo FACTORY_SESSION=s-1; echo FACTORY_PARK=help"], &resume);
    for key in ["AR-1", "AR-2"] {
        factory.item(key);
    }
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.wait_swept("ar-2-impl.1");
    factory.tick().expect(4);
    factory.run(&["retry", "ar-1-impl", "--message", "go left"]).expect(0);
    factory.run(&["retry", "AR-2", "--fresh"]).expect(0);
    let decided = factory.tick().expect(0).decided();
    assert_eq!(decided[..2], ["resume ar-1-impl.2", "start ar-2-impl.2"], "{decided:?}");
    factory.wait_swept("ar-1-impl.2");
    assert!(
        factory.told("heard").starts_with("go left\n\nYou were interrupted"),
        "{}",
        factory.told("heard")
    );
}

#[test]
fn what_runs_is_not_retried() {
    let factory = Factory::with_agent(WORKS);
    factory.item("AR-1");
    factory.tick().expect(0);
    let text = refusal(factory.run(&["retry", "AR-1"]));
    assert_has(&text, &["ar-1-impl.1 is in flight", "factory-tick restart AR-1"]);
    assert_eq!(factory.recorded("AR-1")["state"], "active");
    assert_has(&refusal(factory.run(&["retry", "AR-9"])), &["nothing here is called \"AR-9\""]);
}

#[test]
fn all_that_is_parked_comes_back_or_what_is_parked_for_one_reason() {
    let script = "case $FACTORY_ITEM in *1) exit 1;; *2) echo FACTORY_PARK=help;; *) exec sleep 600;; esac";
    let mut factory = Factory::with_agent(script);
    factory.set("attempts", "max", "1");
    ["AR-1", "AR-2", "AR-3"].iter().for_each(|key| factory.item(key));
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.wait_swept("ar-2-impl.1");
    factory.tick().expect(4);
    factory.run(&["stop", "AR-3"]).expect(0);

    let retried = |arguments: &[&str]| {
        let ran = factory.run(&[&["retry", "--all", "--format", "json"], arguments].concat()).expect(0);
        ran.decided()
    };
    let all = ["retry dir:AR-1", "retry dir:AR-2", "retry dir:AR-3"];
    assert_eq!(retried(&["-n"]), all);
    assert_eq!(factory.recorded("AR-1")["state"], "parked", "a dry run changes nothing");
    assert_eq!(retried(&["--class", "agent"]), ["retry dir:AR-1"]);
    assert_eq!(retried(&["--class", "agent"]), [""; 0]);
    assert_eq!(retried(&[]), all[1..]);
    for key in ["AR-1", "AR-2", "AR-3"] {
        assert_eq!(factory.recorded(key)["state"], "waiting", "{key}");
    }
    factory.run(&["retry", "--all", "--class", "nonsense"]).expect(2);
    factory.run(&["retry", "AR-1", "--class", "agent"]).expect(2);
}
