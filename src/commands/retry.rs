//! `factory-tick retry`: an item gets all its attempts back and is due now, whoever had parked it.

use crate::app::context::Context;
use crate::app::mutation::{self, Judged};
use crate::app::{orders, resolve};
use crate::cli::RetryArgs;
use crate::decide;
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, Decision, FailureClass, Held, HoldReason, ItemId, Plan, Step, WorkItem};
use crate::registry::{ItemPhase, ItemRecord, Registry};

pub(super) fn run(context: &Context, args: &RetryArgs) -> Result<ExitStatus, Failure> {
    // Read for a name alone.
    let items = args.target.as_ref().map_or_else(Vec::new, |_| context.items());
    let judged = |registry: &Registry| match &args.target {
        Some(wanted) => Ok(Judged::Item(resolve::item(wanted, registry, &items)?)),
        None => Ok(Judged::All),
    };
    mutation::apply(context, "retry", judged, |before, registry| {
        let mut plan = match &args.target {
            Some(wanted) => plan_of_one(context, args, wanted, &items, before, registry)?,
            None => plan_of_all(registry, args.class, |id| step(context, args, registry, id)),
        };
        if !plan.is_empty() {
            plan.steps.extend(ask_providers_again(registry));
        }
        Ok(plan)
    })
}

/// Whoever wants it tried now has seen to what its provider had against it, or wants to know.
fn ask_providers_again(registry: &Registry) -> impl Iterator<Item = Step> {
    decide::providers_cooling(registry).map(|scope| {
        let action = Action::CoolOff { scope: scope.clone(), cooling: None };
        Step::Decide(Decision {
            action,
            item: None,
            because: "a person wants it tried again".to_owned(),
            group: 0,
        })
    })
}

fn step(context: &Context, args: &RetryArgs, registry: &Registry, id: &ItemId) -> Step {
    orders::retry(&context.config, registry, id, args.fresh, args.message.clone())
}

fn plan_of_one(
    context: &Context,
    args: &RetryArgs,
    wanted: &str,
    items: &[WorkItem],
    before: &Registry,
    registry: &Registry,
) -> Result<Plan, Failure> {
    // As it was found at first: a judged run may be known by no name any more.
    let id = resolve::item(wanted, before, items)?;
    // The person did not know that its run had ended well.
    if orders::is_done(registry, items, &id) && !orders::is_done(before, items, &id) {
        return Err(orders::refuse_done_again(wanted, &id));
    }
    if let Some(run) = what_runs(registry, &id) {
        let text = format!("{run} is in flight; `factory-tick restart {wanted}` ends it and tries again");
        return Err(Failure::new(ExitStatus::Refused, text));
    }
    let mut plan = orders::of_item(registry, items, &id);
    plan.steps.push(step(context, args, registry, &id));
    Ok(plan)
}

/// Everything that is parked, or was for this reason. What still runs is left alone.
fn plan_of_all(registry: &Registry, class: Option<FailureClass>, retry: impl Fn(&ItemId) -> Step) -> Plan {
    let is_meant = |record: &ItemRecord| {
        let parked_for = record.last.as_ref().and_then(|last| last.class);
        record.state == ItemPhase::Parked && (class.is_none() || class == parked_for)
    };
    let mut plan = Plan::default();
    for (id, _) in registry.items.iter().filter(|(_, record)| is_meant(record)) {
        match what_runs(registry, id) {
            None => plan.steps.push(retry(id)),
            Some(run) => plan.held.push(Held {
                item: id.clone(),
                code: HoldReason::AlreadyActive,
                because: format!("{run} is in flight"),
                until: None,
            }),
        }
    }
    plan
}

fn what_runs(registry: &Registry, id: &ItemId) -> Option<String> {
    registry.agents_of(id).find_map(|(_, agent)| Some(agent.run.as_ref()?.to_string()))
}
