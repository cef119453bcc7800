//! What became of a plan's effects.

use super::{FailureClass, Survivor};

/// What became of one decision's effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// The launcher was started. Whether the run runs is for a later observation.
    Tried,
    /// It is certain that nothing was started.
    NotStarted {
        /// `Launch`, `Infra`, `Machine` or `NameTaken`.
        class: FailureClass,
        /// What failed, and what to do.
        error: String,
    },
    /// It was not tried, and so did not happen: time, a signal, or an earlier failure in its group.
    NotTried(&'static str),
    /// The run can never start now.
    FenceWon,
    /// A launcher had been faster: the run exists.
    FenceLost,
    /// The run can never start now, and processes of it live or could not be looked for: it ran.
    FencedLate,
    /// What was left of a run was ended, or not.
    Reaped(Reaped),
    /// The tracker knows.
    Told,
    /// It failed; a later tick tries again where that makes sense.
    Failed(String),
}

impl Happened {
    /// Whether nothing of it has to be tried again.
    pub fn is_as_meant(&self) -> bool {
        match self {
            Happened::NotStarted { .. } | Happened::NotTried(_) | Happened::Failed(_) => false,
            Happened::Reaped(reaped) => reaped.survivors.is_empty(),
            Happened::Tried
            | Happened::FenceWon
            | Happened::FenceLost
            | Happened::FencedLate
            | Happened::Told => true,
        }
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signalled {
    /// Which one.
    pub pid: u32,
    /// Names of signals, in order.
    pub signals: Vec<&'static str>,
}

/// A process that was left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
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
