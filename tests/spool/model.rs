//! Any sequence of what a packer, its uploaders and a killer do, against a file system that stops
//! after any operation: every record that was pushed is in exactly one place, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::common::sim::Sim;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use vmod_s3log::block::{BootId, ChunkEncoder, Codec, Decoder, Digest, Drops, Meta};
use vmod_s3log::seal::{Recipients, Sealing};
use vmod_s3log::spool::{
    ChunkStats, Files, OnSpoolFull, Options, Payload, SealedBlocks, Spool, SpoolError,
};

#[derive(Debug, Clone)]
enum Action {
    Push(u8),
    /// Pack up to so many records; whether the process lives long enough to commit.
    Pack(u8, bool),
    Seal(bool),
    /// A seal whose block another thread uploads, or puts into quarantine, before the ring is told;
    /// then a kill.
    SealAndFinishUncommitted {
        quarantine: bool,
    },
    /// A pack of which one operation fails, and another one that is killed before its commit.
    PackFailsThenIsKilled(u32, u8),
    /// The PUT succeeds or fails; whether the process lives long enough to note it.
    Upload {
        put: bool,
        noted: bool,
    },
    Quarantine,
    /// A person asks for one block of the quarantine, or for all; whether the process looks.
    Requeue {
        all: bool,
        looks: bool,
    },
    Kill,
    StopIn(u32),
    FailIn(u32, u32, bool),
    /// The next start is killed, too.
    RestartStoppedIn(u32),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1..20_u8).prop_map(Action::Push),
        5 => (1..12_u8, prop::bool::weighted(0.9)).prop_map(|(n, c)| Action::Pack(n, c)),
        3 => prop::bool::weighted(0.9).prop_map(Action::Seal),
        1 => any::<bool>()
            .prop_map(|quarantine| Action::SealAndFinishUncommitted { quarantine }),
        1 => (0..4_u32, 1..12_u8).prop_map(|(a, n)| Action::PackFailsThenIsKilled(a, n)),
        3 => (any::<bool>(), prop::bool::weighted(0.9))
            .prop_map(|(put, noted)| Action::Upload { put, noted }),
        2 => Just(Action::Quarantine),
        2 => (any::<bool>(), any::<bool>())
            .prop_map(|(all, looks)| Action::Requeue { all, looks }),
        1 => Just(Action::Kill),
        3 => (0..12_u32).prop_map(Action::StopIn),
        2 => (0..8_u32, 1..5_u32, any::<bool>()).prop_map(|(a, n, s)| Action::FailIn(a, n, s)),
        1 => (0..10_u32).prop_map(Action::RestartStoppedIn),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    codec: Codec,
    spool_max: u64,
    on_full: OnSpoolFull,
    transformed: bool,
}

fn settings() -> impl Strategy<Value = Settings> {
    (
        prop_oneof![3 => Just(Codec::None), 1 => Just(Codec::Gzip(1)), 1 => Just(Codec::Zstd(1)), 1 => Just(Codec::Snappy)],
        prop_oneof![Just(u64::MAX), 60..400_u64],
        prop_oneof![Just(OnSpoolFull::DropOldest), Just(OnSpoolFull::DropNewest)],
        prop::bool::weighted(0.3),
    )
        .prop_map(|(codec, spool_max, on_full, transformed)| Settings {
            codec,
            spool_max,
            on_full,
            transformed,
        })
}

/// A key pair for all cases.
static KEY: LazyLock<(Sealing, age::x25519::Identity)> = LazyLock::new(|| {
    let secret = age::x25519::Identity::generate();
    let recipients = Recipients::read(&secret.to_public().to_string()).unwrap();
    (Sealing::Age(recipients), secret)
});

fn decrypt(bytes: &[u8]) -> Vec<u8> {
    age::decrypt(&KEY.1, bytes).unwrap()
}

/// What outlives a process: the disk, the ring, the bucket.
struct World {
    settings: Settings,
    sim: Arc<Sim>,
    pushed: u64,
    ring: VecDeque<u64>,
    committed: Option<Payload>,
    bucket: BTreeMap<String, (Meta, Vec<u8>)>,
    /// Blocks in the bucket of which the spool knows it.
    noted: BTreeSet<u64>,
    boots: u16,
    spool: Option<Spool>,
    stop_next_start: Option<u32>,
    /// Stops by the simulated file system.
    stops: u32,
}

impl World {
    fn new(settings: Settings) -> Self {
        let mut world = Self {
            settings,
            sim: Arc::new(Sim::new()),
            pushed: 0,
            ring: VecDeque::new(),
            committed: None,
            bucket: BTreeMap::new(),
            noted: BTreeSet::new(),
            boots: 0,
            spool: None,
            stop_next_start: None,
            stops: 0,
        };
        world.restart();
        world
    }

