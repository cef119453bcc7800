//! The end of a wait, whatever happens to the wall clock.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ClockReading;

/// When a wait began, and how long it lasts.
///
/// Within one boot the wait is measured by the monotonic clock and the time asleep, so that an operator who sets the wall
/// clock makes it neither longer nor shorter. Across boots only the wall clock is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// When the wait began.
    pub set: ClockReading,
    /// How long it lasts, in milliseconds; `None`: it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_ms: Option<u64>,
}

impl Deadline {
    /// A wait from now until this instant of the wall clock; `None`: it has no end.
    pub fn until(end: Option<Timestamp>, now: &ClockReading) -> Deadline {
        let length = |end: Timestamp| Duration::try_from(end.duration_since(now.at)).unwrap_or_default();
        // Rounded up: an end on the full second must not be shown as the second before.
        let length_ms = end.map(|end| length(end).as_nanos().div_ceil(1_000_000) as u64);
        Deadline { set: now.clone(), length_ms }
    }

    /// The end by the wall clock of when the wait began; `None`: it has none.
    pub fn end(&self) -> Option<Timestamp> {
        Some(self.set.after(self.length()?))
    }

    /// Whether the wait is over.
    pub fn is_over(&self, now: &ClockReading) -> bool {
        let Some(length) = self.length() else { return false };
        match now.since_asleep_or_not(&self.set) {
            Some(passed) => passed >= length,
            None => self.set.after(length) <= now.at,
        }
    }

    /// The same wait from now, where it would last longer than it was to: it was set in an earlier boot, by a clock that was
    /// ahead. How much of it is over can't be told.
    pub fn anew(&self, now: &ClockReading) -> Option<Deadline> {
        let is_ahead = self.set.boot_id != now.boot_id && self.set.at > now.at && self.length_ms.is_some();
        is_ahead.then(|| Deadline { set: now.clone(), ..self.clone() })
    }

    fn length(&self) -> Option<Duration> {
        self.length_ms.map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(boot: &str, wall: i64, mono: u64, slept: u64) -> ClockReading {
        ClockReading {
            at: Timestamp::from_second(1_800_000_000 + wall).unwrap(),
            mono_ms: mono * 1000,
            boot_id: boot.to_owned(),
            slept_ms: slept * 1000,
        }
    }

    fn minute() -> Deadline {
        Deadline { set: reading("1", 0, 1000, 0), length_ms: Some(60_000) }
    }

    // covers: V30
    #[test]
    fn wall_clock_that_is_set_moves_no_deadline_of_its_boot() {
        for wall in [-86_400, 0, 86_400] {
            assert!(!minute().is_over(&reading("1", wall, 1059, 0)), "{wall}");
            assert!(minute().is_over(&reading("1", wall, 1060, 0)), "{wall}");
            assert!(minute().is_over(&reading("1", wall, 1030, 30)), "time asleep counts");
        }
    }

    #[test]
    fn wall_clock_measures_across_boots() {
        assert!(!minute().is_over(&reading("2", 59, 5, 0)));
        assert!(minute().is_over(&reading("2", 60, 5, 0)));
    }

    #[test]
    fn deadline_of_a_clock_that_was_ahead_begins_anew_once() {
        let now = reading("2", -86_400, 5, 0);
        let anew = minute().anew(&now).expect("it was set tomorrow");
        assert_eq!((anew.end(), anew.anew(&now)), (Some(now.after(Duration::from_secs(60))), None));
        assert_eq!(minute().anew(&reading("2", 0, 5, 0)), None);
        assert_eq!(minute().anew(&reading("1", -86_400, 1001, 0)), None, "its own boot measures it");
    }

    #[test]
    fn deadline_without_an_end_is_never_over() {
        let endless = Deadline::until(None, &reading("1", 0, 1000, 0));
        assert!(!endless.is_over(&reading("2", 1_000_000, 5, 0)));
        assert_eq!((endless.end(), endless.anew(&reading("2", -1, 5, 0))), (None, None));
    }

    #[test]
    fn end_on_the_full_second_is_kept() {
        let mut now = reading("1", 0, 1000, 0);
        now.at = now.at.checked_add(Duration::from_nanos(1_500)).unwrap();
        let end = reading("1", 60, 0, 0).at;
        let kept = Deadline::until(Some(end), &now).end().unwrap();
        assert!(kept >= end && kept.duration_since(end).as_nanos() < 1_000_000, "{kept}");
    }
}
