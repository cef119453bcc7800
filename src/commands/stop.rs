//! `factory-tick stop`: ends an item's agents and parks it. Stopped stays stopped.

use super::{Context, Shutdown, WAIT_LOCK, reap, resolve};
use crate::cli::StopArgs;
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, Decision, ItemId, Plan, Step};
use crate::registry::{ItemRecord, ItemStanding, Registry};
use crate::report::TickReport;
use crate::tick::Store;

const BECAUSE: &str = "a person stopped it";

pub(super) fn run(context: &Context, args: &StopArgs) -> Result<ExitStatus, Failure> {
    if context.options.dry_run {
        return context.preview(|registry, _, _| Ok((plan(context, args, registry)?, ExitStatus::Ok)));
    }
    let shutdown = Shutdown::listen()?;
    let mut state = context.lock(WAIT_LOCK, &shutdown)?;
    let plan = plan(context, args, &state.registry)?;
    let mut registry = state.registry.clone();
    registry.intend(&plan, &context.now);
    state.commit(&registry)?;
    state.log_plan(&plan, &context.now);
    let mut report = TickReport::new("stop", &context.now, false);
    report.add_plan(&plan, &registry);
    state.registry = registry;
    reap::rounds(context, &mut state, &shutdown, &mut report)?;
    Ok(context.print(&report))
}

/// Every run of the item is handed off, and a person holds the item.
fn plan(context: &Context, args: &StopArgs, registry: &Registry) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let Some(wanted) = &args.target else {
        // An item whose session is about to go on has no agent for the moment, and would have one again.
        let busy = |(id, record): &(&ItemId, &ItemRecord)| {
            record.state == ItemStanding::Active || registry.in_flight(id)
        };
        registry.items.iter().filter(busy).for_each(|(id, _)| stop(&mut plan, registry, id));
        return Ok(plan);
    };
    let items = context.items();
    let id = resolve::item(wanted, registry, &items)?;
    // One that was never started is kept out all the same.
    if let Some(item) = items.iter().find(|item| item.id == id && !registry.items.contains_key(&id)) {
        plan.steps.push(Step::Refresh(registry.seen_as(item)));
    }
    stop(&mut plan, registry, &id);
    Ok(plan)
}

fn stop(plan: &mut Plan, registry: &Registry, id: &ItemId) {
    let because = BECAUSE.to_owned();
    let decide = |action| {
        Step::Decide(Decision { action, item: Some(id.clone()), because: because.clone(), group: 0 })
    };
    let runs = registry.agents_of(id).filter_map(|(_, agent)| agent.run.clone());
    let stops = runs.map(|run| Action::Stop { run, survivors: Vec::new(), dispatch_failed: false });
    plan.steps.extend(stops.map(decide));
    plan.steps.push(decide(Action::Park { item: id.clone(), class: None, by_person: true }));
}
