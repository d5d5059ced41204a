//! Reads what stands at a position; the reader and recovery share it.
#![allow(unsafe_code)]

use super::check;
use super::header::{FrameKind, Key};
use super::layout::{MARK_BYTES, record_bytes};
use super::sync::{Memory, Ordering};

/// What stands at a position.
pub(super) enum Found<'a> {
    /// A zero header: not published yet, or never claimed.
    Nothing,
    /// A header that does not hold, reaches too far, or whose payload fails its check.
    Damaged,
    /// A whole record, pad or gap.
    Frame(Frame<'a>),
}

pub(super) struct Frame<'a> {
    pub(super) kind: FrameKind,
    /// The record's bytes; empty for pads and gaps.
    pub(super) payload: &'a [u8],
    /// Bytes up to the next header.
    pub(super) size: u64,
}

impl Frame<'_> {
    /// Whether it says, at this position of a ring of this capacity, that the record behind it was cut.
    pub(super) fn marks(&self, position: u64, capacity: u64) -> bool {
        let end = position + self.size;
        self.kind == FrameKind::Pad && self.size == MARK_BYTES && !end.is_multiple_of(capacity)
    }
}

/// Reads the frame at `position`, which is a multiple of 8 and may reach up to `limit`.
///
/// # Safety
///
/// Until the returned payload is dropped, nobody writes to a frame whose header holds.
#[inline]
pub(super) unsafe fn read(memory: &Memory, key: Key, position: u64, limit: u64) -> Found<'_> {
    // Acquire pairs with the Release store in `Ring::publish`: a header that is seen brings the
    // payload with it.
    let word = memory.header(position).load(Ordering::Acquire);
    if word == 0 {
        return Found::Nothing;
    }
    let Some(header) = key.open(position, word) else { return Found::Damaged };
    let size = record_bytes(header.len);
    let capacity = memory.capacity() as u64;
    if size > capacity - (position & (capacity - 1)) || size > limit.saturating_sub(position) {
        return Found::Damaged;
    }
    if header.kind != FrameKind::Record {
        let whole = header.crc == 0 && header.len.is_multiple_of(8);
        let frame = Frame { kind: header.kind, payload: &[], size };
        return if whole { Found::Frame(frame) } else { Found::Damaged };
    }
    // SAFETY: the header holds, so by the caller's promise nobody writes here.
    let payload = unsafe { memory.bytes(position + 8, header.len) };
    if check::crc32c(payload) != header.crc {
        return Found::Damaged;
    }
    Found::Frame(Frame { kind: FrameKind::Record, payload, size })
}
