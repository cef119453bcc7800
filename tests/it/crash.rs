//! Ticks and launchers that are killed, machines that are restarted.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Factory, HeldLock, NOTE_START, Ran, Running, is_alive, kill_9};

/// An agent that works until it is ended.
const WORKS: &str = "exec sleep 600";

fn worker() -> Factory {
    Factory::with_agent(&[NOTE_START, WORKS].concat())
}

// Origin: the TypeScript factory, mngr#1510, fabrik#1814 - setsid'd or re-parented children survive.
// covers: D15 V06 F36
#[test]
fn what_a_killed_launcher_leaves_behind_is_ended_and_charged_once() {
    let child = r#"setsid sh -c 'echo $$ > "$LAB/child"; exec sleep 600' & "#;
    let mut factory = Factory::with_agent(&[NOTE_START, child, WORKS].concat());
    factory.set("attempts", "backoff_base", "\"200ms\"");
    factory.item("AR-1");
    factory.tick().expect(0);
    let child = factory.wait_pid("child");
    factory.tick().expect(0);
    let launcher = factory.launcher("ar-1-impl.1");
    kill_9(launcher);
    factory.wait_for("the launcher and its agent are dead", || factory.processes().len() == 1);
    assert!(is_alive(child), "it is what this test is about");

    let report = factory.tick().expect(0).json();
    assert!(!is_alive(child));
    let reaped = report["reaped"].as_array().unwrap();
    assert!(reaped.iter().any(|line| line["pid"] == child && line["run"] == "ar-1-impl.1"), "{report}");
    assert_eq!(report["survivors"], json!([]));
    factory.wait_all_gone();

    factory.tick().expect(0);
    let item = factory.recorded("AR-1");
    assert_eq!((&item["attempts"], &item["last"]["class"]), (&json!(1), &json!("vanished")), "{item}");
    let again = factory.tick_until("it is started again", |ran| !ran.decided().is_empty());
    assert_eq!(again.decided()[0], "start ar-1-impl.2");
    assert_eq!(factory.recorded("AR-1")["attempts"], 1);
}

// Origin: PMSS#663 - the lock, inherited by an agent, blocked all later ticks.
// covers: F56
#[test]
fn no_agent_holds_a_lock_of_its_tick_or_of_the_ticks_caller() {
    let factory = worker();
    factory.item("AR-1");
    // As crontabs do it; what flock(1) leaves open reaches the tick.
    let wrapped = r#"exec 9> "$LAB_OF_TEST/outer"; flock -n 9 || exit 99; exec "$TICK""#;
    let mut shell = factory.shell(wrapped);
    shell.env("LAB_OF_TEST", factory.lab(""));
    Ran::of(&mut shell).expect(0);
    factory.wait_for("the agent runs", || factory.starts().len() == 1);
    for lock in [factory.state("lock"), factory.lab("outer")] {
        drop(HeldLock::take(&lock));
    }
    for _ in 0..3 {
        factory.tick().expect(0);
    }
    for one in factory.processes() {
        let files = fs::read_dir(format!("/proc/{}/fd", one.pid)).unwrap();
        let files: Vec<_> = files.map(|file| fs::read_link(file.unwrap().path()).unwrap()).collect();
        assert!(
            !files.contains(&factory.state("lock")) && !files.contains(&factory.lab("outer")),
            "{one:?}: {files:?}"
        );
    }
}

// Origin: relay#1604 - every spawn was sent twice.
// covers: D02 F04 F67
#[test]
fn a_launcher_that_finds_another_one_of_its_agent_starts_nothing() {
    let factory = worker();
    factory.tick().expect(0);
    let live = HeldLock::take(&factory.state("live/ar-1-impl"));
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("its launcher declines", || factory.receipt("ar-1-impl.1", "claim").is_some());
    assert!(factory.receipt("ar-1-impl.1", "claim").unwrap()["refused"].is_object());
    drop(live);
    let ran = factory.tick().expect(0);
    assert_eq!(ran.decided()[..2], ["fail ar-1-impl.1", "start ar-1-impl.2"]);
    factory.wait_for("the agent runs", || factory.starts() == ["ar-1-impl.2"]);
    assert_eq!(factory.registry()["counters"]["dispatch_duplicate_suppressed"], 1);
    assert_eq!(factory.recorded("AR-1")["attempts"], 0, "the machine's fault, not the agent's");
}

// Origin: autonomous-dev-team#32 - a healthy agent that had just started was judged dead; and factory#303 - a
// row that was never placed held the only slot for ever.
// covers: D03 D04 F02
#[test]
fn a_start_that_nobody_claims_gets_its_grace_and_is_then_fenced_off() {
    let mut factory = worker();
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("the agent runs", || factory.starts().len() == 1);
    // As it would be, had the tick died between the intent and the start.
    kill_9(factory.launcher("ar-1-impl.1"));
    factory.wait_all_gone();
    fs::remove_dir_all(factory.state("runs/ar-1-impl.1")).unwrap();
    factory.set("fleet", "start_grace", "\"1h\"");
    for _ in 0..3 {
        assert_eq!(factory.tick().expect(0).held(), ["already_active dir:AR-1"]);
    }
    factory.set("fleet", "start_grace", "\"1ms\"");
    assert_eq!(factory.tick().expect(0).decided(), ["fence ar-1-impl.1"]);
    assert!(factory.receipt("ar-1-impl.1", "claim").unwrap()["fenced_by"].is_string());
    assert_eq!(factory.tick().expect(0).decided()[..2], ["fail ar-1-impl.1", "start ar-1-impl.2"]);
    factory.wait_for("the agent runs", || factory.starts().len() == 2);
    assert_eq!(factory.registry()["counters"]["fences"], 1);
    assert_eq!(factory.recorded("AR-1")["attempts"], 0);
}

