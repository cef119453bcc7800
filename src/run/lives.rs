//! Which launchers of a state live, and whether a process is inside one of its runs: what a command asks that is about
//! to give the state away, or to change it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::durable::{Lock, atomic};
use crate::model::{AgentName, Claim, Process, RunId};
use crate::process::identity::{self, Host, Life};
use crate::process::limit;
use crate::process::scan::{self, Entry, RunMarker};
use crate::run::directory::RunDir;
use crate::run::env::Vars;
use crate::run::spec::marker;

/// More ancestors than any process has.
const ANCESTORS_MAX: usize = 4096;

/// Launchers of a state that are not known to have ended.
#[derive(Debug, Default)]
pub struct Living {
    /// Those that live, for people.
    pub alive: Vec<String>,
    /// Whether there is one of which nobody can tell.
    pub is_unreadable: bool,
}

/// Looks for launchers: by the claims in `runs`, by these launchers on record, and by the locks in `live`.
pub fn launchers(runs: &Path, live: &Path, recorded: &[(RunId, Process)], host: &Host) -> Living {
    let mut living = Living::default();
    let claimed = runs_in(runs).into_iter().filter_map(|run| {
        let files = RunDir::new(runs.join(run.to_string())).open().ok()??;
        match files.claim() {
            Ok(Some(Claim::Launcher(claimed))) => Some((run, claimed.handle.process()?.clone())),
            _ => None,
        }
    });
    let all: BTreeMap<RunId, Process> = claimed.chain(recorded.iter().cloned()).collect();
    for (run, process) in all {
        match identity::life(&process, host) {
            Life::Alive => living.alive.push(format!("{run}, pid {}", process.pid)),
            Life::Unknown(_) => living.is_unreadable = true,
            Life::Dead | Life::OtherBoot => {}
        }
    }
    for name in names(live) {
        match atomic::open_dir(live).and_then(|live| Lock::is_held(live, &name)) {
            Ok(true) => living.alive.push(format!("a launcher of {name}")),
            Ok(false) => {}
            Err(_) => living.is_unreadable = true,
        }
    }
    living
}

/// Whether any process of this machine carries a run of the lineage in its environment.
pub fn is_any_process_of(lineage: &str) -> bool {
    let prefix = marker_prefix(lineage);
    names(Path::new("/proc")).iter().filter_map(|name| name.parse().ok()).any(|pid| {
        match scan::run_marker(pid) {
            RunMarker::Is(marker) => marker.starts_with(prefix.as_bytes()),
            RunMarker::Absent | RunMarker::ExecUnderWay => false,
        }
    })
}

/// The run of this lineage that this process says it belongs to.
pub fn run_of_environment(lineage: &str, vars: &Vars) -> Option<String> {
    let marker = vars.get(std::ffi::OsStr::new("FACTORY_RUN"))?.to_str()?;
    marker.strip_prefix(&marker_prefix(lineage)).map(str::to_owned)
}

/// The run of this lineage that this process is inside of, whatever its environment says: by the limit of a run, or by a
/// launcher among its ancestors. `folder`: of the directories of runs. `runs`: with its launcher, where that is on record.
/// `latest`: of each agent.
pub fn inner_run(
    folder: &Path,
    lineage: &str,
    runs: &BTreeMap<RunId, Option<Process>>,
    latest: &BTreeMap<AgentName, u64>,
    host: &Host,
) -> Option<RunId> {
    if let Some(worn) = limit::own() {
        let latest = latest.iter().map(|(agent, n)| RunId { agent: agent.clone(), n: *n });
        let mut all = runs.keys().cloned().chain(latest);
        if let Some(run) = all.find(|run| limit::value(&marker(lineage, run)) == worn) {
            return Some(run);
        }
    }
    let ancestors = ancestors();
    let launcher = |run: &RunId, process: &Option<Process>| {
        let claimed = || {
            let files = RunDir::new(folder.join(run.to_string())).open().ok()??;
            match files.claim() {
                Ok(Some(Claim::Launcher(claimed))) => claimed.handle.process().cloned(),
                _ => None,
            }
        };
        process.clone().or_else(claimed)
    };
    let is_above =
        |process: &Process| ancestors.contains(&process.pid) && identity::life(process, host) == Life::Alive;
    runs.iter()
        .find(|(run, process)| launcher(run, process).as_ref().is_some_and(is_above))
        .map(|(run, _)| run.clone())
}

fn marker_prefix(lineage: &str) -> String {
    format!("{lineage}/")
}

fn ancestors() -> Vec<u32> {
    let mut found = Vec::new();
    let mut pid = std::process::id();
    while let Ok(Some(entry)) = Entry::read(pid)
        && entry.ppid != 0
        && found.len() < ANCESTORS_MAX
    {
        pid = entry.ppid;
        found.push(pid);
    }
    found
}

/// The runs that have a directory.
pub fn runs_in(folder: &Path) -> Vec<RunId> {
    names(folder).iter().filter_map(|name| name.parse().ok()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
