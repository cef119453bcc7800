//! What can be seen from one look outside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::{
    AgentName, Claimed, ClockReading, DoneWhen, Exit, ItemSnapshot, Observed, Output, Refusal, Reported,
    Room, RunHandle, RunId, RunSpec, SourceView, Survivor,
};

/// What the fleet can see of one run.
///
/// `claim` is there when the claim was read: for a run that is on record with its launcher it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunObservation {
    /// The fleet has accepted it and not started it yet: nobody can have claimed it, and its start grace does not run.
    Queued,
    /// Nobody has claimed it.
    Unclaimed,
    /// A tick fenced it, looked for its processes and found none: it can never start.
    Fenced,
    /// Its launcher declined to start it.
    Refused(Refusal),
    /// Its launcher lives; the main process has not ended.
    Alive {
        /// The launcher, and since when.
        claim: Option<Claimed>,
        /// What the agent has said so far.
        reported: Reported,
        /// Its launcher is late when the run's deadline passed longer ago than this.
        late_after: Duration,
    },
    /// The main process ended; the launcher is still ending what it left behind.
    Sweeping {
        /// The launcher, and since when.
        claim: Option<Claimed>,
        /// How the main process ended.
        exit: Box<Exit>,
        /// Its launcher is late when the main process ended longer ago than this.
        late_after: Duration,
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
    /// Its launcher ran in another pid namespace of this boot, let go of its lock and left no receipt of a sweep: its
    /// container was replaced. The processes of that namespace can't be seen from here.
    Replaced(Box<Ended>),
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
    pub reported: Reported,
    /// Its last output.
    pub output: Output,
    /// Why the `after_run` hook did not end well; `None`: it did, or there is none.
    pub after_run: Option<String>,
}

impl RunObservation {
    /// The launcher that was seen to hold the claim.
    pub fn claim(&self) -> Option<&Claimed> {
        match self {
            RunObservation::Alive { claim, .. }
            | RunObservation::Sweeping { claim, .. }
            | RunObservation::Orphaned { claim } => claim.as_ref(),
            RunObservation::Ended(ended)
            | RunObservation::Rebooted(ended)
            | RunObservation::Replaced(ended) => ended.claim.as_ref(),
            RunObservation::Queued
            | RunObservation::Unclaimed
            | RunObservation::Fenced
            | RunObservation::Refused(_)
            | RunObservation::Unknown(_) => None,
        }
    }
}

/// A run directory that the registry knows nothing of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnrecordedRun {
    /// Which run.
    pub run: RunId,
    /// What it was to be, where its `spec.json` can be read.
    pub spec: Option<UnrecordedSpec>,
}

/// What `spec.json` says of the run that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnrecordedSpec {
    /// What identifies and bounds the run.
    pub spec: RunSpec,
    /// The item as the run is given it.
    pub snapshot: ItemSnapshot,
    /// When it was asked for.
    pub since: ClockReading,
}

/// Everything the fleet can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetView {
    /// One sighting for each run that was asked for, and for each stray.
    pub runs: BTreeMap<RunId, RunObservation>,
    /// Runs that nobody asked for, numbered above what the registry knows.
    pub unrecorded: Vec<UnrecordedRun>,
    /// Agents that have more such runs than one look takes, and how many were not looked at. Those that were have the lowest
    /// numbers.
    pub unexamined: BTreeMap<AgentName, usize>,
    /// Names that something else than a run of this factory has in the fleet, and what that is.
    pub names_held: BTreeMap<AgentName, String>,
}

/// A directory in `runs/`, from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTrace {
    /// Whose it is.
    pub run: RunId,
    /// When something was last put into it or taken out; for a run that is over, when it ended.
    pub changed_at: Timestamp,
}

/// What a run is, as far as the registry knows; what the fleet is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunQuery {
    /// Which run.
    pub run: RunId,
    /// Where it was seen to work, if it ever was.
    pub handle: Option<RunHandle>,
    /// Whether it could not start for its name's sake: then it must be told whether that is free by now.
    pub name_taken: bool,
    /// The rule that the run was given for its item to be done; `None` where the registry no longer knows it. A launcher
    /// asks nothing that its run was not given.
    pub done_when: Option<DoneWhen>,
}

/// What a tick reads of its own machine and state before it looks at anything else.
#[derive(Clone, Debug, Default)]
pub struct LocalFacts {
    /// What is free where the state and the workspaces lie.
    pub room: Room,
    /// By role: variables that it names and that are not set.
    pub missing_env: BTreeMap<String, Vec<String>>,
    /// By role: the program that it needs and that is not there, and where it was looked for.
    pub missing_programs: BTreeMap<String, String>,
    /// By role: a fingerprint of everything that its agents could use as credentials.
    pub credentials: BTreeMap<String, String>,
    /// Which factory.
    pub lineage: String,
    /// Why the file of variables for every agent can't be used.
    pub env_error: Option<String>,
    /// The folder of workspaces.
    pub workspaces: PathBuf,
}

/// One look at everything outside.
#[derive(Clone, Debug)]
pub struct World {
    /// When it was taken.
    pub now: ClockReading,
    /// The items.
    pub source: Observed<SourceView>,
    /// The runs.
    pub fleet: Observed<FleetView>,
    /// What was read of this machine and of the state before the look.
    pub local: LocalFacts,
    /// Workspaces that another factory has, each with the reason for people.
    pub workspaces_taken: BTreeMap<String, String>,
}
