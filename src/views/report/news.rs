//! What a tick tells by exit code 4, once: the records of before it against those after it.

use crate::config::Config;
use crate::model::ItemId;
use crate::registry::{ItemPhase, MACHINE, ParkedBy, Registry};

/// Whether the machine, or the lack of a program, begins to keep agents from starting. A person can help.
pub(super) fn is_kept_anew(before: &Registry, after: &Registry) -> bool {
    let needs_person = |scope: &String| scope == MACHINE || scope.starts_with("program:");
    after.cool_offs.keys().any(|scope| needs_person(scope) && !before.cool_offs.contains_key(scope))
}

/// Whether an item was parked by a rule, or waits for a person, or processes were found that can't be ended, for the
/// first time.
pub(super) fn needs_person(before: &Registry, after: &Registry) -> bool {
    let is_parked = |registry: &Registry, id: &ItemId| {
        let record = registry.items.get(id);
        record.is_some_and(|record| {
            record.state == ItemPhase::Parked && record.parked_by != Some(ParkedBy::Person)
        })
    };
    let newly_parked = after.items.keys().any(|id| is_parked(after, id) && !is_parked(before, id));
    let first_survivors = after.handoffs.iter().any(|(run, handoff)| {
        !handoff.survivors.is_empty()
            && before.handoffs.get(run).is_none_or(|before| before.survivors.is_empty())
    });
    let stuck = &before.standstill.stuck;
    let newly_stuck = after
        .standstill
        .stuck
        .iter()
        .any(|(id, after)| stuck.get(id).is_none_or(|before| before.because != after.because));
    newly_parked || newly_stuck || first_survivors
}

/// Whether everything that is still to start has to wait from now on.
pub(super) fn is_stopped_anew(config: &Config, before: &Registry, after: &Registry) -> bool {
    let is_open = |registry: &Registry| registry.open_breaker(config.attempts.breaker).is_some();
    let day = |registry: &Registry| registry.daily_spend.as_ref().map(|today| today.day);
    let is_spent = |registry: &Registry| {
        registry.daily_spend.as_ref().is_some_and(|today| today.is_spent(&config.budget))
    };
    let is_stopped = |registry: &Registry| registry.standstill.stopped.is_some();
    is_stopped(after) && !is_stopped(before)
        || is_open(after) && !is_open(before)
        || is_spent(after) && !(is_spent(before) && day(before) == day(after))
}
