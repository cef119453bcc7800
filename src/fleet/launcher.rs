//! `factory-tick __launch <run directory>`: one run's own small supervisor.
//!
//! It claims the run, starts the agent, keeps its logs, ends it at its deadline, and writes down how it
//! ended and that nothing of it is left. As a child subreaper it stays the ancestor of everything the agent
//! starts, whatever that does to its session, group or environment. It needs nobody: no tick may ever come
//! back, and everything it is told or tells goes through files that are whole or absent.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::exec::{EXEC_FAILED, ExecError};
use super::logs::BoundedLog;
use super::protected;
use super::rundir::{EXIT, PROMPT, RunDir, SAID, SWEPT, Spec};
use super::said::Listener;
use crate::clock;
use crate::model::{Claim, Claimed, Exit, ExitReason, Moment, Process, Refusal, Swept};
use crate::process::identity::{self, Host};
use crate::process::signal::Guard;
use crate::process::sweep;
use crate::store::{Lock, LockError, atomic};

/// How often a launcher looks whether its run directory is still there: `git clean -ffdx` in a checkout
/// takes the state with it, and a run that nobody knows of any more must not go on.
///
/// Often, because a tick may find the place empty meanwhile and start the same item anew.
const DIRECTORY_CHECK: Duration = Duration::from_secs(1);

/// How soon what was killed and has not ended is killed again.
const KILL_AGAIN: Duration = Duration::from_millis(20);

/// What a sweep may take beyond its grace.
const SWEEP_SLACK: Duration = Duration::from_secs(2);

/// One read from a stream.
const READ_BYTES: usize = 64 << 10;

/// Runs a launcher to its end.
pub fn launch(run_dir: PathBuf) -> Result<()> {
    detach()?;
    // It was started as /proc/self/exe, and "exe" tells nobody anything.
    let _ = rustix::thread::set_name(c"factory-launch");
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("cannot become a subreaper")?;
    let signals = watch_signals()?;
    let run_dir = RunDir::pinned(run_dir)?;
    let spec = read_spec(&run_dir)?;
    let host = Host::read()?;
    let me = identity::own(&host)?;
    let Some(_live) = take_live_lock(&run_dir, &spec, &me)? else { return Ok(()) };
    let claimed = Claimed { process: me, since: clock::moment(&host.boot_id) };
    if !run_dir.link_claim(&Claim::Launcher(Box::new(claimed.clone())))? {
        return Ok(());
    }
    // Moved away before it was claimed: nobody looks there any more.
    if !run_dir.is_still_there() {
        return Ok(());
    }
    Launcher { run_dir, spec, host, claimed, signals, claimed_at: Instant::now() }.run()
}

/// What this run was asked to be.
pub(super) fn read_spec(run_dir: &RunDir) -> Result<Spec> {
    let gone = || format!("there is no spec.json in {}", run_dir.path().display());
    run_dir.open()?.with_context(gone)?.spec()?.with_context(gone)
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

fn watch_signals() -> Result<SignalFd> {
    let mut watched = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
        watched.add(signal);
    }
    let mut blocked = watched;
    // A limit on file sizes is to cost a part of a log, not the run: the write fails instead.
    blocked.add(Signal::SIGXFSZ);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None).context("cannot block signals")?;
    SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("cannot watch signals")
}

/// The lock that keeps two launchers of one agent apart. `None`: another one lives, and the claim says so.
fn take_live_lock(run_dir: &RunDir, spec: &Spec, me: &Process) -> Result<Option<Lock>> {
    let live =
        atomic::open_dir(&spec.live).with_context(|| format!("cannot open {}", spec.live.display()))?;
    match Lock::try_take(live, &spec.run.agent.0, me) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Busy(_)) => {
            let because = format!("another launcher of {} is alive", spec.run.agent);
            run_dir.link_claim(&Claim::Refused(Refusal { because, duplicate: true }))?;
            Ok(None)
        }
        Err(error @ (LockError::Io(_) | LockError::CalledOff)) => {
            // Said in the claim, so that the next tick need not wait for the end of the start grace.
            let because = format!("cannot take the lock of {}: {error}", spec.run.agent);
            run_dir.link_claim(&Claim::Refused(Refusal { because, duplicate: false }))?;
            Ok(None)
        }
    }
}

struct Launcher {
    run_dir: RunDir,
    spec: Spec,
    host: Host,
    claimed: Claimed,
    signals: SignalFd,
    claimed_at: Instant,
}

/// An agent that runs.
struct Agent {
    pid: Pid,
    started: Moment,
    stdout: Stream,
    stderr: Stream,
    listener: Listener,
    last_stdout: Instant,
}

/// One of its output streams; `None` at its end.
struct Stream {
    pipe: Option<File>,
    log: BoundedLog,
}

/// What the machine said of a process that ended.
#[derive(Clone, Copy)]
struct Status {
    code: Option<i32>,
    signal: Option<i32>,
}

/// Why there was no main process at all.
struct NeverRan {
    reason: ExitReason,
    error: String,
}

