//! Run directories that are not on record: a bounded number of them is looked at by one tick.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::LocalFleet;
use crate::model::{AgentName, RunId, RunObservation, RunQuery, UnrecordedRun};
use crate::run::directory::RunFiles;
use crate::run::spec::Spec;

/// The most that one tick looks at. Each may cost two syncs to fence, and two more to sweep for: 10 s for this many.
const LOOKS_MAX: usize = 500;

/// The most runs that one tick has to do with, those on record included. Above that it only looks at one more: hand-offs
/// that are not ended yet must not pile up.
const RUNS_MAX: usize = 4 * LOOKS_MAX;

/// What a look found, and by agent how many directories it left.
type Looked = (Vec<UnrecordedRun>, BTreeMap<AgentName, usize>);

impl LocalFleet {
    /// Directories in `runs/` with a number above what is known of their agent, in the order in which they are looked at,
    /// and how many of them now.
    pub(super) fn unrecorded(
        &self,
        asked: &[RunQuery],
        known: &BTreeMap<AgentName, u64>,
        until: Instant,
    ) -> Result<(Vec<RunId>, usize)> {
        let listing = || format!("cannot list {}", self.runs.display());
        let entries = match fs::read_dir(&self.runs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Default::default()),
            Err(error) => return Err(error).with_context(listing),
        };
        let asked: BTreeSet<&RunId> = asked.iter().map(|queries| &queries.run).collect();
        let mut runs = Vec::new();
        for entry in entries {
            let entry = entry.with_context(listing)?;
            if Instant::now() >= until {
                bail!("{}: the tick's deadline came first", listing());
            }
            // What is no directory was never a run, whoever put it there.
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let Some(run) = entry.file_name().to_str().and_then(|name| name.parse::<RunId>().ok()) else {
                continue;
            };
            let is_known = known.get(&run.agent).is_some_and(|last| run.n <= *last);
            if !is_known && run.may_be_found() && !asked.contains(&run) {
                runs.push(run);
            }
        }
        let most = LOOKS_MAX.min(RUNS_MAX.saturating_sub(asked.len())).max(1);
        Ok((in_turn(runs), most))
    }

    /// Looks at the first of them, for at most half of the time that is left: the other half is for what comes of it. Always
    /// at one, so that each tick makes progress.
    pub(super) fn look_at_unrecorded(
        &self,
        (found, most): (Vec<RunId>, usize),
        runs: &mut BTreeMap<RunId, RunObservation>,
        until: Instant,
    ) -> Result<Looked> {
        let begun = Instant::now();
        let end = begun + until.saturating_duration_since(begun) / 2;
        let (mut unrecorded, mut unexamined) = (Vec::new(), BTreeMap::new());
        for run in found {
            if unrecorded.len() >= most || !unrecorded.is_empty() && Instant::now() >= end {
                *unexamined.entry(run.agent).or_default() += 1;
                continue;
            }
            let files = self.run_dir(&run).open()?;
            let spec = files.as_ref().map_or(Ok(None), RunFiles::whole_spec)?;
            let is_ours = |spec: &Spec| spec.run.id == run && spec.lineage == self.lineage;
            let ours = spec.filter(|spec| is_ours(spec) && spec.is_countable());
            let done_when = ours.as_ref().map(|spec| spec.run.done_when);
            let query = RunQuery { run: run.clone(), handle: None, name_taken: false, done_when };
            runs.insert(run.clone(), self.sight(&query));
            unrecorded.push(UnrecordedRun { run, spec: ours.map(Into::into) });
        }
        unrecorded.sort_by(|a, b| a.run.cmp(&b.run));
        Ok((unrecorded, unexamined))
    }
}

/// The lowest number of each agent first, then the second of each: an agent of many directories keeps no other waiting.
fn in_turn(mut runs: Vec<RunId>) -> Vec<RunId> {
    runs.sort();
    let mut turns: Vec<(usize, RunId)> = Vec::with_capacity(runs.len());
    for run in runs {
        let turn = turns.last().filter(|(_, last)| last.agent == run.agent).map_or(0, |(turn, _)| turn + 1);
        turns.push((turn, run));
    }
    // Stable: within a turn the agents stay in order.
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, run)| run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(names: &[&str]) -> Vec<RunId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    // covers: P25
    #[test]
    fn agents_take_turns_lowest_number_first() {
        let found = runs(&["b-impl.3", "a-impl.10", "a-impl.9", "a-impl.11", "b-impl.2", "c-impl.1"]);
        let turns = runs(&["a-impl.9", "b-impl.2", "c-impl.1", "a-impl.10", "b-impl.3", "a-impl.11"]);
        assert_eq!(in_turn(found), turns);
    }
}
