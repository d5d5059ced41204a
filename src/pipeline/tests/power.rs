//! Any sequence of what a packer, its uploaders, a killer and the electricity do, for each `sync`:
//! what `docs/guarantees.md` promises of a power cut, under "Power cuts".
//!
//! | sentence | checked as |
//! |---|---|
//! | sealed blocks are on the disk under `block` and a duration | [`World::check`]: `sealed` |
//! | a duration: what came in the last such time can be lost, and nothing else | `synced` |
//! | under `block` and a duration no record is in two blocks | `twice` |
//! | an object is never sent again under its key with other content | [`World::put`] |
//! | a killed process loses and repeats nothing | [`World::check`] after a kill: all |
//! | a start takes up whatever a power cut left | [`World::start`] never fails |
//! | what was logged to be encrypted is never stored unencrypted | [`World::put`]: `secret` |

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use proptest::prelude::*;

use super::disk::{Chance, Disk, Stop};
use crate::block::{BootId, ChunkEncoder, Codec, Decoder, Digest, Drops, Meta};
use crate::pipeline::ledger::{Done, Ledger};
use crate::pipeline::packing::{Full, Packing};
use crate::pipeline::take_up::secrets::set_aside;
use crate::ring::{Backing, Capacity, Opened, Ring, Until};
use crate::seal::{Identities, Recipients, Sealing};
use crate::spool::{
    ChunkStats, Files, Memory, OnSpoolFull, Options, Spool, SpoolError, SyncPolicy,
};

const PAGE: usize = 4096;

#[derive(Debug, Clone)]
enum Action {
    Push(u8),
    Pack(u8),
    /// Reads without packing, as a packer does whose chunk is not full: it keeps the chunk.
    Read(u8),
    Seal,
    /// Another window of the clock is read from now on.
    Window(u64),
    Sync,
    /// The PUT succeeds; whether the process lives long enough to note it.
    Upload(bool),
    Quarantine,
    Requeue,
    /// A block of so many records comes from another folder.
    Come(u8),
    /// The oldest of these is sealed anew.
    Take,
    Kill,
    /// The key is taken out of the settings, or comes back: a start without it sets what is to be
    /// encrypted aside.
    Key,
    /// The kernel writes pages of the ring by itself.
    Writeback(u64),
    PowerCut(u64),
    /// Before that operation, of a start as well.
    KillIn(u32),
    PowerCutIn(u32, u64),
    SyncFailsIn(u32, bool),
    FullIn(u32),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..12_u8).prop_map(Action::Push),
        5 => (1..12_u8).prop_map(Action::Pack),
        3 => (1..4_u8).prop_map(Action::Read),
        3 => Just(Action::Seal),
        1 => any::<u64>().prop_map(Action::Window),
        4 => Just(Action::Sync),
        2 => prop::bool::weighted(0.8).prop_map(Action::Upload),
        1 => Just(Action::Quarantine),
        1 => Just(Action::Requeue),
        1 => (1..4_u8).prop_map(Action::Come),
        2 => Just(Action::Take),
        1 => Just(Action::Kill),
        1 => Just(Action::Key),
        1 => any::<u64>().prop_map(Action::Writeback),
        2 => any::<u64>().prop_map(Action::PowerCut),
        1 => (0..14_u32).prop_map(Action::KillIn),
        2 => (0..14_u32, any::<u64>()).prop_map(|(n, seed)| Action::PowerCutIn(n, seed)),
        2 => (0..4_u32, any::<bool>()).prop_map(|(n, drops)| Action::SyncFailsIn(n, drops)),
        1 => (0..3_u32).prop_map(Action::FullIn),
    ]
}

/// The ring's pages: what the disk has, and what the kernel believes that it has.
#[derive(Default)]
struct Pages {
    disk: Vec<u8>,
    believed: Vec<u8>,
}

impl Pages {
    fn write(&mut self, now: &[u8], range: std::ops::Range<usize>, fails: bool) {
        self.disk.resize(now.len(), 0);
        self.believed.resize(now.len(), 0);
        for page in range.start / PAGE..range.end.div_ceil(PAGE) {
            let end = ((page + 1) * PAGE).min(now.len());
            let page = page * PAGE..end;
            // A commit's page was written to just before, be it with what it held.
            let commit = range.len() < PAGE;
            if commit || now[page.clone()] != self.believed[page.clone()] {
                if !fails {
                    self.disk[page.clone()].copy_from_slice(&now[page.clone()]);
                }
                self.believed[page.clone()].copy_from_slice(&now[page]);
            }
        }
    }
}

/// What a stream's settings say.
#[derive(Debug, Clone)]
struct Setup {
    codec: Codec,
    /// A block is made one member of when it is sealed.
    one_member: bool,
    encrypted: bool,
    /// `spool_max`, and what gives way.
    room: Option<(u64, OnSpoolFull)>,
}

