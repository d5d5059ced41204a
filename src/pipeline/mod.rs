//! The threads that move a stream's bytes along the path, and their life cycle.
//!
//! One packer thread a stream reads the ring, closes chunks and blocks (`packer`); a few
//! uploader threads store sealed blocks (`uploader`). No request ever waits for either.
//!
//! ```text
//! attached to a VCL         last VCL discarded           drained, or exit_timeout over
//!     running     ------------>    draining    ------------------>    closed
//!                 <------------
//!                 attached again
//! ```
//!
//! Two VCLs that name the same stream, spool and route (`block::RouteId`) share one pipeline, so
//! that a reload neither splits blocks nor doubles threads; another route is another pipeline. What
//! is not part of the route, `period` or the credentials, comes from the VCL whose task wrote the
//! latest record. A route that no VCL has any more is sent to its end as its settings say.
//!
//! Limits: the packer looks at the ring every 20 ms at the latest; its memory is one chunk and
//! what the codec needs.

mod claims;
mod error;
mod external;
mod folder;
mod gate;
mod labels;
pub mod ledger;
mod load;
mod looks;
mod moves;
mod names;
mod outlet;
mod packer;
mod packing;
mod panics;
mod publish;
mod registry;
mod resume;
mod right;
mod ship;
mod staff;
mod start;
mod stuck;
mod take_up;
mod threads;
pub mod uploader;
mod uploads;
mod view;
mod windows;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_utils::sync::Unparker;

use self::windows::Windows;
use crate::block::RouteId;
use crate::clock::Clock;
use crate::events::{Events, Level};
use crate::priority::Priority;
use crate::ring::{PushError, Record, Ring};
use crate::s3::Client;
use crate::settings::{Settings, Upload};
use crate::spool::SealedBlocks;
use crate::stats::{self, Stats};

pub use error::StartError;
pub(crate) use folder::may_be_of;
pub use folder::{Folder, all as folders};
pub use moves::{Move, Moved};
pub use outlet::{Outlet, Outlets, Refusal, Starter};
pub use registry::{Attachment, Registry};
pub use ship::Shipment;
pub use view::Observer;

/// Stands for no limit: a hundred years.
pub(crate) const FOREVER: Duration = Duration::from_secs(3_155_760_000);

/// How long the settings of a VCL are in force at least, when another one of the same route writes
/// as well.
const TURN: Duration = Duration::from_secs(1);

/// What a pipeline is given from outside.
#[derive(Clone)]
pub struct Environment {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who is told what happens.
    pub events: Arc<dyn Events>,
    /// Makes the observer of a pipeline, from the name that no other has.
    pub observer: Observers,
    /// How long after a stream's start the routes that no VCL has are taken up: the other VCLs have
    /// loaded by then.
    pub grace: Duration,
}

/// Makes an observer.
pub type Observers = Arc<dyn Fn(&str) -> Box<dyn Observer> + Send + Sync>;

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

/// Settings and the client made from them; none where another process uploads.
#[derive(Debug)]
struct Target {
    settings: Settings,
    client: Option<Client>,
}

/// Somebody who feeds the pipeline.
#[derive(Debug)]
struct Attached {
    ticket: u64,
    target: Arc<Target>,
    /// When it was last found to have written the latest record, counted from 1; 0 for never.
    used: u64,
    /// Somebody holds on to it; else it only says what goes on when nobody does.
    held: bool,
}

/// What the VCL side asks of the threads.
#[derive(Debug)]
struct Control {
    /// Never empty: the settings of the last one to leave stay in force while the pipeline drains.
    attached: Vec<Attached>,
    /// The ticket of the one whose settings are in force.
    in_force: u64,
    /// How many of those attached still hold on.
    holders: usize,
    next: u64,
    /// Goes up with each change of whose settings are in force.
    uses: u64,
    /// When that was last changed, in the clock's monotonic time.
    followed: Duration,
    /// When draining ends without success, in the clock's monotonic time.
    deadline: Option<Duration>,
    closed: bool,
}

/// What never changes about a pipeline.
#[derive(Debug)]
struct Identity {
    /// The stream's name.
    stream: String,
    /// What messages and counters call it: the stream's name, and what tells it from others.
    label: String,
    route: RouteId,
    /// Its folder; `None` in memory.
    folder: Option<PathBuf>,
    /// The folder was made for it.
    fresh: bool,
    /// The folder is this route's from now on; else it is only emptied.
    keeps: bool,
}

impl Identity {
    /// Where the folders of the stream's routes are; `None` in memory.
    fn directory(&self) -> Option<&Path> {
        self.folder.as_deref().and_then(Path::parent)
    }
}

