//! What runs leave behind for people, and for retention.

use std::path::PathBuf;

use anyhow::Result;

use crate::durable::Trash;
use crate::model::{RunId, RunTrace};
use crate::run::log_reader::LogReader;

/// What is kept of runs: their receipts and what they printed. It is there also when the registry has forgotten them.
pub trait RunStore {
    /// Every run of which something is kept, and when that last changed.
    ///
    /// # Errors
    ///
    /// That they can't be listed.
    fn list(&self) -> Result<Vec<RunTrace>>;

    /// Whether anything of this run is kept.
    fn has(&self, run: &RunId) -> bool;

    /// Takes away what is kept of a run, if its own receipts say that nothing of it lives or ever will: whatever the
    /// caller believes, what is kept of a run that lives is its only trace.
    ///
    /// # Errors
    ///
    /// That it can't be read, fenced or moved.
    fn discard(&self, run: &RunId, trash: &Trash) -> Result<Discarded>;

    /// A log of a run, to be read from its beginning; `None` where nothing of the run is kept.
    ///
    /// # Errors
    ///
    /// That it can't be told whether anything of the run is kept.
    fn open_log(&self, run: &RunId, log: RunLog) -> Result<Option<LogReader>>;

    /// Where all of it is kept, for people.
    fn place(&self) -> PathBuf;
}

/// What a run prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunLog {
    /// The agent, to its standard output.
    Stdout,
    /// The agent, to its standard error.
    Stderr,
    /// The hooks, to either.
    Hooks,
}

/// What became of a run that was to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// It lies in the trash, or was gone before.
    Gone,
    /// It stays, because it does not say itself that the run is over: why.
    Kept(String),
}
