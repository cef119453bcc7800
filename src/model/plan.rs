//! What a tick will do.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    AgentName, Claimed, FailureClass, FollowUp, Gone, Held, ItemId, ItemSnapshot, RunHandle, RunId, RunSpec,
    Standstill, Survivor, UnrecordedSpec,
};

/// Everything that is needed to start one run, decided beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// What identifies and bounds the run.
    pub spec: RunSpec,
    /// The item as the run is given it.
    pub snapshot: ItemSnapshot,
    /// Program and arguments; `{session}`, `{run}`, `{workspace}` and `{prompt_file}` are still to be replaced.
    pub argv: Vec<String>,
    /// The prompt, rendered.
    pub prompt: String,
    /// Names of variables passed through.
    pub env: Vec<String>,
    /// Fingerprint of the credentials that it is given.
    pub credentials: Option<String>,
    /// Pattern for the session id on stdout.
    pub session_pattern: Option<String>,
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

/// What a run leaves behind, whatever its end means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFacts {
    /// The session that it named.
    pub session: Option<String>,
    /// What it used.
    pub usage: Usage,
    /// What it asks a person.
    pub question: Option<String>,
    /// Whether there was no agent at all, so that no session of it exists.
    pub never_began: bool,
}

/// What a run used, where its harness tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Millionths of a US dollar: whole numbers add up exactly.
    pub micro_usd: Option<u64>,
    /// Tokens read and written.
    pub tokens: Option<u64>,
    /// Tokens of the whole session so far, where the harness counts by session.
    pub session_tokens: Option<u64>,
}

impl Usage {
    /// The cost in US dollars.
    pub fn usd(&self) -> Option<f64> {
        self.micro_usd.map(|micros| micros as f64 / 1e6)
    }
}

/// That nothing is started for now, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooling {
    /// Why, in words.
    pub because: String,
    /// Until when; `None`: until its reason is gone.
    pub until: Option<Timestamp>,
    /// How many failures in a row led to it.
    pub streak: u32,
    /// Fingerprint of the credentials that were refused.
    pub credentials: Option<String>,
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
        /// Whether there may have been an agent that heard its messages: false where its receipt says that none began.
        may_have_heard: bool,
    },
    /// A run directory that the registry had forgotten becomes its agent's current run.
    AdoptUnrecorded {
        /// Which run.
        run: RunId,
        /// What its spec says.
        spec: Box<UnrecordedSpec>,
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
        /// What the run leaves behind.
        facts: RunFacts,
    },
    /// A run ended without success.
    Fail {
        /// Which item.
        item: ItemId,
        /// Which run; `None` where nothing could be started.
        run: Option<RunId>,
        /// What it means.
        class: FailureClass,
        /// What the run leaves behind.
        facts: RunFacts,
        /// What the agent does next by itself.
        follow_ups: Vec<FollowUp>,
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
        class: Option<FailureClass>,
        /// True: only a person brings it back.
        by_person: bool,
    },
    /// A person gives the item a new life: attempts from 0, due now, back in the rotation.
    Retry {
        /// Which item.
        item: ItemId,
        /// Agents that go on with their sessions; all others that are not done start anew.
        go_on: Vec<AgentName>,
        /// What its next runs are to be told; `None` leaves what an earlier retry said.
        message: Option<String>,
    },
    /// Nothing is started or resumed from now on.
    Pause {
        /// Until then; `None`: until a person says so.
        until: Option<Timestamp>,
    },
    /// Starts and resumes go on.
    Unpause,
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
    /// A person gives a hand-off up although processes of it live.
    GiveUp {
        /// Which run.
        run: RunId,
    },
    /// Tell the item's tracker.
    Writeback(Box<Writeback>),
    /// A role or a harness starts nothing for now.
    CoolOff {
        /// `role:<name>`, `login:<role>` or `harness:<name>`.
        scope: String,
        /// `None`: its reason is gone.
        cooling: Option<Cooling>,
    },
}

/// How to end what is left of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reap {
    /// Which run.
    pub run: RunId,
    /// Where it was seen to work, if it ever was.
    pub handle: Option<RunHandle>,
    /// What could not be ended so far.
    pub survivors: Vec<Survivor>,
    /// Whether a launcher that has come to its `after_run` hook is left alone: the hook was promised its time.
    pub spares_hook: bool,
}

