//! The ring's bytes: a shared mapping of a file, or anonymous memory.
//!
//! Every access is in bounds by construction: a position is masked into the region, a length is
//! cut at the region's end, a header offset is one of the constants of [`layout`]. So a caller
//! owes only one thing, that nobody writes the bytes meanwhile; [`super`] argues who may.
//!
//! [`layout`]: super::layout
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapMut, MmapRaw};

use super::layout::{COMMIT_AT, HEADER_BYTES, SLOT_WORDS, TRAILER_BYTES};

/// Producers write `tail` and `published` all the time and only read `released`: 128 bytes apart, for
/// two cache lines are often fetched as one.
const TAIL_AT: usize = 256;
/// In the tail's cache line, which a push has just had.
const PUBLISHED_AT: usize = 264;
const RELEASED_AT: usize = 384;

/// Most bytes that are touched at the start: a larger ring would take the memory and the time for
/// what it may never use.
const TOUCHED_MAX: usize = 64 << 20;

/// A header page, a region whose size is a power of two, and a page behind it.
pub(super) struct Memory {
    map: MmapRaw,
    /// Bytes of the region: a power of two, at least 8, and the map has `HEADER_BYTES` and
    /// `TRAILER_BYTES` more.
    capacity: usize,
    /// A disk for tests, in the place of the real one.
    #[cfg(test)]
    pub(super) disk: std::sync::OnceLock<SimulatedDisk>,
}

/// Is given the range of the file that is to be brought to the disk.
#[cfg(test)]
pub(crate) type SimulatedDisk = Box<dyn Fn(std::ops::Range<usize>) -> io::Result<()> + Send + Sync>;

impl Memory {
    /// Zeroed memory that ends with the process.
    pub(super) fn anonymous(capacity: usize) -> io::Result<Self> {
        let map = MmapMut::map_anon(HEADER_BYTES + capacity + TRAILER_BYTES)?;
        Ok(Self {
            map: map.into(),
            capacity,
            #[cfg(test)]
            disk: std::sync::OnceLock::new(),
        })
    }

    /// Maps `file`, whose length the caller has made that of a whole file.
    pub(super) fn shared(file: &File, capacity: usize) -> io::Result<Self> {
        let length = HEADER_BYTES + capacity + TRAILER_BYTES;
        let map = memmap2::MmapOptions::new().len(length).map_raw(file)?;
        Ok(Self {
            map,
            capacity,
            #[cfg(test)]
            disk: std::sync::OnceLock::new(),
        })
    }

    /// Touches the pages, so that a request does not, and keeps them out of core dumps. To be called
    /// while nobody else has this memory.
    ///
    /// The kernel's own way (Linux 5.14) says when there is no space or memory, where a touch would
    /// be a SIGBUS; older kernels do without.
    pub(super) fn prepare(&self) -> io::Result<()> {
        // Log lines are personal data. A kernel that cannot is no reason not to start.
        let _ = self.map.advise(memmap2::Advice::DontDump);
        let length = self.map.len().min(TOUCHED_MAX);
        match self.map.advise_range(memmap2::Advice::PopulateWrite, 0, length) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            done => done,
        }
    }

    /// Bytes of the region.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Where the next claim starts.
    pub(super) fn tail(&self) -> &AtomicU64 {
        self.atomic(TAIL_AT)
    }

    /// How far the producers that have published would have moved the tail alone.
    pub(super) fn published(&self) -> &AtomicU64 {
        self.atomic(PUBLISHED_AT)
    }

    /// Up to where producers may claim, less one capacity.
    pub(super) fn released(&self) -> &AtomicU64 {
        self.atomic(RELEASED_AT)
    }

    /// A word of commit slot 0 or 1; the reader alone touches them.
    pub(super) fn commit_word(&self, slot: usize, index: usize) -> &AtomicU64 {
        self.atomic(self.slot_at(slot) + 8 * (index % SLOT_WORDS))
    }

    /// The word at a position, its low three bits ignored: where a record's header stands.
    pub(super) fn header(&self, position: u64) -> &AtomicU64 {
        self.atomic(HEADER_BYTES + (self.offset(position) & !7))
    }

    /// Copies `bytes` to a position, cut at the region's end.
    ///
    /// # Safety
    ///
    /// Nobody else reads or writes those bytes during the call.
    pub(super) unsafe fn write(&self, position: u64, bytes: &[u8]) {
        let offset = self.offset(position);
        let len = bytes.len().min(self.capacity - offset);
        let to = self.pointer(offset);
        // SAFETY: `len` bytes are in bounds on both sides, and the caller owns those of the map.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), len) }
    }

    /// `len` bytes at a position, cut at the region's end.
    ///
    /// # Safety
    ///
    /// Nobody writes those bytes while the slice lives.
    pub(super) unsafe fn bytes(&self, position: u64, len: usize) -> &[u8] {
        let offset = self.offset(position);
        let len = len.min(self.capacity - offset);
        let from = self.pointer(offset);
        // SAFETY: in bounds, and the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(from, len) }
    }

    /// Zeroes `len` bytes at a position, cut at the region's end.
    ///
    /// # Safety
    ///
    /// Nobody else reads or writes those bytes during the call.
    pub(super) unsafe fn zero(&self, position: u64, len: usize) {
        let offset = self.offset(position);
        let len = len.min(self.capacity - offset);
        let to = self.pointer(offset);
        // SAFETY: in bounds, and the caller owns the bytes.
        unsafe { to.write_bytes(0, len) }
    }

    /// Writes commit slot 0 or 1 through to the disk.
    pub(super) fn sync_slot(&self, slot: usize) -> io::Result<()> {
        let at = self.slot_at(slot);
        self.flush(at..at + 8 * SLOT_WORDS)
    }

    /// Writes everything through to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.flush(0..self.map.len())
    }

    fn flush(&self, range: std::ops::Range<usize>) -> io::Result<()> {
        #[cfg(test)]
        if let Some(disk) = self.disk.get() {
            return disk(range);
        }
        self.map.flush_range(range.start, range.len())
    }

    /// Where a slot is in the map.
    fn slot_at(&self, slot: usize) -> usize {
        if slot.is_multiple_of(2) { COMMIT_AT } else { HEADER_BYTES + self.capacity }
    }

    /// Always less than `capacity`; the cast drops only bits that the mask drops as well.
    #[allow(clippy::cast_possible_truncation)]
    fn offset(&self, position: u64) -> usize {
        position as usize & (self.capacity - 1)
    }

    /// `offset` is less than `capacity`.
    fn pointer(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset < self.capacity);
        self.map.as_mut_ptr().wrapping_add(HEADER_BYTES + offset)
    }

    /// `at` is a multiple of 8 and less than the map's length.
    fn atomic(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.map.len());
        let word = self.map.as_mut_ptr().wrapping_add(at).cast::<u64>();
        // SAFETY: aligned (a map starts on a page), in bounds, and lives as long as `self`.
        unsafe { AtomicU64::from_ptr(word) }
    }
}
