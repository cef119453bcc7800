//! `factory-tick __exec <parent pid> <run directory> [-- <program> <arguments>]`: the last step before an agent's
//! program, or before that of a hook. The directory is empty for a hook of no run.
//!
//! It runs between the parent's fork and the program's exec, where the parent itself could do nothing safely: it binds
//! its life to the parent's, puts signals back to their defaults and becomes the program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use signal_hook::consts as sig;

use crate::run::directory::{EXEC_ERROR, RunDir};
use crate::run::notes::ExecError;
use crate::run::spec::Terminal;
use crate::run::tags;

/// What `__exec` exits with when the program can't be executed; the reason is in the run directory.
pub const EXEC_FAILED: u8 = 127;

/// Becomes the agent of a run, or `hook`, and dies with `parent`. Returns only with an error. That of an agent is in the
/// run directory too.
pub fn become_program(parent: i32, run_dir: Option<PathBuf>, hook: Option<Vec<OsString>>) -> anyhow::Error {
    let run_dir = run_dir.map(RunDir::new);
    let is_agent = hook.is_none();
    let failure = match prepare(parent, run_dir.as_ref(), hook) {
        Ok(mut command) => {
            let error = command.exec();
            let os = error.raw_os_error();
            let program = command.get_program().to_string_lossy().into_owned();
            ExecError { text: format!("cannot execute {program}: {error}"), os }
        }
        Err(error) => ExecError { text: format!("{error:#}"), os: None },
    };
    anyhow::anyhow!(match run_dir.filter(|_| is_agent) {
        Some(run_dir) => leave(&run_dir, failure),
        None => failure.text,
    })
}

fn leave(run_dir: &RunDir, error: ExecError) -> String {
    if let Err(unwritten) = run_dir.put(EXEC_ERROR, &error) {
        return format!("{} ({unwritten:#})", error.text);
    }
    error.text
}

fn prepare(parent: i32, run_dir: Option<&RunDir>, hook: Option<Vec<OsString>>) -> Result<Command> {
    bind_to(parent)?;
    let spec = match run_dir {
        Some(run_dir) => {
            let spec = run_dir.spec()?;
            tags::inherit(run_dir, &spec.marker());
            Some(spec)
        }
        None => None,
    };
    let argv = match hook {
        Some(argv) => argv,
        None => {
            let spec = spec.context("it has no run directory")?;
            if spec.terminal == Some(Terminal::Own) {
                take_terminal().context("cannot make its terminal its own")?;
            }
            spec.argv.into_iter().map(OsString::from).collect()
        }
    };
    let (program, args) = argv.split_first().context("its command is empty")?;
    #[expect(clippy::disallowed_methods, reason = "this process becomes the agent, or a hook")]
    let mut command = Command::new(program);
    command.args(args);
    Ok(command)
}

/// What stdin is becomes the controlling terminal, with this process as the leader of its session: what is typed there
/// may mean a signal, to this session and to nobody else.
fn take_terminal() -> std::io::Result<()> {
    rustix::process::setsid()?;
    Ok(rustix::process::ioctl_tiocsctty(std::io::stdin())?)
}

/// From here on this process dies with its parent, and signals mean to it what they mean to everybody.
fn bind_to(parent: i32) -> Result<()> {
    hear_death_of(parent, Signal::KILL)?;
    default_signals()
}

/// From here on this process is sent that signal when its parent dies.
pub(crate) fn hear_death_of(parent: i32, signal: Signal) -> Result<()> {
    set_parent_process_death_signal(Some(signal)).context("cannot bind to the life of its parent")?;
    // It may have died before that took effect.
    if getppid().map(Pid::as_raw_nonzero).map(i32::from) != Some(parent) {
        bail!("its parent, pid {parent}, is dead");
    }
    Ok(())
}

/// An ignored signal stays ignored across exec, a caught one falls back to its default: so each is caught.
fn default_signals() -> Result<()> {
    let never_read = Arc::new(AtomicBool::new(false));
    let ignorable = [
        sig::SIGHUP,
        sig::SIGINT,
        sig::SIGQUIT,
        sig::SIGPIPE,
        sig::SIGALRM,
        sig::SIGTERM,
        sig::SIGUSR1,
        sig::SIGUSR2,
        sig::SIGCHLD,
        sig::SIGCONT,
        sig::SIGTSTP,
        sig::SIGTTIN,
        sig::SIGTTOU,
        sig::SIGWINCH,
        sig::SIGURG,
        sig::SIGXCPU,
        sig::SIGXFSZ,
        sig::SIGVTALRM,
        sig::SIGPROF,
        sig::SIGIO,
        sig::SIGSYS,
        sig::SIGTRAP,
        sig::SIGABRT,
    ];
    for signal in ignorable {
        signal_hook::flag::register(signal, never_read.clone())
            .with_context(|| format!("cannot reset signal {signal}"))?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("cannot unblock signals")
}
