//! What the uploaders of a stream know together: the gate, and what was tried with each block.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::gate::Gate;
use crate::events::RateLimit;
use crate::s3::{Attempts, Backoff, Patience};

/// What the uploaders of a stream know together.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    pub(super) gate: Gate,
    /// Stays when settings change: the route is the same, and so is the gateway.
    pub(super) patience: Patience,
    /// What was tried with the blocks that wait. A block in hand is not in it.
    tried: Mutex<HashMap<u64, Tried>>,
    /// The [news](super::Pipeline::news) that the waits belong to.
    pub(super) news: Mutex<u64>,
    pub(super) limit: RateLimit,
    /// When the files of credentials were last looked at, by the machine's clock.
    pub(super) looked: Mutex<Option<Instant>>,
}

impl Uploads {
    pub(super) fn tried(&self) -> MutexGuard<'_, HashMap<u64, Tried>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was tried with one block.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) attempts: Attempts,
    /// It is done with, and the spool could not note that.
    pub(super) end: Option<End>,
}

impl Tried {
    pub(super) fn new() -> Self {
        Self { attempts: Attempts::new(Backoff::new(fastrand::Rng::new())), end: None }
    }

    /// With other settings: it need not wait for what was wrong before. What is known to be stored stays so.
    pub(super) fn renew(&mut self) {
        self.attempts = self.attempts.anew(Backoff::new(fastrand::Rng::new()));
    }
}

/// What a block came to.
#[derive(Debug)]
pub(super) enum End {
    /// It is in the bucket.
    Stored,
    /// It belongs into quarantine, and why.
    Aside(String),
}
