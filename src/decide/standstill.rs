//! What does not go on by itself: a machine on which nothing may start, and items that a person alone can release.

use std::collections::BTreeMap;

use super::Draft;
use super::blockers::Blockers;
use crate::model::{Held, HeldCode, ItemId, Refresh, Standstill, Stopped, Stuck};

/// So many stuck items are kept: 20,000 of them would make the registry 6 MB larger.
const STUCK_MAX: usize = 1_000;

/// Writes down what the gates held, so that a report can tell it once and `status` always.
pub(super) fn note(draft: &mut Draft) {
    let holds = |code: HeldCode| draft.plan.held.iter().find(move |held| held.code == code);
    // The gate was asked for as many starts as each item wanted: a crew may be held when 1 start is left.
    if holds(HeldCode::Budget).is_some() && !draft.registry.today(draft.now.at).held {
        draft.refresh(Refresh::BudgetHolds);
    }
    // A tick for one item knows nothing of the others, nor does one that could not read its source.
    if draft.request.item.is_some() || draft.source().is_none() {
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
    let blocked: Vec<_> = draft.plan.held.iter().filter(|held| held.code == HeldCode::Blocked).collect();
    // A blocker may be unknown because its file is away with most others.
    if blocked.is_empty() || draft.mass_absence {
        return BTreeMap::new();
    }
    let blockers = Blockers::new(draft);
    let needs_person = |held: &&&Held| {
        let item = draft.seen.get(&held.item);
        item.and_then(|item| blockers.unresolved(item)).is_some_and(|blocker| blocker.needs_person)
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
    blocked.iter().filter(needs_person).filter_map(|held| stuck(held)).take(STUCK_MAX).collect()
}
