//! Agents as processes of this machine, each under a launcher of its own.

pub mod before_remove;
mod discard;
mod ends;
pub(crate) mod fences;
mod last_resort;
mod launcher_life;
mod lives;
mod starts;
mod unrecorded;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use self::launcher_life::LauncherLife;
use super::patience::{LAUNCHER_SLACK, Patience};
use super::{Fleet, TOO_LATE};
use crate::config::{Config, Done, EnvConfig, FleetConfig, Hooks};
use crate::launcher::STOP_FILE_CHECK;
use crate::model::{
    AgentName, Claim, CleanupReceipt, ClockReading, DoneWhen, Ended, Exit, FenceOutcome, FleetView, Launch,
    Observed, Output, Reap, ReapOutcome, Reaped, Reported, RunHandle, RunId, RunObservation, RunPreview,
    RunQuery, Signalled, StartOutcome, Survivor,
};
use crate::process::identity::{self, Host, Life};
use crate::process::protected;
use crate::process::scan::{self, Entry, RunMarker};
use crate::process::signal::{self, Guard, Sent};
use crate::process::tree::{self, Target};
use crate::run::directory::{RunDir, RunFiles, SWEPT};
use crate::run::env::Vars;
use crate::run::spec::marker;
use crate::run::{machine, tags, tmp};
use crate::workspace::ownership::Marks;
use crate::workspace::root;

/// What was killed and still shows after this long sleeps in the kernel: a later tick looks again, this one
/// must not spend its whole time on it.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// So many receipts of a sweep are written also after the tick's deadline, about a second's work: where ending processes
/// takes all the time of each tick, the others' hand-offs would never be cleared.
const RECEIPTS_SURE: usize = 50;

/// Agents of one state directory.
pub struct LocalFleet {
    /// `runs/`
    pub runs: PathBuf,
    /// `live/`
    pub live: PathBuf,
    /// `made/`
    pub made: PathBuf,
    /// The folder of workspaces.
    pub workspaces: PathBuf,
    /// Which factory.
    pub lineage: String,
    /// What all processes here share.
    pub host: Host,
    /// When this tick began, for the records of what it starts.
    pub now: ClockReading,
    /// The caller's environment.
    pub inherited: Vars,
    pub(super) env: EnvConfig,
    pub(super) hooks: Hooks,
    pub(super) settings: FleetConfig,
    pub(super) log_bytes_max: u64,
    done: Vec<String>,
    /// The rule for runs of which the registry does not know theirs.
    done_when: DoneWhen,
    /// Who is never to be signalled by this tick, beside the configured.
    protected: RefCell<BTreeSet<u32>>,
}

impl LocalFleet {
    /// The agents below a state directory.
    pub fn new(
        config: &Config,
        state: &Path,
        lineage: &str,
        host: Host,
        now: ClockReading,
        inherited: Vars,
    ) -> Self {
        LocalFleet {
            runs: state.join("runs"),
            live: state.join("live"),
            made: state.join("made"),
            workspaces: root::folder(config, state),
            lineage: lineage.to_owned(),
            host,
            now,
            inherited,
            env: config.env.clone(),
            hooks: config.hooks.clone(),
            settings: config.fleet.clone(),
            log_bytes_max: config.log_bytes_max,
            done: match &config.done {
                Done::Command(argv) => argv.clone(),
                Done::Exit | Done::Source => Vec::new(),
            },
            done_when: config.done.when(),
            protected: RefCell::default(),
        }
    }

    /// Has these never be signalled either. Only by this tick: by the next one their numbers can be anybody's, and so
    /// they are not told to launchers, which end nothing but what they have started.
    pub(super) fn protect(&self, pids: impl IntoIterator<Item = u32>) {
        self.protected.borrow_mut().extend(pids);
    }

    fn run_dir(&self, run: &RunId) -> RunDir {
        RunDir::new(self.runs.join(run.to_string()))
    }

