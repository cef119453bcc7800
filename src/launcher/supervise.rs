//! The life of a launcher: it claims its run, looks after the agent, and writes the receipts.

use std::cell::Cell;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::Serialize;

use crate::clock;
use crate::durable::{Lock, LockError, atomic, disk};
use crate::launcher::agent::Agent;
use crate::launcher::child::{self, Status};
use crate::launcher::context::{Launcher, NeverRan};
use crate::launcher::exec::{self, EXEC_FAILED};
use crate::launcher::hooks::HookLog;
use crate::launcher::stop_file::StopFile;
use crate::model::{
    Claim, Claimed, CleanupReceipt, Exit, ExitReason, FailureClass, LocalLauncher, Process, Refusal, Room,
    RunHandle, Survivor,
};
use crate::process::identity::{self, Host};
use crate::process::signal::Guard;
use crate::process::{protected, sweep};
use crate::run::directory::{EXIT, HOOKS_LOG, RunDir, SWEPT};
use crate::run::env::Vars;
use crate::run::notes::ExecError;
use crate::run::spec::Spec;
use crate::run::tags;
use crate::run::{env_pipe, machine, tmp};

/// How often a launcher looks whether its run directory is still there: `git clean -ffdx` in a checkout
/// takes the state with it, and a run that nobody knows of any more must not go on.
///
/// Often, because a tick may find the place empty meanwhile and start the same item anew.
const DIRECTORY_CHECK: Duration = Duration::from_secs(1);

/// How soon what was killed and has not ended is killed again.
const KILL_AGAIN: Duration = Duration::from_millis(20);

/// What a sweep may take beyond its grace.
const SWEEP_SLACK: Duration = Duration::from_secs(2);

/// How long a launcher whose run is over waits for a disk to have room for its receipts.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// How long the removal of a temporary directory may keep the last receipt back. Less than the slack that a tick gives a
/// launcher.
const REMOVAL_SOON: Duration = Duration::from_secs(1);

/// How soon it looks again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Runs a launcher to its end. `relay`: the pid of the one that started it in somebody's terminal.
pub fn launch(run_dir: PathBuf, relay: Option<i32>) -> Result<()> {
    detach()?;
    if let Some(relay) = relay {
        // It goes with the terminal. The whole grace is left then: nobody kills this process.
        exec::hear_death_of(relay, Signal::TERM)?;
    }
    // It was started as /proc/self/exe, and "exe" tells nobody anything.
    let _ = rustix::thread::set_name(c"factory-launch");
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("cannot become a subreaper")?;
    let signals = child::watch_signals()?;
    let run_dir = RunDir::pinned(run_dir)?;
    let spec = run_dir.spec()?;
    let host = Host::read()?;
    let me = identity::own(&host)?;
    let Some(_live) = take_live_lock(&run_dir, &spec, &me)? else { return Ok(()) };
    let claimed = Claimed {
        handle: RunHandle::Local(LocalLauncher { process: me, machine_id: host.machine_id.clone() }),
        since: clock::moment(&host.boot_id),
    };
    if !run_dir.link_claim(&Claim::Launcher(Box::new(claimed.clone())))? {
        return Ok(());
    }
    // Moved away before it was claimed: nobody looks there any more.
    if !run_dir.is_still_there() {
        return Ok(());
    }
    let traces = tags::apply(&run_dir, &spec.marker());
    let claimed_at = Instant::now();
    let vars = Vars::new();
    let (unheeded, stop_file) = (Cell::new(false), StopFile::new());
    Launcher {
        run_dir,
        spec,
        host,
        claimed,
        signals,
        claimed_at,
        traces,
        relay,
        vars,
        tmp: None,
        unheeded,
        stop_file,
    }
    .run()
}

/// Lets go of whoever started this process: it is to outlive them, and to keep nothing of theirs open.
///
/// # Errors
///
/// That `/proc/self/fd` can't be listed.
pub fn detach() -> Result<()> {
    close_inherited_files()?;
    // Without a session of its own a hang-up of the tick's terminal would end it. Fails only for the leader of
    // a group, which has one.
    let _ = rustix::process::setsid();
    Ok(())
}

