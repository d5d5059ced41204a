//! The producers' side: claim space, copy, publish.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::AtomicU64 as PlainU64;
use std::time::Duration;

use super::check;
use super::header::{FrameKind, Key, MAX_PAYLOAD};
use super::layout::{MARK_BYTES, record_bytes};
use super::record::Record;
use super::sync::{Memory, Ordering, SPINS, spin_loop};
use crate::clock::Clock;

/// The first and the longest sleep of a waiting push.
const NAPS: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(1));

/// Why a record was not taken. The ring counts neither; the caller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The reader is behind by a whole ring.
    #[error("the ring is full; make `ring` larger or the reader faster")]
    Full,
    /// Longer than 65,536 bytes.
    #[error("the record is longer than the ring takes; 65536 bytes is the most")]
    TooLong,
}

/// The shared side: any number of threads push.
pub struct Ring {
    pub(super) memory: Memory,
    pub(super) key: Key,
    /// Of the releases so far; the reader alone writes it.
    high_water: PlainU64,
}

/// What anyone may ask a ring at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the region.
    pub capacity: u64,
    /// Bytes claimed and not yet released, headers and padding included; 0 to `capacity`.
    pub used: u64,
    /// The largest `used` since this ring was opened. It only grows between two releases, so the
    /// reader, which looks before each of them, misses none.
    pub high_water: u64,
}

impl Ring {
    pub(super) fn new(memory: Memory, key: Key) -> Self {
        Self { memory, key, high_water: PlainU64::new(0) }
    }

