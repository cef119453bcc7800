//! Run directories, launchers and processes: what the kernel, `fleet/local.rs` and the launcher do, on one
//! simulated clock.

mod ordered;
mod programs;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use factory_tick::config::Config;
use factory_tick::fleet::patience::Patience;
use factory_tick::model::{
    AgentName, Claim, Claimed, CleanupReceipt, ClockReading, ClockTracker, DoneWhen, Ended, Exit, ExitReason,
    FollowUp, Free, Launch, Output, Process, Refusal, Reported, Room, RunId, RunObservation, RunQuery,
    RunTrace, Survivor, UnrecordedRun, UnrecordedSpec,
};
use jiff::Timestamp;

use super::dice::Dice;
use super::faults::{Fault, Faults};
use super::provider::Providers;
use super::setting::SESSION_GONE;

use programs::Program;
pub(super) use programs::{Ending, Words};

/// A launcher and how far it has come. It can be killed before each of its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Launcher {
    /// There was none yet.
    None,
    /// Started; it will try to take the claim at that instant.
    Coming(u64),
    /// It holds the claim, and starts its agent at that instant.
    Preparing(u64),
    /// Its agent was started at that instant.
    Watching(u64),
    /// The agent has ended; what it left is ended at that instant.
    Sweeping(u64),
    /// Dead.
    Gone,
}

/// How a run will go.
#[derive(Clone, Debug)]
struct Script {
    claim_after: u64,
    begin_after: u64,
    /// `None`: it hangs.
    life: Option<u64>,
    end: End,
    /// It names its session, after so long.
    session: Option<(u64, String)>,
    forks: u32,
    sweep: u64,
    /// How long the hook after it takes, if there is one.
    hook: u64,
    /// What it forked can't be ended for so long.
    tough: u64,
    stuck: bool,
    exit_lost: bool,
    /// The disk is full when the agent ends.
    disk_full: bool,
    /// What it prints at last.
    prints: &'static str,
    /// What the done command answers then.
    answer: Option<i32>,
    /// It is one that is known by name.
    program: Option<Program>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Code(i32),
    Signal,
    Park,
    SessionGone,
    NeverRan(ExitReason),
}

/// `runs/<run>/` and everything alive of it.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) spec: Option<UnrecordedSpec>,
    /// Hash of the title and body that it was given.
    pub(super) given: Option<String>,
    pub(super) claim: Option<Claim>,
    pub(super) launcher: Launcher,
    pub(super) process: Option<Process>,
    pub(super) main_alive: bool,
    /// How often a main process of it began.
    pub(super) begun: u32,
    /// Processes that the agent forked.
    pub(super) others: u32,
    /// When something was last put into its directory.
    changed_ms: i64,
    tough_until: u64,
    /// When its launcher took the claim: it remembers that, whatever becomes of the file.
    claimed: Option<ClockReading>,
    /// Its claim was taken away: a resume that it was may be made once more.
    claim_removed: bool,
    deadline_ms: Option<u64>,
    stall_ms: Option<u64>,
    exit: Option<Exit>,
    swept: Option<CleanupReceipt>,
    reported: Reported,
    stdout: String,
    stderr: String,
    script: Option<Script>,
}

impl Run {
    fn new() -> Run {
        Run {
            spec: None,
            given: None,
            claim: None,
            launcher: Launcher::None,
            process: None,
            main_alive: false,
            begun: 0,
            others: 0,
            changed_ms: 0,
            tough_until: 0,
            claimed: None,
            claim_removed: false,
            deadline_ms: None,
            stall_ms: None,
            exit: None,
            swept: None,
            reported: Reported::default(),
            stdout: String::new(),
            stderr: String::new(),
            script: None,
        }
    }

    fn launcher_lives(&self) -> bool {
        !matches!(self.launcher, Launcher::None | Launcher::Gone)
    }

    /// A launcher that has not asked for the claim yet.
    pub(super) fn is_coming(&self) -> bool {
        matches!(self.launcher, Launcher::Coming(_))
    }

    /// Whether the agent, its launcher at work, or anything that it forked is alive.
    pub(super) fn is_live(&self) -> bool {
        self.main_alive || self.others > 0 || (self.launcher_lives() && !self.is_coming())
    }

    /// Alive and in order: its launcher watches or is about to.
    pub(super) fn is_healthy(&self) -> bool {
        matches!(self.launcher, Launcher::Preparing(_) | Launcher::Watching(_))
    }

