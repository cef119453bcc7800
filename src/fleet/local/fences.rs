//! Fences: a run that nobody has claimed is kept from ever starting.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use anyhow::{Result, bail};

use super::LocalFleet;
use crate::durable::{Lock, LockError, atomic};
use crate::model::{Claim, CleanupReceipt, FenceOutcome, Process, RunId};
use crate::process::identity;
use crate::process::tree::{self, Target};
use crate::run::directory::{RunDir, SWEPT, sealed};
use crate::run::spec::marker;
use crate::run::tags;

impl LocalFleet {
    /// Links a fence in the place of a run's claim. The lock of its agent comes first: a launcher holds it while it lives,
    /// also one whose claim was taken away. `Ok(false)`: the run is claimed.
    pub(super) fn link_fence(&self, run: &RunId) -> Result<bool> {
        let dir = self.run_dir(run);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.path())?;
        let me = identity::own(&self.host)?;
        match fence(&dir, &self.live, run, &me, &format!("a tick, {}", self.now.at))? {
            Fenced::Won => Ok(true),
            Fenced::Lost => Ok(false),
            Fenced::Locked(holder) => bail!("{run} is not fenced: {}", locked(holder.as_ref())),
        }
    }

    /// Which of these fenced runs have live processes all the same, by the tags that a run leaves. The others get the receipt
    /// of this look, without which a later tick looks again. Where `/proc` can't be searched, all count as having some.
    pub(super) fn find_fenced(&self, runs: &[&RunId]) -> Vec<bool> {
        let target = |run: &&RunId| {
            let marker = marker(&self.lineage, run);
            let cgroup = tags::group(&self.run_dir(run), &marker);
            Target { marker, launcher: None, cgroup }
        };
        let targets: Vec<_> = runs.iter().map(target).collect();
        let found = self.guard().and_then(|guard| Ok(tree::find(&targets, &self.host, &guard)?));
        let found = found.unwrap_or_else(|error| {
            log::warn!("processes of fenced runs can't be looked for: {error:#}");
            vec![true; runs.len()]
        });
        for (run, _) in runs.iter().zip(&found).filter(|(_, lives)| !**lives) {
            if let Err(error) = self.note_fenced(run) {
                log::warn!("{run}: {error:#}");
            }
        }
        found
    }

    /// Not synced: where it is lost, a later tick looks again.
    fn note_fenced(&self, run: &RunId) -> Result<()> {
        let dir = atomic::open_dir(self.run_dir(run).path())?;
        let swept = sealed(&CleanupReceipt { by: "tick".into(), survivors: Vec::new(), after_run: None })?;
        Ok(atomic::replace(dir, SWEPT, &swept, false)?)
    }

    /// The outcome of a fence.
    pub(super) fn fenced(&self, run: &RunId) -> FenceOutcome {
        match self.link_fence(run) {
            Ok(true) => FenceOutcome::Won,
            Ok(false) => FenceOutcome::Lost,
            Err(error) => FenceOutcome::Failed(format!("{error:#}")),
        }
    }
}

/// What became of one fence.
pub(crate) enum Fenced {
    Won,
    /// The run is claimed.
    Lost,
    /// A process holds the lock of the run's agent: its launcher may live.
    Locked(Option<Process>),
}

/// Links a fence under the lock of the run's agent.
pub(crate) fn fence(
    dir: &RunDir,
    live: &std::path::Path,
    run: &RunId,
    me: &Process,
    by: &str,
) -> Result<Fenced> {
    let _lock = match Lock::try_take(atomic::open_dir(live)?, &run.agent.0, me) {
        Ok(lock) => lock,
        Err(LockError::Busy(holder)) => return Ok(Fenced::Locked(holder)),
        Err(error) => return Err(error.into()),
    };
    Ok(if dir.link_claim(&Claim::FencedBy(by.to_owned()))? { Fenced::Won } else { Fenced::Lost })
}

/// Why a run is not fenced.
pub(crate) fn locked(holder: Option<&Process>) -> String {
    let holder = holder.map_or("another process".to_owned(), |holder| format!("process {}", holder.pid));
    format!("its agent's lock is held by {holder}, so that its launcher may live")
}
