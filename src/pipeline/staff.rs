//! The uploaders' threads: as many as `upload_threads` says, after a reload as well, and still at
//! work after a panic.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_utils::sync::Parker;

use super::{Pipeline, uploader};
use crate::error::Level;
use crate::stats::add;
use crate::thread;

/// How long a block that made an uploader panic is left alone.
const AGAIN: Duration = Duration::from_secs(1);

/// The threads, and what made one of them panic.
#[derive(Debug, Default)]
pub(super) struct Staff {
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Blocks that made an uploader panic once.
    panicked: Mutex<HashMap<u64, ()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the threads that the settings in force ask for and that are not there yet. Those that are
/// too many rest, see [`Pipeline::rests`].
pub(super) fn hire(pipeline: &Arc<Pipeline>) -> io::Result<()> {
    let wanted = pipeline.target().map_or(0, |target| target.settings.upload_threads);
    let mut threads = lock(&pipeline.staff.threads);
    while threads.len() < wanted {
        let (index, woken) = (threads.len(), Parker::new());
        let waker = woken.unparker().clone();
        let own = Arc::clone(pipeline);
        threads.push(thread::spawn("s3log-put", move || {
            while !own.is_closed() {
                let work = AssertUnwindSafe(|| uploader::run(&own, index, &woken));
                if catch_unwind(work).is_err() {
                    own.tell(Level::Error, "an uploader panicked between two blocks and goes on");
                    woken.park_timeout(AGAIN);
                }
            }
        })?);
        lock(&pipeline.wakers).push(waker);
    }
    Ok(())
}

/// Waits for the threads of a closed pipeline.
pub(super) fn dismiss(pipeline: &Pipeline) {
    let threads = std::mem::take(&mut *lock(&pipeline.staff.threads));
    for thread in threads {
        let _ = thread.join();
    }
}

/// An uploader has panicked with this block in hand: how long it is left alone, or `None` when it
/// is in quarantine, the second time.
pub(super) fn panicked(pipeline: &Pipeline, number: u64) -> Option<Duration> {
    let first = lock(&pipeline.staff.panicked).insert(number, ()).is_none();
    if first {
        let text = format!("block {number}: the uploader panicked; the block is tried once more");
        pipeline.tell(Level::Error, &text);
        return Some(AGAIN);
    }
    let reason = "the module panicked twice while it uploaded this block";
    match pipeline.store.quarantine(number, reason) {
        Ok(()) => {
            lock(&pipeline.staff.panicked).remove(&number);
            add(&pipeline.stats.blocks_quarantined, 1);
            let text = format!("block {number}: {reason}: set aside in the spool's quarantine");
            pipeline.tell(Level::Error, &text);
            None
        }
        Err(_) => Some(AGAIN),
    }
}
