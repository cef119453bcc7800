//! One run, as a tick decides it, a launcher is asked for it, and the registry remembers it.

use serde::{Deserialize, Serialize};

use super::{FollowUp, ItemId, RunId};

/// What makes an item done, once every role of it has ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoneWhen {
    /// Nothing more.
    Exit,
    /// It was closed, or left the scope.
    Source,
    /// A command says so.
    Command,
}

/// What identifies and bounds a run. The launch, the specification in the run directory and the agent's record embed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Agent and number.
    pub id: RunId,
    /// The item that it works on.
    pub item: ItemId,
    /// The role's name.
    pub role: String,
    /// The name of the harness.
    pub harness: String,
    /// The item's dispatch that it belongs to.
    pub dispatch: u64,
    /// The session that it goes on with; `None` is a fresh start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The id that a fresh start gives its session, where the id is ours to choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_session: Option<String>,
    /// How often its session was gone on with, this time included.
    pub resumes: u32,
    /// The longest from the claim to the start of the agent, in milliseconds: the time that its hooks may take.
    pub prelude_ms: u64,
    /// Longest life from the start of the agent, in milliseconds; `None` is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Longest silence on stdout, in milliseconds; `None` is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_ms: Option<u64>,
    /// The follow-ups that led to it; none: it belongs to a dispatch of its item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_ups: Vec<FollowUp>,
    /// What makes its item done, once it has ended well.
    pub done_when: DoneWhen,
}

impl RunSpec {
    /// Whether it goes on with a session.
    pub fn is_resume(&self) -> bool {
        self.session.is_some()
    }

    /// The session that it has from the beginning, where that is known before it says so.
    pub fn first_session(&self) -> Option<&String> {
        self.session.as_ref().or(self.chosen_session.as_ref())
    }

    /// The longest from the claim to the end of the agent, in milliseconds; `None` is no limit.
    pub fn latest_ms(&self) -> Option<u64> {
        self.deadline_ms.map(|deadline| self.prelude_ms.saturating_add(deadline))
    }
}

/// The item as a run is given it, or as its session was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemSnapshot {
    /// The item's key.
    pub key: String,
    /// The item's slug.
    pub slug: String,
    /// The directory name of the workspace below the workspace root.
    pub workspace: String,
    /// Hash of the whole item.
    pub hash: String,
    /// Hash of title and body.
    pub content_hash: String,
}

/// A start as a fleet would perform it, for people. Nothing is looked up: programs stand as they are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunPreview {
    /// Program and arguments, nothing left to replace.
    pub argv: Vec<String>,
    /// The directory that the agent works in.
    pub cwd: String,
    /// Names of the variables that the agent has, sorted.
    pub env: Vec<String>,
    /// The hooks around the agent and the `[done] command`, each by its name, in their order.
    pub hooks: Vec<(&'static str, Vec<String>)>,
}
