//! Where agents run. One trait at the impure edge, and what each fleet keeps of its runs.

pub mod broker;
pub mod local;
pub mod patience;
pub mod remover;
pub mod run_store;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};

use self::local::LocalFleet;
use self::run_store::RunStore;
use crate::config::{Config, FleetKind};
use crate::model::{
    AgentName, ClockReading, FenceOutcome, FleetView, Launch, Observed, Reap, ReapOutcome, RunHandle, RunId,
    RunPreview, RunQuery, StartOutcome,
};
use crate::process::identity::Host;
use crate::run::env::Vars;

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

    /// The last resort of `stop` on a full disk: has the launchers of these runs end them, all within one grace, and writes
    /// nothing down. The answer: the runs of which nothing is left but perhaps their launchers.
    ///
    /// # Errors
    ///
    /// That nothing was ended: a fleet may not be able to end what is not on record.
    fn end_unrecorded(&self, runs: &[(RunId, Option<RunHandle>)]) -> Result<Vec<RunId>> {
        let _ = runs;
        bail!("this fleet ends nothing that can't be written down")
    }
}

/// Where a fleet is at home: the state directory, and the process that builds it.
#[derive(Clone, Debug)]
pub struct Home {
    /// The state directory.
    pub state: PathBuf,
    /// Which factory.
    pub lineage: String,
    /// What all processes here share.
    pub host: Host,
    /// When this process began to look, for the records of what it starts.
    pub now: ClockReading,
    /// The caller's environment.
    pub vars: Vars,
}

/// The fleet that a configuration names. `only_ends`: it is to end what is on record, for which nobody waits for a broker.
pub fn build(config: &Config, home: Home, only_ends: bool) -> Box<dyn Fleet> {
    let local = local(config, home);
    match &config.fleet.kind {
        FleetKind::Local => Box::new(local),
        FleetKind::Broker(broker) => Box::new(broker::build(local, config, broker, only_ends)),
    }
}

/// What is kept of the runs of the fleet that a configuration names.
pub fn run_store(config: &Config, home: Home) -> Box<dyn RunStore> {
    match &config.fleet.kind {
        // A broker starts launchers of this machine.
        FleetKind::Local | FleetKind::Broker(_) => Box::new(local(config, home)),
    }
}

fn local(config: &Config, home: Home) -> LocalFleet {
    let Home { state, lineage, host, now, vars } = home;
    LocalFleet::new(config, &state, &lineage, host, now, vars)
}
