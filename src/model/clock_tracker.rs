//! Whether the wall clock can be asked how old something is.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::ClockReading;

/// So far the clock may be put forward within one boot, at the most, and what is old stays so: what a time daemon mends,
/// and a hardware clock that was taken for one of another zone.
const LEAP_MAX: SignedDuration = SignedDuration::from_hours(24);

/// And at least, whatever ages are asked for: two clocks are read one after the other.
const LEAP_MIN: SignedDuration = SignedDuration::from_mins(1);

/// So long the machine may have been off. Nothing counts the time meanwhile, so a longer time by the clock alone is as
/// good as a leap.
const OFF_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The wall clock at one look at it, and since when it has gone on as the time did, from each look to the next.
///
/// What is deleted because it is old is gone for ever, and a clock that is wrong for a minute makes everything old. So a
/// leap forward of it makes nothing older: what was there before then gets old from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockTracker {
    /// That look.
    pub now: ClockReading,
    /// Since when the clock has been steady; `None`: nobody has seen it leap.
    pub since: Option<Timestamp>,
}

impl ClockTracker {
    /// The first look: there is nothing to compare it with.
    pub fn first(now: ClockReading) -> ClockTracker {
        ClockTracker { now, since: None }
    }

    /// The first look after one that was lost: what the clock did since can't be told.
    pub fn after_loss(now: ClockReading) -> ClockTracker {
        ClockTracker { since: Some(now.at), now }
    }

    /// The next look. `age`: what is asked of the clock, whether something is so old; of a short one less is known
    /// after a leap.
    pub fn next(&self, now: ClockReading, age: Option<Duration>) -> ClockTracker {
        let by_the_clock = now.at.duration_since(self.now.at);
        let leap = match now.since_asleep_or_not(&self.now) {
            Some(passed) => {
                let signed = |time| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
                let leap_max = age.map_or(LEAP_MAX, |age| (signed(age) / 4).clamp(LEAP_MIN, LEAP_MAX));
                by_the_clock - signed(passed) > leap_max
            }
            None => by_the_clock > OFF_MAX,
        };
        // Set back so far, it was wrong before, or is now; nothing that is to be deleted depends on which.
        let back = by_the_clock < -LEAP_MAX;
        let since = if leap || back { Some(now.at) } else { self.since.map(|since| since.min(now.at)) };
        ClockTracker { now, since }
    }

    /// When something was made that has the stamp `at`, as far as can be told. One from the future was stamped before the
    /// clock was set back; where nobody saw that, it stands until its time has come.
    pub fn made_at(&self, at: Timestamp) -> Timestamp {
        self.since.filter(|_| at > self.now.at).unwrap_or(at)
    }

