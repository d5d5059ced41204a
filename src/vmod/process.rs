//! The one registry of this process, what it tells the threads about Varnish, and how it ends.
//!
//! A VMOD gets no event when varnishd's cache process exits: on `varnishadm stop` and when the
//! manager ends, the child calls `exit(3)`. An exit handler may still wait for our threads there.

use std::panic::catch_unwind;
use std::sync::{Arc, LazyLock, Once};
use std::time::Duration;

use super::child;
use super::counters::Publisher;
use super::events::Varnish;
use super::identity::Whereto;
use crate::clock::System;
use crate::events::Level;
use crate::pipeline::{
    Attachment, Environment, Observer, Outlet, Outlets, Refusal, Registry, Starter,
};
use crate::settings::{self, Arguments, OnStartFailure, Settings};

/// The manager loads all VCLs into a new child one after the other, before it lets it accept; each
/// takes compiled code, so that some seconds are plenty.
const GRACE: Duration = Duration::from_secs(10);

struct Process {
    registry: Registry,
    outlets: Outlets,
    environment: Environment,
}

static PROCESS: LazyLock<Process> = LazyLock::new(|| Process {
    registry: Registry::default(),
    outlets: Outlets::default(),
    environment: Environment {
        clock: Arc::new(System::new()),
        events: Arc::new(Varnish),
        observer: Arc::new(|name| Box::new(Publisher::new(name))),
        grace: GRACE,
    },
});

/// Starts a stream as its VCL says.
struct OfVcl {
    arguments: Arguments,
    whereto: Arc<Whereto>,
    /// Nobody reads what is refused, and it may have worked before.
    again: bool,
}

impl Starter for OfVcl {
    fn start(&mut self) -> Result<Attachment, Refusal> {
        let settle = |settings: &Settings| self.whereto.settle(settings);
        PROCESS.registry.load(&self.arguments, self.again, &PROCESS.environment, settle)
    }

    fn loaded(&self, attachment: &Attachment) {
        PROCESS.registry.warn_of_weaker(attachment, &PROCESS.environment);
        PROCESS.registry.warn_of_other_credentials(attachment, &PROCESS.environment);
    }

    fn end(&self, attachment: &Attachment) {
        PROCESS.registry.detach(attachment);
    }

    fn observer(&self) -> Box<dyn Observer> {
        PROCESS.registry.observer_while_waiting(self.arguments.stream(), &PROCESS.environment)
    }
}

/// What is done for a stream that cannot be started as its arguments say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lenience {
    /// Its lines wait until it can be.
    serve: bool,
    /// Nobody reads what is refused, and it may have worked before.
    pub again: bool,
}

/// What worked before a restart of the cache process must not keep it from starting.
///
/// # Errors
/// The argument cannot be used.
pub(super) fn lenience(arguments: &Arguments) -> Result<Lenience, settings::Error> {
    let launch = child::is_starting();
    let serve = match OnStartFailure::read(arguments)? {
        Some(chosen) => chosen == OnStartFailure::Serve,
        None => launch,
    };
    Ok(Lenience { serve, again: launch || serve })
}

/// Tells the operator of an argument that is wrong and that the stream starts with all the same.
pub(super) fn object(objection: &settings::Error) {
    PROCESS.environment.events.event(Level::Error, &objection.told());
}

/// Joins or starts the stream's pipeline, and says whereto as soon as that is known; where the start fails and
/// the arguments allow it, lines wait until it can be started.
///
/// # Errors
/// A message for the operator.
pub(super) fn open(
    arguments: &Arguments,
    lenience: Lenience,
    whereto: &Arc<Whereto>,
) -> Result<Outlet, String> {
    let Lenience { serve, again } = lenience;
    // A ring of a wrong size fails the load in any case.
    let room = settings::ring(arguments).unwrap_or_default();
    Outlet::open(
        arguments.stream(),
        Box::new(OfVcl { arguments: arguments.clone(), whereto: Arc::clone(whereto), again }),
        serve,
        room,
        &PROCESS.environment,
        &PROCESS.outlets,
    )
    .map_err(|refusal| refusal.to_string())
}

/// The stream's state as JSON.
pub(super) fn status(outlet: &Outlet) -> String {
    outlet.pipeline().map_or_else(|| outlet.status(), |pipeline| PROCESS.registry.status(pipeline))
}

/// Makes this process's exit wait for the streams' last uploads. Once is enough.
pub(super) fn drain_at_exit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler is a plain function of this module, which is never unmapped.
        unsafe { libc::atexit(at_exit) };
    });
}

extern "C" fn at_exit() {
    // A panic here would abort an exit that goes on well without us.
    let _ = catch_unwind(drain);
}

/// Seals and uploads what there is, for as long as the streams' settings allow.
fn drain() {
    PROCESS.outlets.finish(&PROCESS.environment);
    PROCESS.registry.drain(&PROCESS.environment);
}
