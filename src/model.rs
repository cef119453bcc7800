//! Every noun of the program: what an item, a run, a sighting, an action and an outcome are.
//!
//! Nothing here acts. The only imports are serde and the timestamp of jiff, so every room may use it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

// ---------------------------------------------------------------------------------------------
// Time

/// One instant, told by two clocks.
///
/// The wall clock is for people and for due times; ages come from the monotonic clock, which
/// neither an operator's `date -s` nor a sleeping laptop can move, and which means something
/// only within one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// Wall clock.
    pub at: Timestamp,
    /// `CLOCK_MONOTONIC`, in milliseconds.
    pub mono_ms: u64,
    /// The boot that `mono_ms` belongs to (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

impl Moment {
    /// How long ago `earlier` was, or `None` when it belongs to another boot and cannot be told.
    pub fn since(&self, earlier: &Moment) -> Option<Duration> {
        (self.boot_id == earlier.boot_id)
            .then(|| Duration::from_millis(self.mono_ms.saturating_sub(earlier.mono_ms)))
    }

    /// The wall time `delay` from now; the far future where the calendar ends.
    pub fn after(&self, delay: Duration) -> Timestamp {
        self.at.checked_add(delay).unwrap_or(Timestamp::MAX)
    }
}

// ---------------------------------------------------------------------------------------------
// Names

/// The canonical id of an item: `dir:AR-255`. Never shown to two items, never reused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(pub String);

/// The name of an agent: `<slug of the item's key>-<suffix of the role>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentName(pub String);

/// One start of one agent, `<agent>.<n>`: the idempotency key of that start, never reused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId {
    /// The agent that runs.
    pub agent: AgentName,
    /// The agent's own sequence number, from 1.
    pub n: u64,
}

impl ItemId {
    /// The id as its source knows it, without the source's name.
    pub fn plain(&self) -> &str {
        self.0.split_once(':').map_or(self.0.as_str(), |(_, plain)| plain)
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.agent, self.n)
    }
}

impl std::str::FromStr for RunId {
    type Err = String;

    /// Reads the canonical form alone: `ar-1-impl.3`, no leading zero, no other characters.
    fn from_str(text: &str) -> Result<Self, String> {
        let not_a_run = || format!("{text:?} is not a run: <agent>.<number>");
        let (agent, n) = text.rsplit_once('.').ok_or_else(not_a_run)?;
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let number: u64 = n.parse().map_err(|_| not_a_run())?;
        if agent.is_empty() || !agent.bytes().all(plain) || number.to_string() != n {
            return Err(not_a_run());
        }
        Ok(RunId { agent: AgentName(agent.to_owned()), n: number })
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

// ---------------------------------------------------------------------------------------------
// Items

/// Whether a tracker calls an item open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// Work to do.
    Open,
    /// Nothing to do any more.
    Closed,
}

/// One piece of work as its source tells it. Every field is present; nothing is invented.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkItem {
    /// Canonical id.
    pub id: ItemId,
    /// What people call it; two items may share one.
    pub key: String,
    /// One line. Untrusted.
    pub title: String,
    /// The text. Untrusted.
    pub body: String,
    /// Trimmed, lower-case, no blanks, no duplicates, sorted.
    pub labels: Vec<String>,
    /// 1 is most urgent; 1 to 4 go before all others.
    pub priority: Option<i64>,
    /// Open or closed.
    pub state: ItemState,
    /// Ids or keys of items that must be resolved first.
    pub blocked_by: Vec<String>,
    /// When the item was made.
    pub created_at: Option<Timestamp>,
    /// When the item was last edited. Never used to tell a change: our own note would be one.
    pub updated_at: Option<Timestamp>,
    /// Where the item was read, within its source: a file name for `dir`.
    #[serde(skip)]
    pub origin: String,
    /// sha256 of title, body, labels, state, blockers and priority.
    #[serde(skip)]
    pub hash: String,
    /// sha256 of title and body alone: what makes finished work worth doing again.
    #[serde(skip)]
    pub content_hash: String,
}

/// Something in a source that may be an item but could not be read as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclear {
    /// Where it was found: a file name for `dir`.
    pub origin: String,
    /// The id that it has or would have, where that can be told.
    pub id: Option<ItemId>,
    /// What is wrong with it, and what to do.
    pub why: String,
}

