//! What became of a plan's effects.

use super::{FailureClass, Survivor};

/// What became of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    /// The launcher was started. Whether the run runs is for a later observation.
    Tried,
    /// It is certain that nothing was started.
    NotStarted {
        /// `Launch`, `Infra`, `Machine` or `NameTaken`.
        class: FailureClass,
        /// What failed, and what to do.
        error: String,
    },
    /// The fleet did not try, so that nothing was started.
    NotTried(&'static str),
}

/// What became of a fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceOutcome {
    /// The run can never start now.
    Won,
    /// A launcher had been faster: the run exists.
    Lost,
    /// The run can never start now, and processes of it live or could not be looked for: it ran.
    Late,
    /// Nothing is known; a later tick tries again.
    Failed(String),
}

/// What became of the end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReapOutcome {
    /// What was left of the run was ended, or not.
    Reaped(Reaped),
    /// It failed; a later tick tries again.
    Failed(String),
    /// The fleet left the run alone for now.
    NotTried(&'static str),
}

/// What became of a note for the tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotifyOutcome {
    /// The tracker has it.
    Notified,
    /// It failed; a later tick tries again where that makes sense.
    Failed(String),
}

/// What became of one decision's effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of a start or a resume.
    Start(StartOutcome),
    /// Of a fence.
    Fence(FenceOutcome),
    /// Of a reap.
    Reap(ReapOutcome),
    /// Of a note for the tracker.
    Notify(NotifyOutcome),
    /// It did not happen, for want of time, because of a signal, or after an earlier failure in its group. What a fleet did
    /// not try is made of it as well.
    NotTried(&'static str),
}

impl Outcome {
    /// Whether nothing of it has to be tried again.
    pub fn is_as_meant(&self) -> bool {
        match self {
            Outcome::Reap(ReapOutcome::Reaped(reaped)) => reaped.survivors.is_empty(),
            _ => !self.has_failed(),
        }
    }

    /// Whether it stops the rest of its group.
    pub fn has_failed(&self) -> bool {
        self.error().is_some()
    }

    /// Why it did not happen, for people.
    pub fn error(&self) -> Option<String> {
        match self {
            Outcome::Start(StartOutcome::NotStarted { error, .. })
            | Outcome::Fence(FenceOutcome::Failed(error))
            | Outcome::Reap(ReapOutcome::Failed(error))
            | Outcome::Notify(NotifyOutcome::Failed(error)) => Some(error.clone()),
            Outcome::Start(StartOutcome::NotTried(why))
            | Outcome::Reap(ReapOutcome::NotTried(why))
            | Outcome::NotTried(why) => Some(format!("not tried: {why}")),
            Outcome::Start(StartOutcome::Tried)
            | Outcome::Fence(FenceOutcome::Won | FenceOutcome::Lost | FenceOutcome::Late)
            | Outcome::Reap(ReapOutcome::Reaped(_))
            | Outcome::Notify(NotifyOutcome::Notified) => None,
        }
    }
}

impl From<StartOutcome> for Outcome {
    fn from(outcome: StartOutcome) -> Outcome {
        match outcome {
            StartOutcome::NotTried(why) => Outcome::NotTried(why),
            other => Outcome::Start(other),
        }
    }
}

impl From<FenceOutcome> for Outcome {
    fn from(outcome: FenceOutcome) -> Outcome {
        Outcome::Fence(outcome)
    }
}

impl From<ReapOutcome> for Outcome {
    fn from(outcome: ReapOutcome) -> Outcome {
        match outcome {
            ReapOutcome::NotTried(why) => Outcome::NotTried(why),
            other => Outcome::Reap(other),
        }
    }
}

impl From<NotifyOutcome> for Outcome {
    fn from(outcome: NotifyOutcome) -> Outcome {
        Outcome::Notify(outcome)
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
pub struct StepOutcome {
    /// Index into `Plan::steps`.
    pub step: usize,
    /// What became of it.
    pub outcome: Outcome,
}