    /// Its agent has ended, and its launcher has been promised the time for what comes after that.
    pub(super) fn is_in_hook(&self, now: &ClockReading) -> bool {
        let exit = self.exit.as_ref().filter(|_| matches!(self.launcher, Launcher::Sweeping(_)));
        exit.and_then(|exit| Some((now.since(&exit.ended)?, exit.after_run_ms?)))
            .is_some_and(|(age, longest)| age.as_millis() as u64 <= longest)
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.script.as_ref().is_some_and(|script| script.stuck)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) wall_ms: i64,
    pub(super) mono_ms: u64,
    pub(super) boots: u32,
    /// The pid namespace of the container in which ticks run.
    pid_ns: u64,
    /// By a clock that nobody sets and that no restart ends.
    pub(super) clock_ms: u64,
    /// Where that stood at each boot, and the monotonic clock of the boot.
    booted: Vec<(u64, u64)>,
    pub(super) runs: BTreeMap<RunId, Run>,
    /// Runs of which something is alive or coming.
    pub(super) busy: BTreeSet<RunId>,
    /// How often an agent was really started with each session to go on with.
    pub(super) resumed: BTreeMap<String, u32>,
    pub(super) begun: u64,
    /// Workspaces that are there: made by whoever began in them first.
    pub(super) workspaces: BTreeSet<String>,
    /// What the done command answered at the end of runs, those that were removed since among them.
    pub(super) answers: BTreeMap<RunId, i32>,
    pub(super) providers: Providers,
    /// The ends of runs of known programs, those that were removed since among them.
    pub(super) ends: BTreeMap<RunId, Ending>,
    /// Runs whose claims were taken away, those that were removed since among them.
    pub(super) unclaimed: BTreeSet<RunId>,
    /// How often each known program printed what.
    pub(super) printed: BTreeMap<(String, Words), u64>,
    /// Sessions that are there, and the tokens that each has read and written.
    conversations: BTreeMap<String, (u64, u64)>,
    next_pid: u32,
    sessions: u64,
    gone_sessions: BTreeSet<String>,
    /// The longest that the hook after each agent may keep its launcher; `None`: there is no hook.
    after_run_ms: Option<u64>,
    /// How runs go that a check has ordered. All others are drawn.
    ordered: BTreeMap<RunId, Script>,
    /// Between TERM and KILL.
    grace: Duration,
    /// The rule for runs of which the registry does not know theirs.
    done_when: DoneWhen,
}

impl Machine {
    pub(super) fn new(config: &Config, providers: Providers) -> Machine {
        let hooks = Some(&config.hooks).filter(|hooks| !hooks.after_run.is_empty());
        let after_run_ms = hooks.map(|hooks| hooks.each(config.fleet.grace).as_millis() as u64);
        Machine {
            grace: config.fleet.grace,
            done_when: config.done.when(),
            after_run_ms,
            providers,
            clock_ms: 0,
            booted: vec![(0, 5_000)],
            ends: BTreeMap::new(),
            printed: BTreeMap::new(),
            unclaimed: BTreeSet::new(),
            conversations: BTreeMap::new(),
            wall_ms: 1_790_000_000_000,
            mono_ms: 5_000,
            boots: 1,
            pid_ns: 1,
            runs: BTreeMap::new(),
            busy: BTreeSet::new(),
            resumed: BTreeMap::new(),
            begun: 0,
            workspaces: BTreeSet::new(),
            answers: BTreeMap::new(),
            next_pid: 100,
            sessions: 0,
            gone_sessions: BTreeSet::new(),
            ordered: BTreeMap::new(),
        }
    }

    pub(super) fn boot_id(&self) -> String {
        format!("boot {}", self.boots)
    }

    pub(super) fn moment(&self) -> ClockReading {
        let at = Timestamp::from_millisecond(self.wall_ms).unwrap();
        ClockReading { at, mono_ms: self.mono_ms, boot_id: self.boot_id(), slept_ms: 0 }
    }

    /// The wall clock, as whoever removes takes it who has never looked at it before.
    pub(super) fn clock(&self) -> ClockTracker {
        ClockTracker::first(self.moment())
    }

