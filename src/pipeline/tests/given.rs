//! What a pipeline is made of, where the test has none of it to say.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::System;
use crate::events::{Events, Level};
use crate::pipeline::right::Right;
use crate::pipeline::start::{Parts, assemble};
use crate::pipeline::{Environment, Identity, Observer, Pipeline, Target};
use crate::ring::Ring;
use crate::settings::{Arguments, Settings};
use crate::spool::SealedBlocks;
use crate::stats::Stats;

/// Listens to nobody.
pub(in crate::pipeline) struct Nobody;

impl Events for Nobody {
    fn event(&self, _: Level, _: &str) {}
}

impl Observer for Nobody {
    fn observe(&mut self, _: &Stats) {}
}

/// The settings of the stream `access` to a gateway that is down.
pub(in crate::pipeline) fn settings(more: &[(&'static str, &str)]) -> Settings {
    let mut arguments = Arguments::new("access");
    let all = [("endpoint", "http://127.0.0.1:1"), ("bucket", "logs"), ("hostname", "node")];
    for (name, value) in all.iter().chain(more) {
        arguments.set(name, Some((*value).to_owned()));
    }
    Settings::read(&arguments).unwrap()
}

pub(in crate::pipeline) fn environment() -> Environment {
    Environment {
        clock: Arc::new(System::new()),
        events: Arc::new(Nobody),
        observer: Arc::new(|_| Box::new(Nobody)),
        grace: Duration::ZERO,
    }
}

/// A pipeline in memory that nobody holds, and of which no thread runs.
pub(in crate::pipeline) fn pipeline(
    settings: Settings,
    environment: &Environment,
    ring: Arc<Ring>,
    store: Arc<SealedBlocks>,
) -> Pipeline {
    let identity = Identity {
        stream: "access".to_owned(),
        label: "access".to_owned(),
        route: settings.route(),
        folder: None,
        fresh: false,
        keeps: false,
    };
    let parts = Parts { right: Right::default(), ring, store, wakers: Vec::new() };
    let target = Arc::new(Target { settings, client: None });
    assemble(target, identity, environment, Box::new(Nobody), parts)
}
