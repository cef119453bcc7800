//! The only reader of clocks. Everywhere else time is a value that was passed in.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::model::ClockReading;

/// This instant, on both clocks; `boot_id` is the boot that the monotonic one belongs to.
pub fn moment(boot_id: &str) -> ClockReading {
    let awake = monotonic();
    let mono_ms = u64::try_from(awake.as_millis()).unwrap_or(u64::MAX);
    // Whole seconds, or it would tell how long it takes to read two clocks.
    let slept = duration(clock_gettime(ClockId::Boottime)).saturating_sub(awake);
    ClockReading { at: wall(), mono_ms, boot_id: boot_id.to_owned(), slept_ms: slept.as_secs() * 1000 }
}

/// The wall clock, to the millisecond: what is written to a file and read back is the same instant.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn wall() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// `CLOCK_MONOTONIC`: since boot, not counting the time the machine slept. For bounding a wait.
pub fn monotonic() -> Duration {
    duration(clock_gettime(ClockId::Monotonic))
}

/// Neither field of a clock that counts from boot is ever negative.
fn duration(time: Timespec) -> Duration {
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_being_written_down() {
        let now = moment("boot");
        let text = serde_json::to_string(&now).unwrap();
        assert_eq!(serde_json::from_str::<ClockReading>(&text).unwrap(), now);
        assert_eq!(now.boot_id, "boot");
    }

    #[test]
    fn the_monotonic_clock_is_the_one_that_counts_from_boot() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        // Uptime counts sleep too, so it is never behind by more than its own rounding.
        assert!(monotonic().as_secs_f64() <= uptime + 1.0);
        assert!(monotonic() <= monotonic());
    }
}
