//! Which streams are at work in this process.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::claims::{Claim, Claims, Id};
use super::error::StartError;
use super::folder::{self, Folder};
use super::labels::Labels;
use super::start::{self, start};
use super::stuck::StuckRoutes;
use super::{Environment, FOREVER, Identity, Pipeline, Target};
use crate::clock::Clock;
use crate::events::Level;
use crate::priority::Priority;
use crate::ring::Record;
use crate::settings::{OnFull, Place, Settings};
use crate::spool::DiskError;
use crate::stats::{Stats, set};
use crate::thread;

/// How long `attach` waits for a pipeline of the same spool that is just closing.
const CLOSING: Duration = Duration::from_secs(2);

/// Between two looks of the observers.
const PUBLISH: Duration = Duration::from_millis(100);

/// A holder's ticket, and its way into the ring.
#[derive(Debug)]
pub struct Attachment {
    pipeline: Arc<Pipeline>,
    target: Arc<Target>,
    ticket: u64,
    /// How long a worker waits when the ring is full.
    wait: Duration,
}

impl Attachment {
    /// The pipeline.
    #[must_use]
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// Hands one line, newline included, to the packer. Never blocks, unless the settings ask a
    /// worker to wait for a full ring; a line that finds no room is counted.
    pub fn push(&self, line: Record<'_>, priority: Priority) {
        self.pipeline.push(line, priority, self.ticket, self.wait);
    }

    /// What it was loaded with.
    pub(super) fn settings(&self) -> &Settings {
        &self.target.settings
    }

    /// Takes a line that has waited elsewhere; whether it is in the ring.
    pub(super) fn take_over(&self, line: Record<'_>, clock: &dyn Clock) -> bool {
        self.pipeline.take_over(line, self.ticket, clock)
    }
}

/// How far a folder is that is sent and closed.
#[derive(Debug)]
pub(crate) struct TakenUp {
    /// Its counters.
    pub(crate) stats: Arc<Stats>,
    spool: Arc<AtomicBool>,
}

impl TakenUp {
    /// Whether its spool was read, so that the counters tell of all that is in it.
    pub(crate) fn is_read(&self) -> bool {
        // Relaxed: the pipeline has ended, or it is late anyway.
        self.spool.load(Ordering::Relaxed)
    }
}

type Pipelines = HashMap<Id, Arc<Pipeline>>;

/// The pipelines of this process. Called by Varnish's CLI thread; only [`Registry::drain`] waits.
#[derive(Debug, Default, Clone)]
pub struct Registry {
    pipelines: Arc<Mutex<Pipelines>>,
    claims: Claims,
    stuck: StuckRoutes,
    waiting_labels: Labels,
    opening_labels: Labels,
    /// There is a thread that publishes.
    publishing: Arc<AtomicBool>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Pipelines> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    pub(super) fn stuck(&self) -> &StuckRoutes {
        &self.stuck
    }

    pub(super) fn waiting_labels(&self) -> &Labels {
        &self.waiting_labels
    }

    pub(super) fn opening_labels(&self) -> &Labels {
        &self.opening_labels
    }

    /// Whether a pipeline is called so.
    pub(super) fn has_label(&self, label: &str) -> bool {
        self.lock().values().any(|one| one.identity.label == label)
    }

    /// Whether there is a pipeline of this id.
    pub(super) fn has(&self, id: &Id) -> bool {
        self.lock().contains_key(id)
    }

    /// The pipeline that has this folder open.
    pub(super) fn opened(&self, folder: &Path) -> Option<Arc<Pipeline>> {
        let pipelines = self.lock();
        pipelines.values().find(|one| one.identity.folder.as_deref() == Some(folder)).cloned()
    }

