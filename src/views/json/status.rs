//! The document of `status`.

use jiff::Timestamp;
use serde::Serialize;

use super::report::Counters;

/// Whether ticks come, what is in flight, what waits, and what needs a person.
#[derive(Debug, Serialize)]
pub struct Status<'a> {
    /// The layout, 1.
    pub schema: u32,
    /// Whether ticks come.
    pub alive: bool,
    /// Whether a person paused all starts.
    pub paused: bool,
    /// The pause.
    pub pause: Option<Pause<'a>>,
    /// The breaker, where it keeps everything from starting.
    pub breaker: Option<Breaker<'a>>,
    /// The condition of the machine that keeps everything from starting.
    pub stopped: Option<Stopped<'a>>,
    /// The roles, programs and harnesses that start nothing for now.
    pub cool_offs: Vec<CoolOff<'a>>,
    /// The latest heartbeat of a tick.
    pub heartbeat: Option<Heartbeat<'a>>,
    /// Runs, the oldest first.
    pub in_flight: &'a [InFlight],
    /// Items that wait, the next one due first.
    pub waiting: Vec<&'a Waiting>,
    /// Items that a rule or a person took out of the rotation, the latest first.
    pub parked: Vec<&'a Parked>,
    /// Items that only a person can release and that are not parked, the latest first.
    pub stuck: Vec<&'a Stuck>,
    /// Runs that must end, the oldest first.
    pub handoffs: &'a [Handoff],
    /// Failed `after_run` hooks, each until its agent's next run.
    pub notes: &'a [Note],
    /// What was spent on this day in UTC.
    pub daily_spend: DailySpend,
    /// Counts since the state began.
    pub counters: Counters,
}

/// A pause of all starts.
#[derive(Debug, Serialize)]
pub struct Pause<'a> {
    /// In words.
    pub because: &'a str,
    /// When it began.
    pub since: Timestamp,
    /// When it ends; null: when a person says so.
    pub until: Option<Timestamp>,
}

/// Charged failures in a row, over all items.
#[derive(Debug, Serialize)]
pub struct Breaker<'a> {
    /// How many.
    pub failures: u32,
    /// When the first of them was seen.
    pub since: Timestamp,
    /// Id of the item that failed last.
    pub item: &'a str,
    /// What happened to it, in words.
    pub because: &'a str,
}

/// A condition of the machine that keeps everything from starting.
#[derive(Debug, Serialize)]
pub struct Stopped<'a> {
    /// The rule that holds.
    pub code: &'static str,
    /// In words, as it was when it began.
    pub because: &'a str,
    /// When it began.
    pub since: Timestamp,
}

/// A scope that starts nothing for now.
#[derive(Debug, Serialize)]
pub struct CoolOff<'a> {
    /// `machine`, or the kind and the name with a colon between them: `harness:claude`.
    pub scope: &'a str,
    /// In words.
    pub because: &'a str,
    /// When it began.
    pub since: Timestamp,
    /// When it is tried again; null: when the cause is gone.
    pub until: Option<Timestamp>,
}

/// The latest heartbeat of a tick.
#[derive(Debug, Serialize)]
pub struct Heartbeat<'a> {
    /// The version of the program that wrote it.
    pub version: &'a str,
    /// Path of that tick's configuration.
    pub config: &'a str,
    /// That tick's process.
    pub pid: u32,
    /// When that process began, in clock ticks since the machine was started.
    pub start_ticks: u64,
    /// The start of the machine that both belong to.
    pub boot_id: &'a str,
    /// Name of the machine.
    pub host: &'a str,
    /// `running`, `idle`, `stopping` or `failed`.
    pub status: &'static str,
    /// Number of the generation of the registry that stood.
    pub serial: u64,
    /// How many ticks have begun.
    pub ticks: u64,
    /// When that tick began.
    pub started_at: Timestamp,
    /// When the heartbeat was written.
    pub updated_at: Timestamp,
    /// The same in milliseconds since 1970.
    pub updated_at_ms: i64,
    /// The exit code of the latest tick that has ended.
    pub exit_code: Option<u8>,
    /// Why it ended so, on one line.
    pub reason: Option<&'a str>,
    /// When that was printed last.
    pub reported_at: Option<Timestamp>,
    /// Whether a person had paused all starts.
    pub paused: bool,
    /// The latest look at the items.
    pub source: Health<'a>,
    /// The latest look at the agents.
    pub fleet: Health<'a>,
    /// The latest look for what retention may remove.
    pub retention: Option<Retention<'a>>,
}

