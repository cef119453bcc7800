//! A configuration or a state that was moved, copied or put back; and a command from inside a run.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Factory, HeldLock, NOTE_START, Ran, assert_has, binary, is_alive, put, system};

/// An agent that works until it is ended.
const WORKS: &str = "exec sleep 600";

/// A factory with its state in `state-1`.
fn with_named_state(script: &str) -> Factory {
    let mut factory = Factory::with_agent(&[NOTE_START, script].concat());
    factory.var("FACTORY_TICK_STATE_DIR", "state-1");
    factory
}

/// The program, on the state in this folder.
fn on(factory: &Factory, state: &str, arguments: &[&str]) -> Ran {
    factory.run(&[&["--state-dir", state], arguments].concat())
}

/// Like `cp -a`.
fn copy(factory: &Factory, from: &str, to: &str) {
    let copied = system("cp").arg("-a").args([factory.path(from), factory.path(to)]).status().unwrap();
    assert!(copied.success());
}

fn lineage(factory: &Factory, state: &str) -> String {
    let text = fs::read_to_string(factory.path(state).join("registry.json")).unwrap();
    let registry: Value = serde_json::from_str(&text).unwrap();
    registry["lineage"].as_str().unwrap().to_owned()
}

/// The launcher of a run in this state.
fn launcher(factory: &Factory, state: &str, run: &str) -> u32 {
    let text = fs::read_to_string(factory.path(state).join("runs").join(run).join("claim")).unwrap();
    let claim: Value = serde_json::from_str(&text).unwrap();
    u32::try_from(claim["launcher"]["handle"]["local"]["process"]["pid"].as_u64().unwrap()).unwrap()
}

#[track_caller]
fn refused_as_copy(ran: Ran) {
    let ran = ran.expect(78);
    assert_has(&ran.stderr, &["is a copy of the one that was in", "factory-tick relocate"]);
}

// Origin: an audit - a configuration that was moved answered every command with 78, `stop` among them, while its agents
// ran on.
// covers: P12
#[test]
fn moved_configuration_locks_nobody_out() {
    let factory = with_named_state(WORKS);
    factory.item("AR-1");
    factory.run(&[]).expect(0);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    fs::create_dir(factory.path("conf")).unwrap();
    fs::rename(factory.path("factory.toml"), factory.path("conf/factory.toml")).unwrap();
    // Under its new name, and under a name that nothing has.
    for config in ["conf/factory.toml", "gone.toml"] {
        let run = |arguments: &[&str]| factory.run(&[&["-c", config], arguments].concat());
        assert_has(&run(&["status"]).expect(0).stdout, &["AR-1"]);
        assert_has(&run(&["explain", "AR-1"]).expect(0).stdout, &["AR-1"]);
        run(&["logs", "AR-1"]).expect(0);
        run(&["reap"]).expect(0);
    }
    factory.run(&["-c", "gone.toml", "pause"]).expect(0);
    factory.run(&["-c", "conf/factory.toml", "stop", "AR-1"]).expect(0);
    factory.wait_all_gone();
    // A tick goes on with it, for nothing is left where it was.
    fs::rename(factory.issues(), factory.path("conf/issues")).unwrap();
    factory.run(&["-c", "conf/factory.toml"]).expect(0);
    let events = fs::read_to_string(factory.path("state-1/events.jsonl")).unwrap();
    assert_eq!(events.matches("\"event\":\"moved\"").count(), 1, "{events}");
    factory.run(&["-c", "conf/factory.toml"]).expect(0);
    let events = fs::read_to_string(factory.path("state-1/events.jsonl")).unwrap();
    assert_eq!(events.matches("\"event\":\"moved\"").count(), 1, "{events}");
}

