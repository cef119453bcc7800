//! The heartbeats of one tick.

use super::{State, steady};
use crate::config::Config;
use crate::exit::ExitStatus;
use crate::model::{ClockReading, Process, Unavailable};
use crate::state::heartbeat::{self, GroupsLook, Health, Heartbeat, HeartbeatState, Retained, Status};

/// How a tick ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// Its exit status.
    pub exit: ExitStatus,
    /// Why it ended so, in one line.
    pub reason: String,
    /// Whether a person was told.
    pub told: bool,
    /// Whether the items could be read, or why not; `None` where they were not asked for.
    pub source: Option<&'a Result<(), Unavailable>>,
    /// Whether the agents could be seen, or why not; `None` where they were not asked for.
    pub fleet: Option<&'a Result<(), Unavailable>>,
}

/// The heartbeats of one tick.
pub struct HeartbeatWriter {
    beat: Heartbeat,
}

impl HeartbeatWriter {
    /// The first: the tick runs.
    pub fn begin(state: &State, config: &Config, me: &Process, now: &ClockReading) -> HeartbeatWriter {
        let before = match &state.heartbeat_state {
            HeartbeatState::Beat(beat) => Some(beat.as_ref()),
            HeartbeatState::Absent | HeartbeatState::Unreadable(_) => None,
        };
        let unseen = Health { ok: true, since: None, error: None };
        let beat = Heartbeat {
            schema: heartbeat::SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: config.path.to_string_lossy().into_owned(),
            pid: me.pid,
            start_ticks: me.start_ticks,
            boot_id: me.boot_id.clone(),
            host: hostname(),
            status: Status::Running,
            serial: state.serial(),
            ticks: before.map_or(0, |beat| beat.ticks).saturating_add(1),
            started_at: now.at,
            updated_at: now.at,
            updated_at_ms: now.at.as_millisecond(),
            exit_code: before.and_then(|beat| beat.exit_code),
            paused: state.registry.paused.is_some(),
            source: before.map_or_else(|| unseen.clone(), |beat| beat.source.clone()),
            fleet: before.map_or(unseen, |beat| beat.fleet.clone()),
            reason: before.and_then(|beat| beat.reason.clone()),
            reported_at: before.and_then(|beat| beat.reported_at),
            retained: before.and_then(|beat| beat.retained.clone()),
            groups: before.and_then(|beat| beat.groups.clone()),
            steady: steady(&state.heartbeat_state, &me.boot_id, config.retention.age),
        };
        state.beat(&beat);
        HeartbeatWriter { beat }
    }

    /// What became of a look at what may be removed.
    pub fn retained(&mut self, retained: Retained) {
        self.beat.retained = Some(retained);
    }

    /// What became of a look for left-over control groups.
    pub fn groups(&mut self, groups: GroupsLook) {
        self.beat.groups = Some(groups);
    }

    /// The last: how it ended.
    pub fn end(mut self, state: &State, ended: Ended<'_>, now: &ClockReading) {
        let beat = &mut self.beat;
        beat.status = match ended.exit {
            ExitStatus::Interrupted | ExitStatus::Terminated => Status::Stopping,
            ExitStatus::Failed | ExitStatus::IoError => Status::Failed,
            _ => Status::Idle,
        };
        beat.serial = state.serial();
        beat.paused = state.registry.paused.is_some();
        beat.exit_code = Some(ended.exit.code());
        beat.reason = Some(ended.reason);
        if ended.told {
            beat.reported_at = Some(now.at);
        }
        if let Some(answer) = ended.source {
            beat.source = health(&beat.source, answer, now);
        }
        if let Some(answer) = ended.fleet {
            beat.fleet = health(&beat.fleet, answer, now);
        }
        beat.updated_at = now.at;
        beat.updated_at_ms = now.at.as_millisecond();
        state.beat(beat);
    }
}

/// `since` moves only when the answer does.
fn health(before: &Health, answer: &Result<(), Unavailable>, now: &ClockReading) -> Health {
    let ok = answer.is_ok();
    let since = before.since.filter(|_| before.ok == ok).unwrap_or(now.at);
    Health { ok, since: Some(since), error: answer.as_ref().err().map(|why| why.text.clone()) }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
