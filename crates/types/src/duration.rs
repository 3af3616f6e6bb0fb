//! Durations as people write them: `250ms`, `30s`, `5m`, `2h`, `7d`.

use std::time::Duration;

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a duration is a whole number and a unit (ms, s, m, h or d), such as 250ms or 30s; got {0:?}"
)]
pub struct DurationError(String);

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Parses a duration: a whole number directly followed by one unit.
///
/// # Errors
/// There is no number, no known unit, something else besides, or the sum leaves 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError(text.chars().take(40).collect());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| error())?;
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
    Ok(Duration::from_millis(number.checked_mul(*unit_ms).ok_or_else(error)?))
}

/// Writes a duration with the largest unit that keeps it whole. What is below a millisecond is dropped.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole = UNITS.iter().rev().find(|(_, unit_ms)| ms > 0 && ms.is_multiple_of(*unit_ms));
    let (unit, unit_ms) = whole.unwrap_or(&UNITS[0]);
    format!("{}{unit}", ms / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_round_trips() {
        for text in ["250ms", "30s", "5m", "2h", "7d", "0ms", "90s", "1001ms"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            " 1s",
            "1s ",
            "1S",
            "1w",
            "1s2",
            "99999999999999999999s",
            "213503982335d",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }
}
