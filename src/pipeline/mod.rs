//! The threads that move a stream's bytes along the path, and their life cycle.
//!
//! One packer thread a stream reads the ring, closes chunks and blocks ([`packer`]); a few
//! uploader threads store sealed blocks ([`uploader`]). No request ever waits for either.
//!
//! ```text
//! attached to a VCL         last VCL discarded           drained, or exit_timeout over
//!     running     ------------>    draining    ------------------>    closed
//!                 <------------
//!                 attached again
//! ```
//!
//! Two VCLs that name the same stream and spool share one pipeline, so that a reload neither
//! splits blocks nor doubles threads. The settings of the VCL that was loaded last are in force;
//! when it is discarded those of the one before are. Blocks that wait in the spool go to where
//! the settings in force say: a reload with a mended bucket mends the blocks that wait as well.
//!
//! Limits: the packer looks at the ring every 20 ms at the latest; its memory is one chunk and
//! what the codec needs.

mod gate;
pub mod ledger;
mod outlet;
pub mod packer;
mod registry;
mod rest;
mod secrets;
mod spread;
mod start;
pub mod uploader;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_utils::sync::Unparker;

use crate::clock::Clock;
use crate::error::{Events, Level};
use crate::ring::{PushError, Ring};
use crate::s3::Client;
use crate::settings::{OnFull, Place, Settings};
use crate::spool::SealedBlocks;
use crate::stats::{self, Stats};

pub use outlet::{Held, Outlet, Outlets, Refusal, Starter};
pub use registry::{Attachment, Registry};
pub use start::StartError;

/// What a pipeline is given from outside.
#[derive(Clone)]
pub struct Environment {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who is told what happens.
    pub events: Arc<dyn Events>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

/// Is shown the counters several times a second, by the packer's thread.
pub trait Observer: Send {
    /// Looks at the counters now.
    fn observe(&mut self, stats: &Stats);
}

/// Settings and the client made from them.
#[derive(Debug)]
struct Target {
    settings: Settings,
    client: Client,
}

/// What the VCL side asks of the threads.
#[derive(Debug)]
struct Control {
    /// Who is attached, with whose settings; the last is in force. Never empty: the settings of
    /// the last one to leave stay in force while the pipeline drains.
    attached: Vec<(u64, Arc<Target>)>,
    /// How many of those still hold on.
    holders: usize,
    next: u64,
    /// When draining ends without success, in the clock's monotonic time.
    deadline: Option<Duration>,
    closed: bool,
}

/// A stream at work.
pub struct Pipeline {
    ring: Arc<Ring>,
    store: Arc<SealedBlocks>,
    stats: Arc<Stats>,
    environment: Environment,
    control: Mutex<Control>,
    /// Goes up with every change of `control`, so that threads need not lock it to see none.
    generation: AtomicU64,
    /// Microseconds that a worker waits when the ring is full.
    max_wait: AtomicU64,
    /// The generation that the packer last saw drained: nothing in ring and spool, everything in
    /// the bucket. It says nothing about later generations.
    drained: AtomicU64,
    /// Uploaders that have a block in hand.
    busy: AtomicUsize,
    uploads: uploader::Uploads,
    wakers: Vec<Unparker>,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("control", &self.control).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// Hands one line, newline included, to the packer. Never blocks, unless the settings ask a
    /// worker to wait for a full ring; a line that finds no room is counted.
    pub fn push(&self, line: &[u8]) {
        // Relaxed: a setting, read for itself.
        let wait = self.max_wait.load(Ordering::Relaxed);
        let pushed = if wait == 0 {
            self.ring.push(line)
        } else {
            self.ring.push_wait(line, Duration::from_micros(wait), &*self.environment.clock)
        };
        match pushed {
            Ok(()) => (),
            Err(PushError::Full | PushError::TooLong) => stats::add(&self.stats.dropped_ring, 1),
        }
    }

    /// Takes a line that has waited elsewhere. Waits for room in the ring while the pipeline is open;
    /// whether the line is in it.
    fn take_over(&self, line: &[u8], clock: &dyn Clock) -> bool {
        loop {
            match self.ring.push_wait(line, Duration::from_secs(1), clock) {
                Ok(()) => return true,
                Err(PushError::Full) if !self.is_closed() => {}
                Err(_) => return false,
            }
        }
    }

