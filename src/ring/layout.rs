//! The file's bytes: header page, commit slots, sizes. Pure; the byte table is in [`super`].

use super::header::Key;

/// Bytes before the region.
pub(super) const HEADER_BYTES: usize = 4096;
/// The longest payload of a commit.
pub(crate) const MAX_COMMIT_PAYLOAD: usize = 232;

/// The first word, read as a number: a file of a machine with another byte order is foreign.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"S3LRING\n");
/// The format that this build writes.
pub(super) const VERSION: u32 = 2;
/// The format with both commit slots in one sector, which is made into one of [`VERSION`].
pub(super) const OLD_VERSION: u32 = 1;

/// Where commit slot 0 starts. Slot 1 starts behind the region.
pub(super) const COMMIT_AT: usize = 512;
/// Where slot 1 of [`OLD_VERSION`] starts.
pub(super) const OLD_SLOT_1_AT: usize = 768;
/// Words of one commit slot.
pub(super) const SLOT_WORDS: usize = 32;
/// Bytes of one.
pub(super) const SLOT_BYTES: usize = 8 * SLOT_WORDS;
/// Bytes behind the region: slot 1, and zeros.
pub(super) const TRAILER_BYTES: usize = 4096;

/// A region smaller than this could not hold two empty records and a pad.
const MIN_CAPACITY: u64 = 64;
const MAX_CAPACITY: u64 = 1 << 30;
/// Positions start at 0 and only grow; at 10 GB a second this is 14 years.
const MAX_POSITION: u64 = 1 << 62;

/// Bytes of the pad that says that the record behind it was cut.
pub(super) const MARK_BYTES: u64 = 8;

/// Bytes that a record takes: its header and its payload, rounded up to 8.
pub(super) fn record_bytes(len: usize) -> u64 {
    (8 + len as u64).next_multiple_of(8)
}

/// `[from, to)` in pieces that do not cross the region's end, none longer than `longest`.
///
/// `capacity` and `longest` are multiples of 8, as are both positions, so every piece is.
pub(super) fn pieces(
    from: u64,
    to: u64,
    capacity: u64,
    longest: u64,
) -> impl Iterator<Item = (u64, u64)> {
    let mut at = from;
    std::iter::from_fn(move || {
        let start = at;
        let len = to.saturating_sub(start).min(capacity - start % capacity).min(longest);
        at += len;
        (len > 0).then_some((start, len))
    })
}

/// What the first 64 bytes say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Preamble {
    /// Bytes of the region; a power of two.
    pub(super) capacity: u64,
    pub(super) key: Key,
    /// [`VERSION`] or [`OLD_VERSION`].
    pub(super) version: u32,
}

/// Why a file is not a ring that this build can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Foreign,
    Corrupt(&'static str),
    Newer { found: u32 },
}

impl Preamble {
    /// The first 40 bytes of a file.
    pub(super) fn encode(self) -> [u8; 40] {
        let mut bytes = [0; 40];
        put(&mut bytes, 0, &MAGIC.to_ne_bytes());
        put(&mut bytes, 8, &self.version.to_ne_bytes());
        put(&mut bytes, 12, &(HEADER_BYTES as u32).to_ne_bytes());
        put(&mut bytes, 16, &self.capacity.to_ne_bytes());
        put(&mut bytes, 24, &self.key.0.to_ne_bytes());
        let crc = crc32c::crc32c(bytes.get(..32).unwrap_or_default());
        put(&mut bytes, 32, &crc.to_ne_bytes());
        bytes
    }