impl Setup {
    const PLAIN: Self =
        Self { codec: Codec::Gzip(1), one_member: false, encrypted: false, room: None };
}

/// A key, and what was read with it: decryption is what takes the time.
struct Key {
    sealing: Sealing,
    identities: Identities,
    read: BTreeMap<[u8; 32], Vec<u8>>,
}

impl Key {
    fn new() -> Self {
        let identity = age::x25519::Identity::generate();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, identity.to_string().expose_secret()).unwrap();
        Self {
            sealing: Sealing::Age(Recipients::read(&identity.to_public().to_string()).unwrap()),
            identities: Identities::read(&path).unwrap(),
            read: BTreeMap::new(),
        }
    }
}

struct World {
    sync: SyncPolicy,
    setup: Setup,
    key: Option<Key>,
    /// The settings do not have it now.
    keyless: bool,
    /// Pushed while they had it.
    secret: BTreeSet<u64>,
    /// Records that the ring had at the start and that may have to be set aside.
    waiting: u64,
    /// Records by block, of those that may have made room since the action began.
    stocked: BTreeMap<u64, Vec<u64>>,
    directory: tempfile::TempDir,
    disk: Disk,
    pages: Arc<Mutex<Pages>>,
    ring: Option<Arc<Ring>>,
    ledger: Option<Ledger>,
    /// The chunk in hand.
    packing: Packing,
    pushed: u64,
    /// Blocks that came from another folder.
    came: u16,
    /// Pushed when a sync began that has succeeded.
    synced: u64,
    /// In blocks of which the seal has succeeded.
    sealed: BTreeSet<u64>,
    bucket: BTreeMap<String, (Meta, Vec<u8>)>,
    /// Refused by a full ring, or lost when nothing was promised of them.
    gone: BTreeSet<u64>,
    boots: u16,
    kernel: u8,
    seed: u64,
    cuts: u32,
}

impl World {
    fn new(sync: SyncPolicy, setup: &Setup) -> Self {
        let mut world = Self {
            sync,
            setup: setup.clone(),
            key: setup.encrypted.then(Key::new),
            keyless: false,
            secret: BTreeSet::new(),
            waiting: 0,
            stocked: BTreeMap::new(),
            directory: tempfile::tempdir().unwrap(),
            disk: Disk::default(),
            pages: Arc::default(),
            ring: None,
            ledger: None,
            packing: Packing::new(setup.codec).unwrap(),
            pushed: 0,
            came: 0,
            synced: 0,
            sealed: BTreeSet::new(),
            bucket: BTreeMap::new(),
            gone: BTreeSet::new(),
            boots: 0,
            kernel: 1,
            seed: 0,
            cuts: 0,
        };
        world.start();
        world
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ring")
    }

