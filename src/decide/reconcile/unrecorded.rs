//! Run directories that the registry knows nothing of: it was read from its backup, or somebody put an
//! old one back. Each may hold a live agent, so each is found out about before anything is dispatched.

use std::collections::BTreeMap;

use crate::decide::planner::Planner;
use crate::model::{Action, AgentName, RecordUpdate, RunId, RunObservation, UnrecordedRun, UnrecordedSpec};
use crate::registry::AgentRecord;

pub(in crate::decide) fn adopt(planner: &mut Planner) {
    let Some(fleet) = planner.fleet() else { return };
    let mut with_spec: BTreeMap<_, Vec<(&RunId, &UnrecordedSpec)>> = BTreeMap::new();
    for UnrecordedRun { run, spec } in &fleet.unrecorded {
        match spec {
            Some(spec) if planner.is_selected(&spec.spec.item) => {
                with_spec.entry(&run.agent).or_default().push((run, spec));
            }
            Some(_) => {}
            None => fence_unspecified(planner, run),
        }
    }
    for (agent, count) in &fleet.unexamined {
        let what = format!("{count} directories of {agent} that are not on record were not looked at yet");
        planner.plan.errors.push(what);
    }
    for mut runs in with_spec.into_values() {
        runs.sort_by_key(|(run, _)| run.n);
        let Some((highest, spec)) = runs.pop() else { continue };
        for (run, spec) in runs {
            end_older(planner, run, spec);
        }
        end_recorded(planner, highest);
        if !replace_rival(planner, highest, spec) {
            end_older(planner, highest, spec);
            continue;
        }
        let because = format!("{highest} exists but was not on record: an older registry was read");
        let action = Action::AdoptUnrecorded { run: highest.clone(), spec: Box::new(spec.clone()) };
        planner.decide(Some(&spec.spec.item), because, action);
    }
}

/// Without a spec no launcher can have started it; the fence makes sure that none will.
fn fence_unspecified(planner: &mut Planner, run: &RunId) {
    if let Some(RunObservation::Unknown(why)) = planner.observation(run) {
        let what = format!("{run} is not on record and can't be told: {why}");
        planner.mark_unknown(None, what);
    } else if matches!(planner.observation(run), Some(RunObservation::Unclaimed)) {
        let because = format!("{run} is not on record and has no readable spec.json");
        planner.decide(None, because, Action::Fence { run: run.clone() });
    } else if resolved(planner, run) {
        planner.refresh(RecordUpdate::Used { run: run.clone() });
    } else {
        stop(planner, run, None);
    }
}

fn end_older(planner: &mut Planner, run: &RunId, spec: &UnrecordedSpec) {
    if !resolved(planner, run) {
        stop(planner, run, Some(spec));
    }
}

/// The run on record is older than the one found: the agent is past it.
fn end_recorded(planner: &mut Planner, newer: &RunId) {
    let recorded = planner.registry.agents.get(&newer.agent).and_then(|agent| agent.run.clone());
    if let Some(run) = recorded.filter(|run| run.n < newer.n && !resolved(planner, run)) {
        stop(planner, &run, None);
    }
}

/// A role has one agent at an item. Where a suffix was renamed, a forgotten run can be of the same role under another
/// name: the later dispatch stays. False: the agent on record is the later one.
fn replace_rival(planner: &mut Planner, found: &RunId, spec: &UnrecordedSpec) -> bool {
    let of_role = |(name, agent): &(&AgentName, &AgentRecord)| {
        agent.spec.role == spec.spec.role && **name != found.agent
    };
    let rival = planner
        .registry
        .agents_of(&spec.spec.item)
        .find(of_role)
        .map(|(name, agent)| (name.clone(), agent.clone()));
    let Some((name, rival)) = rival else { return true };
    if rival.spec.dispatch >= spec.spec.dispatch {
        planner.refresh(RecordUpdate::Used { run: found.clone() });
        return false;
    }
    if let Some(run) = rival.run.filter(|run| !resolved(planner, run)) {
        stop(planner, &run, None);
    }
    planner.refresh(RecordUpdate::RoleGone { agent: name });
    true
}

fn stop(planner: &mut Planner, run: &RunId, spec: Option<&UnrecordedSpec>) {
    let recorded = planner.registry.agents.get(&run.agent).map(|agent| agent.spec.item.clone());
    let item = spec.map(|spec| spec.spec.item.clone()).or(recorded);
    let because = format!("{run} is not on record and is not its agent's latest run");
    let action = Action::Stop { run: run.clone(), survivors: Vec::new(), dispatch_failed: false };
    planner.decide(item.as_ref(), because, action);
}

/// Whether nothing of the run can be alive.
fn resolved(planner: &Planner, run: &RunId) -> bool {
    match planner.observation(run) {
        Some(RunObservation::Fenced | RunObservation::Refused(_) | RunObservation::Rebooted(_)) => true,
        Some(RunObservation::Ended(ended)) => ended.survivors.is_empty(),
        _ => false,
    }
}
