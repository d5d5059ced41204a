//! What packer and uploaders leave for whoever publishes, see `publish.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::spool::Counts;
use crate::stats::Stats;

/// Is shown the counters several times a second, by a thread that never touches the disk.
pub trait Observer: Send {
    /// Looks at the counters now.
    fn observe(&mut self, stats: &Stats);
}

/// What packer and uploaders leave for whoever publishes. Times are monotonic milliseconds.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) open_records: AtomicU64,
    pub(super) open_bytes: AtomicU64,
    /// When the open block's first record was, ns since 1970; 0 for none.
    pub(super) open_first: AtomicU64,
    /// When the packer read it.
    pub(super) open_since: AtomicU64,
    /// Records dropped because the spool was full and might not make room.
    pub(super) dropped_newest: AtomicU64,
    /// The packer's last round.
    pub(super) round: AtomicU64,
    /// The last successful upload; at first the start.
    pub(super) uploaded: AtomicU64,
}

/// Who shows the counters, and what is remembered for it.
pub(super) struct Shown(Mutex<Memory>);

pub(super) struct Memory {
    pub(super) observer: Box<dyn Observer>,
    pub(super) counts: Counts,
    /// When blocks were begun, in monotonic time, by the wall clock's time of their first record.
    pub(super) begun: BTreeMap<u64, Duration>,
}

impl Shown {
    pub(super) fn new(observer: Box<dyn Observer>) -> Self {
        Self(Mutex::new(Memory { observer, counts: Counts::default(), begun: BTreeMap::new() }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Monotonic time as [`View`] has it.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
