//! Blocks that are gone when their lines are to be read: compaction may have deleted them meanwhile.
//!
//! A manifest is written before the blocks that it names are deleted. So who finds a block gone, and looks for
//! manifests then, finds the one that names it; a block that none names was deleted by somebody else.

use std::collections::{HashMap, HashSet};
use std::ptr;

use super::list::FoundBlock;
use crate::cli::Error;
use crate::cli::compacted::{self, Day, manifests, read};
use crate::cli::settings::Source;
use crate::cli::terminal::{Progress, when};

/// The manifests that were looked at, each of which is fetched once, and what they name: some 300 bytes a block of
/// each day on which one was found gone.
#[derive(Debug, Default)]
pub(in crate::cli) struct Moved<'a> {
    /// Of each stream the keys of those that were read: two may be in buckets of their own under one key.
    seen: HashMap<*const Source, HashSet<String>>,
    /// What [`Moved::named`] has found in those of a stream.
    known: HashMap<*const Source, Places<'a>>,
}

/// Blocks by their keys, with the places of their lines in compacted objects.
pub(super) type Places<'a> = HashMap<Box<str>, FoundBlock<'a>>;

impl<'a> Moved<'a> {
    /// Blocks that are gone as manifests name them, in their order; `None` for one that none names. Looks for manifests
    /// only where those that it knows do not name one, and once on each day: all were gone before.
    ///
    /// # Errors
    /// A manifest that cannot be fetched or used.
    pub(super) fn named(
        &mut self,
        gone: &[&FoundBlock<'a>],
    ) -> Result<Vec<Option<FoundBlock<'a>>>, Error> {
        let mut looked = HashSet::new();
        let mut named = Vec::with_capacity(gone.len());
        for found in gone {
            let source = ptr::from_ref(found.source);
            let known = |all: &Self| all.known.get(&source)?.get(&found.key).cloned();
            let mut place = known(self);
            if place.is_none() && looked.insert((source, day(found))) {
                let places = self.places(found)?;
                let all = self.known.entry(source).or_default();
                for (key, place) in places {
                    all.entry(key).or_insert(place);
                }
                place = known(self);
            }
            named.push(place);
        }
        Ok(named)
    }

    /// What the manifests of the day of a block that is gone name, but for those that were looked at before.
    ///
    /// # Errors
    /// A manifest that cannot be fetched or used.
    pub(super) fn places(&mut self, gone: &FoundBlock<'a>) -> Result<Places<'a>, Error> {
        let since = day(gone).map(Day::start);
        let times = (since, since.unwrap_or_else(when::now));
        let listed = manifests(gone.source, times, &Progress::hidden())?;
        let seen = self.seen.entry(ptr::from_ref(gone.source)).or_default();
        let (mut places, mut hosts) = (Places::new(), HashMap::new());
        for key in listed.manifests.into_values() {
            if seen.contains(&key) {
                continue;
            }
            let Some(loaded) = read(gone.source, &key)? else { continue };
            let manifest = loaded.manifest.map_err(|problem| {
                let problem = format!("the manifest cannot be used: {problem}; run s3log verify");
                Error::Block { key: key.clone(), problem }
            })?;
            for block in compacted::blocks(gone.source, &manifest, &mut hosts) {
                places.entry(block.key.clone()).or_insert(block);
            }
            seen.insert(key);
        }
        Ok(places)
    }
}

/// The day of a block's first record, if its key tells.
fn day(found: &FoundBlock<'_>) -> Option<Day> {
    found.time.map(|time| Day::of(time.saturating_mul(1_000_000_000)))
}
