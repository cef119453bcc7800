//! What agents do next by themselves.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What an agent does next by itself, outside its item's next dispatch. One run does all that its agent has pending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowUp {
    /// Why.
    pub reason: FollowUpReason,
    /// True: its session goes on. False: it alone starts again, in the same dispatch.
    pub resume: bool,
    /// What its session is told besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Identifies what happened outside. What a run was started for is no reason to start another run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Not before.
    pub due_at: Timestamp,
}

/// Why an agent goes on by itself. Each reason has a bound of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowUpReason {
    /// Its run failed: `[attempts] resumes_max` per session.
    Failure,
    /// A person answered: one for each order of a person.
    Answer,
    /// Its run ended before its work did: the first one is free, the attempts bound the others.
    Unfinished,
    /// Its item is not done: `[attempts] max`.
    NotDone,
}

impl FollowUp {
    /// A follow-up without a text, and of nothing outside.
    pub fn new(reason: FollowUpReason, resume: bool, due_at: Timestamp) -> FollowUp {
        FollowUp { reason, resume, text: None, fingerprint: None, due_at }
    }

    /// The same once more: the run that was to do them never ran.
    pub fn again(before: &[FollowUp], resume: bool, due_at: Timestamp) -> Vec<FollowUp> {
        if before.is_empty() {
            return vec![FollowUp::new(FollowUpReason::Failure, resume, due_at)];
        }
        before.iter().map(|one| FollowUp { resume, due_at, ..one.clone() }).collect()
    }

    /// Whether `[attempts] resumes_max` counts a resume for these follow-ups.
    pub fn counts_as_resume(follow_ups: &[FollowUp]) -> bool {
        follow_ups.is_empty() || follow_ups.iter().any(|one| one.reason == FollowUpReason::Failure)
    }

    /// When the first of them is due; `None` of none.
    pub fn first_due(follow_ups: &[FollowUp]) -> Option<Timestamp> {
        follow_ups.iter().map(|one| one.due_at).min()
    }
}
