//! Takes up what waits in a stream's folders for routes that no VCL has.
//!
//! A thread looks when the other VCLs have had the time to load, and again every ten seconds while
//! something cannot be started. Opening a spool may take long, and no load waits for it.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::folder::{self, Folder};
use super::panics::{MOST, Panics};
use super::{Environment, FOREVER, Pipeline, Registry, Target};
use crate::events::Level;
use crate::spool::Disk;
use crate::stats::add;
use crate::thread;

/// Between two attempts to start what waits for a route that no VCL has.
const AGAIN: Duration = Duration::from_secs(10);

impl Registry {
    /// Calls [`Registry::resume`] when the other VCLs have had the time to load, from a thread of its
    /// own. A pipeline has one such thread: it looks again for who asks meanwhile.
    pub(super) fn resume_later(&self, pipeline: &Arc<Pipeline>, environment: &Environment) {
        if pipeline.identity.folder.is_none() || !pipeline.looks.ask() {
            return;
        }
        let registry = self.clone();
        let weak = Arc::downgrade(pipeline);
        let later = environment.clone();
        let waits = move || {
            let (mut wait, mut told) = (later.grace, HashSet::new());
            let mut panics = Panics::default();
            loop {
                let look = AssertUnwindSafe(|| registry.look_after(wait, &weak, &later, &mut told));
                match catch_unwind(look) {
                    Ok(true) => {
                        let Some(pipeline) = weak.upgrade() else { return };
                        if pipeline.looks.end(pipeline.is_closed()) {
                            return;
                        }
                        wait = later.grace;
                    }
                    Ok(false) => wait = AGAIN,
                    Err(_) => {
                        let Some(pipeline) = weak.upgrade() else { return };
                        let Some(rest) = panics.note(later.clock.monotonic()) else {
                            let text = format!(
                                "taking up what waits for other routes has panicked {MOST} times \
                                 and is not tried any more: it waits for the next start"
                            );
                            pipeline.tell(Level::Error, &text);
                            pipeline.looks.give_up();
                            return;
                        };
                        let text = "taking up what waits for other routes panicked and is tried \
                                    again; no record is lost";
                        pipeline.tell(Level::Error, text);
                        wait = rest;
                    }
                }
            }
        };
        if let Err(error) = thread::spawn("s3log-route", waits) {
            pipeline.looks.give_up();
            let text = format!("what waits for other routes is not taken up now: {error}");
            pipeline.tell(Level::Warn, &text);
        }
    }

    /// Calls [`Registry::resume`] after `wait`, while the pipeline works. Whether there is nothing more
    /// to look for.
    fn look_after(
        &self,
        wait: Duration,
        pipeline: &Weak<Pipeline>,
        environment: &Environment,
        told: &mut HashSet<String>,
    ) -> bool {
        let clock = &*environment.clock;
        let mut end = clock.monotonic().saturating_add(wait);
        while clock.monotonic() < end {
            let Some(pipeline) = pipeline.upgrade().filter(|pipeline| !pipeline.is_closed()) else {
                return true;
            };
            if pipeline.looks.is_asked() {
                end = end.min(clock.monotonic().saturating_add(environment.grace));
            }
            drop(pipeline);
            let left = end.saturating_sub(clock.monotonic());
            clock.sleep(left.min(Duration::from_millis(100)));
        }
        let pipeline = pipeline.upgrade().filter(|pipeline| !pipeline.is_closed());
        // Where the whole stream goes, nothing is begun any more.
        pipeline.is_none_or(|pipeline| {
            pipeline.looks.begin();
            !pipeline.is_ending() && self.resume(&pipeline, environment, told)
        })
    }

    /// Starts what waits in folders of the stream whose routes no VCL has, and removes those in which
    /// nothing does. Whether all that wait are started; each reason why not is said once.
    fn resume(
        &self,
        pipeline: &Pipeline,
        environment: &Environment,
        told: &mut HashSet<String>,
    ) -> bool {
        let Some(directory) = pipeline.identity.directory() else { return true };
        let stream = &pipeline.identity.stream;
        let mut all = true;
        let folders = match folder::all(directory, stream) {
            Ok(folders) => folders,
            Err(error) => {
                add(&pipeline.stats.spool_errors, 1);
                let text = format!(
                    "spool {} cannot be read: {error}; what waits in it for other routes is looked for \
                     again every {} s",
                    directory.display(),
                    AGAIN.as_secs()
                );
                if told.insert(text.clone()) {
                    pipeline.tell(Level::Error, &text);
                }
                return false;
            }
        };
        self.stuck().keep(directory, stream, &folders);
        for folder in folders {
            let route = folder.route().unwrap_or(pipeline.identity.route);
            let id = (stream.clone(), Some(directory.to_owned()), route);
            let Some(_claim) = self.claims().try_folder(&id, &folder.path) else {
                // Whoever opens it may fail.
                all = false;
                continue;
            };
            if let Some(opened) = self.opened(&folder.path) {
                // What it may leave behind is to be taken up.
                all &= !opened.is_ending();
                continue;
            }
            if !folder.has_records() {
                self.stuck().forget(&folder.path);
                // Not while another process has it.
                let open = if folder.is_external() { Disk::open_shared } else { Disk::open };
                if let Ok(held) = open(&folder.path) {
                    let _ = folder::remove(&folder.path);
                    drop(held);
                }
                continue;
            }
            let Err(problem) = self.resume_folder(stream, directory, &folder, environment) else {
                continue;
            };
            all = false;
            self.stuck().note(stream, &folder, &problem);
            let text = format!(
                "stream {stream}: {} has records of a route that no VCL has, and they wait: {problem}",
                folder.path.display()
            );
            if told.insert(text.clone()) {
                environment.events.event(Level::Error, &text);
            }
        }
        all
    }

    fn resume_folder(
        &self,
        stream: &str,
        directory: &Path,
        folder: &Folder,
        environment: &Environment,
    ) -> Result<(), String> {
        let Some(saved) = &folder.saved else {
            return Err(
                "the file route in it cannot be read, or was never written; load a VCL with \
                        the stream as it was, with its keys; or move what is unencrypted with s3log \
                        requeue --from unknown"
                    .to_owned(),
            );
        };
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let arguments = saved.arguments(directory);
        let settings = saved.settings(&arguments).map_err(|error| text(&error))?;
        let route = folder.route().ok_or("its route is unknown")?;
        let destination = settings.destination();
        let target = Target::new(settings, environment).map_err(|error| text(&error))?;
        let id = (stream.to_owned(), Some(directory.to_owned()), route);
        if self.has(&id) {
            // Its file could not be read when a VCL with the route was loaded.
            return Err(format!(
                "the route {route} is at work in another folder; s3log drain sends what is in this one, \
                 once varnishd is stopped"
            ));
        }
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
}
