//! The tick's pulse: the one file that every tick writes, and that a monitor reads.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::{ClockReading, ClockTracker};
use crate::text::escape;

/// The layout that this version reads and writes.
pub const SCHEMA: u64 = 1;

/// How far ahead a heartbeat may be and still count as now. Writer and reader share one clock, so
/// only a correction between the two makes a difference: time daemons step by a second or two at
/// most, while a clock that was set wrong is off by minutes. One from further ahead would
/// otherwise count as fresh until its time comes.
const SKEW_MAX: SignedDuration = SignedDuration::from_secs(5);

/// What the tick was doing when it last wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In the middle of a tick.
    Running,
    /// Done; the next tick will come.
    Idle,
    /// Told to end by a signal.
    Stopping,
    /// Done, and failed.
    Failed,
}

/// How one of the two things that a tick looks at is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether the last look succeeded.
    pub ok: bool,
    /// Since when that has been so; `None` before the first look.
    pub since: Option<Timestamp>,
    /// Why it did not.
    pub error: Option<String>,
}

/// How the last look at what may be removed went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// When everything that may go was taken away; `None` while there is more.
    pub looked_at: Option<Timestamp>,
    /// What could not be.
    pub error: Option<String>,
}

/// How the last look for left-over control groups went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsLook {
    /// When the look came to its end; `None` while there are more groups to visit.
    pub looked_at: Option<Timestamp>,
    /// The group after which the next look goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What a tick tells of itself. Fields that it does not know are skipped: a newer tick may say more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Its layout, [`SCHEMA`].
    pub schema: u64,
    /// The version that wrote it.
    pub version: String,
    /// The config file of that tick.
    pub config: String,
    /// The tick's process.
    pub pid: u32,
    /// That process's start, in clock ticks since boot.
    pub start_ticks: u64,
    /// The boot that it belongs to.
    pub boot_id: String,
    /// The machine.
    pub host: String,
    /// What it was doing.
    pub status: Status,
    /// The generation of the registry that stood.
    pub serial: u64,
    /// How many ticks have begun.
    pub ticks: u64,
    /// When this tick began.
    pub started_at: Timestamp,
    /// When this was written.
    pub updated_at: Timestamp,
    /// The same in milliseconds since 1970, for readers without a calendar. The two must agree.
    pub updated_at_ms: i64,
    /// How the last finished tick ended.
    pub exit_code: Option<u8>,
    /// Whether starting agents is paused.
    pub paused: bool,
    /// The source of items.
    pub source: Health,
    /// The fleet of agents.
    pub fleet: Health,
    /// Why the last tick ended as it did, in one line.
    pub reason: Option<String>,
    /// When a person was last told of that.
    pub reported_at: Option<Timestamp>,
    /// The last look at what may be removed; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained: Option<Retained>,
    /// The last look for left-over control groups; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<GroupsLook>,
    /// How steady the clock was, as this tick began.
    pub steady: ClockTracker,
}

impl Heartbeat {
    /// Reads what [`Heartbeat::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// Why it can't be believed, for people.
    pub fn from_bytes(bytes: &[u8]) -> Result<Heartbeat, String> {
        let beat: Heartbeat = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if beat.schema != SCHEMA {
            return Err(format!("its schema is {}, and this version knows {SCHEMA}", beat.schema));
        }
        if beat.updated_at.as_millisecond() != beat.updated_at_ms {
            return Err("its updated_at and updated_at_ms contradict each other".to_owned());
        }
        Ok(beat)
    }

    /// One line of JSON.
    ///
    /// # Errors
    ///
    /// Those of the serializer; none is known.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// What was found where the heartbeat should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeartbeatState {
    /// No tick has ever written one.
    Absent,
    /// There is one that can't be believed: why.
    Unreadable(String),
    /// A whole one.
    Beat(Box<Heartbeat>),
}

/// What a heartbeat says about the factory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alive {
    /// Ticks come.
    Yes,
    /// They came, and no longer do.
    Stale {
        /// How old the last one is.
        age: Duration,
    },
    /// It comes from the future, so its age can't be told: somebody moved a clock.
    Skewed,
    /// The last tick was told to end.
    Stopping,
    /// It says `running`, and its process is gone or has become another one.
    Dead,
    /// There is none.
    Absent,
    /// It can't be believed: why.
    Unreadable(String),
}

impl fmt::Display for Alive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Alive::Yes => f.write_str("alive"),
            Alive::Stale { age } => {
                let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
                write!(f, "stale: the last heartbeat is {} old", escape::duration(age))
            }
            Alive::Skewed => f.write_str("skewed: the heartbeat is from the future; check the clock"),
            Alive::Stopping => f.write_str("stopping: the last tick was told to end"),
            Alive::Dead => f.write_str("dead: the last tick died in the middle"),
            Alive::Absent => f.write_str("absent: no tick has run here yet"),
            Alive::Unreadable(why) => write!(f, "unreadable: {why}"),
        }
    }
}

