//! A person's pause, and its end.

use crate::decide::planner::Planner;
use crate::model::Action;

/// A pause that was to last so long ends by itself, or begins anew where a clock that was set back would draw it out.
pub(in crate::decide) fn end_pause(planner: &mut Planner) {
    let paused = planner.registry.paused.as_ref();
    if let Some(paused) = paused
        && let Some(anew) = paused.deadline.anew(planner.now)
    {
        let because = paused.because.clone();
        return planner.decide(None, because, Action::Pause { until: anew.end() });
    }
    if planner.registry.paused.as_ref().is_some_and(|paused| !paused.holds(planner.now)) {
        planner.decide(None, "its time is over", Action::Unpause);
    }
}
