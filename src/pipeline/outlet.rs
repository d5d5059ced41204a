//! A VCL's way into its stream, which may not have been startable when the VCL was loaded.
//!
//! A spool that is read-only, full or held by another process, and a file of keys that is missing,
//! must not keep a site from starting. With `on_start_failure = "serve"` the VCL loads all the same:
//! its lines wait in memory, a thread tries the start again every ten seconds, and when it succeeds
//! hands them over. From then on lines go straight to the pipeline.
//!
//! ```text
//!             start fails                      start succeeds
//! opening  ---------------->  waiting in memory  ------------->  open
//!     \----------------------------------------------------------^
//! ```
//!
//! A VCL that is being loaded holds on to the pipeline from the start, so that what is wrong with its
//! spool fails the load. That changes nothing for anybody: settings come into force with the first
//! record, and lines that `vcl_init` logs are kept here until the whole VCL has loaded. A load that
//! fails lets go, and a folder that was made for it goes.
//!
//! Non-goals: surviving the process, or the VCL. What waits in memory is lost with them; `records_unspooled`
//! counts each such line as it comes, and an error says how many were lost.
//!
//! Limits: as many bytes wait as the stream's ring has; further lines count in `dropped_ring`.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;

use super::panics::{MOST, Panics};
use super::{Attachment, Environment, Observer, Pipeline};
use crate::events::Level;
use crate::priority::Priority;
use crate::ring::{Backing, Capacity, Opened, Reader, Record, Ring};
use crate::stats::{Stats, add, set, take};
use crate::thread;

/// Between two attempts to start.
const AGAIN: Duration = Duration::from_secs(10);

/// Between two looks of the observer.
const OBSERVE: Duration = Duration::from_millis(100);

/// Bytes of lines that are kept until the VCL has loaded: what `vcl_init` logs.
const EARLY_MAX: usize = 64 * 1024;

/// How long the process's exit waits for a last attempt.
const LAST: Duration = Duration::from_secs(2);

/// Why a stream cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A setting that cannot be used as it is written.
    #[error("{0}")]
    Setting(String),
    /// A file, directory or lock that may be usable at another time.
    #[error("{0}")]
    Place(String),
}

/// What an outlet does with its stream. One value is called from one thread at a time.
pub trait Starter: Send {
    /// Reads the settings and joins or starts the pipeline.
    ///
    /// # Errors
    /// Why not.
    fn start(&mut self) -> Result<Attachment, Refusal>;

    /// Is told that the whole VCL has loaded, if there is a pipeline by then.
    fn loaded(&self, held: &Attachment);

    /// Lets go of what [`Starter::start`] gave.
    fn end(&self, held: &Attachment);

    /// Who shows the counters while nothing is started. Called once, by the CLI's thread.
    fn observer(&self) -> Box<dyn Observer>;
}

/// A line that was logged before its VCL had loaded.
struct Early {
    bytes: Vec<u8>,
    cut: bool,
    priority: Priority,
}

/// See the module.
pub struct Outlet {
    inner: Arc<Inner>,
    /// The whole VCL has loaded.
    loaded: AtomicBool,
    /// Lines from before that.
    early: Mutex<Vec<Early>>,
    /// The thread that tries again; `None` where the first attempt succeeded.
    thread: Option<Thread>,
}

struct Inner {
    stream: String,
    held: OnceLock<Attachment>,
    /// Where lines wait until there is a pipeline.
    waiting: Option<Arc<Ring>>,
    /// Workers that may be about to push into `waiting`.
    pushing: AtomicUsize,
    /// Counts until there is a pipeline.
    stats: Stats,
    /// The VCL is discarded or the process exits.
    ending: AtomicBool,
    /// The thread has done all it could.
    done: AtomicBool,
    /// The pipeline was let go of.
    released: AtomicBool,
    starter: Mutex<Box<dyn Starter>>,
    environment: Environment,
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.inner.held.get().is_some();
        f.debug_struct("Outlet").field("open", &open).finish_non_exhaustive()
    }
}

