//! Counts what is packed. Under a duration the disk may lose a chunk before it is committed, which is read
//! and packed again then: its records count once.

use super::Packer;
use crate::pipeline::packing::Packed;
use crate::stats::{add, take_back};

impl Packer {
    /// Counts what came into the open block, or was dropped. What was read again counts already.
    pub(super) fn count(&mut self, packed: Packed) {
        let (stats, known) = (&self.pipeline.stats, &mut self.repeated);
        for (counter, more, known) in [
            (&stats.records, packed.records, &mut known.records),
            (&stats.raw_bytes, packed.raw_bytes, &mut known.raw_bytes),
            (&stats.stored_bytes, packed.stored_bytes, &mut known.stored_bytes),
        ] {
            let again = more.min(*known);
            *known -= again;
            add(counter, more - again);
        }
    }

    /// Where the disk has lost the end of the open block, the chunk in hand was read behind it: it is given
    /// back, and read again after what was lost.
    pub(super) fn read_again(&mut self) {
        if let Some(repeated) = self.ledger.take_repeated() {
            self.packing.give_back(&mut self.ledger);
            take_back(&self.pipeline.view.dropped_newest, repeated.dropped);
            self.repeated = self.repeated.and(repeated);
        }
    }
}
