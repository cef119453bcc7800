//! How long an item waits after its n-th charged failure.

use std::time::Duration;

use crate::config::Attempts;
use crate::fingerprint;
use crate::model::ItemId;

/// `base * 2^(n-1)`, moved by the jitter, then capped.
///
/// The jitter is a hash of item and attempt, not a random number: a dry run tells the same time as the
/// tick after it, and items that failed together still come back apart. It is at most 0.3 (checked with the
/// configuration), so a later wait is never shorter than an earlier one.
pub fn backoff(attempts: &Attempts, item: &ItemId, charged: u32) -> Duration {
    let doublings = charged.saturating_sub(1).min(63);
    let plain = attempts.backoff_base.as_secs_f64() * (doublings as f64).exp2();
    let draw = fingerprint::unit_interval(&[item.0.as_bytes(), &charged.to_le_bytes()]);
    let moved = plain * (1.0 + attempts.jitter * (2.0 * draw - 1.0));
    // Whole milliseconds: a due time reads the same after a trip through the registry.
    let capped_ms = (moved * 1000.0).min(attempts.backoff_max.as_millis() as f64);
    Duration::from_millis(capped_ms as u64)
}

/// The first wait for a provider, a login or the machine, where nothing tells how long to wait.
pub const GROWING_FIRST: Duration = Duration::from_secs(60);

/// The longest such wait.
pub const GROWING_MAX: Duration = Duration::from_secs(60 * 60);

/// The wait after `streak` failures in a row: one minute, doubled with each further failure, at most one hour.
pub fn growing(streak: u32) -> Duration {
    GROWING_FIRST.saturating_mul(1 << streak.saturating_sub(1).min(16)).min(GROWING_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts() -> Attempts {
        Attempts {
            max: 10,
            backoff_base: Duration::from_secs(300),
            backoff_max: Duration::from_secs(3600),
            jitter: 0.3,
            resumes_max: 1,
            breaker: 5,
        }
    }

    // covers: V30 S26
    #[test]
    fn it_never_shrinks_and_never_exceeds_the_cap() {
        for n in 0..200 {
            let item = ItemId(format!("dir:{n}"));
            let waits: Vec<_> = (1..=80).map(|charged| backoff(&attempts(), &item, charged)).collect();
            assert!(waits.is_sorted(), "{waits:?}");
            assert!(waits[0] >= Duration::from_secs(210) && waits[0] <= Duration::from_secs(390));
            assert_eq!(waits[79], Duration::from_secs(3600));
        }
    }

    // covers: V30 S26
    #[test]
    fn it_doubles_with_each_attempt_and_is_capped_after_the_jitter() {
        let item = ItemId("dir:a".to_owned());
        let plain = Attempts { jitter: 0.0, ..attempts() };
        let seconds = (1..=6).map(|charged| backoff(&plain, &item, charged).as_secs());
        assert_eq!(seconds.collect::<Vec<_>>(), [300, 600, 1200, 2400, 3600, 3600]);
        for n in 0..200 {
            let moved = backoff(&attempts(), &ItemId(format!("dir:{n}")), 40);
            assert_eq!(moved, Duration::from_secs(3600));
        }
    }

    // covers: V30
    #[test]
    fn it_is_predictable_and_spreads() {
        let wait = |name: &str| backoff(&attempts(), &ItemId(name.to_owned()), 1);
        assert_eq!(wait("dir:a"), wait("dir:a"));
        assert_ne!(wait("dir:a"), wait("dir:b"));
    }
}
