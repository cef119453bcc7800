//! What does not go on by itself: a machine on which nothing may start, and items that a person alone can release.

use std::collections::BTreeMap;

use crate::decide::Draft;
use crate::decide::dispatch::blockers::Blockers;
use crate::model::{Held, HeldCode, ItemId, Refresh, Standstill, Stopped, Stuck};

/// So many stuck items are kept: 20,000 of them would make the registry 6 MB larger.
const STUCK_MAX: usize = 1_000;

/// Writes down what the gates held, so that a report can tell it once and `status` always.
pub(in crate::decide) fn note(draft: &mut Draft) {
    // The gate was asked for as many starts as each item wanted: a crew may be held when 1 start is left.
    // That of one item has no end, for only a person gives it more.
    let day_holds = |held: &Held| held.code == HeldCode::Budget && held.until.is_some();
    if draft.plan.held.iter().any(day_holds) && !draft.registry.today(draft.now.at).held {
        draft.refresh(Refresh::BudgetHolds);
    }
    // A tick for one item knows nothing of the others, nor does one that could not read its source.
    // Where the agents can't be seen, that holds every item, whatever else would.
    if draft.request.item.is_some() || draft.source().is_none() || draft.fleet().is_none() {
        return;
    }
    let disk = draft.plan.held.iter().find(|held| held.code == HeldCode::DiskFloor);
    let before = &draft.registry.standstill;
    let stopped = disk.map(|held| match &before.stopped {
        // The free space differs from tick to tick; the condition is the same.
        Some(stopped) if stopped.code == held.code => stopped.clone(),
        _ => Stopped { code: held.code, because: held.because.clone(), since: draft.now.at },
    });
    let standstill = Standstill { stopped, stuck: stuck(draft) };
    if standstill != *before {
        draft.refresh(Refresh::Standstill(standstill));
    }
}

fn stuck(draft: &Draft) -> BTreeMap<ItemId, Stuck> {
    let may_be = |held: &&Held| matches!(held.code, HeldCode::Blocked | HeldCode::WorkspaceTaken);
    let held: Vec<_> = draft.plan.held.iter().filter(may_be).collect();
    if held.is_empty() {
        return BTreeMap::new();
    }
    let blockers = Blockers::new(draft);
    let blocker = |id: &ItemId| draft.seen.get(id).and_then(|item| blockers.unresolved(item));
    // A blocker may be unknown because its file is away with most others: nothing new is stuck then, and what was stays.
    if draft.mass_absence {
        let waits_for_open = |id: &ItemId| blocker(id).is_some_and(|blocker| blocker.is_open);
        let still = |held: &Held| held.code == HeldCode::WorkspaceTaken || !waits_for_open(&held.item);
        let mut before = draft.registry.standstill.stuck.clone();
        before.retain(|id, _| held.iter().any(|held| held.item == *id && still(held)));
        return before;
    }
    let needs_person = |held: &&&Held| {
        if held.code == HeldCode::WorkspaceTaken {
            return true;
        }
        blocker(&held.item).is_some_and(|blocker| blocker.needs_person)
    };
    let stuck = |held: &Held| {
        let item = draft.seen.get(&held.item)?;
        let before = draft.registry.standstill.stuck.get(&held.item);
        let before = before.filter(|before| before.because == held.because);
        let stuck = Stuck {
            key: item.key.clone(),
            origin: item.origin.clone(),
            code: held.code,
            because: held.because.clone(),
            since: before.map_or(draft.now.at, |before| before.since),
        };
        Some((held.item.clone(), stuck))
    };
    held.iter().filter(needs_person).filter_map(|held| stuck(held)).take(STUCK_MAX).collect()
}