    /// Until a start comes to its end.
    fn start(&mut self) {
        let cuts = self.cuts;
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.open())) {
            self.settle();
            if Self::stop(panic) == Stop::Cut {
                self.lose();
            }
        }
        if self.cuts > cuts {
            self.check(true);
        }
    }

    fn stop(panic: Box<dyn std::any::Any + Send>) -> Stop {
        *panic.downcast().unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// As the pipeline's start does.
    fn open(&mut self) {
        self.boots += 1;
        self.packing = Packing::new(self.setup.codec).unwrap();
        let capacity = Capacity::tiny(2048);
        let backing = self.path();
        let opened = Ring::open(Backing::File(&backing), capacity).or_else(|error| {
            assert!(error.blames_file(), "{error}");
            // Only where nothing is promised of it.
            assert!(!matches!(self.sync, SyncPolicy::Every(_)), "{error}");
            std::fs::remove_file(&backing).unwrap();
            Ring::open(Backing::File(&backing), capacity)
        });
        let Opened { ring, reader, recovered, .. } = opened.unwrap();
        if recovered.fresh {
            // Made and synced before it has its name.
            let now = std::fs::read(self.path()).unwrap();
            *self.pages.lock().unwrap() = Pages { disk: now.clone(), believed: now };
        }
        let (disk, pages, path) = (self.disk.clone(), Arc::clone(&self.pages), self.path());
        ring.simulate_disk(Box::new(move |range| {
            disk.ask();
            let fails = disk.sync_fails().is_some();
            pages.lock().unwrap().write(&std::fs::read(&path)?, range, fails);
            if fails { Err(std::io::Error::other("input/output error")) } else { Ok(()) }
        }));
        if self.options().sealing.is_some() {
            let _ = Spool::expect_secrets(&self.disk);
        }
        // One that fails is tried again.
        let spool = (0..4).find_map(|_| {
            let files = Arc::new(self.disk.clone()) as Arc<dyn Files>;
            Spool::open(files, self.options(), recovered.payload.as_deref()).ok()
        });
        let (spool, _) = spool.unwrap();
        let mut ledger = Ledger::new(reader, spool);
        let _ = ledger.begin();
        self.waiting = recovered.records;
        self.ledger = Some(ledger);
        self.ring = Some(ring);
        self.stocked = self.stock();
        self.set_secrets_aside();
        self.settle();
    }

    /// As a start does, until it succeeds. Whether it has.
    fn set_secrets_aside(&mut self) -> bool {
        if !self.ledger().spool().lacks_key() {
            return true;
        }
        self.give_back();
        let mut waiting = self.waiting;
        let ledger = self.ledger.as_mut().unwrap();
        let done = set_aside(ledger, &mut self.packing, &mut waiting, 1 << 20, 7);
        self.waiting = waiting;
        done.is_ok()
    }

    fn give_back(&mut self) {
        self.packing.give_back(self.ledger.as_mut().unwrap());
        self.ledger().rewind();
    }

    /// What was read behind what the disk has lost is read again.
    fn read_again(&mut self) {
        if self.ledger().take_repeated().is_some() {
            self.packing.give_back(self.ledger.as_mut().unwrap());
        }
    }

    /// So many records more are in hand.
    fn read(&mut self, count: u8) {
        let records = self.packing.records() + u64::from(count);
        let full = Full { records, ..Full::at(usize::MAX) };
        self.packing.fill(self.ledger.as_mut().unwrap(), full, 7);
    }

    /// As the packer does each round: what waited for a key is sealed with the one that there is.
    fn release(&mut self) {
        while self.ledger().spool().can_release() {
            self.give_back();
            self.seal_by(Spool::seal);
            if !self.seal_by(Spool::release) {
                break;
            }
        }
    }

    fn options(&self) -> Options {
        let mut options = Options::new("access", "node-1", BootId::new(1_800_000_000, self.boots));
        options.codec = self.setup.codec.kind();
        options.one_member = self.setup.one_member.then_some(self.setup.codec);
        options.sync = self.sync;
        options.kernel = [self.kernel; 16];
        let key = self.key.as_ref().filter(|_| !self.keyless);
        options.sealing = key.map(|key| key.sealing.clone());
        if let Some((max, on_full)) = self.setup.room {
            (options.spool_max, options.on_full) = (max, on_full);
        }
        options
    }

    fn kill(&mut self) {
        (self.ledger, self.ring) = (None, None);
        self.start();
    }

    fn cut(&mut self) {
        self.lose();
        self.start();
    }

    /// What a power cut leaves.
    fn lose(&mut self) {
        self.settle();
        (self.ledger, self.ring) = (None, None);
        self.cuts += 1;
        self.kernel += 1;
        let mut chance = Chance::new(self.seed);
        self.seed = self.seed.wrapping_mul(31).wrapping_add(1);
        let mut now = std::fs::read(self.path()).unwrap();
        let mut pages = self.pages.lock().unwrap();
        for (page, disk) in now.chunks_mut(PAGE).zip(pages.disk.chunks(PAGE)) {
            if !chance.keeps() {
                page.copy_from_slice(disk);
            } else {
                let torn = chance.some(page.len());
                if chance.flip() {
                    page[torn..].copy_from_slice(&disk[torn..]);
                } else {
                    page[..torn].copy_from_slice(&disk[..torn]);
                }
            }
        }
        *pages = Pages { disk: now.clone(), believed: now.clone() };
        drop(pages);
        std::fs::write(self.path(), &now).unwrap();
        self.disk.come_back(&mut chance);
    }

    fn ledger(&mut self) -> &mut Ledger {
        self.ledger.as_mut().unwrap()
    }

    fn push(&mut self, count: u8) {
        for _ in 0..count {
            self.pushed += 1;
            if self.key.is_some() && !self.keyless {
                self.secret.insert(self.pushed);
            }
            if self.ring.as_ref().unwrap().push(format!("{}\n", self.pushed).as_bytes()).is_err() {
                self.gone.insert(self.pushed);
            }
        }
    }

    fn pack(&mut self, count: u8) {
        if !self.set_secrets_aside() {
            return;
        }
        self.release();
        self.read(count);
        if self.packing.records() == 0 {
            return;
        }
        let ledger = self.ledger.as_mut().unwrap();
        match self.packing.store(ledger) {
            Ok(_) => {}
            Err(SpoolError::Full { .. }) => {
                let text = String::from_utf8(self.packing.raw().to_vec()).unwrap();
                self.packing.drop_all(ledger);
                self.gone.extend(text.lines().map(|line| line.parse::<u64>().unwrap()));
            }
            Err(error) => {
                self.read_again();
                if error.is_no_room() && self.ledger().spool().open_len() > 0 {
                    // As the packer does.
                    self.give_back();
                    self.seal_by(Spool::seal);
                }
            }
        }
    }

    fn seal(&mut self) {
        self.give_back();
        if self.set_secrets_aside() {
            self.release();
            self.seal_by(Spool::seal);
        }
    }

    /// Whether there is another block.
    fn seal_by(&mut self, seal: impl FnOnce(&mut Spool, &Drops) -> Done) -> bool {
        let done = self.ledger().seal(seal, &Drops::default());
        self.read_again();
        // It may make room in the same action.
        let stock = self.stock();
        self.stocked.extend(stock);
        let Ok(Some((sealed, unsynced))) = done else { return false };
        if sealed.unsynced.is_some() || unsynced.is_some() {
            return true;
        }
        let mut block = self.ledger().spool().store().open_block(sealed.number).unwrap();
        let mut bytes = Vec::new();
        block.content.read_to_end(&mut bytes).unwrap();
        let ids = self.ids(&bytes, &block.meta);
        self.sealed.extend(ids);
        true
    }

    /// What `s3log requeue --from` does, in another folder that has nothing else.
    fn come(&mut self, count: u8) {
        self.came += 1;
        let mut options = Options::new("access", "node-1", BootId::new(1_700_000_000, self.came));
        options.codec = self.setup.codec.kind();
        let (mut other, _) = Spool::open(Arc::new(Memory::new()), options, None).unwrap();
        let mut stats = ChunkStats { first: 7, last: 8, ..ChunkStats::default() };
        let mut raw = Vec::new();
        for _ in 0..count {
            self.pushed += 1;
            self.sealed.insert(self.pushed);
            raw.extend_from_slice(format!("{}\n", self.pushed).as_bytes());
        }
        (stats.records, stats.raw_bytes) = (count.into(), raw.len() as u64);
        let mut chunk = Vec::new();
        ChunkEncoder::new(self.setup.codec).unwrap().encode(&raw, &mut chunk).unwrap();
        other.append(&chunk, stats).unwrap();
        other.seal(&Drops::default()).unwrap();
        self.disk.elsewhere(|disk| {
            other.store().hand_over(1, "other", disk).unwrap();
        });
    }

    /// The blocks that have come, by name.
    fn came(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.disk.list("moved", &mut |name| names.push(name.to_owned())).unwrap();
        names.iter().filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect()
    }

    /// As the packer does once nothing is open.
    fn take(&mut self) {
        self.seal();
        if let Some(name) = self.came().into_iter().min() {
            self.seal_by(|spool, drops| spool.take_moved(&name, drops));
        }
    }

    /// As the packer does on time.
    fn sync(&mut self) {
        if !matches!(self.sync, SyncPolicy::Every(_)) || !self.set_secrets_aside() {
            return;
        }
        while self.ledger().must_pack() {
            let before = (self.ledger().read_position(), self.packing.records());
            self.pack(20);
            if (self.ledger().read_position(), self.packing.records()) == before {
                break;
            }
        }
        let pushed = self.pushed;
        if self.ledger().sync().is_ok() && !self.ledger().must_pack() {
            self.synced = pushed;
        }
        self.read_again();
    }

    fn put(&mut self, number: u64) -> bool {
        let Ok(mut block) = self.ledger().spool().store().open_block(number) else { return false };
        let mut bytes = Vec::new();
        block.content.read_to_end(&mut bytes).unwrap();
        if Digest::of(&bytes) != block.meta.sha256 {
            // The gateway refuses it by its hash.
            assert_eq!(self.sync, SyncPolicy::None, "a sealed block is damaged");
            let _ = self.ledger().spool().store().quarantine(number, "damaged");
            return false;
        }
        if !is_encrypted(&bytes) && self.promises_order() {
            let ids = self.ids(&bytes, &block.meta);
            assert!(!ids.iter().any(|id| self.secret.contains(id)), "a secret goes out: {ids:?}");
        }
        let before = self.bucket.insert(block.key.clone(), (block.meta.clone(), bytes.clone()));
        if let Some((meta, content)) = before {
            assert_eq!((&meta, &content), (&block.meta, &bytes), "{} again", block.key);
        }
        true
    }

    /// Whether what the ring says of its records is on the disk before they are: without syncs it may
    /// come there after them.
    fn promises_order(&self) -> bool {
        self.sync != SyncPolicy::None || self.cuts == 0
    }

    fn upload(&mut self, noted: bool) {
        let store = self.ledger().spool().store();
        let Some(number) = store.claim(Duration::ZERO) else { return };
        if !self.put(number) {
            store.release(number);
        } else if noted {
            let _ = store.uploaded(number);
        } else {
            self.kill();
        }
    }

    /// Records by block, of those that may make room.
    fn stock(&mut self) -> BTreeMap<u64, Vec<u64>> {
        if self.setup.room.is_none() {
            return BTreeMap::new();
        }
        let blocks = self.blocks();
        blocks.into_iter().map(|(_, meta, bytes)| (meta.number, self.ids(&bytes, &meta))).collect()
    }

    /// What is left of those that may have made room: the rest has, or is in the bucket.
    fn settle(&mut self) {
        let mut stock = std::mem::take(&mut self.stocked);
        stock.retain(|number, _| {
            let name = format!("{number:010}.json");
            let aside = format!("quarantine/{name}");
            self.disk.contents(&name).or_else(|| self.disk.contents(&aside)).is_none()
        });
        self.gone.extend(stock.into_values().flatten());
    }

    fn run(&mut self, action: &Action) {
        self.stocked = self.stock();
        let done = catch_unwind(AssertUnwindSafe(|| self.act(action)));
        self.settle();
        match done.map_err(Self::stop) {
            Ok(()) => {}
            Err(Stop::Kill) => {
                self.kill();
                self.check(false);
            }
            Err(Stop::Cut) => {
                self.cut();
                self.check(true);
            }
        }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Push(count) => self.push(count),
            Action::Pack(count) => self.pack(count),
            Action::Read(count) => self.read(count),
            Action::Seal => self.seal(),
            Action::Window(time) => {
                self.give_back();
                self.ledger().note_reading(time);
            }
            Action::Sync => self.sync(),
            Action::Upload(noted) => self.upload(noted),
            Action::Quarantine => {
                let store = self.ledger().spool().store();
                if let Some(number) = store.claim(Duration::ZERO) {
                    let _ = store.quarantine(number, "refused");
                    store.release(number);
                }
            }
            Action::Requeue => {
                let mut names = Vec::new();
                self.disk.list("quarantine", &mut |name| names.push(name.to_owned())).unwrap();
                for name in names {
                    if let Some(stem) = name.strip_suffix(".json") {
                        let _ = self.disk.create(&format!("quarantine/{stem}.requeue"), b"");
                    }
                }
                let _ = self.ledger().spool().store().take_requests();
            }
            Action::Come(count) => self.come(count),
            Action::Take => self.take(),
            Action::Kill => {
                self.kill();
                self.check(false);
            }
            Action::Key => {
                self.keyless = !self.keyless;
                self.kill();
                self.check(false);
            }
            Action::Writeback(seed) => {
                let mut chance = Chance::new(seed);
                let now = std::fs::read(self.path()).unwrap();
                for page in (0..now.len()).step_by(PAGE) {
                    if chance.keeps() {
                        self.pages.lock().unwrap().write(&now, page..page + PAGE, false);
                    }
                }
            }
            Action::PowerCut(seed) => {
                self.seed = seed;
                self.cut();
                self.check(true);
            }
            Action::KillIn(operations) => self.disk.stop_in(operations, Stop::Kill),
            Action::PowerCutIn(operations, seed) => {
                self.seed = seed;
                self.disk.stop_in(operations, Stop::Cut);
            }
            Action::SyncFailsIn(syncs, drops) => self.disk.fail_in(syncs, drops),
            Action::FullIn(writes) => self.disk.full_in(writes),
        }
    }

    /// What waits and what is in quarantine: keys, what the blocks say of themselves, and bytes.
    fn blocks(&mut self) -> Vec<(String, Meta, Vec<u8>)> {
        let store = self.ledger().spool().store();
        let mut waiting = Vec::new();
        for number in store.sealed() {
            let Ok(mut block) = store.open_block(number) else { continue };
            let mut bytes = Vec::new();
            block.content.read_to_end(&mut bytes).unwrap();
            waiting.push((block.key, block.meta, bytes));
        }
        let mut names = Vec::new();
        self.disk.list("quarantine", &mut |name| names.push(name.to_owned())).unwrap();
        for name in names {
            let Some(stem) = name.strip_suffix(".json") else { continue };
            let text = self.disk.contents(&format!("quarantine/{name}")).unwrap();
            let line = text.split(|byte| *byte == b'\n').next().unwrap();
            let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
            let key = value["key"].as_str().unwrap().to_owned();
            let meta: Meta = serde_json::from_value(value["meta"].clone()).unwrap();
            let suffix = if value["transformed"] == true { "sealed" } else { "data" };
            let bytes = self.disk.contents(&format!("quarantine/{stem}.{suffix}"));
            waiting.push((key, meta, bytes.unwrap_or_default()));
        }
        waiting.retain(|(_, meta, bytes)| {
            let whole = Digest::of(bytes) == meta.sha256;
            assert!(whole || self.sync == SyncPolicy::None, "a sealed block is damaged");
            whole
        });
        waiting
    }

    /// Records in a block as it is stored.
    fn ids(&mut self, bytes: &[u8], meta: &Meta) -> Vec<u64> {
        let Some(key) = self.key.as_mut().filter(|_| is_encrypted(bytes)) else {
            return lines(bytes, meta.codec);
        };
        let clear = key.read.entry(meta.sha256.0).or_insert_with(|| {
            let mut clear = Vec::new();
            key.identities.open(bytes).unwrap().read_to_end(&mut clear).unwrap();
            clear
        });
        lines(clear, meta.codec)
    }

    /// Records in blocks that wait for a key.
    fn held(&self) -> Vec<u64> {
        let mut names = Vec::new();
        self.disk.list("", &mut |name| names.push(name.to_owned())).unwrap();
        names.retain(|name| name.ends_with(".held"));
        let read =
            |name: String| lines(&self.disk.contents(&name).unwrap(), self.setup.codec.kind());
        names.into_iter().flat_map(read).collect()
    }

    /// What is where, right after a start.
    fn check(&mut self, cut: bool) {
        let mut blocks: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let stored = self
            .bucket
            .iter()
            .map(|(key, (meta, bytes))| (key.clone(), meta.clone(), bytes.clone()));
        let stored: Vec<_> = stored.collect();
        for (key, meta, bytes) in stored.into_iter().chain(self.blocks()) {
            blocks.insert(key, self.ids(&bytes, &meta));
        }
        let ledger = self.ledger();
        let (number, length) = (ledger.spool().open_number(), ledger.spool().open_len());
        let mut open = Vec::new();
        if length > 0 {
            open = self.disk.contents(&format!("{number:010}.data")).unwrap();
            assert!(open.len() as u64 >= length);
            open.truncate(usize::try_from(length).unwrap());
        }
        let open = lines(&open, self.setup.codec.kind());
        let held = self.held();
        let codec = self.setup.codec.kind();
        let data = |name| self.disk.contents(&format!("moved/{name}.data")).unwrap();
        let came = self.came().into_iter().flat_map(|name| lines(&data(name), codec));
        let held: Vec<u64> = came.chain(held).collect();
        let mut ring = Vec::new();
        let ledger = self.ledger();
        let mut raw = Vec::new();
        let all = Until { bytes: usize::MAX, records: u64::MAX, position: u64::MAX };
        ledger.read_into(&mut raw, all);
        ledger.rewind();
        let text = std::str::from_utf8(&raw).unwrap();
        ring.extend(text.lines().map(|line| line.parse::<u64>().unwrap()));
        let all: Vec<u64> =
            blocks.into_values().flatten().chain(held).chain(open).chain(ring).collect();
        let seen: BTreeSet<u64> = all.iter().copied().collect();
        assert!(seen.iter().all(|id| (1..=self.pushed).contains(id)), "an invented record");
        if self.sync != SyncPolicy::None || !cut && self.cuts == 0 {
            assert_eq!(all.len(), seen.len(), "a record is there twice: {all:?}");
        }
        let missing = |id: &u64| !seen.contains(id) && !self.gone.contains(id);
        if self.sync != SyncPolicy::None {
            let lost: Vec<_> = self.sealed.iter().filter(|id| missing(id)).collect();
            assert!(lost.is_empty(), "sealed and lost: {lost:?}");
        }
        let lost: Vec<_> = (1..=self.synced).filter(|id| missing(id)).collect();
        assert!(lost.is_empty(), "synced and lost: {lost:?}");
        if self.cuts == 0 && self.disk.failed() == 0 {
            let lost: Vec<_> = (1..=self.pushed).filter(|id| missing(id)).collect();
            assert!(lost.is_empty(), "lost by a kill: {lost:?}");
        }
        let gone: Vec<_> = (1..=self.pushed).filter(|id| !seen.contains(id)).collect();
        self.gone.extend(gone);
    }
}

fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.starts_with(b"age-encryption.org/")
}

fn lines(bytes: &[u8], codec: crate::block::Kind) -> Vec<u64> {
    let mut text = String::new();
    Decoder::new(bytes, codec).unwrap().read_to_string(&mut text).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn lives(sync: SyncPolicy, setup: &Setup, actions: &[Action]) {
    let mut world = World::new(sync, setup);
    for action in actions {
        world.run(action);
    }
    world.disk.behave();
    world.keyless = false;
    world.kill();
    world.check(false);
    // All that is there can still get out.
    for _ in 0..200 {
        let before = world.ledger().read_position();
        world.run(&Action::Pack(50));
        if world.ledger().read_position() == before {
            break;
        }
    }
    world.run(&Action::Seal);
    while !world.came().is_empty() {
        world.run(&Action::Take);
    }
    world.run(&Action::Requeue);
    while let Some(number) = world.ledger().spool().store().claim(Duration::ZERO) {
        if world.put(number) {
            world.ledger().spool().store().uploaded(number).unwrap();
        }
    }
    world.kill();
    world.check(false);
    assert_eq!(world.ledger().spool().open_len(), 0);
    assert!(world.held().is_empty());
}

fn setup() -> impl Strategy<Value = Setup> {
    let codec = prop_oneof![2 => Just(Codec::Gzip(1)), 1 => Just(Codec::Zstd(1))];
    // Some chunks, or some encrypted blocks.
    let max = prop_oneof![60..300_u64, 300..1500_u64];
    let full = prop_oneof![2 => Just(OnSpoolFull::DropOldest), 1 => Just(OnSpoolFull::DropNewest)];
    let room = prop_oneof![2 => Just(None), 1 => (max, full).prop_map(Some)];
    (codec, prop::bool::weighted(0.3), prop::bool::weighted(0.25), room).prop_map(
        |(codec, one_member, encrypted, room)| Setup { codec, one_member, encrypted, room },
    )
}

proptest! {
    // PROPTEST_CASES asks for more.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(500),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn under_a_duration_a_power_cut_loses_only_what_came_since_the_last_sync(
        setup in setup(),
        actions in prop::collection::vec(action(), 1..60),
    ) {
        lives(SyncPolicy::Every(Duration::from_secs(1)), &setup, &actions);
    }

    #[test]
    fn under_block_a_power_cut_loses_no_sealed_block_and_repeats_no_record(
        setup in setup(),
        actions in prop::collection::vec(action(), 1..60),
    ) {
        lives(SyncPolicy::Block, &setup, &actions);
    }

    #[test]
    fn under_none_a_start_takes_up_what_a_power_cut_left_and_no_key_gets_other_content(
        setup in setup(),
        actions in prop::collection::vec(action(), 1..60),
    ) {
        lives(SyncPolicy::None, &setup, &actions);
    }
}

