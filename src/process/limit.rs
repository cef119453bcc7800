//! The mark that no process of a run can lose by accident: a resource limit.
//!
//! Children inherit limits through every fork, exec and setsid, and nobody clears them as they
//! clear an environment. An ordinary user can lower a hard limit but not raise it, and everybody
//! may read it, also of a process that is not dumpable, another user's by now, or in the middle
//! of an exec. So each run gets a hard `RLIMIT_RTTIME` of its own. That limit is for processes under
//! real-time scheduling, in microseconds of processor time without a pause; at 2^62, which is 146,000
//! years, it limits nobody.
//!
//! It is evidence, and no more than that: where it can't be set (below another run whose value is
//! smaller, say) the run goes on without it, and is found by what else there is.

use std::fs::File;
use std::io::{self, Read};

use rustix::process::{Resource, Rlimit};

use crate::fingerprint::sha256_hex;

/// All values are from here on, and below this plus 2^48: what no person ever asked for.
const BASE: u64 = 1 << 62;

/// How many digits of the marker's hash make up its value: 48 bits.
const HEX_DIGITS: usize = 12;

/// The name of the limit in `/proc/<pid>/limits`. The soft limit follows, then the hard one.
const NAME: &str = "Max realtime timeout";

/// The value that stands for a run: of its whole marker, `<lineage>/<run>`.
pub fn value(marker: &str) -> u64 {
    let hash = sha256_hex(&[marker.as_bytes()]);
    // Digits they are, and few enough.
    BASE + u64::from_str_radix(&hash[..HEX_DIGITS], 16).unwrap_or_default()
}

/// Gives this process, and with it all that it will ever start, the value of a run.
///
/// # Errors
/// `EPERM` for an ordinary user whose hard limit is smaller.
pub fn set(marker: &str) -> io::Result<()> {
    let hard = value(marker);
    // The kernel refuses a soft limit above the hard one; a smaller one was somebody's wish.
    let soft = rustix::process::getrlimit(Resource::Rttime).current.map_or(hard, |soft| soft.min(hard));
    rustix::process::setrlimit(Resource::Rttime, Rlimit { current: Some(soft), maximum: Some(hard) })?;
    Ok(())
}

/// The value that this process has, if it is one that could stand for a run.
pub fn own() -> Option<u64> {
    rustix::process::getrlimit(Resource::Rttime).maximum.filter(|value| *value >= BASE)
}

/// The value that a process has, if it is one that could stand for a run. `None` too when it ended.
pub(super) fn read(pid: u32) -> Option<u64> {
    // The kernel hands it out whole in one read, about 1400 bytes.
    let mut buffer = [0; 4096];
    let length = File::open(format!("/proc/{pid}/limits")).ok()?.read(&mut buffer).ok()?;
    hard_limit(std::str::from_utf8(&buffer[..length]).ok()?).filter(|value| *value >= BASE)
}

/// `None` where it is unlimited.
fn hard_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(NAME))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Spawned, passes_alone, skipped, unique_marker};
    use super::*;

    #[test]
    fn the_value_of_a_run_stays_the_same_in_every_version() {
        // A launcher of one version may be ended by a tick of another.
        assert_eq!(value("49cc04b914f1fe5bdb9babc3d36695c9/ar-1-impl.1"), 0x40008ece1dcbd042);
        assert_ne!(value("x/a.1"), value("x/a.10"));
        assert_ne!(value("x/a.1"), value("y/a.1"));
        for marker in ["", "x/a.1", "x/a.2"] {
            assert_eq!(value(marker) >> 48, BASE >> 48, "{marker}");
        }
    }

    #[test]
    fn the_hard_limit_is_read_whatever_the_soft_one_is() {
        let limits = |soft: &str, hard: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max cpu time              unlimited            4611686018427387905  seconds   \n\
                 Max realtime timeout      {soft:<20} {hard:<20} us        \n"
            )
        };
        assert_eq!(hard_limit(&limits("200000", "4611686018427387905")), Some((1 << 62) + 1));
        assert_eq!(hard_limit(&limits("4611686018427387905", "unlimited")), None);
        assert_eq!(hard_limit("Max realtime timeout"), None);
        assert_eq!(hard_limit(""), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test is told which one by its environment")]
    fn whoever_wears_it_has_it_and_keeps_a_smaller_soft_limit() {
        const SELF: &str = "process::limit::tests::whoever_wears_it_has_it_and_keeps_a_smaller_soft_limit";
        const MARKER: &str = "FACTORY_TEST_WEAR";
        let Some(marker) = std::env::var_os(MARKER) else {
            return passes_alone(SELF, (MARKER, &unique_marker()));
        };
        let marker = marker.to_str().unwrap();
        let before = rustix::process::getrlimit(Resource::Rttime);
        if before.maximum.is_some_and(|maximum| maximum < value(marker)) {
            return skipped("this process has a smaller hard RLIMIT_RTTIME");
        }
        rustix::process::setrlimit(Resource::Rttime, Rlimit { current: Some(1 << 40), ..before }).unwrap();
        set(marker).unwrap();
        assert_eq!(read(std::process::id()), Some(value(marker)));
        assert_eq!(rustix::process::getrlimit(Resource::Rttime).current, Some(1 << 40));
    }

    #[test]
    fn it_goes_with_a_process_wherever_that_goes_and_is_there_for_all_to_read() {
        let marker = unique_marker();
        let script = "(setsid env -i /bin/sh -c '/bin/sh -c \"echo \\$\\$; exec sleep 60\" &' &); read line";
        let Some(mut child) = Spawned::under_limit(&marker, script) else { return };
        let far: u32 = child.line().parse().unwrap();
        assert_eq!(read(far), Some(value(&marker)));
        assert_eq!(read(child.pid()), Some(value(&marker)));
        assert_ne!(read(std::process::id()), Some(value(&marker)));
        assert_eq!(read(u32::MAX), None);
    }

    proptest::proptest! {
        #[test]
        fn any_limits_have_a_hard_one_or_none(noise in ".*", soft in "[a-z0-9]{1,20}", hard in "[a-z0-9]{1,20}") {
            let _ = hard_limit(&noise);
            let limits = format!("Max cpu time 1 2 seconds\n{NAME}      {soft} {hard} us\n");
            proptest::prop_assert_eq!(hard_limit(&limits), hard.parse().ok());
        }
    }
}
