//! An agent that runs, and its output.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

use crate::clock;
use crate::launcher::child::{self, Pipe};
use crate::launcher::context::{Launcher, NeverRan};
use crate::launcher::hooks::HookLog;
use crate::launcher::stdout::StdoutParser;
use crate::launcher::terminal::Relay;
use crate::model::ClockReading;
use crate::run::directory::{PROMPT, RunDir, SAID};
use crate::run::log::BoundedLog;
use crate::run::machine;
use crate::run::notes::ExecError;

/// An agent that runs.
pub(crate) struct Agent {
    pub(crate) pid: Pid,
    /// Its deadline counts from here.
    pub(crate) begun: Instant,
    pub(crate) started: ClockReading,
    /// What it says, also where it says it in a terminal: there stderr has nothing.
    stdout: Stream,
    stderr: Stream,
    /// Between it and the terminal that the run was given.
    relay: Option<Relay>,
    pub(crate) listener: StdoutParser,
    pub(crate) last_stdout: Instant,
}

/// One of its output streams.
struct Stream {
    pipe: Pipe,
    log: BoundedLog,
}

impl Launcher {
    /// Everything that can fail comes before the agent is started: after that it has to be looked after.
    pub(crate) fn start(&self, hooks_log: &mut HookLog) -> Result<Agent, NeverRan> {
        let infra = |error: io::Error, what: String| {
            let error = anyhow::Error::new(error).context(what);
            NeverRan { reason: machine::reason_of(&error), error: format!("{error:#}") }
        };
        let log = |name: &str| {
            BoundedLog::create(self.run_dir.file(name), self.spec.log_bytes_max)
                .map_err(|error| infra(error, format!("cannot create {name}")))
        };
        let (stdout_log, stderr_log) = (log("stdout.log")?, log("stderr.log")?);
        let (relay, screen) =
            self.relay().map_err(|error| infra(error, "cannot make its terminal".to_owned()))?;
        let workspace = self.prepare(hooks_log)?;
        let begun = if self.spec.hooks.is_none() { self.claimed_at } else { Instant::now() };
        let mut child = self.spawn(&workspace, relay.as_ref())?;
        let stdout = screen.or_else(|| child.stdout.take().map(OwnedFd::from));
        Ok(Agent {
            begun,
            pid: child::pid(&child),
            started: clock::moment(&self.host.boot_id),
            stdout: Stream { pipe: Pipe::new(stdout), log: stdout_log },
            stderr: Stream { pipe: Pipe::new(child.stderr.take()), log: stderr_log },
            relay,
            listener: StdoutParser::of(&self.spec),
            last_stdout: Instant::now(),
        })
    }

    /// What stands between the agent and the terminal that the run was given, and what shows the agent's own.
    fn relay(&self) -> io::Result<(Option<Relay>, Option<OwnedFd>)> {
        let relay = self.spec.terminal.map(Relay::new).transpose()?;
        let screen = relay.as_ref().map(Relay::screen).transpose()?.flatten();
        Ok((relay, screen))
    }

    fn spawn(&self, workspace: &Path, relay: Option<&Relay>) -> Result<Child, NeverRan> {
        let root = workspace.parent().unwrap_or(workspace);
        let start = || -> io::Result<Child> {
            let (stdin, stdout, stderr) = self.stdio(relay)?;
            #[expect(clippy::disallowed_methods, reason = "the launcher is what starts agents")]
            let mut command = Command::new("/proc/self/exe");
            command
                .arg("__exec")
                .arg(std::process::id().to_string())
                .arg(self.run_dir.path())
                .current_dir(workspace)
                .envs(&self.vars)
                .env("FACTORY_WORKSPACE", workspace)
                .env("FACTORY_PROMPT_FILE", self.run_dir.file(PROMPT))
                // A plain workspace inside a repository must not let git find that repository.
                .env("GIT_CEILING_DIRECTORIES", root)
                .stdin(stdin)
                .stdout(stdout)
                .stderr(stderr)
                .spawn()
        };
        start().map_err(|error| {
            let text = format!("cannot start a process: {error}");
            ExecError { text, os: error.raw_os_error() }.into()
        })
    }

    fn stdio(&self, relay: Option<&Relay>) -> io::Result<(Stdio, Stdio, Stdio)> {
        Ok(match relay.map(Relay::slave).transpose()?.flatten() {
            Some(slave) => (slave.try_clone()?.into(), slave.try_clone()?.into(), slave.into()),
            None => (self.run_dir.prompt()?.into(), Stdio::piped(), Stdio::piped()),
        })
    }
}

impl Agent {
    /// Sleeps until a signal, something to pass on, or that instant.
    pub(crate) fn wait(&self, signals: &SignalFd, until: Instant) {
        let pipes = [&self.stdout.pipe, &self.stderr.pipe];
        child::wait_also(signals, &pipes, self.relay.iter().flat_map(Relay::awaits), until);
    }

    /// Takes what both streams hold by now, and passes on what its terminal and the given one have for each other.
    pub(crate) fn drain(&mut self, run_dir: &RunDir) {
        let (listener, last_stdout) = (&mut self.listener, &mut self.last_stdout);
        let (out, err) = (&mut self.stdout.log, &mut self.stderr.log);
        let relay = &mut self.relay;
        let mut show = |bytes: &[u8]| {
            if let Some(relay) = relay {
                relay.show(bytes);
            }
        };
        // A full disk costs a part of a log, never the run.
        self.stdout.pipe.drain(|bytes| {
            if listener.feed(bytes) {
                *last_stdout = Instant::now();
            }
            let _ = out.append(bytes);
            show(bytes);
        });
        self.stderr.pipe.drain(|bytes| {
            let _ = err.append(bytes);
            show(bytes);
        });
        if let Some(relay) = &mut self.relay {
            relay.turn();
        }
        if let Some(news) = self.listener.news()
            && let Err(error) = run_dir.put(SAID, news)
        {
            log::warn!("{error:#}");
        }
    }

    pub(crate) fn finish_logs(self) {
        for stream in [self.stdout, self.stderr] {
            // The log is for people; the receipts are what counts.
            if let Err(error) = stream.log.finish() {
                log::warn!("a log could not be completed: {error}");
            }
        }
    }
}
