//! The simulator's machine, for the suite that holds for every fleet.

use std::cell::RefCell;

use factory_tick::fleet::Fleet;
use factory_tick::model::{RunHandle, RunId};

use super::subject;
use super::world::{Hands, World};
use crate::fleet_suite::{Agent, Subject};

/// A world without faults, in which nothing runs.
pub(crate) struct SimulatedFleet(RefCell<World>);

impl SimulatedFleet {
    pub(crate) fn new() -> SimulatedFleet {
        SimulatedFleet(RefCell::new(subject::calm_world()))
    }
}

impl Subject for SimulatedFleet {
    fn fleet(&self) -> Box<dyn Fleet + '_> {
        Box::new(Hands(&self.0))
    }

    fn order(&self, run: &RunId, agent: Agent) -> Vec<String> {
        self.0.borrow_mut().machine.order(run, agent);
        vec!["agent".to_owned()]
    }

    fn pause(&self) {
        self.0.borrow_mut().advance(100);
    }

    fn begun(&self, run: &RunId) -> usize {
        self.0.borrow().machine.runs.get(run).map_or(0, |run| run.begun as usize)
    }

    fn processes(&self, run: &RunId) -> usize {
        self.0.borrow().machine.processes(run)
    }

    fn kill_launcher(&self, run: &RunId, _: &RunHandle) {
        self.0.borrow_mut().machine.kill_launcher(run);
    }

    fn remove_claim(&self, run: &RunId) {
        self.0.borrow_mut().machine.remove_claim(run);
    }

    fn set_unreadable(&self, _: &RunId, unreadable: bool) {
        // The first run of a look, and the only one of a check.
        self.0.borrow_mut().today.unknown_run = unreadable.then_some(0);
    }

    fn set_broken(&self, broken: bool) {
        self.0.borrow_mut().today.fleet_unknown = broken;
    }

    fn take_workspace(&self, _: &str) {
        // The first workspace that a tick asks for, and the only one of a check.
        self.0.borrow_mut().today.taken_workspace = Some(0);
    }

    fn discard(&self, run: &RunId) -> bool {
        self.0.borrow_mut().machine.discard(run)
    }
}
