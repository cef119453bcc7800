//! The counters for scripts.

use super::json;
use crate::registry::Counters;

pub(super) fn document(counters: &Counters) -> json::Counters {
    json::Counters {
        dispatched: counters.dispatched,
        dispatch_duplicate_suppressed: counters.dispatch_duplicate_suppressed,
        dispatch_backoffs: counters.dispatch_backoffs,
        dispatch_terminal_failures: counters.dispatch_terminal_failures,
        dispatch_failure_reaper_handoffs: counters.dispatch_failure_reaper_handoffs,
        dispatch_failure_reaper_handoff_failures: counters.dispatch_failure_reaper_handoff_failures,
        handoffs_reaped: counters.handoffs_reaped,
        resumes: counters.resumes,
        resume_name_collisions: counters.resume_name_collisions,
        sessions_not_found: counters.sessions_not_found,
        agents_reaped: counters.agents_reaped,
        survivors: counters.survivors,
        pid_identity_mismatches: counters.pid_identity_mismatches,
        protected_pid_skips: counters.protected_pid_skips,
        fences: counters.fences,
        crashed_ticks: counters.crashed_ticks,
    }
}
