//! Runs that must end: durable until zero survivors were seen, and nobody else is ever touched.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    Factory, NOTE_START, Ran, Running, binary, everything, install, is_alive, is_root, kill_9, put, skipped,
    system,
};

/// An agent with a child in a session of its own, which both work until they are ended.
const TREE: &str = r#"setsid sh -c 'echo $$ >> "$LAB/children"; exec sleep 600' & exec sleep 600"#;

fn children(factory: &Factory, count: usize) -> Vec<u32> {
    factory.wait_for("all children run", || factory.told("children").lines().count() == count);
    factory.told("children").lines().map(|line| line.parse().unwrap()).collect()
}

fn handoffs(factory: &Factory) -> Vec<String> {
    factory.registry()["handoffs"].as_object().unwrap().keys().cloned().collect()
}

/// Somebody else's process with this in its environment.
fn bystander(marker: &str) -> Running {
    Running::start(system("sleep").arg("600").env("FACTORY_RUN", marker))
}

// Origin: dot-agent-deck#600 - role 2 could not start, role 1 was orphaned; and pear#248, pear#264 - a dispatch
// failed after a spawn, the agent lived on, and the next retry started a second one.
// covers: D40 X02 X04 I14 F13 F27 F31
#[test]
fn a_dispatch_that_fails_hands_its_runs_off_and_they_are_ended_to_zero() {
    let mut factory = Factory::with_agent(&[NOTE_START, TREE].concat());
    factory.refuse_started_notes();
    factory.item("AR-1");
    let mut codes = Vec::new();
    let mut tick = || {
        let ran = factory.tick();
        codes.push(ran.code.unwrap());
        ran
    };
    tick();
    assert_eq!(handoffs(&factory), ["ar-1-impl.1"], "in the commit of the tick that failed");
    let handoff = factory.registry()["handoffs"]["ar-1-impl.1"].clone();
    assert!(handoff["why"].as_str().unwrap().contains(".factory"), "{handoff}");
    let child = children(&factory, 1)[0];
    assert_eq!(factory.processes().len(), 3, "launcher, agent, child");

    let ended = tick();
    assert_eq!(ended.held(), ["handoff_pending dir:AR-1"]);
    assert!(!is_alive(child));
    assert!(factory.processes().is_empty(), "{:?}", factory.processes());

    tick();
    assert_eq!(handoffs(&factory), [""; 0]);
    let counters = factory.registry()["counters"].clone();
    for (counter, value) in [
        ("dispatch_failure_reaper_handoffs", 1),
        ("handoffs_reaped", 1),
        ("dispatch_failure_reaper_handoff_failures", 0),
        ("survivors", 0),
    ] {
        assert_eq!(counters[counter], value, "{counter}: {counters}");
    }
    assert_eq!(factory.recorded("AR-1")["attempts"], 1, "one charge for the dispatch");
    // The backoff has an hour to go: nothing is started or handed off again.
    assert_eq!(tick().held(), ["backoff dir:AR-1"]);
    assert_eq!(codes, [3, 0, 0, 0]);
    assert_eq!(factory.starts(), ["ar-1-impl.1"]);
}

// Origin: pear#264 review - a protected pid was recorded for an agent and hid its real processes; and
// openclaw#132745 - what carried a marker was killed whoever it was.
// covers: D39 F12 F29 F31
#[test]
fn protected_processes_and_strangers_live_while_everything_else_of_the_run_is_ended() {
    let broker = r#"setsid sh -c 'echo $$ > "$LAB/broker.pid"; exec sleep 600' & "#;
    let mut factory = Factory::with_agent(&[NOTE_START, broker, TREE].concat());
    factory.refuse_started_notes();
    factory.tick().expect(0);
    let marker = format!("{}/ar-1-impl.1", factory.lineage());
    let protected = bystander(&marker);
    let marked = bystander(&marker);
    let strangers = [
        bystander("ffffffffffffffffffffffffffffffff/ar-1-impl.1"),
        bystander(&format!("{marker}0")),
        bystander(&format!("{}/ar-1-impl.2", factory.lineage())),
        bystander("ar-1-impl.1"),
    ];
    factory.set("fleet", "protected_pids", &format!("[{}]", protected.pid()));
    factory.set("fleet", "protected_pidfiles", "[\"lab/broker.pid\"]");
    factory.item("AR-1");
    factory.tick().expect(3);
    let child = children(&factory, 1)[0];
    let broker = factory.wait_pid("broker.pid");
    // With its launcher dead the run is found by what its processes carry.
    kill_9(factory.launcher("ar-1-impl.1"));
    factory.wait_for("the launcher and its agent are dead", || factory.processes().len() == 2);

    let report = factory.tick().expect(0).json();
    assert!(!is_alive(child) && !is_alive(marked.pid()), "{report}");
    assert!(is_alive(protected.pid()) && is_alive(broker), "{report}");
    assert!(strangers.iter().all(|stranger| is_alive(stranger.pid())), "{report}");
    let skipped: Vec<_> =
        report["skipped"].as_array().unwrap().iter().map(|one| one["pid"].clone()).collect();
    assert!(skipped.contains(&json!(protected.pid())) && skipped.contains(&json!(broker)), "{report}");
    assert_eq!(report["survivors"], json!([]));
    factory.tick().expect(0);
    assert_eq!(handoffs(&factory), [""; 0]);
    assert_eq!(factory.registry()["counters"]["protected_pid_skips"], 1);
    kill_9(broker);
    // Killed is not yet gone, and no process of a factory may outlive it.
    factory.wait_all_gone();
}

