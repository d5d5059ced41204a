//! Times as a person gives them and as they are shown.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::clock::{Clock as _, System, nanoseconds};
use crate::units;

/// Nanoseconds since 1970.
pub(in crate::cli) fn now() -> u64 {
    nanoseconds(System::new().unix())
}

/// Reads a point in time, in ns since 1970: RFC 3339 (`2026-11-22T10:00:00Z`), the same without
/// an offset or without a time, which mean UTC, or how long ago (`10m`, `2h`, `1d`).
///
/// # Errors
/// What is accepted.
pub(in crate::cli) fn parse(text: &str) -> Result<u64, String> {
    let takes = || {
        "expected a time such as 2026-11-22T10:00:00Z or 2026-11-22 (UTC), or an age such as 90s, \
         10m, 2h or 7d"
            .to_owned()
    };
    if text.ends_with(|c: char| c.is_ascii_alphabetic() && c != 'Z' && c != 'z')
        && let Some(ago) = units::duration(text)
    {
        return Ok(now().saturating_sub(nanoseconds(ago)));
    }
    let utc = |time: DateTime| TimeZone::UTC.to_timestamp(time).ok();
    let time = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| text.parse::<DateTime>().ok().and_then(utc))
        .or_else(|| text.parse::<Date>().ok().and_then(|date| utc(date.at(0, 0, 0, 0))))
        .ok_or_else(takes)?;
    u64::try_from(time.as_nanosecond()).map_err(|_| takes())
}

/// RFC 3339 in UTC, to the second.
pub(in crate::cli) fn show(nanoseconds: u64) -> String {
    Timestamp::from_nanosecond(i128::from(nanoseconds))
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

/// A duration in its two largest units: `3d 4h`, `1m 5s`, `12s`.
pub(in crate::cli) fn show_age(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (length, unit) in units {
        if left >= length && parts.len() < 2 {
            parts.push(format!("{}{unit}", left / length));
            left %= length;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn times_are_read_as_dates_and_as_ages() {
        let ten = 1_795_341_600 * SECOND;
        for text in ["2026-11-22T10:00:00Z", "2026-11-22T10:00:00", "2026-11-22T11:00:00+01:00"] {
            assert_eq!(parse(text), Ok(ten), "{text}");
        }
        assert_eq!(parse("2026-11-22"), Ok(ten - 36_000 * SECOND));
        let ago = now() - parse("10m").unwrap();
        assert!((599 * SECOND..=601 * SECOND).contains(&ago), "{ago}");
        for text in ["", "10", "yesterday", "2026", "-5m", "1969-01-01"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_and_ages_are_shown_short() {
        assert_eq!(show(1_795_341_600 * SECOND + 5), "2026-11-22T10:00:00Z");
        for (seconds, text) in [(0, "0s"), (65, "1m 5s"), (7_200, "2h"), (273_599, "3d 3h")] {
            assert_eq!(show_age(seconds * SECOND), text);
        }
    }
}
