//! The steps of a person's orders. More than one command gives them.

use crate::config::Config;
use crate::decide;
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, Decision, ItemId, Plan, RecordUpdate, Step, WorkItem};
use crate::registry::{ItemRecord, Registry};

/// Why a run ends and its item is parked, for people.
pub(crate) const STOPPED: &str = "a person stopped it";

/// A step that a person decided.
pub(crate) fn decided(id: &ItemId, because: &str, action: Action) -> Step {
    Step::Decide(Decision { action, item: Some(id.clone()), because: because.to_owned(), group: 0 })
}

/// A plan about the whole factory.
pub(crate) fn of_factory(because: &str, action: Action) -> Plan {
    let decision = Decision { action, item: None, because: because.to_owned(), group: 0 };
    Plan { steps: vec![Step::Decide(decision)], ..Plan::default() }
}

/// The beginning of a plan about one item. An item that has no record gets one, so that the order is kept.
pub(crate) fn of_item(registry: &Registry, items: &[WorkItem], id: &ItemId) -> Plan {
    if registry.items.contains_key(id) {
        return Plan::default();
    }
    let seen = items.iter().find(|item| item.id == *id);
    let update = match is_done(registry, items, id) {
        true => Some(RecordUpdate::RestoreDone { item: id.clone() }),
        false => seen.map(|item| registry.upsert_for(item)),
    };
    Plan { steps: update.map(Step::RecordUpdate).into_iter().collect(), ..Plan::default() }
}

/// Hands off every run of the item, and parks the item unless it is done.
pub(crate) fn stop(registry: &Registry, items: &[WorkItem], id: &ItemId) -> Vec<Step> {
    let runs = registry.agents_of(id).filter_map(|(_, agent)| agent.run.clone());
    let stops = runs.map(|run| Action::Stop { run, survivors: Vec::new(), dispatch_failed: false });
    let mut steps: Vec<_> = stops.map(|stop| decided(id, STOPPED, stop)).collect();
    if !is_done(registry, items, id) {
        let park = Action::Park { item: id.clone(), class: None, by_person: true };
        steps.push(decided(id, STOPPED, park));
    }
    steps
}

/// The whole plan that stops one item.
pub(crate) fn stop_item(registry: &Registry, items: &[WorkItem], id: &ItemId) -> Plan {
    let mut plan = of_item(registry, items, id);
    plan.steps.extend(stop(registry, items, id));
    plan
}

/// Gives an item of which nothing runs all attempts back. Sessions go on where that is possible, unless `fresh`.
pub(crate) fn retry(
    config: &Config,
    registry: &Registry,
    id: &ItemId,
    fresh: bool,
    message: Option<String>,
) -> Step {
    // A done item is done again from the beginning.
    let done = is_done(registry, &[], id);
    let answered = message.is_some() || registry.items.get(id).is_some_and(ItemRecord::is_answered);
    let sessions = registry.agents_of(id).filter(|(_, agent)| decide::can_go_on(config, agent, answered));
    let go_on = sessions.filter(|_| !fresh && !done).map(|(name, _)| name.clone()).collect();
    decided(id, "a person wants it tried again", Action::Retry { item: id.clone(), go_on, message })
}

/// Whether an item is done. A done item stays done, so that nothing does its work again unasked.
/// `items`: those of the source, where they are known.
pub(crate) fn is_done(registry: &Registry, items: &[WorkItem], id: &ItemId) -> bool {
    registry.is_done(id, items.iter().find(|item| item.id == *id))
}

/// Refuses an order about a done item. `rest` says what there is not, or what helps.
pub(crate) fn refuse_done(id: &ItemId, rest: &str) -> Failure {
    Failure::new(ExitStatus::Refused, format!("{id} is done; {rest}"))
}

/// Refuses to start a done item again unasked, and names the command that does.
pub(crate) fn refuse_done_again(wanted: &str, id: &ItemId) -> Failure {
    refuse_done(id, &format!("`factory-tick retry {wanted}` does it again"))
}