/// The removal of an uncommitted chunk was undone by a second power cut, after a chunk that took its
/// place was committed.
#[test]
fn a_chunk_that_a_start_has_removed_does_not_come_back_behind_a_later_commit() {
    let actions = [
        Action::Push(1),
        Action::Pack(1),
        Action::Seal,
        Action::Push(7),
        Action::Quarantine,
        Action::Kill,
        Action::PowerCutIn(1, 12_421_384_091_801_780_047),
        Action::Pack(7),
        Action::Seal,
        Action::Pack(1),
        Action::Pack(1),
        Action::PowerCut(11_346_169_544_837_774_220),
    ];
    lives(SyncPolicy::Block, &Setup::PLAIN, &actions);
}

/// A write found the disk full, what it had left could not be cut off on the disk, and the kernel
/// dropped the rest of the block: its records were not read again.
#[test]
fn records_that_the_kernel_dropped_while_a_failed_write_was_undone_are_read_again() {
    let actions = [
        Action::SyncFailsIn(3, false),
        Action::Sync,
        Action::Push(1),
        Action::Sync,
        Action::FullIn(2),
        Action::Push(10),
        Action::Pack(1),
        Action::Push(11),
        Action::SyncFailsIn(0, true),
        Action::Sync,
    ];
    lives(SyncPolicy::Every(Duration::from_secs(1)), &Setup::PLAIN, &actions);
}

