//! What has gone wrong elsewhere, played with real processes; and files of a run that are gone or spoiled.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Factory, NOTE_START, Ran, binary, install, is_alive, kill_9, put, put_sealed, system};

/// An agent that works until it is ended.
const WORKS: &str = "exec sleep 600";

fn worker() -> Factory {
    Factory::with_agent(&[NOTE_START, WORKS].concat())
}

/// One whose only agent is at work, and on record as running. Its launcher's pid.
fn at_work(factory: &Factory) -> u32 {
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    assert_eq!(factory.tick().expect(0).decided(), ["adopt ar-1-impl.1"]);
    factory.launcher("ar-1-impl.1")
}

fn run_file(factory: &Factory, name: &str) -> std::path::PathBuf {
    factory.state("runs/ar-1-impl.1").join(name)
}

#[track_caller]
fn assert_last(factory: &Factory, class: &str, attempts: u32) {
    let item = factory.recorded("AR-1");
    assert_eq!((&item["last"]["class"], &item["attempts"]), (&json!(class), &json!(attempts)), "{item}");
}

// ---------------------------------------------------------------------------------------------
// Starts

// Origin: relay#1604 - every spawn was sent twice.
// covers: F04
#[test]
fn a_run_that_is_asked_for_again_starts_no_second_agent() {
    // Only the first one stays.
    let works_once = r#"[ "$(wc -l < "$LAB/starts")" = 1 ] || exit 0; exec sleep 600"#;
    let factory = Factory::with_agent(&[NOTE_START, works_once].concat());
    let launcher = at_work(&factory);
    let claim = fs::read(run_file(&factory, "claim")).unwrap();
    let run_dir = factory.state("runs/ar-1-impl.1").display().to_string();
    // As a tick would ask, with the environment of that run.
    let again = || {
        let mut launch = factory.program(&["__launch", &run_dir]);
        launch.env("LAB", factory.lab("")).env("FACTORY_RUN", format!("{}/ar-1-impl.1", factory.lineage()));
        Ran::of(&mut launch).expect(0);
    };
    again();
    kill_9(launcher);
    factory.wait_all_gone();
    again();
    factory.tick().expect(0);
    again();
    assert_eq!(factory.starts(), ["ar-1-impl.1"]);
    assert_eq!(fs::read(run_file(&factory, "claim")).unwrap(), claim);
}

// Origin: relay#1438 - a clash of names handed over the agent of somebody else; the TypeScript factory took over
// whatever had the name. A directory that was copied here had its launcher ended, a living one of another factory.
// covers: F12 D28
#[test]
fn a_run_of_another_factory_is_neither_taken_over_nor_ended() {
    let (theirs, ours) = (worker(), worker());
    let launcher = at_work(&theirs);
    ours.tick().expect(0);
    let copied =
        system("cp").arg("-r").arg(theirs.state("runs/ar-1-impl.1")).arg(ours.state("runs")).status();
    assert!(copied.unwrap().success());
    ours.item("AR-1");
    for _ in 0..3 {
        let ran = ours.tick().expect(3);
        assert_eq!((ran.decided(), ran.held()), (vec![], vec!["fleet_unknown dir:AR-1".to_owned()]));
        let errors = ran.json()["errors"].to_string();
        assert!(errors.contains("is a run of another factory; move it away"), "{errors}");
        assert!(is_alive(launcher), "{}", ran.stdout);
    }
    // What it was asked for can't be read any more either: the claim alone was believed, and its launcher ended.
    put(&ours.state("runs/ar-1-impl.1/spec.json"), "{\"schema\":1,");
    for _ in 0..3 {
        let ran = ours.tick().expect(3);
        assert_eq!(ran.decided(), [""; 0]);
        assert!(ran.stdout.contains("is a run of another factory; move it away"), "{}", ran.stdout);
        assert!(is_alive(launcher), "{}", ran.stdout);
    }
    fs::rename(ours.state("runs/ar-1-impl.1"), ours.path("moved")).unwrap();
    assert_eq!(ours.tick().expect(0).decided()[0], "start ar-1-impl.1");
    assert_eq!(theirs.agents_alive(), ["ar-1-impl.1"]);
    assert_eq!(theirs.tick().expect(0).decided(), [""; 0]);
}