    pub(super) fn guard(&self) -> Result<Guard> {
        let pids: Vec<u32> =
            self.settings.protected_pids.iter().chain(&*self.protected.borrow()).copied().collect();
        protected::guard(&pids, &self.settings.protected_pidfiles)
    }

    /// What is known of a run. What the system did not let us read is not known: a receipt may stand there.
    fn sight(&self, queries: &RunQuery) -> RunObservation {
        self.try_to_sight(queries).unwrap_or_else(|error| RunObservation::Unknown(format!("{error:#}")))
    }

    fn try_to_sight(&self, queries: &RunQuery) -> Result<RunObservation> {
        let dir = self.run_dir(&queries.run);
        let (claim, handle, files) = match (&queries.handle, dir.open()?) {
            // The claim of a run that is on record with its launcher tells nothing new.
            (Some(handle), files) => (None, handle.clone(), files),
            (None, None) => return Ok(RunObservation::Unclaimed),
            (None, Some(files)) => match files.claim()? {
                None => return Ok(RunObservation::Unclaimed),
                Some(Claim::FencedBy(_)) => return fenced(&files),
                Some(Claim::Refused(refusal)) => return Ok(RunObservation::Refused(refusal)),
                Some(Claim::Launcher(claimed))
                    if self.is_foreign(&files, &queries.run, &claimed.handle)? =>
                {
                    bail!("{} is a run of another factory; move it away", dir.path().display());
                }
                Some(Claim::Launcher(claimed)) => {
                    let handle = claimed.handle.clone();
                    (Some(*claimed), handle, Some(files))
                }
            },
        };
        // Life first, receipts second: a launcher that dies in between has written them by then.
        let RunHandle::Local(launcher) = &handle;
        let life = self.life(&queries.run, launcher);
        let files = files.as_ref();
        let exit = files.map_or(Ok(None), RunFiles::exit)?;
        let reported = || files.map_or_else(|| Ok(Reported::default()), RunFiles::reported);
        let ended = |claim, exit: Option<Exit>, swept: Option<CleanupReceipt>| -> Result<_> {
            let reported = exit.as_ref().map_or_else(reported, |exit| Ok(exit.reported.clone()))?;
            let output = files.map_or_else(|| Ok(Output::default()), RunFiles::output)?;
            let swept = swept.unwrap_or_default();
            let (survivors, after_run) = (swept.survivors, swept.after_run);
            Ok(Box::new(Ended { claim, exit, survivors, reported, output, after_run }))
        };
        let patience = Patience::new(self.settings.grace, queries.done_when.unwrap_or(self.done_when));
        let swept = || {
            // Writing it is a launcher's last act: while it lives, the run is not over.
            let is_dead = matches!(life, LauncherLife::Dead | LauncherLife::DeadElsewhere);
            files.filter(|_| is_dead).map_or(Ok(None), RunFiles::swept)
        };
        Ok(match &life {
            LauncherLife::Unknown(why) => RunObservation::Unknown(why.clone()),
            LauncherLife::OtherBoot => RunObservation::Rebooted(ended(claim, exit, None)?),
            LauncherLife::Alive => match exit {
                Some(exit) => {
                    let late_after = patience.after_end(&exit);
                    RunObservation::Sweeping { claim, exit: Box::new(exit), late_after }
                }
                None => {
                    let late_after = patience.after_deadline();
                    RunObservation::Alive { claim, reported: reported()?, late_after }
                }
            },
            LauncherLife::Dead | LauncherLife::DeadElsewhere => match swept()? {
                Some(swept) => RunObservation::Ended(ended(claim, exit, Some(swept))?),
                None if life == LauncherLife::DeadElsewhere => {
                    RunObservation::Replaced(ended(claim, exit, None)?)
                }
                None => RunObservation::Orphaned { claim },
            },
        })
    }