/// How looks at the source or at the fleet go.
#[derive(Debug, Serialize)]
pub struct Health<'a> {
    /// Whether the latest one succeeded.
    pub ok: bool,
    /// Since when that has been so.
    pub since: Option<Timestamp>,
    /// Why it did not, in words.
    pub error: Option<&'a str>,
}

/// The latest look for what retention may remove.
#[derive(Debug, Serialize)]
pub struct Retention<'a> {
    /// When everything that may go was removed; null while there is more.
    pub looked_at: Option<Timestamp>,
    /// What could not be removed, in words.
    pub error: Option<&'a str>,
}

/// A run in flight.
#[derive(Debug, Serialize)]
pub struct InFlight {
    /// Id of the item.
    pub item: String,
    /// Key of the item.
    pub key: String,
    /// Name of the agent.
    pub agent: String,
    /// Name of the run.
    pub run: String,
    /// `starting` or `running`.
    pub phase: &'static str,
    /// Which attempt of the item this is, from 1.
    pub attempt: u32,
    /// How many attempts an item has.
    pub attempts_max: u32,
    /// When it was intended; once a launcher has claimed it, when.
    pub started_at: Option<Timestamp>,
    /// When its launcher ends it.
    pub deadline_at: Option<Timestamp>,
    /// Its launcher.
    pub pid: Option<u32>,
    /// Path of what it prints.
    pub log: String,
    /// Its session.
    pub session: Option<String>,
    /// What a person types to end it and go on with its session.
    pub takeover: Option<String>,
    /// US dollars of all runs of the agent, as far as they told.
    pub usd: Option<f64>,
    /// Tokens, likewise.
    pub tokens: Option<u64>,
}

/// An item that waits.
#[derive(Debug, Serialize)]
pub struct Waiting {
    /// Id of the item.
    pub item: String,
    /// Key of the item.
    pub key: String,
    /// The rule that holds it.
    pub code: &'static str,
    /// In words.
    pub because: String,
    /// Until when; null where that is not known.
    pub until: Option<Timestamp>,
}

/// An item out of the rotation.
#[derive(Debug, Serialize)]
pub struct Parked {
    /// Id of the item.
    pub item: String,
    /// Key of the item.
    pub key: String,
    /// `rule`, `person` or `budget`.
    pub parked_by: Option<&'static str>,
    /// The class of the failure that parked it.
    pub class: Option<&'static str>,
    /// In words.
    pub because: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What helps, in words.
    pub r#try: String,
    /// What a person types to go on with each of its sessions.
    pub takeover: Vec<String>,
}

/// An item that only a person can release.
#[derive(Debug, Serialize)]
pub struct Stuck {
    /// Id of the item.
    pub item: String,
    /// Key of the item.
    pub key: String,
    /// The rule that holds it.
    pub code: &'static str,
    /// In words.
    pub because: String,
    /// Since when.
    pub since: Timestamp,
    /// What helps, in words.
    pub r#try: String,
}

/// A run that must end.
#[derive(Debug, Serialize)]
pub struct Handoff {
    /// Name of the run.
    pub run: String,
    /// Id of its item; null where that is not known any more.
    pub item: Option<String>,
    /// Why it must end, in words.
    pub because: String,
    /// Since when.
    pub since: Timestamp,
    /// Its processes that could not be ended so far.
    pub survivors: Vec<u32>,
}

/// A failed `after_run` hook.
#[derive(Debug, Serialize)]
pub struct Note {
    /// Id of the item.
    pub item: String,
    /// Key of the item.
    pub key: String,
    /// Name of the run.
    pub run: String,
    /// In words.
    pub because: String,
}

/// What was spent on one day.
#[derive(Debug, Serialize)]
pub struct DailySpend {
    /// Starts and resumes.
    pub starts: u32,
    /// US dollars; null where no agent told any.
    pub usd: Option<f64>,
}
