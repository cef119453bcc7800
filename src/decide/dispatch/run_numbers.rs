//! Whether the number of an agent's next run is known to be free.

use crate::decide::planner::Planner;
use crate::model::{AgentName, RunId, RunObservation};

/// A number is given out only where every directory of its agent can be told.
pub(in crate::decide) fn number_untold(planner: &Planner, slug: &str) -> Option<String> {
    if let Some(agent) = unexamined(planner, slug) {
        return Some(format!("the directories of {agent} were not all looked at yet"));
    }
    let run = untold(planner, slug)?;
    Some(format!("what {run} is can't be told"))
}

/// An agent with this slug of which not every directory was looked at: the number of its next run may be taken.
fn unexamined<'a>(planner: &Planner<'a>, slug: &str) -> Option<&'a AgentName> {
    planner.fleet()?.unexamined.keys().find(|agent| agent.slug() == slug)
}

/// A forgotten run of an agent with this slug that can't be told: its number can't be told to be free either.
fn untold<'a>(planner: &Planner<'a>, slug: &str) -> Option<&'a RunId> {
    let is_ours = |run: &RunId| run.agent.slug() == slug;
    let unrecorded = planner.fleet()?.unrecorded.iter().filter(|unrecorded| unrecorded.spec.is_none());
    let untold = |run: &RunId| matches!(planner.observation(run), Some(RunObservation::Unknown(_)));
    unrecorded.map(|unrecorded| &unrecorded.run).find(|run| is_ours(run) && untold(run))
}
