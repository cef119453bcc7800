//! What lasts between two ticks. [`StateBackend`] keeps the registry, the heartbeat, the events and the last good
//! configuration; it may be remote. [`HostDir`] holds what belongs to this host: runs, locks, workspaces, the reserve.
//! [`State`] is both, as one command holds them.
//!
//! No backend decides what a record means. A backend promises that a record is whole, that a commit which was acknowledged
//! survives a power cut, and that damage is never mistaken for emptiness.

mod binding;
pub mod bound;
pub mod event;
mod event_lines;
mod event_subject;
pub mod files;
pub mod heartbeat;
mod heartbeat_writer;
pub mod host_dir;
mod repository;
pub mod reserve;
mod session;

use std::path::Path;
use std::time::Duration;
use std::{fmt, io};

use serde_json::Value;

pub use self::binding::{Access, Standing};
pub use self::bound::{Binding, Bound};
pub use self::event_lines::{of_outcomes, of_plan};
pub use self::heartbeat_writer::{Ended, HeartbeatWriter};
pub use self::host_dir::HostDir;
pub use self::session::{
    State, belongs_elsewhere, directory, is_alive, refuse_by_environment, standing, steady,
};
use crate::config::Original;
use crate::durable::LockError;
use crate::exit::{ExitStatus, Failure};
use crate::model::{ItemId, Process};
use crate::registry::{DoneDetails, Registry};
use crate::state::event::Event;
use crate::state::heartbeat::{Heartbeat, HeartbeatState};

/// Where a factory keeps what must last.
///
/// The order of the calls is: `lock`, `load`, any number of commits. A command that only reads skips `lock` and commits
/// nothing. The lock is held until the backend is dropped.
pub trait StateBackend {
    /// Keeps every other tick of this factory out, waiting for at most `wait`; zero fails fast. About once a second
    /// `waiting` is told for whom, and for how long already. `called_off` ends the wait.
    ///
    /// # Errors
    ///
    /// [`LockError`] says whether another tick holds the lock.
    fn lock(
        &mut self,
        me: &Process,
        wait: Duration,
        called_off: &dyn Fn() -> bool,
        waiting: &mut dyn FnMut(Option<&Process>, Duration),
    ) -> Result<(), LockError>;

    /// Reads the latest whole generation of the registry, and changes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadState`] when there is no good generation although there must be one, or a newer version wrote it;
    /// [`StoreError::Io`] when it can't be read.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// What the registry belongs to, and its lineage, without its records; `None` where no good generation stands.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] when it can't be read.
    fn bound(&self) -> Result<Option<(Bound, String)>, StoreError>;

    /// The number of the generation that stands, or, before the commit that follows a load from a backup, the highest that
    /// may have stood. 0 before the first commit.
    fn serial(&self) -> u64;

    /// Records what the registry belongs to. Where that is new, the next commit writes it, whatever it is given.
    fn bind(&mut self, config: &Path, binding: Binding);

    /// Begins a lineage of its own, with the next commit. Returns its name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`], where the kernel gives no random bytes.
    fn begin_lineage(&mut self) -> Result<String, StoreError>;

    /// Makes the registry durable, whole or not at all, unless it stands already. `details`: of the items that went into its
    /// index of done items; they are durable before the registry that refers to them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] and [`StoreError::NoRoom`]. Whether the new generation stands is then unknown: nothing may be done
    /// in the world on the strength of it, and every further commit of this process is refused.
    fn commit(&mut self, registry: &Registry, details: &[DoneDetails]) -> Result<Committed, StoreError>;

    /// The details of an item of the index of done items; `None` where none are kept.
    ///
    /// # Errors
    ///
    /// Why they can't be read, for people.
    fn done_details(&self, item: &ItemId) -> Result<Option<DoneDetails>, String>;

    /// From now on a commit that finds no room may spend the reserve of this host.
    fn may_spend_reserve(&mut self);

    /// The name under which this process kept a damaged registry, if it did.
    fn quarantined(&self) -> Option<&str>;

    /// The heartbeat. Never an error: what can't be read is an answer of its own, and not "alive".
    fn heartbeat(&self) -> HeartbeatState;

    /// Replaces the heartbeat. A reader never sees a part of one.
    ///
    /// # Errors
    ///
    /// Those of the system, naming what could not be written.
    fn beat(&self, beat: &Heartbeat) -> io::Result<()>;

