//! A disk that runs full of the stream's own blocks: what is open is sealed, so that the gateway, which
//! takes whatever is sealed, makes room.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Packer, Parts};
use crate::block::{BootId, Decoder};
use crate::pipeline::ledger::Ledger;
use crate::pipeline::packing::Packing;
use crate::pipeline::tests::disk::Disk;
use crate::pipeline::tests::given::{environment, pipeline, settings};
use crate::pipeline::{Pipeline, Target};
use crate::ring::{Backing, Capacity, Opened, Ring};
use crate::settings::Settings;
use crate::spool::{Options, Spool};
use crate::stats::get;

const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// A stream on a disk of so many pages, and its packer, whose rounds the test makes.
struct Stream {
    packer: Packer,
    pipeline: Arc<Pipeline>,
    disk: Disk,
    pushed: u64,
    now: Duration,
}

fn stream(pages: usize, more: &[(&'static str, &str)]) -> Stream {
    let settings = settings(&[&[("period", "10s"), ("max_bytes", "1MB")], more].concat());
    let disk = Disk::default();
    let options = Options {
        codec: settings.codec.kind(),
        one_member: settings.one_member(),
        naming: settings.naming.clone(),
        sealing: settings.sealing.clone(),
        ..Options::new("access", "node", BootId::new(1_800_000_000, 1))
    };
    let (spool, _) = Spool::open(Arc::new(disk.clone()), options, None).unwrap();
    disk.resize(pages);
    let Opened { ring, reader, .. } = Ring::open(Backing::Memory, Capacity::tiny(1 << 18)).unwrap();
    let packing = Packing::new(settings.codec).unwrap();
    let pipeline = Arc::new(pipeline(settings, &environment(), ring, spool.store()));
    let target = pipeline.target().unwrap();
    let ledger = Ledger::new(reader, spool);
    let packer = Packer::new(
        &pipeline,
        Parts { target, files: Arc::new(disk.clone()), ledger, packing, told: 0, noted: true },
    );
    Stream { packer, pipeline, disk, pushed: 0, now: Duration::from_secs(1) }
}

impl Stream {
    /// As many lines as the ring takes, which no codec makes much smaller, and at most `records` in all.
    fn push(&mut self, records: u64) {
        let mut random = fastrand::Rng::with_seed(self.pushed);
        while self.pushed < records {
            let line: String = (0..1000).map(|_| random.alphanumeric()).collect();
            if self.pipeline.ring.push(format!("{line}\n").as_bytes()).is_err() {
                break;
            }
            self.pushed += 1;
        }
    }

    /// What the packer does in a second.
    fn round(&mut self) {
        self.now += Duration::from_secs(1);
        let usage = self.pipeline.ring.usage();
        if let Err(error) = self.packer.round(usage, self.now) {
            assert!(error.is_no_room(), "{error}");
            self.packer.complain(&error);
        }
    }

    /// The gateway takes what is sealed.
    fn upload(&self) {
        while let Some(number) = self.pipeline.store.claim(Duration::ZERO) {
            self.pipeline.store.uploaded(number).unwrap();
        }
    }

    fn uploaded(&self) -> u64 {
        self.pipeline.store.counts().uploaded.records
    }

    /// Seconds in which as many records come to the bucket, with the gateway up all the time.
    fn delivers(&mut self, records: u64) {
        for _ in 0..200 {
            self.push(records);
            self.round();
            self.upload();
            if self.uploaded() == records {
                return;
            }
        }
        let (open, uploaded) = (self.packer.ledger.spool().open_records(), self.uploaded());
        panic!("{} pushed, {open} in the open block, {uploaded} uploaded", self.pushed);
    }
}

#[test]
fn a_stream_that_has_filled_its_disk_seals_what_is_open_and_goes_on() {
    // Of which it is not told how full it is.
    let mut stream = stream(60, &[]);
    stream.delivers(2000);
    let errors = get(&stream.pipeline.stats.spool_errors);
    assert!(errors > 0, "the disk was never full");
    // No more than a description, and what tells of the last one that went.
    assert!(stream.disk.used() <= 2, "{} pages", stream.disk.used());
}

#[test]
fn a_block_ends_while_its_disk_has_room_for_what_its_seal_takes() {
    for more in [&[][..], &[("encrypt_to", KEY)], &[("members", "one")]] {
        let mut stream = stream(100, more);
        stream.disk.tells_room(true);
        stream.delivers(2000);
        // Nor does a block that was to be made one member of keep its members.
        assert_eq!(get(&stream.pipeline.stats.spool_errors), 0, "{more:?}");
        assert!(get(&stream.pipeline.stats.blocks_sealed) > 3, "{more:?}");
    }
}

#[test]
fn a_stream_whose_key_goes_while_its_disk_is_full_seals_what_was_logged_under_it() {
    let mut stream = stream(100, &[("encrypt_to", KEY)]);
    stream.disk.tells_room(true);
    stream.push(u64::MAX);
    stream.round();
    let before = stream.pushed;
    // Room for the copy of what is open, and for no chunk.
    let open = usize::try_from(stream.packer.ledger.spool().open_len()).unwrap();
    stream.disk.resize(stream.disk.used() + open.div_ceil(4096) + 2);
    let mut arguments = stream.packer.target.settings.arguments.clone();
    arguments.unset("encrypt_to");
    let settings = Settings::read(&arguments).unwrap();
    stream.packer.target = Arc::new(Target { settings, client: None });
    stream.delivers(before);
}

#[test]
fn a_disk_without_room_for_a_description_keeps_all_until_there_is() {
    let mut stream = stream(60, &[]);
    stream.push(u64::MAX);
    stream.round();
    assert!(stream.packer.ledger.spool().open_len() > 0);
    // Somebody else has the rest.
    stream.disk.resize(stream.disk.used());
    for _ in 0..30 {
        stream.round();
        stream.upload();
    }
    assert_eq!(stream.uploaded(), 0);
    let all = stream.pushed;
    stream.disk.resize(60);
    stream.delivers(all);
}

impl Stream {
    /// So many lines more come, and are read.
    fn read(&mut self, records: u64) {
        self.push(self.pushed + records);
        self.packer.fill(usize::MAX, self.now);
        assert_eq!(self.packer.packing.records(), records);
    }

    /// The same, and they come into the open block.
    fn pack(&mut self, records: u64) {
        self.read(records);
        while self.packer.packing.records() > 0 {
            self.packer.close_chunk().unwrap();
            // Where it began another block.
            self.packer.fill(usize::MAX, self.now);
        }
    }

    /// Numbers of the lines in the open block.
    fn open(&self) -> u64 {
        self.packer.ledger.spool().open_records()
    }

    /// Until nothing moves any more: all is sealed and uploaded. The lines, and how many records the blocks
    /// say were dropped.
    fn rest(&mut self) -> (Vec<u8>, u64) {
        self.disk.behave();
        let (mut all, mut dropped) = (Vec::new(), 0);
        for _ in 0..30 {
            self.round();
            self.packer.sync(self.now);
            while let Some(number) = self.pipeline.store.claim(Duration::ZERO) {
                let mut block = self.pipeline.store.open_block(number).unwrap();
                let mut bytes = Vec::new();
                block.content.read_to_end(&mut bytes).unwrap();
                Decoder::new(&bytes[..], block.meta.codec).unwrap().read_to_end(&mut all).unwrap();
                dropped += block.meta.dropped.spool;
                self.pipeline.store.uploaded(number).unwrap();
            }
        }
        assert_eq!((self.packer.packing.records(), self.open()), (0, 0));
        (all, dropped)
    }

    /// All that was pushed is uploaded once, and counted once.
    fn has_all_once(&mut self) {
        let (lines, dropped) = self.rest();
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count() as u64, self.pushed);
        let different: HashSet<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
        assert_eq!(different.len() as u64, self.pushed + 1, "a line is there twice");
        let stats = &self.pipeline.stats;
        assert_eq!((self.uploaded(), get(&stats.records), dropped), (self.pushed, self.pushed, 0));
        assert_eq!(get(&stats.raw_bytes), lines.len() as u64);
    }
}

/// A second in which something was read and lost again is one of several, for it is chance what a disk
/// keeps.
const SECONDS: std::ops::Range<u64> = 1..9;

#[test]
fn a_chunk_in_hand_when_a_sync_loses_the_open_blocks_end_is_stored_once() {
    let mut lost = 0;
    for records in SECONDS {
        let mut stream = stream(1000, &[("sync", "1s")]);
        stream.pack(10);
        stream.packer.sync(stream.now);
        stream.pack(records);
        stream.read(3);
        stream.disk.fail_in(0, true);
        stream.packer.sync(stream.now);
        lost += u64::from(stream.open() == 10);
        stream.has_all_once();
    }
    assert!(lost > 0, "no sync has lost anything");
}

#[test]
fn a_chunk_that_finds_its_blocks_end_lost_is_stored_once() {
    let mut lost = 0;
    for records in SECONDS {
        let mut stream = stream(1000, &[("sync", "1s")]);
        let fails = Arc::new(AtomicBool::new(false));
        let failing = Arc::clone(&fails);
        stream.pipeline.ring.simulate_disk(Box::new(move |range| {
            // Its commits can be written.
            let fails = failing.load(Ordering::Relaxed) && range.len() > 4096;
            if fails { Err(std::io::Error::other("input/output error")) } else { Ok(()) }
        }));
        stream.pack(10);
        stream.packer.sync(stream.now);
        stream.pack(records);
        // The ring's pages cannot be written, so that the next sync packs what is in them.
        stream.read(3);
        fails.store(true, Ordering::Relaxed);
        stream.packer.sync(stream.now);
        fails.store(false, Ordering::Relaxed);
        stream.packer.close_chunk().unwrap();
        assert!(stream.packer.ledger.must_pack());
        stream.read(4);
        // The chunk finds the disk full, and its file cannot be cut.
        stream.disk.full_in(0);
        stream.disk.fail_in(0, true);
        let before = stream.open();
        stream.packer.sync(stream.now);
        lost += u64::from(stream.open() < before);
        stream.has_all_once();
    }
    assert!(lost > 0, "no sync has lost anything");
}

#[test]
fn records_that_are_dropped_and_then_read_again_count_once() {
    let mut lost = 0;
    for records in SECONDS {
        let more = [("sync", "1s"), ("spool_max", "1MB"), ("on_spool_full", "drop_newest")];
        let mut stream = stream(1000, &more);
        let dropped = |stream: &Stream| get(&stream.pipeline.view.dropped_newest);
        loop {
            stream.pack(50);
            if dropped(&stream) > 0 {
                break;
            }
            stream.packer.sync(stream.now);
        }
        let before = stream.open();
        stream.pack(records);
        stream.disk.fail_in(0, true);
        stream.packer.sync(stream.now);
        lost += u64::from(stream.open() <= before);
        let (lines, told) = stream.rest();
        let found = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        let stats = &stream.pipeline.stats;
        assert_eq!(get(&stats.records), stream.pushed);
        assert_eq!((stream.uploaded(), found), (found, stream.pushed - dropped(&stream)));
        assert_eq!(told, dropped(&stream));
    }
    assert!(lost > 0, "no sync has lost anything");
}
