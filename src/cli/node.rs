//! What `drain`, `ship` and `requeue --from` give the module's own pipeline.

use std::io::Write as _;
use std::sync::Arc;

use crate::clock::System;
use crate::events::{Events, Level};
use crate::pipeline::{Environment, FOREVER, Observer};
use crate::printable::printable;
use crate::stats::Stats;

/// Messages, on standard error.
#[derive(Debug)]
pub(super) struct Terminal;

impl Events for Terminal {
    fn event(&self, level: Level, message: &str) {
        // A closed standard error is nobody's loss.
        let _ = writeln!(std::io::stderr(), "s3log: {}: {}", level.word(), printable(message));
    }
}

/// The counters are read from the pipeline, or go into the spool.
struct Nobody;

impl Observer for Nobody {
    fn observe(&mut self, _stats: &Stats) {}
}

/// An environment whose messages go to `events`, and which waits for as long as it takes.
pub(super) fn environment(events: Arc<dyn Events>) -> Environment {
    Environment {
        clock: Arc::new(System::new()),
        events,
        observer: Arc::new(|_| Box::new(Nobody)),
        grace: FOREVER,
    }
}
