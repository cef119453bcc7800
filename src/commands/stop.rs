//! `factory-tick stop`: ends an item's agents and parks it. Stopped stays stopped.

use super::order::{Order, decided, plan_of};
use super::{Context, resolve};
use crate::cli::StopArgs;
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, ItemId, Plan};
use crate::registry::{ItemRecord, ItemStanding, Registry};

const BECAUSE: &str = "a person stopped it";

pub(super) fn run(context: &Context, args: &StopArgs) -> Result<ExitStatus, Failure> {
    if context.options.dry_run {
        return context.preview(|registry, _, _| Ok((plan(context, args, registry)?, ExitStatus::Ok)));
    }
    let mut order = Order::begin(context, "stop")?;
    carry_out(&mut order, |registry| plan(context, args, registry))?;
    Ok(order.end())
}

/// Has everything ended that a plan stops; and what came on record only when the runs were looked at, because the
/// registry was an older one.
pub(super) fn carry_out(
    order: &mut Order<'_>,
    plan: impl Fn(&Registry) -> Result<Plan, Failure>,
) -> Result<(), Failure> {
    let known = plan(&order.state.registry)?;
    order.write_down(&known)?;
    order.reap()?;
    let found = plan(&order.state.registry)?;
    if found.decisions().any(|(_, decision)| matches!(decision.action, Action::Stop { .. })) {
        order.write_down(&found)?;
        order.reap()?;
    }
    Ok(())
}

fn plan(context: &Context, args: &StopArgs, registry: &Registry) -> Result<Plan, Failure> {
    let Some(wanted) = &args.target else {
        // An item whose session is about to go on has no agent for the moment, and would have one again.
        let busy = |(id, record): &(&ItemId, &ItemRecord)| {
            record.state == ItemStanding::Active || registry.in_flight(id)
        };
        let mut plan = Plan::default();
        registry.items.iter().filter(busy).for_each(|(id, _)| stop(&mut plan, registry, id));
        return Ok(plan);
    };
    let items = context.items();
    let id = resolve::item(wanted, registry, &items)?;
    let mut plan = plan_of(registry, &items, &id);
    stop(&mut plan, registry, &id);
    Ok(plan)
}

/// Every run of the item is handed off, and a person holds the item.
pub(super) fn stop(plan: &mut Plan, registry: &Registry, id: &ItemId) {
    let runs = registry.agents_of(id).filter_map(|(_, agent)| agent.run.clone());
    let stops = runs.map(|run| Action::Stop { run, survivors: Vec::new(), dispatch_failed: false });
    plan.steps.extend(stops.map(|stop| decided(id, BECAUSE, stop)));
    let park = Action::Park { item: id.clone(), class: None, by_person: true };
    plan.steps.push(decided(id, BECAUSE, park));
}
