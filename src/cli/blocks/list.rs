//! Which objects of a bucket are blocks of a stream.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use super::folders;
use super::paging::walk;
use crate::block::{BootId, KeyParts, sanitise};
use crate::cli::Error;
use crate::cli::compacted::{CompactKey, Within};
use crate::cli::settings::Source;
use crate::cli::terminal::Progress;

/// What `s3log check` puts in front of a host's name: neither a block nor a foreign object.
pub(in crate::cli) const PROBE: &str = "s3log-check-";

/// Foreign objects that are kept by name.
const FOREIGN: usize = 1_000;

/// A block's key, and what it tells. Some 160 bytes beside the key's own, allocator included.
#[derive(Debug, Clone)]
pub(in crate::cli) struct FoundBlock<'a> {
    /// The key.
    pub key: Box<str>,
    /// Bytes of the object.
    pub size: u64,
    /// The boot.
    pub boot: BootId,
    /// The number.
    pub number: u64,
    /// When its first record was, seconds since 1970; `None` when the key does not tell.
    pub time: Option<u64>,
    /// Who wrote it; `None` when the key does not tell.
    pub host: Option<Arc<str>>,
    /// Its stream.
    pub source: &'a Source,
    /// Where its lines are, if a manifest names it: then the object under `key` is not read.
    pub within: Option<Box<Within>>,
}

impl FoundBlock<'_> {
    /// Its stream's name, as in VCL.
    pub(in crate::cli) fn stream(&self) -> &str {
        &self.source.settings.stream
    }

    /// Whether the lines of both are in one compacted object, and those of `after` are behind ours.
    pub(in crate::cli) fn precedes(&self, after: &Self) -> bool {
        self.within.as_ref().zip(after.within.as_ref()).is_some_and(|(one, two)| one.precedes(two))
    }
}

impl Ord for FoundBlock<'_> {
    /// By time, host and number; a gateway's order means nothing. Blocks whose keys tell no time
    /// come first, by their keys.
    fn cmp(&self, other: &Self) -> Ordering {
        let told = |a: &Self, b: &Self| {
            let host = a.host.cmp(&b.host).then_with(|| a.stream().cmp(b.stream()));
            host.then_with(|| (a.boot, a.number).cmp(&(b.boot, b.number)))
        };
        match (self.time, other.time) {
            (Some(a), Some(b)) => a.cmp(&b).then_with(|| told(self, other)),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
        .then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialEq for FoundBlock<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for FoundBlock<'_> {}

impl PartialOrd for FoundBlock<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a listing came to.
#[derive(Debug, Default)]
pub(in crate::cli) struct Listing<'a> {
    /// The stream's blocks: in the order of time from [`list`], in the gateway's from [`pages`].
    pub found: Vec<FoundBlock<'a>>,
    /// Keys below the prefix that are no block of any stream, the first thousand of them.
    pub foreign: Vec<String>,
    /// How many there were.
    pub(crate) foreign_count: u64,
    /// Blocks of other streams, and their compacted objects.
    pub others: u64,
}

/// Lists the blocks of `source` that began between `since` and `until`, in ns since 1970; others
/// may be among them.
///
/// # Errors
/// A page that cannot be fetched.
pub(in crate::cli) fn list<'a>(
    source: &'a Source,
    times: (Option<u64>, u64),
    progress: &Progress,
) -> Result<Listing<'a>, Error> {
    let mut listing = Listing::default();
    pages(source, times, progress, &mut listing, |_| Ok(()))?;
    // A gateway of several nodes may give a key on two pages.
    listing.found.sort_unstable();
    listing.found.dedup_by(|a, b| a.key == b.key);
    Ok(listing)
}

/// The same, page by page: after each page `each` may take blocks out of what was found so far.
///
/// # Errors
/// A page that cannot be fetched, or that of `each`.
pub(in crate::cli) fn pages<'a>(
    source: &'a Source,
    (since, until): (Option<u64>, u64),
    progress: &Progress,
    listing: &mut Listing<'a>,
    mut each: impl FnMut(&mut Vec<FoundBlock<'a>>) -> Result<(), Error>,
) -> Result<(), Error> {
    let naming = &source.settings.naming;
    let stream = sanitise(&source.settings.stream);
    let mut hosts: HashMap<String, Arc<str>> = HashMap::new();
    for prefix in folders::prefixes(naming.path(), naming.zone(), since, until) {
        walk(source, &prefix, progress, |entries| {
            for entry in entries {
                let Some(parts) = KeyParts::parse(&entry.key) else {
                    listing.not_a_block(entry.key, &stream);
                    continue;
                };
                if parts.before_stream(&stream).is_none() {
                    listing.others += 1;
                    continue;
                }
                let host = parts.host(naming, &stream).map(|host| {
                    let known = hosts.entry(host.to_owned());
                    Arc::clone(known.or_insert_with(|| Arc::from(host)))
                });
                listing.found.push(FoundBlock {
                    size: entry.size,
                    boot: parts.boot,
                    number: parts.number,
                    time: naming.time(&parts),
                    host,
                    source,
                    within: None,
                    key: entry.key.as_str().into(),
                });
            }
            each(&mut listing.found)
        })?;
    }
    Ok(())
}

impl Listing<'_> {
    /// Takes down an object that is no block.
    fn not_a_block(&mut self, key: String, stream: &str) {
        if let Some(compacted) = CompactKey::parse(&key) {
            // Those of this stream are listed for themselves, after the blocks.
            self.others += u64::from(compacted.stream != stream);
            return;
        }
        let name = key.rsplit('/').next().unwrap_or_default();
        // Folders that some tools make are objects that end in a slash.
        if !name.is_empty() && !name.contains(PROBE) {
            self.foreign_count += 1;
            if self.foreign.len() < FOREIGN {
                self.foreign.push(key);
            }
        }
    }
}

/// What is said of a stream that has no block anywhere.
pub(in crate::cli) fn none_found(source: &Source) -> String {
    let path = folders::fixed(source.settings.naming.path());
    let bucket = source.client.bucket();
    format!(
        "no blocks found in {bucket}/{path}; check the stream's name, bucket and path; the first block comes at most a \
         `period` after the first line"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_in_order_of_time_then_boot_then_number() {
        let source = &Source::example("access");
        let found = |key: &str, time, boot, number| {
            let boot = BootId::new(boot, 0);
            FoundBlock {
                key: key.into(),
                size: 1,
                boot,
                number,
                time,
                host: None,
                source,
                within: None,
            }
        };
        let mut blocks = [
            found("e", Some(9), 1, 3),
            found("d", Some(7), 2, 2),
            found("c", Some(7), 1, 12),
            found("b", Some(7), 1, 3),
            found("y", None, 5, 1),
            found("x", None, 6, 1),
        ];
        blocks.sort();
        let keys: Vec<&str> = blocks.iter().map(|block| &*block.key).collect();
        assert_eq!(keys, ["x", "y", "b", "c", "d", "e"]);
    }
}
