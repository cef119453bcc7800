//! Removes the control groups that ended runs have left, at most once an hour.
//!
//! Launchers did this at each start: beside 1,350 groups a start cost 13,983 system calls.

use jiff::{SignedDuration, Timestamp};

use crate::app::context::Context;
use crate::app::shutdown::Shutdown;
use crate::run::tags;
use crate::state::heartbeat::{GroupsLook, HeartbeatState};
use crate::state::{self, State};

/// How often a tick looks. A left-over group costs a few kilobytes of the kernel's memory, and nothing else.
const LOOK_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Looks, where it is time for it; `None` where it is not.
pub(crate) fn look(context: &Context, state: &State, shutdown: &Shutdown) -> Option<GroupsLook> {
    let now =
        state::steady(&state.heartbeat_state, &context.now.boot_id, context.config.retention.age).now.at;
    let before = match &state.heartbeat_state {
        HeartbeatState::Beat(beat) => beat.groups.as_ref(),
        HeartbeatState::Absent | HeartbeatState::Unreadable(_) => None,
    };
    if !is_due(before, now) || shutdown.asked() {
        return None;
    }
    let until = state.held_since + context.config.tick.deadline;
    let after = before.and_then(|before| before.after.as_deref());
    let after = tags::remove_left_over(&state.lineage, after, until);
    Some(GroupsLook { looked_at: after.is_none().then_some(now), after })
}

/// A look from the future tells nothing: then the clock was set back.
fn is_due(before: Option<&GroupsLook>, now: Timestamp) -> bool {
    let last = before.and_then(|before| before.looked_at);
    last.is_none_or(|last| last > now || now.duration_since(last) >= LOOK_EVERY)
}