    /// The true order of two moments, whatever became of the clocks between them.
    pub(super) fn is_not_before(&self, one: &ClockReading, other: &ClockReading) -> bool {
        let true_ms = |moment: &ClockReading| {
            let boot: usize = moment.boot_id.rsplit(' ').next()?.parse().ok()?;
            let (clock_ms, mono_ms) = self.booted.get(boot - 1)?;
            Some((clock_ms + moment.mono_ms).saturating_sub(*mono_ms))
        };
        true_ms(one) >= true_ms(other)
    }

    // -----------------------------------------------------------------------------------------
    // What a tick does to it

    pub(super) fn make_dir(&mut self, run: &RunId) {
        let now = self.wall_ms;
        self.runs.entry(run.clone()).or_insert_with(|| Run { changed_ms: now, ..Run::new() });
    }

    pub(super) fn write_spec(&mut self, launch: &Launch, since: ClockReading) {
        let Some(run) = self.runs.get_mut(&launch.spec.id) else { return };
        run.deadline_ms = launch.spec.deadline_ms;
        run.stall_ms = launch.spec.stall_ms;
        run.given = Some(launch.snapshot.content_hash.clone()).filter(|_| launch.spec.session.is_none());
        run.spec =
            Some(UnrecordedSpec { spec: launch.spec.clone(), snapshot: launch.snapshot.clone(), since });
    }

    /// Starts a launcher; `lost`: it dies at once.
    pub(super) fn spawn(
        &mut self,
        launch: &Launch,
        start_grace_ms: u64,
        lost: bool,
        faults: &mut Faults,
        dice: &mut Dice,
    ) {
        let mut script = match self.ordered.remove(&launch.spec.id) {
            Some(script) => script,
            None => self.script(launch, start_grace_ms, faults, dice),
        };
        self.know_program(launch, &mut script);
        let process = self.process();
        let at = self.mono_ms + script.claim_after;
        let Some(run) = self.runs.get_mut(&launch.spec.id) else { return };
        run.script = Some(script);
        run.process = Some(process);
        run.launcher = if lost { Launcher::Gone } else { Launcher::Coming(at) };
        if !lost {
            self.busy.insert(launch.spec.id.clone());
        }
    }

    fn script(&mut self, launch: &Launch, grace_ms: u64, faults: &mut Faults, dice: &mut Dice) -> Script {
        let session = match &launch.spec.session {
            Some(session) if dice.percent(85) => Some(session.clone()),
            _ if dice.percent(75) => {
                self.sessions += 1;
                Some(format!("s{}", self.sessions))
            }
            _ => None,
        };
        let gone = launch
            .spec
            .session
            .as_ref()
            .filter(|session| self.gone_sessions.contains(*session) || dice.percent(20));
        let end = match gone {
            Some(session) => {
                self.gone_sessions.insert(session.clone());
                End::SessionGone
            }
            None => match dice.range(0, 99) {
                0..=44 => End::Code(0),
                45..=79 => End::Code(1),
                80..=84 => End::Signal,
                85..=89 => End::Park,
                90..=93 => End::NeverRan(ExitReason::Launch),
                94..=95 => End::NeverRan(ExitReason::Hook),
                96..=97 => End::NeverRan(ExitReason::Machine),
                _ => End::NeverRan(ExitReason::Infra),
            },
        };
        let hangs = launch.spec.deadline_ms.is_some() && dice.percent(10);
        let stuck = hangs && faults.strike(Fault::LauncherStuck, dice);
        let slow = faults.strike(Fault::SlowClaim, dice);
        let forks = if dice.percent(40) { dice.range(1, 3) as u32 } else { 0 };
        let hook = self.after_run_ms.map_or(0, |longest| dice.range(0, longest));
        Script {
            hook,
            claim_after: if slow { dice.range(0, 4 * grace_ms) } else { dice.range(1, 2_000) },
            begin_after: dice.range(0, launch.spec.prelude_ms.max(3_000)),
            life: (!hangs).then(|| dice.pick(&[500, 5_000, 30_000, 90_000, 300_000])),
            end,
            session: session.map(|session| (dice.range(0, 4_000), session)),
            forks,
            sweep: if faults.strike(Fault::SlowSweep, dice) {
                dice.range(0, 90_000)
            } else {
                dice.range(0, 900)
            },
            tough: if faults.strike(Fault::Unkillable, dice) { dice.range(0, 1_200_000) } else { 0 },
            stuck,
            exit_lost: faults.strike(Fault::ExitLost, dice),
            disk_full: faults.strike(Fault::DiskFull, dice),
            prints: dice.pick(&["", "a word", "another word"]),
            answer: dice.pick(&[Some(0), Some(0), Some(1), Some(1), Some(1), Some(2), None]),
            program: None,
        }
    }

