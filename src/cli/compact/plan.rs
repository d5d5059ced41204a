//! Which blocks: those of closed stretches of time.
//!
//! A block belongs to the stretch that its first record is in. Stretches are counted from midnight UTC,
//! so that each is of one day.

use crate::cli::blocks::Range;
use crate::units;

pub(super) const SECOND: u64 = 1_000_000_000;

/// The length of a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Every {
    hours: u64,
}

impl Every {
    /// ns.
    pub(super) const HOUR: u64 = 3_600 * SECOND;

    /// Reads `1h`, `2h`, ...
    ///
    /// # Errors
    /// What is accepted.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let hours = units::duration(text).map(|every| every.as_secs());
        let hours = hours.filter(|s| s.is_multiple_of(3_600)).map(|seconds| seconds / 3_600);
        hours
            .filter(|hours| [1, 2, 3, 4, 6, 8, 12, 24].contains(hours))
            .map(|hours| Self { hours })
            .ok_or_else(|| "expected 1h, 2h, 3h, 4h, 6h, 8h, 12h or 24h".to_owned())
    }

    const fn ns(self) -> u64 {
        self.hours * Self::HOUR
    }

    /// Where the stretch starts that a time in seconds since 1970 is in, ns since 1970.
    pub(super) const fn start(self, time: u64) -> u64 {
        time.saturating_mul(SECOND) / self.ns() * self.ns()
    }
}

/// The stretches that are due.
#[derive(Debug)]
pub(super) struct Plan {
    /// Where the first one starts, ns since 1970.
    since: Option<u64>,
    /// Where the last one ends.
    until: u64,
    every: Every,
    hosts: Vec<String>,
}

impl Plan {
    /// Stretches that start at or after `since` and end at or before `until`.
    pub(super) fn new(since: Option<u64>, until: u64, every: Every, hosts: &[String]) -> Self {
        let ns = every.ns();
        let since = since.map(|since| since.div_ceil(ns).saturating_mul(ns));
        Self { since, until: until / ns * ns, every, hosts: hosts.to_owned() }
    }

    /// From when to when the blocks' first records are, ns since 1970.
    pub(super) const fn times(&self) -> (Option<u64>, u64) {
        (self.since, self.until)
    }

    /// Whether a stretch that starts and ends then is due.
    pub(super) fn has(&self, since: u64, until: u64) -> bool {
        self.since.is_none_or(|start| since >= start) && until <= self.until
    }

    /// The stretch that starts at `start`: from when to before when.
    pub(super) const fn stretch(&self, start: u64) -> (u64, u64) {
        (start, start.saturating_add(self.every.ns()))
    }

    /// The length of a stretch.
    pub(super) const fn every(&self) -> Every {
        self.every
    }

    /// Of which blocks.
    pub(super) fn range(&self) -> Range {
        Range { until: Some(self.until), host: self.hosts.clone(), since: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_a_whole_part_of_a_day() {
        for (text, hours) in [("1h", 1), ("60m", 1), ("24h", 24), ("1d", 24), ("6h", 6)] {
            assert_eq!(Every::parse(text), Ok(Every { hours }), "{text}");
        }
        for text in ["", "0h", "5h", "90m", "25h", "2d", "-1h", "hour"] {
            assert!(Every::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_stretches_that_are_closed_are_due() {
        let hour = Every::HOUR;
        let every = Every { hours: 1 };
        let plan = Plan::new(Some(10 * hour + 1), 14 * hour - 1, every, &[]);
        assert_eq!(plan.times(), (Some(11 * hour), 13 * hour));
        assert!(plan.has(11 * hour, 12 * hour) && plan.has(12 * hour, 13 * hour));
        assert!(!plan.has(10 * hour, 11 * hour) && !plan.has(13 * hour, 14 * hour));
    }
}
