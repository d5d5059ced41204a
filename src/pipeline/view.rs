//! What packer and uploaders leave for whoever publishes, see `publish.rs`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::spool::Counts;
use crate::stats::{Stats, add};

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
    /// As the packer has it in force.
    pub(super) spool_max: AtomicU64,
    /// Most bytes of the spool that it has seen.
    pub(super) spool_high_water: AtomicU64,
    /// What uploaders of this process have in hand.
    pub(super) uploads: Sending,
    /// What another process that uploads has said of its own.
    pub(super) elsewhere: Sending,
}

/// Uploads under way.
#[derive(Debug, Default)]
pub(super) struct Sending {
    pub(super) blocks: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Of these bytes, those that were handed to a connection.
    pub(super) sent: AtomicU64,
}

impl Sending {
    /// A block of so many bytes is being uploaded until what is returned is dropped.
    pub(super) fn begin(&self, bytes: u64) -> Underway<'_> {
        add(&self.bytes, bytes);
        add(&self.blocks, 1);
        Underway { all: self, bytes, sent: Cell::new(0) }
    }
}

/// One block's upload, in its thread.
#[derive(Debug)]
pub(super) struct Underway<'a> {
    all: &'a Sending,
    bytes: u64,
    sent: Cell<u64>,
}

impl Underway<'_> {
    /// So many bytes more were handed to the connection.
    pub(super) fn sending(&self, bytes: u64) {
        self.sent.set(self.sent.get().saturating_add(bytes));
        add(&self.all.sent, bytes);
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        // Relaxed: each value stands for itself. What is taken away was added by this upload.
        self.all.sent.fetch_sub(self.sent.get(), Ordering::Relaxed);
        self.all.blocks.fetch_sub(1, Ordering::Relaxed);
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
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
