//! Where agents run. One trait at the impure edge, beside its one real implementation.

pub mod broker;
pub mod local;
pub mod patience;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::model::{
    AgentName, FenceOutcome, FleetView, Launch, Observed, Reap, ReapOutcome, RunId, RunPreview, RunQuery,
    StartOutcome,
};

/// Why a start is not tried whose deadline has passed.
const TOO_LATE: &str = "the tick's deadline came before the start";

/// A place where agents run.
///
/// An answer of [`start`](Fleet::start) is never proof of life: only [`observe`](Fleet::observe) tells
/// what runs.
pub trait Fleet {
    /// Looks at these runs, and for run directories numbered above `known`.
    fn observe(
        &self,
        queries: &[RunQuery],
        known: &BTreeMap<AgentName, u64>,
        until: Instant,
    ) -> Observed<FleetView>;

    /// Starts one run, and answers before `until`. `NotStarted` and `NotTried` are certain. After `until` it starts nothing.
    fn start(&self, launch: &Launch, until: Instant) -> StartOutcome;

    /// What a start of this launch would be, for people. Changes nothing.
    fn preview(&self, launch: &Launch) -> RunPreview;

    /// Takes the claim of a run, so that it can never start. `Late` is no answer of this call. It fails while a process
    /// holds the lock of the run's agent.
    fn fence(&self, run: &RunId) -> FenceOutcome;

    /// Of these workspaces those that another factory has, each with the reason for people. `wanted` may stay unasked.
    fn workspaces_taken(&self, wanted: &dyn Fn() -> BTreeSet<String>) -> BTreeMap<String, String> {
        let _ = wanted;
        BTreeMap::new()
    }

    /// Which of these runs have live processes although they were fenced just now: their claims were taken away.
    fn look_for(&self, fenced: &[&RunId]) -> Vec<bool>;

    /// Ends what is left of these runs, all within one shared grace: one outcome for each.
    fn reap(&self, reaps: &[&Reap], until: Instant) -> Vec<ReapOutcome>;
}
