//! What a single tick takes from the Symphony service specification (openai/symphony, SPEC.md), where it is about
//! processes, folders and logs.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Factory, NOTE_START, install, put};

/// An agent that leaves something in its workspace and works until it is ended.
const WORKS: &str = r#"touch draft; echo > "$LAB/up"; exec sleep 600"#;

fn write(factory: &Factory, item: &Value) {
    put(&factory.issues().join("AR-1.json"), &item.to_string());
}

/// Its agent is at work, in scope by a label.
fn in_scope() -> Factory {
    let mut factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.set("source.scope", "labels", "[\"agent\"]");
    write(&factory, &json!({"labels": ["agent"]}));
    factory.tick().expect(0);
    factory.wait_told("up");
    assert_eq!(factory.tick().expect(0).decided(), ["adopt ar-1-impl.1"]);
    factory
}

/// Two reads, the hand-off, and the reaping of it.
#[track_caller]
fn assert_ended_uncharged(factory: &Factory) {
    assert_eq!(factory.tick().expect(0).decided(), [""; 0], "one read is no proof");
    assert_eq!(factory.tick().expect(0).decided(), [""; 0], "nor are two within 30 s");
    factory.miss_since(30);
    assert_eq!(factory.tick().expect(0).decided(), ["stop ar-1-impl.1"]);
    assert_eq!(factory.recorded("AR-1")["attempts"], 0);
    assert_eq!(factory.tick().expect(0).decided(), ["reap ar-1-impl.1"]);
    factory.wait_all_gone();
    assert!(factory.state("workspaces/AR-1/draft").exists(), "its workspace stays");
    assert_eq!(factory.tick().expect(0).decided(), ["forget ar-1-impl.1", "forget dir:AR-1"]);
}

// covers: S22 I05
#[test]
fn an_item_that_leaves_the_scope_ends_its_agent_and_keeps_its_workspace() {
    let factory = in_scope();
    write(&factory, &json!({"labels": ["other"]}));
    assert_ended_uncharged(&factory);
    // Back in scope it goes on where its files are.
    write(&factory, &json!({"labels": ["agent"]}));
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2");
    assert!(factory.state("workspaces/AR-1/draft").exists());
}

// covers: S20 I04
#[test]
fn an_item_that_is_closed_ends_its_agent() {
    let factory = in_scope();
    write(&factory, &json!({"labels": ["agent"], "state": "closed"}));
    assert_ended_uncharged(&factory);
    assert_eq!(factory.tick().expect(0).decided(), [""; 0]);
}