    /// Whether a run directory came here from another factory: its claim names a launcher that is not ours to
    /// signal. Without a readable spec the launcher itself tells, by its marker, as long as it lives.
    fn is_foreign(&self, files: &RunFiles, run: &RunId, handle: &RunHandle) -> Result<bool> {
        Ok(match files.whole_spec()? {
            Some(spec) => spec.lineage != self.lineage || spec.run.id != *run,
            None => {
                let ours = RunMarker::Is(marker(&self.lineage, run).into_bytes());
                let RunHandle::Local(launcher) = handle;
                let is_alive = identity::launcher_life(launcher, &self.host) == Life::Alive;
                is_alive && scan::run_marker(launcher.process.pid) != ours
            }
        })
    }

    /// TERM to launchers that live; then everybody has the same time to end.
    fn stop_launchers(&self, reaps: &[&Reap], guard: &Guard, until: Instant) -> Vec<Option<Signalled>> {
        let sent: Vec<_> = reaps.iter().map(|reap| self.stop_launcher(reap, guard)).collect();
        let stopping: Vec<_> =
            reaps.iter().zip(&sent).filter(|(_, sent)| sent.is_some()).map(|(reap, _)| *reap).collect();
        let patience = Instant::now() + self.settings.grace + LAUNCHER_SLACK;
        ends::wait(&stopping, patience.min(until), &self.host);
        self.wait_elsewhere(reaps, (patience + STOP_FILE_CHECK).min(until));
        sent
    }

    fn stop_launcher(&self, reap: &Reap, guard: &Guard) -> Option<Signalled> {
        let RunHandle::Local(launcher) = reap.handle.as_ref()?;
        let launcher = &launcher.process;
        if self.lives_elsewhere(reap) {
            // A launcher that can't be asked ends at its deadline; the next tick asks again.
            let asked = self.run_dir(&reap.run).ask_to_stop();
            asked.inspect_err(|error| log::warn!("{}: {error:#}", reap.run)).ok()?;
            return Some(Signalled { pid: launcher.pid, signals: vec!["stop file"] });
        }
        let sent = signal::send(launcher, &self.host, guard, Signal::TERM);
        // One that was stopped must be able to run.
        signal::send(launcher, &self.host, guard, Signal::CONT);
        if let Sent::Refused(_) = &sent
            && let Err(error) = self.run_dir(&reap.run).ask_to_stop()
        {
            log::warn!("{}: {error:#}", reap.run);
        }
        matches!(sent, Sent::Yes).then(|| Signalled { pid: launcher.pid, signals: vec!["TERM"] })
    }

    /// Whether all that was to end has ended, but for the hook that its launcher runs after it.
    fn runs_hook(&self, reap: &Reap) -> bool {
        let alive = |handle: &RunHandle| self.life_of(&reap.run, handle) == LauncherLife::Alive;
        let files = self.run_dir(&reap.run).open().ok().flatten();
        let exit = files.and_then(|files| files.exit().ok().flatten());
        exit.is_some_and(|exit| exit.after_run_ms.is_some()) && reap.handle.as_ref().is_some_and(alive)
    }

    /// What a launcher that has ended by now wrote of its own sweep.
    fn swept_by_launcher(&self, reap: &Reap) -> bool {
        let is_alive = |handle| self.life_of(&reap.run, handle) == LauncherLife::Alive;
        let dead = !reap.handle.as_ref().is_some_and(is_alive);
        let files = self.run_dir(&reap.run).open().ok().flatten();
        let swept = files.and_then(|files| files.swept().ok().flatten());
        dead && swept.is_some_and(|swept| swept.survivors.is_empty())
    }

