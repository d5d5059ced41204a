//! The one consumer: read on, commit, release.
#![allow(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering as PlainOrdering, compiler_fence};

use super::frame::{self, Found};
use super::header::FrameKind;
use super::layout::{Commit, MAX_COMMIT_PAYLOAD, pieces};
use super::producer::Ring;
use super::record::Record;
use super::step_over::step_over;
use super::sync::Ordering;

/// A commit's payload is longer than 232 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a commit takes 232 bytes of payload, not {0}")]
pub struct CommitTooLong(pub usize);

/// Why a synced commit failed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Nothing was changed.
    #[error(transparent)]
    TooLong(#[from] CommitTooLong),
    /// The commit holds for this process and its successors, but may not survive a power cut;
    /// the space is not released. The next commit, even of the same bytes, tries both again.
    #[error("the ring's commit could not be written through to the disk: {0}")]
    Io(#[from] io::Error),
}

/// The consuming side; there is one a ring.
///
/// Positions count bytes since the ring was made and never go back:
/// `released <= head <= accepted <= cursor <= released + capacity`, each a multiple of 8.
pub struct Reader {
    ring: Arc<Ring>,
    /// Producers may claim up to this plus one capacity. Less than `head` only after a synced
    /// commit that failed.
    released: u64,
    /// Committed up to here: records before it are never seen again.
    head: u64,
    /// The consumer has these records in its own file; a commit may follow.
    accepted: u64,
    /// The next record to look at.
    cursor: u64,
    /// Of the last commit; it stands in slot `generation % 2`.
    generation: u64,
    written: Written,
    damaged: bool,
    torn: Torn,
    /// The end of the last damage that was counted.
    torn_to: u64,
}

/// Damage that the reader has stepped over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Torn {
    /// Places; each held at least one record.
    pub(crate) places: u64,
    /// Bytes in those places.
    pub bytes: u64,
}

/// Where [`Reader::read_into`] ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Until {
    /// What is appended to has so many bytes, or a few more.
    pub(crate) bytes: usize,
    /// So many records were read.
    pub(crate) records: u64,
    /// The cursor is there, in bytes since the ring was made.
    pub(crate) position: u64,
}

/// What [`Reader::read_into`] has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Taken {
    /// Records.
    pub(crate) records: u64,
    /// Those of them that were shortened before they were pushed.
    pub(crate) cut: u64,
}

/// How far the last commit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// It may be on the disk or not.
    Memory,
    /// It is on the disk.
    Disk,
    /// The kernel could not write it, and takes it for written. The other slot may be the only one
    /// on the disk and has to stay, so that the next commit takes the same one.
    Failed,
}

impl Reader {
    pub(super) fn new(ring: Arc<Ring>, head: u64, generation: u64) -> Self {
        Self {
            ring,
            released: head,
            head,
            accepted: head,
            cursor: head,
            generation,
            written: Written::Memory,
            damaged: false,
            torn: Torn::default(),
            torn_to: head,
        }
    }

