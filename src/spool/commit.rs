//! What the ring's commit record holds of the spool: the state of the open block.
//!
//! The ring moves its head and stores these bytes in one atomic step, so that a record is either
//! still in the ring or in the open block's committed length, at any instant.
//!
//! All integers little-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, 2; version 1 is the same without bit 1 of the flags |
//! | 1 | 1 | flags: bit 0, there is a block before this one; bit 1, the block is to be encrypted |
//! | 2 | 1 | codec: 0 none, 1 gzip, 2 zstd, 3 snappy |
//! | 3 | 1 | 0 |
//! | 4 | 4 | CRC-32C of bytes 0 to 3 and 8 to 199 |
//! | 8 | 8 | number of the open block |
//! | 16 | 8 | its committed length, bytes |
//! | 24 | 8 | records in it |
//! | 32 | 8 | their raw bytes |
//! | 40 | 8 | records in it that were cut |
//! | 48 | 8 | time of its first record, ns since 1970; 0 while it is empty |
//! | 56 | 8 | time of its last record, the same |
//! | 64 | 6 | boot in which it was begun |
//! | 70 | 2 | 0 |
//! | 72 | 8 | sequence of the newest dropped or lost block that the next four count |
//! | 80 | 8 | records dropped since the last seal: the ring was full |
//! | 88 | 8 | the same: the spool was full |
//! | 96 | 8 | the same: rendering failed |
//! | 104 | 8 | the same: lost by damage |
//! | 112 | 16 | start of the kernel in which this was written, zeroes when it is not known |
//! | 128 | 8 | a time in the window of the clock that the records behind the head belong to, ns since 1970; 0 where blocks are not aligned, and in older releases |
//! | 136 | 32 | SHA-256 of the committed length |
//! | 168 | 32 | SHA-256 of the block before, zeroes if there is none |

use super::Options;
use crate::block::{BootId, Digest, Drops, Hasher, Kind};

/// Version that this code writes and the newest that it reads. An older release that read the newer
/// one would upload unencrypted what must be encrypted.
pub(super) const VERSION: u8 = 2;

/// Flag: there is a block before this one.
const CHAINED: u8 = 1;

/// Flag: the block is to be encrypted.
const SECRET: u8 = 2;

const LENGTH: usize = 200;

/// Bytes for the ring's commit record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Payload([u8; LENGTH]);

impl Payload {
    /// Length of every payload, bytes; the ring allows 232.
    pub const LENGTH: usize = LENGTH;

    /// The bytes to commit.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&OpenBlock::decode(&self.0), f)
    }
}

/// What a payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenBlock {
    pub(super) number: u64,
    pub(super) length: u64,
    pub(super) records: u64,
    pub(super) raw_bytes: u64,
    pub(super) cut: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) boot: BootId,
    pub(super) kernel: [u8; 16],
    /// See [`Spool::note_reading`](super::Spool::note_reading).
    pub(super) reading: u64,
    pub(super) codec: Kind,
    pub(super) sequence: u64,
    pub(super) drops: Drops,
    pub(super) content: Digest,
    pub(super) previous: Option<Digest>,
    /// Sealing it without encrypting it would show what was logged to be encrypted.
    pub(super) secret: bool,
}

/// Why bytes are not a [`OpenBlock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadPayload {
    /// Of another release.
    Version(u8),
    /// Damaged, or not of this module.
    Damaged,
}

impl OpenBlock {
    /// A block with nothing in it.
    pub(super) fn empty(options: &Options) -> Self {
        Self {
            number: 1,
            length: 0,
            records: 0,
            raw_bytes: 0,
            cut: 0,
            first: 0,
            last: 0,
            boot: options.boot,
            kernel: options.kernel,
            reading: 0,
            codec: options.codec,
            sequence: 0,
            drops: Drops::default(),
            content: Hasher::default().digest(),
            previous: None,
            secret: options.sealing.is_some(),
        }
    }

    /// Whether both have the same members.
    pub(super) fn has_content_of(&self, other: &Self) -> bool {
        (self.length, self.content) == (other.length, other.content)
    }

