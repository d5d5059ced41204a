//! The packer's part in keys: what was logged under them is sealed to them, whenever they come or go.
//!
//! What a start without keys does is in `take_up/secrets.rs`, and how a block waits for one in the
//! spool.

use std::time::Duration;

use super::Packer;
use crate::spool::{Spool, SpoolError};

impl Packer {
    /// Keys that came hold for what waits; when they go, what was logged until now is sealed to
    /// them. `used` are the ring's bytes, `full` is a chunk's length.
    pub(super) fn keep_secrets(
        &mut self,
        used: u64,
        full: usize,
        now: Duration,
    ) -> Result<(), SpoolError> {
        match (&self.sealing, &self.target.settings.sealing) {
            (None, Some(_)) => {
                // What the ring has is secret from now on, and a kill must not forget that.
                self.packing.give_back(&mut self.ledger);
                self.ledger.settle()?;
                self.set_sealing();
                self.ledger.note();
            }
            (Some(_), None) => {
                // No secret may stay in the ring, whichever window it is of.
                self.reading.until = u64::MAX;
                let mut left = used;
                while left > 0 {
                    self.fill(full, now);
                    if self.packing.records() == 0 {
                        break;
                    }
                    let raw = self.packing.raw_bytes() as u64;
                    self.store_chunk()?;
                    if self.ledger.spool().open_len() > 0 {
                        left = left.saturating_sub(raw);
                    }
                }
                self.seal()?;
                self.ledger.settle()?;
                self.set_sealing();
                self.ledger.end_secrecy();
            }
            _ => {}
        }
        while self.ledger.spool().can_release() {
            self.seal()?;
            if !self.seal_by(Spool::release)? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn set_sealing(&mut self) {
        let wanted = &self.target.settings.sealing;
        if self.sealing != *wanted {
            self.ledger.configure(|options| options.sealing.clone_from(wanted));
            self.sealing.clone_from(wanted);
        }
    }

    /// The key in force signs whatever is sealed from now on.
    pub(super) fn set_signer(&mut self) {
        let wanted = &self.target.settings.signer;
        if self.signer != *wanted {
            self.ledger.configure(|options| options.signer.clone_from(wanted));
            self.signer.clone_from(wanted);
        }
    }
}