    /// The bytes of the next record, see `Reader::next_record`.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<&[u8]> {
        self.next_record().map(|record| record.bytes)
    }

    /// The next published record, in the order of the claims; the cursor moves behind it.
    ///
    /// `None` when there is none yet: the ring is empty, or the next producer has claimed and is
    /// still copying, or the ring is [damaged](Reader::damaged). Space is not released. Bytes that
    /// were published and do not hold are stepped over, and counted as [torn](Reader::torn).
    pub(crate) fn next_record(&mut self) -> Option<Record<'_>> {
        let capacity = self.ring.memory.capacity() as u64;
        let limit = self.released + capacity;
        // Of the mark that was read last, whose record comes next.
        let mut mark = None;
        // Up to here, behind the cursor, everything is published, if that is known.
        let mut settled: Option<u64> = None;
        loop {
            // A whole lap without a release: here starts what was read first.
            if self.cursor >= limit {
                return None;
            }
            settled = settled.filter(|to| *to > self.cursor);
            // SAFETY: a producer is done with a frame that it has published, and gets its bytes
            // again only by `release`, which needs `&mut self`.
            match unsafe { frame::read(&self.ring.memory, self.ring.key, self.cursor, limit) } {
                // Not published yet, or zeroed since.
                Found::Nothing if settled.is_none() => {
                    settled = self.settled();
                    if settled.is_none() {
                        // A mark is read with its record, or again.
                        self.cursor = mark.unwrap_or(self.cursor);
                        return None;
                    }
                    // Looked at again: it may have been published since.
                }
                Found::Nothing | Found::Damaged => {
                    settled = settled.or_else(|| self.settled());
                    let tail = self.ring.reserved().min(limit);
                    let (memory, key) = (&self.ring.memory, self.ring.key);
                    let Some(behind) = step_over(memory, key, self.cursor, tail, settled) else {
                        self.cursor = mark.unwrap_or(self.cursor);
                        self.damaged = true;
                        return None;
                    };
                    mark = None;
                    self.damaged = false;
                    // Not again after a rewind.
                    if behind > self.torn_to {
                        self.torn_to = behind;
                        self.torn.places += 1;
                        self.torn.bytes += behind - self.cursor;
                    }
                    self.cursor = behind;
                }
                Found::Frame(found) => {
                    self.damaged = false;
                    let at = self.cursor;
                    self.cursor += found.size;
                    if found.kind == FrameKind::Record {
                        return Some(Record { bytes: found.payload, cut: mark.is_some() });
                    }
                    mark = found.marks(at, capacity).then_some(at);
                }
            }
        }
    }

    /// Appends the records from here on to `out`, one behind the other, up to `until` or to where
    /// [`Reader::next_record`] has none.
    pub(crate) fn read_into(&mut self, out: &mut Vec<u8>, until: Until) -> Taken {
        let mut taken = Taken::default();
        while out.len() < until.bytes
            && taken.records < until.records
            && self.cursor < until.position
        {
            let record = match self.plain() {
                Some(bytes) => Record::from(bytes),
                None => match self.next_record() {
                    Some(record) => record,
                    None => break,
                },
            };
            out.extend_from_slice(record.bytes);
            taken.records += 1;
            taken.cut += u64::from(record.cut);
        }
        taken
    }

    /// The next record where it is the next frame and holds, as nearly always; else `None`, and the cursor
    /// stays for `next_record` to find out what is there.
    #[inline]
    fn plain(&mut self) -> Option<&[u8]> {
        let limit = self.released + self.ring.memory.capacity() as u64;
        // SAFETY: a producer is done with a frame that it has published, and gets its bytes again only by
        // `release`, which needs `&mut self`.
        match unsafe { frame::read(&self.ring.memory, self.ring.key, self.cursor, limit) } {
            Found::Frame(found) if found.kind == FrameKind::Record => {
                self.damaged = false;
                self.cursor += found.size;
                Some(found.payload)
            }
            _ => None,
        }
    }

    /// See `Ring::settled`; `None` as well where nothing is claimed behind the cursor.
    fn settled(&self) -> Option<u64> {
        let claimed = self.ring.reserved() > self.cursor;
        self.ring.settled().filter(|to| claimed && *to > self.cursor)
    }

    /// Where the next record is looked for, in bytes since the ring was made.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Bytes claimed behind the cursor, headers and padding included. More than 0 with
    /// [`Reader::next`] at `None` means that a producer is copying.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        self.ring.reserved().saturating_sub(self.cursor)
    }

    /// Whether the reader is before bytes that were published and have changed since, by a stray write
    /// in this process or somebody else's in the file, and cannot tell where they end: a producer is
    /// still copying behind them. It looks again at the next call, and steps over them at the latest
    /// when no push is under way, which is so soon after the ring is full.
    #[must_use]
    pub fn damaged(&self) -> bool {
        self.damaged
    }

    /// The damage that was stepped over so far.
    #[must_use]
    pub fn torn(&self) -> Torn {
        self.torn
    }

    /// Back to what was accepted last: the records since then will be read again.
    pub(crate) fn rewind(&mut self) {
        self.cursor = self.accepted;
    }

    /// The consumer has everything before the cursor in its own file, which need not be on the disk
    /// yet: `Reader::rewind` goes back to here, and a commit up to here may follow. Until then
    /// nothing is written, no space is released, and a kill goes back to the last commit.
    pub fn accept(&mut self) {
        self.accepted = self.cursor;
    }

    /// Back to the last commit, past what was accepted since: the consumer has lost it.
    pub(crate) fn back_to_commit(&mut self) {
        self.accepted = self.head;
        self.cursor = self.head;
    }

    /// Writes every published record through to the disk, see [`Ring::sync`].
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> io::Result<()> {
        self.ring.sync()
    }

    /// Bytes read and not accepted.
    #[must_use]
    pub(crate) fn read_bytes(&self) -> u64 {
        self.cursor - self.accepted
    }

    /// Bytes accepted and not committed.
    #[must_use]
    pub(crate) fn accepted_bytes(&self) -> u64 {
        self.accepted - self.head
    }

    /// Accepts, makes "everything before the cursor is consumed" and `payload` durable in one step,
    /// then releases the space. A kill at any instruction leaves either the commit before or this
    /// one. With a cursor that has not moved, only the payload changes.
    ///
    /// # Errors
    ///
    /// `payload` is longer than 232 bytes; nothing was changed.
    pub fn commit(&mut self, payload: &[u8]) -> Result<(), CommitTooLong> {
        if payload.len() > MAX_COMMIT_PAYLOAD {
            return Err(CommitTooLong(payload.len()));
        }
        self.accept();
        self.commit_accepted(payload)
    }

    /// The same for what was accepted before. Records that were read and not accepted stay read.
    ///
    /// # Errors
    ///
    /// `payload` is longer than 232 bytes; nothing was changed.
    pub(crate) fn commit_accepted(&mut self, payload: &[u8]) -> Result<(), CommitTooLong> {
        self.record(payload)?;
        self.release();
        Ok(())
    }

    /// Commits what was accepted, and the commit is on the disk before the records are erased: what
    /// a power cut asks for. Call it when the consumer's own file is on the disk. Records that were
    /// read and not accepted stay read.
    ///
    /// # Errors
    ///
    /// See [`SyncError`].
    pub(crate) fn commit_synced(&mut self, payload: &[u8]) -> Result<(), SyncError> {
        if payload.len() > MAX_COMMIT_PAYLOAD {
            return Err(CommitTooLong(payload.len()).into());
        }
        if self.written == Written::Memory {
            // Before the other one is written over, which may be the one that is on the disk. The
            // same word again makes the kernel write a page that it failed on before a kill.
            let word = self.ring.memory.commit_word(slot(self.generation), 0);
            word.store(self.generation, PlainOrdering::Relaxed);
            // After a failure nobody knows which of both is on the disk: neither is written over, and
            // the next call tries this one again.
            self.ring.memory.sync_slot(slot(self.generation))?;
        }
        self.record(payload)?;
        self.sync_slot()?;
        self.release();
        Ok(())
    }

    fn sync_slot(&mut self) -> io::Result<()> {
        let synced = self.ring.memory.sync_slot(slot(self.generation));
        self.written = if synced.is_ok() { Written::Disk } else { Written::Failed };
        synced
    }

    /// Up to where records are committed.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The atomic half of a commit: writes the older slot, then its generation.
    pub(super) fn record(&mut self, payload: &[u8]) -> Result<(), CommitTooLong> {
        // Relaxed, and only the compiler fenced: this thread alone touches the slots, and the
        // other party is recovery after its death, which sees a prefix of its instructions. For
        // a power cut both slots have a check over all of their bytes.
        let relaxed = PlainOrdering::Relaxed;
        let same_slot = self.written == Written::Failed;
        let generation = self.generation + if same_slot { 2 } else { 1 };
        let words = Commit::encode(generation, self.accepted, payload)
            .ok_or(CommitTooLong(payload.len()))?;
        let slot = slot(generation);
        let memory = &self.ring.memory;
        memory.commit_word(slot, 0).store(0, relaxed);
        compiler_fence(PlainOrdering::SeqCst);
        for (index, word) in words.iter().enumerate().skip(1) {
            memory.commit_word(slot, index).store(*word, relaxed);
        }
        compiler_fence(PlainOrdering::SeqCst);
        memory.commit_word(slot, 0).store(generation, relaxed);
        // Nor may the erasing in `release` move up before the commit.
        compiler_fence(PlainOrdering::SeqCst);
        self.generation = generation;
        self.written = Written::Memory;
        self.head = self.accepted;
        Ok(())
    }

    /// The other half: erases what was consumed, then hands it to the producers.
    pub(super) fn release(&mut self) {
        self.ring.note(self.released);
        let memory = &self.ring.memory;
        let capacity = memory.capacity() as u64;
        for (at, len) in pieces(self.released, self.head, capacity, capacity) {
            // SAFETY: read by nobody but this reader, whose slices ended with `&mut self`, and
            // not given to producers before the store below.
            unsafe { memory.zero(at, len as usize) }
        }
        self.released = self.head;
        // Release pairs with the Acquire load in `Ring::claim`: whoever claims these bytes finds
        // them zeroed, so that no old header can be taken for a published one.
        memory.released().store(self.head, Ordering::Release);
    }
}

/// Where a commit of that generation stands.
fn slot(generation: u64) -> usize {
    usize::from(!generation.is_multiple_of(2))
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("head", &self.head)
            .field("cursor", &self.cursor)
            .field("generation", &self.generation)
            .field("damaged", &self.damaged)
            .finish_non_exhaustive()
    }
}
