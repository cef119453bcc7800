//! What does not go on by itself: a machine on which nothing may start, and items that a person alone can release.

use std::collections::BTreeMap;

use crate::decide::dispatch::blockers::Blockers;
use crate::decide::planner::Planner;
use crate::model::{Held, HoldReason, ItemId, RecordUpdate, Standstill, Stopped, Stuck};

/// So many stuck items are kept: 20,000 of them would make the registry 6 MB larger.
const STUCK_MAX: usize = 1_000;

/// Writes down what the gates held, so that a report can tell it once and `status` always.
pub(in crate::decide) fn note(planner: &mut Planner) {
    // The gate was asked for as many starts as each item wanted: a crew may be held when 1 start is left.
    // That of one item has no end, for only a person gives it more.
    let day_holds = |held: &Held| held.code == HoldReason::Budget && held.until.is_some();
    if planner.plan.held.iter().any(day_holds) && !planner.registry.daily_spend(planner.now.at).held {
        planner.refresh(RecordUpdate::BudgetHolds);
    }
    // A tick for one item knows nothing of the others, nor does one that could not read its source.
    // Where the agents can't be seen, that holds every item, whatever else would.
    if planner.request.item.is_some() || planner.source().is_none() || planner.fleet().is_none() {
        return;
    }
    let disk = planner.plan.held.iter().find(|held| held.code == HoldReason::DiskFloor);
    let before = &planner.registry.standstill;
    let stopped = disk.map(|held| match &before.stopped {
        // The free space differs from tick to tick; the condition is the same.
        Some(stopped) if stopped.code == held.code => stopped.clone(),
        _ => Stopped { code: held.code, because: held.because.clone(), since: planner.now.at },
    });
    let standstill = Standstill { stopped, stuck: stuck(planner) };
    if standstill != *before {
        planner.refresh(RecordUpdate::Standstill(standstill));
    }
}

fn stuck(planner: &Planner) -> BTreeMap<ItemId, Stuck> {
    let may_be = |held: &&Held| matches!(held.code, HoldReason::Blocked | HoldReason::WorkspaceTaken);
    let held: Vec<_> = planner.plan.held.iter().filter(may_be).collect();
    if held.is_empty() {
        return BTreeMap::new();
    }
    let blockers = Blockers::new(planner);
    let blocker = |id: &ItemId| planner.seen.get(id).and_then(|item| blockers.unresolved(item));
    // A blocker may be unknown because its file is away with most others: nothing new is stuck then, and what was stays.
    if planner.mass_absence {
        let waits_for_open = |id: &ItemId| blocker(id).is_some_and(|blocker| blocker.is_open);
        let still = |held: &Held| held.code == HoldReason::WorkspaceTaken || !waits_for_open(&held.item);
        let mut before = planner.registry.standstill.stuck.clone();
        before.retain(|id, _| held.iter().any(|held| held.item == *id && still(held)));
        return before;
    }
    let needs_person = |held: &&&Held| {
        if held.code == HoldReason::WorkspaceTaken {
            return true;
        }
        blocker(&held.item).is_some_and(|blocker| blocker.needs_person)
    };
    let stuck = |held: &Held| {
        let item = planner.seen.get(&held.item)?;
        let before = planner.registry.standstill.stuck.get(&held.item);
        let before = before.filter(|before| before.because == held.because);
        let stuck = Stuck {
            key: item.key.clone(),
            origin: item.origin.clone(),
            code: held.code,
            because: held.because.clone(),
            since: before.map_or(planner.now.at, |before| before.since),
        };
        Some((held.item.clone(), stuck))
    };
    held.iter().filter(needs_person).filter_map(|held| stuck(held)).take(STUCK_MAX).collect()
}
