//! Which blocks: those of closed stretches of time, the oldest first.
//!
//! A block belongs to the stretch that its first record is in. Stretches are counted from midnight UTC,
//! so that each is of one day. Only the oldest blocks are held, however many a listing has: the rest is
//! listed again when these are done.

use std::collections::BTreeMap;

use super::ledger::Keys;
use crate::cli::Error;
use crate::cli::blocks::{FoundBlock, Listing, Moved, Range, filter, pages};
use crate::cli::settings::Source;
use crate::cli::terminal::{Complaints, Progress};
use crate::units;

const SECOND: u64 = 1_000_000_000;

/// Blocks that are held at a time; while a page is added there are twice as many. Some 260 bytes each.
const HELD: usize = 100_000;

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
}

/// The stretches that are due.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Where the first one starts, ns since 1970.
    since: Option<u64>,
    /// Where the last one ends.
    until: u64,
    every: Every,
    hosts: Vec<String>,
    /// Blocks of a stretch with more than are held, which were given already.
    given: Keys,
}

/// Blocks by the start of their stretch, ns since 1970.
pub(super) type Stretches<'a> = BTreeMap<u64, Vec<FoundBlock<'a>>>;

impl Plan {
    /// Stretches that start at or after `since` and end at or before `until`.
    pub(super) fn new(since: Option<u64>, until: u64, every: Every, hosts: &[String]) -> Self {
        let ns = every.ns();
        let since = since.map(|since| since.div_ceil(ns).saturating_mul(ns));
        Self {
            since,
            until: until / ns * ns,
            every,
            hosts: hosts.to_owned(),
            given: Keys::default(),
        }
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

    /// The oldest blocks that are due, in the order of time, and whether there are more. The next call
    /// gives those.
    ///
    /// # Errors
    /// A page or metadata that cannot be fetched.
    pub(super) fn due<'a>(
        &mut self,
        source: &'a Source,
        complaints: &mut Complaints,
    ) -> Result<(Stretches<'a>, bool), Error> {
        let mut stretches = Stretches::new();
        if self.since.is_some_and(|since| since >= self.until) {
            return Ok((stretches, false));
        }
        let (first, last) = (self.since.unwrap_or(0) / SECOND, self.until / SECOND);
        let due =
            |found: &FoundBlock<'_>| found.time.is_none_or(|time| (first..last).contains(&time));
        let mut more = false;
        let mut listing = Listing::default();
        {
            let progress = Progress::open("keys listed");
            pages(source, self.times(), &progress, &mut listing, |found| {
                found.retain(due);
                if found.len() > 2 * HELD {
                    found.sort_unstable();
                    found.truncate(HELD);
                    more = true;
                }
                Ok(())
            })?;
        }
        let mut found = listing.found;
        found.sort_unstable();
        // A gateway of several nodes may give a key on two pages.
        found.dedup_by(|a, b| a.key == b.key);
        let range = Range { until: Some(self.until), host: self.hosts.clone(), since: None };
        let mut found = filter(found, &range, Some(&mut Moved::default()), complaints)?;
        found.retain(due);
        found.sort_unstable();
        for block in found {
            // Metadata that cannot be read: verify tells.
            let Some(time) = block.time else { continue };
            let ns = self.every.ns();
            let start = time.saturating_mul(SECOND) / ns * ns;
            stretches.entry(start).or_default().push(block);
        }
        if more && stretches.len() > 1 {
            // The last one may not be whole.
            stretches.pop_last();
            self.since = stretches.last_key_value().map(|(start, _)| self.stretch(*start).1);
            self.given = Keys::default();
        } else if more {
            // Not even one is: the rest of it comes next.
            let blocks = stretches.values().flatten();
            blocks.for_each(|block| self.given.insert(&block.key));
        }
        Ok((stretches, more))
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