    /// The same block without members, which are elsewhere or gone.
    pub(super) fn begun_anew(self, options: &Options) -> Self {
        Self {
            number: self.number,
            sequence: self.sequence,
            drops: self.drops,
            previous: self.previous,
            reading: self.reading,
            secret: self.secret,
            ..Self::empty(options)
        }
    }

    pub(super) fn encode(&self) -> Payload {
        let mut out = Writer { bytes: [0; LENGTH], at: 0 };
        let codec = match self.codec {
            Kind::None => 0,
            Kind::Gzip => 1,
            Kind::Zstd => 2,
            Kind::Snappy => 3,
        };
        let chained = if self.previous.is_some() { CHAINED } else { 0 };
        let secret = if self.secret { SECRET } else { 0 };
        out.put(&[VERSION, chained | secret, codec, 0]);
        out.put(&[0; 4]);
        let numbers = [
            self.number,
            self.length,
            self.records,
            self.raw_bytes,
            self.cut,
            self.first,
            self.last,
        ];
        numbers.iter().for_each(|number| out.put(&number.to_le_bytes()));
        out.put(&self.boot.0);
        out.put(&[0; 2]);
        let Drops { ring, spool, panic, lost } = self.drops;
        let numbers = [self.sequence, ring, spool, panic, lost];
        numbers.iter().for_each(|number| out.put(&number.to_le_bytes()));
        out.put(&self.kernel);
        out.put(&self.reading.to_le_bytes());
        out.put(&self.content.0);
        out.put(&self.previous.map_or([0; 32], |digest| digest.0));
        let check = check(&out.bytes);
        out.at = 4;
        out.put(&check.to_le_bytes());
        Payload(out.bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadPayload> {
        let mut read = Reader { rest: bytes };
        let [version, flags, codec, _] = read.take().ok_or(BadPayload::Damaged)?;
        if version > VERSION {
            return Err(BadPayload::Version(version));
        }
        let damaged = || BadPayload::Damaged;
        // A ring may give back all of its room, zeroes behind what was put into it.
        let (whole, rest) = bytes.split_first_chunk::<LENGTH>().ok_or_else(damaged)?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(BadPayload::Damaged);
        }
        if u32::from_le_bytes(read.take().ok_or_else(damaged)?) != check(whole) {
            return Err(BadPayload::Damaged);
        }
        let codec = match codec {
            0 => Kind::None,
            1 => Kind::Gzip,
            2 => Kind::Zstd,
            3 => Kind::Snappy,
            _ => return Err(BadPayload::Damaged),
        };
        let mut fields = || {
            let number = read.u64()?;
            let length = read.u64()?;
            let records = read.u64()?;
            let raw_bytes = read.u64()?;
            let cut = read.u64()?;
            let (first, last) = (read.u64()?, read.u64()?);
            let boot = BootId(read.take()?);
            read.take::<2>()?;
            let sequence = read.u64()?;
            let (ring, spool) = (read.u64()?, read.u64()?);
            let (panic, lost) = (read.u64()?, read.u64()?);
            let drops = Drops { ring, spool, panic, lost };
            let kernel = read.take()?;
            let reading = read.u64()?;
            let content = Digest(read.take()?);
            let before = Digest(read.take()?);
            let previous = (flags & CHAINED != 0).then_some(before);
            let secret = version > 1 && flags & SECRET != 0;
            Some(Self {
                number,
                length,
                records,
                raw_bytes,
                cut,
                first,
                last,
                boot,
                kernel,
                reading,
                codec,
                sequence,
                drops,
                content,
                previous,
                secret,
            })
        };
        fields().ok_or(BadPayload::Damaged)
    }
}

fn check(bytes: &[u8; LENGTH]) -> u32 {
    let (head, rest) = bytes.split_at(4);
    crc32c::crc32c_append(crc32c::crc32c(head), rest.get(4..).unwrap_or_default())
}

struct Writer {
    bytes: [u8; LENGTH],
    at: usize,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if let Some(room) = self.bytes.get_mut(self.at..end) {
            room.copy_from_slice(bytes);
        }
        self.at = end;
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
