//! Ending runs of which nothing can be written down: the last resort of `stop` on a full disk.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::LocalFleet;
use crate::fleet::patience::LAUNCHER_SLACK;
use crate::model::{Claim, Reap, RunHandle, RunId};
use crate::process::identity::{self, Life};
use crate::process::scan::Scan;
use crate::process::wait;

/// How soon it is looked again whether the processes of a run have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl LocalFleet {
    /// Has the launchers of these runs end them, all within one grace. The answer: the runs of which nothing is left but
    /// perhaps their launchers, which wait for room to write down how the agents ended.
    ///
    /// The registry knows nothing of it: the next tick takes these runs for stopped by somebody else.
    ///
    /// # Errors
    ///
    /// That it can't be told which processes are protected, or which run.
    pub(super) fn end_without_record(&self, runs: &[(RunId, Option<RunHandle>)]) -> Result<Vec<RunId>> {
        let guard = self.guard()?;
        let known = runs.iter().filter_map(|(run, launcher)| self.to_end(run.clone(), launcher.clone()));
        let reaps: Vec<_> = known.collect();
        for reap in &reaps {
            self.stop_launcher(reap, &guard);
        }
        for (run, _) in runs {
            // After the signal: a launcher that saw the file first would take the signal for a second stop, which cuts its
            // after_run hook. An empty file takes an inode, which there may be.
            if let Err(error) = self.run_dir(run).ask_to_stop() {
                log::info!("{error:#}");
            }
        }
        let until = Instant::now() + self.settings.grace + LAUNCHER_SLACK;
        loop {
            let scan = Scan::take()?;
            let ended = reaps.iter().filter(|reap| !self.has_processes(reap, &scan));
            let ended: Vec<_> = ended.map(|reap| reap.run.clone()).collect();
            if ended.len() == reaps.len() || Instant::now() >= until {
                return Ok(ended);
            }
            wait::pause(LOOK_AGAIN);
        }
    }

    /// Whether anything below the launcher of a run lives. Each process of a run is: its launcher is a subreaper.
    fn has_processes(&self, reap: &Reap, scan: &Scan) -> bool {
        let Some(RunHandle::Local(launcher)) = &reap.handle else { return true };
        let lives = |pid: &u32| scan.get(*pid).is_some_and(|entry| !entry.is_dead());
        match identity::launcher_life(launcher, &self.host) {
            Life::Alive => scan
                .descendants(launcher.process.pid)
                .iter()
                .filter(|pid| **pid != launcher.process.pid)
                .any(lives),
            // One that was killed looked after nothing: what it left is for a reap to find.
            Life::Dead => !self.swept_by_launcher(reap),
            Life::OtherBoot => false,
            Life::Unknown(_) => true,
        }
    }

    /// A run whose launcher is known: on record, or by its claim.
    fn to_end(&self, run: RunId, handle: Option<RunHandle>) -> Option<Reap> {
        let dir = self.run_dir(&run);
        let claimed = || match dir.open().ok()??.claim().ok()?? {
            Claim::Launcher(claimed) => Some(claimed.handle),
            Claim::FencedBy(_) | Claim::Refused(_) => None,
        };
        let handle = handle.or_else(claimed)?;
        Some(Reap { run, handle: Some(handle), survivors: Vec::new(), spares_hook: true })
    }
}
