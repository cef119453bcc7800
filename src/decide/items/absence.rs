//! Items that are not where they were: closed, out of scope, or absent from their source.

use std::time::Duration;

use crate::decide::endings::stop_all;
use crate::decide::items::{completion, index};
use crate::decide::planner::Planner;
use crate::decide::{done_rule, eligibility};
use crate::model::{Action, ClockReading, DoneWhen, Gone, ItemId, ItemState, RecordUpdate, WorkItem};
use crate::registry::{ItemPhase, ItemRecord, ParkedBy};

/// An item is gone only after this many complete reads in a row without it.
const READS_MIN: u32 = 2;

/// And only so long after the first of them, by the monotonic clock. A checkout rewrites a file in milliseconds, and
/// `--iterations` and `drain` read twice within seconds: reads alone ended the agents of items that were there.
const GONE_AFTER: Duration = Duration::from_secs(30);

/// While most remembered items are absent at once, each of them is gone only after this many complete reads in a row.
const MASS_READS_MIN: u32 = 3;

/// And only so long after the first of them. A folder that is not mounted looks empty.
const MASS_GONE_AFTER: Duration = Duration::from_secs(10 * 60);

/// More than half of the remembered items is most of them from this number on; of fewer, all.
const MASS_MIN: usize = 4;

/// What one complete read says of all remembered items together.
pub(in crate::decide) fn look(planner: &mut Planner) {
    index::archive(planner);
    index::look(planner);
    planner.mass_absence = !planner.request.accept_missing && mass(planner).is_some();
}

/// Reports that most remembered items are absent, as long as that is not believed.
pub(in crate::decide) fn notify(planner: &mut Planner) {
    let Some(Mass { absent, all, since }) = mass(planner).filter(|_| planner.mass_absence) else {
        planner.mass_absence = false;
        return;
    };
    let until = since.after(MASS_GONE_AFTER);
    planner.plan.errors.push(format!(
        "{absent} of {all} remembered items are absent at once: nothing of them is ended or forgotten before \
         {until}; if they are meant to be gone: `factory-tick --accept-missing`"
    ));
}

/// Absence of all or most remembered items.
struct Mass {
    absent: usize,
    all: usize,
    /// When the first of them was missed.
    since: ClockReading,
}

fn mass(planner: &Planner) -> Option<Mass> {
    let view = planner.source()?;
    // An item that is gone, and an item that is to leave its source when it is done, say nothing of the others.
    let leaves = |id: &ItemId| {
        done_rule::rule(planner, id) == DoneWhen::Source && done_rule::all_ended_well(planner, id)
    };
    let counts = |(id, record): &(&ItemId, &ItemRecord)| {
        record.gone.is_none() && !eligibility::is_unreadable(view, id, &record.origin) && !leaves(id)
    };
    let counted: Vec<_> = planner.registry.items.iter().filter(counts).collect();
    let absent: Vec<_> = counted.iter().filter(|(id, _)| !planner.seen.contains_key(*id)).collect();
    // Of the index of done items each is there: one that is absent got its record back.
    let indexed = planner
        .registry
        .done
        .iter()
        .filter(|(id, done)| done.gone.is_none() && planner.seen.contains_key(id));
    let (missing, all) = (absent.len(), counted.len() + indexed.count());
    let is_empty = view.items.is_empty() && view.unreadable.is_empty();
    // The only remembered item of a folder that holds others was deleted, and nothing else.
    let is_all = missing == all && (all > 1 || all == 1 && is_empty);
    let since = absent.iter().filter_map(|(_, record)| missing_since(planner, record));
    let since = since.min_by_key(|since| since.mono_ms).unwrap_or(planner.now).clone();
    (is_all || all >= MASS_MIN && missing * 2 > all).then_some(Mass { absent: missing, all, since })
}

/// When the wait for a missing item began. One of another boot begins anew: its age cannot be told, and the wall clock
/// may have been set.
fn missing_since<'a>(planner: &Planner, record: &'a ItemRecord) -> Option<&'a ClockReading> {
    let since = record.missing_since.as_ref().filter(|_| record.missing_reads > 0)?;
    planner.now.since(since).map(|_| since)
}

/// A remembered item is closed, out of scope or absent. `seen`: the item as its source has it.
pub(in crate::decide) fn missing(
    planner: &mut Planner,
    id: &ItemId,
    record: &ItemRecord,
    seen: Option<&WorkItem>,
) {
    let out_of_scope = seen.is_some_and(|item| item.state == ItemState::Open);
    // A person's word holds even where the item is relabelled back and forth.
    if out_of_scope && record.parked_by == Some(ParkedBy::Person) {
        return;
    }
    let age = missing_since(planner, record).and_then(|since| planner.now.since(since));
    let reads = age.map_or(1, |_| record.missing_reads.saturating_add(1).min(MASS_READS_MIN));
    let is_absent = seen.is_none();
    let (reads_min, after) = match is_absent && planner.mass_absence {
        true => (MASS_READS_MIN, MASS_GONE_AFTER),
        false => (READS_MIN, GONE_AFTER),
    };
    let is_meant = is_absent && planner.request.accept_missing;
    let is_gone = is_meant || reads >= reads_min && age.is_some_and(|age| age >= after);
    let gone = match record.gone {
        Some(Gone::Absent) if !is_absent => Some(Gone::Left),
        None if is_gone => Some(if is_absent { Gone::Absent } else { Gone::Left }),
        gone => gone,
    };
    if age.is_none() || reads != record.missing_reads || gone != record.gone {
        planner.refresh(RecordUpdate::Missing { item: id.clone(), reads, gone });
    }
    if gone.is_none() {
        return;
    }
    let because = match seen {
        Some(_) if out_of_scope => "its item left the scope",
        Some(_) => "its item was closed",
        None => "its item is gone",
    };
    if completion::finish_gone(planner, id, because) {
        return;
    }
    stop_all(planner, id, because);
    // Only a person gives its starts back: an agent could take its own item away for a while.
    if record.parked_by == Some(ParkedBy::Budget) && is_absent {
        return;
    }
    if !planner.registry.in_flight(id) {
        if record.state == ItemPhase::Done {
            planner.refresh(RecordUpdate::KeepDone { item: id.clone() });
        }
        planner.decide(Some(id), because, Action::Forget { item: id.clone() });
    }
}
