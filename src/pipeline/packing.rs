//! One chunk on its way: records out of the ring, compressed into a member, into the open block.
//!
//! The packer and a start pack alike; what they do with a chunk that the spool does not take, and when
//! a block is sealed, is theirs. Everything is committed by the [`Ledger`].

use std::io;

use super::ledger::Ledger;
use crate::block::{ChunkEncoder, Codec, Drops};
use crate::ring::Until;
use crate::spool::{ChunkStats, SpoolError};

/// A chunk in hand: empty, open, or encoded.
pub(super) struct Packing {
    encoder: ChunkEncoder,
    codec: Codec,
    /// Records copied out of the ring and not committed yet.
    raw: Vec<u8>,
    stats: ChunkStats,
    /// The chunk compressed; empty while it is open.
    member: Vec<u8>,
}

impl std::fmt::Debug for Packing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packing").field("stats", &self.stats).finish_non_exhaustive()
    }
}

/// When a chunk is full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Full {
    /// It has as many bytes before compression, or a few more.
    pub(super) bytes: usize,
    /// It has as many records.
    pub(super) records: u64,
    /// The ring is read up to there, in bytes since it was made.
    pub(super) until: u64,
}

impl Full {
    /// At `bytes`, however many records that are.
    #[must_use]
    pub(super) const fn at(bytes: usize) -> Self {
        Self { bytes, records: u64::MAX, until: u64::MAX }
    }
}

/// A chunk that has come into the open block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    /// Records in it.
    pub(super) records: u64,
    /// Their bytes before compression.
    pub(super) raw_bytes: u64,
    /// Bytes of the member.
    pub(super) stored_bytes: u64,
}

impl Packing {
    /// With nothing in hand.
    ///
    /// # Errors
    /// Compression cannot be set up.
    pub(super) fn new(codec: Codec) -> io::Result<Self> {
        let encoder = ChunkEncoder::new(codec)?;
        let (raw, stats, member) = (Vec::new(), ChunkStats::default(), Vec::new());
        Ok(Self { encoder, codec, raw, stats, member })
    }

    /// Records in hand.
    #[must_use]
    pub(super) const fn records(&self) -> u64 {
        self.stats.records
    }

    /// Their bytes.
    #[must_use]
    pub(super) const fn raw_bytes(&self) -> usize {
        self.raw.len()
    }

    /// Time of the first of them, ns since 1970.
    pub(super) const fn first(&self) -> u64 {
        self.stats.first
    }

    /// How it compresses.
    pub(super) const fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether the chunk takes no more: a try to store it has failed.
    #[must_use]
    pub(super) const fn is_encoded(&self) -> bool {
        !self.member.is_empty()
    }

    /// Copies records out of the ring until the chunk is full or the ring empty; `unix` is their time,
    /// ns since 1970. An encoded chunk stays as it is.
    pub(super) fn fill(&mut self, ledger: &mut Ledger, full: Full, unix: u64) {
        if self.is_encoded() {
            return;
        }
        let records = full.records.saturating_sub(self.stats.records);
        let until = Until { bytes: full.bytes, records, position: full.until };
        let taken = ledger.read_into(&mut self.raw, until);
        self.stats.records += taken.records;
        self.stats.cut += taken.cut;
        if self.stats.records > 0 {
            self.stats.raw_bytes = self.raw.len() as u64;
            self.stats.last = unix;
            if self.stats.first == 0 {
                self.stats.first = unix;
            }
        }
    }

    /// What is in hand.
    #[cfg(test)]
    #[cfg(not(s3log_loom))]
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Compresses what is in hand; the member's length.
    ///
    /// # Errors
    /// The compression's.
    pub(super) fn encode(&mut self) -> Result<u64, SpoolError> {
        if self.member.is_empty() {
            self.encoder
                .encode(&self.raw, &mut self.member)
                .map_err(SpoolError::io("compress", "a chunk"))?;
        }
        Ok(self.member.len() as u64)
    }

    /// Appends what is in hand to the open block.
    ///
    /// # Errors
    /// As those of [`Ledger::append`]; the chunk stays in hand.
    pub(super) fn store(&mut self, ledger: &mut Ledger) -> Result<Packed, SpoolError> {
        let stored_bytes = self.encode()?;
        ledger.append(&self.member, self.stats)?;
        let ChunkStats { records, raw_bytes, .. } = self.stats;
        self.clear();
        Ok(Packed { records, raw_bytes, stored_bytes })
    }

    /// Packs at most `left` records of the ring into the open block, and counts `left` down by them; a
    /// chunk has some `bytes`.
    ///
    /// # Errors
    /// As those of [`Packing::store`]; nothing is in hand then.
    pub(super) fn pack(
        &mut self,
        ledger: &mut Ledger,
        bytes: usize,
        unix: u64,
        left: &mut u64,
    ) -> Result<(), SpoolError> {
        while *left > 0 {
            self.fill(ledger, Full { records: *left, ..Full::at(bytes) }, unix);
            if self.records() == 0 {
                break;
            }
            match self.store(ledger) {
                Ok(packed) => *left = left.saturating_sub(packed.records),
                Err(error) => {
                    self.give_back(ledger);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// A commit moves the ring's head to where it was read to; records that are in no block yet are
    /// read again after it.
    pub(super) fn give_back(&mut self, ledger: &mut Ledger) {
        if self.stats.records > 0 {
            ledger.rewind();
            self.clear();
        }
    }

    /// Counts what is in hand as dropped by the spool; how many records that are.
    pub(super) fn drop_all(&mut self, ledger: &mut Ledger) -> u64 {
        let records = self.stats.records;
        ledger.drop_read(&Drops { spool: records, ..Drops::default() });
        self.clear();
        records
    }

    /// Compresses otherwise from now on, what is in hand included.
    ///
    /// # Errors
    /// Compression cannot be set up.
    pub(super) fn recode(&mut self, codec: Codec) -> Result<(), SpoolError> {
        if self.codec != codec {
            self.encoder = ChunkEncoder::new(codec)
                .map_err(SpoolError::io("compress", format!("as {codec}")))?;
            self.codec = codec;
            // A member that a full disk has not taken yet is of the codec before.
            self.member.clear();
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.raw.clear();
        self.member.clear();
        self.stats = ChunkStats::default();
    }
}