/// One complete read of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceView {
    /// Well-formed items, open and closed, in and out of scope; ids are unique.
    pub items: Vec<WorkItem>,
    /// What could not be read as an item: neither present nor gone.
    pub unclear: Vec<Unclear>,
}

/// What was looked at, or why it could not be: absent is not unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed<T> {
    /// It was read, whole.
    Known(T),
    /// It could not be read; the reason is for people.
    Unknown(String),
}

impl<T> Observed<T> {
    /// What was seen, if anything was.
    pub fn known(&self) -> Option<&T> {
        match self {
            Observed::Known(value) => Some(value),
            Observed::Unknown(_) => None,
        }
    }

    /// Why nothing was seen.
    pub fn unknown(&self) -> Option<&str> {
        match self {
            Observed::Known(_) => None,
            Observed::Unknown(why) => Some(why),
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Processes and receipts

/// A process, so exactly that no other process can pass for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Process id, within `pid_ns`.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start_ticks: u64,
    /// The boot it belongs to.
    pub boot_id: String,
    /// Inode of its pid namespace (`/proc/<pid>/ns/pid`).
    pub pid_ns: u64,
    /// Real user id.
    pub uid: u32,
}

/// `runs/<run>/claim`: who may start this run. Linked into place once, so whole or absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Claim {
    /// A launcher took it, at that moment.
    Launcher(Box<Claimed>),
    /// A tick took it, so that no launcher ever can.
    FencedBy(String),
    /// A launcher took it only to say that it will not start.
    Refused(Refusal),
}

/// Why a launcher did not start its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// In words.
    pub because: String,
    /// Whether it was because another launcher of the same agent lives.
    pub duplicate: bool,
}

/// The launcher that claimed a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claimed {
    /// The launcher itself.
    pub process: Process,
    /// When; deadlines count from here.
    pub since: Moment,
}

/// Why the main process of a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// By itself.
    Exited,
    /// The launcher ended it: it ran longer than its role's `deadline`.
    Deadline,
    /// The launcher ended it: nothing on stdout for longer than its role's `stall`.
    Stalled,
    /// The launcher was told to stop.
    Stopped,
    /// It never ran: its workspace or its command would not do.
    Launch,
    /// It never ran: a hook failed.
    Hook,
    /// It never ran: the machine could not make a process just then.
    Infra,
}

/// What an agent said of itself on lines of its stdout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// `FACTORY_SESSION=<id>`, or the first group of the role's `session` pattern; the last one wins.
    pub session: Option<String>,
    /// `FACTORY_PARK=<reason>`: it wants a person.
    pub park: Option<String>,
}

/// `runs/<run>/exit`: how the main process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    /// Exit code, when it exited.
    pub code: Option<i32>,
    /// Signal number, when it was killed.
    pub signal: Option<i32>,
    /// Why.
    pub reason: ExitReason,
    /// The error text where it never ran.
    pub error: Option<String>,
    /// When the main process was started; when the run was claimed, where it never ran.
    pub started: Moment,
    /// When it ended.
    pub ended: Moment,
    /// User and system time of the main process and the children it waited for, in milliseconds.
    pub cpu_ms: u64,
    /// Largest resident set of any of them, in KiB.
    pub peak_kib: u64,
    /// What it said of itself.
    pub said: Said,
}

/// `runs/<run>/swept`: what became of everything the run had started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swept {
    /// Who looked: `launcher`, or `tick` where the launcher had died.
    pub by: String,
    /// Processes that could not be ended; empty is the promise.
    pub survivors: Vec<Survivor>,
}

/// A process of a run that could not be ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survivor {
    /// Which one.
    pub pid: u32,
    /// Its start ticks, so that a later reader knows whether it is still the same.
    pub start_ticks: u64,
    /// Its command name, for people.
    pub comm: String,
    /// Why it lives.
    pub because: String,
}

/// The last output of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Last 64 KiB of stdout, as text.
    pub stdout_tail: String,
    /// Last 64 KiB of stderr, as text.
    pub stderr_tail: String,
}

// ---------------------------------------------------------------------------------------------
// The world

