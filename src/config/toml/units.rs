//! Durations and sizes as people write them: `"90s"`, `"50MiB"`, and `"0"` for off.

use std::time::Duration;

/// No duration is longer than a hundred years, so that sums of a few never overflow any clock.
const DURATION_MAX_MS: u64 = 100 * 36_525 / 100 * 24 * 60 * 60 * 1000;

/// No size is larger than what a file can have.
const SIZE_MAX_BYTES: u64 = i64::MAX as u64;

/// Why a text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum NotA {
    /// It is written in another way.
    Quantity,
    /// It is larger than the limit.
    Possible,
}

/// Reads `<int>(ms|s|m|h|d)` or `0`.
pub(in crate::config) fn duration(text: &str) -> Result<Duration, NotA> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    quantity(text, &units, DURATION_MAX_MS).map(Duration::from_millis)
}

/// Reads `<int>(KiB|MiB|GiB)` or `0`, in bytes.
pub(in crate::config) fn size(text: &str) -> Result<u64, NotA> {
    quantity(text, &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)], SIZE_MAX_BYTES)
}

fn quantity(text: &str, units: &[(&str, u64)], max: u64) -> Result<u64, NotA> {
    if text == "0" {
        return Ok(0);
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit).ok_or(NotA::Quantity)?;
    if number.is_empty() {
        return Err(NotA::Quantity);
    }
    // Only digits are left: the one way to fail is to be too large.
    let number: u64 = number.parse().map_err(|_| NotA::Possible)?;
    number.checked_mul(*factor).filter(|product| *product <= max).ok_or(NotA::Possible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |text| duration(text).map(|read| read.as_millis());
        assert_eq!(
            ["0", "0s", "7ms", "50s", "1m", "2h", "3d", "007s"].map(ms),
            [0, 0, 7, 50_000, 60_000, 7_200_000, 259_200_000, 7_000].map(Ok)
        );
        for text in ["", "5", "m", "-1s", "+1s", "1.5h", "1 m", " 1m", "1M", "1min", "1h30m", "٣s", "1mß"] {
            assert_eq!(ms(text), Err(NotA::Quantity), "{text:?}");
        }
        assert_eq!(ms("36525d"), Ok(36_525 * 86_400_000));
        for text in ["36526d", "99999999999999999999ms", "18446744073709551615d"] {
            assert_eq!(ms(text), Err(NotA::Possible), "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(
            ["0", "1KiB", "50MiB", "5GiB", "8589934591GiB"].map(size),
            [0, 1024, 52_428_800, 5_368_709_120, 9_223_372_035_781_033_984].map(Ok)
        );
        for text in ["5", "5GB", "5gib", "5G", "0.5GiB", "GiB"] {
            assert_eq!(size(text), Err(NotA::Quantity), "{text:?}");
        }
        assert_eq!(size("8589934592GiB"), Err(NotA::Possible));
    }
}
