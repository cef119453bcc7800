//! What a launcher holds while it looks after its run.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Instant;

use nix::sys::signalfd::SignalFd;

use crate::launcher::stop_file::StopFile;
use crate::model::{Claimed, ExitReason};
use crate::process::identity::Host;
use crate::run::directory::RunDir;
use crate::run::env::Vars;
use crate::run::notes::ExecError;
use crate::run::spec::Spec;
use crate::run::tags::Tags;

/// A launcher, from its claim on.
pub(crate) struct Launcher {
    pub(crate) run_dir: RunDir,
    pub(crate) spec: Spec,
    pub(crate) host: Host,
    pub(crate) claimed: Claimed,
    pub(crate) signals: SignalFd,
    pub(crate) claimed_at: Instant,
    pub(crate) traces: Tags,
    /// Who started it in somebody's terminal.
    pub(crate) relay: Option<i32>,
    /// What is set for all that it starts, above its own environment.
    pub(crate) vars: Vars,
    /// The temporary directory of the run.
    pub(crate) tmp: Option<PathBuf>,
    /// A stop that came in the moment in which a hook or the agent ended: the next step obeys it.
    pub(crate) unheeded: Cell<bool>,
    pub(crate) stop_file: StopFile,
}

/// Why there was no agent at all.
pub(crate) struct NeverRan {
    pub(crate) reason: ExitReason,
    pub(crate) error: String,
}

impl From<ExecError> for NeverRan {
    fn from(error: ExecError) -> NeverRan {
        NeverRan { reason: error.reason(), error: error.text }
    }
}
