//! Runs that must end, until zero survivors were seen. Never cleared by age.

use crate::decide::Draft;
use crate::decide::reconcile::runs;
use crate::model::{Action, Claimed, ItemId, Reap, RunId, Sighting};
use crate::registry::{Handoff, Registry};

/// Those that were on record when the tick began: what this tick hands off is ended by the next one, when
/// it is durable for certain.
pub(in crate::decide) fn reap(draft: &mut Draft, before: &Registry) {
    if draft.fleet().is_none() {
        return;
    }
    for (run, handoff) in &before.handoffs {
        if handoff.item.as_ref().is_none_or(|item| draft.concerns(item)) {
            end(draft, run, handoff);
        }
    }
}

fn end(draft: &mut Draft, run: &RunId, handoff: &Handoff) {
    let item: Option<&ItemId> = handoff.item.as_ref();
    let Some(sighting) = draft.sighting(run).cloned() else {
        return draft.unsure(item, format!("{run}: the fleet did not say anything about it"));
    };
    let reap = |claim: Option<&Claimed>| {
        let launcher = claim.map(|claim| claim.process.clone()).or(handoff.process.clone());
        Action::Reap(Reap { run: run.clone(), launcher, survivors: handoff.survivors.clone() })
    };
    match &sighting {
        // Something of it was seen to live: no missing file proves that it does not any more.
        Sighting::Unclaimed | Sighting::Fenced if !handoff.survivors.is_empty() => {
            draft.decide(item, handoff.why.clone(), reap(None));
        }
        Sighting::Unclaimed => {
            draft.decide(item, "it must never start", Action::Fence { run: run.clone() });
        }
        Sighting::Fenced | Sighting::Refused(_) => release(draft, run, handoff, "it never started"),
        Sighting::Rebooted(_) => release(draft, run, handoff, "the machine was restarted"),
        Sighting::Ended(ended) if ended.survivors.is_empty() => {
            release(draft, run, handoff, "all its processes were seen to be gone");
        }
        // All that was to end has ended, but for the hook that was promised its time.
        Sighting::Sweeping { exit, .. }
            if exit.after_run_ms.is_some() && !runs::is_late(draft, run, exit) => {}
        Sighting::Alive { claim, .. } | Sighting::Sweeping { claim, .. } | Sighting::Orphaned { claim } => {
            draft.decide(item, handoff.why.clone(), reap(claim.as_ref()));
        }
        Sighting::Ended(ended) | Sighting::Replaced(ended) => {
            draft.decide(item, handoff.why.clone(), reap(ended.claim.as_ref()));
        }
        Sighting::Unknown(why) => draft.unsure(item, format!("{run}: {why}")),
    }
}

/// It is over, unless its name was somebody else's and still is: nobody asks for that name again before it is free,
/// however many ticks that takes.
fn release(draft: &mut Draft, run: &RunId, handoff: &Handoff, because: &str) {
    let held = draft.fleet().is_some_and(|view| view.names_held.contains_key(&run.agent));
    // Where only what is left over is ended, nobody asks who has the name.
    if !(handoff.name_taken && (held || draft.request.reap_only)) {
        draft.decide(handoff.item.as_ref(), because, Action::Release { run: run.clone() });
    }
}
