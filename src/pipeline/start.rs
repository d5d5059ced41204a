//! Makes a pipeline and starts its threads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_utils::sync::{Parker, Unparker};

use super::error::StartError;
use super::looks::Looks;
use super::packer::Packer;
use super::panics::keep_on;
use super::right::Right;
use super::take_up::Opening;
use super::uploads::Uploads;
use super::view::{Shown, View, milliseconds};
use super::windows::Windows;
use super::{Attached, Control, Environment, Identity, Observer, Pipeline, Target, staff, threads};
use crate::events::Level;
use crate::ring::Ring;
use crate::s3::credentials::chain;
use crate::s3::{Client, SetupError};
use crate::settings::{Settings, Upload, variables};
use crate::spool::SealedBlocks;
use crate::stats::{Stats, get, set};
use crate::thread;

impl Target {
    /// Makes the client. A credentials file that was named must be there and be readable; every
    /// other source may still come, and nobody is asked over a network here. Where another process
    /// uploads there is no client, and no file of it is read.
    pub(super) fn new(settings: Settings, environment: &Environment) -> Result<Self, StartError> {
        if settings.upload == Upload::External {
            return Ok(Self { settings, client: None });
        }
        let stream = || settings.stream.clone();
        let failed = |source| StartError::Client { stream: stream(), source };
        let credentials =
            chain(&settings.sources, &variables(), settings.bucket.endpoint(), &settings.s3)
                .map_err(SetupError::from)
                .map_err(failed)?;
        if settings.sources.file.is_some() && settings.sources.role.is_none() {
            credentials
                .check(environment.clock.unix())
                .map_err(|source| StartError::Credentials { stream: stream(), source })?;
        }
        let client = Client::new(
            settings.bucket.clone(),
            settings.s3.clone(),
            Arc::new(credentials),
            Arc::clone(&environment.clock),
        )
        .map_err(failed)?;
        Ok(Self { settings, client: Some(client) })
    }
}

/// What the packer's thread does last, when it has let go of ring and spool and the uploaders have
/// ended.
type Closed = Box<dyn FnOnce(Arc<Pipeline>) + Send>;

/// Whether nothing was ever in the pipeline's folder.
pub(super) fn was_never_used(pipeline: &Pipeline) -> bool {
    let stats = &pipeline.stats;
    get(&stats.records) + get(&stats.recovered) == 0 && pipeline.ring.usage().used == 0
}

/// What a pipeline works with.
pub(super) struct Parts {
    pub(super) right: Right,
    pub(super) ring: Arc<Ring>,
    pub(super) store: Arc<SealedBlocks>,
    pub(super) wakers: Vec<Unparker>,
}

/// A pipeline that nobody holds and that has no threads yet.
pub(super) fn assemble(
    target: Arc<Target>,
    identity: Identity,
    environment: &Environment,
    observer: Box<dyn Observer>,
    parts: Parts,
) -> Pipeline {
    let windows = Windows::new(target.settings.align.as_ref());
    windows.look(&parts.ring, &*environment.clock);
    let pipeline = Pipeline {
        right: parts.right,
        identity,
        ring: parts.ring,
        store: parts.store,
        stats: Arc::new(Stats::default()),
        environment: environment.clone(),
        control: Mutex::new(Control {
            attached: vec![Attached { ticket: 0, target, used: 0, held: false }],
            in_force: 0,
            holders: 0,
            next: 0,
            uses: 0,
            followed: Duration::ZERO,
            deadline: None,
            closed: false,
        }),
        generation: AtomicU64::new(0),
        news: AtomicU64::new(0),
        latest: AtomicU64::new(0),
        drained: AtomicU64::new(0),
        taken_up: Arc::default(),
        busy: AtomicUsize::new(0),
        uploads: Uploads::default(),
        wakers: Mutex::new(parts.wakers),
        staff: staff::Staff::default(),
        view: View::default(),
        shown: Shown::new(observer),
        windows,
        looks: Looks::default(),
    };
    let now = milliseconds(environment.clock.monotonic());
    set(&pipeline.view.round, now);
    set(&pipeline.view.uploaded, now);
    pipeline
}

/// Starts a pipeline that nobody holds, with the settings of `target` in force.
pub(super) fn start(
    target: Arc<Target>,
    identity: Identity,
    environment: &Environment,
    observer: Box<dyn Observer>,
    closed: Closed,
) -> Result<Arc<Pipeline>, StartError> {
    let settings = &target.settings;
    let stream = settings.stream.clone();
    let folder = identity.folder.clone();
    let owner = identity.keeps.then_some(identity.route);
    let mut opening = Opening::new(&target, environment, folder, owner)?;
    let woken = Parker::new();
    let wakers = vec![woken.unparker().clone()];
    let parts = Parts {
        right: Right::default(),
        ring: Arc::clone(&opening.ring),
        store: Arc::clone(&opening.store),
        wakers,
    };
    let pipeline = Arc::new(assemble(target, identity, environment, observer, parts));
    set(&pipeline.stats.torn, opening.torn);
    pipeline.changed();
    for (level, note) in opening.notes() {
        pipeline.tell(level, &note);
    }
    let pack = move |pipeline: &Arc<Pipeline>, woken: &Parker| {
        let taken = keep_on(
            &mut opening,
            (pipeline, woken),
            |opening| opening.finish(pipeline, woken),
            Opening::after_panic,
        );
        if let Some(parts) = opening.into_parts().filter(|_| taken == Some(true)) {
            Packer::new(pipeline, parts).run(woken);
        }
    };
    if let Err(source) = spawn_all(&pipeline, pack, woken, closed) {
        // Those that run already must not run on alone.
        pipeline.abandon();
        return Err(StartError::System { stream, doing: "start a thread", source });
    }
    Ok(pipeline)
}

fn spawn_all(
    pipeline: &Arc<Pipeline>,
    pack: impl FnOnce(&Arc<Pipeline>, &Parker) + Send + 'static,
    woken: Parker,
    closed: Closed,
) -> io::Result<()> {
    threads::hire(pipeline)?;
    let pipeline = Arc::clone(pipeline);
    thread::spawn("s3log-pack", move || {
        let pack = AssertUnwindSafe(|| pack(&pipeline, &woken));
        if catch_unwind(pack).is_err() {
            // Not in what it does over and over, which it restarts by itself.
            pipeline.tell(Level::Error, "the packer's thread has ended: restart varnishd");
            pipeline.abandon();
        }
        // Woken by the closing.
        threads::dismiss(&pipeline);
        closed(pipeline);
    })
    .map(drop)
}