/// What the fleet can see of one run.
///
/// `claim` is there when the claim was read: for a run that is on record with its launcher it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Nobody has claimed it.
    Unclaimed,
    /// A tick fenced it: it can never start.
    Fenced,
    /// Its launcher declined to start it.
    Refused(Refusal),
    /// Its launcher lives; the main process has not ended.
    Alive {
        /// The launcher, and since when.
        claim: Option<Claimed>,
        /// What the agent has said so far.
        said: Said,
    },
    /// The main process ended; the launcher is still ending what it left behind.
    Sweeping {
        /// The launcher, and since when.
        claim: Option<Claimed>,
        /// How the main process ended.
        exit: Box<Exit>,
    },
    /// Over: every process was looked for.
    Ended(Box<Ended>),
    /// It was claimed under another boot: whatever it was is dead.
    Rebooted(Box<Ended>),
    /// The launcher is dead and nobody has looked yet for what it left behind.
    Orphaned {
        /// The launcher, and since when.
        claim: Option<Claimed>,
    },
    /// It can't be told.
    Unknown(String),
}

/// A run that is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The launcher, and since when.
    pub claim: Option<Claimed>,
    /// How the main process ended; `None` when nobody could tell.
    pub exit: Option<Exit>,
    /// What could not be ended.
    pub survivors: Vec<Survivor>,
    /// What the agent had said.
    pub said: Said,
    /// Its last output.
    pub output: Output,
}

impl Sighting {
    /// The launcher that was seen to hold the claim.
    pub fn claim(&self) -> Option<&Claimed> {
        match self {
            Sighting::Alive { claim, .. }
            | Sighting::Sweeping { claim, .. }
            | Sighting::Orphaned { claim } => claim.as_ref(),
            Sighting::Ended(ended) | Sighting::Rebooted(ended) => ended.claim.as_ref(),
            Sighting::Unclaimed | Sighting::Fenced | Sighting::Refused(_) | Sighting::Unknown(_) => None,
        }
    }
}

/// A run directory that the registry knows nothing of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Which run.
    pub run: RunId,
    /// What it was to be, where its `spec.json` can be read.
    pub spec: Option<StraySpec>,
}

/// What a spec says of the run it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StraySpec {
    /// The item it works on.
    pub item: ItemId,
    /// That item's key.
    pub key: String,
    /// That item's slug.
    pub slug: String,
    /// The directory name of its workspace.
    pub workspace: String,
    /// The role's name.
    pub role: String,
    /// The name of the harness.
    pub harness: String,
    /// The session it goes on with, for a resume.
    pub session: Option<String>,
    /// The item's dispatch that it belongs to.
    pub dispatch: u64,
    /// When it was to start.
    pub since: Moment,
}

/// Everything the fleet can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetView {
    /// One sighting for each run that was asked for, and for each stray.
    pub runs: BTreeMap<RunId, Sighting>,
    /// Runs that nobody asked for, numbered above what the registry knows.
    pub strays: Vec<Stray>,
}

/// What a run is, as far as the registry knows; what the fleet is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarry {
    /// Which run.
    pub run: RunId,
    /// The launcher that was seen, if one ever was.
    pub process: Option<Process>,
}

/// One look at everything outside.
#[derive(Clone, Debug)]
pub struct World {
    /// When it was taken.
    pub now: Moment,
    /// The items.
    pub source: Observed<SourceView>,
    /// The runs.
    pub fleet: Observed<FleetView>,
    /// Free bytes where the state lives; `None` where the system does not tell.
    pub disk_free_bytes: Option<u64>,
    /// By role: variables that it names and that are not set.
    pub missing_env: BTreeMap<String, Vec<String>>,
    /// The folder of workspaces.
    pub workspaces: PathBuf,
}

// ---------------------------------------------------------------------------------------------
// Verdicts

/// What a run's end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It ended with an error of its own.
    Agent,
    /// It is gone and nobody saw it end.
    Vanished,
    /// It ran longer than it may.
    Deadline,
    /// It said nothing for longer than it may.
    Stalled,
    /// It could not be started: its prompt, command, workspace or hook.
    Launch,
    /// A required `started` note could not be written.
    Writeback,
    /// The session to resume no longer exists.
    SessionGone,
    /// It asks for a person.
    NeedsInput,
    /// Somebody else told its launcher to stop.
    Killed,
    /// The machine, not the agent.
    Infra,
}

