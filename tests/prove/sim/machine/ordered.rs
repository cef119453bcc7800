//! Runs that go as a check has ordered, and what a check counts of them.

use factory_tick::model::{ExitReason, RunId};

use super::{End, Machine, Script};
use crate::fleet_suite::Agent;

impl Machine {
    /// Has the agent of that run behave so, once it is started.
    pub(in super::super) fn order(&mut self, run: &RunId, agent: Agent) {
        let (life, end, forks) = match agent {
            Agent::Exits(code) => (Some(500), End::Code(code), 0),
            Agent::Crashes => (Some(500), End::Signal, 0),
            Agent::Works => (None, End::Code(0), 2),
            Agent::NeverBegins => (None, End::NeverRan(ExitReason::Launch), 0),
        };
        let script = Script {
            claim_after: 400,
            begin_after: 100,
            life,
            end,
            session: Some((0, "s1".to_owned())),
            forks,
            sweep: 100,
            hook: 0,
            tough: 0,
            stuck: false,
            exit_lost: false,
            disk_full: false,
            prints: "",
            answer: None,
            program: None,
        };
        self.ordered.insert(run.clone(), script);
    }

    /// How many processes of that run live, its launcher among them.
    pub(in super::super) fn processes(&self, run: &RunId) -> usize {
        let Some(one) = self.runs.get(run) else { return 0 };
        usize::from(one.launcher_lives()) + usize::from(one.main_alive) + one.others as usize
    }
}
