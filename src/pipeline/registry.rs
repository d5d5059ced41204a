//! Which streams are at work in this process.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::StartError;
use super::folder::{self, Folder};
use super::start::{self, start};
use super::{Environment, FOREVER, Identity, Pipeline, Target};
use crate::block::sanitise;
use crate::clock::Clock;
use crate::events::Level;
use crate::priority::Priority;
use crate::ring::Record;
use crate::settings::{OnFull, Place, RouteId, Settings};
use crate::spool::{Disk, DiskError};
use crate::stats::Stats;
use crate::thread;

/// Between two attempts to start what waits for a route that no VCL has.
const RESUME_AGAIN: Duration = Duration::from_secs(10);

/// How long `attach` waits for a pipeline of the same spool that is just closing.
const CLOSING: Duration = Duration::from_secs(2);

/// Between two looks of the observers.
const PUBLISH: Duration = Duration::from_millis(100);

/// What tells one pipeline from another: the stream's name, where its spool is, and its route.
type Id = (String, Option<PathBuf>, RouteId);

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

    /// Takes a line that has waited elsewhere; whether it is in the ring.
    pub(super) fn take_over(&self, line: Record<'_>, clock: &dyn Clock) -> bool {
        self.pipeline.take_over(line, self.ticket, clock)
    }
}

type Pipelines = HashMap<Id, Arc<Pipeline>>;

/// The pipelines of this process. Called by Varnish's CLI thread; only [`Registry::drain`] waits.
#[derive(Debug, Default, Clone)]
pub struct Registry {
    pipelines: Arc<Mutex<Pipelines>>,
    /// Held while a folder is looked for and opened, so that two do not open one.
    opening: Arc<Mutex<()>>,
    /// There is a thread that publishes.
    publishing: Arc<AtomicBool>,
}