    fn process(&mut self) -> Process {
        self.next_pid += 1;
        Process {
            pid: self.next_pid,
            start_ticks: self.mono_ms / 10,
            boot_id: self.boot_id(),
            pid_ns: self.pid_ns,
            uid: 1000,
        }
    }

    /// Links a fence; false where a claim stood already.
    pub(super) fn fence(&mut self, run: &RunId) -> bool {
        self.make_dir(run);
        let now = self.wall_ms;
        let Some(run) = self.runs.get_mut(run) else { return false };
        let won = run.claim.is_none();
        if won {
            run.changed_ms = now;
            run.claim = Some(Claim::FencedBy("a tick".to_owned()));
        }
        won
    }

    /// TERM to a launcher, and the time it takes to follow. One that has only just come dies of it.
    pub(super) fn stop_launcher(&mut self, run: &RunId) {
        let now = self.moment();
        let Some(one) = self.runs.get_mut(run) else { return };
        if let Some(script) = &mut one.script {
            script.stuck = false;
        }
        match one.launcher {
            Launcher::Coming(_) => one.launcher = Launcher::Gone,
            // It starts its agent before it looks at its signals.
            Launcher::Preparing(_) => {
                self.begin(run);
                self.end_main(run, &now, ExitReason::Stopped, None, Some(15));
            }
            Launcher::Watching(_) => self.end_main(run, &now, ExitReason::Stopped, None, Some(15)),
            // In the middle of its hook it ends that.
            Launcher::None | Launcher::Sweeping(_) | Launcher::Gone => return self.sweep(run),
        }
        if self.runs.get(run).is_none_or(|one| !one.is_in_hook(&now)) {
            self.sweep(run);
        }
    }

    /// KILL to everything of a run that can be found: the survivors.
    pub(super) fn kill_tree(&mut self, run: &RunId) -> Vec<Survivor> {
        self.kill_launcher(run);
        let now = self.mono_ms;
        let Some(one) = self.runs.get_mut(run) else { return Vec::new() };
        if one.tough_until <= now {
            one.others = 0;
        }
        let survivors = survivors(one);
        self.forget_if_dead(run);
        survivors
    }

    pub(super) fn leave_swept(&mut self, run: &RunId, survivors: &[Survivor]) {
        self.make_dir(run);
        let now = self.wall_ms;
        if let Some(run) = self.runs.get_mut(run) {
            run.changed_ms = now;
            run.swept = Some(CleanupReceipt {
                by: "tick".to_owned(),
                survivors: survivors.to_vec(),
                after_run: None,
            });
        }
    }

    pub(super) fn traces(&self) -> Vec<RunTrace> {
        let trace = |(run, one): (&RunId, &Run)| RunTrace {
            run: run.clone(),
            changed_at: Timestamp::from_millisecond(one.changed_ms).unwrap(),
        };
        self.runs.iter().map(trace).collect()
    }

    /// Takes a run's directory away, if its receipts say that it is over. True where it is gone.
    pub(super) fn discard(&mut self, run: &RunId) -> bool {
        let boot_id = self.boot_id();
        let Some(one) = self.runs.get(run) else { return true };
        let rebooted = matches!(&one.claim, Some(Claim::Launcher(claimed)) if claimed.handle.process().is_some_and(|one| one.boot_id != boot_id));
        let survivors = one.swept.as_ref().is_some_and(|swept| !swept.survivors.is_empty());
        let claimed = matches!(one.claim, Some(Claim::Launcher(_)));
        if one.claim.is_none() && self.is_locked(&run.agent) {
            return false;
        }
        if !rebooted && (survivors || claimed && one.swept.is_none()) {
            return false;
        }
        // A launcher that still comes finds no directory, or a fence in it.
        self.runs.remove(run);
        self.busy.remove(run);
        true
    }

    pub(super) fn has_receipt(&self, run: &RunId) -> bool {
        self.runs.get(run).is_some_and(|one| one.exit.is_some())
    }

    /// Whether a launcher of this agent holds its lock.
    pub(super) fn is_locked(&self, agent: &AgentName) -> bool {
        let holds = |run: &&RunId| self.runs[*run].launcher_lives() && !self.runs[*run].is_coming();
        self.busy.iter().filter(|run| run.agent == *agent).any(|run| holds(&run))
    }

