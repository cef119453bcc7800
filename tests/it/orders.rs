//! What a person orders: tried again, parked, started anew, paused.

use std::fs;

use serde_json::json;

use crate::support::{Factory, NOTE_START, Ran, Running, assert_has, everything, is_alive, kill_9, put};

/// An agent that works until it is ended.
const WORKS: &str = "exec sleep 600";

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
    assert_has(&status, &["→ to answer:  factory-tick retry AR-1 --message"]);

    let ran = factory.run(&["retry", "AR-1", "--message", "the orders table"]).expect(0);
    assert_has(&ran.stdout, &["retry: ok (1 retry)", "retry  AR-1"]);
    let events = fs::read_to_string(factory.state("events.jsonl")).unwrap();
    assert!(events.lines().last().unwrap().contains("\"event\":\"retry\""), "{events}");
    assert_eq!(factory.recorded("AR-1")["state"], "waiting");

    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2");
    factory.wait_swept("ar-1-impl.2");
    assert_has(
        &prompt_of(&factory, "ar-1-impl.2"),
        &["# From the person in charge\n\nYou asked: ", "\nThe answer: the orders table\n"],
    );
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
    assert_eq!(factory.recorded("AR-1")["messages"], json!(null), "nobody needs them any more");
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
        factory.told("heard").starts_with("You asked: help\nThe answer: go left\n\nGo on"),
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

// ---------------------------------------------------------------------------------------------
// park, restart

