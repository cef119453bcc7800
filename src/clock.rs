//! The only reader of clocks. Everywhere else time is a value that was passed in.
//! Waits that have nothing to wake them are here too.

use std::time::{Duration, Instant};

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

/// Does nothing for so long: between two looks of a loop that a deadline or a signal ends.
#[expect(clippy::disallowed_methods, reason = "the callers' loops have an end")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Looks now, then every `every`, and a last time at `until`. Returns the first answer; `None` where there is none by then.
pub fn poll<T>(every: Duration, until: Instant, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        pause(every.min(left));
    }
}

/// Neither field of a clock that counts from boot is ever negative.
fn duration(time: Timespec) -> Duration {
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poll_ends_with_the_answer_or_at_the_deadline() {
        let soon = |ms| Instant::now() + Duration::from_millis(ms);
        let mut looks = 0;
        let third = poll(Duration::from_millis(1), soon(60_000), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(third, Some(3));

        let (began, mut looks) = (Instant::now(), 0);
        let never = poll(Duration::from_secs(60), soon(20), || {
            looks += 1;
            None::<()>
        });
        assert_eq!((never, looks), (None, 2), "now, and at the deadline");
        assert!(began.elapsed() >= Duration::from_millis(20) && began.elapsed() < Duration::from_secs(30));
        assert_eq!(
            poll(Duration::from_secs(60), Instant::now(), || Some(1)),
            Some(1),
            "it looks once at least"
        );
    }

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
