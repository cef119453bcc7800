//! How long a launcher may take for what is left to it, before it counts as late.

use std::time::Duration;

use crate::config::DONE_COMMAND_MAX;
use crate::model::{DoneWhen, Exit, ExitReason};

/// A launcher that was told to stop gets its grace and this to write its receipts.
pub const LAUNCHER_SLACK: Duration = Duration::from_secs(2);

/// The patience with the launcher of one run. A fleet tells it with each run that it sees; `decide` compares.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    grace: Duration,
    done_when: DoneWhen,
}

impl Patience {
    /// `grace`: between TERM and KILL. `done_when`: the rule that the run was given.
    pub fn new(grace: Duration, done_when: DoneWhen) -> Patience {
        Patience { grace, done_when }
    }

    /// How long after its run's deadline the launcher may take to end its agent, and to ask whether the item is done.
    pub fn after_deadline(self) -> Duration {
        self.grace + LAUNCHER_SLACK + self.asking()
    }

    /// How long after this end of its agent the launcher may live. The receipt tells of the agent's end; the launcher may
    /// have asked for long before it wrote it, and runs its hook after that.
    pub fn after_end(self, exit: &Exit) -> Duration {
        let ended_well = exit.reason == ExitReason::Exited && exit.code == Some(0);
        let asking = if ended_well { self.asking() } else { Duration::ZERO };
        let hook = Duration::from_millis(exit.after_run_ms.unwrap_or(0));
        self.grace + LAUNCHER_SLACK + asking + hook
    }

    fn asking(self) -> Duration {
        match self.done_when {
            DoneWhen::Command => DONE_COMMAND_MAX,
            DoneWhen::Exit | DoneWhen::Source => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32, after_run_ms: Option<u64>) -> Exit {
        let moment = serde_json::json!({"at": "2026-01-01T00:00:00Z", "mono_ms": 0, "boot_id": "b"});
        let value = serde_json::json!({"code": code, "signal": null, "reason": "exited", "error": null,
            "started": moment, "ended": moment, "cpu_ms": 0, "peak_kib": 0,
            "reported": {"session": null, "park": null}, "after_run_ms": after_run_ms, "done": null,
            "room": {"state": null, "workspaces": null}});
        serde_json::from_value(value).unwrap()
    }

    // The receipt tells when the agent ended, and is written when the command has answered: a launcher that had waited
    // for a slow answer was taken for late at once, and killed together with its hook after the run.
    // covers: I26
    #[test]
    fn launcher_that_asks_has_a_minute_for_the_answer() {
        let patience = |when| Patience::new(Duration::from_secs(10), when);
        let seconds = |when, code, hook| patience(when).after_end(&exit(code, hook)).as_secs();
        assert_eq!(seconds(DoneWhen::Command, 0, None), 60 + 12);
        assert_eq!(seconds(DoneWhen::Command, 0, Some(30_000)), 60 + 12 + 30);
        assert_eq!(seconds(DoneWhen::Command, 1, None), 12, "nobody asks after a failure");
        assert_eq!(seconds(DoneWhen::Source, 0, None), 12);
        assert_eq!(patience(DoneWhen::Command).after_deadline().as_secs(), 60 + 12);
        assert_eq!(patience(DoneWhen::Exit).after_deadline().as_secs(), 12);
    }
}