/// A stream at work.
pub struct Pipeline {
    /// Goes before the spool's lock does: who takes that finds this free.
    right: right::Right,
    identity: Identity,
    ring: Arc<Ring>,
    store: Arc<SealedBlocks>,
    stats: Arc<Stats>,
    environment: Environment,
    control: Mutex<Control>,
    /// Goes up with every change of `control`, so that threads need not lock it to see none.
    generation: AtomicU64,
    /// Goes up with every change after which what has failed may succeed: other settings, an exit.
    /// Two VCLs that write in turns change the settings in force each time, and this only once each.
    news: AtomicU64,
    /// The ticket of whoever wrote the latest record.
    latest: AtomicU64,
    /// The generation that the packer last saw drained: nothing in ring and spool, everything in
    /// the bucket. It says nothing about later generations.
    drained: AtomicU64,
    /// What is in the spool is known: until then its counters are those of an empty one. May be held on
    /// to as the counters may.
    taken_up: Arc<AtomicBool>,
    /// Uploaders that have a block in hand.
    busy: AtomicUsize,
    uploads: uploads::Uploads,
    /// The packer's, and then the uploaders'.
    wakers: Mutex<Vec<Unparker>>,
    staff: staff::Staff,
    view: view::View,
    shown: view::Shown,
    windows: Windows,
    looks: looks::Looks,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("control", &self.control).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// Hands one line, newline included, to the packer, for the holder of `ticket`. Waits up to
    /// `wait` for room, unless the line is one to be shed; a line that finds none is counted.
    fn push(&self, line: Record<'_>, priority: Priority, ticket: u64, wait: Duration) {
        let most = priority.share(self.ring.capacity());
        let pushed = if wait.is_zero() || priority == Priority::Low {
            self.ring.push_within(line, most)
        } else {
            self.ring.push_wait(line, most, wait, &*self.environment.clock)
        };
        match pushed {
            Ok(()) => (),
            Err(PushError::Full | PushError::TooLong) => self.stats.count_shed(priority),
        }
        // Relaxed both: the packer reads the number for itself. Not stored without need, as every
        // worker reads it.
        if self.latest.load(Ordering::Relaxed) != ticket {
            self.latest.store(ticket, Ordering::Relaxed);
        }
    }

