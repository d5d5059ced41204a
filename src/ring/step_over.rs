//! Steps over damage while producers are at work.
//!
//! The reader meets a frame that was published and does not hold: other code in the process has
//! written where it should not. What lies behind it can be read, but a producer may be copying there,
//! and its bytes must be neither read nor released. So
//!
//! - where no push is under way ([`Ring::settled`]), everything up to the tail is published: the next
//!   frame that holds is looked for, as recovery looks for it, and where there is none, reading goes on
//!   at that tail. This finds the end of zeros, too, which look like a claim that is not published;
//! - a frame whose header holds and whose payload does not is as long as its header says, whoever
//!   pushes meanwhile;
//! - where the header does not hold, the next frame that does is looked for up to a word of zero: a
//!   claim that is not published begins with one. Where there is none, the reader stays, and looks
//!   again later.
//!
//! Lines of text have no eight bytes of zero, so that the reader seldom has to wait. It never waits for
//! good: while it does, nothing is released, the ring fills, and then no push gets a claim.
//!
//! [`Ring::settled`]: super::Ring::settled
#![allow(unsafe_code)]

use super::frame::{self, Found};
use super::header::{FrameKind, Key};
use super::layout::record_bytes;
use super::sync::{Memory, Ordering};

/// Where reading goes on behind the damaged frame at `position`; `None` while that cannot be told.
/// `tail` was read after the frame was. Up to `settled`, which is behind `position`, everything is
/// published, if that is known; only then may the frame's header be zero.
pub(super) fn step_over(
    memory: &Memory,
    key: Key,
    position: u64,
    tail: u64,
    settled: Option<u64>,
) -> Option<u64> {
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
    let published = settled.unwrap_or_else(|| up_to_a_zero(memory, position + 8, tail));
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
    // Nothing holds up to the tail, then or now, where the next claim begins.
    (settled.is_some() || published >= tail).then_some(published)
}

/// The first word of zero from `position` on; `tail` where there is none before it.
fn up_to_a_zero(memory: &Memory, position: u64, tail: u64) -> u64 {
    let mut at = position;
    // Acquire pairs with the Release store in `Ring::publish`.
    while at < tail && memory.header(at).load(Ordering::Acquire) != 0 {
        at += 8;
    }
    at
}
