//! Items that are not where they were: closed, out of scope, or absent from their source.

use std::time::Duration;

use crate::decide::Draft;
use crate::decide::items::completion;
use crate::decide::items::lifecycle::{self, stop_all};
use crate::model::{Action, DoneWhen, Gone, ItemId, ItemState, Moment, Refresh, WorkItem};
use crate::registry::{ItemRecord, ItemStanding, ParkedBy};

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
pub(in crate::decide) fn look(draft: &mut Draft) {
    draft.mass_absence = !draft.request.accept_missing && mass(draft).is_some();
    bring_back_done(draft);
}

/// Reports that most remembered items are absent, as long as that is not believed.
pub(in crate::decide) fn tell(draft: &mut Draft) {
    let Some(Mass { absent, all, since }) = mass(draft).filter(|_| draft.mass_absence) else {
        draft.mass_absence = false;
        return;
    };
    let until = since.after(MASS_GONE_AFTER);
    draft.plan.errors.push(format!(
        "{absent} of {all} remembered items are absent at once: nothing of them is ended or forgotten before \
         {until}; if they are meant to be gone: `factory-tick --accept-missing`"
    ));
}

/// Absence of all or most remembered items.
struct Mass {
    absent: usize,
    all: usize,
    /// When the first of them was missed.
    since: Moment,
}

fn mass(draft: &Draft) -> Option<Mass> {
    let view = draft.source()?;
    // An item that is gone, and an item that is to leave its source when it is done, say nothing of the others.
    let leaves = |id: &ItemId| {
        completion::rule(draft, id) == DoneWhen::Source && completion::all_ended_well(draft, id)
    };
    let counts = |(id, record): &(&ItemId, &ItemRecord)| {
        record.gone.is_none() && !lifecycle::is_unclear(view, id, record) && !leaves(id)
    };
    let counted: Vec<_> = draft.registry.items.iter().filter(counts).collect();
    let absent: Vec<_> = counted.iter().filter(|(id, _)| !draft.seen.contains_key(*id)).collect();
    let (missing, all) = (absent.len(), counted.len());
    let is_empty = view.items.is_empty() && view.unclear.is_empty();
    // The only remembered item of a folder that holds others was deleted, and nothing else.
    let is_all = missing == all && (all > 1 || all == 1 && is_empty);
    let since = absent.iter().filter_map(|(_, record)| missing_since(draft, record));
    let since = since.min_by_key(|since| since.mono_ms).unwrap_or(draft.now).clone();
    (is_all || all >= MASS_MIN && missing * 2 > all).then_some(Mass { absent: missing, all, since })
}

/// When the wait for a missing item began. One of another boot begins anew: its age cannot be told, and the wall clock
/// may have been set.
fn missing_since<'a>(draft: &Draft, record: &'a ItemRecord) -> Option<&'a Moment> {
    let since = record.missing_since.as_ref().filter(|_| record.missing_reads > 0)?;
    draft.now.since(since).map(|_| since)
}

/// Absent items whose work was done, and that are back as they were.
fn bring_back_done(draft: &mut Draft) {
    if draft.registry.done.is_empty() {
        return;
    }
    let is_back = |item: &&WorkItem| {
        let done = draft.registry.done.get(&item.id);
        draft.concerns(&item.id)
            && !draft.registry.items.contains_key(&item.id)
            && done.is_some_and(|done| !done.left && done.content_hash == item.content_hash)
    };
    let back: Vec<_> = draft.seen.values().copied().filter(is_back).collect();
    for item in back {
        let (item, key, origin) = (item.id.clone(), item.key.clone(), item.origin.clone());
        draft.refresh(Refresh::StillDone { item, key, origin });
    }
}

/// A remembered item is closed, out of scope or absent. `seen`: the item as its source has it.
pub(in crate::decide) fn missing(
    draft: &mut Draft,
    id: &ItemId,
    record: &ItemRecord,
    seen: Option<&WorkItem>,
) {
    let out_of_scope = seen.is_some_and(|item| item.state == ItemState::Open);
    // A person's word holds even where the item is relabelled back and forth.
    if out_of_scope && record.parked_by == Some(ParkedBy::Person) {
        return;
    }
    let age = missing_since(draft, record).and_then(|since| draft.now.since(since));
    let reads = age.map_or(1, |_| record.missing_reads.saturating_add(1).min(MASS_READS_MIN));
    let is_absent = seen.is_none();
    let (reads_min, after) = match is_absent && draft.mass_absence {
        true => (MASS_READS_MIN, MASS_GONE_AFTER),
        false => (READS_MIN, GONE_AFTER),
    };
    let is_meant = is_absent && draft.request.accept_missing;
    let is_gone = is_meant || reads >= reads_min && age.is_some_and(|age| age >= after);
    let gone = match record.gone {
        Some(Gone::Absent) if !is_absent => Some(Gone::Left),
        None if is_gone => Some(if is_absent { Gone::Absent } else { Gone::Left }),
        gone => gone,
    };
    if age.is_none() || reads != record.missing_reads || gone != record.gone {
        draft.refresh(Refresh::Missing { item: id.clone(), reads, gone });
    }
    if gone.is_none() {
        return;
    }
    let because = match seen {
        Some(_) if out_of_scope => "its item left the scope",
        Some(_) => "its item was closed",
        None => "its item is gone",
    };
    if completion::finish_gone(draft, id, because) {
        return;
    }
    stop_all(draft, id, because);
    // Only a person gives its starts back: an agent could take its own item away for a while.
    if record.parked_by == Some(ParkedBy::Budget) && is_absent {
        return;
    }
    if !draft.registry.in_flight(id) {
        if record.state == ItemStanding::Done {
            draft.refresh(Refresh::KeepDone { item: id.clone() });
        }
        draft.decide(Some(id), because, Action::Forget { item: id.clone() });
    }
}
