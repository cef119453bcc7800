//! What a person, cron or a script sees: exit codes, reports, and that looking changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    Factory, HeldLock, NOTE_START, Ran, Running, assert_has, everything, is_root, put, skipped, toml_text,
};

/// An agent that works until it is ended.
const WORKS: &str = "exec sleep 600";

/// An agent that is told to end and goes on.
const STUBBORN: &str =
    r#"trap 'echo term >> "$LAB/term"' TERM; echo up >> "$LAB/up"; while :; do sleep 0.05; done"#;

/// Text of which only the expected stream holds anything.
#[track_caller]
fn complaint(ran: Ran) -> String {
    assert_eq!(ran.stdout, "");
    ran.stderr
}

// ---------------------------------------------------------------------------------------------
// Exit codes

#[test]
fn code_0_is_nothing_to_do() {
    let factory = Factory::with_agent(WORKS);
    let ran = factory.run(&[]).expect(0);
    assert_has(&ran.stdout, &["tick: ok (nothing to do)"]);
    assert_eq!(ran.stderr, "");
    let explicit = factory.run(&["tick"]).expect(0);
    assert_has(&explicit.stdout, &["tick: ok (nothing to do)"]);
}

#[test]
fn code_2_is_a_wrong_command_line() {
    let factory = Factory::with_agent(WORKS);
    for wrong in [&["--nope"][..], &["--iterations", "6"], &["--wait-lock", "soon"], &["stop"], &["fly"]] {
        let text = complaint(factory.run(wrong).expect(2));
        assert_has(&text, &["error: ", "--help"]);
    }
    assert!(!factory.state("").exists());
}

// Origin: the TypeScript factory - exit code 0 for a refusal.
// covers: F73 S19
#[test]
fn code_3_lasts_as_long_as_something_is_unknown_and_the_rest_goes_on() {
    let factory = Factory::with_agent(WORKS);
    factory.tick().expect(0);
    fs::rename(factory.issues(), factory.path("moved")).unwrap();
    let ran = factory.run(&[]).expect(3);
    assert_has(
        &ran.stdout,
        &["tick: partial", "the folder of items can't be read", "create it, or set [source] path"],
    );
    fs::rename(factory.path("moved"), factory.issues()).unwrap();
    factory.tick().expect(0);
}

#[test]
fn code_4_is_told_once_when_a_rule_parks_an_item() {
    let mut factory = Factory::with_agent("exit 7");
    factory.set("attempts", "max", "1");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let ran = factory.run(&[]).expect(4);
    assert_has(&ran.stdout, &["tick: attention", "park", "1 of 1 attempts failed; the last: exit code 7"]);
    factory.run(&[]).expect(0);
}

// covers: F73
#[test]
fn code_5_is_a_command_that_declined() {
    let factory = Factory::with_agent(WORKS);
    factory.item("AR-1");
    let text = complaint(factory.run(&["stop", "AR-2"]).expect(5));
    assert_has(&text, &["nothing here is called \"AR-2\"; did you mean AR-1?"]);
    let ran = factory.tick().expect(0);
    assert_eq!(ran.decided()[0], "start ar-1-impl.1", "what was refused changed nothing");
}

#[test]
fn code_10_is_a_plan_that_would_act() {
    let factory = Factory::with_agent(WORKS);
    factory.run(&["-n", "--detailed-exitcode"]).expect(0);
    factory.item("AR-1");
    factory.run(&["-n"]).expect(0);
    let ran = factory.run(&["-n", "--detailed-exitcode"]).expect(10);
    assert_has(&ran.stdout, &["dry run, nothing changed: would-act", "start", "ar-1-impl.1"]);
    // A tick that acts has no such code.
    factory.run(&["--detailed-exitcode"]).expect(0);
}

// Origin: agentsys#50, pueue - a corrupt state was replaced by an empty one.
// covers: F53
#[test]
fn code_65_is_a_state_that_cannot_be_read_and_nothing_is_touched() {
    let factory = Factory::with_agent(WORKS);
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("the agent runs", || !factory.agents_alive().is_empty());
    factory.tick().expect(0);
    let alive = factory.pids();

    let newer = r#"{"schema":2,"lineage":"00","serial":9,"sha256":"","config":null,"body":{}}"#;
    let whole = fs::read_to_string(factory.state("registry.json")).unwrap();
    let backup = fs::read_to_string(factory.state("registry.json.bak")).unwrap();
    let cases = [("{\"schema\":1,\"li", "", "damaged"), (newer, backup.as_str(), "schema")];
    for (registry, backup, why) in cases {
        put(&factory.state("registry.json"), registry);
        put(&factory.state("registry.json.bak"), backup);
        let before = files_but_events(&factory);
        for command in [&[][..], &["-n"], &["status"], &["reap"], &["stop", "--all"]] {
            let text = complaint(factory.run(command).expect(65));
            assert_has(&text, &[why, "registry.json"]);
            assert_eq!(files_but_events(&factory), before, "{command:?}");
        }
        let report = factory.tick().expect(65).json();
        assert_eq!(report["status"], "bad-state");
    }
    assert_eq!(factory.pids(), alive);
    put(&factory.state("registry.json"), &whole);
    put(&factory.state("registry.json.bak"), &backup);
}

/// The lock holds its latest holder's name, for people: it may change.
fn files_but_events(factory: &Factory) -> Vec<String> {
    let names = everything(&factory.state(""));
    let kept =
        names.into_iter().filter(|(path, _)| !path.ends_with("lock") && !path.ends_with("events.jsonl"));
    kept.map(|(path, seen)| format!("{} {seen}", path.display())).collect()
}