    fn restart(&mut self) {
        loop {
            self.spool = None;
            self.stops += u32::from(self.sim.stopped());
            self.sim.restart();
            if let Some(operations) = self.stop_next_start.take() {
                self.sim.stop_in(operations);
            }
            self.boots += 1;
            let boot = BootId::new(1_800_000_000, self.boots);
            let mut options = Options::new("access", "node-1", boot);
            options.codec = self.settings.codec.kind();
            options.spool_max = self.settings.spool_max;
            options.on_full = self.settings.on_full;
            options.sealing = self.settings.transformed.then(|| KEY.0.clone());
            let files = Arc::clone(&self.sim) as Arc<dyn Files>;
            let payload = self.committed.as_ref().map(Payload::as_bytes);
            match Spool::open(files, options, payload) {
                Ok((spool, recovered)) => {
                    assert!(!recovered.stale_payload);
                    assert!(recovered.rebuilt.is_empty(), "{recovered:?}");
                    assert!(recovered.set_aside.is_empty(), "{recovered:?}");
                    assert_eq!(recovered.counts.lost.records, 0, "{recovered:?}");
                    if self.sim.stopped() {
                        continue;
                    }
                    self.committed = Some(recovered.payload);
                    self.spool = Some(spool);
                    self.sim.restart();
                    return;
                }
                Err(error) => assert!(self.sim.stopped(), "{error}"),
            }
        }
    }

    fn spool(&mut self) -> &mut Spool {
        self.spool.as_mut().unwrap()
    }

    fn store(&mut self) -> Arc<SealedBlocks> {
        self.spool().store()
    }

