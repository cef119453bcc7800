//! By what a process is known to belong to a run.
//!
//! It is the launcher; or carries the run's whole marker in the environment that it was started with; or has
//! the resource limit that stands for the run ([`limit`]); or is in the run's control group ([`super::super::cgroup`]);
//! or its parent belongs. Each alone is enough, for each can be missing: an environment is wiped, a limit lowered, a
//! parent dead, and a group needs a machine that has them. Command line, session and process group prove nothing.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::target::Target;
use crate::process::cgroup::Cgroup;
use crate::process::limit;
use crate::process::scan::{self, Entry, RunMarker};

/// Why a process belongs to a target, which is told by its index.
pub(super) enum Evidence {
    /// It was seen to belong before.
    Known(usize),
    Launcher(usize),
    Marker(usize),
    Limit(usize),
    Cgroup(usize),
    Child(usize),
}

impl Evidence {
    pub(super) fn target(&self) -> usize {
        match *self {
            Evidence::Known(target)
            | Evidence::Launcher(target)
            | Evidence::Marker(target)
            | Evidence::Limit(target)
            | Evidence::Cgroup(target)
            | Evidence::Child(target) => target,
        }
    }

    /// Whether it passes from a process to what that starts, whatever either of them does.
    pub(super) fn is_inherited(&self) -> bool {
        matches!(self, Evidence::Marker(_) | Evidence::Limit(_) | Evidence::Cgroup(_))
    }
}

/// What to look for, each with the index of its target.
#[derive(Default)]
pub(super) struct Clues<'a> {
    by_marker: HashMap<&'a [u8], usize>,
    by_limit: HashMap<u64, usize>,
    /// Launchers by pid, with their start ticks: more than one, where pids came round.
    by_launcher: HashMap<u32, Vec<(usize, u64)>>,
    cgroups: Vec<(usize, &'a Cgroup)>,
}

impl<'a> Clues<'a> {
    /// Looks for the processes of a target from now on.
    pub(super) fn add(&mut self, index: usize, target: &'a Target) {
        self.by_marker.insert(target.marker.as_bytes(), index);
        self.by_limit.insert(limit::value(&target.marker), index);
        if let Some(launcher) = &target.launcher {
            self.by_launcher.entry(launcher.pid).or_default().push((index, launcher.start_ticks));
        }
        self.cgroups.extend(target.cgroup.as_ref().map(|cgroup| (index, cgroup)));
    }

    /// Every target whose processes are looked for.
    pub(super) fn targets(&self) -> BTreeSet<usize> {
        self.by_marker.values().copied().collect()
    }

    /// What a live process itself shows. `undecided` is set where it could not be told, for it was replacing its
    /// program all the time.
    pub(super) fn carried(&self, entry: &Entry, undecided: &mut bool) -> Option<Evidence> {
        if let Some(&(target, _)) = self.launched_as(entry.pid).find(|(_, ticks)| *ticks == entry.start_ticks)
        {
            return Some(Evidence::Launcher(target));
        }
        let limited = limit::read(entry.pid).and_then(|value| self.by_limit.get(&value)).copied();
        // A run that was started from within another one may have the other's limit: then its marker decides. With
        // one run to look for there is nothing to decide, and no exec to wait for.
        if let Some(target) = limited
            && self.by_marker.len() == 1
        {
            return Some(Evidence::Limit(target));
        }
        match scan::run_marker(entry.pid) {
            RunMarker::Is(marker) => self.by_marker.get(marker.as_slice()).copied().map(Evidence::Marker),
            RunMarker::Absent => None,
            RunMarker::ExecUnderWay => {
                *undecided |= limited.is_none();
                None
            }
        }
        .or(limited.map(Evidence::Limit))
    }

    /// Live processes in the groups of the targets; and the targets of which one was there and has gone meanwhile.
    pub(super) fn in_groups(&self) -> (Vec<(Entry, usize)>, BTreeSet<usize>) {
        let (mut found, mut gone) = (Vec::new(), BTreeSet::new());
        for (target, cgroup) in &self.cgroups {
            let listed = cgroup.pids();
            if listed.is_empty() {
                continue;
            }
            let read = |pid: &u32| Entry::read(*pid).ok().flatten().filter(|entry| !entry.is_dead());
            let entries: Vec<Entry> = listed.iter().filter_map(read).collect();
            // The first list told pids, and each may have changed hands before it was read. Who had it then and has it
            // when it is identified was in the group when this list was made.
            let still: HashSet<u32> = cgroup.pids().into_iter().collect();
            let entries: Vec<_> = entries.into_iter().filter(|entry| still.contains(&entry.pid)).collect();
            if entries.len() < listed.len() {
                gone.insert(*target);
            }
            found.extend(entries.into_iter().map(|entry| (entry, *target)));
        }
        (found, gone)
    }

    /// Whether a process bears the inherited marks of a target.
    pub(super) fn is_marked(&self, pid: u32, target: usize) -> bool {
        let bears = |marker: &[u8]| self.by_marker.get(marker) == Some(&target);
        limit::read(pid).is_some_and(|value| self.by_limit.get(&value) == Some(&target))
            || matches!(scan::run_marker(pid), RunMarker::Is(marker) if bears(&marker))
            || self.cgroups.iter().any(|(index, cgroup)| *index == target && cgroup.pids().contains(&pid))
    }

    /// The targets whose launcher had the pid that is somebody else's now.
    pub(super) fn taken_over(&self, entry: &Entry) -> Vec<usize> {
        self.launched_as(entry.pid)
            .filter(|(_, ticks)| *ticks != entry.start_ticks)
            .map(|(target, _)| *target)
            .collect()
    }

    fn launched_as(&self, pid: u32) -> impl Iterator<Item = &(usize, u64)> {
        self.by_launcher.get(&pid).into_iter().flatten()
    }
}
