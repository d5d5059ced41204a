//! The one registry of this process, and what it tells the threads about Varnish.

use std::sync::{Arc, LazyLock};

use super::child;
use super::counters::Publisher;
use super::events::Varnish;
use crate::clock::System;
use crate::pipeline::{Environment, Held, Observer, Outlet, Outlets, Refusal, Registry, Starter};
use crate::settings::{self, Arguments, OnStartFailure, Settings};

struct Process {
    registry: Registry,
    outlets: Outlets,
    environment: Environment,
}

static PROCESS: LazyLock<Process> = LazyLock::new(|| Process {
    registry: Registry::default(),
    outlets: Outlets::default(),
    environment: Environment { clock: Arc::new(System::new()), events: Arc::new(Varnish) },
});

/// Starts a stream as its VCL says.
struct OfVcl(Arguments);

impl Starter for OfVcl {
    fn start(&mut self) -> Result<Held, Refusal> {
        let settings = Settings::read(&self.0).map_err(|error| {
            let text = error.to_string();
            if error.blames_file() { Refusal::Place(text) } else { Refusal::Setting(text) }
        })?;
        let stream = settings.stream.clone();
        let started = PROCESS
            .registry
            .attach(settings, &PROCESS.environment, || Box::new(Publisher::new(&stream)));
        started.map_err(|error| {
            let text = error.to_string();
            if error.blames_place() { Refusal::Place(text) } else { Refusal::Setting(text) }
        })
    }

    fn end(&self, (pipeline, attachment): &Held) {
        PROCESS.registry.detach(pipeline, attachment);
    }

    fn observer(&self) -> Box<dyn Observer> {
        Box::new(Publisher::new(self.0.stream()))
    }
}

/// Joins or starts the stream's pipeline; where that fails and the arguments allow it, lines wait
/// until it can be started.
///
/// # Errors
/// A message for the operator.
pub(super) fn open(arguments: &Arguments) -> Result<Outlet, String> {
    super::exit::install();
    let text = |error: settings::Error| error.to_string();
    // What worked before a restart of the cache process must not keep it from starting.
    let serve = match OnStartFailure::read(arguments).map_err(text)? {
        Some(chosen) => chosen == OnStartFailure::Serve,
        None => child::is_starting(),
    };
    // A ring of a wrong size fails the load in any case.
    let room = settings::ring(arguments).unwrap_or_default();
    Outlet::open(
        arguments.stream(),
        Box::new(OfVcl(arguments.clone())),
        serve,
        room,
        &PROCESS.environment,
        &PROCESS.outlets,
    )
    .map_err(|refusal| refusal.to_string())
}

/// Seals and uploads what there is, for as long as the streams' settings allow.
pub(super) fn drain() {
    PROCESS.outlets.finish(&PROCESS.environment);
    PROCESS.registry.drain(&PROCESS.environment);
}
