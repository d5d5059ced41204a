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

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::disk::{Chance, Disk};
use crate::block::{BootId, ChunkEncoder, Codec, Decoder, Digest, Drops, Meta};
use crate::pipeline::ledger::{self, Ledger};
use crate::ring::{Backing, Capacity, Opened, Ring};
use crate::spool::{ChunkStats, Files, Options, Spool, SyncPolicy};

const PAGE: usize = 4096;

#[derive(Debug, Clone)]
enum Action {
    Push(u8),
    Pack(u8),
    /// Reads without packing, as a packer does whose chunk is not full.
    Read(u8),
    Seal,
    Sync,
    /// The PUT succeeds; whether the process lives long enough to note it.
    Upload(bool),
    Quarantine,
    Requeue,
    Kill,
    /// The kernel writes pages of the ring by itself.
    Writeback(u64),
    PowerCut(u64),
    PowerCutIn(u32, u64),
    SyncFailsIn(u32, bool),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..12_u8).prop_map(Action::Push),
        5 => (1..12_u8).prop_map(Action::Pack),
        1 => (1..4_u8).prop_map(Action::Read),
        3 => Just(Action::Seal),
        4 => Just(Action::Sync),
        2 => prop::bool::weighted(0.8).prop_map(Action::Upload),
        1 => Just(Action::Quarantine),
        1 => Just(Action::Requeue),
        1 => Just(Action::Kill),
        1 => any::<u64>().prop_map(Action::Writeback),
        2 => any::<u64>().prop_map(Action::PowerCut),
        2 => (0..14_u32, any::<u64>()).prop_map(|(n, seed)| Action::PowerCutIn(n, seed)),
        2 => (0..4_u32, any::<bool>()).prop_map(|(n, drops)| Action::SyncFailsIn(n, drops)),
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