    /// Copies a record into the ring; 0 to 65,536 bytes. (A ring
    /// smaller than any [`Capacity`](super::Capacity) takes less.)
    ///
    /// Once this returns `Ok`, the record survives the death of the process. It neither
    /// allocates, nor locks, nor calls the system (a first touch of a file's page can fault).
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] or [`PushError::TooLong`]; the record is not in the ring then.
    pub fn push<'a>(&self, record: impl Into<Record<'a>>) -> Result<(), PushError> {
        self.push_within(record, u64::MAX)
    }

    /// Like [`Ring::push`], for a record that may not fill the ring: after it at most `most` bytes are
    /// in use, headers and padding included. What is above that is reserved for others.
    ///
    /// # Errors
    ///
    /// As [`Ring::push`]; `Full` where the record would go beyond `most`.
    pub(crate) fn push_within<'a>(
        &self,
        record: impl Into<Record<'a>>,
        most: u64,
    ) -> Result<(), PushError> {
        let record = record.into();
        self.check_length(record)?;
        self.place(record, check::crc32c(record.bytes), most)
    }

    /// Like `Ring::push_within`, but room is waited for: a short spin, then sleeps of 50 us to
    /// 1 ms until there is space or `max_wait` has passed.
    ///
    /// # Errors
    ///
    /// As `Ring::push_within`; `Full` after at least `max_wait` of `clock`'s time.
    pub fn push_wait<'a>(
        &self,
        record: impl Into<Record<'a>>,
        most: u64,
        max_wait: Duration,
        clock: &dyn Clock,
    ) -> Result<(), PushError> {
        let record = record.into();
        self.check_length(record)?;
        let crc = check::crc32c(record.bytes);
        for _ in 0..SPINS {
            match self.place(record, crc, most) {
                Err(PushError::Full) => spin_loop(),
                done => return done,
            }
        }
        let start = clock.monotonic();
        let mut nap = NAPS.0;
        loop {
            // Asked before the attempt, so that the last attempt comes after the whole wait.
            let waited = clock.monotonic().saturating_sub(start);
            match self.place(record, crc, most) {
                Err(PushError::Full) if waited < max_wait => {
                    clock.sleep(nap.min(max_wait.saturating_sub(waited)));
                    nap = (nap * 2).min(NAPS.1);
                }
                done => return done,
            }
        }
    }

    /// Bytes of the region.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.memory.capacity() as u64
    }

    /// Up to where producers have claimed, in bytes since the ring was made: every record that was
    /// pushed before this call lies before it. To be compared with [`Reader::cursor`](super::Reader::cursor).
    #[must_use]
    pub fn position(&self) -> u64 {
        self.reserved()
    }

    /// How full the ring is. A snapshot: three loads, no promise that they are of one moment.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let capacity = self.memory.capacity() as u64;
        // Relaxed: numbers for people; nothing is read through them.
        let released = self.memory.released().load(Ordering::Relaxed);
        let used = self.reserved().saturating_sub(released).min(capacity);
        // Relaxed: as above.
        let high_water = self.high_water.load(std::sync::atomic::Ordering::Relaxed).max(used);
        Usage { capacity, used, high_water }
    }

    /// Writes every published record through to the disk; for memory without a file, nothing.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn sync(&self) -> io::Result<()> {
        self.memory.sync()
    }

    /// Sends syncs to a disk of a test's own.
    #[cfg(all(test, not(s3log_loom)))]
    pub(crate) fn simulate_disk(&self, disk: super::mapped::SimulatedDisk) {
        assert!(self.memory.disk.set(disk).is_ok());
    }

    /// Up to where producers have claimed.
    pub(super) fn reserved(&self) -> u64 {
        // Relaxed: only compared and shown; bytes are reached through their header's Acquire.
        self.memory.tail().load(Ordering::Relaxed)
    }

    /// Up to where the ring is claimed, if all of that is published: if at one moment no producer is
    /// between its claim and its publication.
    pub(super) fn settled(&self) -> Option<u64> {
        // Acquire pairs with the Release in `place`: of each push that is counted here, the reader
        // sees the frames, and the tail at least as far as that push has moved it.
        let published = self.memory.published().load(Ordering::Acquire);
        // So the tail counts at least the same claims, and is no larger only if it counts no others.
        (self.reserved() == published).then_some(published)
    }

    fn check_length(&self, record: Record<'_>) -> Result<(), PushError> {
        // With the pad before it, it must fit.
        let fits = record_size(record) <= self.capacity() / 2;
        if fits && record.bytes.len() <= MAX_PAYLOAD { Ok(()) } else { Err(PushError::TooLong) }
    }

    fn place(&self, record: Record<'_>, crc: u32, most: u64) -> Result<(), PushError> {
        let payload = record.bytes;
        let (start, claimed) = self.claim(record_size(record), most).ok_or(PushError::Full)?;
        let position = if record.cut { claimed + MARK_BYTES } else { claimed };
        // SAFETY: the claim gave these bytes to this call alone until it publishes them.
        unsafe { self.memory.write(position + 8, payload) }
        if record.cut {
            // First: a record that is there without its mark would count as whole.
            self.publish(claimed, FrameKind::Pad, 0, 0);
        }
        self.publish(position, FrameKind::Record, payload.len(), crc);
        let end = claimed + record_size(record);
        // Release pairs with the Acquire load in `Ring::settled`, also through the additions of others:
        // who sees this push counted sees its frames.
        self.memory.published().fetch_add(end - start, Ordering::Release);
        Ok(())
    }

    /// Takes `size` bytes that do not wrap, publishing a pad before them where they would: where all
    /// of it starts, and where those bytes do. `None` when the ring would be fuller than `most`.
    fn claim(&self, size: u64, most: u64) -> Option<(u64, u64)> {
        let capacity = self.memory.capacity() as u64;
        let most = most.min(capacity);
        // Relaxed: a position, not a message. A stale one only makes the exchange below fail.
        let mut tail = self.memory.tail().load(Ordering::Relaxed);
        loop {
            // The capacity is a power of two, and a division would be a third of a push.
            let room = capacity - (tail & (capacity - 1));
            let pad = if size > room { room } else { 0 };
            let end = tail.wrapping_add(pad + size);
            // Acquire pairs with the Release store in `Reader::release`: the bytes up to there
            // are zeroed, and the reader does not look at them again.
            let released = self.memory.released().load(Ordering::Acquire);
            // A stale `tail` may lie below `released`; then the exchange fails.
            if end.saturating_sub(released) > most {
                return None;
            }
            // Relaxed both ways: the exchange hands out disjoint ranges, which its atomicity
            // does; the bytes were received by the Acquire above, and are sent by `publish`.
            match self.memory.tail().compare_exchange_weak(
                tail,
                end,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    if pad > 0 {
                        self.publish(tail, FrameKind::Pad, pad.saturating_sub(8) as usize, 0);
                    }
                    return Some((tail, end.wrapping_sub(size)));
                }
                Err(now) => tail = now,
            }
        }
    }

    fn publish(&self, position: u64, kind: FrameKind, len: usize, crc: u32) {
        let header = self.key.seal(position, kind, len, crc);
        // Release pairs with the Acquire load in `frame::read`: the payload is there first, for
        // the reader and, since a killed thread stops between two instructions, for recovery.
        self.memory.header(position).store(header, Ordering::Release);
    }

    /// Before the reader, which has `released` up to here, releases more: for
    /// [`Usage::high_water`].
    pub(super) fn note(&self, released: u64) {
        use std::sync::atomic::Ordering::Relaxed;
        let used = self.reserved().saturating_sub(released);
        // Relaxed: a number for people. It is not written without need, as pushes read what lies
        // beside it.
        if used > self.high_water.load(Relaxed) {
            self.high_water.store(used, Relaxed);
        }
    }
}

/// Bytes that a record takes, with the mark before one that was cut.
fn record_size(record: Record<'_>) -> u64 {
    record_bytes(record.bytes.len()) + if record.cut { MARK_BYTES } else { 0 }
}

impl std::fmt::Debug for Ring {
    /// Without the key, which no client may learn.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("usage", &self.usage()).finish_non_exhaustive()
    }
}
