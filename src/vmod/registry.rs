//! The one registry of this process, and what it tells the threads about Varnish.

use std::sync::{Arc, LazyLock};

use super::counters::Publisher;
use super::events::Varnish;
use crate::clock::System;
use crate::pipeline::{Attachment, Environment, Pipeline, Registry};
use crate::settings::Settings;

struct Process {
    registry: Registry,
    environment: Environment,
}

static PROCESS: LazyLock<Process> = LazyLock::new(|| Process {
    registry: Registry::default(),
    environment: Environment { clock: Arc::new(System::new()), events: Arc::new(Varnish) },
});

/// Joins or starts the stream's pipeline.
pub(super) fn attach(settings: Settings) -> Result<(Arc<Pipeline>, Attachment), String> {
    super::exit::install();
    let stream = settings.stream.clone();
    PROCESS
        .registry
        .attach(settings, &PROCESS.environment, || Box::new(Publisher::new(&stream)))
        .map_err(|error| error.to_string())
}

/// Lets go of the stream's pipeline. Never blocks.
pub(super) fn detach(pipeline: &Pipeline, attachment: &Attachment) {
    PROCESS.registry.detach(pipeline, attachment);
}

/// Seals and uploads what there is, for as long as the streams' settings allow.
pub(super) fn drain() {
    PROCESS.registry.drain(&PROCESS.environment);
}
