//! The blocks that a range of time and a list of hosts ask for.
//!
//! Blocks are taken or left as a whole: a line's format is the operator's, its time is not read. A
//! block is taken when the time from its first to its last record meets the range. Where the key
//! does not tell, its metadata is asked: of each boot of a host only for the last block that began before
//! the range, since the blocks of a boot follow one another. Those of two routes, each of which has a boot of
//! its own, do not.
//!
//! A block that a manifest names has its lines in a compacted object, whether the block itself is
//! still there or not: it is taken once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::heads::heads;
use super::list::{self, FoundBlock};
use super::moved::Moved;
use crate::block::{BootId, Meta, MetaError, sanitise};
use crate::cli::Error;
use crate::cli::compacted::{self, Place, Within};
use crate::cli::settings::Source;
use crate::cli::terminal::when;
use crate::cli::terminal::{Complaints, Progress};
use crate::s3::Outcome;

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
    /// Only blocks of this host; can be repeated.
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

    /// Whether it asks for a block that a manifest describes.
    pub(in crate::cli) fn covers(&self, found: &FoundBlock<'_>) -> bool {
        let Some(within) = &found.within else { return true };
        let until = self.until.unwrap_or(u64::MAX) / 1_000_000_000;
        let host = found.host.as_deref();
        self.since.is_none_or(|since| within.last >= since)
            && found.time.is_none_or(|time| time <= until)
            && (self.host.is_empty()
                || self.host.iter().any(|name| host == Some(sanitise(name).as_str())))
    }

    /// Whether it leaves no block out.
    pub(in crate::cli) fn is_all(&self) -> bool {
        self.since.is_none() && self.until.is_none() && self.host.is_empty()
    }
}

/// The blocks of `sources` that `range` asks for, in the order of time. Says which streams have no
/// block at all, and which blocks are gone; `moved` as for [`metas`].
///
/// # Errors
/// A page or metadata that cannot be fetched, or a manifest that cannot be fetched or used.
pub(in crate::cli) fn select<'a>(
    sources: &'a [Source],
    range: &Range,
    moved: &mut Moved<'a>,
    complaints: &mut Complaints,
) -> Result<Vec<FoundBlock<'a>>, Error> {
    let mut all = Vec::new();
    let mut empty = Vec::new();
    {
        let progress = Progress::open("keys listed");
        for source in sources {
            let mut found = current(source, range.times(), &progress, complaints)?;
            if found.is_empty() && range.is_all() {
                empty.push(format!(
                    "stream {}: {}",
                    source.settings.stream,
                    list::none_found(source)
                ));
            }
            all.append(&mut found);
        }
    }
    empty.iter().for_each(|text| complaints.say(text));
    let mut all = filter(all, range, Some(moved), complaints)?;
    all.sort_unstable();
    Ok(gather(all))
}

/// The blocks of `source` of a range of time, see [`list::list`], each once: where a manifest names a
/// block, its lines are in a compacted object.
///
/// # Errors
/// A page or a manifest that cannot be fetched or used.
pub(in crate::cli) fn current<'a>(
    source: &'a Source,
    times: (Option<u64>, u64),
    progress: &Progress,
    complaints: &mut Complaints,
) -> Result<Vec<FoundBlock<'a>>, Error> {
    // The manifests after the blocks: blocks are deleted once a manifest names them, so what is in
    // neither list was there in neither form.
    let found = list::list(source, times, progress)?.found;
    let compacted = compacted::load(source, times, complaints)?;
    Ok(compacted::merge(found, compacted))
}

/// Blocks that are in order with those of one compacted object put together, in the place of the first:
/// an object is read once, from its start.
pub(in crate::cli) fn gather(all: Vec<FoundBlock<'_>>) -> Vec<FoundBlock<'_>> {
    let mut first: HashMap<*const Place, usize> = HashMap::new();
    let mut placed: Vec<((usize, u64), FoundBlock<'_>)> = Vec::with_capacity(all.len());
    for (at, found) in all.into_iter().enumerate() {
        let order = match &found.within {
            Some(within) => (*first.entry(Arc::as_ptr(&within.place)).or_insert(at), within.at),
            None => (at, 0),
        };
        placed.push((order, found));
    }
    if !first.is_empty() {
        // Stable: blocks without a line keep their order.
        placed.sort_by_key(|(order, _)| *order);
    }
    placed.into_iter().map(|(_, found)| found).collect()
}

/// Those of `all` that `range` asks for. Says which blocks are gone; `moved` as for [`metas`].
///
/// # Errors
/// Metadata that cannot be fetched, or a manifest that cannot be fetched or used.
pub(in crate::cli) fn filter<'a>(
    mut all: Vec<FoundBlock<'a>>,
    range: &Range,
    mut moved: Option<&mut Moved<'a>>,
    complaints: &mut Complaints,
) -> Result<Vec<FoundBlock<'a>>, Error> {
    if !range.is_all() {
        let hosts: Vec<String> = range.host.iter().map(|host| sanitise(host)).collect();
        complete(&mut all, moved.as_deref_mut(), complaints)?;
        all.retain(|found| {
            let host = found.host.as_deref();
            hosts.is_empty() || host.is_some_and(|host| hosts.iter().any(|name| name == host))
        });
        if let Some(until) = range.until {
            let until = until / 1_000_000_000;
            all.retain(|found| found.time.is_none_or(|time| time <= until));
        }
        if let Some(since) = range.since {
            since_then(&mut all, since, moved, complaints)?;
        }
    }
    Ok(all)
}

