//! Opens a stream's ring at once, and takes up its spool in the packer's thread.
//!
//! Who loads a VCL waits for the first part only: the folder's lock and the ring, whose records are
//! counted. The second part reads the description of every block that waits, which may be hundreds of
//! thousands on a cold disk; meanwhile lines go into the ring. A ring that has records and is to have
//! another size is the exception: nobody may push while it is replaced, so that the spool is taken up
//! first. Where so much waits that this would take long, the ring keeps its size.
//!
//! What fails in the second part is told and tried again, and the records wait in the ring. Each step
//! of it is taken once, so that it goes on after a failure or a panic where it was.

mod ring;
pub(super) mod secrets;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crossbeam_utils::sync::Parker;

use self::ring::open_ring;
use super::error::StartError;
use super::ledger::Ledger;
use super::packer::Parts;
use super::packing::Packing;
use super::view::milliseconds;
use super::{Environment, Folder, Pipeline, Target, folder};
use crate::block::{BootId, Drops, RouteId};
use crate::clock::{Clock, nanoseconds};
use crate::events::{Level, RateLimit};
use crate::ring::{Opened, Reader, Ring};
use crate::settings::{Settings, Upload};
use crate::spool::{
    self, Disk, Files, Memory, Options, Recovered, SealedBlocks, Spool, SpoolError,
};
use crate::stats::{add, get, set};
use crate::units;

/// Between two attempts to take up a spool.
const AGAIN: Duration = Duration::from_secs(10);

/// Why a damaged block is not mended.
const NO_ROOM: &str = "it is damaged, and the disk has no room to mend it: make room, and run the command \
                       again";

/// Between two looks for the end.
const LOOK: Duration = Duration::from_millis(100);

/// A stream's folder with its ring open and its spool not yet.
pub(super) struct Opening {
    target: Arc<Target>,
    environment: Environment,
    files: Arc<dyn Files>,
    pub(super) store: Arc<SealedBlocks>,
    pub(super) ring: Arc<Ring>,
    /// Records of the ring that were there when it was opened and are in no block yet.
    waiting: u64,
    /// Places of the ring that were found damaged then.
    pub(super) torn: u64,
    /// Where the spool is; `None` in memory.
    folder: Option<PathBuf>,
    /// What the ring's last commit says.
    payload: Option<Vec<u8>>,
    /// Up to where the ring was filled by the process before, in bytes since it was made; `None` when
    /// it was empty.
    filled: Option<u64>,
    /// Until there is a ledger.
    reader: Option<Reader>,
    ledger: Option<Ledger>,
    /// What the ledger begins with is committed and told.
    begun: bool,
    packing: Packing,
    /// Records of the spool that were there before, and of the ring that came into it here.
    recovered: u64,
    /// Blocks that were sealed here and keep many members, though one is asked for.
    kept_members: u64,
    /// Blocks that stay as they are until another start, and why.
    left: Vec<(u64, String)>,
    /// Another user's process uploads from the folder, or did when it was last opened.
    shared: bool,
    /// The folder says whose it is.
    noted: bool,
    notes: Vec<(Level, String)>,
    /// Records dropped by a full ring that the operator was told of.
    told: u64,
    limit: RateLimit,
}

/// What stays as it is where all is taken elsewhere.
pub(super) struct Left<'a> {
    /// Blocks by number, and why.
    pub(super) blocks: &'a [(u64, String)],
    /// Why records stay in the ring, for which the disk has no room in a block.
    pub(super) ring: Option<SpoolError>,
}

