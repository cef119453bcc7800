//! Whether the item is done: what the launcher asks once its agent has ended well.

use crate::config::DONE_COMMAND_MAX;
use crate::launcher::context::Launcher;
use crate::launcher::hooks::{HookEnd, HookLog};
use crate::model::{Exit, ExitReason};
use crate::workspace::Place;

impl Launcher {
    /// Asks `[done] command`, where the agent ended well and there is one, and puts its answer into the receipt. What it
    /// prints goes to the log of the hooks, and what is left of it is swept with what the agent left.
    ///
    /// Told to stop before there is an answer, the run was stopped: the next one asks again. That is no failure of the
    /// command, for which a person would have to look.
    pub(crate) fn ask_done(&self, exit: &mut Exit, log: &mut HookLog) {
        if self.spec.done.is_empty() || exit.reason != ExitReason::Exited || exit.code != Some(0) {
            return;
        }
        let end = self.run_done(log);
        exit.done = match &end {
            Some(HookEnd::Well) => Some(0),
            Some(HookEnd::Badly { code, .. }) => *code,
            Some(HookEnd::CalledOff | HookEnd::NotStarted(_)) | None => None,
        };
        // A shutdown may tell the command before it tells us.
        let called_off = matches!(end, Some(HookEnd::CalledOff)) || self.called_off();
        if exit.done.is_none() && called_off {
            exit.reason = ExitReason::Stopped;
        }
    }

    fn run_done(&self, log: &mut HookLog) -> Option<HookEnd> {
        let place = Place::new(&self.spec.workspace_root, &self.spec.snapshot.workspace).ok()?;
        let workspace = place.folder().ok()?;
        Some(self.run_hook("[done] command", &self.spec.done, workspace, DONE_COMMAND_MAX, log))
    }
}