/// Asks for what the keys do not tell, and leaves out what is gone.
fn complete<'a>(
    all: &mut Vec<FoundBlock<'a>>,
    moved: Option<&mut Moved<'a>>,
    complaints: &mut Complaints,
) -> Result<(), Error> {
    let untold = |found: &FoundBlock<'_>| found.host.is_none() || found.time.is_none();
    let (mut asked, told): (Vec<_>, Vec<_>) = all.drain(..).partition(untold);
    *all = told;
    let answers = metas(&mut asked, moved, complaints)?;
    for (mut found, answer) in asked.into_iter().zip(answers) {
        match answer {
            Told::Meta(meta) => {
                found.host = Some(Arc::from(meta.host.as_str()));
                found.time = Some(meta.first / 1_000_000_000);
            }
            Told::Unreadable(_) | Told::Compacted { .. } => {}
            Told::Gone => continue,
        }
        all.push(found);
    }
    Ok(())
}

/// Leaves the blocks that have records at or after `since`.
fn since_then<'a>(
    all: &mut Vec<FoundBlock<'a>>,
    since: u64,
    moved: Option<&mut Moved<'a>>,
    complaints: &mut Complaints,
) -> Result<(), Error> {
    let second = since / 1_000_000_000;
    let early = |found: &FoundBlock<'_>| found.time.is_some_and(|time| time < second);
    let mut newest: HashMap<(&str, Option<Arc<str>>, BootId), FoundBlock<'a>> = HashMap::new();
    for found in all.iter().filter(|found| early(found)) {
        let of = (found.source.settings.stream.as_str(), found.host.clone(), found.boot);
        let kept = newest.entry(of).or_insert_with(|| found.clone());
        if *kept < *found {
            *kept = found.clone();
        }
    }
    let mut asked: Vec<FoundBlock<'a>> = newest.into_values().collect();
    let answers = metas(&mut asked, moved, complaints)?;
    all.retain(|found| !early(found));
    let reaches = |told: &Told| match told {
        Told::Meta(meta) => meta.last >= since,
        Told::Compacted { last, .. } => *last >= since,
        Told::Unreadable(_) | Told::Gone => false,
    };
    let reaching = asked.into_iter().zip(answers).filter(|(_, told)| reaches(told));
    all.extend(reaching.map(|(found, _)| found));
    Ok(())
}

/// What a block's metadata says.
#[derive(Debug)]
pub(in crate::cli) enum Told {
    /// What a block of ours says.
    Meta(Box<Meta>),
    /// It is not one of ours, or was changed.
    Unreadable(MetaError),
    /// A manifest names it; what it says of it.
    Compacted {
        /// Its lines.
        records: u64,
        /// Time of the last one, ns since 1970.
        last: u64,
    },
    /// It was listed, and is not there any more.
    Gone,
}

/// Asks for the metadata of `blocks` in parallel: what each says, in their order. One that was compacted and
/// deleted since it was listed becomes the one that the manifest names, which `moved` finds: without it nobody looks.
/// Complains of the others that are gone.
///
/// # Errors
/// The first that cannot be fetched, or a manifest that cannot be fetched or used.
pub(in crate::cli) fn metas<'a>(
    blocks: &mut [FoundBlock<'a>],
    moved: Option<&mut Moved<'a>>,
    complaints: &mut Complaints,
) -> Result<Vec<Told>, Error> {
    if blocks.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = BTreeMap::new();
    let mut gone = Vec::new();
    let (mut places, mut asked) = (Vec::new(), Vec::new());
    for (place, found) in blocks.iter().enumerate() {
        if let Some(within) = &found.within {
            all.insert(place, told(within));
        } else {
            places.push(place);
            asked.push(found);
        }
    }
    let progress = Progress::of(blocks.len() as u64, "metadata");
    progress.add(all.len() as u64);
    heads(&asked, &progress, |at, answer| {
        let Some(place) = places.get(at).copied() else { return Ok(()) };
        let says = match answer {
            Ok(head) => {
                meta(&head.metadata).map_or_else(Told::Unreadable, |m| Told::Meta(Box::new(m)))
            }
            Err(answer) if answer.outcome == Outcome::NoObject => {
                gone.push(place);
                Told::Gone
            }
            Err(answer) => return Err(answer),
        };
        all.insert(place, says);
        Ok(())
    })?;
    drop(progress);
    gone.sort_unstable();
    let asked: Vec<&FoundBlock<'a>> = gone.iter().filter_map(|place| blocks.get(*place)).collect();
    let named = match moved {
        Some(moved) => moved.named(&asked)?,
        None => vec![None; asked.len()],
    };
    for (place, named) in gone.into_iter().zip(named) {
        let Some(found) = blocks.get_mut(place) else { continue };
        match named {
            Some(to) => {
                if let Some(within) = &to.within {
                    all.insert(place, told(within));
                }
                *found = to;
            }
            None => complaints.say(&Error::Gone { key: found.key.to_string() }.to_string()),
        }
    }
    // Each has answered.
    Ok(all.into_values().collect())
}

/// What a manifest says of a block.
fn told(within: &Within) -> Told {
    Told::Compacted { records: within.records, last: within.last }
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