impl From<ExecError> for NeverRan {
    fn from(error: ExecError) -> NeverRan {
        let reason = if error.is_machines_fault() { ExitReason::Infra } else { ExitReason::Launch };
        NeverRan { reason, error: error.text }
    }
}

/// That the agent is being ended, why, and until when it may tidy up.
struct Ending {
    reason: ExitReason,
    kill_at: Instant,
}

impl Launcher {
    fn run(self) -> Result<()> {
        let (mut guard, mut agent) = match self.start() {
            Ok(started) => started,
            Err(never_ran) => return self.close(&self.receipt_of_nothing(never_ran)),
        };
        let (status, ending) = self.watch(&mut agent, &mut guard);
        agent.drain(&self.run_dir);
        let exit = self.receipt(&agent, status, ending.as_ref().map(|ending| ending.reason));
        let written = self.run_dir.put(EXIT, &exit);
        // What the agent was given of its grace, its children are not given again.
        let left = ending
            .map_or(self.spec.grace(), |ending| ending.kill_at.saturating_duration_since(Instant::now()));
        self.renew(&mut guard);
        let survivors = sweep::sweep_descendants(&self.host, &guard, left, left + SWEEP_SLACK);
        agent.drain(&self.run_dir);
        agent.finish_logs();
        if written.is_err() {
            // The disk was full, perhaps; what the agent left may have been why. Once more, then it is
            // for a tick to find out.
            self.run_dir.put(EXIT, &exit)?;
        }
        self.run_dir.put(SWEPT, &Swept { by: "launcher".into(), survivors })
    }

    /// The agent's directory: made when missing, and certain to lie inside its root.
    fn workspace(&self) -> Result<PathBuf, NeverRan> {
        let make = || -> Result<PathBuf> {
            let root = &self.spec.workspace_root;
            fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
            let root = root.canonicalize()?;
            let path = root.join(&self.spec.workspace);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
                _ => {}
            }
            let real = path.canonicalize()?;
            ensure!(real == path, "it is really {}, outside its root", real.display());
            ensure!(real.is_dir(), "it is not a directory");
            Ok(real)
        };
        make().map_err(|error| {
            let path = self.spec.workspace_root.join(&self.spec.workspace);
            let error = format!("workspace {}: {error:#}", path.display());
            NeverRan { reason: ExitReason::Launch, error }
        })
    }

    fn spawn(&self, workspace: &Path) -> Result<Child, NeverRan> {
        let root = workspace.parent().unwrap_or(workspace);
        let start = || -> std::io::Result<Child> {
            let prompt = File::open(self.run_dir.file(PROMPT))?;
            #[expect(clippy::disallowed_methods, reason = "the launcher is what starts agents")]
            let mut command = Command::new("/proc/self/exe");
            command
                .arg("__exec")
                .arg(self.run_dir.path())
                .arg(self.claimed.process.pid.to_string())
                .current_dir(workspace)
                .env("FACTORY_WORKSPACE", workspace)
                // A plain workspace inside a repository must not let git find that repository.
                .env("GIT_CEILING_DIRECTORIES", root)
                .stdin(prompt)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        };
        start().map_err(|error| {
            let text = format!("cannot start a process: {error}");
            ExecError { text, os: error.raw_os_error() }.into()
        })
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
            said: Default::default(),
        }
    }

    /// Nothing was started, so nothing is to be ended.
    fn close(&self, exit: &Exit) -> Result<()> {
        self.run_dir.put(EXIT, exit)?;
        self.run_dir.put(SWEPT, &Swept { by: "launcher".into(), survivors: Vec::new() })
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

    /// Everything that can fail comes before the agent is started: after that it has to be looked after.
    fn start(&self) -> Result<(Guard, Agent), NeverRan> {
        let infra = |error: String| NeverRan { reason: ExitReason::Infra, error };
        let guard = self
            .guard()
            .map_err(|error| infra(format!("cannot tell who must never be signalled: {error:#}")))?;
        let log = |name: &str| {
            BoundedLog::create(self.run_dir.file(name), self.spec.log_bytes_max)
                .map_err(|error| infra(format!("cannot create {name}: {error}")))
        };
        let (stdout_log, stderr_log) = (log("stdout.log")?, log("stderr.log")?);
        let workspace = self.workspace()?;
        let mut child = self.spawn(&workspace)?;
        let agent = Agent {
            // A pid is positive and far below this bound: the kernel's limit is 2^22.
            pid: Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX)),
            started: clock::moment(&self.host.boot_id),
            stdout: Stream { pipe: child.stdout.take().map(unblocked), log: stdout_log },
            stderr: Stream { pipe: child.stderr.take().map(unblocked), log: stderr_log },
            listener: Listener::of(&self.spec),
            last_stdout: Instant::now(),
        };
        Ok((guard, agent))
    }

    /// Until the main process has ended, by itself or by us.
    fn watch(&self, agent: &mut Agent, guard: &mut Guard) -> (Status, Option<Ending>) {
        let mut ending: Option<Ending> = None;
        let mut next_check = Instant::now() + DIRECTORY_CHECK;
        loop {
            if let Some(status) = reap(agent.pid) {
                return (status, ending);
            }
            let now = Instant::now();
            // Read on every turn, or what nobody reads keeps the wait below from waiting.
            let told_to_stop = self.told_to_stop();
            match &ending {
                None => {
                    let reason = if told_to_stop {
                        Some(ExitReason::Stopped)
                    } else {
                        self.reason_to_end(agent, now, &mut next_check)
                    };
                    if let Some(reason) = reason {
                        self.renew(guard);
                        sweep::signal_descendants(&self.host, guard, rustix::process::Signal::TERM);
                        ending = Some(Ending { reason, kill_at: now + self.spec.grace() });
                    }
                }
                // Again and again, until the main process is gone: one look can fail, or miss a newcomer.
                Some(ending) if ending.kill_at <= now => {
                    sweep::signal_descendants(&self.host, guard, rustix::process::Signal::KILL);
                }
                Some(_) => {}
            }
            self.wait(agent, self.wake_at(agent, ending.as_ref(), next_check));
            agent.drain(&self.run_dir);
        }
    }

    fn told_to_stop(&self) -> bool {
        let mut told = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            told |= signal.ssi_signo != Signal::SIGCHLD as u32;
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
        if self.deadline_at().is_some_and(|at| at <= now) {
            return Some(ExitReason::Deadline);
        }
        self.stalled_at(agent).is_some_and(|at| at <= now).then_some(ExitReason::Stalled)
    }

    fn deadline_at(&self) -> Option<Instant> {
        self.claimed_at.checked_add(Duration::from_millis(self.spec.deadline_ms?))
    }

    fn stalled_at(&self, agent: &Agent) -> Option<Instant> {
        agent.last_stdout.checked_add(Duration::from_millis(self.spec.stall_ms?))
    }

    fn wake_at(&self, agent: &Agent, ending: Option<&Ending>, next_check: Instant) -> Instant {
        match ending {
            Some(ending) => ending.kill_at.max(Instant::now() + KILL_AGAIN),
            None => [self.deadline_at(), self.stalled_at(agent)]
                .into_iter()
                .flatten()
                .fold(next_check, Instant::min),
        }
    }

    /// Sleeps until a signal, output, or that instant.
    fn wait(&self, agent: &Agent, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut files = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        for pipe in [&agent.stdout.pipe, &agent.stderr.pipe].into_iter().flatten() {
            files.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
        }
        // Interrupted or not, the loop looks at everything again.
        let _ = poll(&mut files, Some(&timeout));
    }

    fn receipt(&self, agent: &Agent, status: Status, ended_by_us: Option<ExitReason>) -> Exit {
        let exec_failed = status.code == Some(i32::from(EXEC_FAILED));
        if let Some(error) = exec_failed.then(|| exec_error(&self.run_dir)).flatten() {
            return self.receipt_of_nothing(error.into());
        }
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
            said: agent.listener.said().clone(),
        }
    }
}

