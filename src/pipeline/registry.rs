//! Which streams are at work in this process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::start::{StartError, start};
use super::{Environment, Observer, Pipeline, Target};
use crate::error::Level;
use crate::settings::{Place, Settings};

/// How long `attach` waits for a pipeline of the same spool that is just closing.
const CLOSING: Duration = Duration::from_secs(2);

/// What tells one pipeline from another: the stream's name and where its spool is.
type Id = (String, Option<PathBuf>);

/// A holder's ticket.
#[derive(Debug)]
pub struct Attachment(u64);

/// The pipelines of this process. Called by Varnish's CLI thread; only [`Registry::drain`] waits.
#[derive(Debug, Default)]
pub struct Registry {
    pipelines: Arc<Mutex<HashMap<Id, Arc<Pipeline>>>>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Arc<Pipeline>>> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the pipeline of this stream and spool, or starts it. The settings are in force from
    /// now on, except `spool` and `ring`, which a running pipeline keeps.
    ///
    /// # Errors
    /// The spool cannot be used, or the client cannot be made. A gateway that is down is none.
    pub fn attach(
        &self,
        settings: Settings,
        environment: &Environment,
        observer: impl FnOnce() -> Box<dyn Observer>,
    ) -> Result<(Arc<Pipeline>, Attachment), StartError> {
        let id = id(&settings);
        let end = environment.clock.monotonic().saturating_add(CLOSING);
        loop {
            let running = self.lock().get(&id).cloned();
            let Some(pipeline) = running else { break };
            let target = Target::new(settings.clone(), environment)?;
            if let Some(ticket) = pipeline.attach(target) {
                return Ok((pipeline, Attachment(ticket)));
            }
            drop(pipeline);
            if environment.clock.monotonic() > end {
                return Err(StartError::Closing { stream: id.0 });
            }
            environment.clock.sleep(Duration::from_millis(5));
        }
        let target = Target::new(settings, environment)?;
        let registry = Arc::clone(&self.pipelines);
        let closed = {
            let id = id.clone();
            Box::new(move |pipeline: Arc<Pipeline>| {
                // Whoever finds the stream gone may open its spool at once, so nobody may have it
                // open then: a holder that has let go may still be about to drop its reference.
                let clock = Arc::clone(&pipeline.environment.clock);
                let end = clock.monotonic().saturating_add(CLOSING);
                while Arc::strong_count(&pipeline) > 2 && clock.monotonic() < end {
                    clock.sleep(Duration::from_millis(1));
                }
                let mut pipelines = registry.lock().unwrap_or_else(PoisonError::into_inner);
                pipelines.remove(&id);
                drop(pipeline);
            })
        };
        let pipeline = start(target, environment, observer(), closed)?;
        self.lock().insert(id, Arc::clone(&pipeline));
        Ok((pipeline, Attachment(1)))
    }

    /// Lets go of a pipeline; with the last one it drains, and ends by itself. Never blocks.
    pub fn detach(&self, pipeline: &Pipeline, attachment: &Attachment) {
        pipeline.detach(attachment.0);
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

fn id(settings: &Settings) -> Id {
    let place = match &settings.place {
        Place::Directory(path) => Some(path.clone()),
        Place::Memory => None,
    };
    (settings.stream.clone(), place)
}
