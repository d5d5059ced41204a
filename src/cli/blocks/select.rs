//! The blocks that a range of time and a list of hosts ask for.
//!
//! Blocks are taken or left as a whole: a line's format is the operator's, its time is not read. A
//! block is taken when the time from its first to its last record meets the range. Where the key
//! does not tell, its metadata is asked: of each host only for the last block that began before
//! the range, since a host's blocks follow one another.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::list::{self, Found};
use super::parallel::{each, patiently};
use crate::block::{Meta, MetaError, sanitise};
use crate::cli::Error;
use crate::cli::settings::Source;
use crate::cli::terminal::Progress;
use crate::cli::terminal::when;

/// Requests for metadata at a time.
pub(in crate::cli) const HEADS: usize = 16;

const HOUR: u64 = 3_600_000_000_000;

/// Which blocks.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct Range {
    /// Only blocks with records at or after this time: 2026-11-22T10:00:00Z, or 10m for ten
    /// minutes ago.
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    pub(in crate::cli) since: Option<u64>,
    /// Only blocks with records at or before this time.
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    pub(in crate::cli) until: Option<u64>,
    /// Only blocks of this host; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) host: Vec<String>,
}

impl Range {
    /// From when to when blocks are listed, in ns since 1970: from a day before the range, for a
    /// block that began before it may reach in; and to an hour past now, for clocks differ.
    pub(in crate::cli) fn times(&self) -> (Option<u64>, u64) {
        let soon = when::now().saturating_add(HOUR);
        (self.since.map(|since| since.saturating_sub(24 * HOUR)), self.until.unwrap_or(soon))
    }

    fn is_all(&self) -> bool {
        self.since.is_none() && self.until.is_none() && self.host.is_empty()
    }
}

/// The blocks of `sources` that `range` asks for, in the order of time.
///
/// # Errors
/// A page or metadata that cannot be had.
pub(in crate::cli) fn select<'a>(
    sources: &'a [Source],
    range: &Range,
) -> Result<Vec<Found<'a>>, Error> {
    let mut all = Vec::new();
    {
        let progress = Progress::open("keys listed");
        for source in sources {
            all.append(&mut list::list(source, range.times(), &progress)?.found);
        }
    }
    let mut all = filter(all, range)?;
    all.sort_unstable();
    Ok(all)
}

/// Those of `all` that `range` asks for.
///
/// # Errors
/// Metadata that cannot be had.
pub(in crate::cli) fn filter<'a>(
    mut all: Vec<Found<'a>>,
    range: &Range,
) -> Result<Vec<Found<'a>>, Error> {
    if !range.is_all() {
        let hosts: Vec<String> = range.host.iter().map(|host| sanitise(host)).collect();
        complete(&mut all)?;
        all.retain(|found| {
            let host = found.host.as_deref();
            hosts.is_empty() || host.is_some_and(|host| hosts.iter().any(|name| name == host))
        });
        if let Some(until) = range.until {
            let until = until / 1_000_000_000;
            all.retain(|found| found.time.is_none_or(|time| time <= until));
        }
        if let Some(since) = range.since {
            since_then(&mut all, since)?;
        }
    }
    Ok(all)
}

/// Asks for what the keys do not tell.
fn complete(all: &mut [Found<'_>]) -> Result<(), Error> {
    let untold = |found: &Found<'_>| found.host.is_none() || found.time.is_none();
    let places: Vec<usize> =
        all.iter().enumerate().filter(|(_, found)| untold(found)).map(|(at, _)| at).collect();
    let asked: Vec<Found<'_>> = places.iter().filter_map(|at| all.get(*at).cloned()).collect();
    metas(&asked, |place, meta| {
        let at = places.get(place).copied().unwrap_or(usize::MAX);
        if let (Some(found), Ok(meta)) = (all.get_mut(at), meta) {
            found.host = Some(Arc::from(meta.host.as_str()));
            found.time = Some(meta.first / 1_000_000_000);
        }
    })
}

/// Leaves the blocks that have records at or after `since`.
fn since_then(all: &mut Vec<Found<'_>>, since: u64) -> Result<(), Error> {
    let second = since / 1_000_000_000;
    let early = |found: &Found<'_>| found.time.is_some_and(|time| time < second);
    let mut newest: HashMap<(&str, Option<Arc<str>>), Found<'_>> = HashMap::new();
    for found in all.iter().filter(|found| early(found)) {
        let kept = newest
            .entry((found.source.settings.stream.as_str(), found.host.clone()))
            .or_insert_with(|| found.clone());
        if *kept < *found {
            *kept = found.clone();
        }
    }
    let asked: Vec<Found<'_>> = newest.into_values().collect();
    let mut reaching = Vec::new();
    metas(&asked, |place, meta| {
        if meta.is_ok_and(|meta| meta.last >= since) {
            reaching.extend(asked.get(place).cloned());
        }
    })?;
    all.retain(|found| !early(found));
    all.append(&mut reaching);
    Ok(())
}

/// Asks for the metadata of `blocks` in parallel; `done` hears of each in any order.
///
/// # Errors
/// The first that cannot be had.
pub(in crate::cli) fn metas(
    blocks: &[Found<'_>],
    mut done: impl FnMut(usize, Result<Meta, MetaError>),
) -> Result<(), Error> {
    if blocks.is_empty() {
        return Ok(());
    }
    let progress = Progress::of(blocks.len() as u64, "metadata");
    let mut failed = None;
    each(
        blocks,
        HEADS,
        |found| patiently(|| found.source.client.head(&found.key)),
        |place, answer| {
            progress.add(1);
            match answer {
                Ok(head) => {
                    done(place, meta(&head.metadata));
                    ControlFlow::Continue(())
                }
                Err(answer) => {
                    let key = blocks.get(place).map_or("", |found| &found.key);
                    failed = Some(Error::Gateway { what: format!("head {key}"), answer });
                    ControlFlow::Break(())
                }
            }
        },
    );
    failed.map_or(Ok(()), Err)
}

/// What a block says of itself.
///
/// # Errors
/// It is not one of ours, or was changed.
pub(in crate::cli) fn meta(pairs: &[(String, String)]) -> Result<Meta, MetaError> {
    Meta::from_pairs(|wanted| {
        pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    })
}