    /// Joins the pipeline of this stream, spool and route, or starts it. What waits in the stream's
    /// other folders is taken up a little later.
    ///
    /// # Errors
    /// The spool cannot be used, or the client cannot be made. A gateway that is down is none.
    pub fn attach(
        &self,
        settings: Settings,
        environment: &Environment,
    ) -> Result<Attachment, StartError> {
        let target = Arc::new(Target::new(settings, environment)?);
        let settings = &target.settings;
        let wait = match settings.on_full {
            OnFull::Drop => Duration::ZERO,
            OnFull::Wait(wait) => wait,
        };
        let place = match &settings.place {
            Place::Directory(path) => Some(path.clone()),
            Place::Memory => None,
        };
        let id = (settings.stream.clone(), place.clone(), settings.route());
        let end = environment.clock.monotonic().saturating_add(CLOSING);
        loop {
            let running = self.lock().get(&id).cloned();
            if let Some(pipeline) = running {
                if let Some((ticket, alone)) = pipeline.attach(Arc::clone(&target)) {
                    if alone {
                        self.go_on(&pipeline, environment);
                    }
                    return Ok(Attachment { pipeline, target, ticket, wait });
                }
                drop(pipeline);
                if environment.clock.monotonic() > end {
                    return Err(StartError::Closing { stream: id.0 });
                }
                environment.clock.sleep(Duration::from_millis(5));
                continue;
            }
            let chosen = |taken: &dyn Fn(&Path) -> bool| {
                let directory = place.as_deref();
                directory.map(|place| folder::choose(place, settings, taken)).transpose()
            };
            let claim = self.claims.wait(&id, chosen).map_err(|source| StartError::Unread {
                stream: id.0.clone(),
                path: place.clone().unwrap_or_default(),
                source,
            })?;
            if self.has(&id) {
                // Opened since, for what waits in its folder.
                continue;
            }
            let pipeline = self.open_when_free(&id, &claim, &target, environment, end)?;
            let (ticket, _) = pipeline
                .attach(Arc::clone(&target))
                .ok_or_else(|| StartError::Closing { stream: pipeline.identity.stream.clone() })?;
            drop(claim);
            self.go_on(&pipeline, environment);
            return Ok(Attachment { pipeline, target, ticket, wait });
        }
    }

    /// Has the stream's other routes sent to their end for as long as this pipeline has a holder: those that
    /// were to close when the stream was gone, and what waits in folders.
    fn go_on(&self, pipeline: &Arc<Pipeline>, environment: &Environment) {
        for sibling in self.siblings(pipeline) {
            sibling.leave(FOREVER);
        }
        self.resume_later(pipeline, environment);
    }

    /// The other pipelines of the stream in its spool.
    fn siblings(&self, pipeline: &Arc<Pipeline>) -> Vec<Arc<Pipeline>> {
        self.lock().values().filter(|one| is_sibling(one, pipeline)).cloned().collect()
    }

    /// Opens what was claimed, until `end` again where somebody still looks at the pipeline that has
    /// closed.
    fn open_when_free(
        &self,
        id: &Id,
        claim: &Claim,
        target: &Arc<Target>,
        environment: &Environment,
        end: Duration,
    ) -> Result<Arc<Pipeline>, StartError> {
        loop {
            match self.open(id.clone(), claim.folder().cloned(), target, environment, true) {
                Err(StartError::Disk { source: DiskError::InUse { pid, .. }, .. })
                    if pid == Some(std::process::id()) && environment.clock.monotonic() < end =>
                {
                    environment.clock.sleep(Duration::from_millis(5));
                }
                opened => return opened,
            }
        }
    }

    /// Starts a pipeline that nobody holds yet.
    pub(super) fn open(
        &self,
        id: Id,
        folder: Option<PathBuf>,
        target: &Arc<Target>,
        environment: &Environment,
        keeps: bool,
    ) -> Result<Arc<Pipeline>, StartError> {
        let label = self.label(&id, folder.as_ref());
        let identity = Identity {
            stream: id.0.clone(),
            route: id.2,
            fresh: folder.as_ref().is_some_and(|folder| !folder.exists()),
            folder,
            label: label.to_string(),
            keeps,
        };
        let closed = {
            let (registry, id) = (self.clone(), id.clone());
            Box::new(move |pipeline: Arc<Pipeline>| registry.close(&id, pipeline))
        };
        let observer = (environment.observer)(&identity.label);
        let pipeline = start(Arc::clone(target), identity, environment, observer, closed)?;
        self.lock().insert(id, Arc::clone(&pipeline));
        drop(label);
        if let Some(folder) = &pipeline.identity.folder {
            self.stuck.forget(folder);
        }
        self.publish(&pipeline);
        Ok(pipeline)
    }

