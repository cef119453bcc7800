//! What a launcher does around its agent: it sees to the workspace, and runs the hooks.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::launcher::child;
use crate::launcher::context::{Launcher, NeverRan};
use crate::launcher::hooks::{self, Hook, HookEnd, HookLog};
use crate::model::ExitReason;
use crate::run::{machine, tmp};
use crate::workspace::ledger::WorkspaceLedger;
use crate::workspace::ownership::Taken;
use crate::workspace::{Place, SetUp};

/// This program, whatever it is called and wherever it has been moved meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// How often a launcher asks whether another one has set their workspace up.
const ASK_EVERY: Duration = Duration::from_millis(100);

impl Launcher {
    /// Everything that comes before the agent: a workspace that is ready, and the hooks.
    pub(crate) fn prepare(&self, log: &mut HookLog) -> Result<PathBuf, NeverRan> {
        let workspace = self.workspace(log)?;
        self.hook("before_run", &self.spec.hooks.before_run, &workspace, log)?;
        Ok(workspace)
    }

    /// Gives all that it starts a temporary directory of the run's own. An agent can do without: then it has what it was
    /// given.
    pub(crate) fn take_tmp(&mut self, log: &mut HookLog) {
        match tmp::make(&self.run_dir, self.spec.tmp_root.as_deref()) {
            Ok(path) => {
                self.vars.insert("TMPDIR".into(), path.clone().into());
                self.tmp = Some(path);
            }
            Err(error) => log.note(&format!("it has no temporary directory of its own: {error:#}")),
        }
    }

    /// The agent's directory: made and set up when missing, and certain to lie inside its root.
    fn workspace(&self, log: &mut HookLog) -> Result<PathBuf, NeverRan> {
        let unusable = |error: anyhow::Error| self.unusable_workspace(&error);
        let place = Place::new(&self.spec.workspace_root, &self.spec.snapshot.workspace).map_err(unusable)?;
        // Before anything is made or done in it: another factory may have claimed it since the tick looked.
        let state = self.spec.live.parent().unwrap_or(&self.spec.live);
        place.claim(&self.spec.lineage, state).map_err(unusable)?;
        if self.spec.hooks.after_create.is_empty() && !place.is_marked() {
            if place.make().map_err(unusable)? {
                self.note_made(place.folder().map_err(unusable)?, log);
            }
        } else {
            self.set_up(&place, log)?;
        }
        Ok(place.folder().map_err(unusable)?.to_owned())
    }

    fn set_up(&self, place: &Place, log: &mut HookLog) -> Result<(), NeverRan> {
        let unusable = |error: anyhow::Error| self.unusable_workspace(&error);
        let patience = Instant::now() + Duration::from_millis(self.spec.hooks.each_ms);
        loop {
            match place.set_up().map_err(unusable)? {
                SetUp::Done => return Ok(()),
                SetUp::Ours(unfinished) => {
                    let folder = place.folder().map_err(unusable)?;
                    self.note_made(folder, log);
                    self.hook("after_create", &self.spec.hooks.after_create, folder, log)?;
                    return place.finish(unfinished).map_err(unusable);
                }
                SetUp::Others if self.called_off() => {
                    return Err(stopped("while it waited for its workspace"));
                }
                SetUp::Others if patience <= Instant::now() => {
                    let error =
                        "another run of its item does not come to an end with setting up their workspace";
                    return Err(NeverRan { reason: ExitReason::Infra, error: error.to_owned() });
                }
                SetUp::Others => child::wait(&self.signals, &[], Instant::now() + ASK_EVERY),
            }
        }
    }

    /// After the folder is there: one that was there before must never be taken for ours. An agent can do without.
    fn note_made(&self, folder: &Path, log: &mut HookLog) {
        if let Err(error) = WorkspaceLedger::at(self.spec.made.clone()).note(folder) {
            log.note(&format!(
                "its workspace will never be removed: that it was made can't be noted: {error}"
            ));
        }
    }

    fn unusable_workspace(&self, error: &anyhow::Error) -> NeverRan {
        let path = self.spec.workspace_root.join(&self.spec.snapshot.workspace);
        let error_text = format!("workspace {}: {error:#}", path.display());
        NeverRan { reason: why_unusable(error), error: error_text }
    }

