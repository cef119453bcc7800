//! `factory-tick stop`: ends an item's agents and parks it. Stopped stays stopped.

use std::collections::BTreeSet;

use crate::app::context::Context;
use crate::app::mutation::{self, Judged, Mutation};
use crate::app::{iteration, orders, resolve};
use crate::cli::StopArgs;
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, ItemId, Plan, WorkItem};
use crate::registry::{ItemPhase, ItemRecord, Registry};

pub(super) fn run(context: &Context, args: &StopArgs) -> Result<ExitStatus, Failure> {
    let wanted = |registry: &Registry, items: &[WorkItem]| {
        args.target.as_deref().map(|wanted| resolve::item(wanted, registry, items)).transpose()
    };
    // Read for a name alone.
    let items = || args.target.as_ref().map_or_else(Vec::new, |_| context.items());
    if context.options.dry_run {
        let items = items();
        let judged = |registry: &Registry| Ok(judged(wanted(registry, &items)?));
        return mutation::preview(context, judged, |before, registry| {
            let id = wanted(before, &items)?;
            refuse_done(registry, &items, id.as_ref())?;
            Ok(plan(registry, &items, id.as_ref()))
        });
    }
    let mut mutation = Mutation::begin_without_room(context, "stop")?;
    let items = items();
    let id = wanted(&mutation.state.registry, &items)?;
    let before = mutation.state.registry.clone();
    match judge_and_stop(&mut mutation, &items, id.as_ref()) {
        Err(failure) if failure.no_room => {
            Err(end_without_room(context, &mutation, &before, &plan(&before, &items, id.as_ref()), failure))
        }
        carried_out => carried_out.map(|()| mutation.end()),
    }
}

fn judge_and_stop(
    mutation: &mut Mutation<'_>,
    items: &[WorkItem],
    id: Option<&ItemId>,
) -> Result<(), Failure> {
    mutation.judge(&judged(id.cloned()))?;
    refuse_done(&mutation.state.registry, items, id)?;
    mutation.end_runs(|registry| plan(registry, items, id))
}

/// The last resort: the agents end, and nothing is written down. `before`: the registry that the plan was made of.
fn end_without_room(
    context: &Context,
    mutation: &Mutation<'_>,
    before: &Registry,
    plan: &Plan,
    failure: Failure,
) -> Failure {
    let stopped = plan.decisions().filter_map(|(_, decision)| match &decision.action {
        Action::Stop { run, .. } => Some(run.clone()),
        _ => None,
    });
    let runs = stopped.map(|run| {
        let launcher = before.agents.get(&run.agent).and_then(|agent| agent.handle.clone());
        (run, launcher)
    });
    // What was handed off before lives on, too, if nothing could be written down since.
    let items: BTreeSet<_> = plan.decisions().filter_map(|(_, decision)| decision.item.as_ref()).collect();
    let handed_off = before
        .handoffs
        .iter()
        .filter(|(_, handoff)| handoff.item.as_ref().is_some_and(|item| items.contains(item)))
        .map(|(run, handoff)| (run.clone(), handoff.handle.clone()));
    let runs: Vec<_> = runs.chain(handed_off).collect();
    let ended = context.fleet(&mutation.state.lineage, &iteration::REAP).end_unrecorded(&runs);
    // Where the first commit found room and a later one did not, the items are parked.
    let parked = if mutation.state.registry == *before { ", not parked" } else { "" };
    let words = |what: &str, runs: Vec<String>| match runs.as_slice() {
        [] => String::new(),
        runs => format!("; {what}{parked}: {}", runs.join(", ")),
    };
    let told = match ended {
        Err(error) => format!("; nothing was ended: {error:#}"),
        Ok(ended) => {
            let left = runs.iter().filter(|(run, _)| !ended.contains(run)).map(|(run, _)| run.to_string());
            let left = words("told to end", left.collect());
            words("ended", ended.iter().map(ToString::to_string).collect()) + &left
        }
    };
    Failure { text: format!("{}{told}", failure.text), ..failure }
}

fn judged(id: Option<ItemId>) -> Judged {
    id.map_or(Judged::All, Judged::Item)
}

/// A done item of which nothing is in flight has nothing to stop, and it is not parked: `retry --all` would do it again.
fn refuse_done(registry: &Registry, items: &[WorkItem], id: Option<&ItemId>) -> Result<(), Failure> {
    match id.filter(|id| orders::is_done(registry, items, id) && !registry.in_flight(id)) {
        Some(id) => Err(orders::refuse_done(id, "there is nothing to stop")),
        None => Ok(()),
    }
}

/// `id`: of which item; `None` is all that have an agent.
fn plan(registry: &Registry, items: &[WorkItem], id: Option<&ItemId>) -> Plan {
    if let Some(id) = id {
        return orders::stop_item(registry, items, id);
    }
    // An item whose session is about to go on has no agent for the moment, and would have one again.
    let busy =
        |(id, record): &(&ItemId, &ItemRecord)| record.state == ItemPhase::Active || registry.in_flight(id);
    let steps =
        registry.items.iter().filter(busy).flat_map(|(id, _)| orders::stop(registry, items, id)).collect();
    Plan { steps, ..Plan::default() }
}
