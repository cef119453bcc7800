//! What became of items: finished, out of attempts, edited, gone.

use crate::decide::Draft;
use crate::decide::dispatch::gates;
use crate::decide::items::{absence, completion};
use crate::decide::reconcile::runs::stop;
use crate::model::{Action, Class, Gone, ItemId, ItemState, Refresh, SourceView, WorkItem};
use crate::registry::{AgentRecord, AgentStanding, ItemRecord, ItemStanding, ParkedBy};

/// Uncharged failures in a row until the item is parked: what is nobody's fault must still end.
const UNCHARGED_ROW_MAX: u32 = 5;

pub(in crate::decide) fn follow(draft: &mut Draft) {
    absence::look(draft);
    for id in draft.item_ids() {
        completion::finish(draft, &id);
        // Before parking: an edit is a new life, and nobody need be alarmed about the old one.
        if draft.source().is_some() {
            follow_source(draft, &id);
            completion::go_on(draft, &id);
        }
        park_when_spent(draft, &id);
        clamp_due_time(draft, &id);
    }
    absence::tell(draft);
}

/// Every item that its roles' ends make done by themselves.
pub(in crate::decide) fn finish_all(draft: &mut Draft) {
    draft.item_ids().iter().for_each(|id| completion::finish(draft, id));
}

/// An agent whose role is no longer configured: ended where it runs, else forgotten.
pub(in crate::decide) fn drop_removed_roles(draft: &mut Draft) {
    let orphans: Vec<_> = draft
        .registry
        .agents
        .iter()
        .filter(|(_, agent)| draft.role(&agent.role).is_none() && draft.concerns(&agent.item))
        .map(|(name, agent)| (name.clone(), agent.clone()))
        .collect();
    for (name, agent) in orphans {
        if let Some(run) = &agent.run {
            stop(draft, &agent, run, "its role is no longer configured", false);
        }
        draft.refresh(Refresh::RoleGone { agent: name });
    }
}

/// Attempts are used up, or the machine failed it too often in a row. Parking ends its other roles.
fn park_when_spent(draft: &mut Draft, id: &ItemId) {
    let Some(record) = draft.registry.items.get(id) else { return };
    let parked = record.state == ItemStanding::Parked;
    if !parked && record.state != ItemStanding::Done {
        let max = draft.config.attempts.max;
        let last = record.last.as_ref();
        let class = last.and_then(|last| last.class);
        let words = last.map_or("", |last| last.because.as_str());
        let (class, because) = if record.attempts >= max {
            (class, format!("{} of {max} attempts failed; the last: {words}", record.attempts))
        } else if record.infra_row >= UNCHARGED_ROW_MAX {
            let row = record.infra_row;
            (class, format!("{row} failures in a row that were not the agent's; the last: {words}"))
        } else if let Some(because) = too_expensive(draft, id) {
            (Some(Class::NeedsInput), because)
        } else if let Some(because) = starts_used_up(draft, id) {
            (Some(Class::Budget), because)
        } else {
            return;
        };
        if edited_meanwhile(draft, id) {
            return;
        }
        let park = Action::Park { item: id.clone(), class, by_person: false };
        draft.decide(Some(id), because, park);
    } else if !parked || draft.registry.items[id].parked_by == Some(ParkedBy::Person) {
        return;
    }
    stop_all(draft, id, "its item was parked");
}

/// A run is known to have cost too much when it is over; what can be kept from happening is the next one.
fn too_expensive(draft: &Draft, id: &ItemId) -> Option<String> {
    let max = draft.config.budget.usd_per_run;
    let cost = |agent: &AgentRecord| agent.run_usd.filter(|usd| max > 0.0 && *usd > max);
    let (name, usd) = draft.registry.agents_of(id).find_map(|(name, agent)| Some((name, cost(agent)?)))?;
    Some(format!("the last run of {name} cost {usd:.2} USD, more than [budget] usd_per_run, {max:.2}"))
}

/// Parks an item that was forgotten, is back, and used up its starts of the day.
pub(in crate::decide) fn park_returned(draft: &mut Draft, item: &WorkItem) {
    if draft.registry.items.contains_key(&item.id) {
        return;
    }
    let Some(because) = starts_used_up(draft, &item.id) else { return };
    let seen = draft.registry.seen_as(item);
    draft.refresh(seen);
    let park = Action::Park { item: item.id.clone(), class: Some(Class::Budget), by_person: false };
    draft.decide(Some(&item.id), because, park);
}

