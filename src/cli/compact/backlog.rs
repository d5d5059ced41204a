//! The blocks that are due, the oldest first, so many at a time.
//!
//! A listing has any number of blocks, in any order. Of each the oldest are held, behind those that were given
//! before; the others are listed again when these are done. So each block is given once, whatever becomes of it.

use std::collections::BTreeMap;

use super::plan::{Every, Plan, SECOND};
use crate::cli::Error;
use crate::cli::blocks::{FoundBlock, Listing, Moved, filter, pages};
use crate::cli::settings::Source;
use crate::cli::terminal::{Complaints, Progress};

/// Blocks that are held at a time; while a page is added there are twice as many. Some 260 bytes each.
const HELD: usize = 100_000;

/// Blocks by the start of their stretch, ns since 1970.
pub(super) type Stretches<'a> = BTreeMap<u64, Vec<FoundBlock<'a>>>;

/// The blocks of a stream that are due.
pub(super) struct Backlog<'a> {
    source: &'a Source,
    plan: &'a Plan,
    /// The newest that was given, in the order of listings.
    given: Option<FoundBlock<'a>>,
    done: bool,
}

impl<'a> Backlog<'a> {
    /// All that are due.
    pub(super) const fn new(source: &'a Source, plan: &'a Plan) -> Self {
        Self { source, plan, given: None, done: false }
    }

    /// The next ones in the order of time; `None` when there are no more.
    ///
    /// # Errors
    /// A page or metadata that cannot be fetched.
    pub(super) fn next(
        &mut self,
        complaints: &mut Complaints,
    ) -> Result<Option<Stretches<'a>>, Error> {
        let (since, until) = self.plan.times();
        if self.done || since.is_some_and(|since| since >= until) {
            return Ok(None);
        }
        let (first, last) = (since.unwrap_or(0) / SECOND, until / SECOND);
        let due =
            |found: &FoundBlock<'_>| found.time.is_none_or(|time| (first..last).contains(&time));
        // Those whose keys tell no time come first.
        let reached = self.given.as_ref().and_then(|given| given.time);
        let since = reached.map(|time| time.saturating_mul(SECOND)).or(since);
        let mut oldest = Oldest::new(HELD, self.given.take());
        let mut listing = Listing::default();
        {
            let progress = Progress::open("keys listed");
            pages(self.source, (since, until), &progress, &mut listing, |found| {
                oldest.keep(found, due);
                Ok(())
            })?;
        }
        let (found, more) = oldest.given(listing.found, self.plan.every());
        self.given = found.last().cloned();
        self.done = !more;
        let mut found = filter(found, &self.plan.range(), Some(&mut Moved::default()), complaints)?;
        found.retain(due);
        found.sort_unstable();
        let mut stretches = Stretches::new();
        for block in found {
            // Metadata that cannot be read: verify tells.
            let Some(time) = block.time else { continue };
            stretches.entry(self.plan.every().start(time)).or_default().push(block);
        }
        Ok(Some(stretches))
    }
}

/// The oldest blocks of a listing.
struct Oldest<'a> {
    /// How many are held.
    held: usize,
    /// Only those behind this one.
    behind: Option<FoundBlock<'a>>,
    /// Newer ones are left for later, once there are some.
    until: Option<FoundBlock<'a>>,
    /// How many of what was found were looked at.
    kept: usize,
}

impl<'a> Oldest<'a> {
    const fn new(held: usize, behind: Option<FoundBlock<'a>>) -> Self {
        Self { held, behind, until: None, kept: 0 }
    }