#[test]
fn code_69_is_a_tick_that_could_decide_nothing() {
    let factory = Factory::with_agent(WORKS);
    factory.tick().expect(0);
    fs::remove_dir(factory.issues()).unwrap();
    // What runs can't be told, not even by a root that has no right over other users' files.
    fs::set_permissions(factory.state("runs"), fs::Permissions::from_mode(0o000)).unwrap();
    let limited = |arguments: &str| {
        let without_rights = if is_root() { "setpriv --bounding-set=-all" } else { "" };
        Ran::of(&mut factory.shell(&format!("exec {without_rights} \"$TICK\" {arguments}")))
    };
    let ran = limited("").expect(69);
    assert_has(&ran.stdout, &["tick: unavailable", "agents: ", "items: ", "runs"]);
    limited("-n").expect(69);
    fs::set_permissions(factory.state("runs"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn code_73_is_a_state_directory_that_is_not_safe() {
    let factory = Factory::with_agent(WORKS);
    let path = factory.state("");
    let path = path.parent().unwrap().join(".factory-tick");
    let refused = |why: &str| {
        for command in [&[][..], &["-n"], &["status"], &["reap"]] {
            let text = complaint(factory.run(command).expect(73));
            assert_has(&text, &["state directory", ".factory-tick", why]);
        }
    };
    fs::create_dir(factory.path("elsewhere")).unwrap();
    symlink(factory.path("elsewhere"), &path).unwrap();
    refused("it is a symbolic link");
    assert_eq!(fs::read_dir(factory.path("elsewhere")).unwrap().count(), 0);
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    refused("others can write to it; run: chmod go-w ");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();

    put(&path.join("thesis.tex"), "years of work");
    refused("it is not empty and is no state directory");
    fs::remove_file(path.join("thesis.tex")).unwrap();

    if is_root() {
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        refused("it belongs to uid 65534, and this is uid 0");
    } else {
        skipped("only root can give a directory to another user");
    }
    let json = factory.tick();
    assert!(!is_root() || json.expect(73).json()["status"] == "cannot-create");
}

// Origin: egg#1510 - the disk was full: success was reported, and the state was gone. And pear#264 review - a
// failed registry write deleted hand-offs that were already durable.
// covers: F28 F54
#[test]
fn code_74_is_a_state_that_could_not_be_written_and_no_effect_follows() {
    let mut factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.refuse_started_notes();
    factory.item("AR-1");
    factory.tick().expect(3);
    factory.wait_for("the first role's agent runs", || factory.starts().len() == 1);
    let before = fs::read(factory.state("registry.json")).unwrap();
    let alive = factory.pids();
    assert!(factory.registry()["handoffs"]["ar-1-impl.1"].is_object());

    // Files may not grow beyond a block, and the signal that says so is ignored: what a full disk does.
    factory.item("AR-2");
    let ran =
        Ran::of(&mut factory.shell(r#"trap '' XFSZ; ulimit -f 1; exec "$TICK" --format json"#)).expect(74);
    let report = ran.json();
    assert_has(report["errors"][0].as_str().unwrap(), &["cannot save", "registry.json", "make room"]);
    assert_eq!(report["outcomes"], json!([]));
    assert_eq!(fs::read(factory.state("registry.json")).unwrap(), before);
    assert_eq!(factory.pids(), alive, "nobody was started and nobody was ended");

    // With room again the next tick does what that one could not.
    factory.tick().expect(3);
    factory.wait_for("the hand-off is ended", || {
        !factory.processes().iter().any(|one| one.run == "ar-1-impl.1")
    });
}

// Origin: hermes-agent#87644 - any failure to lock read as "locked".
// covers: F58
#[test]
fn code_75_is_another_tick_and_silent_when_quiet() {
    let factory = Factory::with_agent(WORKS);
    factory.tick().expect(0);
    let held = HeldLock::take(&factory.state("lock"));
    assert_has(&complaint(factory.run(&[]).expect(75)), &["the lock is held by"]);
    assert_eq!(factory.tick().expect(75).json()["status"], "busy");
    let quiet = factory.run(&["-q"]).expect(75);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let events = fs::read_to_string(factory.state("events.jsonl")).unwrap();
    assert!(events.lines().last().unwrap().contains("\"event\":\"busy\""), "{events}");
    // Looking needs no lock.
    factory.run(&["-n"]).expect(0);
    factory.run(&["status"]).expect(0);
    drop(held);
    factory.tick().expect(0);

    // Not a lock that somebody holds: one that can't be had.
    fs::remove_file(factory.state("lock")).unwrap();
    fs::create_dir(factory.state("lock")).unwrap();
    assert_has(&complaint(factory.run(&["-q"]).expect(74)), &["cannot take the lock"]);
    fs::remove_dir(factory.state("lock")).unwrap();
}

// covers: V19
#[test]
fn code_77_is_told_once_when_a_role_lacks_a_variable() {
    let mut factory = Factory::new();
    factory.role("impl", &["sh", "-c", WORKS], "env = [\"API_KEY\"]");
    factory.item("AR-1");
    let ran = factory.run(&[]).expect(77);
    assert_has(&ran.stdout, &["tick: denied", "role \"impl\" needs API_KEY, which is not set"]);
    assert_eq!(factory.tick().expect(3).held(), ["cooling_off dir:AR-1"]);
    factory.var("API_KEY", "k");
    let ran = factory.tick().expect(0);
    assert!(ran.decided().contains(&"start ar-1-impl.1".to_owned()), "{}", ran.stdout);
}

// covers: S37
#[test]
fn code_78_tells_every_problem_of_a_configuration_at_once() {
    let mut factory = Factory::with_agent(WORKS);
    factory.set("tick", "evry", "\"1m\"");
    factory.set("limits", "items_max", "0");
    let text = complaint(factory.run(&[]).expect(78));
    assert_has(&text, &["factory.toml:", "evry", "items_max", "hint: ", "2 problems in"]);
    let report = factory.tick().expect(78).json();
    assert_eq!((&report["status"], &report["exit_code"]), (&json!("bad-config"), &json!(78)));
    assert_has(report["errors"][0].as_str().unwrap(), &["evry", "items_max"]);
    let absent = complaint(factory.run(&["-c", "nowhere.toml"]).expect(78));
    assert_has(&absent, &["nowhere.toml: there is no such file"]);
    assert!(!factory.state("").exists());
}

#[test]
fn code_78_refuses_the_state_of_another_configuration() {
    let factory = Factory::with_agent(WORKS);
    factory.tick().expect(0);
    fs::copy(factory.path("factory.toml"), factory.path("other.toml")).unwrap();
    let before = files_but_events(&factory);
    for command in [&[][..], &["-n"], &["retry", "--all"], &["unpause"], &["drain"]] {
        let arguments = [&["-c", "other.toml"], command].concat();
        let text = complaint(factory.run(&arguments).expect(78));
        assert_has(&text, &["belongs to", "factory.toml", "pass --state-dir", "other.toml"]);
    }
    assert_eq!(files_but_events(&factory), before);
    factory.run(&["-c", "other.toml", "--state-dir", "other-state"]).expect(0);
}

// Origin: actions/runner#598 and a checkout's `git clean -ffdx`, which deletes ignored folders.
// covers: F75
#[test]
fn code_78_under_github_actions_until_the_state_is_named() {
    let mut factory = Factory::with_agent(WORKS);
    factory.var("GITHUB_ACTIONS", "true");
    assert_has(&complaint(factory.run(&[]).expect(78)), &["GitHub Actions", "--state-dir"]);
    assert!(!factory.state("").exists());
    factory.run(&["--state-dir", "kept"]).expect(0);
    factory.var("FACTORY_TICK_STATE_DIR", "kept");
    factory.run(&[]).expect(0);
}

// Origin: pear#248 review - repeated signals ran the exit path twice.
// covers: F50
#[test]
fn codes_130_and_143_are_ticks_that_were_told_to_end_and_left_a_whole_state() {
    for (signal, code, times) in
        [(Signal::SIGINT, 130, 1), (Signal::SIGTERM, 143, 1), (Signal::SIGTERM, 143, 3)]
    {
        let mut factory = Factory::with_agent(&[NOTE_START, STUBBORN].concat());
        factory.refuse_started_notes();
        factory.set("fleet", "grace", "\"3s\"");
        factory.item("AR-1");
        factory.tick().expect(3);
        factory.wait_told("up");
        // The hand-off is being ended: its agent has heard of it and goes on.
        let tick = Running::start(&mut factory.program(&["--format", "json"]));
        factory.wait_told("term");
        for _ in 0..times {
            tick.signal(signal);
        }
        let ended = tick.end().expect(code);
        // A second signal that is heard as one of its own ends it where it is: then nobody is told anything.
        if times == 1 {
            assert_eq!(ended.json()["status"], "interrupted");
            assert_has(&factory.run(&["status"]).expect(3).stdout, &["factory-tick is stopping"]);
        }
        assert!(factory.registry()["handoffs"]["ar-1-impl.1"].is_object());
        factory.wait_all_gone();
        let next = factory.tick().expect(0);
        assert_eq!(factory.registry()["handoffs"], json!({}), "{}", next.stdout);
        factory.run(&["status"]).expect(0);
    }
}

// ---------------------------------------------------------------------------------------------
// Reports

const COUNTERS: &str = "dispatched dispatch_duplicate_suppressed dispatch_backoffs dispatch_terminal_failures \
    dispatch_failure_reaper_handoffs dispatch_failure_reaper_handoff_failures handoffs_reaped resumes \
    resume_name_collisions sessions_not_found agents_reaped survivors pid_identity_mismatches \
    protected_pid_skips fences crashed_ticks";

#[track_caller]
fn assert_keys(value: &Value, keys: &str) {
    let found: BTreeSet<_> = value.as_object().unwrap_or_else(|| panic!("{value}")).keys().cloned().collect();
    let want: BTreeSet<_> = keys.split_whitespace().map(str::to_owned).collect();
    assert_eq!(found, want, "{value}");
}

#[test]
fn report_has_the_documented_keys_and_no_others() {
    const TICK: &str = "schema dry_run status exit_code serial started_at duration_ms counts decisions held outcomes \
                        reaped survivors skipped counters errors";
    let mut factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.refuse_started_notes();
    factory.item("AR-1");
    let started = factory.tick().expect(3).json();
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    let reaped = factory.tick().expect(0).json();
    let dry = factory.run(&["-n", "--format", "json"]).expect(0).json();
    for report in [&started, &reaped, &dry] {
        assert_keys(report, TICK);
        assert_keys(&report["counters"], COUNTERS);
        for line in report["decisions"].as_array().unwrap() {
            assert_keys(line, "action item agent run code because");
        }
        for line in report["outcomes"].as_array().unwrap() {
            assert_keys(line, "action item agent run ok class error");
        }
        for line in report["held"].as_array().unwrap() {
            assert_keys(line, "item code because until");
        }
    }
    assert_eq!((&started["status"], &started["exit_code"]), (&json!("partial"), &json!(3)));
    assert_eq!(started["counts"]["start"], 1);
    assert_eq!(reaped["held"][0]["code"], "handoff_pending");
    assert_eq!(dry["dry_run"], true);
    assert_keys(&reaped["reaped"][0], "run pid signals");
    assert_eq!(
        (&reaped["reaped"][0]["run"], &reaped["reaped"][0]["signals"]),
        (&json!("ar-1-impl.1"), &json!(["TERM"]))
    );
    // The same object where there is nothing to report but a failure.
    put(&factory.path("factory.toml"), "");
    assert_keys(&factory.tick().expect(78).json(), TICK);
}

#[test]
fn status_has_the_documented_keys_and_no_others() {
    let asks = "echo FACTORY_PARK=help; exit 0";
    let mut factory =
        Factory::with_agent(&format!("case $FACTORY_ITEM in *1) {WORKS};; *2) {asks};; *) exit 1;; esac"));
    factory.set("attempts", "max", "5");
    ["AR-1", "AR-2", "AR-3"].iter().for_each(|key| factory.item(key));
    factory.tick().expect(0);
    factory.wait_swept("ar-2-impl.1");
    factory.wait_swept("ar-3-impl.1");
    factory.wait_for("the first agent runs", || !factory.agents_alive().is_empty());
    factory.tick().expect(4);
    let status = factory.run(&["status", "--format", "json"]).expect(0).json();
    assert_keys(
        &status,
        "schema alive paused pause breaker stopped cool_offs heartbeat in_flight waiting parked stuck handoffs notes \
         daily_spend counters",
    );
    assert_keys(
        &status["in_flight"][0],
        "item key agent run phase attempt attempts_max started_at deadline_at pid log session takeover usd tokens",
    );
    assert_keys(&status["waiting"][0], "item key code because until");
    assert_keys(&status["parked"][0], "item key parked_by class because since try takeover");
    assert_keys(&status["daily_spend"], "starts usd");
    assert_keys(&status["counters"], COUNTERS);
    assert_keys(
        &status["heartbeat"],
        "version config pid start_ticks boot_id host status serial ticks started_at updated_at updated_at_ms \
         exit_code reason reported_at paused source fleet retention",
    );
    assert_keys(&status["heartbeat"]["source"], "ok since error");
    assert_eq!(status["in_flight"][0]["run"], "ar-1-impl.1");
    assert_eq!(status["alive"], true);
    let log = status["in_flight"][0]["log"].as_str().unwrap();
    assert!(fs::metadata(log).is_ok(), "{log}");

    let text = factory.run(&["status"]).expect(0).stdout;
    assert_has(
        &text,
        &["factory-tick is alive", "In flight: 1", "Waiting: 1", "Parked: 1", "AR-3", "exit code 1"],
    );
}

// Origin: the TypeScript factory - its status command exited with 0 when stale.
// covers: F46 F47 F48 F51
#[test]
fn status_exits_with_3_unless_ticks_come() {
    let factory = Factory::with_agent(WORKS);
    assert_has(&factory.run(&["status"]).expect(3).stdout, &["absent: no tick has run here yet"]);
    factory.tick().expect(0);
    factory.run(&["status"]).expect(0);

    let heartbeat = factory.state("heartbeat.json");
    let beat: Value = serde_json::from_str(&fs::read_to_string(&heartbeat).unwrap()).unwrap();
    let forged = |change: &dyn Fn(&mut Value)| {
        let mut beat = beat.clone();
        change(&mut beat);
        put(&heartbeat, &beat.to_string());
        let ran = factory.run(&["status"]).expect(3);
        assert_eq!(factory.run(&["status", "--format", "json"]).expect(3).json()["alive"], false);
        ran.stdout
    };
    let at = |beat: &mut Value, time: &str, ms: i64| {
        beat["updated_at"] = json!(time);
        beat["updated_at_ms"] = json!(ms);
    };
    assert_has(&forged(&|beat| at(beat, "2001-09-09T01:46:40Z", 1_000_000_000_000)), &["stale: "]);
    // Origin: hermes-agent#60703 - a heartbeat from the future was fresh for ever.
    assert_has(&forged(&|beat| at(beat, "2100-01-01T00:00:00Z", 4_102_444_800_000)), &["skewed: "]);
    // Origin: the TypeScript factory - a dead pid with a fresh time was alive.
    let dead = |beat: &mut Value| {
        beat["status"] = json!("running");
        beat["start_ticks"] = json!(1);
    };
    assert_has(&forged(&dead), &["dead: the last tick died in the middle"]);
    // Origin: pear#248 review - a malformed heartbeat read as alive.
    assert_has(&forged(&|beat| beat["updated_at_ms"] = json!("NaN")), &["unreadable: "]);
    factory.tick().expect(0);
    factory.run(&["status"]).expect(0);
}

// ---------------------------------------------------------------------------------------------
// Looking changes nothing

/// Runs every command that only looks, and compares the whole folder, times of change included.
#[track_caller]
fn assert_only_looks(factory: &Factory, item: &str) {
    let before = everything(&factory.path(""));
    let pids = factory.pids();
    for command in [
        &["-n"][..],
        &["-n", "--format", "json", "-v"],
        &["-n", "--item", item],
        &["-n", "--iterations", "3"],
        &["status"],
        &["status", "--format", "json"],
        &["explain", item],
        &["reap", "-n"],
        &["stop", item, "-n"],
        &["stop", "--all", "-n"],
    ] {
        let ran = factory.run(command);
        assert!(matches!(ran.code, Some(0 | 3)), "{command:?}: {ran:?}");
        assert_eq!(everything(&factory.path("")), before, "{command:?}");
        assert_eq!(factory.pids(), pids, "{command:?}");
    }
}

// Origin: the TypeScript factory - a later run, even a dry one, overwrote the registry and forgot agents; and
// a dry run of its reaper killed a process.
// covers: F06 F34
#[test]
fn a_dry_run_and_status_change_no_byte_and_signal_nobody() {
    let mut factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.item("AR-1");
    // No state yet: none is made.
    assert_only_looks(&factory, "AR-1");
    assert!(!factory.state("").exists());

    // Starting, running, and to be ended.
    factory.tick().expect(0);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    assert_only_looks(&factory, "AR-1");
    factory.tick().expect(0);
    assert_only_looks(&factory, "AR-1");
    factory.refuse_started_notes();
    factory.item("AR-2");
    factory.tick().expect(3);
    factory.wait_for("its agent runs", || factory.starts().len() == 2);
    assert!(factory.registry()["handoffs"]["ar-2-impl.1"].is_object());
    assert_only_looks(&factory, "AR-2");

    // A damaged registry is read around, and a tick's cure for it is only announced.
    put(&factory.state("registry.json"), "{\"schema\":1,");
    assert_only_looks(&factory, "AR-1");
    let ran = factory.run(&["-n"]).expect(0);
    assert_has(&ran.stderr, &["its backup was read, and a tick would quarantine it"]);
    factory.tick();
    assert!(
        !everything(&factory.state(""))
            .keys()
            .all(|path| !path.to_string_lossy().contains("registry.corrupt-"))
    );
}

#[test]
fn a_dry_run_decides_what_the_tick_then_does() {
    let factory = Factory::with_agent("exit 0");
    ["AR-1", "AR-2"].iter().for_each(|key| factory.item(key));
    let planned = factory.run(&["-n", "--format", "json"]).expect(0).decided();
    assert_eq!(factory.tick().expect(0).decided(), planned);
    ["ar-1-impl.1", "ar-2-impl.1"].iter().for_each(|run| factory.wait_swept(run));
    let planned = factory.run(&["-n", "--format", "json"]).expect(0).decided();
    assert_eq!(factory.tick().expect(0).decided(), planned);
    assert_eq!(planned.len(), 8);
}

// ---------------------------------------------------------------------------------------------
// Cron

// Origin: measured - one mail a minute, all night.
// covers: F78
#[test]
fn a_quiet_tick_prints_what_is_new_once_and_what_lasts_once_a_day() {
    let factory = Factory::with_agent(WORKS);
    let quiet = || {
        let ran = factory.run(&["-q"]);
        assert_eq!(ran.stderr, "");
        (ran.code.unwrap(), !ran.stdout.is_empty())
    };
    assert_eq!(quiet(), (0, false));
    assert_eq!(quiet(), (0, false));
    fs::rename(factory.issues(), factory.path("moved")).unwrap();
    assert_eq!(quiet(), (3, true), "news");
    for _ in 0..3 {
        assert_eq!(quiet(), (3, false), "it lasts");
    }
    let heartbeat = factory.state("heartbeat.json");
    let mut beat: Value = serde_json::from_str(&fs::read_to_string(&heartbeat).unwrap()).unwrap();
    let told: jiff::Timestamp = beat["reported_at"].as_str().unwrap().parse().unwrap();
    beat["reported_at"] = json!(told - jiff::SignedDuration::from_hours(25));
    put(&heartbeat, &beat.to_string());
    assert_eq!(quiet(), (3, true), "a day later");
    assert_eq!(quiet(), (3, false));
    // A tick that was busy in between has no say in it.
    let held = HeldLock::take(&factory.state("lock"));
    assert_eq!(quiet(), (75, false));
    drop(held);
    assert_eq!(quiet(), (3, false));
    fs::rename(factory.path("moved"), factory.issues()).unwrap();
    assert_eq!(quiet(), (0, true), "it is over");
    assert_eq!(quiet(), (0, false));
}

/// What cron would mail of a tick: its code, and whether it printed anything.
fn mailed(factory: &Factory) -> (i32, bool) {
    let ran = factory.run(&["-q"]);
    (ran.code.unwrap(), !(ran.stdout.is_empty() && ran.stderr.is_empty()))
}

// Two items parked within two minutes were one mail, and one that was parked while the configuration was broken was
// none: the code was that of the tick before, and so was the reason.
#[test]
fn each_thing_that_needs_a_person_is_told_whatever_the_tick_before_said() {
    let factory = Factory::with_agent(r#"read go < "$LAB/${FACTORY_ITEM#dir:}"; echo FACTORY_PARK=why"#);
    for key in ["AR-1", "AR-2", "AR-3"] {
        nix::unistd::mkfifo(&factory.lab(key), nix::sys::stat::Mode::S_IRWXU).unwrap();
        factory.item(key);
    }
    let quiet = || mailed(&factory);
    let asks_for_a_person = |key: &str| {
        put(&factory.lab(key), "go\n");
        factory.wait_swept(&format!("{}-impl.1", key.to_lowercase()));
    };
    assert_eq!(quiet(), (0, false));
    asks_for_a_person("AR-1");
    assert_eq!(quiet(), (4, true));
    asks_for_a_person("AR-2");
    assert_eq!(quiet(), (4, true), "another one");
    assert_eq!([quiet(), quiet()], [(0, true), (0, false)]);
    let config = fs::read_to_string(factory.path("factory.toml")).unwrap();
    put(&factory.path("factory.toml"), &format!("oops = 1\n{config}"));
    assert_eq!([quiet(), quiet()], [(78, true), (78, false)]);
    asks_for_a_person("AR-3");
    assert_eq!([quiet(), quiet()], [(78, true), (78, false)]);
}

// Origin: measured - one mail a minute, all night. What keeps a tick from running at all writes no heartbeat to
// remember it by.
// covers: C08 F78
#[test]
fn a_quiet_tick_that_cannot_run_is_told_of_once_too_and_touches_no_registry() {
    let factory = Factory::with_agent(WORKS);
    factory.item("AR-1");
    let quiet = || mailed(&factory);
    assert_eq!(quiet(), (0, false));
    let config = fs::read_to_string(factory.path("factory.toml")).unwrap();
    let break_it = |key: &str| put(&factory.path("factory.toml"), &format!("{key} = 1\n{config}"));
    break_it("one");
    assert_eq!(quiet(), (78, true), "news");
    assert_eq!(quiet(), (78, false), "it lasts");
    break_it("two");
    assert_eq!(quiet(), (78, true), "another problem");
    // Neither another tick nor a person who looks has a say in it.
    let held = HeldLock::take(&factory.state("lock"));
    assert_eq!(quiet(), (78, false));
    drop(held);
    assert_ne!(factory.run(&["-n", "-q"]).expect(78).stderr, "");
    assert_ne!(factory.run(&[]).expect(78).stderr, "");
    assert_eq!(quiet(), (78, false));
    let mail = factory.state("mail.json");
    let mut kept: Value = serde_json::from_str(&fs::read_to_string(&mail).unwrap()).unwrap();
    let name = factory.path("factory.toml").display().to_string();
    let told: jiff::Timestamp = kept["told"][&name]["told_at"].as_str().unwrap().parse().unwrap();
    kept["told"][&name]["told_at"] = json!(told - jiff::SignedDuration::from_hours(25));
    put(&mail, &kept.to_string());
    assert_eq!(quiet(), (78, true), "a day later");
    assert_eq!(quiet(), (78, false));
    put(&factory.path("factory.toml"), &config);
    assert_eq!(quiet(), (0, true), "it is over");
    assert_eq!(quiet(), (0, false));

    // The registry is damaged beyond its backup.
    let files = ["registry.json", "registry.json.bak"].map(|name| factory.state(name));
    let whole = files.each_ref().map(|file| fs::read_to_string(file).unwrap());
    files.iter().for_each(|file| put(file, "{"));
    let before = everything(&files[0]);
    assert_eq!([quiet(), quiet(), quiet()], [(65, true), (65, false), (65, false)]);
    assert_eq!(everything(&files[0]), before);
    break_it("three");
    assert_eq!([quiet(), quiet()], [(78, true), (78, false)]);
    put(&factory.path("factory.toml"), &config);
    assert_eq!([quiet(), quiet()], [(65, true), (65, false)]);
    files.iter().zip(&whole).for_each(|(file, text)| put(file, text));
    assert_eq!([quiet(), quiet()], [(0, true), (0, false)]);
}

// covers: C09
#[test]
fn what_cannot_be_remembered_is_told_each_time_and_changes_no_verdict() {
    let factory = Factory::with_agent(WORKS);
    let config = fs::read_to_string(factory.path("factory.toml")).unwrap();
    put(&factory.path("factory.toml"), "");
    // No state directory yet, and none is made.
    assert_eq!([mailed(&factory), mailed(&factory)], [(78, true), (78, true)]);
    assert!(!factory.state("").exists());
    put(&factory.path("factory.toml"), &config);
    factory.tick().expect(0);
    fs::create_dir(factory.state("mail.json")).unwrap();
    put(&factory.path("factory.toml"), "");
    assert_eq!([mailed(&factory), mailed(&factory)], [(78, true), (78, true)]);
    put(&factory.path("factory.toml"), &config);
    assert_eq!(mailed(&factory), (0, false), "as the last heartbeat");
    // Where the directory is not safe, nothing is put into it.
    fs::set_permissions(factory.state(""), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!([mailed(&factory), mailed(&factory)], [(73, true), (73, true)]);
    fs::set_permissions(factory.state(""), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn iterations_go_on_as_long_as_something_is_decided() {
    let mut factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.refuse_started_notes();
    factory.item("AR-1");
    let decided = factory.run(&["--format", "json"]).expect(3).decided();
    assert_eq!(decided, ["start ar-1-impl.1", "writeback dir:AR-1"]);
    // A launcher that is on its way holds off the fence for as long as its machine needs.
    factory.wait_for("the agent runs", || factory.starts().len() == 1);
    // Ended; released; then nothing: the backoff has an hour to go.
    let decided = factory.run(&["--format", "json", "--iterations", "5"]).expect(0).decided();
    assert_eq!(decided, ["reap ar-1-impl.1", "forget ar-1-impl.1"]);
    assert_eq!(factory.registry()["handoffs"], json!({}));
    factory.wait_all_gone();
    let beat: Value =
        serde_json::from_str(&fs::read_to_string(factory.state("heartbeat.json")).unwrap()).unwrap();
    assert_eq!(beat["ticks"], 2, "five iterations are one tick");
}

// A whole file can still lie: an agent that no record leads to would live on unseen.
#[test]
fn records_that_contradict_each_other_are_65_and_nothing_is_touched() {
    let factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("it runs", || factory.starts().len() == 1);
    factory.tick().expect(0);
    let whole = fs::read(factory.state("registry.json")).unwrap();
    factory.forge_registry(|text| text.replace(r#""run":"ar-1-impl.1""#, r#""run":null"#));
    let forged = fs::read(factory.state("registry.json")).unwrap();
    assert_ne!(forged, whole);
    let text = complaint(factory.run(&[]).expect(65));
    assert_has(&text, &["registry.json", "contradict each other", "ar-1-impl", "Nothing was touched"]);
    assert_eq!(fs::read(factory.state("registry.json")).unwrap(), forged);
    assert_eq!(factory.agents_alive(), ["ar-1-impl.1"]);
    put(&factory.state("registry.json"), std::str::from_utf8(&whole).unwrap());
    factory.tick().expect(0);
}

// Origin: pear#248 review - a signal ran the exit path, and what it should have stopped was done all the same.
#[test]
fn a_signal_while_waiting_for_the_lock_changes_nothing() {
    let factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("it runs", || factory.starts().len() == 1);
    factory.tick().expect(0);
    let registry = fs::read(factory.state("registry.json")).unwrap();
    let held = HeldLock::take(&factory.state("lock"));
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut waiting = Running::start(&mut factory.program(&["stop", "AR-1"]));
        waiting.wait_stderr("waiting for");
        waiting.signal(signal);
        assert_has(&waiting.end().expect(code).stderr, &["nothing was changed"]);
    }
    drop(held);
    assert_eq!(fs::read(factory.state("registry.json")).unwrap(), registry);
    assert_eq!(factory.agents_alive(), ["ar-1-impl.1"]);
}

#[test]
fn a_tick_can_wait_for_another_one() {
    let factory = Factory::with_agent(WORKS);
    factory.tick().expect(0);
    let held = HeldLock::take(&factory.state("lock"));
    factory.run(&["--wait-lock", "10ms"]).expect(75);
    let mut waiting = Running::start(&mut factory.program(&["--wait-lock", "10m"]));
    assert_has(&waiting.wait_stderr("waiting for"), &["waiting for tick pid", " s)…"]);
    drop(held);
    waiting.end().expect(0);
}

// Origin: PMSS#663 and any wrapper - what a tick prints is not what it did.
#[test]
fn a_closed_or_full_stdout_changes_no_verdict() {
    let factory = Factory::with_agent(WORKS);
    let stdouts = [">&-", "> /dev/full", ">&- 2>&-", "2> /dev/full > /dev/full"];
    for (n, stdout) in stdouts.iter().enumerate() {
        for format in ["text", "json"] {
            let key = format!("AR-{n}-{format}");
            factory.item(&key);
            let script = format!("\"$TICK\" --iterations 1 --format {format} -v {stdout}");
            Ran::of(&mut factory.shell(&script)).expect(0);
            assert_eq!(factory.recorded(&key)["state"], "active", "{script}");
            Ran::of(&mut factory.shell(&format!("\"$TICK\" status --format {format} {stdout}"))).expect(0);
        }
    }
    // A reader that has gone away.
    let script = r#"{ "$TICK" -v; echo $? > "$0"; } | exec true"#;
    let mut shell = factory.shell(script);
    shell.arg(factory.lab("code"));
    Ran::of(&mut shell).expect(0);
    assert_eq!(factory.told("code"), "0\n");
    // A wrong command line stays one.
    Ran::of(&mut factory.shell("\"$TICK\" --nope 2>&-")).expect(2);
    Ran::of(&mut factory.shell("\"$TICK\" --help >&-")).expect(0);
}

// ---------------------------------------------------------------------------------------------
// Naming an item

#[test]
fn any_noun_names_an_item_and_nothing_is_guessed() {
    let factory = Factory::with_agent("exit 0");
    ["AR-1", "AR-12", "BE-2"].iter().for_each(|key| factory.item(key));
    put(&factory.issues().join("by-id.json"), r#"{"id": "7f3a", "key": "web#2"}"#);
    factory.tick().expect(0);
    for run in ["ar-1-impl.1", "ar-12-impl.1", "be-2-impl.1"] {
        factory.wait_swept(run);
    }
    let looks_at = |name: &str| {
        let report = factory.run(&["-n", "--format", "json", "--item", name]).expect(0).json();
        let lines = report["decisions"].as_array().unwrap().iter().chain(report["held"].as_array().unwrap());
        let items: BTreeSet<String> = lines.map(|line| line["item"].as_str().unwrap().to_owned()).collect();
        assert_eq!(items.len(), 1, "{name}: {report}");
        items.into_iter().next().unwrap()
    };
    for name in ["dir:AR-1", "AR-1", "ar-1-impl", "ar-1-impl.1"] {
        assert_eq!(looks_at(name), "dir:AR-1", "{name}");
    }
    for (name, id) in [
        ("be", "dir:BE-2"),
        ("BE", "dir:BE-2"),
        ("ar-12", "dir:AR-12"),
        ("web", "dir:7f3a"),
        ("7f", "dir:7f3a"),
    ] {
        assert_eq!(looks_at(name), id, "{name}");
    }
    let refused = |name: &str| {
        let ran = factory.run(&["-n", "--item", name]).expect(5);
        complaint(ran)
    };
    assert_has(&refused("AR"), &["\"AR\" could be dir:AR-1 or dir:AR-12; name one of them"]);
    assert_has(&refused("BE-3"), &["nothing here is called \"BE-3\"; did you mean BE-2?"]);
    // The tick itself: one item moves, the others stay where they are.
    let ran = factory.run(&["--format", "json", "--item", "BE-2"]).expect(0);
    assert!(ran.decided().contains(&"done be-2-impl.1".to_owned()), "{}", ran.stdout);
    assert_eq!(factory.recorded("BE-2")["state"], "done");
    assert_eq!(factory.recorded("AR-1")["state"], "active");
}

// ---------------------------------------------------------------------------------------------
// Untrusted text

// Origin: an issue's title printed to stdout ran a workflow command: `::…` at the start of a line, `##[…]`
// anywhere.
// covers: F72
#[test]
fn nothing_that_a_tracker_or_an_agent_says_reaches_a_terminal_or_a_runner_raw() {
    let asks = r"printf 'FACTORY_PARK=##[group]\033[2J ::add-mask::x\n'; exit 0";
    let fails = r"printf '::error::\033]0;x\007##[debug]\n' >&2; exit 1";
    let mut factory =
        Factory::with_agent(&format!("case $FACTORY_ITEM in *park*) {asks};; *) {fails};; esac"));
    factory.set("attempts", "max", "1");
    let hostile = "::set-output name=x::##[error]\u{202e}";
    let steering = format!("{hostile}\u{1b}[31m\u{9b}31m\n{hostile}");
    let item = |id: &str, key: &str| {
        let item = json!({"id": id, "key": key, "title": hostile, "body": steering, "labels": [hostile]});
        put(&factory.issues().join(format!("{}.json", id.len())), &item.to_string());
    };
    item("::park##[command]1", "::warning::##[section]park");
    item("::park##[command]12x", "##[group]::fail");
    item("::fail##[command]123456", "::debug::\u{202e}fail");
    let name = |n: &str| json!({"id": format!("##[x]{n}"), "blocked_by": [hostile]}).to_string();
    put(&factory.issues().join("blocked-1.json"), &name("1"));
    put(&factory.issues().join("blocked-2.json"), &name("2"));
    put(&factory.issues().join("::bad##[error].json"), &json!({"title": steering}).to_string());

    let mut printed = Vec::new();
    let mut run = |arguments: &[&str]| {
        let ran = factory.run(arguments);
        printed.push((format!("{arguments:?}"), format!("{}\n{}", ran.stdout, ran.stderr)));
    };
    for format in ["text", "json"] {
        run(&["-n", "-vv", "--format", format]);
    }
    run(&["-vv"]);
    factory.wait_for("all have ended", || {
        let runs = fs::read_dir(factory.state("runs")).unwrap();
        let swept = runs.filter(|run| run.as_ref().unwrap().path().join("swept").exists()).count();
        swept == 3
    });
    for format in ["text", "json"] {
        run(&["-n", "-vv", "--format", format]);
    }
    run(&["-vv"]);
    for format in ["text", "json"] {
        run(&["-vv", "--format", format]);
        run(&["status", "--format", format]);
        run(&["-n", "--format", format, "--item", "##[x]"]);
        run(&["stop", "-n", "--format", format, "##[x]"]);
        run(&["explain", "--format", format, "##[x]1"]);
        run(&["explain", "--format", format, "::park##[command]1"]);
        run(&["stop", "-n", "--format", format, "::nobody##[x]\u{1b}"]);
    }
    for (command, text) in &printed {
        let raw = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(raw), "{command}: {text:?}");
        assert!(!text.contains("##["), "{command}: {text}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("::")), "{command}: {text}");
    }
    let all: String = printed.iter().map(|(_, text)| text.as_str()).collect();
    assert_has(&all, &["park", "fail", "could be", "exit code 1"]);
    // Configured by the owner, and still nothing that a runner obeys.
    let more = format!(
        "{}\n[[role]]\nname = {}\n",
        fs::read_to_string(factory.path("factory.toml")).unwrap(),
        toml_text("##[x]")
    );
    put(&factory.path("factory.toml"), &more);
    let ran = factory.run(&[]).expect(78);
    assert!(!ran.stdout.contains("##[") && !ran.stderr.contains("##["), "{ran:?}");
}

// ---------------------------------------------------------------------------------------------
// explain

#[test]
fn explain_tells_of_any_item_what_decides_and_what_it_would_be_given() {
    let mut factory = Factory::new();
    factory.role("impl", &["sh", "-c", WORKS, "agent", "{run}"], "");
    factory.set("limits", "items_max", "1");
    ["AR-1", "AR-2"].iter().for_each(|key| factory.item(key));
    let explain = |name: &str| factory.run(&["explain", name, "--format", "json"]).expect(0).json();
    let rules = |told: &Value, decides: bool| -> Vec<String> {
        let rules =
            told["rules"].as_array().unwrap().iter().filter(|rule| !decides || rule["decides"] == true);
        rules.map(|rule| format!("{} {}", rule["verdict"], rule["name"]).replace('"', "")).collect()
    };
    // Never started: there is no state yet.
    let told = explain("AR-1");
    assert_eq!((rules(&told, true), &told["record"]), (vec!["acts start".to_owned()], &Value::Null));
    let all = rules(&told, false);
    let order = ["passes not_in_scope", "passes blocked", "passes no_slot", "acts start", "acts writeback"];
    let at = |rule: &str| all.iter().position(|one| one == rule).unwrap_or_else(|| panic!("{rule}: {all:?}"));
    assert!(order.map(at).is_sorted(), "{all:?}");
    let next = &told["next_runs"][0];
    assert_eq!((&next["run"], &next["argv"][4]), (&json!("ar-1-impl.1"), &json!("ar-1-impl.1")));
    assert_has(next["prompt"].as_str().unwrap(), &["AR-1: Title of AR-1"]);
    let env: Vec<_> = next["env"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(env.contains(&"FACTORY_RUN") && env.contains(&"LAB"), "{env:?}");
    assert!(!factory.state("").exists());

    factory.tick().expect(0);
    let told = explain("AR-2");
    assert_eq!(rules(&told, true), ["holds no_slot"]);
    assert!(rules(&told, false).contains(&"passes paused".to_owned()), "those that let it pass are told too");
    factory.run(&["park", "AR-2", "--reason", "not yet"]).expect(0);
    let text = factory.run(&["explain", "AR-2"]).expect(0).stdout;
    let parts = [
        "AR-2 (dir:AR-2): Title of AR-2",
        "→  parked",
        "Record",
        "parked by a person",
        "Next run ar-2-impl.1",
        "Lately",
        "not yet",
    ];
    assert_has(&text, &parts);
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let rows: Vec<_> = rows.skip_while(|row| row != "Now").take_while(|row| row != "Record").collect();
    for row in ["→ parked holds not yet", "paused passes starts are not paused"] {
        assert!(rows.contains(&row.to_owned()), "{row}: {rows:?}");
    }
    assert_has(&complaint(factory.run(&["explain", "AR-9"]).expect(5)), &["nothing here is called"]);
}
