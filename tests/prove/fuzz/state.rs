//! The small files of a state directory.

use std::time::Duration;

use factory_tick::model::ClockReading;
use factory_tick::state::HostDir;
use factory_tick::state::files::{events, heartbeat, last_good};
use factory_tick::state::heartbeat::{Heartbeat, HeartbeatState, judge as judge_heartbeat};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::change::{apply, bytes_like, changes};
use super::{cases, lay};

fn state() -> (tempfile::TempDir, HostDir) {
    let holder = tempfile::tempdir().unwrap();
    let dir = HostDir::create_or_open(&holder.path().join("state"), true).unwrap();
    (holder, dir)
}

fn beat() -> Value {
    serde_json::from_str(include_str!("../../../fixtures/screens/heartbeat.json")).unwrap()
}

/// Whatever it says of its own time, nothing fails at it.
fn judge(pulse: &HeartbeatState) {
    for at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        let now = ClockReading { at, mono_ms: 0, slept_ms: 0, boot_id: String::new() };
        for lives in [true, false] {
            let _ = judge_heartbeat(pulse, &now, Duration::from_secs(180), |_, _, _| lives).to_string();
        }
    }
}

pub(super) const PROPERTIES: &[(&str, fn())] = &[
    ("heartbeats", any_heartbeat_is_believed_or_not_and_what_is_comes_back),
    ("bytes of small files", any_bytes_in_the_small_files_are_read_or_are_none),
];

proptest! {
    #![proptest_config(cases())]

    fn any_heartbeat_is_believed_or_not_and_what_is_comes_back(changes in changes()) {
        let (_holder, dir) = state();
        let mut value = beat();
        apply(&mut value, &changes);
        lay(&dir.path().join("heartbeat.json"), value.to_string().as_bytes());
        let pulse = heartbeat::read(&dir);
        judge(&pulse);
        if let HeartbeatState::Beat(beat) = &pulse {
            let beat: &Heartbeat = beat;
            prop_assert_eq!(beat.updated_at.as_millisecond(), beat.updated_at_ms);
            heartbeat::write(&dir, beat).unwrap();
            prop_assert_eq!(heartbeat::read(&dir), pulse);
        }
    }

    fn any_bytes_in_the_small_files_are_read_or_are_none(bytes in bytes_like(vec![
        beat().to_string().into_bytes(),
        br#"{"schema":1,"configuration":{"path":"/f","text":"x","prompts":{}}}"#.to_vec(),
        b"{\"event\":\"start\",\"item\":\"dir:AR-1\"}\n{\"event\":\"done\"}\n".to_vec(),
        br#"{"process":{"pid":7,"start_ticks":1,"boot_id":"","pid_ns":1,"uid":0},"started_at":"2026-11-20T12:00:00Z"}"#.to_vec(),
    ])) {
        let (_holder, dir) = state();
        for name in ["heartbeat.json", "last-good.json", "events.jsonl", "events.jsonl.1", "lock", "mail.json"] {
            lay(&dir.path().join(name), &bytes);
        }
        judge(&heartbeat::read(&dir));
        let _ = last_good::find(&dir);
        let _ = dir.last_holder().unwrap();
        prop_assert!(!dir.is_locked().unwrap());
        let before = events::read(&dir).unwrap().count();
        // What is appended stands on a line of its own, whatever was there.
        events::append(&dir, &[json!({"event": "mark"})], 0).unwrap();
        let after: Vec<_> = events::read(&dir).unwrap().collect();
        prop_assert_eq!(after.len(), before + 1);
        prop_assert_eq!(after.last().unwrap(), &json!({"event": "mark"}));
    }
}