/// The reading end of a stream, never waited for. Setting a flag on a pipe of one's own can't fail.
fn unblocked(pipe: impl Into<OwnedFd>) -> File {
    let pipe = File::from(pipe.into());
    let _ = rustix::fs::fcntl_setfl(&pipe, rustix::fs::OFlags::NONBLOCK);
    pipe
}

/// What `__exec` left behind, if it could not become the agent.
fn exec_error(run_dir: &RunDir) -> Option<ExecError> {
    run_dir.open().ok()??.exec_error()
}

/// Takes every child that has ended; the main one's status, if it is among them. Orphans of the agent end
/// as children of the launcher and would otherwise stay as zombies for as long as it runs.
fn reap(main: Pid) -> Option<Status> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == main => {
                return Some(Status { code: Some(code), signal: None });
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => {
                return Some(Status { code: None, signal: Some(signal as i32) });
            }
            Ok(WaitStatus::StillAlive) => return None,
            // Nothing is left to wait for, the main process included: nobody can tell how it ended.
            Err(nix::errno::Errno::ECHILD) => return Some(Status { code: None, signal: None }),
            Ok(_) | Err(_) => {}
        }
    }
}

impl Agent {
    /// Takes what both streams hold by now.
    fn drain(&mut self, run_dir: &RunDir) {
        let (listener, last_stdout) = (&mut self.listener, &mut self.last_stdout);
        self.stdout.drain(|bytes| {
            if listener.hear(bytes) {
                *last_stdout = Instant::now();
            }
        });
        self.stderr.drain(|_| {});
        if let Some(news) = self.listener.news()
            && let Err(error) = run_dir.put(SAID, news)
        {
            log::warn!("{error:#}");
        }
    }

    fn finish_logs(self) {
        for stream in [self.stdout, self.stderr] {
            // The log is for people; the receipts are what counts.
            if let Err(error) = stream.log.finish() {
                log::warn!("a log could not be completed: {error}");
            }
        }
    }
}

impl Stream {
    fn drain(&mut self, mut hear: impl FnMut(&[u8])) {
        let mut buffer = [0; READ_BYTES];
        // Bounded: a stream that never pauses must not keep the launcher from its deadline.
        for _ in 0..64 {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    hear(&buffer[..count]);
                    // A full disk costs a part of the log, never the run.
                    let _ = self.log.append(&buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }
}
