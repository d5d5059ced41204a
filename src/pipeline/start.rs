//! Opens a stream's ring and spool, takes up what an earlier process left, and starts the threads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_utils::sync::Parker;
use nix::sys::signal::{SigSet, SigmaskHow};

use super::ledger::{self, Ledger};
use super::packer::Packer;
use super::{
    Attached, Control, Environment, Identity, Observer, Pipeline, Target, folder, spread, uploader,
};
use crate::block::{BootId, ChunkEncoder, Drops};
use crate::error::{Level, RateLimit};
use crate::ring::{Backing, OpenError, Opened, Ring};
use crate::s3::credentials::{CredentialsError, chain};
use crate::s3::{Client, SetupError};
use crate::settings::{Settings, variables};
use crate::spool::{
    ChunkStats, Disk, DiskError, Files, Memory, Options, Recovered, Spool, SpoolError, SyncPolicy,
};
use crate::stats::{Stats, get, set};
use crate::units;

/// Why a stream cannot be opened; the text names the stream and the argument.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The client cannot be made.
    #[error("s3log: stream {stream}: {source}")]
    Client {
        /// The stream.
        stream: String,
        /// Why.
        source: SetupError,
    },
    /// The file that was named holds no credentials.
    #[error("s3log: stream {stream}: credentials: {source}")]
    Credentials {
        /// The stream.
        stream: String,
        /// Why.
        source: CredentialsError,
    },
    /// The spool's directory cannot be used.
    #[error("s3log: stream {stream}: {source}")]
    Disk {
        /// The stream.
        stream: String,
        /// Why.
        source: DiskError,
    },
    /// What is in the spool cannot be taken up.
    #[error("s3log: stream {stream}: {source}")]
    Spool {
        /// The stream.
        stream: String,
        /// Why.
        source: SpoolError,
    },
    /// The ring cannot be opened.
    #[error("s3log: stream {stream}: {source}")]
    Ring {
        /// The stream.
        stream: String,
        /// Why.
        source: OpenError,
    },
    /// A file or a thread that the system refused.
    #[error("s3log: stream {stream}: cannot {doing}: {source}")]
    System {
        /// The stream.
        stream: String,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The stream's earlier pipeline has not let go of the spool yet.
    #[error("s3log: stream {stream}: the spool is still being closed: load the VCL again")]
    Closing {
        /// The stream.
        stream: String,
    },
}

impl StartError {
    /// Whether a file, a directory or a lock is at fault, which may be usable at another time; else
    /// a setting is wrong as it is written.
    #[must_use]
    pub fn blames_place(&self) -> bool {
        match self {
            Self::Client { source, .. } => source.blames_file(),
            Self::Credentials { .. }
            | Self::Disk { .. }
            | Self::Spool { .. }
            | Self::Ring { .. }
            | Self::System { .. }
            | Self::Closing { .. } => true,
        }
    }
}