    // -----------------------------------------------------------------------------------------
    // What happens by itself

    /// `kill -9`: the agent's main process dies with its launcher, what it forked lives on.
    pub(super) fn kill_launcher(&mut self, run: &RunId) {
        let process = self.runs.get(run).and_then(|one| one.process.clone());
        let is_elsewhere = process.is_some_and(|process| self.is_elsewhere(&process));
        if let Some(one) = self.runs.get_mut(run) {
            one.launcher = Launcher::Gone;
            one.main_alive = false;
            if is_elsewhere {
                one.others = 0;
            }
        }
        self.forget_if_dead(run);
    }

    pub(super) fn reboot(&mut self) {
        for run in std::mem::take(&mut self.busy) {
            let Some(run) = self.runs.get_mut(&run) else { continue };
            (run.launcher, run.main_alive, run.others, run.tough_until) = (Launcher::Gone, false, 0, 0);
        }
        self.boots += 1;
        self.mono_ms = 1_000;
        self.booted.push((self.clock_ms, self.mono_ms));
    }

    /// Another container: every process of the old one is gone.
    pub(super) fn replace_container(&mut self) {
        for run in std::mem::take(&mut self.busy) {
            let Some(run) = self.runs.get_mut(&run) else { continue };
            (run.launcher, run.main_alive, run.others, run.tough_until) = (Launcher::Gone, false, 0, 0);
        }
        self.pid_ns += 1;
    }

    /// Another container, beside which the old one lives on. Nothing of it resists its own launcher: what that leaves can't
    /// be seen from here, which is the gap that an event names.
    pub(super) fn enter_container(&mut self) {
        for run in &self.busy {
            let Some(run) = self.runs.get_mut(run) else { continue };
            run.tough_until = 0;
            if let Some(script) = &mut run.script {
                script.tough = 0;
            }
        }
        self.pid_ns += 1;
    }

    pub(super) fn is_elsewhere(&self, process: &Process) -> bool {
        process.boot_id == self.boot_id() && process.pid_ns != self.pid_ns
    }

    /// A person takes the claim of a run away, which a launcher or a fence has linked.
    pub(super) fn remove_claim(&mut self, run: &RunId) {
        let Some(one) = self.runs.get_mut(run) else { return };
        // One that only refuses or fences may be followed by no launcher: that is not what is removed by mistake.
        if !matches!(one.claim, Some(Claim::Launcher(_))) {
            return;
        }
        one.claim = None;
        // Where it leaves no receipt either, nothing tells that it began: its resume is given back.
        one.claim_removed = true;
        let counted = one.begun > 0 && counts_as_resume(one);
        let session = one.spec.as_ref().and_then(|spec| spec.spec.session.as_ref()).filter(|_| counted);
        self.unclaimed.insert(run.clone());
        if let Some(times) = session.and_then(|session| self.resumed.get_mut(session)) {
            *times -= 1;
        }
    }

    /// Nothing resists any more, no launcher is stuck or late, and containers that were left behind end.
    pub(super) fn calm_down(&mut self) {
        let gone = |run: &&RunId| self.runs[*run].process.as_ref().is_some_and(|one| self.is_elsewhere(one));
        for run in self.busy.iter().filter(gone).cloned().collect::<Vec<_>>() {
            self.kill_launcher(&run);
        }
        for run in self.runs.values_mut() {
            run.tough_until = 0;
            // One whose claim was taken away is held and named until a person lets it go on.
            if let Some(script) = run.script.as_mut().filter(|_| run.claim_removed) {
                script.stuck = false;
            }
        }
    }

    /// Lets time pass. Each step of a launcher may be the last.
    pub(super) fn advance(&mut self, ms: u64, faults: &mut Faults, dice: &mut Dice) {
        let until = self.mono_ms + ms;
        let next = |machine: &Machine| {
            let due = machine.busy.iter().filter_map(|run| Some((machine.next_step(run)?, run.clone())));
            due.min().filter(|(at, _)| *at <= until)
        };
        while let Some((at, run)) = next(self) {
            self.pass(at.saturating_sub(self.mono_ms));
            if faults.strike(Fault::LauncherKilled, dice) {
                self.kill_launcher(&run);
            } else {
                self.step(&run);
            }
        }
        self.pass(until.saturating_sub(self.mono_ms));
    }

    fn pass(&mut self, ms: u64) {
        self.mono_ms += ms;
        self.clock_ms += ms;
        self.wall_ms += ms as i64;
    }