impl Class {
    /// Whether it costs the item an attempt. The machine's faults and a dead session do not.
    pub fn charged(self) -> bool {
        match self {
            Class::Agent
            | Class::Vanished
            | Class::Deadline
            | Class::Stalled
            | Class::Launch
            | Class::Writeback => true,
            Class::SessionGone | Class::NeedsInput | Class::Killed | Class::Infra => false,
        }
    }

    /// The name in registry, reports and `--class`.
    pub fn name(self) -> &'static str {
        match self {
            Class::Agent => "agent",
            Class::Vanished => "vanished",
            Class::Deadline => "deadline",
            Class::Stalled => "stalled",
            Class::Launch => "launch",
            Class::Writeback => "writeback",
            Class::SessionGone => "session_gone",
            Class::NeedsInput => "needs_input",
            Class::Killed => "killed",
            Class::Infra => "infra",
        }
    }
}

/// Why an item is not started now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldCode {
    /// Closed, or outside the configured scope.
    NotInScope,
    /// An agent is at it.
    AlreadyActive,
    /// Finished, and not changed since.
    Done,
    /// Waiting after a failure.
    Backoff,
    /// Needs a person.
    Parked,
    /// `items_max` is reached.
    NoSlot,
    /// A label's own limit is reached.
    NoLabelSlot,
    /// `starts_max` is reached for this tick.
    StartsExhausted,
    /// Its role waits for the provider, or for credentials.
    CoolingOff,
    /// The source could not be read.
    SourceUnknown,
    /// The fleet could not be seen, or what was seen can't be told apart.
    FleetUnknown,
    /// Processes of an abandoned run are still to be ended.
    HandoffPending,
    /// Another item must be resolved first.
    Blocked,
    /// Less than `disk_free_min` is free.
    DiskFloor,
    /// The tick's time was up.
    Deadline,
}

/// An item that waits, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Which item.
    pub item: ItemId,
    /// For what.
    pub code: HeldCode,
    /// In words.
    pub because: String,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
}

// ---------------------------------------------------------------------------------------------
// The plan

/// Everything that is needed to start one run, decided beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The item it works on.
    pub item: ItemId,
    /// That item's key.
    pub key: String,
    /// That item's slug.
    pub slug: String,
    /// The run.
    pub run: RunId,
    /// The role's name.
    pub role: String,
    /// The name of the harness.
    pub harness: String,
    /// The item's dispatch it belongs to.
    pub dispatch: u64,
    /// The session to go on with; `None` is a fresh start.
    pub session: Option<String>,
    /// Program and arguments; `{session}`, `{run}`, `{workspace}` and `{prompt_file}` are still to be replaced.
    pub argv: Vec<String>,
    /// The prompt, rendered.
    pub prompt: String,
    /// Directory name of the workspace below the workspace root.
    pub workspace: String,
    /// Names of variables passed through.
    pub env: Vec<String>,
    /// Pattern for the session id on stdout.
    pub session_pattern: Option<String>,
    /// Longest life, from the claim.
    pub deadline: Option<Duration>,
    /// Longest silence on stdout.
    pub stall: Option<Duration>,
    /// Hash of the item as the run is given it.
    pub hash: String,
    /// Hash of title and body as the run is given them.
    pub content_hash: String,
}

/// What an item's tracker is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Agents are at it.
    Started,
    /// Every role ended well.
    Done,
    /// It needs a person.
    Parked,
}

impl Status {
    /// The word for it, in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Status::Started => "started",
            Status::Done => "done",
            Status::Parked => "parked",
        }
    }
}

/// A note for an item's tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writeback {
    /// Which item.
    pub item: ItemId,
    /// The item's slug: names its file where the tracker is a folder.
    pub slug: String,
    /// What to say.
    pub status: Status,
    /// The dispatch it is about.
    pub dispatch: u64,
    /// That dispatch's runs.
    pub runs: Vec<RunId>,
    /// When it became so.
    pub at: Timestamp,
    /// In words.
    pub because: String,
    /// Whether the dispatch fails when this can't be said.
    pub required: bool,
}

