//! Helpers; the tests stand in files by question.

mod files;
mod format;
mod marks;
mod model;
mod push_and_read;
mod recovery;

use std::path::{Path, PathBuf};

use super::header::Key;
use super::open::fresh;
use super::{Backing, Capacity, Opened, Reader, Ring};

pub(super) const KEY: Key = Key(0x0123_4567_89ab_cdef);
/// Where the region starts in the file.
pub(super) const REGION: usize = 4096;

/// A directory that goes away, and the path of a ring in it.
pub(super) fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ring");
    (dir, path)
}

pub(super) fn make(path: &Path, capacity: u32) -> Opened {
    fresh(path, Capacity::tiny(capacity), KEY, b"").unwrap()
}

pub(super) fn reopen(path: &Path, capacity: u32) -> Opened {
    Ring::open(Backing::File(path), Capacity::tiny(capacity)).unwrap()
}

pub(super) fn rest(reader: &mut Reader) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let Some(record) = reader.next() {
        records.push(record.to_vec());
    }
    records
}

/// Changes the bytes of a file that nobody has open.
pub(super) fn alter(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}