    /// When the launcher of a run does something next.
    fn next_step(&self, run: &RunId) -> Option<u64> {
        let run = self.runs.get(run)?;
        let script = run.script.as_ref()?;
        match run.launcher {
            Launcher::Coming(at) | Launcher::Preparing(at) | Launcher::Sweeping(at) => Some(at),
            Launcher::Watching(_) if script.stuck => None,
            Launcher::Watching(began) => {
                let says =
                    script.session.as_ref().filter(|(_, id)| run.reported.session.as_ref() != Some(id));
                let says = says.map(|(after, _)| began + after);
                let ends = script.life.map(|life| began + life);
                let times_out = self.deadline_at(run);
                [says, ends, times_out, stalls_at(run)].into_iter().flatten().min()
            }
            Launcher::None | Launcher::Gone => None,
        }
    }

    fn deadline_at(&self, run: &Run) -> Option<u64> {
        match (run.claimed.as_ref()?.mono_ms, run.launcher) {
            // Where there are hooks, it counts from the agent's own beginning.
            (_, Launcher::Watching(began)) if self.after_run_ms.is_some() => Some(began + run.deadline_ms?),
            (claimed_ms, _) => Some(claimed_ms + run.deadline_ms?),
        }
    }

    fn step(&mut self, run: &RunId) {
        let now = self.moment();
        let Some(one) = self.runs.get(run) else { return };
        let Some(script) = one.script.clone() else { return };
        match one.launcher {
            Launcher::Coming(_) => self.claim(run, &script),
            Launcher::Preparing(_) => match script.end {
                End::NeverRan(reason) => {
                    self.end_main(run, &now, reason, None, None);
                    self.sweep(run);
                }
                _ => self.begin(run),
            },
            Launcher::Watching(began) => {
                let at = self.mono_ms;
                if self.deadline_at(one).is_some_and(|deadline| deadline <= at) {
                    self.end_main(run, &now, ExitReason::Deadline, None, Some(15));
                } else if stalls_at(one).is_some_and(|stall| stall <= at) {
                    self.end_main(run, &now, ExitReason::Stalled, None, Some(15));
                } else if script.life.is_some_and(|life| began + life <= at) {
                    self.end_program(run);
                    let end = self.runs[run].script.as_ref().map_or(script.end, |script| script.end);
                    let (code, signal) = match end {
                        End::Code(code) => (Some(code), None),
                        End::Signal => (None, Some(11)),
                        End::Park | End::NeverRan(_) => (Some(0), None),
                        End::SessionGone => (Some(1), None),
                    };
                    self.end_main(run, &now, ExitReason::Exited, code, signal);
                } else if let (Some((_, session)), Some(one)) = (script.session, self.runs.get_mut(run)) {
                    one.reported.session = Some(session);
                }
            }
            Launcher::Sweeping(_) => self.sweep(run),
            Launcher::None | Launcher::Gone => {}
        }
    }

    /// The lock of the agent first, then the link.
    fn claim(&mut self, run: &RunId, script: &Script) {
        let since = self.moment();
        let taken = self.busy.iter().any(|other| {
            other != run
                && other.agent == run.agent
                && self.runs[other].launcher_lives()
                && !self.runs[other].is_coming()
        });
        let Some(one) = self.runs.get_mut(run) else { return };
        let Some(process) = one.process.clone() else { return };
        if one.claim.is_some() || taken {
            one.launcher = Launcher::Gone;
            one.claim.get_or_insert(Claim::Refused(Refusal {
                because: "another launcher is alive".to_owned(),
                duplicate: true,
                machine: false,
            }));
            return self.forget_if_dead(run);
        }
        one.changed_ms = since.at.as_millisecond();
        one.launcher = Launcher::Preparing(since.mono_ms + script.begin_after);
        one.claimed = Some(since.clone());
        one.claim = Some(Claim::Launcher(Box::new(Claimed { handle: process.into(), since })));
    }

    fn begin(&mut self, run: &RunId) {
        let now = self.mono_ms;
        let Some(one) = self.runs.get_mut(run) else { return };
        let Some(script) = &one.script else { return };
        self.workspaces.extend(one.spec.as_ref().map(|spec| spec.snapshot.workspace.clone()));
        one.launcher = Launcher::Watching(now);
        one.main_alive = true;
        one.begun += 1;
        one.others = script.forks;
        one.tough_until = now + script.tough;
        // A run that goes on with a session has it from the beginning.
        let counts = counts_as_resume(one);
        if let Some(session) = one.spec.as_ref().and_then(|spec| spec.spec.session.clone()) {
            *self.resumed.entry(session.clone()).or_default() += u32::from(counts && !one.claim_removed);
            one.reported.session = Some(session);
        }
        self.begun += 1;
        self.begin_program(run);
    }

