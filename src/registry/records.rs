//! What is remembered of each thing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::outbox::Outbox;
use crate::model::{
    AgentName, ClockReading, Deadline, FailureClass, FollowUp, FollowUpReason, Gone, ItemId, RunHandle,
    RunId, RunSpec, Survivor,
};

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemPhase {
    /// Not in flight; to be dispatched when due.
    Waiting,
    /// A run of it is in flight, or about to follow one by itself.
    Active,
    /// Out of the rotation.
    Parked,
    /// Finished, until it changes.
    Done,
}

/// Who took an item out of the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkedBy {
    /// A rule: a change of the item brings it back.
    Rule,
    /// A person: only a person brings it back.
    Person,
    /// The item's starts of a day are used up: only a person brings it back.
    Budget,
}

/// An item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemRecord {
    /// What people call it.
    pub key: String,
    /// Its part of its agents' names.
    pub slug: String,
    /// Where it was read last, within its source.
    pub origin: String,
    /// Where it stands.
    pub state: ItemPhase,
    /// Charged failures since it last changed.
    pub attempts: u32,
    /// No fresh dispatch before this.
    pub due_at: Option<Timestamp>,
    /// Hash of the item as its latest runs were given it.
    pub hash: Option<String>,
    /// Hash of title and body as its latest runs were given them.
    pub content_hash: Option<String>,
    /// How often it was dispatched.
    pub dispatch: u64,
    /// What is owed to services outside.
    pub outbox: Outbox,
    /// Uncharged failures in a row, of which those within 30 s of another count once.
    pub uncharged_streak: u32,
    /// When that streak grew last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncharged_at: Option<ClockReading>,
    /// Who parked it.
    pub parked_by: Option<ParkedBy>,
    /// The last thing that went wrong or parked it.
    pub last: Option<Last>,
    /// Complete reads in a row that it was missing from.
    pub missing_reads: u32,
    /// When the first of those reads was. Ages of another boot cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<ClockReading>,
    /// Why the item is gone, where those reads were enough for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Gone>,
    /// How often its agents went on although they had ended well, since it last changed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub continued: u32,
    /// Why it waits where another factory has its workspace, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    /// What a person had to say to its agents, oldest first, until the item is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
}

/// What a person has to say to the agents of an item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// In the person's words.
    pub text: String,
    /// The questions that it answers, by the agent that asked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub asked: BTreeMap<AgentName, String>,
    /// Whether every run that was to hear it was seen. A session that goes on knows it then; a fresh one does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heard: bool,
}

/// The last thing that went wrong with an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Last {
    /// What it means; `None` where a person did it.
    pub class: Option<FailureClass>,
    /// In words.
    pub because: String,
    /// When.
    pub at: Timestamp,
}

/// Whether an agent has a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentPhase {
    /// No run.
    Idle,
    /// A run was intended; nobody has seen it yet.
    Starting,
    /// Its run was seen.
    Running,
}

/// An agent: one role at one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRecord {
    /// What identifies and bounds its latest run.
    pub spec: RunSpec,
    /// Whether it has a run.
    pub state: AgentPhase,
    /// That run.
    pub run: Option<RunId>,
    /// When the run was intended; once it was seen, when it was claimed.
    pub since: Option<ClockReading>,
    /// Where that run works; `None` before it was seen.
    pub handle: Option<RunHandle>,
    /// Its latest session.
    pub session: Option<String>,
    /// How often that session was resumed after a failure.
    pub resumes: u32,
    /// When its latest run was over for us.
    pub stopped_at: Option<Timestamp>,
    /// Whether the role is done for this item.
    pub succeeded: bool,
    /// What it does next by itself, oldest first.
    pub follow_ups: Vec<FollowUp>,
    /// By reason: the latest event outside that a run of it was started for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fingerprints: BTreeMap<FollowUpReason, String>,
    /// Fingerprint of the credentials that its latest run was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
    /// Cost of its runs in US dollars, where the harness tells it.
    pub cost: Option<f64>,
    /// Tokens of its runs, where the harness tells them.
    pub tokens: Option<u64>,
    /// Tokens of its latest session that are in `tokens` already, where the harness counts by session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_tokens: Option<u64>,
    /// How a run of it ended well, where more than that makes its item done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<LastSuccess>,
    /// Cost of its latest run in US dollars, where the harness told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_usd: Option<f64>,
    /// What its latest run asked a person, until that person answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// How often a run of it ended before its work did, since one ended well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unfinished: u32,
    /// Why the `after_run` hook of its latest run did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_run: Option<String>,
}

