//! Blocks that are gone when their lines are to be read: compaction may have deleted them meanwhile.
//!
//! A manifest is written before the blocks that it names are deleted. So who finds a block gone, and looks for
//! manifests then, finds the one that names it; a block that none names was deleted by somebody else.

use std::collections::{HashMap, HashSet};
use std::ptr;

use super::list::FoundBlock;
use crate::cli::Error;
use crate::cli::compacted::{self, manifests, read};
use crate::cli::settings::Source;
use crate::cli::terminal::{Progress, when};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// The manifests that were looked at.
#[derive(Debug, Default)]
pub(super) struct Moved<'a> {
    seen: HashSet<String>,
    /// What those of a stream and day name.
    days: HashMap<(*const Source, Option<u64>), Places<'a>>,
}

/// Blocks by their keys, with the places of their lines in compacted objects.
pub(super) type Places<'a> = HashMap<Box<str>, FoundBlock<'a>>;

impl<'a> Moved<'a> {
    /// A block that is gone as a manifest names it, if one does. The manifests of each day are looked at once: for
    /// blocks that were found gone before the first of them is asked for.
    ///
    /// # Errors
    /// A manifest that cannot be fetched or used.
    pub(super) fn place(&mut self, gone: &FoundBlock<'a>) -> Result<Option<FoundBlock<'a>>, Error> {
        let day = (ptr::from_ref(gone.source), gone.time.map(|time| time / DAY));
        if !self.days.contains_key(&day) {
            let places = self.places(gone)?;
            self.days.insert(day, places);
        }
        let of_stream = self.days.iter().filter(|((source, _), _)| *source == day.0);
        Ok(of_stream.map(|(_, places)| places).find_map(|places| places.get(&gone.key)).cloned())
    }

    /// What the manifests of the day of a block that is gone name, but for those that were looked at before.
    ///
    /// # Errors
    /// A manifest that cannot be fetched or used.
    pub(super) fn places(&mut self, gone: &FoundBlock<'a>) -> Result<Places<'a>, Error> {
        let time = gone.time.map(|time| time.saturating_mul(1_000_000_000));
        let times = (time, time.unwrap_or_else(when::now));
        let listed = manifests(gone.source, times, &Progress::hidden())?;
        let (mut places, mut hosts) = (Places::new(), HashMap::new());
        for key in listed.manifests.into_values() {
            // Two streams may be in buckets of their own under one key.
            let name = format!("{:p} {key}", gone.source);
            if self.seen.contains(&name) {
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
            self.seen.insert(name);
        }
        Ok(places)
    }
}
