//! What it takes for an item to be done, beside that its agents end with 0.

use std::fs;

use serde_json::json;

use crate::support::{Factory, NOTE_START, Ran, put};

/// The note that the factory left beside an item.
fn note(factory: &Factory, slug: &str) -> serde_json::Value {
    let text = fs::read_to_string(factory.issues().join(".factory").join(format!("{slug}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Ticks until that run is over and was judged.
fn until_judged(factory: &Factory, run: &str) -> Ran {
    factory.tick_until(&format!("{run} is judged"), |ran| ran.decided().contains(&format!("done {run}")))
}

// covers: I24 I27 S27
#[test]
fn an_item_that_its_agent_closes_is_done_and_one_that_it_does_not_goes_on() {
    let closes = r#"case $FACTORY_ITEM in
        *AR-1) printf '{"title": "closed", "state": "closed"}' > "$LAB/../issues/AR-1.json";;
        *) echo "FACTORY_SESSION=s-1"; cat "$LAB/turn" 2>/dev/null; :;;
    esac"#;
    let mut factory = Factory::new();
    let resume = json!(["sh", "-c", "echo \"$1\" >> \"$LAB/resumed\"; echo turn", "x", "{session}"]);
    factory.role("impl", &["sh", "-c", closes], &format!("resume = {resume}"));
    factory.set("done", "when", "\"source\"");
    put(&factory.issues().join("AR-1.json"), r#"{"title": "open"}"#);
    factory.item("AR-2");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.wait_swept("ar-2-impl.1");
    let ran = factory.tick().expect(0);
    assert!(!ran.decided().contains(&"done dir:AR-2".to_owned()), "{}", ran.stdout);
    factory.miss_since(30);

    let ran = factory.tick().expect(0);
    assert_eq!(ran.decided(), ["done dir:AR-1", "resume ar-2-impl.2", "writeback dir:AR-1"]);
    assert_eq!(note(&factory, "ar-1")["status"], "done");
    assert_eq!(note(&factory, "ar-1")["because"], "every role ended well, and it left its source");
    factory.wait_swept("ar-2-impl.2");
    assert_eq!(factory.told("resumed"), "s-1\n");
    assert_eq!(factory.recorded("AR-2")["continued"], 1);
    assert_eq!(factory.recorded("AR-2")["attempts"], 0);
}

// A tracker that kept an item open had its agent look at it, find nothing to do and end well, each minute, all night.
// covers: I28
#[test]
fn an_agent_that_does_nothing_again_is_not_started_for_ever() {
    let mut factory = Factory::with_agent(&[NOTE_START, "echo 'nothing to do'"].concat());
    factory.set("done", "when", "\"source\"");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    until_judged(&factory, "ar-1-impl.1");
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2");
    factory.wait_swept("ar-1-impl.2");
    until_judged(&factory, "ar-1-impl.2");
    let ran = factory.tick().expect(4);
    assert_eq!(ran.decided(), ["park dir:AR-1", "writeback dir:AR-1"]);
    let parked = factory.run(&["status", "--format", "json"]).expect(0).json()["parked"][0].clone();
    assert_eq!(parked["class"], "no_effect", "{parked}");
    assert_eq!(factory.tick().expect(0).decided(), Vec::<String>::new());
    assert_eq!(factory.starts().len(), 2);
}

// covers: I25
#[test]
fn a_command_says_whether_an_item_is_done() {
    let mut factory = Factory::with_agent(&[NOTE_START, "echo $$ | tee -a parts"].concat());
    // In the workspace, with what the agent was given; the second time it is there.
    let asks = r#"echo "$FACTORY_RUN $PWD" >> "$LAB/asked"; [ "$(wc -l < parts)" -ge 2 ]"#;
    factory.set("done", "when", "\"command\"");
    factory.set("done", "command", &json!(["sh", "-c", asks]).to_string());
    factory.item("AR-1");
    factory.run(&["-n"]).expect(0);
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(factory.receipt("ar-1-impl.1", "exit").unwrap()["done"], 1);
    factory.run(&["-n"]).expect(0);
    assert_eq!(factory.told("asked").lines().count(), 1, "a dry run asks nobody");
    factory.tick().expect(0);
    let ran = factory.tick().expect(0);
    assert_eq!(ran.decided()[0], "start ar-1-impl.2");
    assert!(ran.stdout.contains("it is not done: it goes on (1 of 3)"), "{}", ran.stdout);
    factory.wait_swept("ar-1-impl.2");
    let ran = until_judged(&factory, "ar-1-impl.2");
    assert!(ran.decided().contains(&"done dir:AR-1".to_owned()), "{}", ran.stdout);
    assert_eq!(note(&factory, "ar-1")["because"], "every role ended well, and the done command says so");
    let asked = factory.told("asked");
    let first = format!("{}/ar-1-impl.1 ", factory.lineage());
    assert!(
        asked.starts_with(&first) && asked.lines().all(|line| line.ends_with("/workspaces/AR-1")),
        "{asked}"
    );
}

// covers: I25
#[test]
fn a_command_that_answers_nothing_known_leaves_it_to_a_person_and_outlives_nothing() {
    let mut factory = Factory::with_agent("exit 0");
    factory.set("done", "when", "\"command\"");
    factory.set("done", "command", r#"["sh", "-c", "sleep 600 & exit 7"]"#);
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.wait_all_gone();
    until_judged(&factory, "ar-1-impl.1");
    factory.tick().expect(4);
    let last = factory.recorded("AR-1")["last"].clone();
    assert_eq!(last["class"], "infra");
    assert!(last["because"].as_str().unwrap().starts_with("the done command answered 7:"), "{last}");
}

// covers: I26
#[test]
fn a_command_is_not_asked_after_an_agent_that_failed() {
    let mut factory = Factory::with_agent("exit 3");
    factory.set("done", "when", "\"command\"");
    factory.set("done", "command", r#"["sh", "-c", "touch $LAB/asked"]"#);
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert!(!factory.lab("asked").exists());
    assert_eq!(factory.receipt("ar-1-impl.1", "exit").unwrap().get("done"), None);
}

// covers: I26
#[test]
fn stop_does_not_wait_for_a_command_that_hangs() {
    let mut factory = Factory::with_agent("exit 0");
    factory.set("done", "when", "\"command\"");
    factory.set("done", "command", r#"["sh", "-c", "echo up >> $LAB/up; exec sleep 600"]"#);
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_told("up");
    factory.run(&["stop", "AR-1"]).expect(0);
    factory.wait_all_gone();
    assert_eq!(factory.recorded("AR-1")["parked_by"], "person");
}

// A shutdown in the minute in which the command was asked left its item parked: nobody had answered, and a person was to
// find out why. The system tells both to end, the command perhaps first.
#[test]
fn a_command_that_a_shutdown_interrupts_is_asked_again() {
    // The launcher goes on only when the command is dead, and was told meanwhile.
    let command_first = r#"kill -STOP $PPID; kill -TERM $PPID
        (until grep -q "^State:.Z" /proc/$$/status; do :; done; kill -CONT $PPID) & kill -TERM $$"#;
    for last in ["kill -TERM $PPID; exec sleep 600", command_first] {
        let mut factory = Factory::with_agent(NOTE_START);
        factory.set("attempts", "backoff_base", "\"1ms\"");
        factory.set("done", "when", "\"command\"");
        let script = format!(r#"[ ! -e "$LAB/up" ] || exit 0; touch "$LAB/up"; {last}"#);
        factory.set("done", "command", &json!(["sh", "-c", script]).to_string());
        factory.item("AR-1");
        factory.tick().expect(0);
        factory.wait_swept("ar-1-impl.1");
        let exit = factory.receipt("ar-1-impl.1", "exit").unwrap();
        assert_eq!((&exit["reason"], exit.get("done")), (&json!("stopped"), None), "{exit}");
        factory.tick_until("it is done", |_| factory.recorded("AR-1")["state"] == "done");
        assert_eq!(factory.starts().len(), 2);
        assert_eq!(factory.recorded("AR-1")["attempts"], 0);
    }
}

// A done item leaves the records one tick after it was done. A person who names it must hear that it is done.
// covers: P11c
#[test]
fn orders_know_an_item_of_the_index() {
    let factory = Factory::with_agent(&[NOTE_START, "echo the log"].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.tick_until("it is in the index", |_| factory.registry()["done"].get("dir:AR-1").is_some());
    assert_eq!((&factory.registry()["items"], &factory.registry()["agents"]), (&json!({}), &json!({})));
    for order in [&["park", "AR-1"][..], &["stop", "ar-1-impl"], &["restart", "dir:AR-1"]] {
        let ran = factory.run(order).expect(5);
        assert!(ran.stderr.contains("dir:AR-1 is done; "), "{order:?}: {}", ran.stderr);
    }
    assert!(factory.run(&["status"]).expect(0).stdout.contains("Done: 1"));
    assert_eq!(factory.run(&["logs", "AR-1"]).expect(0).stdout, "the log\n");
    let explain = || -> serde_json::Value {
        serde_json::from_str(&factory.run(&["explain", "AR-1", "--format", "json"]).expect(0).stdout).unwrap()
    };
    let known = explain();
    assert_eq!(
        (&known["record"]["dispatches"], &known["agents"][0]["agent"]),
        (&json!(1), &json!("ar-1-impl"))
    );
    assert_eq!(known["errors"], json!([]));
    put(&factory.state("done.jsonl"), "damaged\n");
    let error = explain()["errors"][0].as_str().unwrap().to_owned();
    assert!(error.ends_with("done.jsonl: 1 of its lines can't be read"), "{error}");
    factory.run(&["retry", "AR-1"]).expect(0);
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2");
    assert_eq!(factory.recorded("AR-1")["dispatch"], 2);
}
