//! Opens a stream's ring at once, and takes up its spool in the packer's thread.
//!
//! Who loads a VCL waits for the first part only: the folder's lock and the ring, whose records are
//! counted. The second part reads the description of every block that waits, which may be hundreds of
//! thousands on a cold disk; meanwhile lines go into the ring. A ring that has records and is to have
//! another size is the exception: nobody may push while it is replaced, so that the spool is taken up
//! first.
//!
//! What fails in the second part is told and tried again, and the records wait in the ring.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crossbeam_utils::sync::Parker;

use super::error::StartError;
use super::view::milliseconds;
use super::{Environment, Folder, Pipeline, Target, folder, ledger};
use crate::block::{BootId, ChunkEncoder, Drops};
use crate::clock::{Clock, nanoseconds};
use crate::events::{Level, RateLimit};
use crate::ring::{Backing, Opened, Ring};
use crate::settings::{Settings, Upload};
use crate::spool::{
    ChunkStats, Disk, Files, Memory, Options, Payload, Recovered, SealedBlocks, Spool, SpoolError,
    SyncPolicy,
};
use crate::stats::{add, get, set};
use crate::units;

/// Between two attempts to take up a spool.
const AGAIN: Duration = Duration::from_secs(10);

/// Between two looks for the end.
const LOOK: Duration = Duration::from_millis(100);

/// A spool, and how many records it held already.
type Taken = (Spool, u64);

/// A stream's folder with its ring open and its spool not yet.
pub(super) struct Opening {
    target: Arc<Target>,
    environment: Environment,
    pub(super) store: Arc<SealedBlocks>,
    pub(super) opened: Opened,
    /// What the ring's last commit says.
    payload: Option<Vec<u8>>,
    /// Up to where the ring was filled by the process before, in bytes since it was made; `None` when
    /// it was empty.
    filled: Option<u64>,
    /// There already, after a ring was replaced.
    taken: Option<Taken>,
    /// Another user's process uploads from the folder, or did when it was last opened.
    shared: bool,
    notes: Vec<(Level, String)>,
}

impl Opening {
    /// Takes the folder's lock and opens the ring; with `keeps` the folder is to say whose it is.
    pub(super) fn new(
        target: &Arc<Target>,
        environment: &Environment,
        folder: Option<PathBuf>,
        keeps: bool,
    ) -> Result<Self, StartError> {
        let settings = &target.settings;
        let stream = || settings.stream.clone();
        let mut notes = Vec::new();
        let shared = settings.upload == Upload::External
            || folder.as_ref().is_some_and(|root| Folder::read(root.clone()).is_external());
        let (files, path): (Arc<dyn Files>, Option<PathBuf>) = match &folder {
            None => (Arc::new(Memory::new()), None),
            Some(root) => {
                let open = if shared { Disk::open_shared } else { Disk::open };
                let disk =
                    open(root).map_err(|source| StartError::Disk { stream: stream(), source })?;
                if let Some(warning) = disk.warning() {
                    notes.push((Level::Warn, format!("the spool {} {warning}", root.display())));
                }
                (Arc::new(disk), Some(root.join("ring")))
            }
        };
        // The ring is upgraded when it is opened; a spool that is refused is left as it was.
        let refused = |source| StartError::Spool { stream: stream(), source };
        Spool::check_format(&*files).map_err(refused)?;
        let opened = open_ring(path.as_deref(), settings, environment, &mut notes)?;
        let payload = opened.recovered.payload.clone();
        let filled = opened.reader.cursor() + opened.reader.pending_bytes();
        let filled = (opened.recovered.records > 0).then_some(filled);
        Spool::check_commit(payload.as_deref()).map_err(refused)?;
        if let Some(folder) = folder.as_ref().filter(|_| keeps)
            && let Err(error) = folder::save(folder, settings)
        {
            let note = format!("its route cannot be noted in the spool: {error}");
            notes.push((Level::Warn, note));
        }
        let mut opening = Self {
            target: Arc::clone(target),
            environment: environment.clone(),
            store: Arc::new(SealedBlocks::empty(files)),
            opened,
            payload,
            filled,
            taken: None,
            shared,
            notes,
        };
        if opening.opened.recovered.capacity_differs
            && let Some(path) = path
        {
            opening.resize(&path);
        }
        Ok(opening)
    }

