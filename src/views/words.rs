//! Words for stored states, the same on the screen and in public JSON.

use crate::registry::{AgentPhase, ItemPhase, ParkedBy};

/// The phase of an item.
pub(super) fn phase(phase: ItemPhase) -> &'static str {
    match phase {
        ItemPhase::Waiting => "waiting",
        ItemPhase::Active => "active",
        ItemPhase::Parked => "parked",
        ItemPhase::Done => "done",
    }
}

/// The phase of an agent's run.
pub(super) fn agent_phase(phase: AgentPhase) -> &'static str {
    match phase {
        AgentPhase::Idle => "idle",
        AgentPhase::Starting => "starting",
        AgentPhase::Running => "running",
    }
}

/// Who or what parked an item.
pub(super) fn parked_by(by: ParkedBy) -> &'static str {
    match by {
        ParkedBy::Rule => "rule",
        ParkedBy::Person => "person",
        ParkedBy::Budget => "budget",
    }
}
