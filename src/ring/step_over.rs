//! Steps over damage while producers are at work.
//!
//! The reader meets a frame that was published and does not hold: other code in the process has
//! written where it should not. What lies behind it can be read, but a producer may be copying there,
//! and its bytes must be neither read nor released. A claim that is not published begins with a word
//! of zero; so
//!
//! - a frame whose header holds and whose payload does not is as long as its header says;
//! - where the header does not hold, the next frame that does is looked for, as recovery looks for
//!   it, but never past a word of zero: up to there everything is published. Where there is none, the
//!   reader stays, and looks again later.
//!
//! Lines of text have no eight bytes of zero. Damage that has stays until the next start, whose
//! recovery has the ring for itself.
#![allow(unsafe_code)]

use super::frame::{self, Found};
use super::header::{FrameKind, Key};
use super::layout::record_bytes;
use super::sync::{Memory, Ordering};

/// Where reading goes on behind the damaged frame at `position`; `None` while that cannot be told.
/// `tail` was read after the frame was.
pub(super) fn step_over(memory: &Memory, key: Key, position: u64, tail: u64) -> Option<u64> {
    let capacity = memory.capacity() as u64;
    // Acquire pairs with the Release store in `Ring::publish`, as below.
    let word = memory.header(position).load(Ordering::Acquire);
    if let Some(header) = key.open(position, word) {
        let size = record_bytes(header.len);
        let room = capacity - (position & (capacity - 1));
        if header.kind == FrameKind::Record && size <= room && position + size <= tail {
            return Some(position + size);
        }
    }
    // Up to here each word belongs to a frame that is published.
    let mut published = position + 8;
    while published < tail && memory.header(published).load(Ordering::Acquire) != 0 {
        published += 8;
    }
    let mut at = position + 8;
    while at < published {
        let word = memory.header(at).load(Ordering::Acquire);
        let pads = key.open(at, word).is_some_and(|header| header.kind != FrameKind::Record);
        // A pad is zero behind its header, and nothing of it is read.
        let limit = if pads { tail } else { published };
        // SAFETY: a payload up to `limit` is published, so that its producer is done with it, and
        // producers get it again only from the caller.
        if let Found::Frame(_) = unsafe { frame::read(memory, key, at, limit) } {
            return Some(at);
        }
        at += 8;
    }
    // Nothing holds up to the tail, where the next claim begins.
    (published >= tail).then_some(tail)
}
