//! The uploaders' threads, and what made one of them panic.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// See `threads.rs` and `uploader.rs`, which use it.
#[derive(Debug, Default)]
pub(super) struct Staff {
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Blocks that made an uploader panic once.
    panicked: Mutex<HashSet<u64>>,
}

impl Staff {
    pub(super) fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn panicked(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.panicked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