    /// Takes a line that has waited elsewhere. Waits for room in the ring while the pipeline is open;
    /// whether the line is in it.
    fn take_over(&self, line: Record<'_>, ticket: u64, clock: &dyn Clock) -> bool {
        // Relaxed: see push().
        self.latest.store(ticket, Ordering::Relaxed);
        let most = Priority::Normal.share(self.ring.capacity());
        loop {
            match self.ring.push_wait(line, most, Duration::from_secs(1), clock) {
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
        self.state().to_string()
    }

    fn state(&self) -> serde_json::Value {
        let (target, draining) = {
            let control = self.control();
            (Self::in_force(&control), control.deadline.is_some())
        };
        let Some(target) = target else { return serde_json::Value::Null };
        let mut state = serde_json::json!({
            "stream": target.settings.stream,
            "host": target.settings.host,
            "bucket": target.settings.bucket.to_string(),
            "route": self.identity.route.to_string(),
            "state": if draining { "draining" } else { "running" },
            "counters": self.stats.to_json(),
        });
        if let (Some(shipper), Some(object)) = (self.shipper(), state.as_object_mut()) {
            object.insert("shipper".to_owned(), shipper);
        }
        state
    }

    /// The same in short, for a route that no VCL has.
    fn waiting(&self) -> serde_json::Value {
        let target = self.target();
        serde_json::json!({
            "route": self.identity.route.to_string(),
            "bucket": target.map(|target| target.settings.bucket.to_string()),
            "blocks": stats::get(&self.stats.spooled_blocks),
            "records": stats::get(&self.stats.spooled_records),
        })
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_force(control: &Control) -> Option<Arc<Target>> {
        let attached = &control.attached;
        let found = attached.iter().find(|attached| attached.ticket == control.in_force);
        found.or(attached.last()).map(|attached| Arc::clone(&attached.target))
    }

    /// What those have given who hold on.
    fn held(&self) -> Vec<Arc<Target>> {
        let control = self.control();
        let held = control.attached.iter().filter(|attached| attached.held);
        held.map(|attached| Arc::clone(&attached.target)).collect()
    }

    fn target(&self) -> Option<Arc<Target>> {
        Self::in_force(&self.control())
    }

    /// A number that changes with the settings and with draining.
    fn generation(&self) -> u64 {
        // Acquire pairs with the Release in changed(): who sees the number sees the change.
        self.generation.load(Ordering::Acquire)
    }

    /// A number that changes when blocks that wait for another attempt need not wait any longer.
    fn news(&self) -> u64 {
        // Acquire pairs with the Release in changed().
        self.news.load(Ordering::Acquire)
    }

    /// To be called with `control` changed and unlocked; the new generation.
    fn changed(&self) -> u64 {
        // Release pairs with the Acquire in news().
        self.news.fetch_add(1, Ordering::Release);
        self.changed_back()
    }

    /// The same for settings that have been in force before.
    fn changed_back(&self) -> u64 {
        // Release pairs with the Acquire in generation().
        let before = self.generation.fetch_add(1, Ordering::Release);
        self.wake();
        before + 1
    }

    fn wake(&self) {
        for waker in &*self.wakers.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.unpark();
        }
    }

    /// Puts the settings of whoever wrote the latest record in force. For the packer, which looks
    /// often: a worker only leaves its ticket. Two VCLs that write in turns have their turns of at
    /// least [`TURN`], and none where their settings are the same.
    fn follow(&self) {
        // Relaxed: see push().
        let latest = self.latest.load(Ordering::Relaxed);
        let first = {
            let mut control = self.control();
            let now = self.environment.clock.monotonic();
            if control.in_force == latest {
                return;
            }
            let in_force = Self::in_force(&control);
            let soon = now.saturating_sub(control.followed) < TURN;
            let uses = control.uses + 1;
            let Some(next) = control.attached.iter_mut().find(|one| one.ticket == latest) else {
                return;
            };
            let first = next.used == 0;
            let same = in_force.is_some_and(|in_force| {
                in_force.settings.arguments == next.target.settings.arguments
            });
            if !first && (same || soon) {
                return;
            }
            next.used = uses;
            control.uses = uses;
            control.in_force = latest;
            control.followed = now;
            first
        };
        if first {
            self.changed()
        } else {
            self.changed_back()
        };
    }

    /// Adds a holder, whose settings are in force once it has written a record; its ticket, and whether it
    /// is the only one. `None` when it is too late: the pipeline is closed.
    fn attach(&self, target: Arc<Target>) -> Option<(u64, bool)> {
        let attached = {
            let mut control = self.control();
            if control.closed {
                return None;
            }
            control.next += 1;
            let ticket = control.next;
            if control.holders == 0 {
                let in_force = control.in_force;
                control.attached.retain(|attached| attached.ticket == in_force);
                for left in &mut control.attached {
                    left.held = false;
                }
            }
            control.attached.push(Attached { ticket, target, used: 0, held: true });
            control.holders += 1;
            control.deadline = None;
            (ticket, control.holders == 1)
        };
        self.changed();
        Some(attached)
    }

    /// Takes a holder away. With the last one draining begins, for `exit_timeout` or, if the stream
    /// `goes_on` elsewhere, until all is uploaded. Whether it was the last.
    fn detach(&self, ticket: u64, goes_on: bool) -> bool {
        let last = {
            let mut control = self.control();
            control.holders = control.holders.saturating_sub(1);
            let last = control.holders == 0;
            if last {
                if let Some(target) = Self::in_force(&control) {
                    let now = self.environment.clock.monotonic();
                    let timeout = if goes_on { FOREVER } else { target.settings.exit_timeout };
                    control.deadline = Some(now.saturating_add(timeout));
                }
            } else {
                control.attached.retain(|attached| attached.ticket != ticket);
                let newest = control.attached.iter().max_by_key(|one| (one.used, one.ticket));
                if control.in_force == ticket
                    && let Some(ticket) = newest.map(|attached| attached.ticket)
                {
                    control.in_force = ticket;
                }
            }
            last
        };
        self.changed();
        last
    }

    /// Whether records wait here. Waits for nobody who works on the disk.
    fn waits(&self) -> bool {
        self.ring.usage().used > 0
            || stats::get(&self.view.open_records) > 0
            || self.store.try_counts().is_none_or(|counts| counts.sealed.blocks > 0)
    }

    /// Begins to drain, with nobody who holds on, for at most `timeout`.
    fn leave(&self, timeout: Duration) {
        {
            let mut control = self.control();
            if control.holders > 0 {
                return;
            }
            let now = self.environment.clock.monotonic();
            control.deadline = Some(now.saturating_add(timeout));
        }
        self.changed();
    }

    /// Whether nobody holds on.
    fn is_left(&self) -> bool {
        self.control().holders == 0
    }

    /// Whether it closes at some time even if not all is uploaded.
    fn is_ending(&self) -> bool {
        let control = self.control();
        let limited = control.deadline.is_some_and(|deadline| deadline < FOREVER);
        control.closed || control.holders == 0 && limited
    }

    /// Whether the settings in force have no use for this uploader.
    fn rests(&self, uploader: usize) -> bool {
        self.target().is_none_or(|target| {
            target.settings.upload == Upload::External || uploader >= target.settings.upload_threads
        })
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
        let label = &self.identity.label;
        self.environment.events.event(level, &format!("stream {label}: {message}"));
    }

    /// Whether the packer has found everything uploaded since `generation` began.
    fn is_drained(&self, generation: u64) -> bool {
        // Acquire pairs with the packer's Release: the blocks are gone when this says so.
        self.drained.load(Ordering::Acquire) >= generation
    }

    /// Whether what is not uploaded ends with the process, and how many records that would be.
    fn would_be_lost(&self) -> u64 {
        if self.identity.folder.is_none() { stats::get(&self.stats.spooled_records) } else { 0 }
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