/// An item that would be started more often than it may on one day, whatever became of its runs. A run in flight ends
/// first; the gate keeps the others of its crew from starting.
fn starts_used_up(draft: &Draft, id: &ItemId) -> Option<String> {
    let item = draft.seen.get(id).copied().filter(|item| eligible(draft, item))?;
    if draft.registry.in_flight(id) {
        return None;
    }
    let follow_ups = draft.registry.agents_of(id).filter(|(_, agent)| agent.next.is_some()).count();
    let wanted = if follow_ups > 0 { 1 } else { gates::roles_to_start(draft, item).len() };
    let used = gates::item_starts_used_up(draft, id, wanted as u32)?;
    let last = draft.registry.items.get(id).and_then(|record| record.last.as_ref());
    let last = last.map_or_else(String::new, |last| format!("; the last failure: {}", last.because));
    Some(format!("{used}, and only a person gives it more{last}"))
}

/// Whether something still runs for an item that was edited since: the edit counts when that ends, and
/// parking would end it for nothing.
fn edited_meanwhile(draft: &Draft, id: &ItemId) -> bool {
    let given = draft.registry.items.get(id).and_then(|record| record.hash.as_ref());
    let now = draft.seen.get(id).filter(|item| eligible(draft, item)).map(|item| &item.hash);
    draft.registry.running(id) && given.zip(now).is_some_and(|(given, now)| given != now)
}

pub(in crate::decide) fn stop_all(draft: &mut Draft, id: &ItemId, because: &str) {
    let running: Vec<_> = draft
        .registry
        .agents_of(id)
        .filter(|(_, agent)| agent.state != AgentStanding::Idle)
        .map(|(_, agent)| agent.clone())
        .collect();
    for agent in running {
        if let Some(run) = &agent.run {
            stop(draft, &agent, run, because, false);
        }
    }
}

/// What the latest complete read says of a remembered item.
fn follow_source(draft: &mut Draft, id: &ItemId) {
    let Some(record) = draft.registry.items.get(id).cloned() else { return };
    let Some(view) = draft.source() else { return };
    if is_unclear(view, id, &record) {
        return;
    }
    match draft.seen.get(id).copied() {
        Some(item) if eligible(draft, item) => present(draft, &record, item),
        other => absence::missing(draft, id, &record, other),
    }
}

/// A malformed file is neither present nor gone.
pub(in crate::decide) fn is_unclear(view: &SourceView, id: &ItemId, record: &ItemRecord) -> bool {
    view.unclear.iter().any(|one| one.id.as_ref() == Some(id) || one.origin == record.origin)
}

/// Open, and inside the scope that the configuration names.
pub(in crate::decide) fn eligible(draft: &Draft, item: &WorkItem) -> bool {
    item.state == ItemState::Open && draft.config.scope.holds(item)
}

fn present(draft: &mut Draft, record: &ItemRecord, item: &WorkItem) {
    let returned = record.gone.is_some();
    if record.missing_reads > 0 || record.key != item.key || record.origin != item.origin {
        let seen = draft.registry.seen_as(item);
        draft.refresh(seen);
    }
    let changed = record.hash.as_ref().is_some_and(|hash| *hash != item.hash);
    let redone = record.content_hash.as_ref().is_some_and(|hash| *hash != item.content_hash);
    let because = if returned { "it came back into scope" } else { "it was edited" };
    let renew = match record.state {
        ItemStanding::Waiting => {
            let untried = record.attempts == 0 && record.due_at.is_none() && record.infra_row == 0;
            let kept = draft.registry.agents_of(&item.id).any(|(_, agent)| agent.ok);
            (changed || returned) && (!untried || kept)
        }
        ItemStanding::Parked => (changed || returned) && record.parked_by == Some(ParkedBy::Rule),
        // Doing finished work again burns money: a new label or priority is no reason.
        // That its file was away for a while is none either.
        ItemStanding::Done => redone || record.gone == Some(Gone::Left),
        ItemStanding::Active => changed || returned,
    };
    // While a run of the old text is under way, it must not count as one of the new.
    if renew && !draft.registry.running(&item.id) {
        draft.refresh(Refresh::Renew { item: item.id.clone(), because: because.to_owned() });
    }
}

/// A due time that no backoff can have set, as the clock and the configuration are now.
fn clamp_due_time(draft: &mut Draft, id: &ItemId) {
    let Some(due_at) = draft.registry.items.get(id).and_then(|record| record.due_at) else { return };
    let latest = draft.now.after(draft.config.attempts.backoff_max);
    if due_at > latest {
        draft.plan.errors.push(format!(
            "{id} was due at {due_at}, later than any backoff reaches: the clock was set back, or backoff_max is \
             shorter than it was; now due at {latest}"
        ));
        draft.refresh(Refresh::Clamp { item: id.clone(), due_at: latest });
    }
}
