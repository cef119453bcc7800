//! A fleet that lies in one answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use factory_tick::fleet::Fleet;
use factory_tick::model::{
    AgentName, FenceOutcome, FleetView, Launch, Observed, Reap, ReapOutcome, Reaped, RunHandle, RunId,
    RunObservation, RunPreview, RunQuery, StartOutcome,
};

use crate::fleet_suite::{Agent, Subject};
use crate::sim::SimulatedFleet;

/// Which answer is a lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// A start that was refused was tried.
    StartWasTried,
    /// A fence that lost has won.
    FenceWon,
    /// A reap that was never performed has left nothing.
    ReapLeftNothing,
    /// A reap after its deadline has left nothing.
    LateReapLeftNothing,
    /// Nobody has claimed a run of which nothing can be read.
    UnknownIsGone,
    /// A run whose launcher was killed is over.
    OrphanIsOver,
    /// The run directory holds no specification.
    NoSpecification,
    /// Each run that exited did so with code 0.
    ExitedWell,
    /// No fenced run lives.
    NothingLives,
    /// No workspace is taken.
    NothingIsTaken,
}

impl Lie {
    pub(super) const ALL: [Lie; 10] = [
        Lie::StartWasTried,
        Lie::FenceWon,
        Lie::ReapLeftNothing,
        Lie::LateReapLeftNothing,
        Lie::UnknownIsGone,
        Lie::OrphanIsOver,
        Lie::NoSpecification,
        Lie::ExitedWell,
        Lie::NothingLives,
        Lie::NothingIsTaken,
    ];

    /// The check that must find it.
    pub(super) fn found_by(self) -> &'static str {
        match self {
            Lie::StartWasTried => "second_start_of_a_run_never_runs_it_twice",
            Lie::FenceWon => "fence_after_the_claim_loses",
            Lie::ReapLeftNothing => "reap_ends_each_agent_and_its_children",
            Lie::LateReapLeftNothing => "passed_deadline_is_not_tried_and_shows_nothing",
            Lie::UnknownIsGone => "unknown_is_never_reported_as_gone",
            Lie::OrphanIsOver => "reap_after_the_launcher_died_leaves_no_survivor",
            Lie::NoSpecification => "unrecorded_run_is_reported_with_its_specification",
            Lie::ExitedWell => "exit_receipt_carries_code_reason_and_session",
            Lie::NothingLives => "fenced_run_that_lives_is_found",
            Lie::NothingIsTaken => "workspace_of_another_factory_is_taken",
        }
    }
}

/// The simulated fleet, with one lie.
pub(super) struct Liar {
    honest: SimulatedFleet,
    lie: Lie,
}

impl Liar {
    pub(super) fn new(lie: Lie) -> Liar {
        Liar { honest: SimulatedFleet::new(), lie }
    }
}

impl Subject for Liar {
    fn fleet(&self) -> Box<dyn Fleet + '_> {
        Box::new(Lying { honest: self.honest.fleet(), lie: self.lie })
    }

    fn order(&self, run: &RunId, agent: Agent) -> Vec<String> {
        self.honest.order(run, agent)
    }

    fn pause(&self) {
        self.honest.pause();
    }

    fn begun(&self, run: &RunId) -> usize {
        self.honest.begun(run)
    }

    fn processes(&self, run: &RunId) -> usize {
        self.honest.processes(run)
    }

    fn kill_launcher(&self, run: &RunId, handle: &RunHandle) {
        self.honest.kill_launcher(run, handle);
    }

    fn remove_claim(&self, run: &RunId) {
        self.honest.remove_claim(run);
    }

    fn set_unreadable(&self, run: &RunId, unreadable: bool) {
        self.honest.set_unreadable(run, unreadable);
    }

    fn set_broken(&self, broken: bool) {
        self.honest.set_broken(broken);
    }

    fn take_workspace(&self, name: &str) {
        self.honest.take_workspace(name);
    }

    fn discard(&self, run: &RunId) -> bool {
        self.honest.discard(run)
    }
}

struct Lying<'a> {
    honest: Box<dyn Fleet + 'a>,
    lie: Lie,
}

impl Fleet for Lying<'_> {
    fn observe(
        &self,
        queries: &[RunQuery],
        known: &BTreeMap<AgentName, u64>,
        until: Instant,
    ) -> Observed<FleetView> {
        let Observed::Known(mut view) = self.honest.observe(queries, known, until) else {
            return self.honest.observe(queries, known, until);
        };
        for seen in view.runs.values_mut() {
            match seen {
                RunObservation::Unknown(_) if self.lie == Lie::UnknownIsGone => {
                    *seen = RunObservation::Unclaimed;
                }
                RunObservation::Orphaned { .. } if self.lie == Lie::OrphanIsOver => {
                    *seen = RunObservation::Ended(Box::default());
                }
                RunObservation::Ended(ended) if self.lie == Lie::ExitedWell => {
                    let code = ended.exit.as_mut().and_then(|exit| exit.code.as_mut());
                    code.into_iter().for_each(|code| *code = 0);
                }
                _ => {}
            }
        }
        if self.lie == Lie::NoSpecification {
            view.unrecorded.iter_mut().for_each(|run| run.spec = None);
        }
        Observed::Known(view)
    }

    fn start(&self, launch: &Launch, until: Instant) -> StartOutcome {
        match self.honest.start(launch, until) {
            StartOutcome::NotStarted { .. } if self.lie == Lie::StartWasTried => StartOutcome::Tried,
            honest => honest,
        }
    }

    fn preview(&self, launch: &Launch) -> RunPreview {
        self.honest.preview(launch)
    }

    fn fence(&self, run: &RunId) -> FenceOutcome {
        match self.honest.fence(run) {
            FenceOutcome::Lost | FenceOutcome::Failed(_) if self.lie == Lie::FenceWon => FenceOutcome::Won,
            honest => honest,
        }
    }

    fn workspaces_taken(&self, wanted: &dyn Fn() -> BTreeSet<String>) -> BTreeMap<String, String> {
        match self.lie {
            Lie::NothingIsTaken => BTreeMap::new(),
            _ => self.honest.workspaces_taken(wanted),
        }
    }

    fn look_for(&self, fenced: &[&RunId]) -> Vec<bool> {
        match self.lie {
            Lie::NothingLives => vec![false; fenced.len()],
            _ => self.honest.look_for(fenced),
        }
    }

    fn reap(&self, reaps: &[&Reap], until: Instant) -> Vec<ReapOutcome> {
        let nothing_left = || vec![ReapOutcome::Reaped(Reaped::default()); reaps.len()];
        match self.lie {
            Lie::ReapLeftNothing => nothing_left(),
            Lie::LateReapLeftNothing if Instant::now() >= until => nothing_left(),
            _ => self.honest.reap(reaps, until),
        }
    }
}