    fn pack(&mut self, count: u8, commit: bool) {
        let ids: Vec<u64> = self.ring.iter().take(count.into()).copied().collect();
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return };
        let raw: String = ids.iter().map(|id| format!("{id}\n")).collect();
        let stats = ChunkStats {
            records: ids.len() as u64,
            raw_bytes: raw.len() as u64,
            first: *first,
            last: *last,
            cut: 0,
        };
        let mut chunk = Vec::new();
        let mut encoder = ChunkEncoder::new(self.settings.codec).unwrap();
        encoder.encode(raw.as_bytes(), &mut chunk).unwrap();
        let payload = match self.spool().append(&chunk, stats) {
            Ok(payload) => payload,
            Err(SpoolError::Full { .. }) => {
                let drops = Drops { spool: stats.records, ..Drops::default() };
                self.spool().count_drops(&drops)
            }
            Err(_) => return,
        };
        if commit && !self.sim.stopped() {
            self.committed = Some(payload);
            self.ring.drain(..ids.len());
        } else {
            self.restart();
        }
    }

    fn seal(&mut self, commit: bool) {
        if let Ok(Some((_, payload))) = self.spool().seal(&Drops::default()) {
            if commit && !self.sim.stopped() {
                self.committed = Some(payload);
            } else {
                self.restart();
            }
        }
    }

    fn put(&mut self, number: u64) -> bool {
        let Ok(mut block) = self.store().open_block(number) else { return false };
        let mut bytes = Vec::new();
        block.content.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, block.meta.bytes);
        assert_eq!(Digest::of(&bytes), block.meta.sha256);
        let before = self.bucket.insert(block.key.clone(), (block.meta.clone(), bytes.clone()));
        if let Some((meta, content)) = before {
            assert_eq!((&meta, &content), (&block.meta, &bytes), "{} again", block.key);
        }
        true
    }

    fn note(&mut self, number: u64) -> bool {
        let done = self.store().uploaded(number).is_ok();
        if self.sim.contents(&format!("{number:010}.json")).is_none() {
            self.noted.insert(number);
        }
        done
    }

    fn upload(&mut self, put: bool, noted: bool) {
        let store = self.store();
        let Some(number) = store.claim(Duration::ZERO) else { return };
        if !put {
            store.release(number);
        } else if self.put(number) {
            if noted {
                self.note(number);
            } else {
                self.restart();
            }
        }
    }

    fn requeue(&mut self, all: bool, looks: bool) {
        let mut numbers = self.sim.names("quarantine");
        numbers.retain(|name| name.ends_with(".json"));
        numbers.truncate(if all { usize::MAX } else { 1 });
        for name in numbers {
            let stem = name.trim_end_matches(".json");
            self.sim.place(&format!("quarantine/{stem}.requeue"), b"");
        }
        if looks {
            let _ = self.store().take_requests();
        }
    }

    fn run(&mut self, action: &Action) {
        match *action {
            Action::Push(count) => {
                for _ in 0..count {
                    self.pushed += 1;
                    self.ring.push_back(self.pushed);
                }
            }
            Action::Pack(count, commit) => self.pack(count, commit),
            Action::Seal(commit) => self.seal(commit),
            Action::SealAndFinishUncommitted { quarantine } => {
                if let Ok(Some((sealed, _))) = self.spool().seal(&Drops::default()) {
                    if quarantine {
                        let _ = self.store().quarantine(sealed.number, "refused");
                    } else if self.put(sealed.number) {
                        self.note(sealed.number);
                    }
                    self.restart();
                }
            }
            Action::PackFailsThenIsKilled(after, count) => {
                self.sim.fail_in(after, 1, io::ErrorKind::StorageFull);
                self.pack(count, true);
                if !self.sim.stopped() {
                    self.pack(count, false);
                }
            }
            Action::Upload { put, noted } => self.upload(put, noted),
            Action::Quarantine => {
                let store = self.store();
                if let Some(number) = store.claim(Duration::ZERO)
                    && store.quarantine(number, "refused").is_err()
                {
                    store.release(number);
                }
            }
            Action::Requeue { all, looks } => self.requeue(all, looks),
            Action::Kill => self.restart(),
            Action::StopIn(operations) => self.sim.stop_in(operations),
            Action::FailIn(after, count, full) => {
                let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
                self.sim.fail_in(after, count, kind);
            }
            Action::RestartStoppedIn(operations) => {
                self.stop_next_start = Some(operations);
                self.restart();
            }
        }
        if self.sim.stopped() {
            self.restart();
            self.check();
        }
    }

    fn ids(&self, bytes: &[u8], codec: vmod_s3log::block::Kind, sealed: bool) -> Vec<u64> {
        let mut bytes = bytes.to_vec();
        if sealed && self.settings.transformed {
            bytes = decrypt(&bytes);
        }
        let mut text = String::new();
        Decoder::new(&bytes[..], codec).unwrap().read_to_string(&mut text).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Right after a start: all that was pushed is in exactly one place, in order, or was counted.
    fn check(&mut self) {
        let mut blocks = BTreeMap::<u64, (Meta, Vec<u64>)>::new();
        for (meta, bytes) in self.bucket.values() {
            let ids = self.ids(bytes, meta.codec, true);
            let before = blocks.insert(meta.number, (meta.clone(), ids));
            assert!(before.is_none(), "block {} has two keys", meta.number);
        }
        let mut held = Vec::new();
        for number in self.store().sealed() {
            let mut block = self.store().open_block(number).unwrap();
            let mut bytes = Vec::new();
            block.content.read_to_end(&mut bytes).unwrap();
            held.push((block.meta, bytes));
        }
        for name in self.sim.names("quarantine") {
            if let Some(stem) = name.strip_suffix(".json") {
                let sidecar = self.sim.contents(&format!("quarantine/{name}")).unwrap();
                let line = sidecar.split(|byte| *byte == b'\n').next().unwrap();
                let value: serde_json::Value = serde_json::from_slice(line).unwrap();
                let meta: Meta = serde_json::from_value(value["meta"].clone()).unwrap();
                let data = format!("quarantine/{stem}.data");
                let sealed = format!("quarantine/{stem}.sealed");
                let bytes = self.sim.contents(&data).or_else(|| self.sim.contents(&sealed));
                assert!(self.sim.contents(&format!("quarantine/{stem}.reason")).is_some());
                held.push((meta, bytes.unwrap()));
            }
        }
        let held_numbers: BTreeSet<u64> = held.iter().map(|(meta, _)| meta.number).collect();
        for (meta, bytes) in held {
            assert_eq!(Digest::of(&bytes), meta.sha256);
            let ids = self.ids(&bytes, meta.codec, true);
            assert_eq!(ids.len() as u64, meta.records);
            // A block that was sent and not noted is here and in the bucket, as the same block.
            if let Some((sent, _)) = blocks.insert(meta.number, (meta.clone(), ids)) {
                assert_eq!(sent, meta);
            }
        }
        // A block that was sent, whose answer was lost with the process, and that `spool_max` dropped
        // before it was sent again, is in the bucket and yet counted as dropped.
        let noted = &self.noted;
        blocks.retain(|number, _| noted.contains(number) || held_numbers.contains(number));
        let mut seen = Vec::new();
        let mut dropped = self.spool().pending_drops();
        let mut before: Option<(u64, Digest)> = None;
        for (number, (meta, ids)) in &blocks {
            seen.extend_from_slice(ids);
            dropped.add(&meta.dropped);
            if let Some((_, sha256)) = before.filter(|(n, _)| n + 1 == *number) {
                assert_eq!(meta.previous, Some(sha256), "chain of {number}");
            }
            before = Some((*number, meta.sha256));
        }
        let number = self.spool().open_number();
        assert!(blocks.keys().next_back().is_none_or(|newest| *newest < number));
        let length = self.spool().open_len();
        if length > 0 {
            let bytes = self.sim.contents(&format!("{number:010}.data")).unwrap();
            assert_eq!(bytes.len() as u64, length);
            let ids = self.ids(&bytes, self.settings.codec.kind(), false);
            assert_eq!(ids.len() as u64, self.spool().open_records());
            seen.extend(ids);
        }
        seen.extend(&self.ring);
        assert!(seen.is_sorted_by(|a, b| a < b), "not in order, or twice: {seen:?}");
        assert_eq!(seen.len() as u64 + dropped.spool, self.pushed, "{seen:?} {dropped:?}");
        assert_eq!(dropped.total(), dropped.spool);
        if self.settings.spool_max == u64::MAX {
            assert_eq!(dropped.spool, 0);
        }
    }
}

