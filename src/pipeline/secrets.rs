//! The packer's part in keys: what was logged under them is sealed to them, whenever they come or go.
//!
//! What a start without keys does is in `take_up.rs`, and how a block waits for one in the spool.

use std::time::Duration;

use super::packer::Packer;
use super::{Pipeline, Target};
use crate::spool::{Spool, SpoolError};

impl Packer {
    /// Keys that came hold for what waits; when they go, what was logged until now is sealed to
    /// them. `used` are the ring's bytes, `full` is a chunk's length.
    pub(super) fn keep_secrets(
        &mut self,
        pipeline: &Pipeline,
        target: &Target,
        (used, full): (u64, usize),
        now: Duration,
    ) -> Result<(), SpoolError> {
        match (&self.sealing, &target.settings.sealing) {
            (None, Some(_)) => {
                // What the ring has is secret from now on, and a kill must not forget that.
                self.give_back();
                self.ledger.settle()?;
                self.set_sealing(target);
                self.ledger.note();
            }
            (Some(_), None) => {
                // No secret may stay in the ring, whichever window it is of.
                self.reading.until = u64::MAX;
                let mut left = used;
                while left > 0 {
                    if self.member.is_empty() {
                        self.fill(pipeline, full, now);
                    }
                    if self.chunk.records == 0 {
                        break;
                    }
                    let raw = self.chunk.raw_bytes;
                    self.store_chunk(pipeline, target)?;
                    if self.ledger.spool().open_len() > 0 {
                        left = left.saturating_sub(raw);
                    }
                }
                self.seal(pipeline, target)?;
                self.ledger.settle()?;
                self.set_sealing(target);
                self.ledger.end_secrecy();
            }
            _ => {}
        }
        while self.ledger.spool().can_release() {
            self.seal(pipeline, target)?;
            if !self.seal_by(pipeline, target, Spool::release)? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn set_sealing(&mut self, target: &Target) {
        let wanted = &target.settings.sealing;
        if self.sealing != *wanted {
            self.ledger.configure(|options| options.sealing.clone_from(wanted));
            self.sealing.clone_from(wanted);
        }
    }

    /// The key in force signs whatever is sealed from now on.
    pub(super) fn set_signer(&mut self, target: &Target) {
        let wanted = &target.settings.signer;
        if self.signer != *wanted {
            self.ledger.configure(|options| options.signer.clone_from(wanted));
            self.signer.clone_from(wanted);
        }
    }
}