/// A start with a key could not bring to the disk what the start before had committed, and so did not commit that
/// what comes is to be encrypted; the start after it had no key.
#[test]
fn what_was_logged_after_a_start_that_could_commit_nothing_is_still_to_be_encrypted() {
    let actions = [
        Action::Key,
        Action::SyncFailsIn(1, false),
        Action::Key,
        Action::Push(1),
        Action::Key,
        Action::Pack(1),
        Action::Take,
    ];
    let encrypted = Setup { encrypted: true, ..Setup::PLAIN };
    lives(SyncPolicy::Block, &encrypted, &actions);
}

/// A full spool did not take what a start without the key had to set aside, and a block that had come from another
/// folder was sealed before it: the open block after that one was taken for one that needs no key.
#[test]
fn what_is_to_be_set_aside_stays_secret_behind_a_block_that_came() {
    let actions = [
        Action::Push(1),
        Action::Come(1),
        Action::Push(1),
        Action::Take,
        Action::Come(1),
        Action::Key,
        Action::Take,
        Action::Upload(true),
        Action::Pack(1),
        Action::Take,
    ];
    let room = Some((60, OnSpoolFull::DropNewest));
    let encrypted = Setup { encrypted: true, room, ..Setup::PLAIN };
    lives(SyncPolicy::Every(Duration::from_secs(1)), &encrypted, &actions);
}

