//! Run directories that the registry knows nothing of: it was read from its backup, or somebody put an
//! old one back. Each may hold a live agent, so each is found out about before anything is dispatched.

use std::collections::BTreeMap;

use crate::decide::Draft;
use crate::model::{Action, AgentName, Refresh, RunId, Sighting, Stray, StraySpec};
use crate::registry::AgentRecord;

pub(in crate::decide) fn adopt(draft: &mut Draft) {
    let Some(fleet) = draft.fleet() else { return };
    let mut with_spec: BTreeMap<_, Vec<(&RunId, &StraySpec)>> = BTreeMap::new();
    for Stray { run, spec } in &fleet.strays {
        match spec {
            Some(spec) if draft.concerns(&spec.item) => {
                with_spec.entry(&run.agent).or_default().push((run, spec));
            }
            Some(_) => {}
            None => fence_unspecified(draft, run),
        }
    }
    for (agent, count) in &fleet.unlooked {
        let what = format!("{count} directories of {agent} that are not on record were not looked at yet");
        draft.plan.errors.push(what);
    }
    for mut runs in with_spec.into_values() {
        runs.sort_by_key(|(run, _)| run.n);
        let Some((highest, spec)) = runs.pop() else { continue };
        for (run, spec) in runs {
            end_older(draft, run, spec);
        }
        end_recorded(draft, highest);
        if !replace_rival(draft, highest, spec) {
            end_older(draft, highest, spec);
            continue;
        }
        let because = format!("{highest} exists but was not on record: an older registry was read");
        let action = Action::AdoptStray { run: highest.clone(), spec: Box::new(spec.clone()) };
        draft.decide(Some(&spec.item), because, action);
    }
}

/// An agent with this slug of which not every directory was looked at: the number of its next run may be taken.
pub(in crate::decide) fn unlooked<'a>(draft: &Draft<'a>, slug: &str) -> Option<&'a AgentName> {
    draft.fleet()?.unlooked.keys().find(|agent| agent.slug() == slug)
}

/// Without a spec no launcher can have started it; the fence makes sure that none will.
fn fence_unspecified(draft: &mut Draft, run: &RunId) {
    if let Some(Sighting::Unknown(why)) = draft.sighting(run) {
        let what = format!("{run} is not on record and can't be told: {why}");
        draft.unsure(None, what);
    } else if matches!(draft.sighting(run), Some(Sighting::Unclaimed)) {
        let because = format!("{run} is not on record and has no readable spec.json");
        draft.decide(None, because, Action::Fence { run: run.clone() });
    } else if resolved(draft, run) {
        draft.refresh(Refresh::Used { run: run.clone() });
    } else {
        stop(draft, run, None);
    }
}

/// A forgotten run of an agent with this slug that can't be told: its number can't be told to be free either.
pub(in crate::decide) fn untold<'a>(draft: &Draft<'a>, slug: &str) -> Option<&'a RunId> {
    let is_ours = |run: &RunId| run.agent.slug() == slug;
    let strays = draft.fleet()?.strays.iter().filter(|stray| stray.spec.is_none());
    let untold = |run: &RunId| matches!(draft.sighting(run), Some(Sighting::Unknown(_)));
    strays.map(|stray| &stray.run).find(|run| is_ours(run) && untold(run))
}

fn end_older(draft: &mut Draft, run: &RunId, spec: &StraySpec) {
    if !resolved(draft, run) {
        stop(draft, run, Some(spec));
    }
}

/// The run on record is older than the one found: the agent is past it.
fn end_recorded(draft: &mut Draft, newer: &RunId) {
    let recorded = draft.registry.agents.get(&newer.agent).and_then(|agent| agent.run.clone());
    if let Some(run) = recorded.filter(|run| run.n < newer.n && !resolved(draft, run)) {
        stop(draft, &run, None);
    }
}

/// A role has one agent at an item. Where a suffix was renamed, a forgotten run can be of the same role under another
/// name: the later dispatch stays. False: the agent on record is the later one.
fn replace_rival(draft: &mut Draft, found: &RunId, spec: &StraySpec) -> bool {
    let of_role =
        |(name, agent): &(&AgentName, &AgentRecord)| agent.role == spec.role && **name != found.agent;
    let rival =
        draft.registry.agents_of(&spec.item).find(of_role).map(|(name, agent)| (name.clone(), agent.clone()));
    let Some((name, rival)) = rival else { return true };
    if rival.dispatch >= spec.dispatch {
        draft.refresh(Refresh::Used { run: found.clone() });
        return false;
    }
    if let Some(run) = rival.run.filter(|run| !resolved(draft, run)) {
        stop(draft, &run, None);
    }
    draft.refresh(Refresh::RoleGone { agent: name });
    true
}

fn stop(draft: &mut Draft, run: &RunId, spec: Option<&StraySpec>) {
    let recorded = draft.registry.agents.get(&run.agent).map(|agent| agent.item.clone());
    let item = spec.map(|spec| spec.item.clone()).or(recorded);
    let because = format!("{run} is not on record and is not its agent's latest run");
    let action = Action::Stop { run: run.clone(), survivors: Vec::new(), dispatch_failed: false };
    draft.decide(item.as_ref(), because, action);
}

/// Whether nothing of the run can be alive.
fn resolved(draft: &Draft, run: &RunId) -> bool {
    match draft.sighting(run) {
        Some(Sighting::Fenced | Sighting::Refused(_) | Sighting::Rebooted(_)) => true,
        Some(Sighting::Ended(ended)) => ended.survivors.is_empty(),
        _ => false,
    }
}