// covers: P12
#[test]
fn other_configuration_reads_and_ends_and_starts_nothing() {
    let factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    ["AR-1", "AR-2"].iter().for_each(|key| factory.item(key));
    factory.tick().expect(0);
    factory.wait_for("its agents run", || factory.starts().len() == 2);
    // Its role has another name: by its own words the runs of the state would be nobody's.
    let text = fs::read_to_string(factory.path("factory.toml")).unwrap();
    put(&factory.path("other.toml"), &text.replace("\"impl\"", "\"other\""));
    let run = |arguments: &[&str]| factory.run(&[&["-c", "other.toml"], arguments].concat());
    for command in [&[][..], &["-n"], &["retry", "AR-1"], &["restart", "AR-1"], &["unpause"], &["drain"]] {
        assert_has(&run(command).expect(78).stderr, &["belongs to", "factory.toml", "relocate"]);
    }
    for command in
        [&["status"][..], &["explain", "AR-1"], &["logs", "AR-1"], &["pause"], &["reap"], &["park", "AR-2"]]
    {
        run(command).expect(0);
    }
    run(&["stop", "AR-1"]).expect(0);
    assert_eq!(factory.agents_alive(), ["ar-2-impl.1"]);
    assert_eq!(factory.recorded("AR-1")["state"], "parked");
    factory.run(&[]).expect(0);
}

// covers: P12
#[test]
fn moved_state_goes_on() {
    let factory = with_named_state("exit 0");
    factory.item("AR-1");
    factory.run(&[]).expect(0);
    factory.wait_for("it has ended", || factory.processes().is_empty());
    let before = lineage(&factory, "state-1");
    fs::rename(factory.path("state-1"), factory.path("state-2")).unwrap();
    assert_has(&on(&factory, "state-2", &[]).expect(0).stdout, &["2 done"]);
    assert_eq!(lineage(&factory, "state-2"), before);
    assert_eq!(on(&factory, "state-2", &["relocate"]).expect(5).stdout, "");
    assert_eq!(factory.starts(), ["ar-1-impl.1"]);
}

// Origin: an audit - two states of one lineage ended each other's agents.
// covers: P12
#[test]
fn copy_starts_and_ends_nothing_until_it_is_relocated() {
    let factory = with_named_state(WORKS);
    factory.item("AR-1");
    factory.run(&[]).expect(0);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    factory.run(&[]).expect(0);
    copy(&factory, "state-1", "state-2");
    for command in [&["status"][..], &["explain", "AR-1"], &["logs", "AR-1"]] {
        on(&factory, "state-2", command).expect(0);
    }
    for command in [
        &[][..],
        &["-n"],
        &["stop", "--all"],
        &["stop", "AR-1"],
        &["reap"],
        &["park", "AR-1"],
        &["pause"],
        &["retry", "--all"],
        &["restart", "AR-1"],
        &["drain", "--stop"],
    ] {
        refused_as_copy(on(&factory, "state-2", command));
    }
    let ran = on(&factory, "state-2", &["relocate"]).expect(5);
    assert_has(&ran.stderr, &["ar-1-impl.1, pid", "live"]);
    let original = launcher(&factory, "state-1", "ar-1-impl.1");
    assert!(is_alive(original), "a copy ends nothing");

    factory.run(&["stop", "AR-1"]).expect(0);
    factory.wait_all_gone();
    on(&factory, "state-2", &["relocate", "-n"]).expect(0);
    refused_as_copy(on(&factory, "state-2", &[]));
    assert_has(&on(&factory, "state-2", &["relocate"]).expect(0).stdout, &["state-2 is one of its own"]);
    assert_ne!(lineage(&factory, "state-2"), lineage(&factory, "state-1"));

    // Each starts a run of the same name, and ends its own alone.
    factory.run(&["retry", "AR-1"]).expect(0);
    for state in ["state-1", "state-2"] {
        assert_has(&on(&factory, state, &[]).expect(0).stdout, &["1 start", "ar-1-impl.2"]);
    }
    factory.wait_for("both run", || factory.starts().len() == 3);
    let pids = ["state-1", "state-2"].map(|state| launcher(&factory, state, "ar-1-impl.2"));
    on(&factory, "state-2", &["stop", "--all"]).expect(0);
    on(&factory, "state-2", &["reap"]).expect(0);
    assert_eq!(pids.map(is_alive), [true, false]);
    on(&factory, "state-2", &["retry", "--all"]).expect(0);
    on(&factory, "state-2", &[]).expect(0);
    factory.wait_for("it runs again", || factory.starts().len() == 4);
    factory.run(&["stop", "--all"]).expect(0);
    assert!(!is_alive(pids[0]) && is_alive(launcher(&factory, "state-2", "ar-1-impl.3")));
    on(&factory, "state-2", &["stop", "--all"]).expect(0);
    factory.wait_all_gone();
}