/// The kernel dropped a block that it could not write; the commit before, which told of it, found
/// what was packed next in its place.
#[test]
fn a_block_that_the_kernel_dropped_is_gone_for_every_commit_that_a_power_cut_can_leave() {
    let actions = [
        Action::Push(6),
        Action::PowerCutIn(0, 6_066_348_879_712_379_222),
        Action::Seal,
        Action::SyncFailsIn(2, true),
        Action::Pack(3),
        Action::Seal,
        Action::Pack(1),
        Action::PowerCut(10_016_504_652_807_595_707),
    ];
    lives(SyncPolicy::Block, &Setup::PLAIN, &actions);
}

/// The name of a sidecar came to the disk before that of the encrypted block.
#[test]
fn an_encrypted_block_whose_name_a_power_cut_has_not_kept_is_open_again() {
    let actions = [
        Action::Push(1),
        Action::PowerCut(593_399_215_610_735_984),
        Action::Sync,
        Action::Pack(1),
        Action::PowerCutIn(9, 9_130_226_189_337_639_751),
        Action::Seal,
    ];
    let encrypted = Setup { encrypted: true, ..Setup::PLAIN };
    lives(SyncPolicy::Every(Duration::from_secs(1)), &encrypted, &actions);
}

/// A start could not sync the commit that it found, which was on the disk, and took it for lost: the
/// next commit was written over it, and a power cut left the one before, whose records were erased.
#[test]
fn a_commit_that_a_start_cannot_sync_is_not_written_over() {
    let actions = [
        Action::Push(1),
        Action::KillIn(9),
        Action::Push(1),
        Action::Pack(1),
        Action::Seal,
        Action::Push(4),
        Action::Upload(false),
        Action::Pack(1),
        Action::Sync,
        Action::SyncFailsIn(2, false),
        Action::Upload(false),
        Action::Pack(1),
        Action::PowerCutIn(2, 1_320_454_402_015_565_546),
        Action::Sync,
    ];
    lives(SyncPolicy::Every(Duration::from_secs(1)), &Setup::PLAIN, &actions);
}

