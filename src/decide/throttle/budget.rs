//! What may be spent: starts of one item on one day, and US dollars of one run.

use crate::decide::eligibility::{self, is_eligible};
use crate::decide::planner::Planner;
use crate::model::{ItemId, RecordUpdate};
use crate::registry::{AgentRecord, DailySpend};

/// What was spent can't be of a day that has not come: the clock was set back. Or it is of this day after all.
pub(in crate::decide) fn right_the_day(planner: &mut Planner) {
    let today = planner.registry.daily_spend(planner.now.at).day;
    let is_wrong = |recorded: &DailySpend| today < recorded.day || recorded.taken_back_from == Some(today);
    if planner.registry.daily_spend.as_ref().is_some_and(is_wrong) {
        planner.refresh(RecordUpdate::DailySpend);
    }
}

/// A run is known to have cost too much when it is over; what can be kept from happening is the next one.
pub(in crate::decide) fn too_expensive(planner: &Planner, id: &ItemId) -> Option<String> {
    let max = planner.config.budget.usd_per_run;
    let cost = |agent: &AgentRecord| agent.run_usd.filter(|usd| max > 0.0 && *usd > max);
    let (name, usd) = planner.registry.agents_of(id).find_map(|(name, agent)| Some((name, cost(agent)?)))?;
    Some(format!("the last run of {name} cost {usd:.2} USD, more than [budget] usd_per_run, {max:.2}"))
}

/// An item that would be started more often than it may on one day, whatever became of its runs. A run in flight ends
/// first; the gate keeps the others of its crew from starting.
pub(in crate::decide) fn starts_used_up(planner: &Planner, id: &ItemId) -> Option<String> {
    let item = planner.seen.get(id).copied().filter(|item| is_eligible(planner, item))?;
    if planner.registry.in_flight(id) {
        return None;
    }
    let follow_ups = planner.registry.agents_of(id).filter(|(_, agent)| !agent.follow_ups.is_empty()).count();
    let wanted = if follow_ups > 0 { 1 } else { eligibility::roles_to_start(planner, item).len() };
    let used = item_starts_used_up(planner, id, wanted as u32)?;
    let last = planner.registry.items.get(id).and_then(|record| record.last.as_ref());
    let last = last.map_or_else(String::new, |last| format!("; the last failure: {}", last.because));
    Some(format!("{used}, and only a person gives it more{last}"))
}

/// Whether so many starts more are beyond those of the item on one day.
pub(in crate::decide) fn item_starts_used_up(
    planner: &Planner,
    item: &ItemId,
    wanted: u32,
) -> Option<String> {
    let max = planner.config.budget.item_starts_per_day;
    let used = planner.registry.item_starts(item, planner.now.at);
    (max > 0 && used.saturating_add(wanted) > max)
        .then(|| format!("{used} of {max} starts of the item used today ([budget] item_starts_per_day)"))
}