// covers: P12
#[test]
fn copy_whose_original_was_moved_away_is_still_a_copy() {
    let factory = with_named_state("exit 0");
    factory.run(&[]).expect(0);
    copy(&factory, "state-1", "state-2");
    fs::rename(factory.path("state-1"), factory.path("state-3")).unwrap();
    refused_as_copy(on(&factory, "state-2", &[]));
    on(&factory, "state-3", &[]).expect(0);
    on(&factory, "state-2", &["relocate"]).expect(0);
    on(&factory, "state-2", &[]).expect(0);
    assert_ne!(lineage(&factory, "state-2"), lineage(&factory, "state-3"));
}

// covers: P12
#[test]
fn state_of_another_configuration_is_given_away_with_nothing_in_flight() {
    let factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    let before = factory.lineage();
    fs::copy(factory.path("factory.toml"), factory.path("other.toml")).unwrap();
    let relocate = || factory.run(&["-c", "other.toml", "relocate"]);
    assert_has(&relocate().expect(5).stderr, &["in flight", "stop --all"]);
    factory.run(&["-c", "other.toml", "stop", "--all"]).expect(0);
    // A launcher that no claim tells of.
    let lock = HeldLock::take(&factory.state("live/ar-1-impl"));
    assert_has(&relocate().expect(5).stderr, &["a launcher of ar-1-impl"]);
    drop(lock);
    relocate().expect(0);
    factory.run(&["-c", "other.toml"]).expect(0);
    assert_eq!(factory.lineage(), before);
    factory.run(&[]).expect(78);
    factory.run(&["relocate"]).expect(0);
}

// covers: P12
#[test]
fn state_that_was_put_back_from_a_backup_goes_on() {
    let factory = with_named_state("exit 0");
    factory.item("AR-1");
    factory.run(&[]).expect(0);
    factory.wait_for("it has ended", || factory.processes().is_empty());
    factory.run(&[]).expect(0);
    let before = lineage(&factory, "state-1");
    fs::rename(factory.path("state-1"), factory.path("backup")).unwrap();
    copy(&factory, "backup", "state-1");
    factory.run(&[]).expect(0);
    assert_eq!(lineage(&factory, "state-1"), before);
    assert_eq!(factory.starts(), ["ar-1-impl.1"]);
}