    /// The stream's counters. They may be held on to for longer than the pipeline, which keeps
    /// its spool open.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// The stream's state as one line of JSON.
    #[must_use]
    pub fn status(&self) -> String {
        let (target, draining) = {
            let control = self.control();
            (Self::in_force(&control), control.deadline.is_some())
        };
        let Some(target) = target else { return "{}".to_owned() };
        serde_json::json!({
            "stream": target.settings.stream,
            "host": target.settings.host,
            "bucket": target.settings.bucket.to_string(),
            "state": if draining { "draining" } else { "running" },
            "counters": self.stats.to_json(),
        })
        .to_string()
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_force(control: &Control) -> Option<Arc<Target>> {
        control.attached.last().map(|(_, target)| Arc::clone(target))
    }

    fn target(&self) -> Option<Arc<Target>> {
        Self::in_force(&self.control())
    }

    /// A number that changes with the settings and with draining.
    fn generation(&self) -> u64 {
        // Acquire pairs with the Release in changed(): who sees the number sees the change.
        self.generation.load(Ordering::Acquire)
    }

    /// To be called with `control` changed and unlocked; the new generation.
    fn changed(&self) -> u64 {
        if let Some(target) = self.target() {
            let wait = match target.settings.on_full {
                OnFull::Drop => 0,
                OnFull::Wait(wait) => u64::try_from(wait.as_micros()).unwrap_or(u64::MAX),
            };
            // Relaxed: see push().
            self.max_wait.store(wait, Ordering::Relaxed);
        }
        // Release pairs with the Acquire in generation().
        let before = self.generation.fetch_add(1, Ordering::Release);
        self.wake();
        before + 1
    }

    fn wake(&self) {
        for waker in &self.wakers {
            waker.unpark();
        }
    }

    /// Adds a holder whose settings are in force from now on. `None` when it is too late: the
    /// pipeline is closed.
    fn attach(&self, target: Target) -> Option<u64> {
        let id = {
            let mut control = self.control();
            if control.closed {
                return None;
            }
            if control.holders == 0 {
                control.attached.clear();
            }
            control.next += 1;
            let id = control.next;
            control.attached.push((id, Arc::new(target)));
            control.holders += 1;
            control.deadline = None;
            id
        };
        self.changed();
        Some(id)
    }

    /// Takes a holder away; with the last one draining begins.
    fn detach(&self, id: u64) {
        {
            let mut control = self.control();
            control.holders = control.holders.saturating_sub(1);
            if control.holders > 0 {
                control.attached.retain(|(other, _)| *other != id);
            } else if let Some(target) = Self::in_force(&control) {
                let now = self.environment.clock.monotonic();
                control.deadline = Some(now.saturating_add(target.settings.exit_timeout));
            }
        }
        self.changed();
    }

    /// Asks for everything to be sealed and uploaded now, for at most `exit_timeout`; the
    /// deadline, and the generation from which on [`Pipeline::is_drained`] answers for it.
    fn drain(&self) -> (Duration, u64) {
        let deadline = {
            let mut control = self.control();
            let timeout = Self::in_force(&control)
                .map_or(Duration::ZERO, |target| target.settings.exit_timeout);
            let deadline = self.environment.clock.monotonic().saturating_add(timeout);
            control.deadline = Some(deadline);
            deadline
        };
        (deadline, self.changed())
    }

    fn draining(&self) -> Option<Duration> {
        self.control().deadline
    }

    /// Whether the time for draining is over.
    fn is_late(&self) -> bool {
        self.draining().is_some_and(|deadline| self.environment.clock.monotonic() >= deadline)
    }

    /// Tells the operator something about this stream.
    fn tell(&self, level: Level, message: &str) {
        let stream = self.target().map_or_else(String::new, |t| t.settings.stream.clone());
        self.environment.events.event(level, &format!("stream {stream}: {message}"));
    }

    /// Whether the packer has found everything uploaded since `generation` began.
    fn is_drained(&self, generation: u64) -> bool {
        // Acquire pairs with the packer's Release: the blocks are gone when this says so.
        self.drained.load(Ordering::Acquire) >= generation
    }

    /// Whether what is not uploaded ends with the process, and how many records that would be.
    fn would_be_lost(&self) -> u64 {
        let memory = self.target().is_some_and(|target| target.settings.place == Place::Memory);
        if memory { stats::get(&self.stats.spooled_records) } else { 0 }
    }

    fn is_closed(&self) -> bool {
        self.control().closed
    }

    /// Ends the pipeline at once; what is in ring and spool stays there.
    fn abandon(&self) {
        self.control().closed = true;
        self.changed();
    }

    /// Ends the pipeline unless somebody holds on. Whether it is closed.
    fn try_close(&self) -> bool {
        let closed = {
            let mut control = self.control();
            control.closed = control.closed || control.holders == 0;
            control.closed
        };
        if closed {
            self.changed();
        }
        closed
    }
}

#[cfg(test)]
#[cfg(not(s3log_loom))]
mod tests;
