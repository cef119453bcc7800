//! `factory-tick kill-tick`: tells a tick that hangs to end. It is signalled only if it holds the lock and is the very
//! process that the heartbeat names; a heartbeat alone is a file, and a pid alone is anybody's.
//!
//! It needs the state directory and nothing else: a broken configuration is a reason to be here.

use std::time::Duration;

use crate::app::context::located;
use crate::app::output::say;
use crate::cli::{Format, Options};
use crate::exit::{ExitStatus, Failure};
use crate::model::Process;
use crate::process::identity::Host;
use crate::process::signal::{self, Guard, Sent, Signal};
use crate::run::env::Vars;
use crate::state::HostDir;
use crate::state::heartbeat::{self, Alive, Heartbeat, HeartbeatState};
use crate::text::escape;
use crate::views::json;
use crate::{clock, state};

pub(super) fn run(options: &Options, vars: &Vars) -> Result<ExitStatus, Failure> {
    let host = Host::read()?;
    let (_, path) = located(options)?;
    // Whether its file system is one that the configuration allows is for ticks to say.
    let dir = HostDir::open_existing(&path, true)?
        .ok_or_else(|| refused(&format!("there is no state in {}", path.display())))?;
    state::refuse_by_environment(&dir, vars)?;
    let holder = holder(&dir)?;
    let beat = beat_of(&dir, &holder, &host)?;
    let guard = Guard::new([]).map_err(|error| Failure::new(ExitStatus::Failed, error.to_string()))?;
    let why = match signal::send(&holder, &host, &guard, Signal::TERM) {
        Sent::Yes => return Ok(tell(options, &holder, &beat)),
        Sent::Gone => "it has just ended".to_owned(),
        Sent::Mismatch => "that pid belongs to somebody else by now".to_owned(),
        Sent::Protected(why) | Sent::Refused(why) => why,
    };
    Err(refused(&format!("pid {}: {why}", holder.pid)))
}

fn refused(why: &str) -> Failure {
    Failure::new(ExitStatus::Refused, format!("nobody was signalled: {why}"))
}

/// Who holds the lock: really, and by name.
fn holder(dir: &HostDir) -> Result<Process, Failure> {
    let broken = |error: std::io::Error| Failure::new(ExitStatus::IoError, error.to_string());
    if !dir.is_locked().map_err(broken)? {
        return Err(refused("no tick is running: nobody holds the lock"));
    }
    let holder = dir.last_holder().map_err(broken)?;
    holder.ok_or_else(|| refused("the lock is held, but does not say by whom"))
}

/// The heartbeat, where it can be believed and names that process.
fn beat_of(dir: &HostDir, holder: &Process, host: &Host) -> Result<Box<Heartbeat>, Failure> {
    let heartbeat_state = state::backend(dir, 0).heartbeat();
    let is_same = |pid, start_ticks, boot_id: &str| state::is_alive(host, pid, start_ticks, boot_id);
    // One that is as old as you like: that is what a tick that hangs leaves.
    match heartbeat::judge(&heartbeat_state, &clock::moment(&host.boot_id), Duration::MAX, is_same) {
        Alive::Yes | Alive::Stopping | Alive::Stale { .. } => {}
        other => return Err(refused(&format!("the heartbeat is {other}"))),
    }
    let HeartbeatState::Beat(beat) = heartbeat_state else { return Err(refused("there is no heartbeat")) };
    let named = (beat.pid, beat.start_ticks, beat.boot_id.as_str());
    if named != (holder.pid, holder.start_ticks, holder.boot_id.as_str()) {
        return Err(refused(&format!(
            "pid {} holds the lock, and the heartbeat is that of pid {}, or of another process under the same pid",
            holder.pid, beat.pid
        )));
    }
    Ok(beat)
}

fn tell(options: &Options, tick: &Process, beat: &Heartbeat) -> ExitStatus {
    match options.format {
        Format::Json => say(&json::one_line(&json::KillTick {
            schema: json::SCHEMA,
            status: ExitStatus::Ok.name(),
            exit_code: ExitStatus::Ok.code(),
            pid: tick.pid,
            signal: "TERM",
            started_at: beat.started_at,
        })),
        Format::Text => say(&format!(
            "SIGTERM was sent to the tick, pid {}, that began at {}; it finishes what is under way, and ends",
            tick.pid,
            escape::time(beat.started_at)
        )),
    }
    ExitStatus::Ok
}