/// What the end of a run left that ended well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastSuccess {
    /// sha256 of the end of its stdout.
    pub printed: String,
    /// Whether the one before it that ended well printed the same.
    pub repeated: bool,
    /// What the command answered that tells whether its item is done.
    pub answer: Option<i32>,
}

/// A run that must end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handoff {
    /// The item; `None` where nobody knows any more.
    pub item: Option<ItemId>,
    /// The agent.
    pub agent: AgentName,
    /// Why it must end.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Where it was seen to work, if it ever was.
    pub handle: Option<RunHandle>,
    /// What could not be ended so far.
    pub survivors: Vec<Survivor>,
    /// Whether a failed dispatch left it.
    pub dispatch_failed: bool,
    /// Whether protected processes among its own were counted already.
    pub skips_counted: bool,
    /// Whether it could not start because its name is somebody else's: its item waits until the name is free.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub name_taken: bool,
}

/// Names once given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// By item.
    pub items: BTreeMap<ItemId, Named>,
    /// The highest run number ever used, by agent.
    pub last_n: BTreeMap<AgentName, u64>,
}

/// The names of one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its part of its agents' names.
    pub slug: String,
    /// The directory name of its workspace.
    pub workspace: String,
    /// How often its agents were started on the day of the latest start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<DayStarts>,
    /// Since when nobody needs that: the item was done, or forgotten before it was. Any start ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// Starts and resumes of one item on one day, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DayStarts {
    /// Which day.
    pub day: Date,
    /// How many.
    pub starts: u32,
}

impl Names {
    /// Starts of an item on that day. A day ahead of it was recorded by a clock that was wrong: its starts count.
    pub(super) fn starts_on(&self, item: &ItemId, day: Date) -> u32 {
        let recorded = self.items.get(item).and_then(|named| named.starts);
        recorded.filter(|recorded| recorded.day >= day).map_or(0, |recorded| recorded.starts)
    }

    pub(super) fn count_start(&mut self, item: &ItemId, day: Date) {
        let starts = self.starts_on(item, day).saturating_add(1);
        if let Some(named) = self.items.get_mut(item) {
            named.starts = Some(DayStarts { day, starts });
        }
    }

    /// A start that was counted and is known not to have been tried.
    pub(super) fn give_start_back(&mut self, item: &ItemId) {
        if let Some(starts) = self.items.get_mut(item).and_then(|named| named.starts.as_mut()) {
            starts.starts = starts.starts.saturating_sub(1);
        }
    }

    /// A person gives the item all starts of the day back.
    pub(super) fn forget_starts(&mut self, item: &ItemId) {
        if let Some(named) = self.items.get_mut(item) {
            named.starts = None;
        }
    }

    pub(super) fn raise(&mut self, run: &RunId) {
        let last = self.last_n.entry(run.agent.clone()).or_default();
        *last = (*last).max(run.n);
    }

    /// That nobody needs an item's workspace any more, unless that was so before.
    pub(super) fn finish(&mut self, item: &ItemId, at: Timestamp) {
        if let Some(named) = self.items.get_mut(item) {
            named.finished_at.get_or_insert(at);
        }
    }

    /// That something works in an item's workspace, or soon does.
    pub(super) fn take_up(&mut self, item: &ItemId) {
        if let Some(named) = self.items.get_mut(item) {
            named.finished_at = None;
        }
    }

    /// The run that this agent would have next.
    pub fn next_run(&self, agent: &AgentName) -> RunId {
        RunId { agent: agent.clone(), n: self.last_n.get(agent).copied().unwrap_or(0).saturating_add(1) }
    }
}

/// That a person wants nothing started or resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paused {
    /// Why.
    pub because: String,
    /// Since when, and how long: no clock that is set changes what a person said.
    pub deadline: Deadline,
}

