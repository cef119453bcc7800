//! What became of items: finished, out of attempts, edited, gone.

use crate::decide::eligibility::{is_eligible, is_unreadable};
use crate::decide::endings::{stop, stop_all};
use crate::decide::items::{absence, completion};
use crate::decide::planner::Planner;
use crate::decide::throttle::budget::{starts_used_up, too_expensive};
use crate::model::{Action, FailureClass, Gone, ItemId, RecordUpdate, WorkItem};
use crate::registry::{ItemPhase, ItemRecord, ParkedBy};

/// Uncharged failures in a row until the item is parked: what is nobody's fault must still end.
const UNCHARGED_ROW_MAX: u32 = 5;

pub(in crate::decide) fn follow(planner: &mut Planner) {
    absence::look(planner);
    for id in planner.item_ids() {
        completion::finish(planner, &id);
        // Before parking: an edit is a new life, and nobody need be alarmed about the old one.
        if planner.source().is_some() {
            follow_source(planner, &id);
            completion::go_on(planner, &id);
        }
        park_when_spent(planner, &id);
        clamp_due_time(planner, &id);
    }
    absence::notify(planner);
}

/// Every item that its roles' ends make done by themselves.
pub(in crate::decide) fn finish_all(planner: &mut Planner) {
    planner.item_ids().iter().for_each(|id| completion::finish(planner, id));
}

/// An agent whose role is no longer configured: ended where it runs, else forgotten.
pub(in crate::decide) fn drop_removed_roles(planner: &mut Planner) {
    let orphans: Vec<_> = planner
        .registry
        .agents
        .iter()
        .filter(|(_, agent)| {
            planner.role(&agent.spec.role).is_none() && planner.is_selected(&agent.spec.item)
        })
        .map(|(name, agent)| (name.clone(), agent.clone()))
        .collect();
    for (name, agent) in orphans {
        if let Some(run) = &agent.run {
            stop(planner, &agent, run, "its role is no longer configured", false);
        }
        planner.refresh(RecordUpdate::RoleGone { agent: name });
    }
}

/// Attempts are used up, or the machine failed it too often in a row. Parking ends its other roles.
fn park_when_spent(planner: &mut Planner, id: &ItemId) {
    let Some(record) = planner.registry.items.get(id) else { return };
    let parked = record.state == ItemPhase::Parked;
    if !parked && record.state != ItemPhase::Done {
        let max = planner.config.attempts.max;
        let last = record.last.as_ref();
        let class = last.and_then(|last| last.class);
        let words = last.map_or("", |last| last.because.as_str());
        let (class, because) = if record.attempts >= max {
            (class, format!("{} of {max} attempts failed; the last: {words}", record.attempts))
        } else if record.uncharged_streak >= UNCHARGED_ROW_MAX {
            let streak = record.uncharged_streak;
            (class, format!("{streak} failures in a row that were not the agent's; the last: {words}"))
        } else if let Some(because) = too_expensive(planner, id) {
            (Some(FailureClass::NeedsInput), because)
        } else if let Some(because) = starts_used_up(planner, id) {
            (Some(FailureClass::Budget), because)
        } else {
            return;
        };
        if edited_meanwhile(planner, id) {
            return;
        }
        let park = Action::Park { item: id.clone(), class, by_person: false };
        planner.decide(Some(id), because, park);
    } else if !parked || planner.registry.items[id].parked_by == Some(ParkedBy::Person) {
        return;
    }
    stop_all(planner, id, "its item was parked");
}

/// Whether something still runs for an item that was edited since: the edit counts when that ends, and
/// parking would end it for nothing.
fn edited_meanwhile(planner: &Planner, id: &ItemId) -> bool {
    let given = planner.registry.items.get(id).and_then(|record| record.hash.as_ref());
    let now = planner.seen.get(id).filter(|item| is_eligible(planner, item)).map(|item| &item.hash);
    planner.registry.running(id) && given.zip(now).is_some_and(|(given, now)| given != now)
}

/// What the latest complete read says of a remembered item.
fn follow_source(planner: &mut Planner, id: &ItemId) {
    let Some(record) = planner.registry.items.get(id).cloned() else { return };
    let Some(view) = planner.source() else { return };
    if is_unreadable(view, id, &record.origin) {
        return;
    }
    match planner.seen.get(id).copied() {
        Some(item) if is_eligible(planner, item) => present(planner, &record, item),
        other => absence::missing(planner, id, &record, other),
    }
}

fn present(planner: &mut Planner, record: &ItemRecord, item: &WorkItem) {
    let returned = record.gone.is_some();
    if record.missing_reads > 0 || record.key != item.key || record.origin != item.origin {
        let seen = planner.registry.upsert_for(item);
        planner.refresh(seen);
    }
    let changed = record.hash.as_ref().is_some_and(|hash| *hash != item.hash);
    let redone = record.content_hash.as_ref().is_some_and(|hash| *hash != item.content_hash);
    let because = if returned { "it came back into scope" } else { "it was edited" };
    let renew = match record.state {
        ItemPhase::Waiting => {
            let untried = record.attempts == 0 && record.due_at.is_none() && record.uncharged_streak == 0;
            let kept = planner.registry.agents_of(&item.id).any(|(_, agent)| agent.succeeded);
            (changed || returned) && (!untried || kept)
        }
        ItemPhase::Parked => (changed || returned) && record.parked_by == Some(ParkedBy::Rule),
        // Doing finished work again burns money: a new label or priority is no reason.
        // That its file was away for a while is none either.
        ItemPhase::Done => redone || record.gone == Some(Gone::Left),
        ItemPhase::Active => changed || returned,
    };
    // While a run of the old text is under way, it must not count as one of the new.
    if renew && !planner.registry.running(&item.id) {
        planner.refresh(RecordUpdate::Renew { item: item.id.clone(), because: because.to_owned() });
    }
}

/// A due time that no backoff can have set, as the clock and the configuration are now.
fn clamp_due_time(planner: &mut Planner, id: &ItemId) {
    let Some(due_at) = planner.registry.items.get(id).and_then(|record| record.due_at) else { return };
    let latest = planner.now.after(planner.config.attempts.backoff_max);
    if due_at > latest {
        planner.plan.errors.push(format!(
            "{id} was due at {due_at}, later than any backoff reaches: the clock was set back, or backoff_max is \
             shorter than it was; now due at {latest}"
        ));
        planner.refresh(RecordUpdate::Clamp { item: id.clone(), due_at: latest });
    }
}