// covers: S23 I06
#[test]
fn the_next_run_of_an_item_is_given_its_latest_text() {
    let factory =
        Factory::with_agent(&[NOTE_START, r#"echo > "$LAB/up"; read x < "$LAB/go"; exit 1"#].concat());
    nix::unistd::mkfifo(&factory.lab("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    factory.edit("AR-1", "The first text.");
    factory.tick().expect(0);
    factory.wait_told("up");
    factory.edit("AR-1", "The second text.");
    assert_eq!(factory.tick().expect(0).decided(), ["adopt ar-1-impl.1"], "it goes on");
    put(&factory.lab("go"), "go\n");
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(factory.tick().expect(0).decided()[..2], ["fail ar-1-impl.1", "start ar-1-impl.2"]);
    let prompt = |run: &str| fs::read_to_string(factory.state("runs").join(run).join("prompt.md")).unwrap();
    assert!(prompt("ar-1-impl.1").contains("The first text."));
    assert!(prompt("ar-1-impl.2").contains("The second text."));
}

// covers: S01 S10
#[test]
fn what_ends_frees_its_slot_for_the_same_tick() {
    let mut factory = Factory::with_agent(&[NOTE_START, "exit 1"].concat());
    factory.set("limits", "items_max", "1");
    ["AR-1", "AR-2"].iter().for_each(|key| factory.item(key));
    let ran = factory.tick().expect(0);
    assert_eq!(ran.held(), ["no_slot dir:AR-2"]);
    factory.wait_swept("ar-1-impl.1");
    let ran = factory.tick().expect(0);
    assert_eq!(ran.decided()[..3], ["adopt ar-1-impl.1", "fail ar-1-impl.1", "start ar-2-impl.1"]);
    assert_eq!(ran.held(), ["backoff dir:AR-1"]);
}

// covers: S35 S37
#[test]
fn every_decision_and_what_became_of_it_is_a_line_in_the_log() {
    let mut factory = Factory::with_agent(&[NOTE_START, "exec sleep 600"].concat());
    factory.refuse_started_notes();
    factory.item("AR-1");
    let report = factory.tick().expect(3).json();
    let events = fs::read_to_string(factory.state("events.jsonl")).unwrap();
    let lines: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let decisions = report["decisions"].as_array().unwrap();
    assert!(!decisions.is_empty());
    for decision in decisions {
        let is_told = |line: &&Value| {
            line["event"] == decision["action"]
                && ["item", "agent", "run", "because"].iter().all(|field| line[*field] == decision[*field])
                && line["at"].is_string()
        };
        assert_eq!(lines.iter().filter(is_told).count(), 1, "{decision}\n{events}");
    }
    let failed =
        lines.iter().find(|line| line["event"] == "writeback_outcome").expect("the note that failed");
    assert_eq!((&failed["item"], &failed["ok"]), (&json!("dir:AR-1"), &json!(false)));
    assert_eq!((&failed["key"], &failed["run"]), (&json!("AR-1"), &json!(null)));
    assert!(failed["error"].as_str().unwrap().contains(".factory"), "{failed}");
}

/// The lines of the log, each as `<event> <key> <agent> <session>`.
fn logged(factory: &Factory) -> Vec<String> {
    let events = fs::read_to_string(factory.state("events.jsonl")).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let words =
            ["event", "key", "agent", "session"].map(|field| line[field].as_str().unwrap_or("-").to_owned());
        words.join(" ")
    };
    events.lines().map(line).collect()
}

// A session that went wrong could be looked for in the log by its run alone, of which there is another one with each
// resume; and an item by its id, which is not what people call it.
// covers: S35
#[test]
fn the_log_names_item_agent_and_session_as_people_know_them() {
    let mut factory = Factory::new();
    let ends_well = r#"resume = ["sh", "-c", "exit 0", "{session}"]"#;
    factory.role("impl", &["sh", "-c", "echo FACTORY_SESSION=s-1; exit 1"], ends_well);
    write(&factory, &json!({"key": "WEB-12"}));
    for run in ["web-12-impl.1", "web-12-impl.2"] {
        factory.tick().expect(0);
        factory.wait_swept(run);
    }
    factory.tick().expect(0);
    fs::remove_file(factory.issues().join("AR-1.json")).unwrap();
    factory.run(&["--accept-missing"]).expect(0);
    let want = [
        "start WEB-12 web-12-impl -",
        "writeback WEB-12 - -",
        "adopt WEB-12 web-12-impl s-1",
        "fail WEB-12 web-12-impl s-1",
        "resume WEB-12 web-12-impl s-1",
        "adopt WEB-12 web-12-impl s-1",
        "done WEB-12 web-12-impl s-1",
        "done WEB-12 - -",
        "writeback WEB-12 - -",
        "forget WEB-12 - -",
    ];
    assert_eq!(logged(&factory), want);

    // A session that is chosen beforehand is known from the start.
    let mut factory = Factory::new();
    fs::create_dir(factory.path("bin")).unwrap();
    put(&factory.path("claude.txt"), "#!/bin/sh\nexit 1\n");
    install(&factory.path("claude.txt"), &factory.path("bin/claude"));
    factory.set("env", "path_prepend", "[\"bin\"]");
    factory.preset("claude", "");
    factory.item("AR-1");
    factory.tick().expect(0);
    let session = factory.agent("ar-1-impl")["session"].as_str().expect("it was chosen").to_owned();
    assert_eq!(logged(&factory)[0], format!("start AR-1 ar-1-impl {session}"));
    factory.wait_swept("ar-1-impl.1");
    factory.run(&["stop", "AR-1"]).expect(0);
    assert!(logged(&factory).contains(&"park AR-1 - -".to_owned()), "{:?}", logged(&factory));
}

// covers: S36
#[test]
fn a_log_that_cannot_be_written_fails_no_tick() {
    let factory = Factory::with_agent(&[NOTE_START, "exit 0"].concat());
    factory.tick().expect(0);
    let _ = fs::remove_file(factory.state("events.jsonl"));
    fs::create_dir(factory.state("events.jsonl")).unwrap();
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
}