/// A seal writes the transformed block, and its eighth operation removes the members. When that
/// failed, the members followed the block into quarantine, or came back after its upload.
#[test]
fn members_that_a_transformed_block_has_left_behind_never_come_back() {
    for last in [
        vec![Action::Quarantine],
        vec![Action::Upload { put: true, noted: true }],
        vec![Action::Upload { put: true, noted: true }, Action::Seal(true), Action::Kill],
        vec![Action::SealAndFinishUncommitted { quarantine: true }, Action::Kill],
    ] {
        let settings = Settings {
            codec: Codec::None,
            spool_max: u64::MAX,
            on_full: OnSpoolFull::DropOldest,
            transformed: true,
        };
        let mut world = World::new(settings);
        let start = [Action::Push(1), Action::Pack(1, true), Action::FailIn(7, 1, false)];
        let more = [Action::Seal(true), Action::Push(1), Action::Pack(1, true)];
        for action in start.iter().chain(&more).chain(&last) {
            world.run(action);
        }
        world.restart();
        world.check();
    }
}

/// All that a stream's life has, once or more.
fn life() -> Vec<Action> {
    let mut actions = Vec::new();
    for round in 0..3 {
        actions.extend([
            Action::Push(9),
            Action::Pack(4, true),
            Action::Pack(3, true),
            Action::Seal(true),
            Action::Upload { put: round != 1, noted: true },
            Action::Push(2),
            Action::Pack(4, true),
            Action::Seal(true),
            Action::SealAndFinishUncommitted { quarantine: round == 2 },
            Action::Quarantine,
            Action::Requeue { all: round == 1, looks: round != 2 },
        ]);
    }
    actions
}

#[test]
fn a_stop_at_each_operation_of_a_life_and_at_each_of_the_start_after_it() {
    let mut worlds = 0;
    for (spool_max, on_full) in [
        (u64::MAX, OnSpoolFull::DropOldest),
        (40, OnSpoolFull::DropOldest),
        (40, OnSpoolFull::DropNewest),
    ] {
        for transformed in [false, true] {
            let settings = Settings { codec: Codec::None, spool_max, on_full, transformed };
            for stop in 0_u32.. {
                let mut stops = 0;
                for second in 0..8 {
                    let mut world = World::new(settings);
                    world.sim.stop_in(stop);
                    world.stop_next_start = Some(second);
                    let starts = world.stops;
                    for action in life() {
                        world.run(&action);
                    }
                    stops += world.stops - starts;
                    world.restart();
                    world.check();
                    worlds += 1;
                }
                if stops == 0 {
                    break;
                }
            }
        }
    }
    assert!(worlds > 500, "{worlds}");
    println!("{worlds} lives");
}

proptest! {
    // PROPTEST_CASES asks for more.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(2000),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/spool/model.proptest-regressions",
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn after_any_stop_every_record_is_in_one_place_in_order(
        settings in settings(),
        actions in prop::collection::vec(action(), 1..60),
    ) {
        let mut world = World::new(settings);
        for action in &actions {
            world.run(action);
        }
        world.restart();
        world.check();
        // And all of it can still get out.
        while !world.ring.is_empty() {
            world.pack(100, true);
        }
        world.seal(true);
        world.requeue(true, true);
        while world.store().claim(Duration::ZERO).is_some_and(|number| {
            world.put(number) && world.note(number)
        }) {}
        world.restart();
        world.check();
        prop_assert!(world.store().sealed().is_empty());
        prop_assert_eq!(world.sim.names("quarantine"), Vec::<String>::new());
        prop_assert_eq!(world.store().counts().quarantined.blocks, 0);
        prop_assert_eq!(world.spool().open_len(), 0);
    }
}
