//! What a process left behind, made into a ring that a new one can go on with.
//!
//! The walk goes from the committed head through one whole capacity, whatever the stored tail
//! says (after a power cut it may be older than the records). A frame that holds is stepped over;
//! at one that does not, the walk goes on in steps of 8 bytes to the next that does. The bytes
//! between become [`FrameKind::Gap`] frames, so that the reader need not know of them.
//!
//! Each store leaves a file for which this same walk gives the same answer: a gap's header turns
//! damaged bytes into a gap, and a gap counts as torn until it is consumed. So a kill during
//! recovery costs nothing. Bytes behind the new tail are zeroed: producers rely on it.
#![allow(unsafe_code)]

use super::frame::{self, Found};
use super::header::{FrameKind, Key, MAX_PAYLOAD};
use super::layout::{MARK_BYTES, pieces};
use super::sync::{Memory, Ordering};

/// The longest gap that one header describes.
const LONGEST_GAP: u64 = MAX_PAYLOAD as u64;
/// Zeroing looks before it writes, in such steps, to leave clean pages clean.
const STEP: u64 = 4096;

/// What the walk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Walk {
    pub(super) records: u64,
    pub(super) torn: u64,
    pub(super) skipped_bytes: u64,
}

struct Walker<'a> {
    memory: &'a Memory,
    key: Key,
    found: Walk,
    /// Where bytes that do not hold began.
    hole: Option<u64>,
    /// Whether the frame before was a gap, or damaged bytes that are counted already.
    in_gap: bool,
    /// If the frame before was a mark: where it is, and `in_gap` before it.
    mark: Option<(u64, bool)>,
}

/// Walks and mends. Nobody else may use `memory` yet; `head` is a multiple of 8.
pub(super) fn recover(memory: &Memory, key: Key, head: u64) -> Walk {
    let capacity = memory.capacity() as u64;
    let end = head + capacity;
    let found = Walk::default();
    let mut walker = Walker { memory, key, found, hole: None, in_gap: false, mark: None };
    let mut tail = head;
    let mut at = head;
    while at < end {
        // SAFETY: nobody else has this memory, and the payload is dropped before `mend` writes.
        match unsafe { frame::read(memory, key, at, end) } {
            Found::Nothing | Found::Damaged => {
                walker.hole.get_or_insert(at);
                at += 8;
            }
            Found::Frame(frame) => {
                let (kind, size, marks) = (frame.kind, frame.size, frame.marks(at, capacity));
                walker.step(at, kind, size, marks);
                at += size;
                tail = at;
            }
        }
    }
    // Relaxed here and below: no other thread has this ring yet.
    let stored = memory.tail().load(Ordering::Relaxed);
    if stored.is_multiple_of(8) && (tail..=end).contains(&stored) {
        // Claimed by producers that died before they published.
        tail = stored;
    }
    if let Some((from, in_gap)) = walker.mark.filter(|(from, _)| from + MARK_BYTES == tail) {
        // Its record is lost, and the next one that is pushed is another.
        (walker.hole, walker.in_gap) = (Some(from), in_gap);
    }
    walker.mend(tail);
    memory.tail().store(tail, Ordering::Relaxed);
    memory.published().store(tail, Ordering::Relaxed);
    memory.released().store(head, Ordering::Relaxed);
    erase(memory, tail, end);
    walker.found
}

impl Walker<'_> {
    /// A frame that holds.
    fn step(&mut self, at: u64, kind: FrameKind, size: u64, marks: bool) {
        self.mend(at);
        if kind == FrameKind::Gap {
            self.found.skipped_bytes += size;
            if !self.in_gap {
                self.found.torn += 1;
            }
        }
        if kind == FrameKind::Record {
            self.found.records += 1;
        }
        self.mark = marks.then_some((at, self.in_gap));
        self.in_gap = kind == FrameKind::Gap;
    }

    /// Closes the hole, if one is open, at `to`.
    fn mend(&mut self, to: u64) {
        let Some(from) = self.hole.take().filter(|from| *from < to) else { return };
        if !self.in_gap {
            self.found.torn += 1;
        }
        self.in_gap = true;
        self.found.skipped_bytes += to - from;
        for (at, len) in pieces(from, to, self.memory.capacity() as u64, LONGEST_GAP) {
            let header = self.key.seal(at, FrameKind::Gap, (len - 8) as usize, 0);
            // Relaxed: no other thread has this ring yet, and each header holds for itself.
            self.memory.header(at).store(header, Ordering::Relaxed);
        }
    }
}

fn erase(memory: &Memory, from: u64, to: u64) {
    for (at, len) in pieces(from, to, memory.capacity() as u64, STEP) {
        let len = len as usize;
        // SAFETY: nobody else has this memory; the slice ends with the statement.
        let dirty = unsafe { memory.bytes(at, len) }.iter().any(|byte| *byte != 0);
        if dirty {
            // SAFETY: nobody else has this memory.
            unsafe { memory.zero(at, len) }
        }
    }
}