impl Action {
    /// The public name of the action (contract: `decisions[].action`).
    pub fn name(&self) -> &'static str {
        match self {
            Action::Adopt { .. } | Action::AdoptUnrecorded { .. } => "adopt",
            Action::Start(_) => "start",
            Action::Resume(_) => "resume",
            Action::Fence { .. } => "fence",
            Action::Stop { .. } => "stop",
            Action::Reap(_) => "reap",
            Action::Done { .. } => "done",
            Action::Fail { .. } => "fail",
            Action::Park { .. } => "park",
            Action::Retry { .. } => "retry",
            Action::Pause { .. } => "pause",
            Action::Unpause => "unpause",
            Action::Forget { .. } | Action::Release { .. } | Action::GiveUp { .. } => "forget",
            Action::Writeback(_) => "writeback",
            Action::CoolOff { .. } => "cool_off",
        }
    }

    /// The run it is about.
    pub fn run(&self) -> Option<&RunId> {
        match self {
            Action::Adopt { run, .. }
            | Action::AdoptUnrecorded { run, .. }
            | Action::Fence { run }
            | Action::Stop { run, .. }
            | Action::Release { run }
            | Action::GiveUp { run } => Some(run),
            Action::Start(launch) | Action::Resume(launch) => Some(&launch.spec.id),
            Action::Reap(reap) => Some(&reap.run),
            Action::Done { run, .. } | Action::Fail { run, .. } => run.as_ref(),
            Action::Park { .. }
            | Action::Retry { .. }
            | Action::Pause { .. }
            | Action::Unpause
            | Action::Forget { .. }
            | Action::Writeback(_)
            | Action::CoolOff { .. } => None,
        }
    }

    /// The failure class or status it carries, for `decisions[].code`.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Action::Fail { class, .. } => Some(class.name()),
            Action::Park { class, .. } => class.map(FailureClass::name),
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
pub enum RecordUpdate {
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
        /// How many times; 1 begins the wait for it.
        reads: u32,
        /// Why it is gone, where that was often and long enough.
        gone: Option<Gone>,
    },
    /// An item is about to be forgotten; where its work was done, that is kept.
    KeepDone {
        /// Which item.
        item: ItemId,
    },
    /// Nothing of a done item may act any more: an index entry takes the place of its records.
    Archive {
        /// Which item.
        item: ItemId,
    },
    /// Something of an item that only the index of done items knows may act again: it gets its record back.
    RestoreDone {
        /// Which item.
        item: ItemId,
    },
    /// An item of the index of done items is in its source with the same title and body: it stays there.
    StillDone {
        /// Which item.
        item: ItemId,
        /// Its key.
        key: String,
        /// Where it was read.
        origin: String,
    },
    /// The directory of a run that nobody remembers, and of which nothing can live: its number is taken.
    Used {
        /// Which run.
        run: RunId,
    },
    /// A fresh start was to be made of an item as it is now, and could not be.
    Given {
        /// Which item.
        item: ItemId,
        /// Its hash.
        hash: String,
        /// Hash of its title and body.
        content_hash: String,
    },
    /// The `after_run` hook of a run did not end well.
    AfterRun {
        /// Which run.
        run: RunId,
        /// Why.
        why: String,
    },
    /// A run ended well, and more than that makes its item done.
    LastSuccess {
        /// Which run.
        run: RunId,
        /// sha256 of the end of its stdout.
        printed: String,
        /// What the command answered that tells whether its item is done.
        answer: Option<i32>,
    },
    /// Every role of an item ended well, and it is not done: they go on.
    NotDone {
        /// Which item.
        item: ItemId,
        /// Agents that go on with their sessions; all others start anew.
        go_on: Vec<AgentName>,
    },
    /// The tracker of an item is owed a note, and can't be told now.
    NoteWanted(Box<Writeback>),
    /// No run of the item goes on and none is kept: starts that were to be made alone wait for its next dispatch.
    Regroup {
        /// Which item.
        item: ItemId,
    },
    /// An item changed in a way that gives it a new life: attempts from 0, due now.
    Renew {
        /// Which item.
        item: ItemId,
        /// What changed.
        because: String,
    },
    /// Another factory has the item's workspace, or has no longer.
    Taken {
        /// Which item.
        item: ItemId,
        /// Why it waits, for people; `None`: it does not.
        because: Option<String>,
    },
    /// A due time lay further ahead than any backoff can: the clock was moved.
    Clamp {
        /// Which item.
        item: ItemId,
        /// The latest it can be.
        due_at: Timestamp,
    },
    /// A person has looked at what failed: it does not count any more against what else there is to start.
    Forgiven,
    /// What was spent was recorded for a day that has not come: the clock was wrong. It counts for today.
    DailySpend,
    /// The budget of the day keeps an item from starting.
    BudgetHolds,
    /// What does not go on by itself is no longer what it was.
    Standstill(Standstill),
    /// The fleet has not started a run yet.
    Queued {
        /// Which run.
        run: RunId,
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
    RecordUpdate(RecordUpdate),
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
            Step::RecordUpdate(_) => None,
        })
    }

    /// Takes steps back that the records refused, with the rest of their groups: none of them may be performed.
    pub fn withdraw(&mut self, refused: Vec<(usize, String)>) {
        let group = |step: &Step| match step {
            Step::Decide(decision) => Some(decision.group),
            Step::RecordUpdate(_) => None,
        };
        let groups: Vec<_> = refused.iter().filter_map(|(index, _)| group(self.steps.get(*index)?)).collect();
        self.steps.retain(|step| group(step).is_none_or(|group| !groups.contains(&group)));
        self.errors.extend(refused.into_iter().map(|(_, why)| why));
    }

    /// Whether nothing was decided.
    pub fn is_empty(&self) -> bool {
        self.decisions().next().is_none()
    }
}
