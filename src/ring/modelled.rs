//! The ring's memory as loom sees it: the same calls as [`mapped`](super::mapped), each watched.
//!
//! Each word of the region has an atomic (when a header stands there) and a race detector (when
//! it is payload). The bytes themselves are plain: loom runs one thread at a time.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64 as PlainU64;

use ::loom::cell::UnsafeCell as Watched;
use ::loom::sync::atomic::{AtomicU64, Ordering};

use super::layout::SLOT_WORDS;

pub(super) struct Memory {
    tail: AtomicU64,
    published: AtomicU64,
    released: AtomicU64,
    /// Not modelled: the reader alone touches them.
    commit: [PlainU64; 2 * SLOT_WORDS],
    headers: Vec<AtomicU64>,
    watched: Vec<Watched<()>>,
    bytes: Box<[std::cell::UnsafeCell<u8>]>,
}

// SAFETY: loom runs one thread at a time and `watched` reports the races that would be.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn anonymous(capacity: usize) -> io::Result<Self> {
        Ok(Self {
            tail: AtomicU64::new(0),
            published: AtomicU64::new(0),
            released: AtomicU64::new(0),
            commit: [const { PlainU64::new(0) }; 2 * SLOT_WORDS],
            headers: (0..capacity / 8).map(|_| AtomicU64::new(0)).collect(),
            watched: (0..capacity / 8).map(|_| Watched::new(())).collect(),
            bytes: (0..capacity).map(|_| std::cell::UnsafeCell::new(0)).collect(),
        })
    }

    pub(super) fn shared(_: &File, _: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn tail(&self) -> &AtomicU64 {
        &self.tail
    }

    pub(super) fn published(&self) -> &AtomicU64 {
        &self.published
    }

    pub(super) fn released(&self) -> &AtomicU64 {
        &self.released
    }

    pub(super) fn commit_word(&self, slot: usize, index: usize) -> &PlainU64 {
        &self.commit[slot % 2 * SLOT_WORDS + index % SLOT_WORDS]
    }

    pub(super) fn header(&self, position: u64) -> &AtomicU64 {
        &self.headers[self.offset(position) / 8]
    }

    /// # Safety
    ///
    /// As in `mapped`; here loom reports a caller who breaks it.
    pub(super) unsafe fn write(&self, position: u64, bytes: &[u8]) {
        let offset = self.offset(position);
        self.watch_write(offset, bytes.len());
        for (cell, byte) in self.bytes[offset..].iter().zip(bytes) {
            // SAFETY: one thread at a time.
            unsafe { *cell.get() = *byte }
        }
    }

    /// # Safety
    ///
    /// As in `mapped`; here loom reports a caller who breaks it.
    pub(super) unsafe fn bytes(&self, position: u64, len: usize) -> &[u8] {
        let offset = self.offset(position);
        for word in &self.watched[offset / 8..(offset + len).div_ceil(8)] {
            word.with(|_| ());
        }
        let cells = &self.bytes[offset..offset + len];
        // SAFETY: an `UnsafeCell<u8>` has a `u8`'s layout; no writer, by the caller's promise.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<u8>(), len) }
    }

    /// # Safety
    ///
    /// As in `mapped`; here loom reports a caller who breaks it.
    pub(super) unsafe fn zero(&self, position: u64, len: usize) {
        let offset = self.offset(position);
        self.watch_write(offset, len);
        for header in &self.headers[offset / 8..(offset + len) / 8] {
            header.store(0, Ordering::Relaxed);
        }
        for cell in &self.bytes[offset..offset + len] {
            // SAFETY: one thread at a time.
            unsafe { *cell.get() = 0 }
        }
    }

    pub(super) fn sync_slot(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn offset(&self, position: u64) -> usize {
        usize::try_from(position).unwrap() & (self.bytes.len() - 1)
    }

    fn watch_write(&self, offset: usize, len: usize) {
        for word in &self.watched[offset / 8..(offset + len).div_ceil(8)] {
            word.with_mut(|_| ());
        }
    }
}
