//! A zone of the calendar, and the windows of a clock in it.
//!
//! A window is the time between two multiples of a period on the zone's clock, counted from midnight.
//! Where the clock is put forward or back a window ends as well, so that no hour that the clock shows
//! twice is one window.
//!
//! Non-goals: the times inside a line, which `record/time.rs` writes without an allocation.
//!
//! Limits: periods that divide a day; years 1970 to 2554, as nanoseconds in 64 bits have them.

use jiff::fmt::strtime::BrokenDownTime;
use jiff::{Timestamp, tz::TimeZone};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

/// A zone as an operator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedZone {
    name: String,
    zone: TimeZone,
}

/// A name that no zone has here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "UTC, local, or the name of a zone that this system has (package tzdata), such as Europe/Berlin"
)]
pub struct NotAZone;

impl Default for NamedZone {
    fn default() -> Self {
        Self::utc()
    }
}

impl NamedZone {
    /// The name of the default.
    pub const UTC: &str = "UTC";

    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: Self::UTC.to_owned(), zone: TimeZone::UTC }
    }

    /// `UTC`, `local` (`TZ`, `/etc/localtime`) or a name of the system's database of zones, which is
    /// looked up once.
    ///
    /// # Errors
    /// There is no such zone.
    pub fn named(name: &str) -> Result<Self, NotAZone> {
        if name.eq_ignore_ascii_case(Self::UTC) {
            return Ok(Self::utc());
        }
        let zone = match name {
            "local" => TimeZone::try_system().map_err(|_| NotAZone)?,
            // jiff takes more than names; an absolute path would be a file of anybody's.
            _ if name.is_empty() || name.starts_with(['/', ':', '.']) => return Err(NotAZone),
            _ => TimeZone::get(name).map_err(|_| NotAZone)?,
        };
        Ok(Self { name: name.to_owned(), zone })
    }

    /// As it was given; `UTC` for any spelling of that.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is UTC by name.
    #[must_use]
    pub fn is_utc(&self) -> bool {
        self.name == Self::UTC
    }

    /// `format`, a strftime of jiff's, of a time in ns since 1970.
    ///
    /// # Errors
    /// jiff's words about the format.
    pub fn strftime(&self, format: &str, ns: u64) -> Result<String, String> {
        // 2^64 ns after 1970 is the year 2554, far inside what jiff knows.
        let time = timestamp(ns).ok_or_else(|| "a time out of range".to_owned())?;
        BrokenDownTime::from(&time.to_zoned(self.zone.clone()))
            .to_string(format)
            .map_err(|error| error.to_string())
    }

    /// How far the zone's clock is ahead of UTC at a time, seconds.
    fn ahead(&self, ns: u64) -> i64 {
        timestamp(ns).map_or(0, |time| i64::from(self.zone.to_offset(time).seconds()))
    }
}

fn timestamp(ns: u64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(ns)).ok()
}

fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond().max(0)).unwrap_or(u64::MAX)
}

/// A part of time, in ns since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first nanosecond.
    pub start: u64,
    /// The first one after it.
    pub end: u64,
}

impl Window {
    /// Whether a time is in it.
    #[must_use]
    pub const fn contains(&self, ns: u64) -> bool {
        self.start <= ns && ns < self.end
    }

    /// The time in it that is nearest to `ns`.
    #[must_use]
    pub fn clamp(&self, ns: u64) -> u64 {
        ns.clamp(self.start, self.end.saturating_sub(1).max(self.start))
    }
}

/// The windows of a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Align {
    zone: NamedZone,
    period: u64,
}

/// A period whose multiples a day does not end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a day is not a multiple of period")]
pub struct Uneven;

impl Align {
    /// Windows of `period`.
    ///
    /// # Errors
    /// They would not begin anew at midnight.
    pub fn new(zone: NamedZone, period: std::time::Duration) -> Result<Self, Uneven> {
        let period = u64::try_from(period.as_nanos()).map_err(|_| Uneven)?;
        if period > 0 && DAY.is_multiple_of(period) {
            Ok(Self { zone, period })
        } else {
            Err(Uneven)
        }
    }

