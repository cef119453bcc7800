//! `heartbeat.json`: the one file that every tick writes, and that a monitor reads.

use std::{fmt, io};

use crate::durable::{atomic, naming};
use crate::state::HostDir;
use crate::state::heartbeat::{Heartbeat, HeartbeatState};

const HEARTBEAT: &str = "heartbeat.json";

/// More than any heartbeat takes, in bytes; the error texts in it are the only part that varies.
const BYTES_MAX: u64 = 256 << 10;

/// Reads the heartbeat. Never an error: what can't be read is an answer of its own, and not "alive".
pub fn read(dir: &HostDir) -> HeartbeatState {
    let path = dir.path().join(HEARTBEAT);
    let unreadable =
        |why: &dyn fmt::Display| HeartbeatState::Unreadable(format!("{}: {why}", path.display()));
    match atomic::read_bounded(dir, HEARTBEAT, BYTES_MAX) {
        Ok(None) => HeartbeatState::Absent,
        Ok(Some(bytes)) => match Heartbeat::from_bytes(&bytes) {
            Ok(beat) => HeartbeatState::Beat(Box::new(beat)),
            Err(why) => unreadable(&why),
        },
        Err(error) => unreadable(&error),
    }
}

/// Replaces the heartbeat, so that a reader never sees a part of one. Not synced: it tells of now,
/// and after a power cut there is no now to tell of.
///
/// # Errors
///
/// Those of the system, naming the file.
pub fn write(dir: &HostDir, beat: &Heartbeat) -> io::Result<()> {
    atomic::replace(dir, HEARTBEAT, &beat.to_bytes()?, false)
        .map_err(|error| naming(&dir.path().join(HEARTBEAT), &error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::state::heartbeat::tests::{beat, now};
    use crate::state::heartbeat::{Alive, Status, judge};

    const STALE: Duration = Duration::from_secs(180);

    fn state() -> (tempfile::TempDir, HostDir) {
        let holder = tempfile::tempdir().unwrap();
        let dir = HostDir::create_or_open(&holder.path().join("state"), true).unwrap();
        (holder, dir)
    }

    #[expect(clippy::disallowed_methods, reason = "a test breaks a file")]
    fn put(dir: &HostDir, bytes: &[u8]) {
        std::fs::write(dir.path().join(HEARTBEAT), bytes).unwrap();
    }

    fn is_unreadable(dir: &HostDir) -> bool {
        let heartbeat_state = read(dir);
        let verdict = judge(&heartbeat_state, &now(1000), STALE, |_, _, _| true);
        matches!((heartbeat_state, verdict), (HeartbeatState::Unreadable(_), Alive::Unreadable(_)))
    }

    #[test]
    fn what_was_written_is_read() {
        let (_holder, dir) = state();
        assert_eq!(read(&dir), HeartbeatState::Absent);
        assert_eq!(judge(&HeartbeatState::Absent, &now(0), STALE, |_, _, _| true), Alive::Absent);
        for status in [Status::Running, Status::Idle] {
            write(&dir, &beat(status)).unwrap();
            assert_eq!(read(&dir), HeartbeatState::Beat(Box::new(beat(status))));
        }
    }

    #[test]
    fn what_a_newer_tick_says_besides_is_skipped() {
        let (_holder, dir) = state();
        let mut json = serde_json::to_value(beat(Status::Idle)).unwrap();
        json["mood"] = "fine".into();
        json["source"]["retries"] = 3.into();
        json.as_object_mut().unwrap().remove("reported_at");
        put(&dir, json.to_string().as_bytes());
        assert_eq!(read(&dir), HeartbeatState::Beat(Box::new(beat(Status::Idle))));
    }

    // Origin: pear#248 - a malformed heartbeat had the age NaN, which is not older than anything: alive.
    // covers: F46
    #[test]
    fn a_malformed_heartbeat_is_never_alive() {
        let (_holder, dir) = state();
        write(&dir, &beat(Status::Idle)).unwrap();
        let whole = std::fs::read(dir.path().join(HEARTBEAT)).unwrap();
        // The line break at the end is the one byte it can do without.
        for length in 0..whole.len() - 1 {
            put(&dir, &whole[..length]);
            assert!(is_unreadable(&dir), "{length}");
        }
        let good = serde_json::to_value(beat(Status::Idle)).unwrap();
        for field in ["updated_at", "updated_at_ms", "status", "pid", "start_ticks", "boot_id"] {
            let mut wrong = vec![good.clone(), good.clone(), good.clone()];
            wrong[0][field] = serde_json::Value::Null;
            wrong[1][field] = "soon".into();
            wrong[2].as_object_mut().unwrap().remove(field);
            if field == "boot_id" {
                wrong.remove(1);
            }
            for wrong in wrong {
                put(&dir, wrong.to_string().as_bytes());
                assert!(is_unreadable(&dir), "{wrong}");
            }
        }
        for number in ["NaN", "1e999", "-1e999", "1000000.5"] {
            put(&dir, good.to_string().replace("1000000", number).as_bytes());
            assert!(is_unreadable(&dir), "{number}");
        }
        put(&dir, good.to_string().replace("1000000", "9000000").as_bytes());
        assert!(is_unreadable(&dir), "two times that contradict each other");
        put(&dir, good.to_string().replace("\"schema\":1", "\"schema\":2").as_bytes());
        assert!(is_unreadable(&dir), "another schema");
    }

    #[test]
    fn a_heartbeat_that_is_no_file_is_unreadable() {
        let (_holder, dir) = state();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join(HEARTBEAT)).unwrap();
        assert!(is_unreadable(&dir));
    }
}