/// Says what `heartbeat_state` means at `now`, where a heartbeat older than `stale` is stale. The last argument
/// tells whether a process (pid, start ticks, boot id) still is the one that it was.
///
/// The first answer that holds is given, in this order: dead, skewed, stale, stopping. A tick that
/// died is news at any age, and its process is gone whatever the clock says.
pub fn judge(
    heartbeat_state: &HeartbeatState,
    now: &ClockReading,
    stale: Duration,
    is_same_process: impl Fn(u32, u64, &str) -> bool,
) -> Alive {
    let beat = match heartbeat_state {
        HeartbeatState::Absent => return Alive::Absent,
        HeartbeatState::Unreadable(why) => return Alive::Unreadable(why.clone()),
        HeartbeatState::Beat(beat) => beat,
    };
    if beat.status == Status::Running && !is_same_process(beat.pid, beat.start_ticks, &beat.boot_id) {
        return Alive::Dead;
    }
    let age = now.at.duration_since(beat.updated_at);
    if age < -SKEW_MAX {
        return Alive::Skewed;
    }
    // A little ahead is now.
    let age = Duration::try_from(age).unwrap_or(Duration::ZERO);
    if age > stale {
        return Alive::Stale { age };
    }
    if beat.status == Status::Stopping { Alive::Stopping } else { Alive::Yes }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const STALE: Duration = Duration::from_secs(180);

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    pub(crate) fn now(second: i64) -> ClockReading {
        ClockReading { at: at(second), mono_ms: 0, boot_id: "boot".to_owned(), slept_ms: 0 }
    }

    pub(crate) fn beat(status: Status) -> Heartbeat {
        let leg = Health { ok: true, since: Some(at(900)), error: None };
        Heartbeat {
            schema: SCHEMA,
            version: "0.1.0".to_owned(),
            config: "/srv/factory.toml".to_owned(),
            pid: 4711,
            start_ticks: 99,
            boot_id: "boot".to_owned(),
            host: "forge".to_owned(),
            status,
            serial: 7,
            ticks: 12,
            started_at: at(999),
            updated_at: at(1000),
            updated_at_ms: 1_000_000,
            exit_code: Some(0),
            paused: false,
            source: leg.clone(),
            fleet: leg,
            reason: None,
            retained: None,
            groups: None,
            steady: ClockTracker::first(now(1000)),
            reported_at: None,
        }
    }

    fn verdict(beat: Heartbeat, second: i64, lives: bool) -> Alive {
        judge(&HeartbeatState::Beat(Box::new(beat)), &now(second), STALE, |pid, start_ticks, boot_id| {
            assert_eq!((pid, start_ticks, boot_id), (4711, 99, "boot"));
            lives
        })
    }

    #[test]
    fn each_answer_has_its_words() {
        let age = Duration::from_secs(181);
        for (alive, words) in [
            (Alive::Yes, "alive"),
            (Alive::Stale { age }, "stale: the last heartbeat is 3 min 1 s old"),
            (Alive::Skewed, "skewed: the heartbeat is from the future; check the clock"),
            (Alive::Stopping, "stopping: the last tick was told to end"),
            (Alive::Dead, "dead: the last tick died in the middle"),
            (Alive::Absent, "absent: no tick has run here yet"),
            (Alive::Unreadable("why".to_owned()), "unreadable: why"),
        ] {
            assert_eq!(alive.to_string(), words);
        }
    }

    #[test]
    fn the_layout_is_the_public_one() {
        let json = serde_json::to_value(beat(Status::Idle)).unwrap();
        assert_eq!(json["status"], "idle");
        assert_eq!(json["updated_at"], "1970-01-01T00:16:40Z");
        assert_eq!(
            json["source"],
            serde_json::json!({"ok": true, "since": "1970-01-01T00:15:00Z", "error": null})
        );
    }

    // covers: F62
    #[test]
    fn it_is_alive_until_it_is_older_than_allowed() {
        assert_eq!(verdict(beat(Status::Idle), 1000, false), Alive::Yes);
        assert_eq!(verdict(beat(Status::Failed), 1000, false), Alive::Yes, "ticks come, and fail");
        assert_eq!(verdict(beat(Status::Idle), 1180, false), Alive::Yes);
        assert_eq!(verdict(beat(Status::Idle), 1181, false), Alive::Stale { age: Duration::from_secs(181) });
        assert_eq!(verdict(beat(Status::Stopping), 1000, false), Alive::Stopping);
    }

    // covers: F48
    #[test]
    fn a_running_tick_is_alive_only_while_its_process_is() {
        assert_eq!(verdict(beat(Status::Running), 1000, true), Alive::Yes);
        assert_eq!(verdict(beat(Status::Running), 1000, false), Alive::Dead);
        assert_eq!(verdict(beat(Status::Running), 99_000, false), Alive::Dead, "news at any age");
        assert!(matches!(verdict(beat(Status::Running), 99_000, true), Alive::Stale { .. }));
    }

    // Origin: hermes-agent#60703 - a heartbeat from the future is fresh for ever.
    // covers: F47
    #[test]
    fn one_from_the_future_is_skewed() {
        assert_eq!(verdict(beat(Status::Idle), 995, false), Alive::Yes, "a step of the time daemon");
        assert_eq!(verdict(beat(Status::Idle), 994, false), Alive::Skewed);
        assert_eq!(verdict(beat(Status::Stopping), 0, false), Alive::Skewed);
        assert_eq!(verdict(beat(Status::Running), 0, true), Alive::Skewed);
    }
}