    /// Reads the header page of a file that is `file_bytes` long.
    pub(super) fn decode(page: &[u8], file_bytes: u64) -> Result<Self, Unreadable> {
        if u64_at(page, 0) != Some(MAGIC) {
            return Err(Unreadable::Foreign);
        }
        let short = Unreadable::Corrupt("it ends inside its header");
        let version = u32_at(page, 8).ok_or(short)?;
        if version > VERSION {
            return Err(Unreadable::Newer { found: version });
        }
        let checked = page.get(..32).ok_or(short)?;
        if u32_at(page, 32) != Some(crc32c::crc32c(checked)) {
            return Err(Unreadable::Corrupt("its header fails its check"));
        }
        let capacity = u64_at(page, 16).ok_or(short)?;
        let key = Key(u64_at(page, 24).ok_or(short)?);
        let bounded = (MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity);
        let known = [VERSION, OLD_VERSION].contains(&version);
        if !known || !capacity.is_power_of_two() || !bounded {
            return Err(Unreadable::Corrupt("its header has impossible values"));
        }
        let preamble = Self { capacity, key, version };
        let old_length = HEADER_BYTES as u64 + capacity;
        // A version 1 with a trailer is one that was being made into a version 2.
        let old = version == OLD_VERSION && file_bytes == old_length;
        if !old && file_bytes != preamble.file_bytes() {
            return Err(Unreadable::Corrupt("its length is not what its header says"));
        }
        Ok(preamble)
    }

    /// Bytes of a whole file of [`VERSION`].
    pub(super) const fn file_bytes(self) -> u64 {
        (HEADER_BYTES + TRAILER_BYTES) as u64 + self.capacity
    }

    /// Where the file has its two commit slots.
    pub(super) const fn slots(self) -> [u64; 2] {
        let second = if self.version == OLD_VERSION {
            OLD_SLOT_1_AT as u64
        } else {
            HEADER_BYTES as u64 + self.capacity
        };
        [COMMIT_AT as u64, second]
    }
}

/// What one commit slot says: up to where records were consumed, and the consumer's own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    /// From 1; a commit of generation g stands in slot g % 2.
    pub(super) generation: u64,
    /// A position: a multiple of 8.
    pub(super) head: u64,
    pub(super) payload: Vec<u8>,
}

impl Commit {
    /// The words of a slot, or `None` if `payload` is longer than `MAX_COMMIT_PAYLOAD`.
    pub(super) fn encode(generation: u64, head: u64, payload: &[u8]) -> Option<[u64; SLOT_WORDS]> {
        if payload.len() > MAX_COMMIT_PAYLOAD {
            return None;
        }
        let len = payload.len() as u64;
        let crc = u64::from(Self::check(generation, head, len, payload));
        let fixed = [generation, head, len | crc << 32].into_iter();
        let chunks = payload.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            u64::from_ne_bytes(word)
        });
        let mut words = [0; SLOT_WORDS];
        words.iter_mut().zip(fixed.chain(chunks)).for_each(|(to, from)| *to = from);
        Some(words)
    }

    /// The later of the two slots, in their order, that hold.
    pub(super) fn latest(slots: [&[u8]; 2]) -> Option<Self> {
        let held = slots.into_iter().zip(0..).filter_map(|(slot, index)| Self::decode(slot, index));
        held.max_by_key(|commit| commit.generation)
    }

    fn decode(slot: &[u8], index: u64) -> Option<Self> {
        let generation = u64_at(slot, 0)?;
        let head = u64_at(slot, 8)?;
        let len = u64_at(slot, 16)? & u64::from(u32::MAX);
        let crc = u64_at(slot, 16)? >> 32;
        let payload = slot.get(24..)?.get(..usize::try_from(len).ok()?)?;
        let holds = crc == u64::from(Self::check(generation, head, len, payload))
            && generation > 0
            && generation < u64::MAX
            && generation % 2 == index
            && head.is_multiple_of(8)
            && head < MAX_POSITION;
        holds.then(|| Self { generation, head, payload: payload.to_vec() })
    }

    fn check(generation: u64, head: u64, len: u64, payload: &[u8]) -> u32 {
        let crc = crc32c::crc32c(&generation.to_ne_bytes());
        let crc = crc32c::crc32c_append(crc, &head.to_ne_bytes());
        let crc = crc32c::crc32c_append(crc, &len.to_ne_bytes());
        crc32c::crc32c_append(crc, payload)
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes.iter_mut().skip(at).zip(value).for_each(|(to, from)| *to = *from);
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}