/// Outlets whose lines wait in memory, for the process's exit.
#[derive(Debug, Default)]
pub struct Outlets(Mutex<Vec<Weak<Inner>>>);

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Outlet {
    /// Starts the stream, or with `serve` lets its lines wait until it can be started, in at most
    /// `room` bytes.
    ///
    /// # Errors
    /// The stream cannot be started, and either a setting is wrong or `serve` is not given.
    pub fn open(
        stream: &str,
        mut starter: Box<dyn Starter>,
        serve: bool,
        room: Capacity,
        environment: &Environment,
        outlets: &Outlets,
    ) -> Result<Self, Refusal> {
        match starter.start() {
            Ok(held) => {
                let held = OnceLock::from(held);
                Ok(Self::new(Inner::new(stream, held, None, starter, environment), None))
            }
            Err(Refusal::Place(why)) if serve => {
                Self::wait(stream, starter, why, room, environment, outlets)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Lets lines wait in at most `room` bytes until the stream can be started, which it cannot now for
    /// what `why` says.
    fn wait(
        stream: &str,
        starter: Box<dyn Starter>,
        why: String,
        room: Capacity,
        environment: &Environment,
        outlets: &Outlets,
    ) -> Result<Self, Refusal> {
        let failed =
            |error: &dyn fmt::Display| Refusal::Place(format!("s3log: stream {stream}: {error}"));
        let observer = starter.observer();
        let opened = Ring::open(Backing::Memory, room).map_err(|error| failed(&error))?;
        let Opened { ring, reader, .. } = opened;
        let inner = Inner::new(stream, OnceLock::new(), Some(ring), starter, environment);
        inner.tell(
            Level::Error,
            &format!(
                "{why}; on_start_failure is serve: lines wait in memory until the start succeeds, \
                 which is tried every {} s, and are lost if the cache process ends or this VCL is \
                 discarded before that",
                AGAIN.as_secs()
            ),
        );
        let body = {
            let inner = Arc::clone(&inner);
            let next = environment.clock.monotonic().saturating_add(AGAIN);
            move || Waiting { inner, reader, observer, next, said: why, moved: 0 }.run()
        };
        let thread = thread::spawn("s3log-start", body).map_err(|error| failed(&error))?;
        let mut known = outlets.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|one| one.strong_count() > 0);
        known.push(Arc::downgrade(&inner));
        Ok(Self::new(inner, Some(thread.thread().clone())))
    }

    fn new(inner: Arc<Inner>, thread: Option<Thread>) -> Self {
        Self { inner, loaded: AtomicBool::new(false), early: Mutex::default(), thread }
    }

    /// Hands one line, newline included, to the stream. Never blocks, unless the settings ask a
    /// worker to wait for a full ring; a line that finds no room is counted.
    pub fn push<'a>(&self, line: impl Into<Record<'a>>, priority: Priority) {
        let line = line.into();
        // Acquire pairs with the Release in loaded(): the early lines come first.
        if self.loaded.load(Ordering::Acquire) {
            self.push_now(line, priority);
            return;
        }
        // No request runs before a VCL has loaded: this is vcl_init, on the CLI thread.
        let mut early = self.early();
        let held = early.iter().map(|early| early.bytes.len()).sum::<usize>();
        if held + line.bytes.len() <= EARLY_MAX {
            early.push(Early { bytes: line.bytes.to_vec(), cut: line.cut, priority });
        } else {
            self.stats().count_shed(priority);
        }
    }

    fn push_now(&self, line: Record<'_>, priority: Priority) {
        match self.inner.held.get() {
            Some(held) => held.push(line, priority),
            None => self.inner.push(line, priority),
        }
    }

    fn early(&self) -> MutexGuard<'_, Vec<Early>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole VCL has loaded: what was logged until now is pushed. Once is enough.
    pub fn loaded(&self) {
        let mut early = self.early();
        if self.loaded.load(Ordering::Acquire) {
            return;
        }
        for Early { bytes, cut, priority } in early.drain(..) {
            self.push_now(Record { bytes: &bytes, cut }, priority);
        }
        self.loaded.store(true, Ordering::Release);
        if let Some(held) = self.inner.held.get()
            && self.inner.done.load(Ordering::SeqCst)
        {
            self.inner.starter().loaded(held);
        }
    }

    /// The stream's counters as they are kept now.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        self.inner.held.get().map_or(&self.inner.stats, |held| held.pipeline().stats())
    }

    /// The stream's state as one line of JSON.
    #[must_use]
    pub fn status(&self) -> String {
        match self.inner.held.get() {
            Some(held) => held.pipeline().status(),
            None => serde_json::json!({
                "stream": self.inner.stream,
                "state": "waiting",
                "counters": self.inner.stats.to_json(),
            })
            .to_string(),
        }
    }

    /// The pipeline, once there is one.
    #[must_use]
    pub fn pipeline(&self) -> Option<&Arc<Pipeline>> {
        self.inner.held.get().map(Attachment::pipeline)
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        // SeqCst here and in `Waiting::run`: of this thread and that one at least one sees that the
        // other has come to its end, and lets go.
        self.inner.ending.store(true, Ordering::SeqCst);
        if let Some(thread) = &self.thread {
            // It tries a last time.
            thread.unpark();
        }
        if self.inner.done.load(Ordering::SeqCst) {
            self.inner.let_go();
        }
    }
}