    /// The receipt of a sweep that no launcher will write any more.
    fn leave_swept(&self, reap: &Reap, reaped: &Reaped) -> Result<()> {
        let dir = self.run_dir(&reap.run);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.path())?;
        let exit = dir.open()?.map_or(Ok(None), |files| files.exit())?;
        let had_hook = exit.is_some_and(|exit| exit.after_run_ms.is_some());
        let after_run = had_hook.then(|| "its launcher died before the hook had ended".to_owned());
        dir.put(SWEPT, &CleanupReceipt { by: "tick".into(), survivors: reaped.survivors.clone(), after_run })
    }

    fn end_trees(&self, reaps: &[&Reap], guard: &Guard, until: Instant) -> Vec<ReapOutcome> {
        // Half a grace kills nothing, and what lives after it has not survived anything.
        if Instant::now() + self.settings.grace + LAUNCHER_SLACK > until {
            return vec![ReapOutcome::NotTried("the tick's deadline is too near for a grace"); reaps.len()];
        }
        let targets: Vec<_> = reaps
            .iter()
            .map(|reap| {
                let marker = marker(&self.lineage, &reap.run);
                let cgroup = tags::group(&self.run_dir(&reap.run), &marker);
                // Of a pid namespace that is gone only tags could be seen: a pid of it is another process here.
                let is_gone =
                    |handle: &&RunHandle| self.life_of(&reap.run, handle) == LauncherLife::DeadElsewhere;
                let seen = reap.handle.as_ref().filter(|handle| !is_gone(handle));
                let launcher = seen.and_then(RunHandle::process).cloned();
                Target { marker, launcher, cgroup }
            })
            .collect();
        let (grace, deadline) = (self.settings.grace, until);
        let until = until.min(Instant::now() + grace + KILL_PATIENCE);
        let reaped = tree::end_trees(&targets, &self.host, guard, grace, until);
        reaps
            .iter()
            .zip(reaped)
            .enumerate()
            .map(|(nth, (reap, mut reaped))| {
                // Each receipt takes two syncs. Without it the next tick looks again.
                if nth >= RECEIPTS_SURE && Instant::now() >= deadline {
                    return ReapOutcome::NotTried("the tick's deadline came before it could be noted");
                }
                let unseen = still_alive(&reap.survivors, &reaped.survivors, guard);
                reaped.survivors.extend(unseen);
                tags::remove(&self.run_dir(&reap.run), &marker(&self.lineage, &reap.run));
                if reaped.survivors.is_empty() {
                    // What is left of it goes with the run's own directory.
                    let _ = tmp::remove(&self.run_dir(&reap.run), Some(deadline));
                }
                match self.leave_swept(reap, &reaped) {
                    Ok(()) => ReapOutcome::Reaped(reaped),
                    Err(error) => ReapOutcome::Failed(format!("{error:#}")),
                }
            })
            .collect()
    }
}

/// Those on record that live and were not found again: one that has become another user's shows nothing any
/// more by which a scan could tell whose it is. They are not signalled for being on record, only not forgotten.
fn still_alive(on_record: &[Survivor], found: &[Survivor], guard: &Guard) -> Vec<Survivor> {
    let lives = |one: &Survivor| match Entry::read(one.pid) {
        Ok(entry) => entry.is_some_and(|entry| entry.start_ticks == one.start_ticks && !entry.is_dead()),
        Err(_) => true,
    };
    let is_found = |one: &Survivor| found.iter().any(|other| other.pid == one.pid);
    on_record
        .iter()
        .filter(|one| !is_found(one) && guard.protects(one.pid).is_none() && lives(one))
        .cloned()
        .collect()
}

/// A run that can never start. Without the receipt of a look nobody knows whether it left processes: its claim may have been
/// taken away before it was fenced. One that has a receipt of its end did run.
fn fenced(files: &RunFiles) -> Result<RunObservation> {
    let Some(CleanupReceipt { survivors, after_run, .. }) = files.swept()? else {
        return Ok(RunObservation::Orphaned { claim: None });
    };
    let ended = match files.exit()? {
        None if survivors.is_empty() => return Ok(RunObservation::Fenced),
        None => Ended { survivors, ..Ended::default() },
        Some(exit) => {
            let reported = exit.reported.clone();
            Ended { claim: None, exit: Some(exit), survivors, reported, output: files.output()?, after_run }
        }
    };
    Ok(RunObservation::Ended(Box::new(ended)))
}

