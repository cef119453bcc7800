//! The index of done items: what goes into it, and what comes back because something may act again.
//!
//! An index entry costs a tick a lookup; a record and its agents cost 30 µs and 11.5 kB. Nothing is decided about an entry
//! here: where its item is not as it was done, the item gets its record back, and the rules for records apply.

use crate::decide::eligibility::{is_eligible, is_unreadable};
use crate::decide::planner::Planner;
use crate::decide::writeback;
use crate::model::{Gone, ItemId, RecordUpdate, WorkItem};
use crate::registry::{AgentRecord, DoneItem, ItemPhase, ItemRecord};

/// Puts every done item of which nothing may act into the index.
pub(in crate::decide) fn archive(planner: &mut Planner) {
    let may_go = |(id, record): &(&ItemId, &ItemRecord)| {
        record.state == ItemPhase::Done && planner.is_selected(id) && is_at_rest(planner, id, record)
    };
    let settled = planner.registry.items.iter().filter(may_go);
    let settled: Vec<_> = settled.map(|(id, _)| id.clone()).collect();
    for item in settled {
        planner.refresh(RecordUpdate::Archive { item });
    }
}

/// Whether nothing of a done item may act: it is in its source as it was done, its tracker knows, and no agent of it has
/// anything to tell.
fn is_at_rest(planner: &Planner, id: &ItemId, record: &ItemRecord) -> bool {
    let is_idle = |agent: &AgentRecord| {
        agent.run.is_none()
            && agent.follow_ups.is_empty()
            && agent.after_run.is_none()
            && agent.question.is_none()
    };
    let is_as_done = |item: &&WorkItem| {
        is_eligible(planner, item)
            && record.content_hash.as_ref() == Some(&item.content_hash)
            && (&record.key, &record.origin) == (&item.key, &item.origin)
    };
    planner.seen.get(id).is_some_and(is_as_done)
        && record.missing_reads == 0
        && record.gone.is_none()
        && record.messages.is_empty()
        && planner.registry.agents_of(id).all(|(_, agent)| is_idle(agent))
        && !planner.registry.in_flight(id)
        && writeback::owes_nothing(planner, id, record)
}

/// Compares the index with what one complete read shows.
pub(in crate::decide) fn look(planner: &mut Planner) {
    let Some(view) = planner.source() else { return };
    let mut updates = Vec::new();
    let done = planner.registry.done.iter().filter(|(id, _)| planner.is_selected(id));
    for (id, done) in done.filter(|(id, _)| !planner.registry.items.contains_key(id)) {
        let seen = planner.seen.get(id).copied();
        let is_readable = || !is_unreadable(view, id, &done.origin);
        match (done.gone, seen) {
            // As it was done.
            (None, Some(item)) if is_as_done(planner, done, item) => {
                let is_as_recorded = done.key(id) == item.key && done.origin == item.origin;
                updates.extend((!is_as_recorded).then(|| still_done(item)));
            }
            (None, seen) if seen.is_some() || is_readable() => {
                updates.push(RecordUpdate::RestoreDone { item: id.clone() });
            }
            // Back with the same text.
            (Some(Gone::Absent), Some(item)) if done.content_hash == item.content_hash => {
                updates.push(still_done(item));
                if !is_eligible(planner, item) {
                    updates.push(RecordUpdate::RestoreDone { item: id.clone() });
                }
            }
            _ => {}
        }
    }
    updates.into_iter().for_each(|update| planner.refresh(update));
}

fn is_as_done(planner: &Planner, done: &DoneItem, item: &WorkItem) -> bool {
    is_eligible(planner, item) && done.content_hash == item.content_hash
}

fn still_done(item: &WorkItem) -> RecordUpdate {
    let (id, key, origin) = (item.id.clone(), item.key.clone(), item.origin.clone());
    RecordUpdate::StillDone { item: id, key, origin }
}
