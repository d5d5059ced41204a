//! A look at a ring's file that changes nothing, while another process may be using it.
//!
//! Only the header page, the commits and the next record's first word are read. Their words are read one after the other while the owner writes
//! them, so the numbers may be a few records apart; the commit is one that held.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::Path;

use super::layout::{Commit, HEADER_BYTES, Preamble, SLOT_BYTES, Unreadable};

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
pub(crate) fn glance(path: &Path) -> io::Result<Glance> {
    // Another user may have put a FIFO there, or a link.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let length = file.metadata()?.len();
    let page = header_page(&file)?;
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let preamble = Preamble::decode(&page, length).map_err(|reason| match reason {
        Unreadable::Foreign => bad("not a ring".to_owned()),
        Unreadable::Corrupt(what) => bad(format!("a damaged ring: {what}")),
        Unreadable::Newer { found } => bad(format!("a ring of format {found}, which is newer")),
    })?;
    let commit = latest_commit(&file, preamble)?
        .ok_or_else(|| bad("a ring without a commit that holds".to_owned()))?;
    let tail = page
        .get(TAIL_AT..)
        .and_then(|rest| rest.first_chunk().copied())
        .map_or(0, u64::from_ne_bytes);
    // After a power cut the tail may be older than the records, but what is consumed is zero.
    let mut next = [0; 8];
    let at = commit.head.checked_rem(preamble.capacity).unwrap_or(0);
    read_at_most(&file, &mut next, HEADER_BYTES as u64 + at)?;
    let least = if next == [0; 8] { 0 } else { next.len() as u64 };
    Ok(Glance {
        capacity: preamble.capacity,
        used: tail.saturating_sub(commit.head).min(preamble.capacity).max(least),
        payload: commit.payload,
    })
}

/// A file's first page; shorter where the file is.
pub(super) fn header_page(file: &File) -> io::Result<Vec<u8>> {
    let mut page = vec![0; HEADER_BYTES];
    let length = read_at_most(file, &mut page, 0)?;
    page.truncate(length);
    Ok(page)
}

/// The later of a file's commits that hold.
pub(super) fn latest_commit(file: &File, preamble: Preamble) -> io::Result<Option<Commit>> {
    let mut slots = [[0; SLOT_BYTES]; 2];
    for (slot, at) in slots.iter_mut().zip(preamble.slots()) {
        read_at_most(file, slot, at)?;
    }
    let [first, second] = &slots;
    Ok(Commit::latest([first, second]))
}

fn read_at_most(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