struct World {
    sync: SyncPolicy,
    codec: Codec,
    directory: tempfile::TempDir,
    disk: Disk,
    pages: Arc<Mutex<Pages>>,
    ring: Option<Arc<Ring>>,
    ledger: Option<Ledger>,
    pushed: u64,
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
    fn new(sync: SyncPolicy, codec: Codec) -> Self {
        let mut world = Self {
            sync,
            codec,
            directory: tempfile::tempdir().unwrap(),
            disk: Disk::default(),
            pages: Arc::default(),
            ring: None,
            ledger: None,
            pushed: 0,
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

    /// As the pipeline's start does.
    fn start(&mut self) {
        self.boots += 1;
        let capacity = Capacity::tiny(2048);
        let backing = self.path();
        let opened = Ring::open(Backing::File(&backing), capacity).or_else(|error| {
            assert!(error.blames_file(), "{error}");
            // Only where nothing is promised of it.
            assert!(!matches!(self.sync, SyncPolicy::Every(_)), "{error}");
            std::fs::remove_file(&backing).unwrap();
            Ring::open(Backing::File(&backing), capacity)
        });
        let Opened { ring, mut reader, recovered } = opened.unwrap();
        if recovered.fresh {
            // Made and synced before it has its name.
            let now = std::fs::read(self.path()).unwrap();
            *self.pages.lock().unwrap() = Pages { disk: now.clone(), believed: now };
        }
        let (disk, pages, path) = (self.disk.clone(), Arc::clone(&self.pages), self.path());
        ring.simulate_disk(Box::new(move |range| {
            disk.ask()?;
            let fails = disk.sync_fails().is_some();
            pages.lock().unwrap().write(&std::fs::read(&path)?, range, fails);
            if fails { Err(std::io::Error::other("input/output error")) } else { Ok(()) }
        }));
        let mut options = Options::new("access", "node-1", BootId::new(1_800_000_000, self.boots));
        options.codec = self.codec.kind();
        options.sync = self.sync;
        options.kernel = [self.kernel; 16];
        let files = Arc::new(self.disk.clone()) as Arc<dyn Files>;
        match Spool::open(files, options, recovered.payload.as_deref()) {
            Ok((spool, _)) => {
                let _ = ledger::begin(&mut reader, &spool);
                self.ledger = Some(Ledger::new(reader, spool));
                self.ring = Some(ring);
            }
            Err(error) => {
                assert!(self.disk.is_cut(), "{error}");
                drop((reader, ring));
                self.cut();
            }
        }
    }

    fn kill(&mut self) {
        (self.ledger, self.ring) = (None, None);
        self.disk.kill();
        self.start();
    }

    fn cut(&mut self) {
        (self.ledger, self.ring) = (None, None);
        self.cuts += 1;
        self.kernel += 1;
        let mut chance = Chance::new(self.seed);
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
        self.start();
    }

    fn ledger(&mut self) -> &mut Ledger {
        self.ledger.as_mut().unwrap()
    }

    fn push(&mut self, count: u8) {
        for _ in 0..count {
            self.pushed += 1;
            if self.ring.as_ref().unwrap().push(format!("{}\n", self.pushed).as_bytes()).is_err() {
                self.gone.insert(self.pushed);
            }
        }
    }

    fn pack(&mut self, count: u8) {
        let codec = self.codec;
        let ledger = self.ledger();
        ledger.rewind();
        let mut raw = Vec::new();
        let mut stats = ChunkStats { first: 7, last: 8, ..ChunkStats::default() };
        for _ in 0..count {
            let Some(record) = ledger.next_record() else { break };
            raw.extend_from_slice(record.bytes);
            stats.records += 1;
        }
        if stats.records == 0 {
            return;
        }
        stats.raw_bytes = raw.len() as u64;
        let mut chunk = Vec::new();
        ChunkEncoder::new(codec).unwrap().encode(&raw, &mut chunk).unwrap();
        if ledger.append(&chunk, stats).is_err() {
            ledger.rewind();
        }
    }

    fn seal(&mut self) {
        self.ledger().rewind();
        let Ok(Some((sealed, unsynced))) = self.ledger().seal(Spool::seal, &Drops::default())
        else {
            return;
        };
        // A power cut in the middle of it has no answer.
        if self.disk.is_cut() || sealed.unsynced.is_some() || unsynced.is_some() {
            return;
        }
        let mut block = self.ledger().spool().store().open_block(sealed.number).unwrap();
        let mut bytes = Vec::new();
        block.content.read_to_end(&mut bytes).unwrap();
        let ids = ids(&bytes, &block.meta);
        self.sealed.extend(ids);
    }

    /// As the packer does on time.
    fn sync(&mut self) {
        if !matches!(self.sync, SyncPolicy::Every(_)) {
            return;
        }
        while self.ledger().must_pack() {
            let before = self.ledger().read_position();
            self.pack(20);
            if self.ledger().read_position() == before {
                break;
            }
        }
        let pushed = self.pushed;
        if self.ledger().sync().is_ok() && !self.disk.is_cut() && !self.ledger().must_pack() {
            self.synced = pushed;
        }
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
        let before = self.bucket.insert(block.key.clone(), (block.meta.clone(), bytes.clone()));
        if let Some((meta, content)) = before {
            assert_eq!((&meta, &content), (&block.meta, &bytes), "{} again", block.key);
        }
        true
    }

    fn upload(&mut self, noted: bool) {
        let store = self.ledger().spool().store();
        let Some(number) = store.claim(Duration::ZERO) else { return };
        if self.disk.is_cut() || !self.put(number) {
            store.release(number);
        } else if noted {
            let _ = store.uploaded(number);
        } else {
            self.kill();
        }
    }

    fn run(&mut self, action: &Action) {
        match *action {
            Action::Push(count) => self.push(count),
            Action::Pack(count) => self.pack(count),
            Action::Read(count) => {
                for _ in 0..count {
                    self.ledger().next_record();
                }
            }
            Action::Seal => self.seal(),
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
            Action::Kill => {
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
            Action::PowerCutIn(operations, seed) => {
                self.seed = seed;
                self.disk.cut_in(operations);
            }
            Action::SyncFailsIn(syncs, drops) => self.disk.fail_in(syncs, drops),
        }
        if self.disk.is_cut() {
            self.cut();
            self.check(true);
        }
    }

    /// What is where, right after a start.
    fn check(&mut self, cut: bool) {
        let mut blocks: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (key, (meta, bytes)) in &self.bucket {
            blocks.insert(key.clone(), ids(bytes, meta));
        }
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
            let bytes = self.disk.contents(&format!("quarantine/{stem}.data"));
            waiting.push((key, meta, bytes.unwrap_or_default()));
        }
        for (key, meta, bytes) in waiting {
            if Digest::of(&bytes) != meta.sha256 {
                assert_eq!(self.sync, SyncPolicy::None, "a sealed block is damaged");
                continue;
            }
            blocks.insert(key, ids(&bytes, &meta));
        }
        let ledger = self.ledger();
        let (number, length) = (ledger.spool().open_number(), ledger.spool().open_len());
        let mut open = Vec::new();
        if length > 0 {
            open = self.disk.contents(&format!("{number:010}.data")).unwrap();
            assert!(open.len() as u64 >= length);
            open.truncate(usize::try_from(length).unwrap());
        }
        let open = lines(&open, self.codec.kind());
        let mut ring = Vec::new();
        let ledger = self.ledger();
        while let Some(record) = ledger.next_record() {
            ring.push(std::str::from_utf8(record.bytes).unwrap().trim_end().parse().unwrap());
        }
        ledger.rewind();
        let all: Vec<u64> = blocks.into_values().flatten().chain(open).chain(ring).collect();
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

fn lines(bytes: &[u8], codec: crate::block::Kind) -> Vec<u64> {
    let mut text = String::new();
    Decoder::new(bytes, codec).unwrap().read_to_string(&mut text).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn ids(bytes: &[u8], meta: &Meta) -> Vec<u64> {
    lines(bytes, meta.codec)
}

fn lives(sync: SyncPolicy, codec: Codec, actions: &[Action]) -> u32 {
    let mut world = World::new(sync, codec);
    for action in actions {
        world.run(action);
    }
    world.kill();
    world.check(false);
    // All that is there can still get out.
    for _ in 0..200 {
        let before = world.ledger().read_position();
        world.pack(50);
        if world.ledger().read_position() == before {
            break;
        }
    }
    world.seal();
    world.run(&Action::Requeue);
    while let Some(number) = world.ledger().spool().store().claim(Duration::ZERO) {
        if world.put(number) {
            world.ledger().spool().store().uploaded(number).unwrap();
        }
    }
    world.kill();
    world.check(false);
    assert_eq!(world.ledger().spool().open_len(), 0);
    world.cuts
}

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![2 => Just(Codec::Gzip(1)), 1 => Just(Codec::Zstd(1))]
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
        codec in codec(),
        actions in prop::collection::vec(action(), 1..60),
    ) {
        lives(SyncPolicy::Every(Duration::from_secs(1)), codec, &actions);
    }

    #[test]
    fn under_block_a_power_cut_loses_no_sealed_block_and_repeats_no_record(
        codec in codec(),
        actions in prop::collection::vec(action(), 1..60),
    ) {
        lives(SyncPolicy::Block, codec, &actions);
    }

    #[test]
    fn under_none_a_start_takes_up_what_a_power_cut_left_and_no_key_gets_other_content(
        codec in codec(),
        actions in prop::collection::vec(action(), 1..60),
    ) {
        lives(SyncPolicy::None, codec, &actions);
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
    lives(SyncPolicy::Block, Codec::Gzip(1), &actions);
}