// Origin: JARVIS#65631, claude-code#55056 - the machine slept or was restarted, and everything was judged dead.
// covers: D16 F61 F67
#[test]
fn after_a_restart_of_the_machine_nobody_is_charged_and_everything_goes_on() {
    let mut factory = Factory::new();
    let says = [NOTE_START, "case $FACTORY_ITEM in *1) echo FACTORY_SESSION=s-1;; esac; ", WORKS].concat();
    let works = [NOTE_START, WORKS].concat();
    let resumes = json!(["sh", "-c", works, "resume", "{session}"]);
    factory.role("impl", &["sh", "-c", &says], &format!("resume = {resumes}"));
    ["AR-1", "AR-2", "AR-3"].iter().for_each(|key| factory.item(key));
    factory.tick().expect(0);
    factory.wait_for("all agents run", || factory.starts().len() == 3);
    factory.wait_for("the session is known", || factory.receipt("ar-1-impl.1", "said").is_some());
    factory.tick().expect(0);
    // The third start is one that the tick had not seen yet.
    let third = factory.state("runs/ar-3-impl.1");
    ["ar-1-impl.1", "ar-2-impl.1", "ar-3-impl.1"].iter().for_each(|run| kill_9(factory.launcher(run)));
    factory.wait_all_gone();

    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let other = "11111111-2222-4333-8444-555555555555";
    let move_boot = |text: &str| text.replace(boot_id.trim(), other);
    factory.forge_registry(move_boot);
    for run in ["ar-1-impl.1", "ar-2-impl.1", "ar-3-impl.1"] {
        let claim = factory.state("runs").join(run).join("claim");
        let text = fs::read_to_string(&claim).unwrap();
        assert!(text.contains(boot_id.trim()));
        crate::support::put(&claim, &move_boot(&text));
    }
    assert!(third.exists());

    let ran = factory.tick().expect(0);
    let decided = ran.decided();
    for want in ["fail ar-1-impl.1", "resume ar-1-impl.2", "start ar-2-impl.2", "start ar-3-impl.2"] {
        assert!(decided.contains(&want.to_owned()), "{want}: {decided:?}");
    }
    factory.wait_for("all agents run again", || factory.starts().len() == 6);
    factory.tick().expect(0);
    for key in ["AR-1", "AR-2", "AR-3"] {
        let item = factory.recorded(key);
        assert_eq!((&item["attempts"], &item["state"]), (&json!(0), &json!("active")), "{item}");
    }
    assert_eq!(factory.agent("ar-1-impl")["session"], Value::from("s-1"));
    assert_eq!(factory.agents_alive().len(), 3);
}

#[test]
fn a_tick_that_died_is_told_once_and_nothing_else_is_wrong() {
    let mut factory = Factory::with_agent(
        &[NOTE_START, "trap 'echo term >> $LAB/term' TERM; while :; do sleep 0.05; done"].concat(),
    );
    factory.refuse_started_notes();
    factory.item("AR-1");
    factory.tick().expect(3);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    factory.set("fleet", "grace", "\"20s\"");
    let tick = Running::start(&mut factory.program(&[]));
    factory.wait_told("term");
    tick.signal(Signal::SIGKILL);
    assert_eq!(tick.end().code, None);
    assert!(factory.run(&["status"]).expect(3).stdout.contains("dead: the last tick died in the middle"));
    let next = factory.run(&[]).expect(0);
    assert!(next.stderr.contains("died in the middle"), "{}", next.stderr);
    assert_eq!(factory.registry()["counters"]["crashed_ticks"], 1);
    let after = factory.run(&[]).expect(0);
    assert_eq!(after.stderr, "");
    assert_eq!(factory.registry()["counters"]["crashed_ticks"], 1);
    factory.wait_all_gone();
}

// Origin: a `git clean -ffdx` in a checkout deletes the ignored state folder, agents alive: all start twice.
// covers: F12 F75
#[test]
fn an_agent_whose_state_was_deleted_ends_and_never_speaks_for_its_successor() {
    let factory = worker();
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("it runs", || factory.starts().len() == 1);
    let before = factory.pids();
    let first = factory.lineage();
    std::fs::remove_dir_all(factory.state("")).unwrap();
    // At once, before its launcher can have noticed: the same names again, in a factory of its own.
    factory.tick().expect(0);
    assert_ne!(factory.lineage(), first);
    factory.wait_for("the first agent is ended by its own launcher", || {
        before.iter().all(|pid| !is_alive(*pid))
    });
    factory.wait_for("the second one runs", || factory.starts().len() == 2);
    for receipt in ["exit", "swept", "said"] {
        assert_eq!(factory.receipt("ar-1-impl.1", receipt), None, "a stranger wrote {receipt}");
    }
    assert_eq!(factory.tick().expect(0).decided(), ["adopt ar-1-impl.1"]);
    assert_eq!(factory.agents_alive(), ["ar-1-impl.1"]);
}