impl Opening {
    /// Takes the folder's lock and opens the ring. The folder is to say from now on that it is `owner`'s,
    /// which it may do already; without one it says what it said.
    pub(super) fn new(
        target: &Arc<Target>,
        environment: &Environment,
        folder: Option<PathBuf>,
        owner: Option<RouteId>,
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
                if let Some(owner) = owner {
                    check_owner(root, settings, owner)?;
                }
                (Arc::new(disk), Some(root.join("ring")))
            }
        };
        // The ring is upgraded when it is opened; a spool that is refused is left as it was.
        let refused = |source| StartError::Spool { stream: stream(), source };
        Spool::check_format(&*files).map_err(refused)?;
        let Opened { ring, reader, recovered, unsynced } =
            open_ring(path.as_deref(), settings, environment, &mut notes)?;
        if settings.sealing.is_some()
            && let Err(error) = Spool::expect_secrets(&*files)
        {
            let note =
                format!("that lines are to be encrypted cannot be noted in the spool: {error}");
            notes.push((Level::Warn, note));
        }
        notes.extend(unsynced.map(|error| note_unsynced(&error)));
        let filled = reader.cursor() + reader.pending_bytes();
        let filled = (recovered.records > 0).then_some(filled);
        Spool::check_commit(recovered.payload.as_deref()).map_err(refused)?;
        let packing = Packing::new(settings.codec).map_err(|source| StartError::System {
            stream: stream(),
            doing: "prepare compression",
            source,
        })?;
        let own = folder.as_ref().zip(owner);
        let saved = own.map(|(folder, owner)| folder::save(folder, &*files, settings, owner));
        let noted = !matches!(saved, Some(Err(_)));
        if let Some(Err(error)) = saved {
            let note = format!("its route cannot be noted in the spool: {error}");
            notes.push((Level::Warn, note));
        }
        let mut opening = Self {
            target: Arc::clone(target),
            environment: environment.clone(),
            store: Arc::new(SealedBlocks::empty(Arc::clone(&files))),
            files,
            ring,
            waiting: recovered.records,
            torn: recovered.torn,
            folder,
            payload: recovered.payload,
            filled,
            reader: Some(reader),
            ledger: None,
            begun: false,
            packing,
            recovered: 0,
            kept_members: 0,
            left: Vec::new(),
            shared,
            noted,
            notes,
            told: 0,
            limit: RateLimit::default(),
        };
        if recovered.capacity_differs
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

    /// Takes up the spool, however often it takes. Whether it has: the pipeline may close before.
    pub(super) fn finish(&mut self, pipeline: &Pipeline, woken: &Parker) -> bool {
        let clock = &*pipeline.environment.clock;
        let mut next = Duration::ZERO;
        loop {
            let now = clock.monotonic();
            if now >= next {
                let taken = self.take_up();
                for (level, note) in self.notes() {
                    pipeline.tell(level, &note);
                }
                match taken {
                    Ok(()) => {
                        add(&pipeline.stats.recovered, std::mem::take(&mut self.recovered));
                        add(&pipeline.stats.spool_errors, std::mem::take(&mut self.kept_members));
                        self.resume_window(pipeline);
                        pipeline.look_at_group();
                        // Relaxed: read once the pipeline has ended, or for a message.
                        pipeline.taken_up.store(true, Ordering::Relaxed);
                        return true;
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
            let since = dropped.saturating_sub(self.told);
            if since > 0 && self.limit.admit("dropped", now).is_some() {
                pipeline.tell(Level::Error, &format!("{since} records dropped: the ring is full"));
                self.told = dropped;
            }
            set(&pipeline.view.round, milliseconds(now));
            if pipeline.is_closed() || pipeline.is_late() && pipeline.try_close() {
                return false;
            }
            woken.park_timeout(LOOK);
        }
    }

    /// What is in the ring goes on with the window of the clock that the process before was reading.
    fn resume_window(&self, pipeline: &Pipeline) {
        let reading = self.ledger.as_ref().map_or(0, |ledger| ledger.spool().reading());
        if let Some(filled) = self.filled.filter(|_| reading > 0) {
            pipeline.windows.resume(reading, filled);
        }
    }

    /// After a panic: what was read and is in no block is read again.
    pub(super) fn after_panic(&mut self) {
        if let Some(ledger) = &mut self.ledger {
            self.packing.give_back(ledger);
            ledger.after_panic();
        }
    }

    /// What the packer goes on with, once the spool is taken up.
    pub(super) fn into_parts(self) -> Option<Parts> {
        let Self { target, files, packing, told, noted, .. } = self;
        self.ledger.map(|ledger| Parts { target, files, ledger, packing, told, noted })
    }

    /// All that a start does with the spool, from where it was.
    fn take_up(&mut self) -> Result<(), SpoolError> {
        if self.ledger.is_none() {
            if let Some(folder) = &self.folder {
                spool::take_back(folder)?;
            }
            let options = self.options();
            let (spool, found) = Spool::open_into(&self.store, options, self.payload.as_deref())?;
            self.note_spool(&found);
            self.ledger = self.reader.take().map(|reader| Ledger::new(reader, spool));
        }
        self.begin();
        self.set_secrets_aside()
    }

    /// Commits what recovery has made of the spool, and counts it.
    fn begin(&mut self) {
        let Some(ledger) = self.ledger.as_mut().filter(|_| !self.begun) else { return };
        if let Err(error) = ledger.begin() {
            self.notes.push((Level::Warn, error.to_string()));
        }
        // With what recovery found to be lost, so that what is counted as lost was counted before.
        let counts = ledger.spool().store().counts();
        let mut records = counts.sealed.records + ledger.spool().open_records();
        records += counts.lost.records + counts.dropped.records + counts.held.records;
        records += counts.quarantined.records + counts.damaged.records;
        self.recovered = records;
        self.begun = true;
        if self.torn > 0 {
            let torn = self.torn;
            let note = format!("{torn} torn records in the ring: written by workers that died");
            self.notes.push((Level::Warn, note));
        }
        if self.waiting + records > 0 {
            let ring = self.waiting;
            let note =
                format!("takes up {ring} records from the ring and {records} from the spool");
            self.notes.push((Level::Info, note));
        }
    }

    /// What the spool's recovery found besides blocks.
    fn note_spool(&mut self, found: &Recovered) {
        let no_room = |number: &u64| (*number, NO_ROOM.to_owned());
        self.left = found.not_mended.iter().map(no_room).chain(found.unreadable.clone()).collect();
        if let Some((_, error)) = found.unreadable.first() {
            let numbers: Vec<u64> = found.unreadable.iter().map(|(number, _)| *number).collect();
            let note = format!(
                "blocks {numbers:?} stay in the spool, and are sent after the next start that can read \
                 and write their files: {error}"
            );
            self.notes.push((Level::Error, note));
        }
        let mut warn = |note: String| self.notes.push((Level::Warn, note));
        if !found.rebuilt.is_empty() {
            warn(format!(
                "blocks {:?}: what stood beside them was damaged, made anew",
                found.rebuilt
            ));
        }
        if !found.not_mended.is_empty() {
            warn(format!(
                "blocks {:?} are damaged, and the disk has no room to mend them: they stay in the spool, \
                 and the next start that finds room sends them",
                found.not_mended
            ));
        }
        if !found.set_aside.is_empty() {
            let names = found.set_aside.join(", ");
            warn(format!("files that are not the spool's, moved to its folder foreign: {names}"));
        }
        if found.left_in_place > 0 {
            let count = found.left_in_place;
            warn(format!("{count} files of no use to the spool could not be moved or removed"));
        }
        if let Some(error) = found.kept_members.first() {
            let count = found.kept_members.len();
            warn(format!(
                "blocks that keep their members, though members is one: {count}: {error}"
            ));
            self.kept_members += count as u64;
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
            one_member: settings.one_member(),
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

    /// See [`secrets`].
    fn set_secrets_aside(&mut self) -> Result<(), SpoolError> {
        let now = self.date();
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        // Of many chunks some may come in before one fails.
        let before = self.waiting;
        let bytes = self.target.settings.chunk_bytes(1 << 30);
        let done = secrets::set_aside(ledger, &mut self.packing, &mut self.waiting, bytes, now);
        // More than before, where the disk has lost what had come in.
        self.recovered = (self.recovered + before).saturating_sub(self.waiting);
        done?;
        let held = ledger.spool().store().counts().held;
        if held.blocks > 0 && !ledger.spool().can_release() {
            let plural = if held.blocks == 1 { "" } else { "s" };
            self.notes.push((
                Level::Error,
                format!(
                    "{} block{plural} with {} records that must be encrypted, and no key is configured: \
                     they stay unencrypted in the spool as *.held; set encrypt_to or public_key \
                     again and load the VCL, or run s3log drain with it",
                    held.blocks, held.records
                ),
            ));
        }
        Ok(())
    }

    /// The ring has another size than the settings ask for: what is in it goes to the spool, then
    /// a ring of the right size takes its place. If the spool cannot take it, or the disk has no
    /// room for both rings, the ring stays: what worked before works on.
    fn resize(&mut self, path: &Path) {
        if let Err(keeps) = self.replace(path) {
            let size = units::show_bytes(self.ring.usage().capacity);
            let note = format!("the ring keeps its size of {size} for now: {keeps}");
            self.notes.push((Level::Warn, note));
        }
    }

    fn replace(&mut self, path: &Path) -> Result<(), String> {
        let text = |error: SpoolError| error.to_string();
        if self.waiting > 0 {
            if path.parent().is_some_and(spool::is_large) {
                return Err("too much waits in the spool to be read now; a start with less in it \
                            changes the size"
                    .to_owned());
            }
            self.take_up().map_err(text)?;
            self.pack_all().map_err(text)?;
            self.payload =
                self.ledger.as_ref().map(|ledger| ledger.spool().payload().as_bytes().to_vec());
        }
        let payload = self.payload.as_deref().unwrap_or_default();
        let replaced = Ring::replace(path, self.target.settings.ring, payload);
        let Opened { ring, reader, unsynced, .. } = replaced.map_err(|error| error.to_string())?;
        self.notes.extend(unsynced.map(|error| note_unsynced(&error)));
        self.ring = ring;
        self.filled = None;
        match self.ledger.take() {
            Some(ledger) => self.ledger = Some(ledger.read_from(reader)),
            None => self.reader = Some(reader),
        }
        Ok(())
    }

    /// When the records that the process before has left in the ring entered it, as far as is known.
    fn date(&self) -> u64 {
        let now = nanoseconds(self.environment.clock.unix());
        let reading = self.ledger.as_ref().map_or(0, |ledger| ledger.spool().reading());
        let align = self.target.settings.align.as_ref().filter(|_| reading > 0);
        align.map_or(now, |align| align.window(reading).clamp(now))
    }

    /// Seals all that ring and spool hold, for who takes the blocks elsewhere. What has to stay as it is
    /// holds up nothing else; where that is for want of room, taking blocks elsewhere may make some.
    pub(super) fn seal_all(&mut self) -> Result<Left<'_>, SpoolError> {
        self.take_up()?;
        let ring = match self.pack_all() {
            Err(error) if error.is_no_room() => Some(error),
            done => done.map(|()| None)?,
        };
        if let Some(ledger) = &mut self.ledger {
            for seal in [Spool::seal, Spool::release] {
                while ledger.seal(seal, &Drops::default())?.is_some() {}
            }
        }
        Ok(Left { blocks: &self.left, ring })
    }

    /// Seals anew what has come from other routes' folders, once all else is sealed. Which blocks could not
    /// be, and why.
    pub(super) fn take_moved(&mut self) -> Vec<(String, SpoolError)> {
        let (Some(folder), Some(ledger)) = (&self.folder, &mut self.ledger) else {
            return Vec::new();
        };
        let names = match spool::moved_here(folder) {
            Ok(names) => names,
            Err(error) => return vec![("moved".to_owned(), error)],
        };
        let mut failed = Vec::new();
        for name in names {
            let take = |spool: &mut Spool, drops: &Drops| {
                spool::check_left(folder, &name)?;
                // Encrypted as they are, damaged bytes would be found by nobody but the reader.
                spool.check_moved(&name)?;
                spool.take_moved(&name, drops)
            };
            if let Err(error) = ledger.seal(take, &Drops::default()) {
                failed.push((name, error));
            }
        }
        failed
    }

    /// Packs what is in the ring into the open block, on the disk where the settings ask for that.
    fn pack_all(&mut self) -> Result<(), SpoolError> {
        let now = self.date();
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        let (bytes, mut left) = (self.target.settings.chunk_bytes(1 << 30), u64::MAX);
        let packed = self.packing.pack(ledger, bytes, now, &mut left);
        let done = packed.and_then(|()| ledger.settle());
        // The packer will not see them, but for those that the disk has lost.
        let packed = u64::MAX - left;
        let repeated = ledger.take_repeated().map_or(0, |repeated| repeated.records);
        self.recovered = (self.recovered + packed).saturating_sub(repeated);
        self.waiting = (self.waiting + repeated).saturating_sub(packed);
        done
    }
}

/// A new ring whose name could not be brought to the disk. A later sync of the directory does that, too.
fn note_unsynced(error: &io::Error) -> (Level, String) {
    let note = format!(
        "the spool is not synced: {error}; until it is, a power cut may undo that the ring was made anew, and \
         what is in it is lost then"
    );
    (Level::Warn, note)
}

/// Refuses a folder that is another route's: since it was chosen, a process that is gone by now has had it,
/// or whose it is could not be told then. With its lock nobody else changes that.
fn check_owner(root: &Path, settings: &Settings, owner: RouteId) -> Result<(), StartError> {
    let (stream, path) = (settings.stream.clone(), root.to_owned());
    let folder = match Folder::try_read(path.clone()) {
        Ok(folder) => folder,
        Err(source) => return Err(StartError::Unread { stream, path, source }),
    };
    match folder.saved.and_then(|saved| saved.route()) {
        Some(found) if found != owner => {
            Err(StartError::Route { stream, path, found, route: owner })
        }
        _ => Ok(()),
    }
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
#[cfg(not(s3log_loom))]
mod tests {
    use super::*;
    use crate::pipeline::tests::given::{environment, settings};

    fn target(path: &str) -> Arc<Target> {
        Arc::new(Target { settings: settings(&[("path", path)]), client: None })
    }

    #[test]
    fn a_folder_that_has_become_another_routes_is_refused_and_stays_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("access");
        let open = |path: &str, keeps: bool| {
            let target = target(path);
            let owner = keeps.then(|| target.settings.route());
            Opening::new(&target, &environment(), Some(folder.clone()), owner).map(drop)
        };
        open("a/", true).unwrap();
        let before = std::fs::read(folder.join("route")).unwrap();
        let refused = open("b/", true).unwrap_err();
        assert!(matches!(refused, StartError::Route { .. }) && refused.blames_place(), "{refused}");
        assert_eq!(std::fs::read(folder.join("route")).unwrap(), before);
        open("a/", true).unwrap();
        // Who only empties it may have other settings.
        open("b/", false).unwrap();
        // One that does not say whose it is is adopted by who has chosen it.
        std::fs::write(folder.join("route"), "damaged").unwrap();
        open("b/", true).unwrap();
        assert_ne!(std::fs::read(folder.join("route")).unwrap(), before);
    }
}
