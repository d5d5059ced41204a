//! A pipeline that only uploads, from a folder in which another process packs: `s3log ship`.
//!
//! It is the module's pipeline without a packer: its ring is empty, its store is filled by looking
//! into the folder, and the uploaders are the same. It ends when its owner says so, or when the folder
//! is gone; what it has in hand then stays in the spool.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::error::StartError;
use super::right::Right;
use super::start::{Parts, assemble};
use super::{Environment, Folder, Identity, Pipeline, Target, threads};
use crate::ring::{Backing, Capacity, Ring};
use crate::settings::Settings;
use crate::spool::{Look, SealedBlocks, ShipperState, SpoolError, Uploading, uploader};
use crate::stats::{Stats, add};

/// How often it says that it is at work, at least.
const BEAT: Duration = Duration::from_secs(5);

/// One folder's uploads.
#[derive(Debug)]
pub struct Shipment {
    pipeline: Arc<Pipeline>,
    /// Seconds since 1970.
    since: u64,
    beat: AtomicU64,
    /// When it last said something, monotonic milliseconds.
    said: AtomicU64,
}

impl Shipment {
    /// Takes the right to upload from the folder and starts its uploaders.
    ///
    /// # Errors
    /// Another process has it, the folder is not shared with this user, or the client cannot be made.
    pub fn open(
        folder: &Folder,
        settings: Settings,
        environment: &Environment,
    ) -> Result<Self, StartError> {
        let (stream, root) = (settings.stream.clone(), &folder.path);
        let system = |doing| {
            let stream = stream.clone();
            move |source| StartError::System { stream, doing, source }
        };
        let held = Uploading::take(root).map_err(system("read the spool"))?;
        let Some(held) = held else {
            let pid = uploader(root);
            return Err(StartError::Uploads { stream, path: root.clone(), pid });
        };
        let store = SealedBlocks::of_another(root).map_err(system("read the spool"))?;
        let ring = Ring::open(Backing::Memory, Capacity::MIN);
        let ring = ring.map_err(|source| StartError::Ring { stream: stream.clone(), source })?;
        let identity = Identity {
            stream: stream.clone(),
            label: name(root).unwrap_or_else(|| stream.clone()),
            route: folder.route().unwrap_or_else(|| settings.route()),
            folder: Some(root.clone()),
            fresh: false,
            keeps: false,
        };
        let observer = (environment.observer)(&identity.label);
        let parts = Parts {
            right: Right::held(held),
            ring: ring.ring,
            store: Arc::new(store),
            wakers: Vec::new(),
        };
        let target = Arc::new(Target::new(settings, environment)?);
        let pipeline = Arc::new(assemble(target, identity, environment, observer, parts));
        if let Err(source) = threads::hire(&pipeline) {
            pipeline.abandon();
            return Err(StartError::System { stream, doing: "start a thread", source });
        }
        let since = environment.clock.unix().as_secs();
        Ok(Self { pipeline, since, beat: AtomicU64::new(0), said: AtomicU64::new(0) })
    }

    /// Looks for blocks that have come or gone, and says how far it is, also where some cannot be
    /// read. Whether the folder is still there.
    ///
    /// # Errors
    /// It, or a block in it, cannot be read, or it cannot be written: the first error. All else is done.
    pub fn follow(&self) -> Result<bool, SpoolError> {
        if !self.pipeline.right.is_valid() {
            return Ok(false);
        }
        let clock = &*self.pipeline.environment.clock;
        let look = self.pipeline.store.follow(clock.monotonic(), clock.unix());
        let look =
            look.unwrap_or_else(|error| Look { unreadable: 1, why: Some(error), came: false });
        if look.came {
            self.pipeline.wake();
        }
        add(&self.pipeline.stats.spool_errors, look.unreadable);
        self.pipeline.publish();
        let told = self.tell_state();
        look.why.map_or(told, Err).map(|()| true)
    }

    fn tell_state(&self) -> Result<(), SpoolError> {
        let clock = &*self.pipeline.environment.clock;
        let now = super::view::milliseconds(clock.monotonic());
        let said = self.said.load(Ordering::Relaxed);
        if said > 0 && Duration::from_millis(now.saturating_sub(said)) < BEAT {
            return Ok(());
        }
        self.said.store(now.max(1), Ordering::Relaxed);
        self.pipeline.store.tell_state(&ShipperState {
            pid: std::process::id(),
            since: self.since,
            beat: self.beat.fetch_add(1, Ordering::Relaxed),
            ..ShipperState::of(&self.pipeline.stats)
        })
    }

    /// No block is begun any more. Those in hand are finished.
    pub fn stop(&self) {
        self.pipeline.leave(Duration::ZERO);
    }

    /// Whether no block is in hand.
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        // Acquire pairs with the uploaders' Release: what they had in hand is noted.
        self.pipeline.busy.load(Ordering::Acquire) == 0
    }

    /// Where blocks go, in words.
    #[must_use]
    pub(crate) fn destination(&self) -> String {
        self.pipeline.target().map_or_else(String::new, |target| {
            let settings = &target.settings;
            format!("{}, path {:?}", settings.bucket, settings.naming.path())
        })
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.pipeline.stats
    }
}

impl Drop for Shipment {
    fn drop(&mut self) {
        // What was counted since it last said something. Nobody waits for it: the folder may be gone.
        self.said.store(0, Ordering::Relaxed);
        self.pipeline.publish();
        let _ = self.tell_state();
        // The threads end by themselves, and with the last one the right to upload.
        self.pipeline.abandon();
    }
}

fn name(root: &Path) -> Option<String> {
    Some(root.file_name()?.to_string_lossy().into_owned())
}