    /// Leaves the oldest of what was found so far that are due.
    fn keep(&mut self, found: &mut Vec<FoundBlock<'a>>, due: impl Fn(&FoundBlock<'a>) -> bool) {
        let page = found.split_off(self.kept.min(found.len()));
        found.extend(page.into_iter().filter(|block| {
            due(block)
                && self.behind.as_ref().is_none_or(|behind| block > behind)
                && self.until.as_ref().is_none_or(|until| block <= until)
        }));
        if found.len() > 2 * self.held {
            in_order(found);
            if found.len() > self.held {
                found.truncate(self.held);
                self.until = found.last().cloned();
            }
        }
        self.kept = found.len();
    }

    /// What is given of all that was kept, in order, and whether there are more. A stretch is given whole, but for
    /// one that has more blocks than are held.
    fn given(self, mut found: Vec<FoundBlock<'a>>, every: Every) -> (Vec<FoundBlock<'a>>, bool) {
        in_order(&mut found);
        let newest = found.last().and_then(|block| block.time);
        if let (Some(_), Some(newest)) = (&self.until, newest) {
            // The last one may not be whole. It comes next, unless there is no other.
            let start = every.start(newest);
            let before = |block: &FoundBlock<'_>| {
                block.time.is_none_or(|time| time.saturating_mul(SECOND) < start)
            };
            let whole = found.partition_point(before);
            if whole > 0 {
                found.truncate(whole);
            }
        }
        (found, self.until.is_some())
    }
}

/// A gateway of several nodes may give a key on two pages.
fn in_order(found: &mut Vec<FoundBlock<'_>>) {
    found.sort_unstable();
    found.dedup_by(|a, b| a.key == b.key);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BootId;

    const START: u64 = 1_795_341_600;

    /// Blocks that begin then, in no order, as they are given when so many are held and a page has so many.
    fn given(times: &[Option<u64>], held: usize, page: usize) -> Vec<Vec<u64>> {
        let source = &Source::example("access");
        let block = |number: usize| FoundBlock {
            key: format!("{number:04}").into(),
            size: 1,
            boot: BootId::new(1, 0),
            number: number as u64,
            time: times[number],
            host: None,
            source,
            within: None,
        };
        let listing: Vec<_> = (0..times.len()).map(|at| block(at * 31 % times.len())).collect();
        let (mut all, mut newest) = (Vec::new(), None);
        loop {
            let mut oldest = Oldest::new(held, newest.take());
            let mut found = Vec::new();
            for page in listing.chunks(page) {
                found.extend(page.iter().cloned());
                oldest.keep(&mut found, |_| true);
                assert!(found.len() <= 2 * held, "{} are held", found.len());
            }
            let (batch, more) = oldest.given(found, Every::parse("1h").unwrap());
            newest = batch.last().cloned();
            all.push(batch.iter().map(|block| block.number).collect());
            if !more {
                return all;
            }
            assert!(newest.is_some() && all.len() <= times.len(), "it does not end: {all:?}");
        }
    }

    #[test]
    fn each_block_is_given_once_and_in_order_however_many_there_are() {
        let hours =
            |each: u64| move |number: u64| Some(START + number / each * 3_600 + number % each);
        let untold = |number: u64| (number > 12).then_some(START + number);
        for (what, times) in [
            ("one hour", (0..35).map(hours(1_000)).collect::<Vec<_>>()),
            ("ten hours", (0..35).map(hours(4)).collect()),
            ("two hours, neither of which is held", (0..60).map(hours(30)).collect()),
            ("as many as are held, and one less", (0..40).map(hours(10)).collect()),
            ("keys that tell no time", vec![None; 35]),
            ("keys of which some tell a time", (0..35).map(untold).collect()),
            ("none", Vec::new()),
        ] {
            let all: Vec<u64> = (0..times.len() as u64).collect();
            for page in [1, 3, 7, 10, 100] {
                for held in [1, 9, 10, 34, 35, 1_000] {
                    let given = given(&times, held, page);
                    assert_eq!(given.concat(), all, "{what}, {held} held, pages of {page}");
                }
            }
        }
    }

    #[test]
    fn a_stretch_is_given_whole_where_as_many_can_be_held() {
        let times: Vec<_> = (0..35).map(|n| Some(START + n / 4 * 3_600)).collect();
        for held in 5..40 {
            for batch in given(&times, held, 7) {
                let (first, last) = (batch[0], batch[batch.len() - 1]);
                assert!(first % 4 == 0 && (last % 4 == 3 || last == 34), "{held}: {batch:?}");
            }
        }
    }
}
