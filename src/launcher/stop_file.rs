//! `runs/<run>/stop`: asks a launcher to stop where no signal reaches it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::run::directory::RunDir;

/// How often a launcher looks for the file. A tick waits this much longer for a launcher that it can't signal.
pub(crate) const STOP_FILE_CHECK: Duration = Duration::from_secs(1);

/// What a launcher knows of the file.
pub(crate) struct StopFile {
    next_look: Cell<Instant>,
    heeded: Cell<bool>,
}

impl StopFile {
    pub(crate) fn new() -> StopFile {
        StopFile { next_look: Cell::new(Instant::now()), heeded: Cell::new(false) }
    }

    /// Whether the file asks for a stop now. It asks once, and never after a signal did: a second stop would end the
    /// `after_run` hook.
    pub(crate) fn asks(&self, run_dir: &RunDir, by_signal: bool) -> bool {
        if by_signal {
            self.heeded.set(true);
        }
        let now = Instant::now();
        if self.heeded.get() || now < self.next_look.get() {
            return false;
        }
        self.next_look.set(now + STOP_FILE_CHECK);
        self.heeded.set(run_dir.is_asked_to_stop());
        self.heeded.get()
    }
}
