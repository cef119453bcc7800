//! `spec.json`: one start, asked for by a tick.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{COUNT_MAX, ClockReading, DoneWhen, FollowUp, ItemId, RunId, UnrecordedSpec};
use crate::run::hooks::RunHooks;

/// `spec.json`: one start, asked for. It holds the names of variables, never their values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Version of this layout.
    pub schema: u32,
    /// Which factory.
    pub lineage: String,
    /// Which run.
    pub run: RunId,
    /// Its item.
    pub item: ItemId,
    /// That item's key.
    pub key: String,
    /// That item's slug.
    pub slug: String,
    /// Role.
    pub role: String,
    /// Harness.
    pub harness: String,
    /// The item's dispatch.
    pub dispatch: u64,
    /// The session it goes on with.
    pub session: Option<String>,
    /// The session that it is to start, where it is ours to choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_session: Option<String>,
    /// When it was asked for.
    pub since: ClockReading,
    /// Program and arguments, nothing left to replace; the program is an absolute path.
    pub argv: Vec<String>,
    /// Names of the variables that the launcher was given.
    pub env: Vec<String>,
    /// The folder of workspaces.
    pub workspace_root: PathBuf,
    /// The directory name of this run's workspace in it.
    pub workspace: String,
    /// Where its own temporary directory is to lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmp_root: Option<PathBuf>,
    /// The folder of launchers' locks.
    pub live: PathBuf,
    /// The folder of notes of which workspaces were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<PathBuf>,
    /// Pattern for the session id on stdout.
    pub session_pattern: Option<String>,
    /// The hooks around the agent.
    #[serde(default, skip_serializing_if = "RunHooks::is_none")]
    pub hooks: RunHooks,
    /// The longest from the claim to the start of the agent, in milliseconds.
    #[serde(default)]
    pub prelude_ms: u64,
    /// Longest life from the start of the agent, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// Longest silence on stdout, in milliseconds.
    pub stall_ms: Option<u64>,
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
    /// How often its session was gone on with, this time included.
    #[serde(default)]
    pub resumes: Option<u32>,
    /// Hash of the item as the run is given it, or its session was.
    #[serde(default)]
    pub hash: Option<String>,
    /// Hash of title and body likewise.
    #[serde(default)]
    pub content_hash: Option<String>,
    /// What its agent was to do next, where that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_up: Option<FollowUp>,
    /// What makes its item done, once the agent has ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_when: Option<DoneWhen>,
}

impl Spec {
    /// The marker of the run: `<lineage>/<run>`. Only the whole value identifies a run.
    pub fn marker(&self) -> String {
        marker(&self.lineage, &self.run)
    }

    /// Whether anybody can have counted so far, and can go on.
    pub fn is_countable(&self) -> bool {
        self.dispatch.max(self.resumes.map_or(0, u64::from)) < COUNT_MAX / 2
    }

    /// The variables that name the run: in its launcher and in everything that it starts.
    pub(crate) fn variables(&self) -> [(&'static str, OsString); 4] {
        [
            ("FACTORY_RUN", self.marker().into()),
            ("FACTORY_ITEM", self.item.0.clone().into()),
            ("FACTORY_ROLE", self.role.clone().into()),
            ("FACTORY_WORKSPACE", self.workspace_root.join(&self.workspace).into()),
        ]
    }

    /// From TERM to KILL.
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

impl From<Spec> for UnrecordedSpec {
    fn from(spec: Spec) -> UnrecordedSpec {
        UnrecordedSpec {
            item: spec.item,
            key: spec.key,
            slug: spec.slug,
            workspace: spec.workspace,
            role: spec.role,
            harness: spec.harness,
            session: spec.session,
            chosen_session: spec.chosen_session,
            dispatch: spec.dispatch,
            since: spec.since,
            deadline_ms: spec.deadline_ms.map(|deadline| spec.prelude_ms.saturating_add(deadline)),
            resumes: spec.resumes,
            hash: spec.hash,
            content_hash: spec.content_hash,
            follow_up: spec.follow_up,
            done: spec.done_when,
        }
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