// covers: P12
#[test]
fn every_clone_of_a_repository_is_its_configuration() {
    let factory = with_named_state("exit 0");
    let clone = |folder: &str, origin: &str| {
        let path = factory.path(folder);
        fs::create_dir_all(path.join(".git")).unwrap();
        put(&path.join(".git/config"), &format!("[remote \"origin\"]\n\turl = {origin}\n"));
        if !path.join("factory.toml").exists() {
            fs::create_dir(path.join("issues")).unwrap();
            fs::copy(factory.path("factory.toml"), path.join("factory.toml")).unwrap();
        }
    };
    clone("", "git@host:a/b.git");
    clone("clone", "https://token:secret@host/a/b");
    clone("other", "https://host/a/c");
    factory.run(&[]).expect(0);
    let binding = |factory: &Factory| fs::read_to_string(factory.path("state-1/registry.json")).unwrap();
    assert_has(&binding(&factory), &[r#""repository":{"origin":"host/a/b","path":"factory.toml"}"#]);
    factory.run(&["-c", "clone/factory.toml"]).expect(0);
    assert!(!binding(&factory).contains("secret"));
    assert_has(
        &factory.run(&["-c", "other/factory.toml"]).expect(78).stderr,
        &["belongs to", "clone/factory.toml"],
    );
    // A repository that was renamed.
    clone("clone", "https://host/a/renamed");
    factory.run(&["-c", "clone/factory.toml"]).expect(0);
    assert_has(&binding(&factory), &[r#""origin":"host/a/renamed""#]);
}

// ---------------------------------------------------------------------------------------------
// from inside a run

/// Commands that change something.
const CHANGES: &[&str] = &[
    "tick",
    "retry AR-1",
    "retry --all",
    "park AR-1",
    "stop AR-1",
    "stop --all",
    "restart AR-1",
    "pause",
    "unpause",
    "drain --wait 0",
    "reap",
    "relocate",
    "kill-tick",
];

const READS: &[&str] = &["status", "explain AR-1", "logs AR-1", "tick -n", "stop AR-1 -n", "check"];

/// A script that runs these commands of the factory at this path and appends each one's code to a file of the lab.
fn commands(around: &str, config: &Path, commands: &[&str], to: &str) -> String {
    let (program, config) = (binary().display(), config.display());
    let line = |command: &&str| {
        format!(
            "{around} {program} -c {config} {command} >/dev/null 2>>\"$LAB/said\"; echo \"$? {command}\" >> \"$LAB/{to}\"; "
        )
    };
    commands.iter().map(line).collect()
}

// Origin: an audit - an agent could give its own item all attempts back, and a launcher that it started would have been
// ended with it.
// covers: P06d
#[test]
fn command_that_changes_state_is_refused_inside_a_run() {
    let mut factory = Factory::new();
    let config = factory.path("factory.toml");
    let around = [
        ("", "told"),
        // Without its environment; and without the limit, which anybody may lower.
        (r#"env -i "PATH=$PATH""#, "wiped"),
        (r#"env -i "PATH=$PATH" prlimit --rttime=1000000:1000000"#, "lowered"),
    ];
    let script: String = around.iter().map(|(around, to)| commands(around, &config, CHANGES, to)).collect();
    let script = script + &commands("", &config, READS, "read") + "echo > \"$LAB/over\"; exec sleep 600";
    factory.role("impl", &["sh", "-c", &script], "");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_told("over");
    let refused: String = CHANGES.iter().map(|command| format!("5 {command}\n")).collect();
    for (_, to) in around {
        assert_eq!(factory.told(to), refused, "{to}: {}", factory.told("said"));
    }
    for line in factory.told("read").lines() {
        assert!(!line.starts_with("5 "), "{line}: {}", factory.told("said"));
    }
    assert_has(&factory.told("said"), &["this is inside ar-1-impl.1, a run of this factory"]);
    assert_eq!(factory.registry()["paused"], Value::Null);
    assert_eq!(factory.agents_alive().len(), 1);
    factory.run(&["stop", "AR-1"]).expect(0);
}

// covers: P06d
#[test]
fn hook_is_inside_its_run_and_another_factory_is_not() {
    let inner = Factory::with_agent("exit 0");
    inner.item("IN-1");
    let mut factory = Factory::new();
    let (own, other) = (factory.path("factory.toml"), inner.path("factory.toml"));
    let script = commands("", &own, &["pause"], "agent") + &commands("", &other, &["tick"], "inner");
    factory.role("impl", &["sh", "-c", &script], "");
    let hook = commands("", &own, &["retry --all"], "hook");
    factory.set("hooks", "before_run", &serde_json::json!(["sh", "-c", hook]).to_string());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(factory.told("hook"), "5 retry --all\n", "{}", factory.told("said"));
    assert_eq!(factory.told("agent"), "5 pause\n", "{}", factory.told("said"));
    assert_eq!(factory.told("inner"), "0 tick\n", "{}", factory.told("said"));
    assert_eq!(inner.agent("in-1-impl")["spec"]["id"], "in-1-impl.1");
}