// Origin: actions/runner#598 - a CI runner ends everything that carries the id of its job, agents included.
// covers: F70
#[test]
fn neither_launcher_nor_agent_carries_the_mark_of_a_ci_job() {
    let mut factory = worker();
    factory.var("RUNNER_TRACKING_ID", "github_0123");
    factory.var("GITHUB_RUN_ID", "7");
    let launcher = at_work(&factory);
    let pids = factory.pids();
    assert!(pids.contains(&launcher) && pids.len() == 2, "{pids:?}");
    for pid in pids {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environ = String::from_utf8_lossy(&environ);
        assert!(!environ.contains("RUNNER_TRACKING_ID") && !environ.contains("GITHUB_"), "{environ}");
    }
}

// Origin: measured - the program was upgraded while agents ran: what `/proc/<pid>/exe` shows of them is "(deleted)".
// covers: F79
#[test]
fn a_program_that_is_replaced_finds_its_agents_again_and_ends_them() {
    let factory = worker();
    let ours = factory.path("program");
    let run =
        |arguments: &str| Ran::of(&mut factory.shell(&format!("exec ./program {arguments} --format json")));
    install(binary(), &ours);
    factory.item("AR-1");
    run("").expect(0);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    let launcher = factory.launcher("ar-1-impl.1");
    fs::remove_file(&ours).unwrap();
    let exe = fs::read_link(format!("/proc/{launcher}/exe")).unwrap();
    assert!(exe.display().to_string().ends_with("(deleted)"), "{exe:?}");
    install(binary(), &ours);
    assert_eq!(run("").expect(0).decided(), ["adopt ar-1-impl.1"]);
    assert_eq!(run("").expect(0).decided(), [""; 0]);
    run("stop AR-1").expect(0);
    assert!(!is_alive(launcher));
    factory.wait_all_gone();
}

// ---------------------------------------------------------------------------------------------
// Ends

