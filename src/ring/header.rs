//! The eight bytes before a record: how long it is, and the proof that it belongs there.
//!
//! ```text
//! bits  0..=16  length of the payload in bytes, 0 to 65536
//! bits 17..=18  kind: 1 record, 2 pad, 3 gap; so a header is never zero
//! bits 19..=31  13 bits of hash(key, position, kind, length)
//! bits 32..=63  CRC-32C of the payload, XORed with 32 other bits of that hash
//! ```
//!
//! The key is random, made with the file, and never leaves it. So a header of an earlier lap (the
//! position differs) and bytes that a client put into a payload (the key is unknown) hold with
//! probability 2^-45. The first 13 bits also spare recovery the CRC of nearly every word that
//! only looks like a header, or a payload full of such words would make a start crawl.
//!
//! The CRC does not depend on the position: a producer computes it before it claims space, and
//! has only the copy between claim and publication.

/// The longest payload of one record.
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;

const LENGTH_BITS: u32 = 17;
const LENGTH_MASK: u32 = (1 << LENGTH_BITS) - 1;
const KIND_MASK: u32 = 0b11;
const SHAPE_BITS: u32 = LENGTH_BITS + 2;
const SHAPE_MASK: u32 = (1 << SHAPE_BITS) - 1;

/// The random number that ties headers to one file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(pub(super) u64);

/// What stands behind a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// A pushed payload.
    Record,
    /// The rest of the region, too short for the record that follows at its start.
    Pad,
    /// Bytes that recovery could not read: claimed, never published, or damaged since.
    Gap,
}

/// A header whose 13 bits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: FrameKind,
    /// Bytes, at most `MAX_PAYLOAD`.
    pub(super) len: usize,
    /// What the CRC-32C of the payload must be.
    pub(super) crc: u32,
}

impl Key {
    /// The header of a payload at a position. `len` is at most `MAX_PAYLOAD`.
    pub(super) fn seal(self, position: u64, kind: FrameKind, len: usize, crc: u32) -> u64 {
        debug_assert!(len <= MAX_PAYLOAD);
        let kind = match kind {
            FrameKind::Record => 1,
            FrameKind::Pad => 2,
            FrameKind::Gap => 3,
        };
        let shape = low(len as u64) & LENGTH_MASK | kind << LENGTH_BITS;
        let hash = self.hash(position, shape);
        let tag = shape | high(hash) & !SHAPE_MASK;
        u64::from(crc ^ low(hash)) << 32 | u64::from(tag)
    }

    /// Reads a header; `None` if it is zero, has an unknown kind, is too long, or does not
    /// belong to this position of this file.
    pub(super) fn open(self, position: u64, header: u64) -> Option<Header> {
        let tag = low(header);
        let shape = tag & SHAPE_MASK;
        let kind = match shape >> LENGTH_BITS & KIND_MASK {
            1 => FrameKind::Record,
            2 => FrameKind::Pad,
            3 => FrameKind::Gap,
            _ => return None,
        };
        let len = usize::try_from(shape & LENGTH_MASK).ok()?;
        let hash = self.hash(position, shape);
        if len > MAX_PAYLOAD || tag != shape | high(hash) & !SHAPE_MASK {
            return None;
        }
        Some(Header { kind, len, crc: high(header) ^ low(hash) })
    }

    /// The finalizer of SplitMix64 over the key and both arguments.
    fn hash(self, position: u64, shape: u32) -> u64 {
        let mut z = (self.0 ^ position).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z ^= u64::from(shape);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

#[allow(clippy::cast_possible_truncation)]
fn low(word: u64) -> u32 {
    word as u32
}

fn high(word: u64) -> u32 {
    low(word >> 32)
}