    /// Shows everybody's counters several times a second, from one thread, while there are any.
    fn publish(&self, pipeline: &Pipeline) {
        if self.publishing.swap(true, Ordering::SeqCst) {
            return;
        }
        let registry = self.clone();
        let body = move || {
            loop {
                std::thread::sleep(PUBLISH);
                let all: Vec<_> = {
                    let pipelines = registry.lock();
                    if pipelines.is_empty() {
                        // Under the lock: who comes next starts another thread.
                        registry.publishing.store(false, Ordering::SeqCst);
                        return;
                    }
                    pipelines.values().cloned().collect()
                };
                for pipeline in &all {
                    let publish = AssertUnwindSafe(|| {
                        registry.count_waiting(&all, pipeline);
                        pipeline.publish();
                    });
                    let _ = catch_unwind(publish);
                }
            }
        };
        if let Err(error) = thread::spawn("s3log-stat", body) {
            self.publishing.store(false, Ordering::SeqCst);
            let text = format!("counters are not published: a thread cannot be started: {error}");
            pipeline.tell(Level::Error, &text);
        }
    }

    /// Counts the other routes of the stream that no VCL has.
    fn count_waiting(&self, all: &[Arc<Pipeline>], pipeline: &Arc<Pipeline>) {
        let left = all.iter().filter(|one| is_sibling(one, pipeline) && one.is_left()).count();
        let stuck = self.stuck.of(pipeline.identity.directory(), &pipeline.identity.stream).len();
        set(&pipeline.stats.waiting_routes, (left + stuck) as u64);
        set(&pipeline.stats.stuck_routes, stuck as u64);
    }

    /// Takes up a folder whoever its records are for, sends them as `settings` say, for at most
    /// their `exit_timeout`, and closes it.
    ///
    /// # Errors
    /// The spool cannot be used, or the client cannot be made.
    pub(crate) fn take_up(
        &self,
        folder: &Folder,
        settings: Settings,
        environment: &Environment,
    ) -> Result<TakenUp, StartError> {
        let directory = folder.path.parent().map(PathBuf::from);
        let route = folder.route().unwrap_or_else(|| settings.route());
        let id = (settings.stream.clone(), directory, route);
        let timeout = settings.exit_timeout;
        let target = Arc::new(Target::new(settings, environment)?);
        let pipeline = self.open(id, Some(folder.path.clone()), &target, environment, false)?;
        let stats = Arc::clone(pipeline.stats());
        let spool = Arc::clone(&pipeline.taken_up);
        pipeline.leave(timeout);
        Ok(TakenUp { stats, spool })
    }

    /// Says so when a stream is loaded with fewer readers than one of the same name that is at work,
    /// and nothing else shows that this is meant.
    pub fn warn_of_weaker(&self, attachment: &Attachment, environment: &Environment) {
        let settings = &attachment.target.settings;
        let readers = settings.readers();
        let pipelines: Vec<_> = self.lock().values().cloned().collect();
        for other in pipelines.iter().filter(|one| one.identity.stream == settings.stream) {
            let Some(target) = other.target().filter(|_| !other.is_left()) else { continue };
            let there = &target.settings;
            let same = there.bucket.name() == settings.bucket.name()
                && there.naming.path() == settings.naming.path();
            if same && readers.len() < there.readers().len() {
                let text = format!(
                    "stream {}: a VCL was loaded whose records go to {} (route {}), while those of \
                     another go to {} (route {}): if this is not meant, load it with the same keys",
                    settings.stream,
                    settings.destination(),
                    settings.route(),
                    there.destination(),
                    other.identity.route,
                );
                environment.events.event(Level::Warn, &text);
            }
        }
    }