/// Whatever the tick's own parent leaked into it (a lock's descriptor, say) must not live as long as an agent.
fn close_inherited_files() -> Result<()> {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")
        .context("cannot list /proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // The listing's own descriptor is closed already: EBADF.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// The lock that keeps two launchers of one agent apart. `None`: another one lives, and the claim says so.
fn take_live_lock(run_dir: &RunDir, spec: &Spec, me: &Process) -> Result<Option<Lock>> {
    let lock = atomic::open_dir(&spec.live)
        .map_err(LockError::Io)
        .and_then(|live| Lock::try_take(live, &spec.run.id.agent.0, me));
    match lock {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Busy(_)) => {
            let because = format!("another launcher of {} is alive", spec.run.id.agent);
            refuse(run_dir, Refusal { because, duplicate: true, machine: false })?;
            Ok(None)
        }
        Err(LockError::CalledOff) => Ok(None),
        Err(LockError::Io(error)) => {
            // Said in the claim, so that the next tick need not wait for the end of the start grace.
            let because =
                format!("cannot take the lock of {} in {}: {error}", spec.run.id.agent, spec.live.display());
            let machine = machine::class_of_start(&error.into()) == FailureClass::Machine;
            refuse(run_dir, Refusal { because, duplicate: false, machine })?;
            Ok(None)
        }
    }
}

/// The run never starts, unless another launcher has claimed it already.
fn refuse(run_dir: &RunDir, refusal: Refusal) -> Result<()> {
    if run_dir.link_claim(&Claim::Refused(refusal))? {
        // A tick that waits to hand over its environment waits for nobody.
        let _ = env_pipe::remove(run_dir);
    }
    Ok(())
}

/// That the agent is being ended, why, and until when it may tidy up.
struct Ending {
    reason: ExitReason,
    kill_at: Instant,
}

impl Launcher {
    fn run(mut self) -> Result<()> {
        let mut hooks_log = HookLog::new(self.run_dir.file(HOOKS_LOG), self.spec.log_bytes_max);
        let mut guard = match self.guard() {
            Ok(guard) => guard,
            Err(error) => {
                let error = format!("cannot tell who must never be signalled: {error:#}");
                let never_ran = NeverRan { reason: ExitReason::Infra, error };
                let exit = self.receipt_of_nothing(never_ran);
                return self.close(&exit, self.run_dir.put(EXIT, &exit), CleanupReceipt::default());
            }
        };
        let started = self.take_environment().and_then(|()| {
            self.take_tmp(&mut hooks_log);
            self.start(&mut hooks_log)
        });
        let mut agent = match started {
            Ok(agent) => agent,
            Err(never_ran) => {
                let exit = self.receipt_of_nothing(never_ran);
                let written = self.run_dir.put(EXIT, &exit);
                // A hook may have left something.
                let survivors = self.sweep(&mut guard, self.spec.grace());
                hooks_log.finish();
                return self.close(&exit, written, CleanupReceipt { survivors, ..CleanupReceipt::default() });
            }
        };
        let (status, ending) = self.watch(&mut agent, &mut guard);
        agent.drain(&self.run_dir);
        let mut exit = self.receipt(&agent, status, ending.as_ref().map(|ending| ending.reason));
        self.ask_done(&mut exit, &mut hooks_log);
        let mut written = self.run_dir.put(EXIT, &exit);
        // What the agent was given of its grace, its children are not given again.
        let left = ending
            .map_or(self.spec.grace(), |ending| ending.kill_at.saturating_duration_since(Instant::now()));
        let mut survivors = self.sweep(&mut guard, left);
        agent.drain(&self.run_dir);
        agent.finish_logs();
        let mut after_run = None;
        if exit.after_run_ms.is_some() {
            // What the agent left may have filled the disk. To a tick that finds no receipt the hook's time is the agent's.
            written = written.or_else(|_| self.run_dir.put(EXIT, &exit));
            // Not before: it is to find a workspace in which nobody works any more.
            after_run = self.after_run(&mut hooks_log).err();
            survivors = self.sweep(&mut guard, self.spec.grace());
        }
        hooks_log.finish();
        self.close(&exit, written, CleanupReceipt { survivors, after_run, ..CleanupReceipt::default() })
    }

    /// Ends everything that the run has started.
    fn sweep(&self, guard: &mut Guard, grace: Duration) -> Vec<Survivor> {
        self.renew(guard);
        sweep::sweep_descendants(&self.host, guard, grace, grace + SWEEP_SLACK)
    }

    /// The last receipt. `written`: whether the one before it could be, at its time.
    fn close(&self, exit: &Exit, written: Result<()>, swept: CleanupReceipt) -> Result<()> {
        self.traces.remove();
        let tmp = self.tmp.clone().filter(|_| swept.survivors.is_empty());
        let remove = |path: &PathBuf, until: Option<Instant>| {
            let removed = tmp::remove_at(&self.run_dir, path.clone(), until);
            removed.inspect_err(|error| log::warn!("its temporary directory can't be removed: {error}"))
        };
        // Before the receipt, but shortly: a tick takes a launcher that is longer about it for stuck, and ends it.
        let soon = Some(Instant::now() + REMOVAL_SOON);
        let is_large = tmp.as_ref().is_some_and(|path| matches!(remove(path, soon), Ok(false)));
        if written.is_err() {
            self.put_patiently(EXIT, exit)?;
        }
        let closed = self.put_patiently(SWEPT, &CleanupReceipt { by: "launcher".into(), ..swept });
        if let Some(path) = tmp.filter(|_| is_large) {
            let _ = remove(&path, None);
        }
        closed
    }

    /// Writes a receipt, and waits for room where the disk has none: nobody else knows how the agent ended, and without
    /// it an hour of good work counts as lost. What else fails is for a tick to find out.
    fn put_patiently(&self, name: &str, receipt: &impl Serialize) -> Result<()> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let Err(error) = self.run_dir.put(name, receipt) else { return Ok(()) };
            let ends = self.is_stop_requested() || patience <= Instant::now();
            if ends || !is_for_want_of_room(&error) || !self.run_dir.is_still_there() {
                return Err(error);
            }
            child::wait(&self.signals, &[], Instant::now() + TRY_AGAIN);
        }
    }

    /// What is free now where the state and the workspace lie.
    fn room(&self) -> Room {
        let workspace = self.spec.workspace_root.join(&self.spec.snapshot.workspace);
        Room { state: disk::free_at(self.run_dir.path()), workspaces: disk::free_at(&workspace) }
    }

    fn receipt_of_nothing(&self, never_ran: NeverRan) -> Exit {
        Exit {
            code: None,
            signal: None,
            reason: never_ran.reason,
            error: Some(never_ran.error),
            started: self.claimed.since.clone(),
            ended: clock::moment(&self.host.boot_id),
            cpu_ms: 0,
            peak_kib: 0,
            reported: Default::default(),
            after_run_ms: None,
            done: None,
            room: self.room(),
            limit_ms: None,
        }
    }

    fn guard(&self) -> Result<Guard> {
        protected::guard(&self.spec.protected_pids, &self.spec.protected_pidfiles)
    }

    /// Who must not be signalled by now. A pid file that is being rewritten at this very moment must not keep
    /// an agent from its deadline: then those count that were protected before.
    fn renew(&self, guard: &mut Guard) {
        if let Ok(now) = self.guard() {
            *guard = now;
        }
    }

    /// Until the main process has ended, by itself or by us.
    fn watch(&self, agent: &mut Agent, guard: &mut Guard) -> (Status, Option<Ending>) {
        let mut ending: Option<Ending> = None;
        let mut next_check = Instant::now() + DIRECTORY_CHECK;
        loop {
            // Read on every turn, or what nobody reads keeps the wait below from waiting.
            let (is_stop_requested, status) = child::look(|| self.is_stop_requested(), agent.pid);
            if let Some(status) = status {
                self.unheeded.set(is_stop_requested && ending.is_none());
                return (status, ending);
            }
            let now = Instant::now();
            match &ending {
                None => {
                    let reason = if is_stop_requested {
                        Some(ExitReason::Stopped)
                    } else {
                        self.reason_to_end(agent, now, &mut next_check)
                    };
                    if let Some(reason) = reason {
                        self.renew(guard);
                        sweep::signal_descendants(&self.host, guard, Signal::TERM);
                        ending = Some(Ending { reason, kill_at: now + self.spec.grace() });
                    }
                }
                // Again and again, until the main process is gone: one look can fail, or miss a newcomer.
                Some(ending) if ending.kill_at <= now => {
                    sweep::signal_descendants(&self.host, guard, Signal::KILL);
                }
                Some(_) => {}
            }
            agent.wait(&self.signals, self.wake_at(agent, ending.as_ref(), next_check));
            agent.drain(&self.run_dir);
        }
    }

    /// Whether somebody has said so since the last look.
    pub(crate) fn is_stop_requested(&self) -> bool {
        let by_signal = child::is_stop_requested(&self.signals);
        let told = by_signal | self.unheeded.take() | self.stop_file.asks(&self.run_dir, by_signal);
        if told && self.relay.is_some() {
            // Its relay dies of the same, only later: that is not to end the hook after the agent.
            let _ = set_parent_process_death_signal(None);
        }
        told
    }

    fn reason_to_end(&self, agent: &Agent, now: Instant, next_check: &mut Instant) -> Option<ExitReason> {
        if *next_check <= now {
            *next_check = now + DIRECTORY_CHECK;
            if !self.run_dir.is_still_there() {
                return Some(ExitReason::Stopped);
            }
        }
        if self.deadline_at(agent).is_some_and(|at| at <= now) {
            return Some(ExitReason::Deadline);
        }
        self.stalled_at(agent).is_some_and(|at| at <= now).then_some(ExitReason::Stalled)
    }

    fn deadline_at(&self, agent: &Agent) -> Option<Instant> {
        agent.begun.checked_add(Duration::from_millis(self.spec.run.deadline_ms?))
    }

    fn stalled_at(&self, agent: &Agent) -> Option<Instant> {
        agent.last_stdout.checked_add(Duration::from_millis(self.spec.run.stall_ms?))
    }

    fn wake_at(&self, agent: &Agent, ending: Option<&Ending>, next_check: Instant) -> Instant {
        match ending {
            Some(ending) => ending.kill_at.max(Instant::now() + KILL_AGAIN),
            None => [self.deadline_at(agent), self.stalled_at(agent)]
                .into_iter()
                .flatten()
                .fold(next_check, Instant::min),
        }
    }

    fn receipt(&self, agent: &Agent, status: Status, ended_by_us: Option<ExitReason>) -> Exit {
        let exec_failed = status.code == Some(i32::from(EXEC_FAILED));
        if let Some(error) = exec_failed.then(|| exec_error(&self.run_dir)).flatten() {
            return self.receipt_of_nothing(error.into());
        }
        let hooks = &self.spec.hooks;
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok();
        let ms = |time: nix::sys::time::TimeVal| (time.tv_sec() * 1000 + time.tv_usec() / 1000) as u64;
        Exit {
            code: status.code,
            signal: status.signal,
            reason: ended_by_us.unwrap_or(ExitReason::Exited),
            error: None,
            started: agent.started.clone(),
            ended: clock::moment(&self.host.boot_id),
            cpu_ms: usage.map_or(0, |usage| ms(usage.user_time()) + ms(usage.system_time())),
            peak_kib: usage.map_or(0, |usage| usage.max_rss().unsigned_abs()),
            reported: agent.listener.said().clone(),
            after_run_ms: Some(hooks.each_ms).filter(|_| !hooks.after_run.is_empty()),
            done: None,
            room: self.room(),
            limit_ms: match ended_by_us {
                Some(ExitReason::Deadline) => self.spec.run.deadline_ms,
                Some(ExitReason::Stalled) => self.spec.run.stall_ms,
                _ => None,
            },
        }
    }
}

/// Whether a receipt could not be written for want of room.
fn is_for_want_of_room(error: &anyhow::Error) -> bool {
    let of_system = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    let mut kinds = of_system.map(std::io::Error::kind);
    kinds.any(|kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

/// What `__exec` left behind, if it could not become the agent.
fn exec_error(run_dir: &RunDir) -> Option<ExecError> {
    run_dir.open().ok()??.exec_error()
}
