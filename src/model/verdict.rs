//! What an end means, and what an item waits for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ItemId, RunId};

/// What a run's end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
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
    /// The session to start exists already.
    SessionTaken,
    /// The fleet has an agent of that name already, and it is not ours.
    NameTaken,
    /// The provider is out of capacity, or the account of its share.
    RateLimited,
    /// The provider can't be reached.
    Unreachable,
    /// The provider refuses the credentials.
    Denied,
    /// It asks for a person.
    NeedsInput,
    /// It ended well and did nothing, or did so again and again while its item is not done.
    NoEffect,
    /// It said success while work of it still ran, or without the tools that it needs.
    Unfinished,
    /// Somebody else told its launcher to stop.
    Killed,
    /// The machine, not the agent.
    Infra,
    /// The machine is short of something, or refuses writes: nothing can be started on it for now.
    Machine,
    /// The item used up its starts of the day, whatever became of them.
    Budget,
}

impl FailureClass {
    /// Every one there is.
    pub const ALL: [FailureClass; 19] = [
        FailureClass::Agent,
        FailureClass::Vanished,
        FailureClass::Deadline,
        FailureClass::Stalled,
        FailureClass::Launch,
        FailureClass::Writeback,
        FailureClass::SessionGone,
        FailureClass::SessionTaken,
        FailureClass::NameTaken,
        FailureClass::RateLimited,
        FailureClass::Unreachable,
        FailureClass::Denied,
        FailureClass::NeedsInput,
        FailureClass::NoEffect,
        FailureClass::Unfinished,
        FailureClass::Killed,
        FailureClass::Infra,
        FailureClass::Machine,
        FailureClass::Budget,
    ];

    /// Whether it costs the item an attempt. What is the machine's fault or the provider's, a dead session, and what
    /// needs a person anyway do not. Nor does the first [`FailureClass::Unfinished`] of an agent; each further one does.
    pub fn charged(self) -> bool {
        match self {
            FailureClass::Agent
            | FailureClass::Vanished
            | FailureClass::Deadline
            | FailureClass::Stalled
            | FailureClass::Launch
            | FailureClass::Writeback => true,
            FailureClass::SessionGone
            | FailureClass::SessionTaken
            | FailureClass::NameTaken
            | FailureClass::RateLimited
            | FailureClass::Unreachable
            | FailureClass::Denied
            | FailureClass::NeedsInput
            | FailureClass::NoEffect
            | FailureClass::Unfinished
            | FailureClass::Killed
            | FailureClass::Infra
            | FailureClass::Machine
            | FailureClass::Budget => false,
        }
    }

    /// Whether an agent that its provider answered could have ended so.
    pub fn is_of_agent(self) -> bool {
        matches!(
            self,
            FailureClass::Agent
                | FailureClass::NeedsInput
                | FailureClass::NoEffect
                | FailureClass::Unfinished
        )
    }

    /// Whether the provider is behind it: then everybody who needs it waits, and no item is blamed.
    pub fn of_provider(self) -> bool {
        matches!(self, FailureClass::RateLimited | FailureClass::Unreachable | FailureClass::Denied)
    }

    /// Whether an uncharged failure of this class counts in the streak that parks its item. A cool-off bounds the
    /// failures of a provider and of the machine, and no item can end them.
    pub fn counts_in_streak(self) -> bool {
        !self.charged() && !self.of_provider() && self != FailureClass::Machine
    }

    /// The name in registry, reports and `--class`.
    pub fn name(self) -> &'static str {
        match self {
            FailureClass::Agent => "agent",
            FailureClass::Vanished => "vanished",
            FailureClass::Deadline => "deadline",
            FailureClass::Stalled => "stalled",
            FailureClass::Launch => "launch",
            FailureClass::Writeback => "writeback",
            FailureClass::SessionGone => "session_gone",
            FailureClass::SessionTaken => "session_taken",
            FailureClass::NameTaken => "name_taken",
            FailureClass::RateLimited => "rate_limited",
            FailureClass::Unreachable => "unreachable",
            FailureClass::Denied => "denied",
            FailureClass::NeedsInput => "needs_input",
            FailureClass::NoEffect => "no_effect",
            FailureClass::Unfinished => "unfinished",
            FailureClass::Killed => "killed",
            FailureClass::Infra => "infra",
            FailureClass::Machine => "machine",
            FailureClass::Budget => "budget",
        }
    }
}

/// Why an item is not started now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
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
    /// A person paused all starts.
    Paused,
    /// Too much failed in a row.
    Breaker,
    /// What may be spent in a day is spent.
    Budget,
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
    /// Its workspace belongs to another factory.
    WorkspaceTaken,
    /// Less than `disk_free_min` is free.
    DiskFloor,
    /// The tick's time was up.
    Deadline,
}

impl HoldReason {
    /// The word for it, in reports and public JSON.
    pub fn name(self) -> &'static str {
        match self {
            HoldReason::NotInScope => "not_in_scope",
            HoldReason::AlreadyActive => "already_active",
            HoldReason::Done => "done",
            HoldReason::Backoff => "backoff",
            HoldReason::Parked => "parked",
            HoldReason::Paused => "paused",
            HoldReason::Breaker => "breaker",
            HoldReason::Budget => "budget",
            HoldReason::NoSlot => "no_slot",
            HoldReason::NoLabelSlot => "no_label_slot",
            HoldReason::StartsExhausted => "starts_exhausted",
            HoldReason::CoolingOff => "cooling_off",
            HoldReason::SourceUnknown => "source_unknown",
            HoldReason::FleetUnknown => "fleet_unknown",
            HoldReason::HandoffPending => "handoff_pending",
            HoldReason::Blocked => "blocked",
            HoldReason::WorkspaceTaken => "workspace_taken",
            HoldReason::DiskFloor => "disk_floor",
            HoldReason::Deadline => "deadline",
        }
    }
}

/// An item that waits, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which item.
    pub item: ItemId,
    /// For what.
    pub code: HoldReason,
    /// In words.
    pub because: String,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
}

/// What one rule says of starting an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateVerdict {
    /// The rule: what the item waits for where it holds.
    pub code: HoldReason,
    /// The run that it was asked about; `None`: the item.
    pub run: Option<RunId>,
    /// Whether it keeps that from starting.
    pub holds: bool,
    /// In words.
    pub because: String,
    /// Until when it holds, where that is known.
    pub until: Option<Timestamp>,
}

/// What every rule says of starting one item, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// How many steps of the plan come before them.
    pub after: usize,
    /// One by one.
    pub verdicts: Vec<GateVerdict>,
}
