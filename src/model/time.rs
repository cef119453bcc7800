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
pub struct Moment {
    /// Wall clock.
    pub at: Timestamp,
    /// `CLOCK_MONOTONIC`, in milliseconds.
    pub mono_ms: u64,
    /// The boot that `mono_ms` belongs to (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

impl Moment {
    /// How long ago `earlier` was, or `None` when it belongs to another boot and cannot be told.
    pub fn since(&self, earlier: &Moment) -> Option<Duration> {
        (self.boot_id == earlier.boot_id)
            .then(|| Duration::from_millis(self.mono_ms.saturating_sub(earlier.mono_ms)))
    }

    /// The wall time `delay` from now; the far future where the calendar ends.
    pub fn after(&self, delay: Duration) -> Timestamp {
        self.at.checked_add(delay).unwrap_or(Timestamp::MAX)
    }
}