impl Fleet for LocalFleet {
    fn observe(
        &self,
        queries: &[RunQuery],
        known: &BTreeMap<AgentName, u64>,
        until: Instant,
    ) -> Observed<FleetView> {
        let found = match self.unrecorded(queries, known, until) {
            Ok(found) => found,
            Err(error) => return Observed::broken(format!("{error:#}")),
        };
        let mut runs = BTreeMap::new();
        for queries in queries {
            let observation = match Instant::now() < until {
                true => self.sight(queries),
                false => {
                    RunObservation::Unknown("the tick's deadline came before it was looked at".to_owned())
                }
            };
            runs.insert(queries.run.clone(), observation);
        }
        match self.look_at_unrecorded(found, &mut runs, until) {
            Ok((unrecorded, unexamined)) => {
                Observed::Known(FleetView { runs, unrecorded, unexamined, names_held: BTreeMap::new() })
            }
            Err(error) => Observed::broken(format!("{error:#}")),
        }
    }

    fn workspaces_taken(&self, wanted: &dyn Fn() -> BTreeSet<String>) -> BTreeMap<String, String> {
        match self.workspaces.canonicalize() {
            Ok(root) => Marks::of(&root, &self.lineage).taken(wanted),
            // Nobody has made any. What else is wrong with the folder, a launcher tells.
            Err(_) => BTreeMap::new(),
        }
    }

    fn start(&self, launch: &Launch, until: Instant) -> StartOutcome {
        if Instant::now() >= until {
            return StartOutcome::NotTried(TOO_LATE);
        }
        let means = match self.means(launch) {
            Ok(means) => means,
            Err(not_started) => return not_started,
        };
        let started = self
            .prepare(launch, &means, None)
            .and_then(|dir| self.spawn(launch, &dir, &means.vars).context("cannot start a launcher"));
        match started {
            Ok(()) => StartOutcome::Tried,
            Err(error) => {
                let class = machine::class_of_start(&error);
                StartOutcome::NotStarted { class, error: format!("{}: {error:#}", launch.spec.id) }
            }
        }
    }

    fn preview(&self, launch: &Launch) -> RunPreview {
        self.preview_of(launch)
    }

    fn fence(&self, run: &RunId) -> FenceOutcome {
        self.fenced(run)
    }

    fn look_for(&self, fenced: &[&RunId]) -> Vec<bool> {
        self.find_fenced(fenced)
    }

    fn end_unrecorded(&self, runs: &[(RunId, Option<RunHandle>)]) -> Result<Vec<RunId>> {
        self.end_without_record(runs)
    }

    fn reap(&self, reaps: &[&Reap], until: Instant) -> Vec<ReapOutcome> {
        let guard = match self.guard() {
            Ok(guard) => guard,
            Err(error) => return vec![ReapOutcome::Failed(format!("{error:#}")); reaps.len()],
        };
        let stopped = self.stop_launchers(reaps, &guard, until);
        let mut happened: Vec<Option<ReapOutcome>> = Vec::new();
        let mut left = Vec::new();
        for (reap, signalled) in reaps.iter().zip(&stopped) {
            let swept = signalled.is_some() && self.swept_by_launcher(reap);
            let reaped = Reaped { signalled: signalled.iter().cloned().collect(), ..Reaped::default() };
            let done = if swept {
                Some(ReapOutcome::Reaped(reaped))
            } else if reap.spares_hook && self.runs_hook(reap) {
                Some(ReapOutcome::NotTried("its after_run hook has not ended yet"))
            } else if self.lives_elsewhere(reap) {
                let why =
                    "its launcher lives in another pid namespace, and has not ended at its stop file yet";
                Some(ReapOutcome::Failed(format!("{}: {why}", reap.run)))
            } else {
                left.push(*reap);
                None
            };
            happened.push(done);
        }
        let mut by_scan =
            if left.is_empty() { Vec::new() } else { self.end_trees(&left, &guard, until) }.into_iter();
        happened
            .into_iter()
            .map(|done| {
                done.or_else(|| by_scan.next()).unwrap_or_else(|| ReapOutcome::Failed("not looked at".into()))
            })
            .collect()
    }
}
