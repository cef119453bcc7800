//! Whether a launcher lives, also one in another pid namespace: by the lock of its agent, which every namespace sees.

use std::time::{Duration, Instant};

use super::LocalFleet;
use super::launcher_life::LauncherLife;
use crate::durable::{Lock, Probe, atomic};
use crate::model::{LocalLauncher, Process, Reap, RunHandle, RunId};
use crate::process::identity::{self, Life};
use crate::process::wait;

/// How often a tick looks whether a launcher that no pidfd can be had of has let go of its lock.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl LocalFleet {
    /// Whether the launcher of a run lives.
    pub(super) fn life(&self, run: &RunId, launcher: &LocalLauncher) -> LauncherLife {
        if identity::is_elsewhere(&launcher.process, &self.host) {
            return self.life_elsewhere(run, &launcher.process);
        }
        match identity::launcher_life(launcher, &self.host) {
            Life::Alive => LauncherLife::Alive,
            Life::Dead => LauncherLife::Dead,
            Life::OtherBoot => LauncherLife::OtherBoot,
            Life::Unknown(why) => LauncherLife::Unknown(why),
        }
    }

    /// The same, of a handle.
    pub(super) fn life_of(&self, run: &RunId, handle: &RunHandle) -> LauncherLife {
        let RunHandle::Local(launcher) = handle;
        self.life(run, launcher)
    }

    /// A launcher holds the lock of its agent while it lives, and its identity stands in the lock before its claim does.
    fn life_elsewhere(&self, run: &RunId, launcher: &Process) -> LauncherLife {
        let unknown = |why: &dyn std::fmt::Display| {
            let pid = launcher.pid;
            LauncherLife::Unknown(format!(
                "process {pid} belongs to another pid or time namespace, and {why}"
            ))
        };
        let probe = atomic::open_dir(&self.live).and_then(|live| Lock::probe(live, &run.agent.0));
        match probe {
            Ok(Probe::Held(Some(holder))) if holder == *launcher => {
                // By its age it could be taken for late, and its item be charged.
                match identity::has_other_clocks(launcher, &self.host) {
                    true => unknown(&"its clock is not the one of this namespace"),
                    false => LauncherLife::Alive,
                }
            }
            Ok(Probe::Held(None)) => unknown(&"the lock of its agent does not say which process holds it"),
            Ok(Probe::Held(Some(_)) | Probe::Free) => LauncherLife::DeadElsewhere,
            Err(error) => unknown(&format_args!("the lock of its agent can't be looked at: {error}")),
        }
    }

    /// Whether a launcher lives where no signal of this namespace reaches it.
    pub(super) fn lives_elsewhere(&self, reap: &Reap) -> bool {
        reap.handle.as_ref().is_some_and(|RunHandle::Local(launcher)| {
            identity::is_elsewhere(&launcher.process, &self.host)
                && self.life(&reap.run, launcher) == LauncherLife::Alive
        })
    }

    /// Waits until all these launchers of other namespaces have let go of their locks, or that instant.
    pub(super) fn wait_elsewhere(&self, reaps: &[&Reap], until: Instant) {
        while reaps.iter().any(|reap| self.lives_elsewhere(reap)) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            wait::pause(LOOK_EVERY.min(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::fleet::Fleet;
    use crate::model::{Claim, Claimed, RunObservation, RunQuery};
    use crate::process::identity::Host;
    use crate::run::directory::RunDir;
    use crate::{clock, config};

    #[test]
    fn run_claimed_on_another_host_is_unknown_and_not_rebooted() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("runs/a-impl.1");
        fs::DirBuilder::new().recursive(true).create(&path).unwrap();
        let host = Host { machine_id: Some("0".repeat(32)), ..Host::read().unwrap() };
        let now = clock::moment(&host.boot_id);
        let process = Process { boot_id: "another".to_owned(), ..identity::own(&host).unwrap() };
        let handle = RunHandle::Local(LocalLauncher { process, machine_id: Some("1".repeat(32)) });
        let claimed = Claimed { handle: handle.clone(), since: now.clone() };
        RunDir::new(path).link_claim(&Claim::Launcher(Box::new(claimed))).unwrap();
        let role = "[[role]]\nname = \"r\"\nsuffix = \"r\"\ncommand = [\"agent\"]\n";
        let config = config::parse(role, Path::new("/f/factory.toml"), &|_| Err(String::new())).unwrap();
        let fleet = LocalFleet::new(&config, state.path(), "lineage", host, now, BTreeMap::new());
        let run: RunId = "a-impl.1".parse().unwrap();
        // Also of a run that is on record with its launcher.
        for handle in [None, Some(handle)] {
            let queries = [RunQuery { run: run.clone(), handle, name_taken: false, done_when: None }];
            let until = Instant::now() + Duration::from_secs(60);
            let observed = fleet.observe(&queries, &BTreeMap::new(), until);
            match &observed.known().unwrap().runs[&run] {
                RunObservation::Unknown(why) => assert!(why.contains("another host"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