impl Target {
    /// Makes the client. A credentials file that was named must be there and be readable; every
    /// other source may still come.
    pub(super) fn new(settings: Settings, environment: &Environment) -> Result<Self, StartError> {
        let stream = || settings.stream.clone();
        let failed = |source| StartError::Client { stream: stream(), source };
        let credentials = chain(&settings.sources, &variables(), &settings.s3)
            .map_err(SetupError::from)
            .map_err(failed)?;
        if settings.sources.file.is_some() && settings.sources.role.is_none() {
            credentials
                .get(environment.clock.unix())
                .map_err(|source| StartError::Credentials { stream: stream(), source })?;
        }
        let client = Client::new(
            settings.bucket.clone(),
            settings.s3.clone(),
            Arc::new(credentials),
            Arc::clone(&environment.clock),
        )
        .map_err(failed)?;
        Ok(Self { settings, client })
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
    let keeps = identity.keeps;
    let mut opening = Opening { settings, environment, folder, keeps, notes: Vec::new() };
    let (opened, spool, recovered) = opening.open()?;
    let notes = opening.notes;
    let stats = Stats::default();
    set(&stats.torn, opened.recovered.torn);
    set(&stats.recovered, recovered);
    let encoder = ChunkEncoder::new(settings.codec).map_err(|source| StartError::System {
        stream: stream.clone(),
        doing: "prepare compression",
        source,
    })?;
    let codec = settings.codec;
    let (sealing, signer) = (settings.sealing.clone(), settings.signer.clone());
    let threads = settings.upload_threads;
    let woken: Vec<_> = (0..=threads).map(|_| Parker::new()).collect();
    let wakers = woken.iter().map(|parker| parker.unparker().clone()).collect();
    let pipeline = Arc::new(Pipeline {
        identity,
        ring: opened.ring,
        store: spool.store(),
        stats: Arc::new(stats),
        environment: environment.clone(),
        control: Mutex::new(Control {
            attached: vec![Attached { ticket: 0, target, used: 0 }],
            in_force: 0,
            holders: 0,
            next: 0,
            uses: 0,
            deadline: None,
            closed: false,
        }),
        generation: AtomicU64::new(0),
        latest: AtomicU64::new(0),
        drained: AtomicU64::new(0),
        busy: AtomicUsize::new(0),
        uploads: super::uploader::Uploads::default(),
        wakers,
    });
    pipeline.changed();
    for (level, note) in notes {
        pipeline.tell(level, &note);
    }
    let packer = Packer {
        since: (spool.open_len() > 0).then(|| environment.clock.monotonic()),
        share: spread::first_share(),
        ledger: Ledger::new(opened.reader, spool),
        observer,
        encoder,
        codec,
        sealing,
        signer,
        raw: Vec::new(),
        chunk: ChunkStats::default(),
        member: Vec::new(),
        told: Drops::default(),
        dropped_newest: 0,
        reported: [0; 5],
        limit: RateLimit::default(),
    };
    if let Err(source) = spawn_all(&pipeline, packer, woken, closed) {
        // Those that run already must not run on alone.
        pipeline.abandon();
        return Err(StartError::System { stream, doing: "start a thread", source });
    }
    Ok(pipeline)
}

fn spawn_all(
    pipeline: &Arc<Pipeline>,
    packer: Packer,
    woken: Vec<Parker>,
    closed: Closed,
) -> io::Result<()> {
    let mut woken = woken.into_iter();
    let Some(first) = woken.next() else { return Ok(()) };
    let mut uploaders = Vec::new();
    for parker in woken {
        let pipeline = Arc::clone(pipeline);
        uploaders.push(spawn("s3log-upload", move || {
            guard(&pipeline, "an uploader", || uploader::run(&pipeline, &parker));
        })?);
    }
    let pipeline = Arc::clone(pipeline);
    spawn("s3log-pack", move || {
        guard(&pipeline, "the packer", || packer.run(&pipeline, &first));
        for uploader in uploaders {
            // Woken by the closing; one that has panicked has said so.
            let _ = uploader.join();
        }
        closed(pipeline);
    })
    .map(drop)
}

/// Says that a thread has panicked. Nothing is lost: what it had in hand is in ring and spool, and
/// the next start takes it up.
fn guard(pipeline: &Pipeline, who: &str, body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        let text = format!("{who} panicked and has ended: restart varnishd");
        pipeline.tell(Level::Error, &text);
        // Whoever waits for it need not.
        pipeline.abandon();
    }
}

/// Starts a thread that no signal is delivered to: they are varnishd's.
pub(super) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let mut before = SigSet::empty();
    // A new thread inherits the mask; blocking them in the thread itself would leave a gap.
    nix::sys::signal::pthread_sigmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        Some(&mut before),
    )?;
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    spawned
}

struct Opening<'a> {
    settings: &'a Settings,
    folder: Option<PathBuf>,
    /// The folder is to say whose it is.
    keeps: bool,
    environment: &'a Environment,
    notes: Vec<(Level, String)>,
}

