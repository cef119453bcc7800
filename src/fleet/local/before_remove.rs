//! `[hooks] before_remove`: run for one workspace after the other by the process that removes them.
//!
//! It belongs to no run, so nobody else would find what it starts: that is ended before anything else happens.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::config::Config;
use crate::launcher::child;
use crate::launcher::hooks::{self, Hook, HookEnd, HookLog, LOOK_EVERY, SWEEP_SLACK};
use crate::model::{ItemId, Survivor};
use crate::process::identity::Host;
use crate::process::signal::Guard;
use crate::process::{protected, sweep};
use crate::run::env::{self, Vars};

/// This program, whatever it is called and wherever it has been moved meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The hook, and what it prints.
pub struct BeforeRemove<'a> {
    config: &'a Config,
    host: &'a Host,
    vars: Vars,
    log: HookLog,
}

/// What a hook leaves to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Then {
    /// To remove the workspace: no hook was to be run in it.
    Remove,
    /// To remove the workspace, for it was run; or it can't be, which keeps no workspace for ever. How it went, in words.
    RemoveAfter(String),
    /// To leave the workspace alone: its item needs it again.
    Keep,
    /// To end: somebody has told this process so.
    End,
}

impl<'a> BeforeRemove<'a> {
    /// The hook that is configured, for this process and with its variables. What it prints goes to `log`, whose earlier content goes with the first line.
    pub fn new(config: &'a Config, host: &'a Host, vars: Vars, log: PathBuf) -> Self {
        BeforeRemove { config, host, vars, log: HookLog::new(log, config.log_bytes_max) }
    }

    /// Runs the hook in a workspace that is a directory, by its absolute path. `is_needed` is asked about once a second
    /// whether the item needs its workspace again: then the hook is ended.
    ///
    /// # Errors
    ///
    /// What keeps hooks from being run at all, the machine or the file of variables, and that something of this one could
    /// not be ended. The workspace had better stay.
    pub fn run(
        &mut self,
        item: &ItemId,
        workspace: &Path,
        is_needed: &mut dyn FnMut() -> bool,
    ) -> Result<Then> {
        let configured = &self.config.hooks.before_remove;
        let is_dir = workspace.symlink_metadata().is_ok_and(|data| data.is_dir());
        if configured.is_empty() || !is_dir {
            return Ok(Then::Remove);
        }
        let vars = self.vars(item)?;
        let name = format!("before_remove of {item}");
        let argv = match crate::run::hooks::resolve("before_remove hook", configured, None, workspace, &vars)
        {
            Ok(argv) => argv,
            Err(why) => {
                self.log.note(&format!("{name}: not run: {why}"));
                return Ok(Then::RemoveAfter(why));
            }
        };
        let hook = Hook {
            name: &name,
            argv: &argv,
            workspace,
            timeout: self.config.hooks.timeout,
            run_dir: None,
            vars: Some(&vars),
            more_vars: &Vars::new(),
        };
        self.look_after(&hook, is_needed)
    }

    /// The log is whole.
    pub fn finish(self) {
        self.log.finish();
    }

    /// As an agent's, but for what names a run or a role.
    fn vars(&self, item: &ItemId) -> Result<Vars> {
        let file = env::of_file(&self.config.env).map_err(anyhow::Error::msg)?;
        let mut vars = env::of_role(&self.vars, &self.config.env, &file, &[]);
        vars.insert("FACTORY_ITEM".into(), item.0.clone().into());
        Ok(vars)
    }

    fn guard(&self) -> Result<Guard> {
        let fleet = &self.config.fleet;
        protected::guard(&fleet.protected_pids, &fleet.protected_pidfiles)
    }

    /// From its start until nothing of it is left.
    fn look_after(&mut self, hook: &Hook<'_>, is_needed: &mut dyn FnMut() -> bool) -> Result<Then> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .context("cannot become a subreaper")?;
        let before = self.guard()?;
        let signals = child::watch_signals()?;
        let (mut told_to_end, mut needed, mut next_look) = (false, false, Instant::now());
        let mut called_off = || {
            told_to_end |= child::is_stop_requested(&signals);
            let now = Instant::now();
            // Each line that it prints wakes the one who watches it, and to ask means to read the registry.
            if now >= next_look {
                needed |= is_needed();
                next_look = now + LOOK_EVERY;
            }
            told_to_end || needed
        };
        let end = hooks::run(hook, Path::new(THIS_PROGRAM), &signals, &mut self.log, &mut called_off);
        let guard = self.guard().unwrap_or(before);
        let grace = self.config.fleet.grace;
        let survivors = sweep::sweep_descendants(self.host, &guard, grace, grace + SWEEP_SLACK);
        told_to_end |= child::is_stop_requested(&signals);
        child::unwatch_signals(signals)?;
        match end {
            _ if told_to_end => Ok(Then::End),
            _ if !survivors.is_empty() => bail!("the before_remove hook left {}", named(&survivors)),
            HookEnd::CalledOff => Ok(Then::Keep),
            HookEnd::NotStarted(error) => {
                Err(error).context("the before_remove hook: cannot start a process")
            }
            HookEnd::Well | HookEnd::Badly { .. } => Ok(Then::RemoveAfter(end.to_string())),
        }
    }
}

/// `sleep (4711: operation not permitted)`
fn named(survivors: &[Survivor]) -> String {
    let name = |one: &Survivor| format!("{} ({}: {})", one.comm, one.pid, one.because);
    survivors.iter().map(name).collect::<Vec<_>>().join(", ")
}