/// A first encryption found the disk full; its file's name was kept by a power cut in the place of the
/// second one's, beside the sidecar that describes that.
#[test]
fn an_encrypted_block_in_whose_place_a_power_cut_has_kept_an_earlier_attempt_is_open_again() {
    let actions = [
        Action::Push(1),
        Action::Pack(1),
        Action::KillIn(0),
        Action::PowerCut(15_619_783_171_110_335_267),
        Action::Push(1),
        Action::SyncFailsIn(2, false),
        Action::Pack(1),
        Action::FullIn(1),
        Action::Seal,
        Action::PowerCutIn(8, 12_214_761_989_555_461_591),
        Action::Seal,
    ];
    let encrypted = Setup { encrypted: true, ..Setup::PLAIN };
    lives(SyncPolicy::Block, &encrypted, &actions);
}

/// A block that waited for a key had its length and not all of its bytes: it was sealed with members that
/// nobody can read.
#[test]
fn of_a_block_that_waits_for_a_key_what_a_power_cut_has_left_is_sealed() {
    let actions = [
        Action::PowerCutIn(4, 6_745_561_147_264_908_284),
        Action::Push(2),
        Action::Pack(1),
        Action::Key,
    ];
    let encrypted = Setup { codec: Codec::Zstd(1), encrypted: true, ..Setup::PLAIN };
    lives(SyncPolicy::None, &encrypted, &actions);
}

/// A block that had come from another folder was sealed anew, sent and forgotten, and then a power cut undid
/// that it was removed where it came to: it was taken and sent once more.
#[test]
fn a_block_that_came_and_was_sent_does_not_come_back() {
    let next = [Action::Push(1), Action::Pack(1), Action::Seal, Action::Upload(true)];
    for seed in 0..32 {
        let actions: Vec<Action> = [Action::Come(1), Action::Take, Action::Upload(true)]
            .into_iter()
            .chain(next.clone())
            .chain(next.clone())
            .chain([Action::PowerCut(seed)])
            .collect();
        lives(SyncPolicy::Block, &Setup::PLAIN, &actions);
    }
}

/// A start without the key had packed what the ring held, to set it aside, when the disk lost it: it was
/// read again as what had come without a key, and went out unencrypted.
#[test]
fn what_the_disk_loses_while_it_is_set_aside_for_its_key_is_set_aside_again() {
    let encrypted = Setup { encrypted: true, ..Setup::PLAIN };
    for (pushed, syncs) in (1..6).flat_map(|pushed| (0..8).map(move |syncs| (pushed, syncs))) {
        let actions = [
            Action::Push(pushed),
            Action::SyncFailsIn(syncs, true),
            Action::Key,
            Action::Push(1),
            Action::Pack(20),
            Action::Seal,
            Action::Upload(true),
        ];
        lives(SyncPolicy::Every(Duration::from_secs(1)), &encrypted, &actions);
    }
}

/// A chunk was in hand when a sync found that the kernel had dropped the open block's end: it was stored
/// before what was read again, and then read again itself.
#[test]
fn a_chunk_that_was_read_behind_what_the_kernel_dropped_is_stored_once() {
    for (packed, syncs) in (1..6).flat_map(|packed| (0..4).map(move |syncs| (packed, syncs))) {
        let actions = [
            Action::Push(10),
            Action::Pack(3),
            Action::Sync,
            Action::Pack(packed),
            Action::Read(1),
            Action::SyncFailsIn(syncs, true),
            Action::Sync,
            Action::Pack(1),
            Action::Seal,
        ];
        lives(SyncPolicy::Every(Duration::from_secs(1)), &Setup::PLAIN, &actions);
    }
}