    /// What was free where a run worked when it ended, by its receipt.
    pub(super) fn room_of(&self, run: &RunId) -> Option<Free> {
        self.runs.get(run)?.exit.as_ref()?.room.workspaces
    }

    fn end_main(
        &mut self,
        run: &RunId,
        now: &ClockReading,
        reason: ExitReason,
        code: Option<i32>,
        signal: Option<i32>,
    ) {
        let Some(one) = self.runs.get_mut(run) else { return };
        let Some(script) = &one.script else { return };
        let exit_lost = script.exit_lost;
        let answer = script.answer;
        let full = script.disk_full.then_some(Free { bytes: 0, inodes: None });
        let after_run_ms = self.after_run_ms.filter(|_| one.main_alive && !script.exit_lost);
        let hook = after_run_ms.map_or(0, |_| script.hook);
        one.launcher = Launcher::Sweeping(now.mono_ms + script.sweep + hook);
        one.main_alive = false;
        one.changed_ms = now.at.as_millisecond();
        if script.end == End::Park && reason == ExitReason::Exited {
            one.reported.park = Some("which database?".to_owned());
        }
        if script.end == End::SessionGone {
            one.stderr = SESSION_GONE.to_owned();
        }
        self.print_program(run, now, reason);
        let Some(one) = self.runs.get_mut(run) else { return };
        // A launcher asks what its spec tells it to ask, whatever is configured by now.
        let asks = one.spec.as_ref().is_some_and(|spec| spec.spec.done_when == DoneWhen::Command);
        if !exit_lost {
            one.exit = Some(Exit {
                code,
                signal,
                reason,
                error: never_ran(reason).then(|| "it never ran".to_owned()),
                started: now.clone(),
                ended: now.clone(),
                cpu_ms: 0,
                peak_kib: 0,
                reported: one.reported.clone(),
                after_run_ms,
                room: Room { state: None, workspaces: full },
                done: answer.filter(|_| reason == ExitReason::Exited && code == Some(0) && asks),
                limit_ms: None,
            });
            if let Some(done) = one.exit.as_ref().and_then(|exit| exit.done) {
                self.answers.insert(run.clone(), done);
            }
        }
    }

    fn sweep(&mut self, run: &RunId) {
        let (now, wall_ms) = (self.mono_ms, self.wall_ms);
        let Some(one) = self.runs.get_mut(run) else { return };
        if !matches!(one.launcher, Launcher::Sweeping(_)) {
            return self.forget_if_dead(run);
        }
        if one.tough_until <= now {
            one.others = 0;
        }
        one.changed_ms = wall_ms;
        one.swept =
            Some(CleanupReceipt { by: "launcher".to_owned(), survivors: survivors(one), after_run: None });
        one.launcher = Launcher::Gone;
        self.forget_if_dead(run);
    }

    fn forget_if_dead(&mut self, run: &RunId) {
        if self.runs.get(run).is_none_or(|run| !run.launcher_lives() && !run.is_live()) {
            self.busy.remove(run);
        }
    }

    // -----------------------------------------------------------------------------------------
    // What can be seen of it

