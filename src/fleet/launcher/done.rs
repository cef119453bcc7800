//! Whether the item is done: what the launcher asks once its agent has ended well.

use super::Launcher;
use crate::config::DONE_COMMAND_MAX;
use crate::fleet::hooks::{HookEnd, HookLog};
use crate::fleet::workspace::Place;
use crate::model::{Exit, ExitReason};

impl Launcher {
    /// Asks `[done] command`, where the agent ended well and there is one. `None`: no answer in time. What it prints
    /// goes to the log of the hooks, and what is left of it is swept with what the agent left.
    pub(super) fn ask_done(&self, exit: &Exit, log: &mut HookLog) -> Option<i32> {
        if self.spec.done.is_empty() || exit.reason != ExitReason::Exited || exit.code != Some(0) {
            return None;
        }
        let place = Place::new(&self.spec.workspace_root, &self.spec.workspace).ok()?;
        match self.run_hook("[done] command", &self.spec.done, place.folder().ok()?, DONE_COMMAND_MAX, log) {
            HookEnd::Well => Some(0),
            HookEnd::Badly { code, .. } => code,
            HookEnd::CalledOff | HookEnd::NotStarted(_) => None,
        }
    }
}