    /// Appends to the log of events, all lines at once. Needs no lock: a tick that lost the lock has something to say too.
    ///
    /// # Errors
    ///
    /// Those of the system. No tick should fail for it.
    fn append_events(&self, lines: &[Value]) -> io::Result<()>;

    /// The events, the oldest first, as far back as they are kept. A torn line is skipped, and nothing but that line.
    ///
    /// # Errors
    ///
    /// Those of the system.
    fn events(&self) -> io::Result<Box<dyn Iterator<Item = Value>>>;

    /// Keeps the configuration that a good tick goes by. That it can't be kept fails no tick.
    fn keep_config(&self, original: &Original);

    /// The configuration that was kept last; a damaged one is none.
    fn kept_config(&self) -> Option<Original>;
}

/// The backend of a factory, by its directory on this host. `events_bytes_max`: the log of events is rotated beyond this
/// many bytes; 0 never.
pub fn backend(dir: &HostDir, events_bytes_max: u64) -> Box<dyn StateBackend> {
    Box::new(files::Files::new(dir.clone(), events_bytes_max))
}

/// Appends to the log of events. A failure is logged, and fails nothing.
pub fn log_events(backend: &dyn StateBackend, events: &[Event]) {
    let lines: Vec<_> = events.iter().map(Event::line).collect();
    if let Err(error) = backend.append_events(&lines) {
        log::warn!("cannot append to the event log: {error}");
    }
}

/// Where a loaded registry came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// There was none, and nothing says that there ever was: a new lineage begins.
    Fresh,
    /// From `registry.json`.
    Registry,
    /// From `registry.json.bak`: one generation may be lost, so unknown runs must be reconciled.
    Backup {
        /// What is wrong with `registry.json`.
        why: String,
    },
}

/// One generation of the registry, as it was found.
#[derive(Clone, Debug)]
pub struct Loaded<T = Registry> {
    /// What it holds.
    pub body: T,
    /// Names this factory for as long as it lives: 128 random bits, in hexadecimal.
    pub lineage: String,
    /// The generation that was loaded; 0 before the first commit.
    pub serial: u64,
    /// What it belongs to.
    pub bound: Bound,
    /// Where it came from.
    pub origin: Origin,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Nothing had changed, nothing was written.
    Unchanged,
    /// A new generation stands, durably.
    Written {
        /// Its number.
        serial: u64,
    },
}

/// Why the state could not be used. The variant is what code branches on (each is one exit code);
/// the text is for people: what failed, which file, what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The registry is damaged beyond its backup, or was written by a newer version. Nothing was touched. (65)
    BadState(String),
    /// The state directory can't be made, is unsafe, or lies where locks can't be trusted. (73)
    CannotCreate(String),
    /// The system refused to read or write. After a failed commit nothing is known of it. (74)
    Io(String),
    /// There is no room to write: no block, no inode or no quota. (74)
    NoRoom(String),
}

impl StoreError {
    /// A failed system call on `path`.
    pub(crate) fn io(verb: &str, path: &Path, error: &io::Error) -> StoreError {
        StoreError::Io(format!("cannot {verb} {}: {error}", path.display()))
    }

    /// A commit that failed at `path`.
    pub(crate) fn of_write(path: &Path, error: &io::Error) -> StoreError {
        let text = format!(
            "cannot save {}: {error}. Nothing was done after this; the next tick reads again what \
             stands. If the disk is full, make room on it",
            path.display()
        );
        if reserve::is_no_room(error) { StoreError::NoRoom(text) } else { StoreError::Io(text) }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::BadState(text)
            | StoreError::CannotCreate(text)
            | StoreError::Io(text)
            | StoreError::NoRoom(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let no_room = matches!(error, StoreError::NoRoom(_));
        let status = match error {
            StoreError::BadState(_) => ExitStatus::BadState,
            StoreError::CannotCreate(_) => ExitStatus::CannotCreate,
            StoreError::Io(_) | StoreError::NoRoom(_) => ExitStatus::IoError,
        };
        Failure { no_room, ..Failure::new(status, error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_its_text() {
        let error = StoreError::io("read", Path::new("/state/x"), &io::Error::from_raw_os_error(5));
        assert_eq!(error.to_string(), "cannot read /state/x: Input/output error (os error 5)");
    }
}