// covers: I12
#[test]
fn what_is_parked_while_it_runs_goes_on_and_nothing_follows() {
    let factory =
        Factory::with_agent(&[NOTE_START, r#"echo > "$LAB/up"; read x < "$LAB/go"; exit 1"#].concat());
    nix::unistd::mkfifo(&factory.lab("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_told("up");
    let ran = factory.run(&["park", "AR-1", "--reason", "the schema changes first"]).expect(0);
    assert_has(&ran.stdout, &["park: ok (1 park)", "the schema changes first"]);
    factory.tick().expect(0);
    assert_eq!(factory.agents_alive(), ["ar-1-impl.1"], "it goes on");
    let status = factory.run(&["status"]).expect(0).stdout;
    assert_has(&status, &["In flight: 1", "Parked: 1", "the schema changes first", "→ its agent runs"]);

    put(&factory.lab("go"), "go\n");
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(factory.tick().expect(0).decided()[0], "fail ar-1-impl.1");
    factory.edit("AR-1", "An edit does not bring it back.");
    assert_eq!(factory.tick().expect(0).held(), ["parked dir:AR-1"]);
    assert_eq!(factory.starts(), ["ar-1-impl.1"]);
    assert_has(&factory.run(&["status"]).expect(0).stdout, &["→ to bring it back:  factory-tick retry AR-1"]);
    factory.run(&["retry", "AR-1"]).expect(0);
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2");
}

#[test]
fn what_was_never_started_can_be_parked() {
    let factory = Factory::with_agent(WORKS);
    factory.item("AR-1");
    let before = everything(&factory.path(""));
    factory.run(&["park", "AR-1", "-n"]).expect(0);
    assert_eq!(everything(&factory.path("")), before);
    factory.run(&["park", "AR-1"]).expect(0);
    assert_eq!(factory.tick().expect(0).held(), ["parked dir:AR-1"]);
}

#[test]
fn a_restart_ends_the_agent_and_starts_another_with_all_attempts() {
    let factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    let before = everything(&factory.state("registry.json"));
    let told = factory.run(&["restart", "AR-1", "-n"]).expect(0).stdout;
    assert_has(&told, &["dry run", "stop", "park", "retry"]);
    assert_eq!(everything(&factory.state("registry.json")), before);

    let ran = factory.run(&["restart", "ar-1-impl", "--format", "json"]).expect(0);
    let decided = ran.decided();
    assert_eq!(decided.first().map(String::as_str), Some("stop ar-1-impl.1"), "{decided:?}");
    assert_eq!(decided.last().map(String::as_str), Some("retry dir:AR-1"), "{decided:?}");
    factory.wait_all_gone();
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2");
    assert_eq!(factory.recorded("AR-1")["attempts"], 0);
}

// ---------------------------------------------------------------------------------------------
// pause, unpause

#[test]
fn a_pause_starts_nothing_and_everything_else_goes_on() {
    let factory = Factory::with_agent(&[NOTE_START, "exit 1"].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let ran = factory.run(&["pause", "--for", "12h", "--reason", "the bill"]).expect(0);
    assert_has(&ran.stdout, &["pause: ok (1 pause)", "the bill"]);
    factory.item("AR-2");
    let ran = factory.tick().expect(0);
    assert_eq!(ran.decided()[1], "fail ar-1-impl.1", "what ended is judged");
    assert_eq!(ran.held(), ["backoff dir:AR-1", "paused dir:AR-2"]);

    let status = factory.run(&["status", "--format", "json"]).expect(0).json();
    assert_eq!((&status["paused"], &status["pause"]["because"]), (&json!(true), &json!("the bill")));
    assert_eq!(status["heartbeat"]["paused"], true);
    assert_has(&factory.run(&["status"]).expect(0).stdout, &["  paused  for ", ", until 20", ": the bill"]);

    factory.run(&["unpause"]).expect(0);
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-2-impl.1");
    let status = factory.run(&["status", "--format", "json"]).expect(0).json();
    assert_eq!((&status["paused"], &status["heartbeat"]["paused"]), (&json!(false), &json!(false)));
    assert_has(&factory.run(&["unpause"]).expect(0).stdout, &["nothing to do"]);
    factory.run(&["pause", "--for", "0"]).expect(2);
}

#[test]
fn a_pause_ends_by_itself() {
    let factory = Factory::with_agent("exit 0");
    factory.item("AR-1");
    factory.run(&["pause", "--for", "300ms"]).expect(0);
    let ran = factory.tick_until("the pause ends", |ran| !ran.decided().is_empty());
    assert_eq!(ran.decided()[..2], ["unpause -", "start ar-1-impl.1"]);
}

// ---------------------------------------------------------------------------------------------
// reap --forget

#[test]
fn a_hand_off_that_cannot_be_ended_is_given_up_by_name_and_by_a_person_alone() {
    let mut factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.refuse_started_notes();
    factory.item("AR-1");
    factory.tick().expect(3);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    let forget = |run: &str| factory.run(&["reap", "--forget", run, "--format", "json"]);
    let why = forget("ar-1-impl.1").expect(5).json()["errors"][0].as_str().unwrap().to_owned();
    assert_has(&why, &["nothing says yet that ar-1-impl.1 can't be ended"]);
    let why = forget("ar-9-impl.1").expect(5).json()["errors"][0].as_str().unwrap().to_owned();
    assert_has(&why, &["no run that must end; only ar-1-impl.1 is"]);

    let survivor =
        json!({"pid": 4_000_000, "start_ticks": 1, "comm": "mount", "because": "it sleeps in the kernel"});
    let with_survivor = format!("\"survivors\":[{survivor}]");
    let launcher = factory.launcher("ar-1-impl.1");
    factory.forge_registry(|text| text.replacen("\"survivors\":[]", &with_survivor, 1));
    let before = fs::read(factory.state("registry.json")).unwrap();
    factory.run(&["reap", "--forget", "ar-1-impl.1", "-n"]).expect(0);
    assert_eq!(fs::read(factory.state("registry.json")).unwrap(), before);
    let given_up = forget("ar-1-impl.1").expect(0);
    assert_eq!(given_up.decided(), ["forget ar-1-impl.1"]);
    assert_has(&given_up.stdout, &["4000000 (mount): it sleeps in the kernel"]);
    assert_eq!(factory.registry()["handoffs"], json!({}));
    let events = fs::read_to_string(factory.state("events.jsonl")).unwrap();
    assert_has(events.lines().last().unwrap(), &["\"event\":\"forget\"", "4000000 (mount)"]);
    assert!(is_alive(launcher), "giving up signals nobody");
    kill_9(launcher);
    factory.wait_all_gone();
}

// ---------------------------------------------------------------------------------------------
// drain

// Origin: hermes-agent#27485 - a long job held the lock of the tick: a gap of 68 minutes.
// covers: F59
#[test]
fn a_drain_waits_for_what_is_in_flight_and_holds_no_lock_meanwhile() {
    let factory =
        Factory::with_agent(&[NOTE_START, r#"echo > "$LAB/up"; read x < "$LAB/go"; exit 0"#].concat());
    nix::unistd::mkfifo(&factory.lab("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_told("up");
    factory.item("AR-2");
    let ran = factory.run(&["drain", "--wait", "0"]).expect(3);
    assert_has(&ran.stdout, &["drain: partial (1 pause)", "still in flight: ar-1-impl.1"]);

    let mut drain = Running::start(&mut factory.program(&["drain"]));
    drain.wait_stderr("waiting for ar-1-impl.1");
    let meanwhile = factory.run(&["--wait-lock", "1m", "--format", "json"]).expect(0);
    assert_eq!(meanwhile.held(), ["already_active dir:AR-1", "paused dir:AR-2"]);
    put(&factory.lab("go"), "go\n");
    assert_has(&drain.end().expect(0).stdout, &["drain: ok"]);
    assert_eq!(factory.recorded("AR-1")["state"], "done", "what ended was judged");
    assert_eq!(factory.starts(), ["ar-1-impl.1"]);
    factory.run(&["unpause"]).expect(0);
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-2-impl.1");
}

#[test]
fn a_drain_that_stops_leaves_nothing_alive_and_nothing_parked() {
    let factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    let told = factory.run(&["drain", "--stop", "-n", "--format", "json"]).expect(0).decided();
    assert_eq!(told, ["pause -", "stop ar-1-impl.1"]);
    factory.run(&["drain", "--stop"]).expect(0);
    factory.wait_all_gone();
    assert_eq!(
        (&factory.registry()["handoffs"], &factory.recorded("AR-1")["state"]),
        (&json!({}), &json!("waiting"))
    );
    factory.run(&["unpause"]).expect(0);
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2");
}

// Origin: found by corrupting the state - the registry was an older one that did not know of the run: `stop --all` said ok
// and left its agent at work, and whoever went on to move the state away had lost it.
// covers: D25
#[test]
fn what_the_registry_has_forgotten_is_stopped_too() {
    for order in [&["stop", "--all"][..], &["stop", "AR-1"], &["restart", "AR-1"], &["drain", "--stop"]] {
        let factory = Factory::with_agent(&[NOTE_START, "exec sleep 600"].concat());
        factory.tick().expect(0);
        let older = fs::read_to_string(factory.state("registry.json")).unwrap();
        factory.item("AR-1");
        factory.tick().expect(0);
        factory.wait_for("its agent runs", || factory.starts().len() == 1);
        put(&factory.state("registry.json"), &older);
        factory.run(order).expect(0);
        assert!(factory.processes().is_empty(), "{order:?} left {:?}", factory.processes());
        assert_eq!(factory.starts(), ["ar-1-impl.1"], "{order:?}");
        let item = factory.recorded("AR-1");
        let parked = order[0] == "stop";
        assert_eq!(item["state"] == "parked", parked, "{order:?}: {item}");
    }
}

// Origin: read - what a run is called may be told by its hand-off alone, and `stop` asked for the name once more when that
// had ended: it had stopped the run, and said that it had declined to, and that nothing was called so.
// covers: D25
#[test]
fn a_run_that_is_known_by_its_hand_off_alone_is_stopped_and_that_is_said() {
    for order in ["stop", "restart"] {
        let mut factory = Factory::new();
        factory.role("old", &["sh", "-c", &[NOTE_START, "exec sleep 600"].concat()], "");
        factory.item("AR-1");
        factory.tick().expect(0);
        factory.wait_for("its agent runs", || factory.starts().len() == 1);
        let config = fs::read_to_string(factory.path("factory.toml")).unwrap();
        put(&factory.path("factory.toml"), &config.replace("\"old\"", "\"new\""));
        factory.run(&["pause"]).expect(0);
        factory.tick_until("its role is gone", |_| !factory.registry()["handoffs"]["ar-1-old.1"].is_null());
        let ran = factory.run(&[order, "ar-1-old.1"]).expect(0);
        assert!(factory.processes().is_empty(), "{order}: {:?}", factory.processes());
        assert!(ran.stdout.contains("all its processes were seen to be gone"), "{order}: {}", ran.stdout);
        assert_eq!(factory.recorded("AR-1")["state"] == "parked", order == "stop", "{order}");
    }
}

// ---------------------------------------------------------------------------------------------
// what ended since the last tick

/// An item whose agent has ended with this code, and which no tick has looked at since.
fn ended_unseen(code: u8) -> Factory {
    let factory = Factory::with_agent(&format!("{NOTE_START}exit {code}"));
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory
}

// Origin: an audit - `restart` threw a run away that had ended well a moment before, and `stop` parked its item.
// covers: P16
#[test]
fn good_end_that_no_tick_saw_survives_every_order() {
    let orders: [(&[&str], i32); 6] = [
        (&["stop", "AR-1"], 5),
        (&["stop", "--all"], 0),
        (&["restart", "AR-1"], 5),
        (&["retry", "ar-1-impl.1"], 5),
        (&["park", "AR-1"], 5),
        (&["drain", "--stop"], 0),
    ];
    for (order, code) in orders {
        let factory = ended_unseen(0);
        let before = everything(&factory.state("registry.json"));
        let mut dry = order.to_vec();
        dry.push("-n");
        factory.run(&dry).expect(code);
        assert_eq!(everything(&factory.state("registry.json")), before, "{order:?}");

        let ran = factory.run(order).expect(code);
        assert_eq!(factory.recorded("AR-1")["state"], "done", "{order:?}: {}{}", ran.stdout, ran.stderr);
        let events = fs::read_to_string(factory.state("events.jsonl")).unwrap();
        assert!(!events.contains("\"event\":\"stop\""), "{order:?}: {events}");
        factory.run(&["unpause"]).expect(0);
        factory.tick().expect(0);
        assert_eq!(factory.starts(), ["ar-1-impl.1"], "{order:?}");
    }
}

// covers: P16
#[test]
fn failure_that_no_tick_saw_can_be_retried_at_once() {
    let factory = ended_unseen(1);
    let ran = factory.run(&["retry", "AR-1", "--format", "json"]).expect(0);
    assert_eq!(ran.decided(), ["adopt ar-1-impl.1", "fail ar-1-impl.1", "retry dir:AR-1"]);
    assert_eq!(factory.recorded("AR-1")["attempts"], 0);
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2");
}

// covers: P16
#[test]
fn question_that_no_tick_saw_is_told_by_an_order_about_all() {
    let factory = Factory::with_agent("echo FACTORY_PARK=help");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert_has(&factory.run(&["stop", "--all"]).expect(4).stdout, &["help"]);
    assert_eq!(factory.recorded("AR-1")["last"]["class"], "needs_input");
    factory.tick().expect(0);
}

// covers: P16
#[test]
fn run_whose_launcher_died_after_a_good_end_is_judged_first() {
    let mut factory = Factory::with_agent(&[NOTE_START, "exit 0"].concat());
    factory.set("hooks", "after_run", r#"["sh", "-c", "echo > \"$LAB/hook\"; exec sleep 600"]"#);
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_told("hook");
    kill_9(factory.launcher("ar-1-impl.1"));
    assert_has(&refusal(factory.run(&["restart", "AR-1"])), &["dir:AR-1 is done", "factory-tick retry AR-1"]);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
    factory.wait_all_gone();
}

// ---------------------------------------------------------------------------------------------
// what is done

// Origin: an audit - `stop` parked an item that was done, and `retry --all` did its work once more.
// covers: P22
#[test]
fn done_item_is_not_parked_and_no_retry_of_all_takes_it_up() {
    let factory = ended_unseen(0);
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
    let before = everything(&factory.state("registry.json"));
    assert_has(&refusal(factory.run(&["stop", "AR-1"])), &["dir:AR-1 is done; there is nothing to stop"]);
    assert_has(&refusal(factory.run(&["park", "AR-1"])), &["dir:AR-1 is done; there is nothing to park"]);
    assert_has(
        &refusal(factory.run(&["restart", "AR-1"])),
        &["is done; `factory-tick retry AR-1` does it again"],
    );
    assert_has(&factory.run(&["stop", "--all"]).expect(0).stdout, &["nothing to do"]);
    assert_has(&factory.run(&["retry", "--all"]).expect(0).stdout, &["nothing to do"]);
    assert_eq!(everything(&factory.state("registry.json")), before);
    factory.tick().expect(0);
    assert_eq!(factory.starts(), ["ar-1-impl.1"]);

    factory.run(&["retry", "AR-1"]).expect(0);
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2", "a person may want it again");
}
