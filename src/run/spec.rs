//! `spec.json`: one start, asked for by a tick.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{COUNT_MAX, ClockReading, ItemSnapshot, RunId, RunSpec, UnrecordedSpec};
use crate::run::hooks::RunHooks;

/// `spec.json`: one start, asked for. It holds the names of variables, never their values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Version of this layout.
    pub schema: u32,
    /// Which factory.
    pub lineage: String,
    /// What identifies and bounds the run.
    pub run: RunSpec,
    /// The item as the run is given it.
    pub snapshot: ItemSnapshot,
    /// When it was asked for.
    pub since: ClockReading,
    /// Program and arguments, nothing left to replace; the program is an absolute path.
    pub argv: Vec<String>,
    /// Names of the variables that the launcher was given.
    pub env: Vec<String>,
    /// The folder of workspaces.
    pub workspace_root: PathBuf,
    /// Where its own temporary directory is to lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmp_root: Option<PathBuf>,
    /// The folder of launchers' locks.
    pub live: PathBuf,
    /// The folder of notes of which workspaces were made.
    pub made: PathBuf,
    /// Pattern for the session id on stdout.
    pub session_pattern: Option<String>,
    /// The hooks around the agent.
    #[serde(default, skip_serializing_if = "RunHooks::is_none")]
    pub hooks: RunHooks,
    /// From TERM to KILL, in milliseconds.
    pub grace_ms: u64,
    /// Bound of each log, in bytes; 0 is none.
    pub log_bytes_max: u64,
    /// What becomes of the terminal that it is started in; `None`: it is started in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Terminal>,
    /// What is asked whether the item is done, once the agent has ended well; empty: nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<String>,
    /// Never signalled.
    pub protected_pids: Vec<u32>,
    /// Files that hold the pids of others; read when it comes to signals.
    pub protected_pidfiles: Vec<PathBuf>,
}

impl Spec {
    /// The marker of the run: `<lineage>/<run>`. Only the whole value identifies a run.
    pub fn marker(&self) -> String {
        marker(&self.lineage, &self.run.id)
    }

    /// Whether anybody can have counted so far, and can go on.
    pub fn is_countable(&self) -> bool {
        self.run.dispatch.max(u64::from(self.run.resumes)) < COUNT_MAX / 2
    }

    /// The variables that name the run: in its launcher and in everything that it starts.
    pub(crate) fn variables(&self) -> [(&'static str, OsString); 4] {
        [
            ("FACTORY_RUN", self.marker().into()),
            ("FACTORY_ITEM", self.run.item.0.clone().into()),
            ("FACTORY_ROLE", self.run.role.clone().into()),
            ("FACTORY_WORKSPACE", self.workspace_path().into()),
        ]
    }

    /// The directory that it works in.
    pub fn workspace_path(&self) -> PathBuf {
        self.workspace_root.join(&self.snapshot.workspace)
    }

    /// From TERM to KILL.
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

impl From<Spec> for UnrecordedSpec {
    fn from(spec: Spec) -> UnrecordedSpec {
        UnrecordedSpec { spec: spec.run, snapshot: spec.snapshot, since: spec.since }
    }
}

/// The value of `FACTORY_RUN` in every process of a run.
pub fn marker(lineage: &str, run: &RunId) -> String {
    format!("{lineage}/{run}")
}

/// What becomes of the terminal that a run was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Terminal {
    /// The agent gets a terminal of its own: what it prints is shown in the given one, what is typed there reaches it.
    Own,
    /// The agent has its task on stdin and pipes as ever; what it prints is shown, what is typed is dropped.
    Copy,
}