impl Paused {
    /// Whether it holds at that instant.
    pub fn holds(&self, now: &ClockReading) -> bool {
        !self.deadline.is_over(now)
    }

    /// Since when.
    pub fn since(&self) -> Timestamp {
        self.deadline.set.at
    }

    /// Until when; `None`: until a person says so.
    pub fn until(&self) -> Option<Timestamp> {
        self.deadline.end()
    }
}

/// Something that starts nothing for now: a role or a harness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoolOff {
    /// Why.
    pub because: String,
    /// When it began. Tells which runs began later.
    pub begun: ClockReading,
    /// Until when; `None`: until its reason is gone. A harness whose time is over is tried with one run, and the
    /// record stays until that has ended.
    pub until: Option<Timestamp>,
    /// How many failures in a row led to it.
    pub streak: u32,
    /// Fingerprint of the credentials that were refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

impl CoolOff {
    /// Whether nothing may be started at that instant.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.until.is_none_or(|until| until > at)
    }

    /// Whether a run began after this cool-off did. Where the clocks can't tell, it did not.
    pub fn precedes(&self, run_since: Option<&ClockReading>, now: &ClockReading) -> bool {
        self.begun.precedes(run_since, now)
    }
}

/// The scope of the cool-off that a fault of the machine begins: it holds for every role.
pub const MACHINE: &str = "machine";

/// Charged failures of all items together since anything ended well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureStreak {
    /// How many.
    pub failures: u32,
    /// When the first of them was seen.
    pub since: Timestamp,
    /// The item of the last one.
    pub item: ItemId,
    /// What happened to it.
    pub because: String,
}

/// Refusals of a role's credentials in a row, since a run of it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusals {
    /// How many. Runs that were under way at the latest one are no further refusal.
    pub streak: u32,
    /// When the latest was seen.
    pub at: ClockReading,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What was ever counted. Units are runs; survivors and skips count once per hand-off.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            pub(super) fn all(&self) -> impl Iterator<Item = u64> {
                [$(self.$name,)*].into_iter()
            }
        }
    };
}

counters! {
    /// Runs whose claim was seen.
    dispatched,
    /// Starts that a live or unseen run of the same agent suppressed.
    dispatch_duplicate_suppressed,
    /// Charged failures that were backed off.
    dispatch_backoffs,
    /// Items that a rule parked.
    dispatch_terminal_failures,
    /// Runs that a failed dispatch handed off.
    dispatch_failure_reaper_handoffs,
    /// Those of them whose processes could not all be ended at the first try.
    dispatch_failure_reaper_handoff_failures,
    /// Hand-offs that ended with zero survivors.
    handoffs_reaped,
    /// Runs that went on with a session and whose claim was seen.
    resumes,
    /// Resumes whose name was taken.
    resume_name_collisions,
    /// Resumes whose session was gone.
    sessions_not_found,
    /// Runs whose left-over processes a tick ended.
    agents_reaped,
    /// Hand-offs with processes that could not be ended.
    survivors,
    /// Recorded processes whose pid was somebody else's by then.
    pid_identity_mismatches,
    /// Hand-offs with a process that was left alone because it is protected.
    protected_pid_skips,
    /// Runs fenced off because nobody had claimed them in time.
    fences,
    /// Ticks that died in the middle.
    crashed_ticks,
}

impl ItemRecord {
    /// Whether a person has said something that not every agent has heard yet.
    pub fn is_answered(&self) -> bool {
        self.messages.iter().any(|message| !message.heard)
    }

    pub(super) fn new(slug: String) -> ItemRecord {
        ItemRecord {
            key: String::new(),
            slug,
            origin: String::new(),
            state: ItemPhase::Waiting,
            attempts: 0,
            due_at: None,
            hash: None,
            content_hash: None,
            dispatch: 0,
            outbox: Outbox::default(),
            uncharged_streak: 0,
            uncharged_at: None,
            taken: None,
            parked_by: None,
            last: None,
            missing_reads: 0,
            missing_since: None,
            gone: None,
            continued: 0,
            messages: Vec::new(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}