/// What an agent does next by itself, outside its item's next dispatch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Next {
    /// True: its session goes on. False: it alone starts again, in the same dispatch.
    pub resume: bool,
    /// Not before.
    pub due_at: Timestamp,
}

/// One thing to do or to write down. A plan of none of these changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A launcher was seen for a run that was only intended: it runs.
    Adopt {
        /// Which run.
        run: RunId,
        /// Its launcher.
        launcher: Claimed,
    },
    /// A run directory that the registry had forgotten becomes its agent's current run.
    AdoptStray {
        /// Which run.
        run: RunId,
        /// What its spec says.
        spec: StraySpec,
    },
    /// Start a fresh run.
    Start(Box<Launch>),
    /// Start a run that goes on with a session.
    Resume(Box<Launch>),
    /// Make sure that a run nobody has claimed can never start.
    Fence {
        /// Which run.
        run: RunId,
    },
    /// A run is to end: it becomes a hand-off, ended from the next tick on.
    Stop {
        /// Which run.
        run: RunId,
        /// What can't be ended, where that was already seen.
        survivors: Vec<Survivor>,
        /// Whether its dispatch failed, which is counted apart.
        dispatch_failed: bool,
    },
    /// End what is left of a run: through its launcher, or process by process where that is dead.
    Reap(Reap),
    /// Every role of the item ended well, or (with a run) this one did.
    Done {
        /// Which item.
        item: ItemId,
        /// The run that ended well; `None` for the whole item.
        run: Option<RunId>,
        /// What the agent said of itself.
        said: Said,
    },
    /// A run ended without success.
    Fail {
        /// Which item.
        item: ItemId,
        /// Which run; `None` where nothing could be started.
        run: Option<RunId>,
        /// What it means.
        class: Class,
        /// What the agent said of itself.
        said: Said,
        /// What the agent does next by itself.
        next: Option<Next>,
        /// No fresh start before this.
        due_at: Option<Timestamp>,
        /// Whether it ended so because another run of its agent was alive.
        duplicate: bool,
    },
    /// The item leaves the rotation until it changes or a person says so.
    Park {
        /// Which item.
        item: ItemId,
        /// The failure behind it, if one is.
        class: Option<Class>,
        /// True: only a person brings it back.
        by_person: bool,
    },
    /// Nothing is left to remember of an item but its names.
    Forget {
        /// Which item.
        item: ItemId,
    },
    /// A hand-off is over: zero survivors were seen.
    Release {
        /// Which run.
        run: RunId,
    },
    /// Tell the item's tracker.
    Writeback(Box<Writeback>),
    /// A role starts nothing until its reason is gone.
    CoolOff {
        /// `role:<name>`.
        scope: String,
        /// `None`: the reason is gone.
        reason: Option<String>,
    },
}

/// How to end what is left of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reap {
    /// Which run.
    pub run: RunId,
    /// Its launcher, if one was ever seen.
    pub launcher: Option<Process>,
}

impl Action {
    /// The public name of the action (contract: `decisions[].action`).
    pub fn name(&self) -> &'static str {
        match self {
            Action::Adopt { .. } | Action::AdoptStray { .. } => "adopt",
            Action::Start(_) => "start",
            Action::Resume(_) => "resume",
            Action::Fence { .. } => "fence",
            Action::Stop { .. } => "stop",
            Action::Reap(_) => "reap",
            Action::Done { .. } => "done",
            Action::Fail { .. } => "fail",
            Action::Park { .. } => "park",
            Action::Forget { .. } | Action::Release { .. } => "forget",
            Action::Writeback(_) => "writeback",
            Action::CoolOff { .. } => "cool_off",
        }
    }

    /// The run it is about.
    pub fn run(&self) -> Option<&RunId> {
        match self {
            Action::Adopt { run, .. }
            | Action::AdoptStray { run, .. }
            | Action::Fence { run }
            | Action::Stop { run, .. }
            | Action::Release { run } => Some(run),
            Action::Start(launch) | Action::Resume(launch) => Some(&launch.run),
            Action::Reap(reap) => Some(&reap.run),
            Action::Done { run, .. } | Action::Fail { run, .. } => run.as_ref(),
            Action::Park { .. } | Action::Forget { .. } | Action::Writeback(_) | Action::CoolOff { .. } => {
                None
            }
        }
    }

    /// The failure class or status it carries, for `decisions[].code`.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Action::Fail { class, .. } => Some(class.name()),
            Action::Park { class, .. } => class.map(Class::name),
            Action::Writeback(writeback) => Some(writeback.status.name()),
            _ => None,
        }
    }
}

