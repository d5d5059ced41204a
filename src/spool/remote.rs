//! What a store knows besides blocks where another process owns the spool: see `shipper.rs`.

use std::collections::BTreeMap;
use std::io;

use super::files::names::Name;
use super::{Files, Hold, SpoolError};

/// What the store of a shipper knows besides blocks.
#[derive(Default)]
pub(super) struct Remote {
    /// Blocks that are done with and still there, with the look before which that was noted.
    pub(super) noted: BTreeMap<u64, u64>,
    /// Blocks that are being uploaded.
    holds: BTreeMap<u64, Hold>,
    /// Blocks whose descriptions cannot be read, with the look at which that is tried again.
    pub(super) unreadable: BTreeMap<u64, u64>,
    /// Looks so far.
    pub(super) looks: u64,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("noted", &self.noted).finish_non_exhaustive()
    }
}

impl Remote {
    /// Lets go of a block.
    pub(super) fn release(&mut self, number: u64) {
        self.holds.remove(&number);
    }

    /// Holds a block that is still there. Whether it is.
    pub(super) fn hold(&mut self, files: &dyn Files, number: u64, data: Name) -> bool {
        match files.try_hold(&data.to_string()) {
            // Its owner has it, and is about to drop it.
            Ok(None) => false,
            Ok(Some(hold)) => {
                // Dropped just before.
                let sidecar = files.length(&Name::Sidecar(number).to_string());
                let there = !matches!(sidecar, Ok(None));
                if there {
                    self.holds.insert(number, hold);
                }
                there
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // Whoever opens it says why it cannot be read.
            Err(_) => true,
        }
    }

    /// Sees to it that a block is held before it is sent: what kept it from that may be over by now.
    pub(super) fn keep(
        &mut self,
        files: &dyn Files,
        number: u64,
        data: Name,
    ) -> Result<(), SpoolError> {
        if self.holds.contains_key(&number) {
            return Ok(());
        }
        let hold = files.try_hold(&data.to_string()).map_err(SpoolError::io("read", data))?;
        self.holds.insert(number, hold.ok_or(SpoolError::NoBlock(number))?);
        Ok(())
    }
}