// Origin: gastown#736 - 142 orphans held 56 GB; claude-octopus#900 - some wrote to the repository 25 minutes after
// their agent had ended.
// covers: F41 D12
#[test]
fn what_an_agent_leaves_behind_is_ended_before_its_run_is_over() {
    let child = r#"setsid sh -c 'echo $$ > "$LAB/child"; exec sleep 600' & "#;
    let waits = r#"until [ -s "$LAB/child" ]; do sleep 0.01; done; exit 0"#;
    let factory = Factory::with_agent(&[NOTE_START, child, waits].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert!(!is_alive(factory.wait_pid("child")));
    assert!(factory.processes().is_empty());
    assert_eq!(factory.receipt("ar-1-impl.1", "swept").unwrap()["survivors"], json!([]));
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
}

// A launcher that is killed while it sweeps has written how the agent ended: that it is dead makes no failure of it.
// covers: D14
#[test]
fn a_launcher_killed_while_it_sweeps_has_its_receipt_read_and_its_sweep_finished() {
    let child = r#"setsid sh -c 'trap "" TERM; echo $$ > "$LAB/child"; exec sleep 600' & "#;
    let waits = r#"until [ -s "$LAB/child" ]; do sleep 0.01; done; exit 0"#;
    let mut factory = Factory::with_agent(&[NOTE_START, child, waits].concat());
    factory.set("fleet", "grace", "\"20s\"");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("its agent has ended", || factory.receipt("ar-1-impl.1", "exit").is_some());
    kill_9(factory.launcher("ar-1-impl.1"));
    factory.set("fleet", "grace", "\"200ms\"");
    let child = factory.wait_pid("child");
    assert!(is_alive(child));
    assert_eq!(factory.tick().expect(0).decided(), ["adopt ar-1-impl.1", "reap ar-1-impl.1"]);
    assert!(!is_alive(child));
    assert_eq!(factory.receipt("ar-1-impl.1", "swept").unwrap()["by"], "tick");
    let judged = factory.tick().expect(0).decided();
    assert_eq!(judged[..2], ["done ar-1-impl.1", "done dir:AR-1"]);
}

// Origin: the TypeScript factory - what was not there any more could not be released, which counted as a failure and
// was tried again each second.
// covers: F44 D32
#[test]
fn a_hand_off_that_somebody_else_has_ended_is_cleared_without_a_failure() {
    let mut factory = worker();
    factory.refuse_started_notes();
    factory.item("AR-1");
    factory.tick().expect(3);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    kill_9(factory.launcher("ar-1-impl.1"));
    factory.wait_all_gone();
    let report = factory.tick().expect(0).json();
    assert_eq!(
        (&report["reaped"], &report["survivors"], &report["errors"]),
        (&json!([]), &json!([]), &json!([]))
    );
    assert_eq!(factory.tick().expect(0).decided(), ["forget ar-1-impl.1"]);
    assert_eq!(factory.registry()["counters"]["dispatch_failure_reaper_handoff_failures"], 0);
    factory.run(&["stop", "AR-1"]).expect(0);
}

// covers: D29 D35
#[test]
fn a_hand_off_that_is_alive_is_ended_by_its_own_launcher_and_not_by_the_tick_that_recorded_it() {
    let mut factory = worker();
    factory.refuse_started_notes();
    factory.item("AR-1");
    factory.tick().expect(3);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    assert_eq!(factory.receipt("ar-1-impl.1", "exit"), None);
    let launcher = factory.launcher("ar-1-impl.1");
    let report = factory.tick().expect(0).json();
    assert_eq!(report["reaped"], json!([{"run": "ar-1-impl.1", "pid": launcher, "signals": ["TERM"]}]));
    assert_eq!(factory.receipt("ar-1-impl.1", "exit").unwrap()["reason"], "stopped");
    assert_eq!(factory.receipt("ar-1-impl.1", "swept").unwrap()["by"], "launcher");
}

// covers: V22
#[test]
fn a_launcher_that_somebody_stops_is_no_failure_of_its_agent() {
    let factory = worker();
    let launcher = at_work(&factory);
    assert!(system("kill").arg(launcher.to_string()).status().unwrap().success());
    factory.wait_swept("ar-1-impl.1");
    let ran = factory.tick().expect(0);
    assert_eq!(
        (ran.decided(), ran.held()),
        (vec!["fail ar-1-impl.1".to_owned()], vec!["backoff dir:AR-1".to_owned()])
    );
    assert_last(&factory, "killed", 0);
}

// Only the end of what a program said is read. Words that it said long before say nothing about why it ended.
// covers: V12
#[test]
fn a_session_is_gone_only_by_the_last_words_of_the_run_that_resumed_it() {
    let mut factory = Factory::new();
    let resumed = "echo 'No such session' >&2; head -c 70000 /dev/zero | tr '\\0' x >&2; exit 1";
    let more = format!(
        "resume = {}\nsession_gone = [\"No such session\"]",
        json!(["sh", "-c", resumed, "x", "{session}"])
    );
    factory.role("impl", &["sh", "-c", "echo FACTORY_SESSION=s-1; exit 1"], &more);
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert!(factory.tick().expect(0).decided().contains(&"resume ar-1-impl.2".to_owned()));
    factory.wait_swept("ar-1-impl.2");
    factory.tick().expect(0);
    assert_last(&factory, "agent", 2);
}

// ---------------------------------------------------------------------------------------------
// Files that are gone or spoiled

// covers: D18 D19 D15 D08
#[test]
fn a_run_on_record_is_told_by_its_recorded_launcher_whatever_becomes_of_its_claim() {
    for spoil in [None, Some(""), Some("{\"launcher\":"), Some("\u{0}\u{0}")] {
        let factory = worker();
        let launcher = at_work(&factory);
        match spoil {
            None => fs::remove_file(run_file(&factory, "claim")).unwrap(),
            Some(text) => put(&run_file(&factory, "claim"), text),
        }
        for _ in 0..3 {
            assert_eq!(factory.tick().expect(0).decided(), [""; 0], "{spoil:?}");
        }
        assert_eq!(factory.agents_alive(), ["ar-1-impl.1"]);
        kill_9(launcher);
        factory.wait_all_gone();
        assert_eq!(factory.tick().expect(0).decided(), ["reap ar-1-impl.1"], "{spoil:?}");
        assert_eq!(factory.tick().expect(0).decided(), ["fail ar-1-impl.1"], "{spoil:?}");
        assert_last(&factory, "vanished", 1);
    }
}

// covers: D20 D22
#[test]
fn a_start_whose_claim_cannot_be_read_is_held_and_reported_until_it_can() {
    let factory = worker();
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    let claim = fs::read_to_string(run_file(&factory, "claim")).unwrap();
    put(&run_file(&factory, "claim"), &claim[..claim.len() / 2]);
    for _ in 0..3 {
        let ran = factory.tick().expect(3);
        assert_eq!((ran.decided(), ran.held()), (vec![], vec!["fleet_unknown dir:AR-1".to_owned()]));
        let errors = ran.json()["errors"].to_string();
        assert!(errors.contains("ar-1-impl.1") && errors.contains("claim"), "{errors}");
    }
    assert_eq!(factory.agents_alive(), ["ar-1-impl.1"]);
    put(&run_file(&factory, "claim"), &claim);
    assert_eq!(factory.tick().expect(0).decided(), ["adopt ar-1-impl.1"]);
}

// Origin: found by flipping bits - a claim whose launcher had another pid by then was one of a dead launcher: its agent was
// ended. With another boot in it the machine had been restarted, and a second start was tried.
// covers: D20 D22
#[test]
fn a_claim_that_tells_something_else_than_was_written_is_not_believed() {
    let factory = worker();
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    let launcher = factory.launcher("ar-1-impl.1");
    let claim = fs::read_to_string(run_file(&factory, "claim")).unwrap();
    let boot_id = factory.receipt("ar-1-impl.1", "claim").unwrap()["launcher"]["since"]["boot_id"].clone();
    let pid = |pid: &str| claim.replacen(&format!("\"pid\":{launcher}"), &format!("\"pid\":{pid}"), 1);
    let others = [
        pid("1"),
        pid("4194303"),
        pid(&std::process::id().to_string()),
        claim.replace(boot_id.as_str().unwrap(), "a2569f14-2537-4f6c-b476-39591a1189e0"),
        claim.replacen("\"start_ticks\":", "\"start_ticks\":1", 1),
    ];
    for other in others {
        assert_ne!(other, claim);
        put(&run_file(&factory, "claim"), &other);
        let ran = factory.tick().expect(3);
        assert_eq!((ran.decided(), ran.held()), (vec![], vec!["fleet_unknown dir:AR-1".to_owned()]));
        assert!(ran.stdout.contains("when nothing of it does, remove the damaged file"), "{}", ran.stdout);
        assert_eq!(factory.agents_alive(), ["ar-1-impl.1"]);
    }
    put(&run_file(&factory, "claim"), &claim);
    assert_eq!(factory.tick().expect(0).decided(), ["adopt ar-1-impl.1"]);
}

// Origin: found by flipping bits - an exit code of 1 became 0, and the item was done.
// covers: D21 D15
#[test]
fn an_exit_that_tells_something_else_than_was_written_is_none() {
    let factory = Factory::with_agent("exit 1");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let exit = fs::read_to_string(run_file(&factory, "exit")).unwrap();
    put(&run_file(&factory, "exit"), &exit.replacen("\"code\":1", "\"code\":0", 1));
    factory.tick().expect(0);
    assert_last(&factory, "vanished", 1);
}

// Origin: found by fuzzing - the number after the largest one that a directory could have was written into a registry which
// no tick could read again.
// covers: D26
#[test]
fn whatever_numbers_are_found_the_registry_can_be_read_again() {
    for n in ["9007199254740992", "9007199254740991", "4503599627370496"] {
        let factory = worker();
        factory.tick().expect(0);
        fs::create_dir(factory.state("runs").join(format!("ar-1-impl.{n}"))).unwrap();
        factory.item("AR-1");
        factory.tick().expect(0);
        factory.tick_until("it was started once", |ran| {
            assert_eq!(ran.code, Some(0), "{n}: {ran:?}");
            factory.starts().len() == 1
        });
        factory.tick().expect(0);
    }
}

// Origin: found by fuzzing - a forgotten run was of the last dispatch that there can be, and the next one of its item made
// the tick panic.
// covers: D26 D27
#[test]
fn what_a_forgotten_run_counts_up_to_is_believed_within_reason_alone() {
    let factory = worker();
    factory.tick().expect(0);
    let older = fs::read_to_string(factory.state("registry.json")).unwrap();
    let launcher = at_work(&factory);
    let mut spec = factory.receipt("ar-1-impl.1", "spec.json").unwrap();
    spec.as_object_mut().unwrap().remove("sha256");
    spec["run"]["dispatch"] = json!(u64::MAX);
    put_sealed(&run_file(&factory, "spec.json"), &spec);
    put(&factory.state("registry.json"), &older);
    assert_eq!(factory.tick().expect(0).decided(), ["stop ar-1-impl.1"]);
    assert!(is_alive(launcher));
    factory.tick_until("it is started anew", |ran| {
        assert_eq!(ran.code, Some(0), "{ran:?}");
        factory.starts() == ["ar-1-impl.1", "ar-1-impl.2"]
    });
    assert_eq!(factory.recorded("AR-1")["dispatch"], 1);
}

// covers: D21 D15
#[test]
fn receipts_that_cannot_be_read_are_as_if_absent() {
    let factory = Factory::with_agent("exit 0");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    for receipt in ["exit", "swept"] {
        put(&run_file(&factory, receipt), "{\"code\":");
    }
    assert_eq!(factory.tick().expect(0).decided(), ["adopt ar-1-impl.1", "reap ar-1-impl.1"]);
    assert_eq!(factory.tick().expect(0).decided(), ["fail ar-1-impl.1"]);
    assert_last(&factory, "vanished", 1);
}

// Origin: a tick that had no file descriptor left for /proc ended with 1, the code of a bug. In the field such a tick was
// taken for one that found the lock held, and was green for a day.
// covers: F58
#[test]
fn a_tick_that_is_short_of_files_charges_nobody() {
    let factory = Factory::with_agent("exit 0");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    // From not enough to load anything up to where it just suffices.
    for (ended_short, files) in (3..32).enumerate() {
        let ran = Ran::of(&mut factory.shell(&format!(r#"ulimit -n {files}; exec "$TICK" --format json"#)));
        // 127 is the loader's, that could not even open the libraries.
        let is_documented = ran.code.is_some_and(|code| code == 127 || [3, 69, 74, 0].contains(&code));
        assert!(is_documented, "with {files} files: {ran:?}");
        let item = factory.recorded("AR-1");
        assert_eq!(item["attempts"], 0, "with {files} files: {}{}", ran.stdout, ran.stderr);
        if item["state"] == "done" {
            assert!(ended_short > 0, "no tick was short of files");
            return;
        }
    }
    panic!("never done: {}", factory.recorded("AR-1"));
}

// Origin: the TypeScript factory - after a truncated heartbeat live agents were taken for those of a dead loop, and
// killed.
// covers: F46
#[test]
fn whatever_the_heartbeat_says_no_agent_is_touched() {
    let factory = worker();
    let launcher = at_work(&factory);
    let pids = factory.pids();
    let heartbeat = factory.state("heartbeat.json");
    let whole = fs::read_to_string(&heartbeat).unwrap();
    let mut dead: Value = serde_json::from_str(&whole).unwrap();
    dead["status"] = json!("running");
    dead["pid"] = json!(launcher);
    dead["start_ticks"] = json!(1);
    // Counted on from there, a tick panicked.
    let mut last: Value = serde_json::from_str(&whole).unwrap();
    last["ticks"] = json!(u64::MAX);
    last["serial"] = json!(u64::MAX);
    for text in ["", "{", "null", &whole[..whole.len() / 2], &dead.to_string(), &last.to_string()] {
        put(&heartbeat, text);
        assert_eq!(factory.tick().expect(0).decided(), [""; 0], "{text}");
        assert_eq!(factory.pids(), pids);
    }
    fs::remove_file(&heartbeat).unwrap();
    assert_eq!(factory.tick().expect(0).decided(), [""; 0]);
    assert_eq!(factory.pids(), pids);
}