    /// Lets go of a pipeline; with the last one it drains, and ends by itself. Never blocks.
    pub fn detach(&self, attachment: &Attachment) {
        let pipeline = &attachment.pipeline;
        let siblings = self.siblings(pipeline);
        let goes_on = siblings.iter().any(|one| !one.is_left());
        // Asked first: once it drains, what waits is on its way from one place to the next.
        let waits = pipeline.waits();
        if !pipeline.detach(attachment.ticket, goes_on) {
            return;
        }
        if goes_on {
            if let Some(target) = pipeline.target().filter(|_| waits) {
                let text = format!(
                    "no VCL has this route any more; what waits is sent as it says: {}",
                    target.settings.destination()
                );
                pipeline.tell(Level::Warn, &text);
            }
            return;
        }
        // The whole stream goes.
        for sibling in siblings {
            let timeout = sibling.target().map(|target| target.settings.exit_timeout);
            sibling.leave(timeout.unwrap_or_default());
        }
    }

    /// The state of a pipeline as one line of JSON, with what waits for the stream's routes that no
    /// VCL has.
    #[must_use]
    pub fn status(&self, pipeline: &Arc<Pipeline>) -> String {
        let mut status = pipeline.state();
        let pipelines = self.lock();
        let left = pipelines.values().filter(|one| is_sibling(one, pipeline) && one.is_left());
        let mut waiting: Vec<_> = left.map(|one| one.waiting()).collect();
        waiting.extend(self.stuck.of(pipeline.identity.directory(), &pipeline.identity.stream));
        if let Some(object) = status.as_object_mut() {
            object.insert("waiting_routes".to_owned(), waiting.into());
        }
        status.to_string()
    }

    /// Seals and uploads what there is, for at most each stream's `exit_timeout`.
    pub fn drain(&self, environment: &Environment) {
        let pipelines: Vec<_> = self.lock().values().cloned().collect();
        let deadlines: Vec<_> = pipelines.iter().map(|pipeline| pipeline.drain()).collect();
        for (pipeline, (deadline, generation)) in pipelines.iter().zip(deadlines) {
            while !pipeline.is_drained(generation)
                && !pipeline.is_closed()
                && environment.clock.monotonic() < deadline
            {
                environment.clock.sleep(Duration::from_millis(5));
            }
            pipeline.publish();
            let lost = pipeline.would_be_lost();
            if lost > 0 && !pipeline.is_drained(generation) {
                let text = format!("{lost} records lost: spool is none and exit_timeout is over");
                environment.events.event(Level::Error, &text);
            }
        }
    }

    /// How many pipelines there are, those that drain included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// What the packer's thread does last.
    fn close(&self, id: &Id, pipeline: Arc<Pipeline>) {
        // Whoever finds the stream gone may open its spool at once, so nobody may have it open then: a
        // holder that has let go may still be about to drop its reference.
        let clock = Arc::clone(&pipeline.environment.clock);
        let end = clock.monotonic().saturating_add(CLOSING);
        while Arc::strong_count(&pipeline) > 2 && clock.monotonic() < end {
            clock.sleep(Duration::from_millis(1));
        }
        let all = self.lock();
        let replaced = all.values().any(|one| is_sibling(one, &pipeline) && !one.is_left());
        drop(all);
        let folder = pipeline.identity.folder.as_deref();
        let claim = folder.and_then(|folder| self.claims.try_folder(id, folder));
        if let Some(folder) = claim.as_ref().and_then(Claim::folder)
            && pipeline.ring.usage().used == 0
            && (replaced || pipeline.identity.fresh && start::was_never_used(&pipeline))
        {
            // Something is in it, or it stays for another reason: the next start sees it again.
            let _ = folder::remove(folder);
        }
        // Free only once the spool's lock is: nobody finds the one without the other.
        let mut pipelines = self.lock();
        pipelines.remove(id);
        drop(pipeline);
        drop(pipelines);
    }
}

/// Whether both are routes of one stream in one spool.
fn is_sibling(one: &Arc<Pipeline>, other: &Arc<Pipeline>) -> bool {
    !Arc::ptr_eq(one, other)
        && one.identity.stream == other.identity.stream
        && one.identity.directory() == other.identity.directory()
}