    /// The window that a time is in.
    #[must_use]
    pub fn window(&self, ns: u64) -> Window {
        // Signed and wide, as a zone west of Greenwich has its 1970 begin later.
        let ahead = i128::from(self.zone.ahead(ns)) * i128::from(SECOND);
        let (at, period) = (i128::from(ns), i128::from(self.period));
        let start = at - (at + ahead).rem_euclid(period);
        let clip = |time: i128| u64::try_from(time.max(0)).unwrap_or(u64::MAX);
        let mut window = Window { start: clip(start), end: clip(start + period) };
        let changed = timestamp(ns.saturating_add(1))
            .and_then(|after| self.zone.zone.preceding(after).next());
        if let Some(change) = changed {
            window.start = window.start.max(nanoseconds(change.timestamp()));
        }
        let changes = timestamp(ns).and_then(|now| self.zone.zone.following(now).next());
        if let Some(change) = changes {
            window.end = window.end.min(nanoseconds(change.timestamp()));
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn align(zone: &str, period: &str) -> Align {
        let period = crate::units::duration(period).unwrap();
        Align::new(NamedZone::named(zone).unwrap(), period).unwrap()
    }

    fn at(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap()
    }

    fn shown(window: Window) -> (String, String) {
        let show = |ns| timestamp(ns).unwrap().to_string();
        (show(window.start), show(window.end))
    }

    #[test]
    fn a_window_ends_where_the_zones_clock_shows_a_multiple_of_the_period() {
        for (zone, period, time, start, end) in [
            ("UTC", "1d", "2026-11-25T22:13:20Z", "2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"),
            (
                "Europe/Berlin",
                "1d",
                "2026-11-25T23:13:20Z",
                "2026-11-25T23:00:00Z",
                "2026-11-26T23:00:00Z",
            ),
            (
                "Asia/Kathmandu",
                "1h",
                "2026-11-25T22:13:20Z",
                "2026-11-25T21:15:00Z",
                "2026-11-25T22:15:00Z",
            ),
            // 25 and 23 hours of a day, in two windows each: the clock changes inside it.
            (
                "Europe/Berlin",
                "1d",
                "2026-10-25T00:30:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T01:00:00Z",
            ),
            (
                "Europe/Berlin",
                "1d",
                "2026-10-25T01:00:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (
                "Europe/Berlin",
                "1h",
                "2026-10-25T00:59:59Z",
                "2026-10-25T00:00:00Z",
                "2026-10-25T01:00:00Z",
            ),
            (
                "Europe/Berlin",
                "1h",
                "2026-10-25T01:00:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T02:00:00Z",
            ),
            (
                "Europe/Berlin",
                "6h",
                "2026-03-29T02:00:00Z",
                "2026-03-29T01:00:00Z",
                "2026-03-29T04:00:00Z",
            ),
            // Where midnight is skipped the day begins at one.
            (
                "Africa/Cairo",
                "1d",
                "2026-04-23T22:00:00Z",
                "2026-04-23T22:00:00Z",
                "2026-04-24T21:00:00Z",
            ),
        ] {
            let found = shown(align(zone, period).window(at(time)));
            assert_eq!(found, (start.to_owned(), end.to_owned()), "{zone} {period} {time}");
        }
    }

    #[test]
    fn only_periods_that_divide_a_day_are_taken() {
        for (period, taken) in
            [("1d", true), ("90s", true), ("100ms", true), ("7h", false), ("0.7s", false)]
        {
            let period = crate::units::duration(period).unwrap();
            assert_eq!(Align::new(NamedZone::utc(), period).is_ok(), taken, "{period:?}");
        }
        assert!(Align::new(NamedZone::utc(), Duration::ZERO).is_err());
    }

    #[test]
    fn a_zone_has_a_name_of_the_systems_database() {
        assert!(NamedZone::named("utc").unwrap().is_utc());
        assert_eq!(NamedZone::named("Europe/Berlin").unwrap().name(), "Europe/Berlin");
        for name in ["", "Europe/Atlantis", "/etc/passwd", "../x", ":UTC", "CET-1CEST,M3.5.0"] {
            assert_eq!(NamedZone::named(name), Err(NotAZone), "{name:?}");
        }
    }

    #[test]
    fn the_calendar_of_a_zone_is_the_one_that_date_has() {
        let zones = ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"];
        // Each half hour of the two months with changes of the clock, and a few leap days.
        let times: Vec<u64> =
            (0..2_000).map(|n| at("2026-03-01T00:00:00Z") / SECOND + n * 11_111).collect();
        for name in zones {
            let input: String = times.iter().map(|time| format!("@{time}\n")).collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), input).unwrap();
            let output = Command::new("date")
                .env("TZ", name)
                .args(["+%Y/%m/%d/%H", "-f"])
                .arg(file.path())
                .output()
                .unwrap();
            let expected = String::from_utf8(output.stdout).unwrap();
            let zone = NamedZone::named(name).unwrap();
            let found =
                times.iter().map(|time| zone.strftime("%Y/%m/%d/%H", time * SECOND).unwrap());
            assert!(found.eq(expected.lines().map(str::to_owned)), "{name}");
        }
    }

    proptest! {
        #[test]
        fn windows_follow_each_other_without_a_gap_and_hold_one_hour_of_the_clock(
            second in 0_u64..4_000_000_000,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Cairo"]),
            period in prop::sample::select(vec!["1m", "1h", "6h", "1d"]),
        ) {
            let align = align(zone, period);
            let now = second * SECOND;
            let window = align.window(now);
            prop_assert!(window.contains(now) && window.end - window.start <= DAY, "{window:?}");
            prop_assert_eq!(align.window(window.start), window);
            prop_assert_eq!(align.window(window.end - 1), window);
            prop_assert_eq!(align.window(window.end).start, window.end);
            // A folder of the period's length is the same for all of a window.
            let format = match period { "1d" | "6h" => "%F", "1h" => "%F %H", _ => "%F %H:%M" };
            let at = |ns| align.zone.strftime(format, ns).unwrap();
            prop_assert_eq!(at(window.start), at(window.end - 1));
        }
    }
}