    /// What there is to tell so far.
    pub(super) fn notes(&mut self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.notes)
    }

    /// Takes up the spool, however often it takes. With it go the ring and the number of records
    /// whose loss the operator was told of meanwhile. `None` when the pipeline has closed before.
    pub(super) fn finish(
        mut self,
        pipeline: &Pipeline,
        woken: &Parker,
    ) -> Option<(Opened, Spool, u64)> {
        let clock = &*pipeline.environment.clock;
        let limit = RateLimit::default();
        let (mut next, mut told) = (Duration::ZERO, 0);
        loop {
            let now = clock.monotonic();
            if now >= next {
                let taken = match self.taken.take() {
                    Some(taken) => Ok(taken),
                    None => self.take_up_spool(),
                };
                for (level, note) in self.notes() {
                    pipeline.tell(level, &note);
                }
                match taken {
                    Ok((spool, records)) => {
                        add(&pipeline.stats.recovered, records);
                        if let Some(filled) = self.filled.filter(|_| spool.reading() > 0) {
                            pipeline.windows.resume(spool.reading(), filled);
                        }
                        return Some((self.opened, spool, told));
                    }
                    Err(error) => {
                        add(&pipeline.stats.spool_errors, 1);
                        let text = format!("{error}; the records wait in the ring");
                        pipeline.tell(Level::Warn, &text);
                        next = now.saturating_add(AGAIN);
                    }
                }
            }
            let dropped = get(&pipeline.stats.dropped_ring);
            if dropped > told && limit.admit("dropped", now).is_some() {
                let text = format!("{} records dropped: the ring is full", dropped - told);
                pipeline.tell(Level::Error, &text);
                told = dropped;
            }
            set(&pipeline.view.round, milliseconds(now));
            if pipeline.is_closed() || pipeline.is_late() && pipeline.try_close() {
                return None;
            }
            woken.park_timeout(LOOK);
        }
    }

    fn commit(&mut self, payload: &Payload) {
        // The ring's length of the state is a constant that it takes.
        let _ = self.opened.reader.commit(payload.as_bytes());
        self.payload = Some(payload.as_bytes().to_vec());
    }

    /// The spool, and how many records it held already.
    fn take_up_spool(&mut self) -> Result<Taken, SpoolError> {
        let options = self.options();
        let (mut spool, found) = Spool::open_into(&self.store, options, self.payload.as_deref())?;
        // With what recovery found to be lost, so that what is counted as lost was counted before.
        let counts = spool.store().counts();
        let mut records = counts.sealed.records + spool.open_records();
        records += counts.lost.records + counts.dropped.records + counts.held.records;
        records += counts.quarantined.records;
        if let Err(error) = ledger::begin(&mut self.opened.reader, &spool) {
            self.notes.push((Level::Warn, error.to_string()));
        }
        self.payload = Some(spool.payload().as_bytes().to_vec());
        self.note_spool(&found);
        let recovered = &self.opened.recovered;
        if recovered.torn > 0 {
            let torn = recovered.torn;
            let note = format!("{torn} torn records in the ring: written by workers that died");
            self.notes.push((Level::Warn, note));
        }
        if recovered.records + records > 0 {
            let note = format!(
                "takes up {} records from the ring and {records} from the spool",
                recovered.records
            );
            self.notes.push((Level::Info, note));
        }
        records += self.keep_secrets(&mut spool)?;
        Ok((spool, records))
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
        let settings = &self.target.settings;
        let boot = boot(&*self.environment.clock);
        Options {
            route: Some(settings.route()),
            codec: settings.codec.kind(),
            naming: settings.naming.clone(),
            spool_max: settings.spool_max,
            on_full: settings.on_spool_full,
            sync: settings.sync,
            shared: self.shared,
            sealing: settings.sealing.clone(),
            signer: settings.signer.clone(),
            kernel: kernel_boot(),
            ..Options::new(&settings.stream, &settings.host, boot)
        }
    }

    /// What was logged to be encrypted and is not yet must not go out unencrypted: without a key the
    /// open block and the records that the ring held are set aside; those that come meanwhile are of
    /// a VCL without a key. How many of them came from the ring.
    fn keep_secrets(&mut self, spool: &mut Spool) -> Result<u64, SpoolError> {
        let mut came = 0;
        if spool.lacks_key() {
            if let Some(payload) = spool.hold()? {
                self.commit(&payload);
            }
            self.take_up(spool, self.opened.recovered.records)?;
            came = spool.open_records();
            if let Some(payload) = spool.hold()? {
                self.commit(&payload);
            }
            let payload = spool.end_secrecy();
            self.commit(&payload);
            self.opened.recovered.records = 0;
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
    fn resize(&mut self, path: &Path) {
        if let Err(keeps) = self.replace(path) {
            let size = units::show_bytes(self.opened.ring.usage().capacity);
            let note = format!("the ring keeps its size of {size} for now: {keeps}");
            self.notes.push((Level::Warn, note));
        }
    }

    fn replace(&mut self, path: &Path) -> Result<(), String> {
        let text = |error: SpoolError| error.to_string();
        if self.opened.recovered.records > 0 {
            let (mut spool, records) = self.take_up_spool().map_err(text)?;
            let before = spool.open_records();
            let done = self.take_up(&mut spool, u64::MAX);
            // What is taken from the ring the packer will not see.
            let records = records + spool.open_records().saturating_sub(before);
            self.taken = Some((spool, records));
            done.map_err(text)?;
        }
        let payload = self.payload.as_deref().unwrap_or_default();
        let replaced = Ring::replace(path, self.target.settings.ring, payload);
        let replaced = replaced.map_err(|error| error.to_string())?;
        let recovered = std::mem::take(&mut self.opened.recovered);
        self.opened = Opened { recovered, ..replaced };
        self.opened.recovered.records = 0;
        self.filled = None;
        Ok(())
    }

    /// When the records that the process before has left in the ring entered it, as far as is known.
    fn date(&self, spool: &Spool) -> u64 {
        let now = nanoseconds(self.environment.clock.unix());
        let align = self.target.settings.align.as_ref().filter(|_| spool.reading() > 0);
        align.map_or(now, |align| align.window(spool.reading()).clamp(now))
    }

    /// Seals all that ring and spool hold, for who takes the blocks elsewhere.
    pub(super) fn seal_all(&mut self) -> Result<Spool, SpoolError> {
        let (mut spool, _) = match self.taken.take() {
            Some(taken) => taken,
            None => self.take_up_spool()?,
        };
        self.take_up(&mut spool, u64::MAX)?;
        for seal in [Spool::seal, Spool::release] {
            while let Some((_, payload)) = seal(&mut spool, &Drops::default())? {
                self.commit(&payload);
            }
        }
        Ok(spool)
    }

    /// Packs up to `most` records of the ring into the open block.
    fn take_up(&mut self, spool: &mut Spool, most: u64) -> Result<(), SpoolError> {
        let now = self.date(spool);
        let compress = || SpoolError::io("compress", "a chunk");
        let settings = &self.target.settings;
        let mut encoder = ChunkEncoder::new(settings.codec).map_err(compress())?;
        let full = settings.chunk_bytes(1 << 30);
        let mut left = most;
        loop {
            let (mut raw, mut member) = (Vec::new(), Vec::new());
            let mut chunk = ChunkStats { first: now, last: now, ..ChunkStats::default() };
            while raw.len() < full && chunk.records < left {
                let Some(record) = self.opened.reader.next_record() else { break };
                raw.extend_from_slice(record.bytes);
                chunk.records += 1;
                chunk.cut += u64::from(record.cut);
            }
            if chunk.records == 0 {
                return Ok(());
            }
            chunk.raw_bytes = raw.len() as u64;
            let packed = encoder.encode(&raw, &mut member).map_err(compress());
            match packed.and_then(|()| spool.append(&member, chunk)) {
                Ok(payload) => {
                    if matches!(self.target.settings.sync, SyncPolicy::Every(_)) {
                        // The commit erases the records. The packer tries again what fails here.
                        let _ = spool.sync();
                    }
                    self.commit(&payload);
                }
                Err(error) => {
                    self.opened.reader.rewind();
                    return Err(error);
                }
            }
            left -= chunk.records;
        }
    }
}

fn open_ring(
    path: Option<&Path>,
    settings: &Settings,
    environment: &Environment,
    notes: &mut Vec<(Level, String)>,
) -> Result<Opened, StartError> {
    let backing = path.map_or(Backing::Memory, Backing::File);
    let capacity = settings.ring;
    let stream = settings.stream.clone();
    match Ring::open(backing, capacity) {
        Err(error) if error.blames_file() && path.is_some() => {
            let path = path.unwrap_or_else(|| Path::new(""));
            let aside = set_aside(path, environment.clock.unix()).map_err(|source| {
                StartError::System { stream: stream.clone(), doing: "set a ring aside", source }
            })?;
            let note = format!("{error}; it is set aside as {}", aside.display());
            notes.push((Level::Error, note));
            Ring::open(backing, capacity).map_err(|source| StartError::Ring { stream, source })
        }
        opened => opened.map_err(|source| StartError::Ring { stream, source }),
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

/// This start of a spool. Routes of one stream may be started in one second and store under one path:
/// no two of this process have one number.
fn boot(clock: &dyn Clock) -> BootId {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    // Relaxed: only that the numbers differ matters.
    BootId::new(clock.unix().as_secs(), NEXT.fetch_add(1, Ordering::Relaxed))
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
