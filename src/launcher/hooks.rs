//! Hooks: programs of the configuration that run around an agent, in its workspace and its environment.
//!
//! Only the `before_remove` hook belongs to no run: a fleet runs it.
//!
//! One runs until its main process ends or its time is up. What it left running then is left to the caller, who
//! ends it with everything else below: a hook may well start what its agent needs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fmt, io};

use nix::sys::signalfd::SignalFd;

use crate::launcher::child::{self, Pipe, Status};
use crate::run::env::Vars;
use crate::run::log::BoundedLog;
use crate::text::cut::excerpt;
use crate::text::escape;

/// How soon a hook learns that it is called off for another reason than a signal.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How much of the end of stderr is kept for its last line.
const TAIL_BYTES: usize = 4096;

/// What a sweep may take beyond its grace.
pub(crate) const SWEEP_SLACK: Duration = Duration::from_secs(2);

/// A hook that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Hook<'a> {
    /// Its name, for people.
    pub name: &'a str,
    /// Program and arguments, as [`resolve`](crate::run::hooks::resolve) leaves them; not empty.
    pub argv: &'a [String],
    /// Where it runs, absolute.
    pub workspace: &'a Path,
    /// The longest that it may take.
    pub timeout: Duration,
    /// The directory of the run that it belongs to; `None`: to none.
    pub run_dir: Option<&'a Path>,
    /// Its environment; `None`: that of this process.
    pub vars: Option<&'a Vars>,
    /// What is set above that.
    pub more_vars: &'a Vars,
}

/// How it ended.
#[derive(Debug)]
pub enum HookEnd {
    /// With 0.
    Well,
    /// Otherwise.
    Badly {
        /// Its exit code, where it had one.
        code: Option<i32>,
        /// Why, in words that follow its name.
        why: String,
    },
    /// It still runs and is to be ended: somebody called it off.
    CalledOff,
    /// The machine could not start it.
    NotStarted(io::Error),
}

impl fmt::Display for HookEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookEnd::Well => f.write_str("exit code 0"),
            HookEnd::Badly { why, .. } => f.write_str(why),
            HookEnd::CalledOff => f.write_str("told to end"),
            HookEnd::NotStarted(error) => write!(f, "cannot start a process: {error}"),
        }
    }
}

/// Runs a hook. Its output goes to `log`; `called_off` is asked now and then, and with each of `signals`. It may say yes in
/// the moment in which the hook ends by itself: then the hook's own end is returned.
pub(crate) fn run(
    hook: &Hook<'_>,
    this_program: &Path,
    signals: &SignalFd,
    log: &mut HookLog,
    called_off: &mut dyn FnMut() -> bool,
) -> HookEnd {
    let end = match spawn(hook, this_program) {
        Ok(mut main) => watch(hook, &mut main, signals, log, called_off),
        Err(error) => HookEnd::NotStarted(error),
    };
    log.note(&format!("{}: {end}", hook.name));
    end
}

fn spawn(hook: &Hook<'_>, this_program: &Path) -> io::Result<Child> {
    #[expect(clippy::disallowed_methods, reason = "hooks are started here and nowhere else")]
    let mut command = Command::new(this_program);
    if let Some(vars) = hook.vars {
        command.env_clear().envs(vars);
    }
    command
        .arg("__exec")
        .arg(std::process::id().to_string())
        .arg(hook.run_dir.unwrap_or(Path::new("")))
        .arg("--")
        .args(hook.argv)
        .envs(hook.more_vars)
        .current_dir(hook.workspace)
        .env("FACTORY_WORKSPACE", hook.workspace)
        .env("GIT_CEILING_DIRECTORIES", hook.workspace.parent().unwrap_or(hook.workspace))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn watch(
    hook: &Hook<'_>,
    main: &mut Child,
    signals: &SignalFd,
    log: &mut HookLog,
    called_off: &mut dyn FnMut() -> bool,
) -> HookEnd {
    let pid = child::pid(main);
    let (mut stdout, mut stderr) = (Pipe::new(main.stdout.take()), Pipe::new(main.stderr.take()));
    let mut tail = Tail::default();
    let until = Instant::now().checked_add(hook.timeout);
    loop {
        // Asked first: what it printed until it ended is read after that.
        let (off, ended) = child::look(&mut *called_off, pid);
        stdout.drain(|bytes| log.append(bytes));
        stderr.drain(|bytes| {
            log.append(bytes);
            tail.feed(bytes);
        });
        let now = Instant::now();
        match ended {
            Some(status) => return tail.judge(status),
            None if off => return HookEnd::CalledOff,
            None if until.is_some_and(|until| until <= now) => {
                return HookEnd::Badly {
                    code: None,
                    why: format!(
                        "it took longer than {}",
                        escape::milliseconds(hook.timeout.as_millis() as u64)
                    ),
                };
            }
            None => {}
        }
        let look = now + LOOK_EVERY;
        child::wait(signals, &[&stdout, &stderr], until.map_or(look, |until| until.min(look)));
    }
}

/// The end of a hook's stderr.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn feed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let excess = self.0.len().saturating_sub(TAIL_BYTES);
        self.0.drain(..excess);
    }

    fn judge(&self, status: Status) -> HookEnd {
        let how = match (status.code, status.signal) {
            (Some(0), _) => return HookEnd::Well,
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        let text = String::from_utf8_lossy(&self.0);
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        let why = match last {
            Some(line) => format!("{how}: {}", excerpt(line)),
            None => how,
        };
        HookEnd::Badly { code: status.code, why }
    }
}

/// The output of a run's hooks, one after the other, bounded as a whole. There is no file before there is a hook.
pub(crate) struct HookLog {
    path: PathBuf,
    bytes_max: u64,
    log: Option<BoundedLog>,
    in_line: bool,
}

impl HookLog {
    pub(crate) fn new(path: PathBuf, bytes_max: u64) -> HookLog {
        HookLog { path, bytes_max, log: None, in_line: false }
    }

    /// A full disk costs a part of the log, never the hook.
    fn append(&mut self, bytes: &[u8]) {
        if self.log.is_none() {
            self.log = BoundedLog::create(self.path.clone(), self.bytes_max).ok();
        }
        if let Some(log) = &mut self.log {
            let _ = log.append(bytes);
        }
        self.in_line = bytes.last().map_or(self.in_line, |last| *last != b'\n');
    }

    /// A line of the launcher's own.
    pub(crate) fn note(&mut self, text: &str) {
        let begin = if self.in_line { "\n" } else { "" };
        self.append(format!("{begin}[factory-tick: {text}]\n").as_bytes());
    }

    pub(crate) fn finish(self) {
        if let Some(Err(error)) = self.log.map(BoundedLog::finish) {
            log::warn!("a log could not be completed: {error}");
        }
    }
}
