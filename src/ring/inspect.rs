//! A look at a ring's file that changes nothing, while another process may be using it.
//!
//! Only the header page is read. Its words are read one after the other while the owner writes
//! them, so the numbers may be a few records apart; the commit is one that held.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::layout::{Commit, HEADER_BYTES, Preamble, Unreadable};

/// Where [`super::mapped`] has the tail.
const TAIL_AT: usize = 256;

/// What a ring's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Bytes of the region.
    pub capacity: u64,
    /// Bytes claimed and not consumed, headers and padding included; 0 to `capacity`.
    pub used: u64,
    /// What the last commit said; empty if it said nothing.
    pub payload: Vec<u8>,
}

/// Reads the header of the ring at `path`.
///
/// # Errors
/// The file system's; `InvalidData` for a file that is no ring of this release.
pub fn glance(path: &Path) -> io::Result<Glance> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut page = Vec::with_capacity(HEADER_BYTES);
    Read::by_ref(&mut file).take(HEADER_BYTES as u64).read_to_end(&mut page)?;
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let preamble = Preamble::decode(&page, length).map_err(|reason| match reason {
        Unreadable::Foreign => bad("not a ring".to_owned()),
        Unreadable::Corrupt(what) => bad(format!("a damaged ring: {what}")),
        Unreadable::Newer { found } => bad(format!("a ring of format {found}, which is newer")),
    })?;
    let commit = Commit::latest(&page)
        .ok_or_else(|| bad("a ring without a commit that holds".to_owned()))?;
    let tail = page
        .get(TAIL_AT..)
        .and_then(|rest| rest.first_chunk().copied())
        .map_or(0, u64::from_ne_bytes);
    Ok(Glance {
        capacity: preamble.capacity,
        used: tail.saturating_sub(commit.head).min(preamble.capacity),
        payload: commit.payload,
    })
}
