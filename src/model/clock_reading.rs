//! One instant, told by two clocks.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One instant, told by two clocks.
///
/// The wall clock is for people and for due times; ages come from the monotonic clock, which
/// neither an operator's `date -s` nor a sleeping laptop can move, and which means something
/// only within one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockReading {
    /// Wall clock.
    pub at: Timestamp,
    /// `CLOCK_MONOTONIC`, in milliseconds.
    pub mono_ms: u64,
    /// The boot that `mono_ms` belongs to (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// How long the machine had slept in that boot, in milliseconds; whole seconds. `mono_ms` does not count it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slept_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

impl ClockReading {
    /// Whether something that began at `later` began after this instant. Where the clocks can't tell, it did not.
    pub fn precedes(&self, later: Option<&ClockReading>, now: &ClockReading) -> bool {
        let Some(later) = later else { return false };
        if self.boot_id == later.boot_id {
            later.mono_ms >= self.mono_ms
        } else {
            later.boot_id == now.boot_id
        }
    }

    /// How long ago `earlier` was, or `None` when it belongs to another boot and cannot be told.
    pub fn since(&self, earlier: &ClockReading) -> Option<Duration> {
        (self.boot_id == earlier.boot_id)
            .then(|| Duration::from_millis(self.mono_ms.saturating_sub(earlier.mono_ms)))
    }

    /// The same with the time that the machine slept: for what a person waits for.
    pub fn since_asleep_or_not(&self, earlier: &ClockReading) -> Option<Duration> {
        let slept = Duration::from_millis(self.slept_ms.saturating_sub(earlier.slept_ms));
        Some(self.since(earlier)? + slept)
    }

    /// The wall time `delay` from now; the far future where the calendar ends.
    pub fn after(&self, delay: Duration) -> Timestamp {
        self.at.checked_add(delay).unwrap_or(Timestamp::MAX)
    }
}
