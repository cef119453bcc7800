//! `kill-tick` signals a tick that hangs, and nobody else whatever the files say.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Factory, HeldLock, NOTE_START, Running, is_alive, put, system};

/// An agent that is told to end and goes on.
const STUBBORN: &str =
    r#"trap 'echo term >> "$LAB/term"' TERM; echo up >> "$LAB/up"; while :; do sleep 0.05; done"#;

fn heartbeat(factory: &Factory) -> Value {
    serde_json::from_str(&fs::read_to_string(factory.state("heartbeat.json")).unwrap()).unwrap()
}

#[track_caller]
fn refuses(factory: &Factory, why: &str) {
    let ran = factory.run(&["kill-tick"]).expect(5);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("nobody was signalled") && ran.stderr.contains(why), "{}", ran.stderr);
}

/// Field 22 of its stat.
fn start_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap()
}

// Origin: pear#248 review - kill-loop killed whatever had that pid by then; the TypeScript factory killed an
// unrelated `sleep` so.
// covers: F45 F47
#[test]
fn whoever_has_the_pid_of_a_heartbeat_by_now_lives_on() {
    let factory = Factory::with_agent("exit 0");
    refuses(&factory, "there is no state");
    factory.tick().expect(0);
    let sleep = Running::start(system("sleep").arg("600"));
    let whole = heartbeat(&factory);
    let forge = |change: &dyn Fn(&mut Value)| {
        let mut beat = whole.clone();
        beat["pid"] = json!(sleep.pid());
        change(&mut beat);
        put(&factory.state("heartbeat.json"), &beat.to_string());
    };
    let exactly = |beat: &mut Value| {
        beat["status"] = json!("running");
        beat["start_ticks"] = json!(start_ticks(sleep.pid()));
    };
    let refuses_and_spares = |why: &str| {
        refuses(&factory, why);
        assert!(is_alive(sleep.pid()), "{why}");
    };

    // Nobody holds the lock.
    forge(&exactly);
    refuses_and_spares("nobody holds the lock");

    // Somebody does, whose name is not known, or not the heartbeat's.
    let held = HeldLock::take(&factory.state("lock"));
    forge(&exactly);
    refuses_and_spares("holds the lock, and the heartbeat is that of");
    forge(&|_| {});
    refuses_and_spares("holds the lock, and the heartbeat is that of");
    // Who had the pid before, a moment ago: two processes can begin within one tick of that clock.
    forge(&|beat| {
        beat["status"] = json!("running");
        beat["start_ticks"] = json!(start_ticks(sleep.pid()) - 1);
    });
    refuses_and_spares("dead");
    forge(&|beat| {
        exactly(beat);
        beat["boot_id"] = json!("another");
    });
    refuses_and_spares("dead");
    // Origin: hermes-agent#60703 - a heartbeat from the future.
    forge(&|beat| {
        exactly(beat);
        beat["updated_at"] = json!("2100-01-01T00:00:00Z");
        beat["updated_at_ms"] = json!(4_102_444_800_000_i64);
    });
    refuses_and_spares("skewed");
    let text = whole.to_string();
    put(&factory.state("heartbeat.json"), &text[..text.len() / 2]);
    refuses_and_spares("unreadable");
    fs::remove_file(factory.state("heartbeat.json")).unwrap();
    refuses_and_spares("absent");
    put(&factory.state("lock"), "");
    forge(&exactly);
    refuses_and_spares("does not say by whom");
    drop(held);
}

// Origin: pear#248 review - recovery commands failed because something else was down.
// covers: F45 F49
#[test]
fn a_tick_that_hangs_ends_and_leaves_a_whole_state_even_where_the_configuration_is_broken() {
    let mut factory = Factory::with_agent(&[NOTE_START, STUBBORN].concat());
    factory.refuse_started_notes();
    factory.set("fleet", "grace", "\"5s\"");
    factory.item("AR-1");
    factory.tick().expect(3);
    factory.wait_told("up");
    // It waits for an agent that was told to end and does not.
    let tick = Running::start(&mut factory.program(&["--format", "json"]));
    factory.wait_told("term");
    let mut beat = heartbeat(&factory);
    assert_eq!(beat["pid"], tick.pid());
    beat["updated_at"] = json!("2001-09-09T01:46:40Z");
    beat["updated_at_ms"] = json!(1_000_000_000_000_i64);
    put(&factory.state("heartbeat.json"), &beat.to_string());
    let config = fs::read_to_string(factory.path("factory.toml")).unwrap();
    put(&factory.path("factory.toml"), "[[role");

    let ran = factory.run(&["kill", "--format", "json"]).expect(0).json();
    assert_eq!((&ran["pid"], &ran["signal"]), (&json!(tick.pid()), &json!("TERM")));
    assert_eq!(tick.end().expect(143).json()["status"], "interrupted");
    refuses(&factory, "nobody holds the lock");
    put(&factory.path("factory.toml"), &config);
    factory.wait_all_gone();
    factory.tick().expect(0);
    assert_eq!(factory.registry()["handoffs"], json!({}));
}