// Origin: pear#264 review - stale hand-offs of an item that later succeeded reappeared in later writes.
// covers: V11 X06 F27 F30
#[test]
fn a_required_note_that_fails_hands_the_whole_crew_off_and_success_leaves_nothing_behind() {
    let works_or_ends = format!(r#"{NOTE_START}[ -e "$LAB/told" ] && exit 0; {TREE}"#);
    let mut factory = Factory::new();
    for suffix in ["impl", "review"] {
        factory.role(suffix, &["sh", "-c", &works_or_ends], "");
    }
    factory.set("writeback", "started", "\"required\"");
    factory.set("attempts", "backoff_base", "\"100ms\"");
    factory.tick().expect(0);
    let protected = bystander(&format!("{}/ar-1-impl.1", factory.lineage()));
    factory.set("fleet", "protected_pids", &format!("[{}]", protected.pid()));
    // Where the note would go there is a file: it can't be written, by nobody.
    put(&factory.issues().join(".factory"), "");
    factory.item("AR-1");

    let report = factory.tick().expect(3).json();
    assert!(report["errors"][0].as_str().unwrap().contains("the note can't be written"), "{report}");
    assert_eq!(handoffs(&factory), ["ar-1-impl.1", "ar-1-review.1"]);
    let item = factory.recorded("AR-1");
    assert_eq!((&item["attempts"], &item["last"]["class"]), (&json!(1), &json!("writeback")), "{item}");
    let children = children(&factory, 2);
    fs::remove_file(factory.issues().join(".factory")).unwrap();
    put(&factory.lab("told"), "");

    factory.tick().expect(0);
    assert!(children.iter().all(|child| !is_alive(*child)));
    factory.wait_all_gone();
    assert!(is_alive(protected.pid()));

    let done = |_: &Ran| factory.recorded("AR-1")["state"] == "done";
    factory.tick_until("the next attempt succeeds", done);
    for _ in 0..3 {
        factory.tick().expect(0);
        assert_eq!(handoffs(&factory), [""; 0]);
    }
    let starts = factory.starts();
    assert_eq!(starts.len(), 4, "{starts:?}");
}

// Origin: pear#264 review, egg#1510 - what could not be written was taken for written.
// covers: V11
#[test]
fn a_required_note_on_a_full_disk_hands_the_whole_crew_off() {
    let mut factory = Factory::new();
    for suffix in ["impl", "review"] {
        factory.role(suffix, &["sh", "-c", &[NOTE_START, TREE].concat()], "");
    }
    factory.set("writeback", "started", "\"required\"");
    factory.item("AR-1");
    fs::create_dir(factory.issues().join(".factory")).unwrap();
    let on_a_full_disk = r#"
        mount -t tmpfs -o size=4k tmpfs issues/.factory
        head -c 4096 /dev/zero > issues/.factory/filler
        exec "$TICK" --format json
    "#;
    let mut unshare = vec!["unshare", "--mount"];
    unshare.extend((!is_root()).then_some("--map-root-user"));
    let script = format!("exec {} sh -ec '{on_a_full_disk}'", unshare.join(" "));
    let ran = Ran::of(&mut factory.shell(&script));
    if ran.stderr.contains("unshare failed") {
        return skipped(&format!("this machine allows no mount namespace: {}", ran.stderr));
    }
    let report = ran.expect(3).json();
    assert!(report["errors"][0].as_str().unwrap().contains("No space left on device"), "{report}");
    assert_eq!(handoffs(&factory), ["ar-1-impl.1", "ar-1-review.1"]);
    let children = children(&factory, 2);
    factory.tick().expect(0);
    assert!(children.iter().all(|child| !is_alive(*child)));
    factory.wait_all_gone();
    factory.tick().expect(0);
    assert_eq!(handoffs(&factory), [""; 0]);
}

#[test]
fn a_launcher_leaves_alone_what_was_protected_while_its_agent_ran() {
    let server = r#"setsid sh -c 'echo $$ > "$LAB/server.pid"; exec sleep 600' & "#;
    let ends_when_it_runs = r#"until [ -s "$LAB/server.pid" ]; do sleep 0.01; done"#;
    let mut factory = Factory::with_agent(&[server, ends_when_it_runs].concat());
    factory.set("fleet", "protected_pidfiles", "[\"lab/server.pid\"]");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let server = factory.wait_pid("server.pid");
    assert!(is_alive(server));
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
    kill_9(server);
}

// Origin: factory#244 - equal keys in two places shared an agent.
// covers: F11 F12
#[test]
fn two_factories_with_the_same_items_never_touch_each_other() {
    let factories = [(); 2].map(|()| Factory::with_agent(&[NOTE_START, TREE].concat()));
    let [ours, theirs] = &factories;
    for factory in &factories {
        factory.item("AR-1");
        factory.tick().expect(0);
        children(factory, 1);
        factory.tick().expect(0);
    }
    assert_ne!(ours.lineage(), theirs.lineage());
    let alive = theirs.pids();
    assert_eq!(alive.len(), 3);
    // By its launcher, and by what is found where that is dead.
    kill_9(ours.launcher("ar-1-impl.1"));
    ours.tick().expect(0);
    ours.wait_all_gone();
    assert_eq!(theirs.pids(), alive);
    ours.run(&["stop", "--all"]).expect(0);
    ours.run(&["reap"]).expect(0);
    assert_eq!(theirs.pids(), alive);
    theirs.run(&["stop", "--all"]).expect(0);
    assert!(theirs.processes().is_empty());
}

// ---------------------------------------------------------------------------------------------
// By hand

/// A command first dry, which changes and ends nothing, then in earnest.
#[track_caller]
fn dry_then_real(factory: &Factory, arguments: &[&str]) -> Ran {
    let (before, pids) = (everything(&factory.path("")), factory.pids());
    let dry = factory.run(&[arguments, &["-n"]].concat()).expect(0);
    assert!(dry.stdout.starts_with("dry run, nothing changed"), "{}", dry.stdout);
    assert_eq!(everything(&factory.path("")), before);
    assert_eq!(factory.pids(), pids);
    factory.run(arguments)
}

// Origin: the TypeScript factory - a dry run of its reaper killed a process.
// covers: I12 F34 F42
#[test]
fn stop_ends_one_item_and_parks_it_for_good() {
    let factory = Factory::with_agent(&[NOTE_START, TREE].concat());
    ["AR-1", "AR-2"].iter().for_each(|key| factory.item(key));
    factory.tick().expect(0);
    children(&factory, 2);
    factory.tick().expect(0);
    dry_then_real(&factory, &["stop", "ar-1-impl"]).expect(0);
    let left: Vec<_> = factory.processes().into_iter().map(|one| one.run).collect();
    assert_eq!(left, ["ar-2-impl.1"; 3]);
    assert_eq!(handoffs(&factory), [""; 0]);
    let item = factory.recorded("AR-1");
    assert_eq!((&item["state"], &item["parked_by"]), (&json!("parked"), &json!("person")), "{item}");
    assert_eq!(item["attempts"], 0, "a person's wish is no failure");
    // Stopped stays stopped, whatever becomes of the item.
    factory.edit("AR-1", "Something else.");
    for _ in 0..3 {
        assert_eq!(factory.tick().expect(0).held(), ["parked dir:AR-1", "already_active dir:AR-2"]);
    }
    assert_eq!(factory.starts().len(), 2);
}

// covers: F42 F43
#[test]
fn stop_all_ends_everything_however_stubborn() {
    // What is ignored stays ignored across exec.
    let stubborn = "trap '' TERM HUP; setsid sleep 600 & exec sleep 600";
    let mut factory = Factory::with_agent(&[NOTE_START, stubborn].concat());
    factory.set("fleet", "grace", "\"500ms\"");
    ["AR-1", "AR-2"].iter().for_each(|key| factory.item(key));
    factory.tick().expect(0);
    factory.wait_for("both run", || factory.starts().len() == 2);
    // One that was seen, and one that the tick has not looked at yet.
    factory.run(&["--item", "AR-1"]).expect(0);
    dry_then_real(&factory, &["stop", "--all"]).expect(0);
    assert!(factory.processes().is_empty(), "{:?}", factory.processes());
    assert_eq!(handoffs(&factory), [""; 0]);
    for key in ["AR-1", "AR-2"] {
        assert_eq!(factory.recorded(key)["parked_by"], "person");
    }
    dry_then_real(&factory, &["stop", "--all"]).expect(0);
}

// Origin: the TypeScript factory - reaping needed the broker, and its dry run killed a process.
// covers: F34 F35 F49
#[test]
fn reap_ends_what_is_left_behind_and_starts_nothing() {
    let factory = Factory::with_agent(&[NOTE_START, TREE].concat());
    ["AR-1", "AR-2"].iter().for_each(|key| factory.item(key));
    factory.tick().expect(0);
    let children = children(&factory, 2);
    factory.tick().expect(0);
    kill_9(factory.launcher("ar-1-impl.1"));
    factory.wait_for("the launcher and its agent are dead", || factory.processes().len() == 4);
    // Neither new items nor a missing folder of items are its business.
    factory.item("AR-3");
    fs::rename(factory.issues(), factory.path("moved")).unwrap();
    dry_then_real(&factory, &["reap"]).expect(0);
    fs::rename(factory.path("moved"), factory.issues()).unwrap();
    let left: Vec<_> = factory.processes().into_iter().map(|one| one.run).collect();
    assert_eq!(left, ["ar-2-impl.1"; 3]);
    assert_eq!(children.iter().filter(|child| is_alive(**child)).count(), 1);
    assert_eq!(factory.starts().len(), 2);
    // The verdict is a tick's.
    assert_eq!(factory.recorded("AR-1")["attempts"], 0);
    factory.run(&["--item", "AR-1"]).expect(0);
    assert_eq!(factory.recorded("AR-1")["last"]["class"], "vanished");
}

// ---------------------------------------------------------------------------------------------
// Survivors

/// The program as an ordinary user who may become others, but not signal them.
fn as_nobody(factory: &Factory, arguments: &[&str]) -> Command {
    let ours = factory.program(arguments);
    let mut command = system("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args([
        "--inh-caps=-all,+setuid,+setgid",
        "--ambient-caps=+setuid,+setgid",
        "--bounding-set=-all,+setuid,+setgid",
    ]);
    command.arg(factory.path("tick")).args(ours.get_args()).current_dir(factory.path("")).env_clear();
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

fn give_away(path: &Path) {
    chown(path, Some(65534), Some(65534)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

// Origin: pear#264 review, relay#1114, #1672 - reaped, but nobody looked whether anything survived.
// covers: D13 F31 F43
#[test]
fn a_process_that_cannot_be_ended_is_named_until_it_is_gone() {
    if !is_root() {
        return skipped("only root can start something that an ordinary user may not signal");
    }
    let other = "setpriv --reuid=1 --regid=1 --clear-groups --inh-caps=-all --ambient-caps=-all sleep 600 & ";
    let ends =
        r#"until grep -q "^Uid:.1" /proc/$!/status; do sleep 0.05; done; echo $! > "$LAB/other"; exit 0"#;
    let mut factory = Factory::with_agent(&[NOTE_START, other, ends].concat());
    factory.set("fleet", "grace", "\"200ms\"");
    factory.item("AR-1");
    install(binary(), &factory.path("tick"));
    give_away(&factory.path(""));
    let tick = || Ran::of(&mut as_nobody(&factory, &["--format", "json"]));

    tick().expect(0);
    let other = factory.wait_pid("other");
    factory.wait_swept("ar-1-impl.1");
    assert!(is_alive(other));
    let swept = factory.receipt("ar-1-impl.1", "swept").unwrap();
    assert_eq!(swept["survivors"][0]["pid"], other, "{swept}");

    tick().expect(4);
    assert_eq!(handoffs(&factory), ["ar-1-impl.1"]);
    assert_eq!(factory.recorded("AR-1")["state"], "parked");
    for _ in 0..3 {
        let ran = tick();
        assert_eq!(handoffs(&factory), ["ar-1-impl.1"], "it lives: {}", ran.stdout);
        ran.expect(3);
        let survivors: Vec<Value> =
            factory.registry()["handoffs"]["ar-1-impl.1"]["survivors"].as_array().unwrap().clone();
        assert_eq!(survivors[0]["pid"], other, "{survivors:?}");
    }
    assert_eq!(factory.registry()["counters"]["survivors"], 1, "counted once");
    kill_9(other);
    factory.wait_for("it is gone", || !is_alive(other));
    let mut codes = Vec::new();
    factory.wait_for("the hand-off is cleared", || {
        codes.push(tick().code);
        handoffs(&factory).is_empty()
    });
    assert!(codes.iter().all(|code| *code == Some(0)), "{codes:?}");
}
