//! A disk that runs full of the stream's own blocks: what is open is sealed, so that the gateway, which
//! takes whatever is sealed, makes room.

use std::sync::Arc;
use std::time::Duration;

use super::{Packer, Parts};
use crate::block::BootId;
use crate::pipeline::ledger::Ledger;
use crate::pipeline::packing::Packing;
use crate::pipeline::right::Right;
use crate::pipeline::start::{self, assemble};
use crate::pipeline::tests::disk::Disk;
use crate::pipeline::tests::given::{Nobody, environment, settings};
use crate::pipeline::{Identity, Pipeline, Target};
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
    let identity = Identity {
        stream: "access".to_owned(),
        label: "access".to_owned(),
        route: settings.route(),
        folder: None,
        fresh: false,
        keeps: false,
    };
    let packing = Packing::new(settings.codec).unwrap();
    let target = Arc::new(Target { settings, client: None });
    let store = spool.store();
    let parts = start::Parts { right: Right::default(), ring, store, wakers: Vec::new() };
    let pipeline =
        Arc::new(assemble(Arc::clone(&target), identity, &environment(), Box::new(Nobody), parts));
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