impl Opening<'_> {
    fn stream(&self) -> String {
        self.settings.stream.clone()
    }

    /// The ring, the spool, and how many records the spool held already.
    fn open(&mut self) -> Result<(Opened, Spool, u64), StartError> {
        let (files, path): (Arc<dyn Files>, Option<PathBuf>) = match &self.folder {
            None => (Arc::new(Memory::new()), None),
            Some(root) => {
                let disk = Disk::open(root)
                    .map_err(|source| StartError::Disk { stream: self.stream(), source })?;
                if let Some(warning) = disk.warning() {
                    let note = format!("the spool {} {warning}", root.display());
                    self.notes.push((Level::Warn, note));
                }
                (Arc::new(disk), Some(root.join("ring")))
            }
        };
        // The ring is upgraded when it is opened; a spool that is refused is left as it was.
        Spool::check_format(&*files)
            .map_err(|source| StartError::Spool { stream: self.stream(), source })?;
        let mut opened = self.open_ring(path.as_deref())?;
        let options = self.options();
        let (mut spool, found) =
            Spool::open(files, options, opened.recovered.payload.as_deref())
                .map_err(|source| StartError::Spool { stream: self.stream(), source })?;
        // With what recovery found to be lost, so that what is counted as lost was counted before.
        let counts = spool.store().counts();
        let mut records = counts.sealed.records + spool.open_records();
        records += counts.lost.records + counts.dropped.records + counts.held.records;
        records += counts.quarantined.records;
        if let Err(error) = ledger::begin(&mut opened.reader, &spool) {
            self.notes.push((Level::Warn, error.to_string()));
        }
        self.note_spool(&found);
        if opened.recovered.torn > 0 {
            let torn = opened.recovered.torn;
            let note = format!("{torn} torn records in the ring: written by workers that died");
            self.notes.push((Level::Warn, note));
        }
        if opened.recovered.records + records > 0 {
            let note = format!(
                "takes up {} records from the ring and {records} from the spool",
                opened.recovered.records
            );
            self.notes.push((Level::Info, note));
        }
        if let Some(folder) = self.folder.as_ref().filter(|_| self.keeps)
            && let Err(error) = folder::save(folder, self.settings)
        {
            let note = format!("its route cannot be noted in the spool: {error}");
            self.notes.push((Level::Warn, note));
        }
        records += self.keep_secrets(&mut opened, &mut spool)?;
        if opened.recovered.capacity_differs
            && let Some(path) = path
        {
            // What the resizing takes from the ring the packer will not see.
            let before = spool.open_records();
            opened = self.resize(opened, &mut spool, &path);
            records += spool.open_records().saturating_sub(before);
        }
        Ok((opened, spool, records))
    }

    /// What the spool's recovery found besides blocks.
    fn note_spool(&mut self, found: &Recovered) {
        let mut warn = |note: String| self.notes.push((Level::Warn, note));
        if !found.rebuilt.is_empty() {
            warn(format!(
                "blocks {:?}: what stood beside them was damaged, made anew",
                found.rebuilt
            ));
        }
        if !found.set_aside.is_empty() {
            let names = found.set_aside.join(", ");
            warn(format!("files that are not the spool's, moved to its folder foreign: {names}"));
        }
        if found.left_in_place > 0 {
            let count = found.left_in_place;
            warn(format!("{count} files that are not the spool's could not be moved"));
        }
        if found.stale_payload {
            warn("the ring is older than the spool: some records may be sent twice".to_owned());
        }
    }

    fn options(&self) -> Options {
        let settings = self.settings;
        let boot = BootId::new(self.environment.clock.unix().as_secs(), fastrand::u16(..));
        Options {
            codec: settings.codec.kind(),
            naming: settings.naming.clone(),
            spool_max: settings.spool_max,
            on_full: settings.on_spool_full,
            sync: settings.sync,
            sealing: settings.sealing.clone(),
            signer: settings.signer.clone(),
            kernel: kernel_boot(),
            ..Options::new(&settings.stream, &settings.host, boot)
        }
    }

    fn open_ring(&mut self, path: Option<&Path>) -> Result<Opened, StartError> {
        let backing = path.map_or(Backing::Memory, Backing::File);
        let capacity = self.settings.ring;
        let stream = self.stream();
        match Ring::open(backing, capacity) {
            Err(error) if error.blames_file() && path.is_some() => {
                let path = path.unwrap_or_else(|| Path::new(""));
                let aside = set_aside(path, self.environment.clock.unix()).map_err(|source| {
                    StartError::System { stream: stream.clone(), doing: "set a ring aside", source }
                })?;
                let note = format!("{error}; it is set aside as {}", aside.display());
                self.notes.push((Level::Error, note));
                Ring::open(backing, capacity).map_err(|source| StartError::Ring { stream, source })
            }
            opened => opened.map_err(|source| StartError::Ring { stream, source }),
        }
    }

    /// What was logged to be encrypted and is not yet must not go out in clear: without a key the
    /// open block and the ring's records are set aside. How many of them came from the ring.
    fn keep_secrets(&mut self, opened: &mut Opened, spool: &mut Spool) -> Result<u64, StartError> {
        let mut came = 0;
        if spool.lacks_key() {
            let failed = |source| StartError::Spool { stream: self.stream(), source };
            let hold = |opened: &mut Opened, spool: &mut Spool| {
                if let Some(payload) = spool.hold().map_err(failed)? {
                    let _ = opened.reader.commit(payload.as_bytes());
                }
                Ok(())
            };
            hold(opened, spool)?;
            self.take_up(opened, spool).map_err(failed)?;
            came = spool.open_records();
            hold(opened, spool)?;
            let payload = spool.end_secrecy();
            let _ = opened.reader.commit(payload.as_bytes());
        }
        let held = spool.store().counts().held;
        if held.blocks > 0 && !spool.can_release() {
            let plural = if held.blocks == 1 { "" } else { "s" };
            self.notes.push((
                Level::Error,
                format!(
                    "{} block{plural} with {} records that wait for a key: they were logged to be \
                     encrypted, and are kept in clear as *.held in the spool; give encrypt_to or \
                     public_key again and load the VCL, or run s3log drain with it",
                    held.blocks, held.records
                ),
            ));
        }
        Ok(came)
    }

    /// The ring has another size than the settings ask for: what is in it goes to the spool, then
    /// a ring of the right size takes its place. If the spool cannot take it, or the disk has no
    /// room for both rings, the ring stays: what worked before works on.
    fn resize(&mut self, mut opened: Opened, spool: &mut Spool, path: &Path) -> Opened {
        let keeps = match self.take_up(&mut opened, spool) {
            Err(error) => error.to_string(),
            Ok(()) => match Ring::replace(path, self.settings.ring, spool.payload().as_bytes()) {
                Ok(replaced) => return replaced,
                Err(error) => error.to_string(),
            },
        };
        let size = units::show_bytes(opened.ring.usage().capacity);
        let note = format!("the ring keeps its size of {size} for now: {keeps}");
        self.notes.push((Level::Warn, note));
        opened
    }

    /// Packs what is in the ring into the open block.
    fn take_up(&self, opened: &mut Opened, spool: &mut Spool) -> Result<(), SpoolError> {
        let now = u64::try_from(self.environment.clock.unix().as_nanos()).unwrap_or(u64::MAX);
        let compress = || SpoolError::io("compress", "a chunk");
        let mut encoder = ChunkEncoder::new(self.settings.codec).map_err(compress())?;
        loop {
            let (mut raw, mut member) = (Vec::new(), Vec::new());
            let mut chunk = ChunkStats { first: now, last: now, ..ChunkStats::default() };
            while raw.len() < self.settings.chunk_bytes(1 << 30) {
                let Some(record) = opened.reader.next() else { break };
                raw.extend_from_slice(record);
                chunk.records += 1;
            }
            if chunk.records == 0 {
                return Ok(());
            }
            chunk.raw_bytes = raw.len() as u64;
            let packed = encoder.encode(&raw, &mut member).map_err(compress());
            match packed.and_then(|()| spool.append(&member, chunk)) {
                Ok(payload) => {
                    if matches!(self.settings.sync, SyncPolicy::Every(_)) {
                        // The commit erases the records. The packer tries again what fails here.
                        let _ = spool.sync();
                    }
                    let _ = opened.reader.commit(payload.as_bytes());
                }
                Err(error) => {
                    opened.reader.rewind();
                    return Err(error);
                }
            }
        }
    }
}

