//! `factory-tick restart`: what `stop` does, then what `retry` does. Killed in between, it has stopped.
//!
//! Nothing is waited for in between: as long as a run of the item is to end, nothing of it starts.

use super::order::Order;
use super::stop::{carry_out, stopping};
use super::{Context, resolve, retry};
use crate::cli::RestartArgs;
use crate::exit::{ExitStatus, Failure};
use crate::model::Plan;

pub(super) fn run(context: &Context, args: &RestartArgs) -> Result<ExitStatus, Failure> {
    if context.options.dry_run {
        return context.preview(|registry, _, _| {
            let items = context.items();
            let id = resolve::item(&args.target, registry, &items)?;
            let mut plan = stopping(registry, &items, &id);
            plan.steps.push(retry::retry(&context.config, registry, &id, false, None));
            Ok((plan, ExitStatus::Ok))
        });
    }
    let mut order = Order::begin(context, "restart")?;
    let items = context.items();
    let id = resolve::item(&args.target, &order.state.registry, &items)?;
    carry_out(&mut order, |registry| stopping(registry, &items, &id))?;
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