impl Outlets {
    /// Lets each stream that waits make a last attempt, for two seconds at most; what comes of it is
    /// the registry's to drain.
    pub fn finish(&self, environment: &Environment) {
        let known: Vec<_> = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.drain(..).filter_map(|one| one.upgrade()).collect()
        };
        let end = environment.clock.monotonic().saturating_add(LAST);
        for inner in &known {
            inner.ending.store(true, Ordering::SeqCst);
        }
        for inner in known {
            while !inner.done.load(Ordering::SeqCst) && environment.clock.monotonic() < end {
                environment.clock.sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Inner {
    fn new(
        stream: &str,
        held: OnceLock<Attachment>,
        waiting: Option<Arc<Ring>>,
        starter: Box<dyn Starter>,
        environment: &Environment,
    ) -> Arc<Self> {
        Arc::new(Self {
            stream: stream.to_owned(),
            done: AtomicBool::new(held.get().is_some()),
            held,
            waiting,
            pushing: AtomicUsize::new(0),
            stats: Stats::default(),
            ending: AtomicBool::new(false),
            released: AtomicBool::new(false),
            starter: Mutex::new(starter),
            environment: environment.clone(),
        })
    }

    fn push(&self, line: Record<'_>, priority: Priority) {
        // With the fence this pairs with that of `Waiting::hand_over`: either this worker sees the
        // pipeline, or the thread sees the worker and waits for its line.
        self.pushing.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        match (self.held.get(), &self.waiting) {
            (Some(held), _) => held.push(line, priority),
            (None, Some(ring)) => match ring.push_within(line, priority.share(ring.capacity())) {
                Ok(()) => add(&self.stats.records_unspooled, 1),
                Err(_) => self.stats.count_shed(priority),
            },
            // Without a pipeline there is such a ring.
            (None, None) => self.stats.count_shed(priority),
        }
        // Release pairs with the Acquire in `hand_over`: the line is in the ring.
        self.pushing.fetch_sub(1, Ordering::Release);
    }

    fn starter(&self) -> std::sync::MutexGuard<'_, Box<dyn Starter>> {
        self.starter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn let_go(&self) {
        if let Some(held) = self.held.get()
            && !self.released.swap(true, Ordering::SeqCst)
        {
            self.starter().end(held);
        }
    }

    fn tell(&self, level: Level, text: &str) {
        let prefix = format!("s3log: stream {}: ", self.stream);
        let text = text.strip_prefix(&prefix).unwrap_or(text);
        self.environment.events.event(level, &format!("stream {}: {text}", self.stream));
    }
}

/// The thread's part.
struct Waiting {
    inner: Arc<Inner>,
    reader: Reader,
    observer: Box<dyn Observer>,
    /// When the start is tried again, in monotonic time.
    next: Duration,
    /// Why the last attempt failed, as the operator was told.
    said: String,
    /// Lines that were handed over.
    moved: u64,
}

impl Waiting {
    fn run(mut self) {
        let mut panics = Panics::default();
        while catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            // What was handed over is committed, line by line.
            self.reader.rewind();
            let Some(rest) = panics.note(self.inner.environment.clock.monotonic()) else {
                let text = format!(
                    "its start has panicked {MOST} times and is not tried any more: lines wait in \
                     memory and are lost with the cache process; load the VCL again, or restart \
                     varnishd"
                );
                self.inner.tell(Level::Error, &text);
                break;
            };
            let text = "its start panicked and is tried again; no line is lost";
            self.inner.tell(Level::Error, text);
            std::thread::park_timeout(rest);
        }
        self.inner.done.store(true, Ordering::SeqCst);
        if self.inner.ending.load(Ordering::SeqCst) {
            self.inner.let_go();
        }
    }

    fn work(&mut self) {
        let clock = Arc::clone(&self.inner.environment.clock);
        if self.inner.held.get().is_some() {
            // It has panicked while it handed over.
            self.hand_over();
            return;
        }
        loop {
            self.observe();
            std::thread::park_timeout(OBSERVE);
            let ending = self.inner.ending.load(Ordering::SeqCst);
            if !ending && clock.monotonic() < self.next {
                continue;
            }
            let started = self.inner.starter().start();
            match started {
                Ok(held) => {
                    // From here on workers push into the pipeline.
                    self.inner.held.get_or_init(|| held);
                    self.hand_over();
                    return;
                }
                Err(_) if ending => {
                    self.note_lost();
                    return;
                }
                Err(error) => self.complain(error.to_string()),
            }
            self.next = clock.monotonic().saturating_add(AGAIN);
        }
    }

    fn observe(&mut self) {
        if let Some(ring) = &self.inner.waiting {
            let usage = ring.usage();
            set(&self.inner.stats.ring_used, usage.used);
            set(&self.inner.stats.ring_high_water, usage.high_water);
            set(&self.inner.stats.ring_size, usage.capacity);
        }
        self.observer.observe(&self.inner.stats);
    }

    /// Each reason is told once: the first one was told at the load.
    fn complain(&mut self, why: String) {
        if why != self.said {
            self.inner.tell(Level::Error, &format!("{why}; lines still wait in memory"));
            self.said = why;
        }
    }

    /// Workers push into the pipeline by now; what waits, and what they are just pushing, goes after it.
    fn hand_over(&mut self) {
        let Some(held) = self.inner.held.get() else { return };
        fence(Ordering::SeqCst);
        let clock = &*self.inner.environment.clock;
        let (from, to) = (&self.inner.stats, held.pipeline().stats());
        loop {
            let mut any = false;
            // Acquire pairs with the Release in `push`. Looked at before the ring: what was pushed
            // until then is found in it.
            let quiet = self.inner.pushing.load(Ordering::Acquire) == 0;
            while let Some(record) = self.reader.next_record() {
                any = true;
                if held.take_over(record, clock) {
                    self.moved += 1;
                } else {
                    // What waited has no priority any more.
                    to.count_shed(Priority::Normal);
                }
                // Each by itself, so that a panic repeats none. No payload is not too long.
                let _ = self.reader.commit(&[]);
            }
            // Also what is no line.
            let _ = self.reader.commit(&[]);
            if quiet && !any {
                break;
            }
            clock.sleep(Duration::from_millis(1));
        }
        for (from, to) in [
            (&from.records_unspooled, &to.records_unspooled),
            (&from.dropped_ring, &to.dropped_ring),
            (&from.shed_low, &to.shed_low),
            (&from.shed_normal, &to.shed_normal),
            (&from.shed_high, &to.shed_high),
            (&from.dropped_end, &to.dropped_end),
            (&from.dropped_panic, &to.dropped_panic),
            (&from.truncated, &to.truncated),
            (&from.incomplete, &to.incomplete),
        ] {
            // After a panic this is done again.
            add(to, take(from));
        }
        let moved = self.moved;
        let text = format!("it has started; {moved} lines that waited in memory are taken up");
        self.inner.tell(Level::Warn, &text);
    }

    fn note_lost(&mut self) {
        let mut lost = 0_u64;
        while self.reader.next().is_some() {
            lost += 1;
        }
        if lost > 0 {
            let text = format!("{lost} records lost: the stream was never started: {}", self.said);
            self.inner.tell(Level::Error, &text);
        }
    }
}