    /// Whether what was stamped at `at` has been there for longer than `age`, as far as is known.
    pub fn is_older(&self, at: Timestamp, age: Duration) -> bool {
        let made_at = self.made_at(at);
        let from = self.since.map_or(made_at, |since| since.max(made_at));
        from.checked_add(age).is_ok_and(|until| until < self.now.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60 * 60;
    const DAY: i64 = 24 * HOUR;
    const AGE: Duration = Duration::from_secs(30 * DAY.unsigned_abs());

    /// A machine with its clocks, looked at once an hour.
    struct Machine {
        second: i64,
        /// By how much its wall clock is wrong, in seconds.
        wrong: i64,
        boot: u32,
        booted: i64,
        /// So long in this boot.
        slept: i64,
        steady: Option<ClockTracker>,
    }

    impl Machine {
        fn new() -> Machine {
            Machine {
                second: 1_790_000_000,
                wrong: 0,
                boot: 1,
                booted: 1_790_000_000,
                slept: 0,
                steady: None,
            }
        }

        fn wall(&self) -> Timestamp {
            Timestamp::from_second(self.second + self.wrong).unwrap()
        }

        fn look(&mut self) {
            let seconds = |seconds: i64| seconds.unsigned_abs() * 1000;
            let now = ClockReading {
                at: self.wall(),
                mono_ms: seconds(self.second - self.booted - self.slept),
                boot_id: format!("boot {}", self.boot),
                slept_ms: seconds(self.slept),
            };
            self.steady = Some(match &self.steady {
                None => ClockTracker::first(now),
                Some(before) => before.next(now, Some(AGE)),
            });
        }

        fn goes_on(&mut self, seconds: i64) {
            for _ in 0..seconds / HOUR {
                self.second += HOUR;
                self.look();
            }
        }

        fn is_off(&mut self, seconds: i64) {
            self.second += seconds;
            self.boot += 1;
            self.booted = self.second;
            self.slept = 0;
        }

        fn is_older(&self, at: Timestamp) -> bool {
            self.steady.as_ref().is_some_and(|steady| steady.is_older(at, AGE))
        }

        /// In days, how long it takes until something of now is old.
        fn days_until_old(&mut self) -> i64 {
            let (at, begun) = (self.wall(), self.second);
            while !self.is_older(at) {
                assert!(self.second - begun < 1000 * DAY, "never");
                self.goes_on(HOUR);
            }
            (self.second - begun) / DAY
        }
    }

    // covers: K21
    #[test]
    fn by_a_clock_that_is_left_alone_age_is_age() {
        let mut machine = Machine::new();
        machine.goes_on(DAY);
        assert_eq!(machine.days_until_old(), 30);
        // A laptop: each night it sleeps, and each weekend it is off.
        let (at, begun) = (machine.wall(), machine.second);
        while !machine.is_older(at) {
            machine.goes_on(8 * HOUR);
            machine.second += 16 * HOUR;
            machine.slept += 16 * HOUR;
            machine.look();
            if (machine.second / DAY) % 7 == 0 {
                machine.is_off(2 * DAY);
            }
        }
        // It may be off when the time has come.
        assert!((30..=33).contains(&((machine.second - begun) / DAY)));
    }

    // A clock that was ten years ahead for one look made everything that was finished old, a minute after it was.
    // covers: K21
    #[test]
    fn a_leap_makes_nothing_old_and_afterwards_it_takes_its_age_once_more_at_most() {
        for (leap, is_off) in [(3650 * DAY, false), (3650 * DAY, true), (40 * DAY, false), (2 * DAY, false)] {
            let mut machine = Machine::new();
            machine.goes_on(10 * DAY);
            let (before, begun) = (machine.wall(), machine.second);
            machine.goes_on(DAY);
            machine.wrong = leap;
            if is_off {
                machine.is_off(HOUR);
            }
            machine.look();
            assert!(!machine.is_older(before), "{leap}");
            // What is new since is judged by the clock as it is, wrong or not.
            machine.goes_on(DAY);
            let meanwhile = machine.wall();
            machine.goes_on(28 * DAY);
            assert!(!machine.is_older(before) && !machine.is_older(meanwhile), "{leap}");
            machine.wrong = 0;
            machine.look();
            assert!(!machine.is_older(before), "{leap}: and right again");
            while !machine.is_older(before) {
                machine.goes_on(HOUR);
            }
            let days = (machine.second - begun) / DAY;
            assert!((30..=61).contains(&days), "{leap}: {days}");
        }
    }

    // covers: K21
    #[test]
    fn what_a_time_daemon_mends_is_no_leap() {
        for step in [14 * HOUR, -14 * HOUR] {
            let mut machine = Machine::new();
            machine.goes_on(DAY);
            machine.wrong = step;
            machine.look();
            assert_eq!(machine.steady.as_ref().unwrap().since, None, "{step}");
        }
    }

    // What was finished while the clock was ten years ahead would have been kept for those.
    // covers: K21
    #[test]
    fn what_has_a_stamp_from_the_future_gets_old_when_the_clock_is_right_again() {
        let mut machine = Machine::new();
        machine.goes_on(DAY);
        machine.wrong = 3650 * DAY;
        machine.goes_on(DAY);
        let stamp = machine.wall();
        machine.wrong = 0;
        machine.goes_on(30 * DAY);
        assert!(!machine.is_older(stamp));
        machine.goes_on(DAY);
        assert!(machine.is_older(stamp));
    }

    // The power went, and with it the last look and the battery of the clock: it is set right a minute after the boot.
    // covers: K21
    #[test]
    fn a_clock_that_begins_in_the_past_and_is_set_right_is_one_that_leapt() {
        let mut machine = Machine::new();
        machine.goes_on(DAY);
        let before = machine.wall();
        machine.is_off(HOUR);
        machine.wrong = -9000 * DAY;
        machine.look();
        machine.second += 60;
        machine.wrong = 0;
        machine.look();
        assert!(!machine.is_older(before));
        machine.goes_on(29 * DAY);
        assert!(!machine.is_older(before));
        machine.goes_on(2 * DAY);
        assert!(machine.is_older(before));
        let now = ClockReading { at: machine.wall(), mono_ms: 0, boot_id: "boot".to_owned(), slept_ms: 0 };
        assert!(!ClockTracker::after_loss(now).is_older(before, AGE));
    }
}