fn lock(pipelines: &Mutex<Pipelines>) -> MutexGuard<'_, Pipelines> {
    pipelines.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Pipelines> {
        lock(&self.pipelines)
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
        let opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let end = environment.clock.monotonic().saturating_add(CLOSING);
        loop {
            let running = self.lock().get(&id).cloned();
            let Some(pipeline) = running else { break };
            if let Some(ticket) = pipeline.attach(Arc::clone(&target)) {
                return Ok(Attachment { pipeline, target, ticket, wait });
            }
            drop(pipeline);
            if environment.clock.monotonic() > end {
                return Err(StartError::Closing { stream: id.0 });
            }
            environment.clock.sleep(Duration::from_millis(5));
        }
        let folder = place.as_deref().map(|directory| folder::choose(directory, settings));
        let pipeline = loop {
            match self.open(id.clone(), folder.clone(), &target, environment, true) {
                // Somebody still looks at the one that has closed.
                Err(StartError::Disk { source: DiskError::InUse { pid, .. }, .. })
                    if pid == Some(std::process::id()) && environment.clock.monotonic() < end =>
                {
                    environment.clock.sleep(Duration::from_millis(5));
                }
                opened => break opened?,
            }
        };
        let ticket = pipeline
            .attach(Arc::clone(&target))
            .ok_or_else(|| StartError::Closing { stream: pipeline.identity.stream.clone() })?;
        drop(opening);
        self.resume_later(&pipeline, environment);
        Ok(Attachment { pipeline, target, ticket, wait })
    }

    /// Starts a pipeline that nobody holds yet.
    fn open(
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
            label,
            keeps,
        };
        let registry = Arc::clone(&self.pipelines);
        let closed = {
            let id = id.clone();
            Box::new(move |pipeline: Arc<Pipeline>| close(&registry, &id, pipeline))
        };
        let observer = (environment.observer)(&identity.label);
        let pipeline = start(Arc::clone(target), identity, environment, observer, closed)?;
        self.lock().insert(id, Arc::clone(&pipeline));
        self.publish(&pipeline);
        Ok(pipeline)
    }

    /// Shows everybody's counters several times a second, from one thread, while there are any.
    fn publish(&self, pipeline: &Pipeline) {
        if self.publishing.swap(true, Ordering::SeqCst) {
            return;
        }
        let (pipelines, publishing) = (Arc::clone(&self.pipelines), Arc::clone(&self.publishing));
        let body = move || {
            loop {
                std::thread::sleep(PUBLISH);
                let all: Vec<_> = {
                    let pipelines = lock(&pipelines);
                    if pipelines.is_empty() {
                        // Under the lock: who comes next starts another thread.
                        publishing.store(false, Ordering::SeqCst);
                        return;
                    }
                    pipelines.values().cloned().collect()
                };
                for pipeline in all {
                    let publish = AssertUnwindSafe(|| pipeline.publish());
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

    /// A name that no other pipeline of this process has.
    fn label(&self, id: &Id, folder: Option<&PathBuf>) -> String {
        let name = sanitise(&id.0);
        let folder = folder
            .and_then(|path| path.file_name())
            .map_or_else(|| name.clone(), |name| name.to_string_lossy().into_owned());
        let pipelines = self.lock();
        let taken = |label: &String| pipelines.values().any(|one| one.identity.label == *label);
        let with_route = format!("{name}@{}", id.2);
        let more = (2_u64..).map(|number| format!("{with_route}-{number}"));
        let mut labels = [folder, with_route.clone()].into_iter().chain(more);
        labels.find(|label| !taken(label)).unwrap_or(name)
    }

    /// Calls [`Registry::resume`] when the other VCLs have had the time to load, from a thread of its
    /// own: opening a spool may take long.
    fn resume_later(&self, pipeline: &Arc<Pipeline>, environment: &Environment) {
        let registry = self.clone();
        let weak = Arc::downgrade(pipeline);
        let later = environment.clone();
        let waits = move || {
            let (mut wait, mut told) = (later.grace, HashSet::new());
            loop {
                let end = later.clock.monotonic().saturating_add(wait);
                while later.clock.monotonic() < end {
                    if weak.upgrade().is_none_or(|pipeline| pipeline.is_closed()) {
                        return;
                    }
                    let left = end.saturating_sub(later.clock.monotonic());
                    later.clock.sleep(left.min(Duration::from_millis(100)));
                }
                let pipeline = weak.upgrade().filter(|pipeline| !pipeline.is_closed());
                if pipeline.is_none_or(|pipeline| registry.resume(&pipeline, &later, &mut told)) {
                    return;
                }
                wait = RESUME_AGAIN;
            }
        };
        if pipeline.identity.folder.is_some()
            && let Err(error) = thread::spawn("s3log-route", waits)
        {
            let text = format!("what waits for other routes is not taken up now: {error}");
            pipeline.tell(Level::Warn, &text);
        }
    }

    /// Takes up a folder whoever its records are for, sends them as `settings` say, for at most
    /// their `exit_timeout`, and closes it; the counters tell how far it is.
    ///
    /// # Errors
    /// The spool cannot be used, or the client cannot be made.
    pub fn take_up(
        &self,
        folder: &Folder,
        settings: Settings,
        environment: &Environment,
    ) -> Result<Arc<Stats>, StartError> {
        let directory = folder.path.parent().map(PathBuf::from);
        let route = folder.route().unwrap_or_else(|| settings.route());
        let id = (settings.stream.clone(), directory, route);
        let timeout = settings.exit_timeout;
        let target = Arc::new(Target::new(settings, environment)?);
        let pipeline = self.open(id, Some(folder.path.clone()), &target, environment, false)?;
        let stats = Arc::clone(pipeline.stats());
        pipeline.leave(timeout);
        Ok(stats)
    }

    /// Starts what waits in folders of the stream whose routes no VCL has, and removes those in which
    /// nothing does. Whether all that wait are started; each reason why not is said once.
    fn resume(
        &self,
        pipeline: &Pipeline,
        environment: &Environment,
        told: &mut HashSet<String>,
    ) -> bool {
        let Some(own) = &pipeline.identity.folder else { return true };
        let Some(directory) = own.parent() else { return true };
        let mut all = true;
        let stream = &pipeline.identity.stream;
        for folder in folder::all(directory, stream) {
            let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
            let open = |one: &Arc<Pipeline>| one.identity.folder.as_ref() == Some(&folder.path);
            if self.lock().values().any(open) {
                continue;
            }
            if !folder.has_records() {
                // Not while another process has it.
                let open = if folder.is_external() { Disk::open_shared } else { Disk::open };
                if let Ok(held) = open(&folder.path) {
                    let _ = folder::remove(&folder.path);
                    drop(held);
                }
                continue;
            }
            let path = folder.path.display().to_string();
            if let Err(problem) = self.resume_folder(stream, folder, environment) {
                let text = format!(
                    "stream {stream}: {path} has records of a route that no VCL has, and they wait: \
                     {problem}"
                );
                all = false;
                if told.insert(text.clone()) {
                    environment.events.event(Level::Error, &text);
                }
            }
        }
        all
    }

    fn resume_folder(
        &self,
        stream: &str,
        folder: Folder,
        environment: &Environment,
    ) -> Result<(), String> {
        let Some(saved) = &folder.saved else {
            return Err(
                "the file route in it cannot be read, or was never written; load a VCL with \
                        the stream as it was, with its keys"
                    .to_owned(),
            );
        };
        let directory = folder.path.parent().unwrap_or(&folder.path);
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let arguments = saved.arguments(directory);
        let settings = saved.settings(&arguments).map_err(|error| text(&error))?;
        let route = folder.route().ok_or("its route is unknown")?;
        let destination = settings.destination();
        let target = Target::new(settings, environment).map_err(|error| text(&error))?;
        let id = (stream.to_owned(), Some(directory.to_owned()), route);
        let pipeline = self
            .open(id, Some(folder.path.clone()), &Arc::new(target), environment, true)
            .map_err(|error| text(&error))?;
        pipeline.leave(FOREVER);
        pipeline.tell(
            Level::Warn,
            &format!(
                "records wait for a route that no VCL has; they are sent as it says: {destination}"
            ),
        );
        Ok(())
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
        let siblings: Vec<_> =
            self.lock().values().filter(|one| is_sibling(one, pipeline)).cloned().collect();
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
        let waiting: Vec<_> = pipelines
            .values()
            .filter(|one| is_sibling(one, pipeline) && one.is_left())
            .map(|one| one.waiting())
            .collect();
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
}

/// Whether both are routes of one stream in one spool.
fn is_sibling(one: &Arc<Pipeline>, other: &Arc<Pipeline>) -> bool {
    let parent = |pipeline: &Arc<Pipeline>| {
        pipeline.identity.folder.as_ref().and_then(|folder| folder.parent()).map(PathBuf::from)
    };
    !Arc::ptr_eq(one, other)
        && one.identity.stream == other.identity.stream
        && parent(one) == parent(other)
}

/// What the packer's thread does last.
fn close(registry: &Mutex<Pipelines>, id: &Id, pipeline: Arc<Pipeline>) {
    // Whoever finds the stream gone may open its spool at once, so nobody may have it open then: a
    // holder that has let go may still be about to drop its reference.
    let clock = Arc::clone(&pipeline.environment.clock);
    let end = clock.monotonic().saturating_add(CLOSING);
    while Arc::strong_count(&pipeline) > 2 && clock.monotonic() < end {
        clock.sleep(Duration::from_millis(1));
    }
    let replaced = lock(registry).values().any(|one| is_sibling(one, &pipeline) && !one.is_left());
    if let Some(folder) = &pipeline.identity.folder
        && pipeline.ring.usage().used == 0
        && (replaced || pipeline.identity.fresh && start::was_never_used(&pipeline))
    {
        // Something is in it, or it stays for another reason: the next start sees it again.
        let _ = folder::remove(folder);
    }
    // Free only once the spool's lock is: nobody finds the one without the other.
    let mut pipelines = lock(registry);
    pipelines.remove(id);
    drop(pipeline);
    drop(pipelines);
}
