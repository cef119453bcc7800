//! The configuration: what was typed, checked into what is meant, with all problems told at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A configuration without problems.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file, absolute, symlinks resolved.
    pub path: PathBuf,
    /// The folder it lies in; relative paths start there.
    pub dir: PathBuf,
    /// `[tick]`
    pub tick: Tick,
    /// `[state] allow_network_fs`
    pub allow_network_fs: bool,
    /// `[limits]`
    pub limits: Limits,
    /// `[attempts]`
    pub attempts: Attempts,
    /// `[source] path`: the folder of items, absolute.
    pub source_path: PathBuf,
    /// `[source.scope]`
    pub scope: Scope,
    /// `[writeback]`
    pub writeback: WritebackModes,
    /// `[fleet]`
    pub fleet: FleetConfig,
    /// `[workspace] root`, absolute; `None`: `workspaces/` in the state directory.
    pub workspace_root: Option<PathBuf>,
    /// `[env]`
    pub env: EnvConfig,
    /// `[retention] log_bytes_max`: per stream; 0 is no limit.
    pub log_bytes_max: u64,
    /// `[retention] events_bytes_max`; 0 is no limit.
    pub events_bytes_max: u64,
    /// `[[role]]`, in order; at least one.
    pub roles: Vec<Role>,
}

/// `[tick]`
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// How often cron runs it.
    pub every: Duration,
    /// The longest a whole tick may take.
    pub deadline: Duration,
    /// Starts and resumes per tick.
    pub starts_max: u32,
    /// Older than this, a heartbeat is stale. Never zero here: the default is worked out.
    pub heartbeat_stale: Duration,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Items in flight.
    pub items_max: u32,
    /// Items in flight that carry a label; labels trimmed and lower-case.
    pub per_label: BTreeMap<String, u32>,
    /// No start with less free space than this; 0 is off.
    pub disk_free_min_bytes: u64,
}

/// `[attempts]`
#[derive(Clone, Debug, PartialEq)]
pub struct Attempts {
    /// Charged failures until an item is parked.
    pub max: u32,
    /// Wait after the first failure.
    pub backoff_base: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
    /// Share of the wait by which it is moved either way, 0 to 0.3.
    pub jitter: f64,
    /// Resumes per session.
    pub resumes_max: u32,
}

/// `[source.scope]`: an item outside is never touched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// All of them must be on the item; trimmed and lower-case. A blank one matches nothing.
    pub labels: Vec<String>,
    /// The title starts with it.
    pub title_prefix: String,
}

/// What a failed note to the tracker means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritebackMode {
    /// Its failure is a failure.
    Required,
    /// Tried a few times, then dropped.
    BestEffort,
    /// Not tried.
    Off,
}

/// `[writeback]`
#[derive(Clone, Debug, PartialEq)]
pub struct WritebackModes {
    /// When agents were started.
    pub started: WritebackMode,
    /// When the item is done.
    pub done: WritebackMode,
    /// When the item was parked.
    pub parked: WritebackMode,
}

/// `[fleet]`
#[derive(Clone, Debug, PartialEq)]
pub struct FleetConfig {
    /// From TERM to KILL.
    pub grace: Duration,
    /// A start not seen after this is fenced off.
    pub start_grace: Duration,
    /// Never signalled.
    pub protected_pids: Vec<u32>,
    /// Files that hold pids which are never signalled; absolute.
    pub protected_pidfiles: Vec<PathBuf>,
}

/// `[env]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnvConfig {
    /// Put before PATH; absolute.
    pub path_prepend: Vec<PathBuf>,
    /// Literals for every agent.
    pub set: BTreeMap<String, String>,
}

/// `[[role]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Name, unique.
    pub name: String,
    /// `[a-z0-9]+`, at most 16 bytes, unique: the end of its agents' names.
    pub suffix: String,
    /// Name of the harness: `command`.
    pub harness: String,
    /// Program and arguments; a program with a `/` is absolute.
    pub command: Vec<String>,
    /// Program and arguments for a resumed session; empty: no resume.
    pub resume: Vec<String>,
    /// What a resumed session is told.
    pub resume_prompt: String,
    /// Pattern for the session id on stdout, one group at least; `None`: `FACTORY_SESSION=<id>` lines.
    pub session: Option<String>,
    /// Texts in the stderr of a failed resume which say that the session is gone.
    pub session_gone: Vec<String>,
    /// Names of variables passed through besides the usual ones.
    pub env: Vec<String>,
    /// Longest life; `None` is no limit.
    pub deadline: Option<Duration>,
    /// Longest silence on stdout; `None` is no limit.
    pub stall: Option<Duration>,
    /// The prompt template, as text; syntax already checked.
    pub prompt: String,
    /// Where the template was read; `None`: the built-in one.
    pub prompt_path: Option<PathBuf>,
}