/// An action, why, and what it hangs together with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub action: Action,
    /// The item it is about, where there is one.
    pub item: Option<ItemId>,
    /// Why.
    pub because: String,
    /// Decisions of one group depend on each other: the first failure stops the rest of its group.
    pub group: u32,
}

/// A correction of the record that is no decision: it makes no plan non-empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// An item is to be remembered from now on, or was seen again under another key or in another place.
    Seen {
        /// Which item.
        item: ItemId,
        /// Its key.
        key: String,
        /// Where it was read.
        origin: String,
        /// Its slug; assigned once.
        slug: String,
        /// The directory name of its workspace; assigned once.
        workspace: String,
    },
    /// An item with something in flight or remembered was not in a complete read, this many times in a row.
    Missing {
        /// Which item.
        item: ItemId,
        /// How many times.
        reads: u32,
    },
    /// An item changed in a way that gives it a new life: attempts from 0, due now.
    Renew {
        /// Which item.
        item: ItemId,
        /// What changed.
        because: String,
    },
    /// A due time lay further ahead than any backoff can: the clock was moved.
    Clamp {
        /// Which item.
        item: ItemId,
        /// The latest it can be.
        due_at: Timestamp,
    },
    /// A running agent told its session.
    Session {
        /// Which run.
        run: RunId,
        /// The session.
        session: String,
    },
    /// An agent's role is no longer configured and nothing of it runs.
    RoleGone {
        /// Which agent.
        agent: AgentName,
    },
}

/// One step of a plan, in the order in which it is applied to the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A decision: an event, a line of the report, perhaps an effect.
    Decide(Decision),
    /// A silent correction of the record.
    Refresh(Refresh),
}

/// What one tick will do, complete: no meaningful choice is left for whoever performs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What changes, in order.
    pub steps: Vec<Step>,
    /// What waits, and for what.
    pub held: Vec<Held>,
    /// What could not be read or told apart: exit 3, and a later tick looks again.
    pub errors: Vec<String>,
}

impl Plan {
    /// The decisions, each with its index in `steps`.
    pub fn decisions(&self) -> impl Iterator<Item = (usize, &Decision)> {
        self.steps.iter().enumerate().filter_map(|(index, step)| match step {
            Step::Decide(decision) => Some((index, decision)),
            Step::Refresh(_) => None,
        })
    }

    /// Whether nothing was decided.
    pub fn is_empty(&self) -> bool {
        self.decisions().next().is_none()
    }
}

// ---------------------------------------------------------------------------------------------
// Outcomes

/// What became of one decision's effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// The launcher was started. Whether the run runs is for a later observation.
    Tried,
    /// It is certain that nothing was started.
    NotStarted {
        /// `Launch` or `Infra`.
        class: Class,
        /// What failed, and what to do.
        error: String,
    },
    /// It was not tried, and so did not happen: time, a signal, or an earlier failure in its group.
    NotTried(&'static str),
    /// The run can never start now.
    FenceWon,
    /// A launcher had been faster: the run exists.
    FenceLost,
    /// What was left of a run was ended, or not.
    Reaped(Reaped),
    /// The tracker knows.
    Told,
    /// It failed; a later tick tries again where that makes sense.
    Failed(String),
}

/// What a reap did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Which processes were signalled, with what.
    pub signalled: Vec<Signalled>,
    /// What still lives.
    pub survivors: Vec<Survivor>,
    /// What was left alone, and why.
    pub skipped: Vec<Skipped>,
    /// How many recorded processes turned out to be somebody else.
    pub identity_mismatches: u64,
}

/// A process that was signalled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signalled {
    /// Which one.
    pub pid: u32,
    /// Names of signals, in order.
    pub signals: Vec<&'static str>,
}

/// A process that was left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Which one.
    pub pid: u32,
    /// Why.
    pub reason: String,
}

/// What became of the decision at `step` in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Index into `Plan::steps`.
    pub step: usize,
    /// What became of it.
    pub happened: Happened,
}
