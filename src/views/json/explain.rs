//! The document of `explain`.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// What the next tick makes of one item, and why.
#[derive(Debug, Serialize)]
pub struct Explain<'a> {
    /// The layout, 1.
    pub schema: u32,
    /// Id of the item.
    pub item: &'a str,
    /// Key of the item.
    pub key: &'a str,
    /// Its title; null where its source does not tell of it.
    pub title: Option<&'a str>,
    /// The rules, in the order in which they are asked.
    pub rules: Vec<Rule<'a>>,
    /// What could not be read, and so may hide more; in words.
    pub errors: &'a [String],
    /// What is remembered of it; null where it was never started.
    pub record: Option<Record>,
    /// What its agents have used.
    pub agents: &'a [AgentUse],
    /// Its next runs.
    pub next_runs: &'a [NextRun],
    /// Why its next runs can't be told, in words.
    pub next_runs_error: Option<&'a str>,
    /// The latest lines of the event log about it, the oldest first.
    pub events: &'a [Value],
}

/// A rule that applies to the item now.
#[derive(Debug, Serialize)]
pub struct Rule<'a> {
    /// The rule that may hold the item, or the action that is done.
    pub name: &'a str,
    /// Name of the run that it is about; null: the item.
    pub run: Option<String>,
    /// `passes`, `holds` or `acts`.
    pub verdict: &'static str,
    /// In words.
    pub because: &'a str,
    /// Until when it holds; null where that is not known.
    pub until: Option<Timestamp>,
    /// Whether it says what becomes of the item now.
    pub decides: bool,
}

/// What is remembered of an item.
#[derive(Debug, Serialize)]
pub struct Record {
    /// `waiting`, `active`, `parked` or `done`.
    pub phase: &'static str,
    /// Where its source holds it: the name of a file.
    pub origin: String,
    /// Charged failures since it last changed.
    pub attempts: u32,
    /// Failures in a row that charge no attempt.
    pub uncharged_streak: u32,
    /// How often agents of it went on by themselves although they had ended well, since it last changed.
    pub continuations: u32,
    /// No start before this.
    pub due_at: Option<Timestamp>,
    /// How often it was dispatched.
    pub dispatches: u64,
    /// `rule`, `person` or `budget`; null where it is not parked.
    pub parked_by: Option<&'static str>,
    /// The latest failure, or what parked it.
    pub last: Option<RecordFailure>,
    /// What its tracker was told, and is to be told.
    pub tracker_note: TrackerNote,
    /// Complete reads of the source in a row that it was missing from.
    pub missing_reads: u32,
    /// Why another factory's hold on its workspace keeps it waiting, in words.
    pub workspace_taken: Option<String>,
    /// What a person had to say to its agents, the oldest first.
    pub messages: Vec<Message>,
}

/// The latest failure of an item, or what parked it.
#[derive(Debug, Serialize)]
pub struct RecordFailure {
    /// The class of the failure; null where a person parked it.
    pub class: Option<&'static str>,
    /// In words.
    pub because: String,
    /// When.
    pub at: Timestamp,
}

/// What an item's tracker was told, and is to be told.
#[derive(Debug, Serialize)]
pub struct TrackerNote {
    /// The note that is owed.
    pub wanted: Option<Wanted>,
    /// The note that needs no telling any more.
    pub notified: Option<Notified>,
    /// How often the wanted note has failed in a row.
    pub tries: u32,
    /// No try before this; null: the next tick tries.
    pub due_at: Option<Timestamp>,
    /// Why the latest try failed, in words.
    pub last_error: Option<String>,
}

/// A note that an item's tracker is to be told.
#[derive(Debug, Serialize)]
pub struct Wanted {
    /// `started`, `done` or `parked`.
    pub status: &'static str,
    /// When the item became so.
    pub at: Timestamp,
    /// In words.
    pub because: String,
}

/// A note that an item's tracker was told.
#[derive(Debug, Serialize)]
pub struct Notified {
    /// `started`, `done` or `parked`.
    pub status: &'static str,
    /// When the item became so.
    pub at: Timestamp,
    /// Whether the note was given up after its tries instead.
    pub given_up: bool,
}

/// What a person had to say to the agents of an item.
#[derive(Debug, Serialize)]
pub struct Message {
    /// In the person's words.
    pub text: String,
    /// Whether every run that was to hear it was seen.
    pub heard: bool,
}

/// What the runs of an agent have used, as far as they told.
#[derive(Clone, Debug, Serialize)]
pub struct AgentUse {
    /// Name of the agent.
    pub agent: String,
    /// US dollars.
    pub usd: Option<f64>,
    /// Tokens.
    pub tokens: Option<u64>,
}

/// What a run would be started with.
#[derive(Clone, Debug, Serialize)]
pub struct NextRun {
    /// Its name, unless another one comes before it.
    pub run: String,
    /// The role.
    pub role: String,
    /// The session that it goes on with.
    pub session: Option<String>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Path of its directory.
    pub cwd: String,
    /// Names of its variables, sorted.
    pub env: Vec<String>,
    /// The hooks around it, in the order in which they run.
    pub hooks: Vec<Hook>,
    /// Its prompt.
    pub prompt: String,
}

/// A hook of a run, or the `[done] command` as `done`.
#[derive(Clone, Debug, Serialize)]
pub struct Hook {
    /// Its key in the configuration.
    pub name: &'static str,
    /// Program and arguments.
    pub argv: Vec<String>,
}
