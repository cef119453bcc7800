//! `factory-tick restart`: what `stop` does, then what `retry` does. Killed in between, it has stopped.
//!
//! Nothing is waited for in between: as long as a run of the item is to end, nothing of it starts.

use crate::app::context::Context;
use crate::app::mutation::{self, Judged, Mutation};
use crate::app::{orders, resolve};
use crate::cli::RestartArgs;
use crate::exit::{ExitStatus, Failure};
use crate::model::{ItemId, Plan, WorkItem};
use crate::registry::Registry;

pub(super) fn run(context: &Context, args: &RestartArgs) -> Result<ExitStatus, Failure> {
    if context.options.dry_run {
        let items = context.items();
        let id = |registry: &Registry| resolve::item(&args.target, registry, &items);
        let plan = |before: &Registry, registry: &Registry| {
            let id = id(before)?;
            refuse_done(args, registry, &items, &id)?;
            let mut plan = orders::stop_item(registry, &items, &id);
            plan.steps.push(orders::retry(&context.config, registry, &id, false, None));
            Ok(plan)
        };
        return mutation::preview(context, |registry| Ok(Judged::Item(id(registry)?)), plan);
    }
    let mut mutation = Mutation::begin(context, "restart")?;
    let items = context.items();
    let id = resolve::item(&args.target, &mutation.state.registry, &items)?;
    mutation.judge(&Judged::Item(id.clone()))?;
    refuse_done(args, &mutation.state.registry, &items, &id)?;
    mutation.end_runs(|registry| orders::stop_item(registry, &items, &id))?;
    let registry = &mutation.state.registry;
    if registry.handoffs_of(&id).any(|(_, handoff)| !handoff.survivors.is_empty()) {
        mutation.note(format!("{id}: not everything of it could be ended, so it stays parked"));
        return Ok(mutation.end());
    }
    // What still ends, its hook after the run say, holds up the next run and not a person's word.
    let again = orders::retry(&context.config, registry, &id, false, None);
    mutation.commit(&Plan { steps: vec![again], ..Plan::default() })?;
    Ok(mutation.end())
}

/// Done work is done again by a person's `retry` alone: the run may have ended well a moment ago.
fn refuse_done(
    args: &RestartArgs,
    registry: &Registry,
    items: &[WorkItem],
    id: &ItemId,
) -> Result<(), Failure> {
    match orders::is_done(registry, items, id) {
        true => Err(orders::refuse_done_again(&args.target, id)),
        false => Ok(()),
    }
}
