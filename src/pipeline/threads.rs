//! The uploaders' threads: as many as `upload_threads` says, after a reload as well, and still at
//! work after a panic.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_utils::sync::Parker;

use super::{Pipeline, uploader};
use crate::events::Level;
use crate::thread;

/// How long an uploader that has panicked rests.
const AGAIN: Duration = Duration::from_secs(1);

/// Starts the threads that the settings in force ask for and that are not there yet. Those that are
/// too many rest, see [`Pipeline::rests`].
pub(super) fn hire(pipeline: &Arc<Pipeline>) -> io::Result<()> {
    let wanted = pipeline.target().map_or(0, |target| target.settings.upload_threads);
    let mut threads = pipeline.staff.threads();
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
        pipeline.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }
    Ok(())
}

/// Waits for the threads of a closed pipeline.
pub(super) fn dismiss(pipeline: &Pipeline) {
    let threads = std::mem::take(&mut *pipeline.staff.threads());
    for thread in threads {
        let _ = thread.join();
    }
}
