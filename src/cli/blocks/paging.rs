//! Whether a listing goes on, has ended, or cannot be believed.
//!
//! A listing that breaks off looks like a smaller bucket, and one that goes round in circles like
//! an endless one: both end in an error. Memory: 16 bytes a page.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::parallel::patiently;
use crate::cli::Error;
use crate::cli::settings::Source;
use crate::cli::terminal::Progress;
use crate::s3::wire::xml::{Entry, Page};

/// Pages in a row without a key after which a listing is not asked to go on.
const EMPTY_PAGES: u32 = 1_000;

/// A listing as far as it has been read.
#[derive(Debug, Default)]
struct Paging {
    /// Hashes of the tokens that pages were asked for with.
    tokens: HashSet<u64>,
    /// Hashes of the keys of each page.
    pages: HashSet<u64>,
    /// Pages without a key since the last one with a key.
    empty: u32,
}

impl Paging {
    /// What to ask for after `page`; `None` at the end of the listing.
    ///
    /// # Errors
    /// The listing breaks off or does not end. `place` is what was listed.
    fn next(&mut self, page: &Page, place: &str) -> Result<Option<String>, Error> {
        let failed = |problem: String| Error::Listing { place: place.to_owned(), problem };
        let token = match (page.truncated, &page.next) {
            (Some(false), _) => return Ok(None),
            (_, Some(token)) => token,
            (Some(true), None) => {
                return Err(failed(
                    "the listing continues, but the gateway does not say where \
                     (no NextContinuationToken); it needs a gateway that implements ListObjectsV2"
                        .to_owned(),
                ));
            }
            (None, None) => {
                return Err(failed(
                    "the gateway does not say whether the listing is complete (no IsTruncated)"
                        .to_owned(),
                ));
            }
        };
        self.empty = if page.entries.is_empty() { self.empty + 1 } else { 0 };
        if self.empty >= EMPTY_PAGES {
            return Err(failed(format!("the gateway sent {EMPTY_PAGES} empty pages in a row")));
        }
        let keys = page.entries.iter().map(|entry| entry.key.as_str());
        let again = self.empty == 0 && !self.pages.insert(hash(keys));
        if !self.tokens.insert(hash(std::iter::once(token.as_str()))) || again {
            return Err(failed("the listing repeats itself and would never end".to_owned()));
        }
        Ok(Some(token.clone()))
    }
}

/// Lists what begins with `prefix`, and hands on the entries of each page.
///
/// # Errors
/// A page that cannot be fetched or believed, or that of `each`.
pub(in crate::cli) fn walk(
    source: &Source,
    prefix: &str,
    progress: &Progress,
    mut each: impl FnMut(Vec<Entry>) -> Result<(), Error>,
) -> Result<(), Error> {
    let place = format!("{}/{prefix}", source.client.bucket());
    let mut paging = Paging::default();
    let mut next: Option<String> = None;
    loop {
        let page = patiently(|| source.client.list(prefix, next.as_deref()))
            .map_err(|answer| Error::gateway(format!("list {place}"), answer))?;
        next = paging.next(&page, &place)?;
        progress.add(page.entries.len() as u64);
        each(page.entries)?;
        if next.is_none() {
            return Ok(());
        }
    }
}

fn hash<'a>(texts: impl Iterator<Item = &'a str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    texts.for_each(|text| text.hash(&mut hasher));
    hasher.finish()
}