/// Renames a file that is not ours or is damaged; nothing is deleted.
fn set_aside(path: &Path, now: Duration) -> io::Result<PathBuf> {
    for more in 0..1000 {
        let more = if more == 0 { String::new() } else { format!(".{more}") };
        let aside = path.with_extension(format!("aside-{}{more}", now.as_secs()));
        // Another process has no business here: the spool is locked.
        if aside.symlink_metadata().is_ok() {
            continue;
        }
        std::fs::rename(path, &aside)?;
        return Ok(aside);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// This start of the kernel; zeroes when it does not say.
fn kernel_boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = text.trim().replace('-', "");
    u128::from_str_radix(&digits, 16).unwrap_or_default().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_is_set_aside_overwrites_none_that_was_before() {
        let folder = tempfile::tempdir().unwrap();
        let ring = folder.path().join("ring");
        let now = Duration::from_secs(7);
        for (content, name) in
            [("1", "ring.aside-7"), ("2", "ring.aside-7.1"), ("3", "ring.aside-7.2")]
        {
            std::fs::write(&ring, content).unwrap();
            let aside = set_aside(&ring, now).unwrap();
            assert_eq!(aside, folder.path().join(name));
            assert_eq!(std::fs::read_to_string(&aside).unwrap(), content);
        }
        assert_eq!(std::fs::read_to_string(folder.path().join("ring.aside-7")).unwrap(), "1");
    }
}
