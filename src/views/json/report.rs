//! The document of a tick, and of every command that changes something.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

/// What one run of the program did.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The layout, 1.
    pub schema: u32,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Name of the exit code.
    pub status: &'static str,
    /// The exit code.
    pub exit_code: u8,
    /// Number of the generation of the registry that stands; null where there is none.
    pub serial: Option<u64>,
    /// When the program began.
    pub started_at: Timestamp,
    /// Milliseconds since then.
    pub duration_ms: u64,
    /// How many decisions there were, by action, and how many items are `held`.
    pub counts: BTreeMap<&'static str, usize>,
    /// The decisions, in the order in which they were made.
    pub decisions: Vec<Decision>,
    /// Items that wait.
    pub held: Vec<Held>,
    /// What became of the decisions.
    pub outcomes: Vec<Outcome>,
    /// Processes that were signalled.
    pub reaped: Vec<Reaped>,
    /// Processes that could not be ended.
    pub survivors: Vec<Survivor>,
    /// Processes that were left alone.
    pub skipped: Vec<Skipped>,
    /// Counts since the state began.
    pub counters: Counters,
    /// What went wrong, in words.
    pub errors: Vec<String>,
}

/// A decision.
#[derive(Debug, Serialize)]
pub struct Decision {
    /// Name of the action.
    pub action: &'static str,
    /// Id of the item.
    pub item: Option<String>,
    /// Name of the agent.
    pub agent: Option<String>,
    /// Name of the run.
    pub run: Option<String>,
    /// The class of a failure, the status of a note, or the scope of a cool-off.
    pub code: Option<&'static str>,
    /// In words.
    pub because: String,
}

/// An item that waits.
#[derive(Debug, Serialize)]
pub struct Held {
    /// Id of the item.
    pub item: String,
    /// The rule that holds it.
    pub code: &'static str,
    /// In words.
    pub because: String,
    /// Until when; null where that is not known.
    pub until: Option<Timestamp>,
}

/// What became of a decision.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Name of the action.
    pub action: &'static str,
    /// Id of the item.
    pub item: Option<String>,
    /// Name of the agent.
    pub agent: Option<String>,
    /// Name of the run.
    pub run: Option<String>,
    /// Whether nothing of it has to be tried again.
    pub ok: bool,
    /// The class of the failure.
    pub class: Option<&'static str>,
    /// The failure, in words.
    pub error: Option<String>,
}

/// A process that was signalled.
#[derive(Debug, Serialize)]
pub struct Reaped {
    /// Name of its run.
    pub run: String,
    /// The process.
    pub pid: u32,
    /// Names of the signals in order, without `SIG`.
    pub signals: Vec<&'static str>,
}

/// A process that could not be ended.
#[derive(Debug, Serialize)]
pub struct Survivor {
    /// Name of its run.
    pub run: String,
    /// The process.
    pub pid: u32,
    /// Why it lives, in words.
    pub because: String,
}

/// A process that was left alone.
#[derive(Debug, Serialize)]
pub struct Skipped {
    /// The process.
    pub pid: u32,
    /// Why, in words.
    pub reason: String,
}

/// Counts since the state began. Each counts runs, unless it says otherwise.
#[derive(Debug, Serialize)]
pub struct Counters {
    /// Runs whose claim was seen.
    pub dispatched: u64,
    /// Starts that a live or unseen run of the same agent suppressed.
    pub dispatch_duplicate_suppressed: u64,
    /// Charged failures that were backed off.
    pub dispatch_backoffs: u64,
    /// Items that a rule parked.
    pub dispatch_terminal_failures: u64,
    /// Runs that a failed dispatch handed off.
    pub dispatch_failure_reaper_handoffs: u64,
    /// Those of them whose processes could not all be ended at the first try.
    pub dispatch_failure_reaper_handoff_failures: u64,
    /// Hand-offs that ended with zero survivors.
    pub handoffs_reaped: u64,
    /// Runs that went on with a session and whose claim was seen.
    pub resumes: u64,
    /// Resumes whose name was taken.
    pub resume_name_collisions: u64,
    /// Resumes whose session was gone.
    pub sessions_not_found: u64,
    /// Runs whose left-over processes a tick ended.
    pub agents_reaped: u64,
    /// Hand-offs with processes that could not be ended.
    pub survivors: u64,
    /// Recorded processes whose pid was another process's by then.
    pub pid_identity_mismatches: u64,
    /// Hand-offs with a process that was left alone because it is protected.
    pub protected_pid_skips: u64,
    /// Runs fenced off because no launcher had claimed them in time.
    pub fences: u64,
    /// Ticks that died in the middle.
    pub crashed_ticks: u64,
}
