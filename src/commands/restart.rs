//! `factory-tick restart`: what `stop` does, then what `retry` does. Killed in between, it has stopped.
//!
//! Nothing is waited for in between: as long as a run of the item is to end, nothing of it starts.

use super::order::{Order, plan_of};
use super::stop::{carry_out, stop};
use super::{Context, resolve, retry};
use crate::cli::RestartArgs;
use crate::exit::{ExitStatus, Failure};
use crate::model::{ItemId, Plan};
use crate::registry::Registry;

pub(super) fn run(context: &Context, args: &RestartArgs) -> Result<ExitStatus, Failure> {
    if context.options.dry_run {
        return context.preview(|registry, _, _| {
            let (id, mut plan) = stopping(context, args, registry)?;
            plan.steps.push(retry::retry(&context.config, registry, &id, false, None));
            Ok((plan, ExitStatus::Ok))
        });
    }
    let mut order = Order::begin(context, "restart")?;
    let (id, _) = stopping(context, args, &order.state.registry)?;
    carry_out(&mut order, |registry| Ok(stopping(context, args, registry)?.1))?;
    let registry = &order.state.registry;
    if registry.handoffs_of(&id).any(|(_, handoff)| !handoff.survivors.is_empty()) {
        order.note(format!("{id}: not everything of it could be ended, so it stays parked"));
        return Ok(order.end());
    }
    // What still ends, its hook after the run say, holds up the next run and not a person's word.
    let again = retry::retry(&context.config, registry, &id, false, None);
    order.write_down(&Plan { steps: vec![again], ..Plan::default() })?;
    Ok(order.end())
}

fn stopping(context: &Context, args: &RestartArgs, registry: &Registry) -> Result<(ItemId, Plan), Failure> {
    let items = context.items();
    let id = resolve::item(&args.target, registry, &items)?;
    let mut plan = plan_of(registry, &items, &id);
    stop(&mut plan, registry, &id);
    Ok((id, plan))
}