    /// What the real fleet would read out of these files and processes.
    pub(super) fn sight(&self, queries: &RunQuery) -> RunObservation {
        let run = self.runs.get(&queries.run);
        let (claim, handle) = match (&queries.handle, run.map(|run| &run.claim)) {
            (Some(handle), _) => (None, handle.clone()),
            (None, None | Some(None)) => return RunObservation::Unclaimed,
            (None, Some(Some(Claim::FencedBy(_)))) => {
                return self.sight_fenced(run);
            }
            (None, Some(Some(Claim::Refused(refusal)))) => return RunObservation::Refused(refusal.clone()),
            (None, Some(Some(Claim::Launcher(claimed)))) => {
                (Some((**claimed).clone()), claimed.handle.clone())
            }
        };
        let factory_tick::model::RunHandle::Local(launcher) = handle;
        let process = launcher.process;
        let alive = run.is_some_and(|run| run.launcher_lives() && run.process.as_ref() == Some(&process));
        let exit = run.and_then(|run| run.exit.clone());
        let reported = run.map(|run| run.reported.clone()).unwrap_or_default();
        let ended = |claim, swept: Option<&CleanupReceipt>| Box::new(ended(run, claim, swept));
        if process.boot_id != self.boot_id() {
            return RunObservation::Rebooted(ended(claim, None));
        }
        let swept = run.and_then(|run| run.swept.as_ref()).filter(|_| !alive);
        let patience = Patience::new(self.grace, queries.done_when.unwrap_or(self.done_when));
        match (swept, &exit) {
            (Some(swept), _) => RunObservation::Ended(ended(claim, Some(swept))),
            (None, Some(exit)) if alive => {
                let late_after = patience.after_end(exit);
                RunObservation::Sweeping { claim, exit: Box::new(exit.clone()), late_after }
            }
            (None, None) if alive => {
                RunObservation::Alive { claim, reported, late_after: patience.after_deadline() }
            }
            (None, _) if self.is_elsewhere(&process) => RunObservation::Replaced(ended(claim, None)),
            (None, _) => RunObservation::Orphaned { claim },
        }
    }

    /// A fence stands in the place of the claim. A run that has receipts began before its claim was taken away.
    fn sight_fenced(&self, run: Option<&Run>) -> RunObservation {
        let Some(swept) = run.and_then(|run| run.swept.as_ref()) else {
            return RunObservation::Orphaned { claim: None };
        };
        match run.is_some_and(|run| run.exit.is_some()) {
            true => RunObservation::Ended(Box::new(ended(run, None, Some(swept)))),
            false if swept.survivors.is_empty() => RunObservation::Fenced,
            false => {
                let survivors = swept.survivors.clone();
                RunObservation::Ended(Box::new(Ended { survivors, ..Ended::default() }))
            }
        }
    }

    pub(super) fn unrecorded(
        &self,
        asked: &[RunQuery],
        known: &BTreeMap<AgentName, u64>,
    ) -> Vec<UnrecordedRun> {
        self.runs
            .iter()
            .filter(|(run, _)| known.get(&run.agent).is_none_or(|last| run.n > *last))
            .filter(|(run, _)| asked.iter().all(|queries| queries.run != **run))
            .map(|(run, one)| UnrecordedRun { run: run.clone(), spec: one.spec.clone() })
            .collect()
    }
}

/// What is left of a run that is over.
fn ended(run: Option<&Run>, claim: Option<Claimed>, swept: Option<&CleanupReceipt>) -> Ended {
    let exit = run.and_then(|run| run.exit.clone());
    let reported = run.map(|run| run.reported.clone()).unwrap_or_default();
    let stdout_tail = match run.and_then(|run| run.script.as_ref()) {
        Some(Script { program: None, prints, .. }) => (*prints).to_owned(),
        _ => run.map(|run| run.stdout.clone()).unwrap_or_default(),
    };
    Ended {
        claim,
        survivors: swept.map(|swept| swept.survivors.clone()).unwrap_or_default(),
        reported: exit.as_ref().map_or(reported, |exit| exit.reported.clone()),
        exit,
        output: Output { stdout_tail, stderr_tail: run.map(|run| run.stderr.clone()).unwrap_or_default() },
        after_run: swept.and_then(|swept| swept.after_run.clone()),
    }
}

/// When a silent run of a program has been silent for too long.
fn stalls_at(run: &Run) -> Option<u64> {
    let Launcher::Watching(began) = run.launcher else { return None };
    let silent = run.script.as_ref().is_some_and(|script| script.life.is_none());
    run.stall_ms.filter(|_| silent).map(|stall| began + stall)
}

fn survivors(run: &Run) -> Vec<Survivor> {
    (0..run.others)
        .map(|pid| Survivor {
            pid,
            start_ticks: 0,
            comm: "sleep".to_owned(),
            because: "operation not permitted".to_owned(),
        })
        .collect()
}

fn never_ran(reason: ExitReason) -> bool {
    matches!(reason, ExitReason::Launch | ExitReason::Hook | ExitReason::Infra | ExitReason::Machine)
}

/// Whether `resumes_max` bounds the resume that a run is: a person's answer is none after a failure.
fn counts_as_resume(run: &Run) -> bool {
    run.spec.as_ref().is_none_or(|spec| FollowUp::counts_as_resume(&spec.spec.follow_ups))
}