    /// A hook without which there is no agent.
    fn hook(
        &self,
        name: &'static str,
        argv: &[String],
        workspace: &Path,
        log: &mut HookLog,
    ) -> Result<(), NeverRan> {
        match self.run_hook(name, argv, workspace, self.hook_timeout(), log) {
            HookEnd::Well => Ok(()),
            HookEnd::Badly { why, .. } => {
                Err(NeverRan { reason: ExitReason::Hook, error: format!("the {name} hook failed: {why}") })
            }
            HookEnd::CalledOff => Err(stopped(&format!("during the {name} hook"))),
            HookEnd::NotStarted(error) => {
                let text = format!("the {name} hook: cannot start a process: {error}");
                let error = anyhow::Error::new(error).context(text);
                Err(NeverRan { reason: machine::reason_of(&error), error: error.to_string() })
            }
        }
    }

    fn hook_timeout(&self) -> Duration {
        Duration::from_millis(self.spec.hooks.timeout_ms)
    }

    pub(crate) fn run_hook(
        &self,
        name: &str,
        argv: &[String],
        workspace: &Path,
        timeout: Duration,
        log: &mut HookLog,
    ) -> HookEnd {
        if argv.is_empty() {
            return HookEnd::Well;
        }
        let (run_dir, more_vars) = (Some(self.run_dir.path()), &self.vars);
        let hook = Hook { name, argv, workspace, timeout, run_dir, vars: None, more_vars };
        let mut off = false;
        let mut called_off = || {
            off |= self.called_off();
            off
        };
        let end = hooks::run(&hook, Path::new(THIS_PROGRAM), &self.signals, log, &mut called_off);
        if off && !matches!(end, HookEnd::CalledOff) {
            self.unheeded.set(true);
        }
        end
    }

    /// The hook after an agent. The agent may have left anything in the place of its workspace.
    ///
    /// # Errors
    ///
    /// Why it did not end well.
    pub(crate) fn after_run(&self, log: &mut HookLog) -> Result<(), String> {
        let place = Place::new(&self.spec.workspace_root, &self.spec.snapshot.workspace);
        match place
            .as_ref()
            .map_err(|error| format!("{error:#}"))
            .and_then(|place| place.folder().map_err(|error| format!("{error:#}")))
        {
            Ok(workspace) => {
                let (argv, timeout) = (&self.spec.hooks.after_run, self.hook_timeout());
                match self.run_hook("after_run", argv, workspace, timeout, log) {
                    HookEnd::Well => Ok(()),
                    end => Err(end.to_string()),
                }
            }
            Err(why) => {
                log.note(&format!("after_run: not run: its workspace: {why}"));
                Err(format!("not run: its workspace: {why}"))
            }
        }
    }

    /// Whether somebody wants the run to end, or has taken its directory away.
    pub(crate) fn called_off(&self) -> bool {
        self.is_stop_requested() || !self.run_dir.is_still_there()
    }
}

/// What the machine was short of is nothing that the workspace can be charged with. Nor is that another factory was first:
/// the next tick sees that, and holds the item.
fn why_unusable(error: &anyhow::Error) -> ExitReason {
    if error.is::<Taken>() {
        return ExitReason::Infra;
    }
    match machine::reason_of(error) {
        ExitReason::Machine => ExitReason::Machine,
        _ => ExitReason::Launch,
    }
}

pub(crate) fn stopped(when: &str) -> NeverRan {
    NeverRan { reason: ExitReason::Stopped, error: format!("told to stop {when}") }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    // Origin: a launcher that had no file descriptor left for the folder of workspaces, or read it from a disk that failed,
    // had its item charged as if there were something wrong with that folder. A program that could not be executed for
    // the same reason cost nothing.
    // covers: F67
    #[test]
    fn a_workspace_is_not_charged_with_what_the_machine_was_short_of() {
        use rustix::io::Errno;
        let reason = |errno: Errno| {
            let error = std::io::Error::from_raw_os_error(errno.raw_os_error());
            why_unusable(&Err::<(), _>(error).context("what was done").unwrap_err())
        };
        for errno in
            [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO, Errno::AGAIN, Errno::ROFS, Errno::NOSPC]
        {
            assert_eq!(reason(errno), ExitReason::Machine, "{errno}");
        }
        for errno in [Errno::ACCESS, Errno::NOTDIR] {
            assert_eq!(reason(errno), ExitReason::Launch, "{errno}");
        }
        assert_eq!(why_unusable(&anyhow::anyhow!("it is not a directory")), ExitReason::Launch);
    }
}
