//! Runs that must end, until zero survivors were seen. Never cleared by age.

use crate::decide::planner::Planner;
use crate::decide::reconcile::runs;
use crate::model::{Action, Claimed, ItemId, Reap, RunId, RunObservation};
use crate::registry::{Handoff, Registry};

/// Those that were on record when the tick began: what this tick hands off is ended by the next one, when
/// it is durable for certain.
pub(in crate::decide) fn reap(planner: &mut Planner, before: &Registry) {
    if planner.fleet().is_none() {
        return;
    }
    for (run, handoff) in &before.handoffs {
        if handoff.item.as_ref().is_none_or(|item| planner.is_selected(item)) {
            end(planner, run, handoff);
        }
    }
}

fn end(planner: &mut Planner, run: &RunId, handoff: &Handoff) {
    let item: Option<&ItemId> = handoff.item.as_ref();
    let Some(observation) = planner.observation(run).cloned() else {
        return planner.mark_unknown(item, format!("{run}: the fleet did not say anything about it"));
    };
    let reap = |claim: Option<&Claimed>| {
        let handle = claim.map(|claim| claim.handle.clone()).or(handoff.handle.clone());
        // One that was seen after the end of its agent has no hook, or its hook has had its time.
        let spares_hook = !matches!(observation, RunObservation::Sweeping { .. });
        Action::Reap(Reap { run: run.clone(), handle, survivors: handoff.survivors.clone(), spares_hook })
    };
    match &observation {
        // Something of it was seen to live: no missing file proves that it does not any more.
        RunObservation::Unclaimed | RunObservation::Fenced if !handoff.survivors.is_empty() => {
            planner.decide(item, handoff.why.clone(), reap(None));
        }
        // A fence would leave it in the fleet's queue.
        RunObservation::Queued => planner.decide(item, handoff.why.clone(), reap(None)),
        RunObservation::Unclaimed => {
            planner.decide(item, "it must never start", Action::Fence { run: run.clone() });
        }
        RunObservation::Fenced | RunObservation::Refused(_) => {
            release(planner, run, handoff, "it never started")
        }
        RunObservation::Rebooted(_) => release(planner, run, handoff, "the machine was restarted"),
        RunObservation::Ended(ended) if ended.survivors.is_empty() => {
            release(planner, run, handoff, "all its processes were seen to be gone");
        }
        // All that was to end has ended, but for the hook that was promised its time.
        RunObservation::Sweeping { exit, late_after, .. }
            if exit.after_run_ms.is_some() && !runs::is_late(planner, exit, *late_after) => {}
        RunObservation::Alive { claim, .. }
        | RunObservation::Sweeping { claim, .. }
        | RunObservation::Orphaned { claim } => {
            planner.decide(item, handoff.why.clone(), reap(claim.as_ref()));
        }
        RunObservation::Ended(ended) | RunObservation::Replaced(ended) => {
            planner.decide(item, handoff.why.clone(), reap(ended.claim.as_ref()));
        }
        RunObservation::Unknown(why) => planner.mark_unknown(item, format!("{run}: {why}")),
    }
}

/// It is over, unless its name was somebody else's and still is: nobody asks for that name again before it is free,
/// however many ticks that takes.
fn release(planner: &mut Planner, run: &RunId, handoff: &Handoff, because: &str) {
    let held = planner.fleet().is_some_and(|view| view.names_held.contains_key(&run.agent));
    // Where only what is left over is ended, nobody asks who has the name.
    if !(handoff.name_taken && (held || planner.request.reap_only)) {
        planner.decide(handoff.item.as_ref(), because, Action::Release { run: run.clone() });
    }
}
