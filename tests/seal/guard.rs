//! A block that was begun to be encrypted is not uploaded unencrypted, whatever the settings of the
//! next start are: it waits for a key.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use crate::common::logs::Logs;
use crate::common::s3_server::BUCKET;
use crate::common::sim::Sim;
use crate::common::stream::{Process, wait_for};
use age::secrecy::ExposeSecret as _;
use vmod_s3log::block::{BootId, ChunkEncoder, Codec, Decoder, Drops, Kind};
use vmod_s3log::ring::{Backing, Capacity, Opened, Ring};
use vmod_s3log::seal::{Identities, Recipients, Sealing};
use vmod_s3log::spool::{ChunkStats, Disk, Files, Options, Payload, Recovered, Spool};

pub(crate) struct Key {
    public: String,
    file: tempfile::NamedTempFile,
}

impl Key {
    pub(crate) fn new() -> Self {
        let secret = age::x25519::Identity::generate();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), secret.to_string().expose_secret()).unwrap();
        Self { public: secret.to_public().to_string(), file }
    }

    fn sealing(&self) -> Sealing {
        Sealing::Age(Recipients::read(&self.public).unwrap())
    }

    /// The lines of a block; `None` when it is not encrypted to this key.
    fn lines(&self, sealed: &[u8]) -> Option<String> {
        let mut text = String::new();
        let keys = Identities::read(self.file.path()).unwrap();
        Decoder::sniff(keys.open(sealed).ok()?).unwrap().read_to_string(&mut text).unwrap();
        Some(text)
    }
}

pub(crate) const SECRET: &str = "secret line\n";
pub(crate) const CLEAR: &str = "clear line\n";

/// A start of a process, blocks not compressed.
fn open(sim: &Arc<Sim>, key: Option<&Key>, last: Option<&Payload>) -> Option<(Spool, Recovered)> {
    open_as(Kind::None, sim, key, last)
}

pub(crate) fn open_as(
    codec: Kind,
    sim: &Arc<Sim>,
    key: Option<&Key>,
    last: Option<&Payload>,
) -> Option<(Spool, Recovered)> {
    let mut options = Options::new("access", "node", BootId::new(1_800_000_000, 1));
    options.codec = codec;
    options.sealing = key.map(Key::sealing);
    let files = Arc::clone(sim) as Arc<dyn Files>;
    Spool::open(files, options, last.map(Payload::as_bytes)).ok()
}

pub(crate) fn stats(line: &str) -> ChunkStats {
    let raw_bytes = line.len() as u64;
    ChunkStats { records: 1, raw_bytes, first: 5, last: 6, cut: 0 }
}

/// Sets aside what lacks a key, as a start does; the payload that is committed last.
pub(crate) fn keep_secrets(sim: &Sim, spool: &mut Spool, last: Payload) -> Payload {
    if !spool.lacks_key() {
        return last;
    }
    let Ok(held) = spool.hold() else { return last };
    let ended = spool.end_secrecy();
    // A process that was killed in between has committed the first of the two only.
    if sim.stopped() { held.unwrap_or(last) } else { ended }
}

/// Each sealed block's key and bytes, by number.
fn blocks(spool: &Spool) -> Vec<(String, Vec<u8>)> {
    let store = spool.store();
    let read = |number| {
        let mut block = store.open_block(number).unwrap();
        let mut bytes = Vec::new();
        block.content.read_to_end(&mut bytes).unwrap();
        (block.key, bytes)
    };
    store.sealed().into_iter().map(read).collect()
}

#[test]
fn a_kill_at_any_operation_of_holding_and_releasing_shows_nothing_and_loses_nothing() {
    let key = Key::new();
    for (what, least) in [("hold", 3), ("release", 8)] {
        for operations in 0.. {
            let stop = |at: &str, sim: &Sim| {
                if at == what {
                    sim.stop_in(operations);
                }
            };
            let sim = Arc::new(Sim::new());
            let (mut spool, _) = open(&sim, Some(&key), None).unwrap();
            let mut last = spool.append(SECRET.as_bytes(), stats(SECRET)).unwrap();
            drop(spool);

            // A start without the key, and another one after it was killed.
            sim.restart();
            let (mut spool, found) = open(&sim, None, Some(&last)).unwrap();
            last = found.payload;
            stop("hold", &sim);
            last = keep_secrets(&sim, &mut spool, last);
            let mut stopped = sim.stopped();
            drop(spool);
            sim.restart();
            let (mut spool, found) = open(&sim, None, Some(&last)).unwrap();
            last = keep_secrets(&sim, &mut spool, found.payload);
            assert!(!spool.lacks_key(), "{what} {operations}");
            let counts = spool.store().counts();
            assert_eq!((counts.held.blocks, counts.held.records), (1, 1), "{what} {operations}");
            assert_eq!((counts.lost.records, spool.pending_drops().total()), (0, 0));

            // Records go on, in clear, in a block of their own.
            last = spool.append(CLEAR.as_bytes(), stats(CLEAR)).unwrap_or(last);
            if let Some((_, payload)) = spool.seal(&Drops::default()).unwrap() {
                last = payload;
            }
            let [(name, bytes)] = &blocks(&spool)[..] else { panic!("{:?}", sim.names("")) };
            assert!(name.ends_with(".log") && bytes == CLEAR.as_bytes(), "{name}");
            drop(spool);

            // The key is back.
            sim.restart();
            let (mut spool, found) = open(&sim, Some(&key), Some(&last)).unwrap();
            last = found.payload;
            stop("release", &sim);
            if let Ok(Some((_, payload))) = spool.release(&Drops::default()) {
                last = payload;
            }
            stopped |= sim.stopped();
            drop(spool);
            sim.restart();
            let (mut spool, _) = open(&sim, Some(&key), Some(&last)).unwrap();
            let _ = spool.release(&Drops::default()).unwrap();
            let blocks = blocks(&spool);
            let [_, (name, bytes)] = &blocks[..] else { panic!("{what} {operations}: {blocks:?}") };
            assert!(name.ends_with("-0000000002.log.age"), "{name}");
            assert_eq!(key.lines(bytes).unwrap(), SECRET);
            let one = spool.store().open_block(1).unwrap().meta;
            let two = spool.store().open_block(2).unwrap().meta;
            assert_eq!(two.previous, Some(one.sha256));
            let counts = spool.store().counts();
            assert_eq!((counts.held.blocks, counts.lost.records), (0, 0));
            for name in sim.names("") {
                let bytes = sim.contents(&name).unwrap_or_default();
                let shows = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
                assert!(!shows, "{what} {operations}: {name}");
            }
            assert_eq!(sim.names("foreign"), Vec::<String>::new());
            if !stopped {
                assert!(operations >= least, "{what} has {operations} operations only");
                break;
            }
        }
    }
}

/// A power cut may leave a file's length and not its bytes: they were encrypted as they were, and nobody
/// could read the block.
#[test]
fn of_a_block_that_waits_for_a_key_what_is_damaged_is_not_encrypted_and_is_counted_once() {
    let key = Key::new();
    let chunk = |codec, line: &str| {
        let mut chunk = Vec::new();
        ChunkEncoder::new(codec).unwrap().encode(line.as_bytes(), &mut chunk).unwrap();
        chunk
    };
    let lines = ["first line\n", "second line\n", "third line\n"];
    let zstd = Codec::Zstd(1);
    let [one, two, three] = lines.map(|line| chunk(zstd, line).len());
    let all = one + two + three;
    // What becomes of the bytes, and how many lines are left.
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(&str, Codec, Damage<'_>, usize); 7] = [
        ("torn zstd", zstd, &|bytes| bytes[all - 3..].fill(0), 2),
        (
            "torn gzip",
            Codec::Gzip(1),
            &|bytes| bytes.iter_mut().rev().take(8).for_each(|b| *b = 0),
            2,
        ),
        ("a hole", zstd, &|bytes| bytes[one..one + two].fill(0), 1),
        ("shorter", zstd, &|bytes| bytes.truncate(all - 3), 2),
        ("zeroes", zstd, &|bytes| bytes.fill(0), 0),
        // The next chunk, which was cut off again.
        ("longer", zstd, &|bytes| bytes.extend(chunk(zstd, "of the ring\n")), 3),
        // Nothing tells which lines are good.
        ("lines", Codec::None, &|bytes| bytes[2] ^= 1, 0),
    ];
    // A kill may come before the ring is told that the block was set aside.
    let cases = cases.into_iter().flat_map(|case| [(case, true), (case, false)]);
    for ((what, codec, damage, left), told) in cases {
        let sim = Arc::new(Sim::new());
        let start = |key, last: Option<&Payload>| open_as(codec.kind(), &sim, key, last).unwrap();
        let (mut spool, _) = start(Some(&key), None);
        let mut last = None;
        for line in lines {
            last = Some(spool.append(&chunk(codec, line), stats(line)).unwrap());
        }
        drop(spool);
        let (mut spool, found) = start(None, last.as_ref());
        let set_aside = keep_secrets(&sim, &mut spool, found.payload);
        let mut last = if told { set_aside } else { found.payload };
        drop(spool);

        let held = sim.names("").into_iter().find(|name| name.ends_with(".held")).unwrap();
        let mut bytes = sim.contents(&held).unwrap();
        damage(&mut bytes);
        sim.place(&held, &bytes);
        let lost = (lines.len() - left) as u64;
        for newly_lost in [lost, 0] {
            let (spool, found) = start(None, Some(&last));
            last = found.payload;
            let counts = spool.store().counts();
            assert_eq!(counts.held.records, left as u64, "{what}, {told}");
            assert_eq!(
                (counts.lost.records, spool.pending_drops().lost),
                (newly_lost, lost),
                "{what}, {told}"
            );
        }
        let (mut spool, _) = start(Some(&key), Some(&last));
        let released = spool.release(&Drops::default()).unwrap();
        assert_eq!(released.is_some(), left > 0, "{what}, {told}");
        let text: Vec<String> =
            blocks(&spool).iter().map(|(_, bytes)| key.lines(bytes).unwrap()).collect();
        assert_eq!(text.concat(), lines[..left].concat(), "{what}, {told}");
        let aside = sim.names("foreign");
        assert_eq!(aside.len(), usize::from(lost > 0), "{what}, {told}: {aside:?}");
    }
}

pub(crate) fn zstd(line: &str) -> Vec<u8> {
    let mut member = Vec::new();
    ChunkEncoder::new(Codec::Zstd(1)).unwrap().encode(line.as_bytes(), &mut member).unwrap();
    member
}

/// A sealed block of an encrypted stream, and an open one of three lines whose last bytes are not there.
fn torn(key: &Key) -> (Arc<Sim>, Payload) {
    let sim = Arc::new(Sim::new());
    let (mut spool, _) = open_as(Kind::Zstd, &sim, Some(key), None).unwrap();
    spool.append(&zstd(CLEAR), stats(CLEAR)).unwrap();
    spool.seal(&Drops::default()).unwrap();
    let append = |_| spool.append(&zstd(SECRET), stats(SECRET)).unwrap();
    let last = [(); 3].map(append)[2];
    let mut bytes = sim.contents("0000000002.data").unwrap();
    bytes.truncate(bytes.len() - 3);
    sim.place("0000000002.data", &bytes);
    (sim, last)
}

/// The lines of what is sealed, all of it encrypted.
pub(crate) fn encrypted(spool: &Spool, key: &Key) -> Vec<String> {
    blocks(spool).iter().map(|(_, bytes)| key.lines(bytes).expect("it is encrypted")).collect()
}

#[test]
fn a_torn_secret_block_that_a_full_disk_cannot_mend_keeps_no_other_back_and_is_never_shown() {
    let key = Key::new();
    let start = |sim: &Arc<Sim>, key, last: &Payload| open_as(Kind::Zstd, sim, key, Some(last));
    for (full, later) in [(true, true), (true, false), (false, true), (false, false)] {
        let (sim, last) = torn(&key);
        // Nobody has written it yet.
        sim.remove("secret").unwrap();
        let with = |has: bool| Some(&key).filter(|_| has);
        let full = with(full);
        sim.restart();
        // Not without the mark.
        sim.fail_in(0, 3, io::ErrorKind::StorageFull);
        assert!(start(&sim, full, &last).is_none());
        sim.restart();
        sim.fail_in(0, 1, io::ErrorKind::StorageFull);
        let (mut spool, found) = start(&sim, full, &last).unwrap();
        assert_eq!(encrypted(&spool, &key), [CLEAR]);
        let damaged = found.counts.damaged;
        assert_eq!((&*found.not_mended, damaged.blocks, damaged.records), (&[2][..], 1, 2));
        assert_eq!(found.counts.lost.records, 1);
        let mut last = keep_secrets(&sim, &mut spool, found.payload);
        assert!(!spool.lacks_key());
        drop(spool);

        // Still no room, for any of the steps.
        for operation in 0..6 {
            sim.restart();
            sim.fail_in(operation, 1, io::ErrorKind::StorageFull);
            let (spool, found) = start(&sim, None, &last).unwrap();
            assert_eq!(encrypted(&spool, &key), [CLEAR], "{operation}");
            assert_eq!(found.counts.lost.records, 0, "it was counted");
            last = found.payload;
        }
        sim.restart();
        let (mut spool, found) = start(&sim, with(later), &last).unwrap();
        last = found.payload;
        assert!(found.not_mended.is_empty());
        let mut lines = vec![CLEAR.to_owned()];
        if later {
            let (_, payload) = spool.release(&Drops::default()).unwrap().unwrap();
            last = payload;
        } else {
            assert_eq!(found.counts.held.records, 2);
            last = keep_secrets(&sim, &mut spool, last);
            assert!(!sim.names("").contains(&"secret".to_owned()), "it has a name of its own");
        }
        drop(spool);
        sim.restart();
        let (mut spool, _) = start(&sim, Some(&key), &last).unwrap();
        let _ = spool.release(&Drops::default()).unwrap();
        lines.push(SECRET.repeat(2));
        assert_eq!(encrypted(&spool, &key), lines, "{:?}", sim.names(""));
    }
}

#[test]
fn a_torn_block_that_waits_for_a_key_keeps_no_other_back_on_a_full_disk_and_is_counted_once() {
    let key = Key::new();
    for operation in 0..5 {
        let (sim, last) = torn(&key);
        let start = |key, last: &Payload| open_as(Kind::Zstd, &sim, key, Some(last)).unwrap();
        let (mut spool, found) = start(None, &last);
        let mut last = keep_secrets(&sim, &mut spool, found.payload);
        drop(spool);
        let mut bytes = sim.contents("0000000002.held").unwrap();
        bytes.truncate(bytes.len() - 3);
        sim.place("0000000002.held", &bytes);
        sim.restart();
        sim.fail_in(operation, 1, io::ErrorKind::StorageFull);
        let (mut spool, found) = start(None, &last);
        assert_eq!(encrypted(&spool, &key), [CLEAR]);
        let counts = found.counts;
        assert_eq!(counts.damaged.records + counts.held.records, 1, "{operation}");
        assert_eq!(counts.lost.records + counts.damaged.blocks, 1, "{operation}");
        last = found.payload;
        let lost = spool.pending_drops().lost;
        // Another one is set aside, under a name of its own.
        drop(spool);
        sim.restart();
        sim.fail_in(0, 1, io::ErrorKind::StorageFull);
        (spool, _) = start(Some(&key), &last);
        spool.append(&zstd(SECRET), stats(SECRET)).unwrap();
        last = spool.payload();
        drop(spool);
        sim.restart();
        sim.fail_in(0, 1, io::ErrorKind::StorageFull);
        (spool, _) = start(None, &last);
        last = keep_secrets(&sim, &mut spool, last);
        drop(spool);
        sim.restart();
        let (mut spool, found) = start(Some(&key), &last);
        assert_eq!((found.not_mended.len(), found.counts.held.records), (0, 2), "{operation}");
        while spool.release(&Drops::default()).unwrap().is_some() {}
        assert_eq!(encrypted(&spool, &key), [CLEAR, SECRET, SECRET], "{operation}");
        let told: u64 = spool
            .store()
            .sealed()
            .into_iter()
            .map(|number| spool.store().open_block(number).unwrap().meta.dropped.lost)
            .sum();
        assert_eq!(told, 2, "{operation}: {lost}");
    }
}

/// A start with the key: what of `lines` it finds in the spool, once all that waits is sealed.
fn start_with(sim: &Arc<Sim>, key: &Key, codec: Kind, last: &Payload) -> (Vec<String>, Payload) {
    sim.restart();
    let (mut spool, found) = open_as(codec, sim, Some(key), Some(last)).unwrap();
    let mut last = found.payload;
    for seal in [Spool::seal, Spool::release] {
        while let Some((_, payload)) = seal(&mut spool, &Drops::default()).unwrap() {
            last = payload;
        }
    }
    let of = |(_, bytes): &(_, Vec<u8>)| {
        key.lines(bytes).unwrap_or_else(|| String::from_utf8(bytes.clone()).unwrap())
    };
    (blocks(&spool).iter().map(of).collect(), last)
}

/// A start without the key that sets aside what is open; the payload that is committed last.
fn start_without(sim: &Arc<Sim>, last: &Payload) -> Payload {
    sim.restart();
    let (mut spool, found) = open(sim, None, Some(last)).unwrap();
    keep_secrets(sim, &mut spool, found.payload)
}

/// The sidecar of a sealed block names what it was made of. A block that was set aside later, or of which
/// only its members told, got that name once more, and the next start removed it as sealed.
#[test]
fn a_block_that_waits_for_a_key_never_has_the_name_of_one_that_is_sealed() {
    let key = Key::new();
    let append = |sim: &Arc<Sim>, last: Option<&Payload>, line: &str| {
        sim.restart();
        let (mut spool, _) = open(sim, Some(&key), last).unwrap();
        spool.append(line.as_bytes(), stats(line)).unwrap()
    };
    let texts = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();

    // Two are set aside, and nothing is left of the first: the second becomes block 1.
    let sim = Arc::new(Sim::new());
    let last = append(&sim, None, "lost\n");
    sim.restart();
    let (mut spool, _) = open(&sim, None, Some(&last)).unwrap();
    spool.hold().unwrap().unwrap();
    spool.append(b"one\n", stats("one\n")).unwrap();
    spool.hold().unwrap().unwrap();
    let last = spool.end_secrecy();
    drop(spool);
    sim.place("0000000001.held", b"gone\n");
    let (found, last) = start_with(&sim, &key, Kind::None, &last);
    assert_eq!(found, texts(&["one\n"]));
    let last = append(&sim, Some(&last), "two\n");
    let last = start_without(&sim, &last);
    let (found, _) = start_with(&sim, &key, Kind::None, &last);
    assert_eq!(found, texts(&["one\n", "two\n"]));

    // One that was set aside becomes block 2, and the sidecar of block 1 is damaged.
    let sim = Arc::new(Sim::new());
    let last = append(&sim, None, "one\n");
    sim.restart();
    let (mut spool, _) = open(&sim, None, Some(&last)).unwrap();
    keep_secrets(&sim, &mut spool, last);
    spool.append(CLEAR.as_bytes(), stats(CLEAR)).unwrap();
    let (_, last) = spool.seal(&Drops::default()).unwrap().unwrap();
    drop(spool);
    let (found, last) = start_with(&sim, &key, Kind::None, &last);
    assert_eq!(found, texts(&[CLEAR, "one\n"]));
    sim.place("0000000001.json", b"");
    let last = start_without(&sim, &last);
    let (found, _) = start_with(&sim, &key, Kind::None, &last);
    assert_eq!(found, texts(&["one\n", CLEAR]));
}

/// A power cut has kept the sidecar and not the encrypted block, and has torn what that was made of.
#[test]
fn what_a_full_disk_cannot_mend_waits_on_where_its_encrypted_block_did_not_come_to_the_disk() {
    let key = Key::new();
    let (sim, last) = torn(&key);
    let bytes = [SECRET; 3].map(zstd).concat();
    sim.place("0000000002.data", &bytes);
    sim.restart();
    let (mut spool, found) = open_as(Kind::Zstd, &sim, None, Some(&last)).unwrap();
    let last = keep_secrets(&sim, &mut spool, found.payload);
    let (hold, held) = ("0000000002.hold", "0000000002.held");
    let before = sim.contents(hold).unwrap();
    let (found, _) = start_with(&sim, &key, Kind::Zstd, &last);
    assert_eq!(found, [CLEAR.to_owned(), SECRET.repeat(3)]);
    // Back to where the members were still there, with `room` to mend them or without, the encrypted block
    // `whole` or missing.
    let [described, sealed] =
        ["json", "sealed"].map(|end| sim.contents(&format!("0000000002.{end}")).unwrap());
    for (room, whole) in [(false, false), (true, false), (true, true)] {
        sim.restart();
        sim.place("0000000002.json", &described);
        sim.place(hold, &before);
        sim.place(held, &bytes[..bytes.len() - 3]);
        sim.place("0000000002.sealed", &sealed);
        if !whole {
            sim.remove("0000000002.sealed").unwrap();
        }
        if !room {
            // The sidecar is removed first.
            sim.fail_in(1, 1, io::ErrorKind::StorageFull);
        }
        let (spool, found) = open_as(Kind::Zstd, &sim, Some(&key), Some(&last)).unwrap();
        let counts = found.counts;
        assert_eq!(counts.damaged.blocks, u64::from(!room), "{room}, {whole}");
        // Of one that is sealed nothing is lost.
        assert_eq!(counts.lost.records, u64::from(room && !whole), "{room}, {whole}");
        drop(spool);
        let (found, _) = start_with(&sim, &key, Kind::Zstd, &found.payload);
        let left = SECRET.repeat(if whole { 3 } else { 2 });
        assert_eq!(found, [CLEAR.to_owned(), left], "{room}, {whole}");
    }
}

#[test]
fn without_its_ring_a_block_is_still_known_to_be_secret() {
    let key = Key::new();
    let sim = Arc::new(Sim::new());
    let (mut spool, _) = open(&sim, Some(&key), None).unwrap();
    let mut member = Vec::new();
    ChunkEncoder::new(Codec::default()).unwrap().encode(SECRET.as_bytes(), &mut member).unwrap();
    spool.append(&member, stats(SECRET)).unwrap();
    drop(spool);
    sim.restart();
    let (spool, found) = open(&sim, None, None).unwrap();
    assert!(spool.store().sealed().is_empty());
    assert_eq!((found.counts.held.blocks, found.counts.held.records), (1, 1));
    drop(spool);
    sim.restart();
    let (mut spool, _) = open(&sim, Some(&key), None).unwrap();
    spool.release(&Drops::default()).unwrap().unwrap();
    let [(name, bytes)] = &blocks(&spool)[..] else { panic!("{:?}", sim.names("")) };
    assert!(name.ends_with(".log.gz.age"), "{name}");
    assert_eq!(key.lines(bytes).unwrap(), SECRET);
}

#[test]
fn a_block_that_a_full_disk_has_no_room_to_describe_is_described_by_the_next_start() {
    let key = Key::new();
    let sim = Arc::new(Sim::new());
    let (mut spool, _) = open_as(Kind::Zstd, &sim, Some(&key), None).unwrap();
    spool.append(&zstd(SECRET), stats(SECRET)).unwrap();
    drop(spool);
    for described in [false, true] {
        sim.restart();
        if !described {
            // Once the members have their new name.
            sim.fail_in(1, 1, io::ErrorKind::StorageFull);
        }
        let (_, found) = open_as(Kind::Zstd, &sim, None, None).unwrap();
        assert_eq!((found.counts.held.blocks, found.counts.held.records), (1, 1));
        assert!(sim.contents("0000000001.held").is_some());
        assert_eq!(sim.contents("0000000001.hold").is_some(), described);
    }
}

/// A power cut has kept the new name of the members alone: neither that of their description nor what the ring
/// was told.
#[test]
fn of_a_block_that_was_set_aside_without_a_trace_nothing_counts_as_lost() {
    let key = Key::new();
    // The same lines again, in the open block, are others.
    for again in [false, true] {
        let sim = Arc::new(Sim::new());
        let (mut spool, _) = open(&sim, Some(&key), None).unwrap();
        let last = spool.append(SECRET.as_bytes(), stats(SECRET)).unwrap();
        drop(spool);
        sim.restart();
        let (mut spool, found) = open(&sim, None, Some(&last)).unwrap();
        spool.hold().unwrap().unwrap();
        drop(spool);
        sim.remove("0000000001.hold").unwrap();
        if again {
            sim.place("0000000001.data", SECRET.as_bytes());
        }
        sim.restart();
        let (spool, found) = open(&sim, None, Some(&found.payload)).unwrap();
        assert_eq!((found.counts.held.records, found.counts.lost.records), (1, 0), "{again}");
        let open = (spool.open_records(), spool.pending_drops().total());
        assert_eq!(open, (u64::from(again), 0));
        let (lines, _) = start_with(&sim, &key, Kind::None, &found.payload);
        assert_eq!(lines.concat(), SECRET.repeat(1 + usize::from(again)));
    }
}

#[test]
fn a_secret_block_that_nobody_set_aside_is_not_sealed_in_clear() {
    let key = Key::new();
    let sim = Arc::new(Sim::new());
    let (mut spool, _) = open(&sim, Some(&key), None).unwrap();
    let last = spool.append(SECRET.as_bytes(), stats(SECRET)).unwrap();
    drop(spool);
    sim.restart();
    let (mut spool, _) = open(&sim, None, Some(&last)).unwrap();
    let error = spool.seal(&Drops::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        "block 1 must be encrypted but no key is configured; it will not be uploaded unencrypted"
    );
    assert!(spool.store().sealed().is_empty());
}

/// A spool as a killed varnishd with `encrypt_to` leaves it: two lines in the open block, five in
/// the ring.
fn left_behind(root: &Path, key: &Key) {
    fs::create_dir_all(root).unwrap();
    let disk = Disk::open(root).unwrap();
    let path = root.join("ring");
    let Opened { ring, mut reader, .. } = Ring::open(Backing::File(&path), Capacity::MIN).unwrap();
    let mut options = Options::new("access", "edge-1", BootId::new(1_795_341_600, 7));
    options.sealing = Some(key.sealing());
    let (mut spool, found) = Spool::open(Arc::new(disk), options, None).unwrap();
    reader.commit(found.payload.as_bytes()).unwrap();
    let mut chunk = Vec::new();
    let lines = "secret in the block 1\nsecret in the block 2\n";
    ChunkEncoder::new(Codec::default()).unwrap().encode(lines.as_bytes(), &mut chunk).unwrap();
    let time = 1_795_341_600_000_000_000;
    let raw_bytes = lines.len() as u64;
    let stats = ChunkStats { records: 2, raw_bytes, first: time, last: time, cut: 0 };
    let payload = spool.append(&chunk, stats).unwrap();
    reader.commit(payload.as_bytes()).unwrap();
    for n in 0..5 {
        ring.push(format!("secret in the ring {n}\n").as_bytes()).unwrap();
    }
}

/// Names of the objects in the bucket.
fn names(logs: &Logs) -> Vec<String> {
    let ran = logs.s3log(&["ls", "--json", "access"]);
    let key = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).ok()?["key"].as_str().map(str::to_owned)
    };
    ran.out.lines().filter_map(key).collect()
}

#[test]
fn drain_without_the_key_sends_nothing_and_says_so_and_with_it_sends_all_encrypted() {
    let logs = Logs::start();
    let key = Key::new();
    left_behind(&logs.path("spool/access"), &key);
    for _ in 0..2 {
        let ran = logs.s3log(&["drain", "access", "--set", "ring=1MB"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.out.contains("NOT DRAINED: 2 blocks with 7 records"), "{ran:?}");
        let said = ran.err.matches("must be encrypted, and no key").count();
        assert_eq!(said, 1, "{ran:?}");
        assert!(ran.err.contains("error: stream access: 2 blocks with 7 records"), "{ran:?}");
        assert_eq!(names(&logs), Vec::<String>::new());
    }
    let ran = logs.s3log(&["stats", "access"]);
    assert!(ran.out.contains("held         2 blocks, 7 records"), "{ran:?}");
    let with_key = format!("encrypt_to={}", key.public);
    let ran = logs.s3log(&["drain", "access", "--set", &with_key]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.err.contains("wait for a key"), "{ran:?}");
    let found = names(&logs);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|name| name.ends_with(".log.gz.age")), "{found:?}");
    let identity = key.file.path().to_str().unwrap();
    let ran = logs.s3log(&["cat", "access", "--identity", identity]);
    assert_eq!(ran.out.lines().filter(|line| line.starts_with("secret in the ")).count(), 7);
    let ran = logs.s3log(&["verify", "access", "--deep", "--identity", identity]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("every line is counted"), "{ran:?}");
}

#[test]
fn a_spool_of_an_older_release_with_secrets_waits_for_a_vcl_with_keys() {
    let server = crate::common::s3_server::S3Server::start();
    let process = Process::new();
    let key = Key::new();
    left_behind(&process.spool().join("access"), &key);
    let clear = process.attach(&server.endpoint(), &[("period", "100ms")]);
    clear.push("clear", 0..10);
    clear.wait_stat("uploaded_records", 10);
    clear.wait_balance();
    let told = |process: &Process| {
        process.messages().iter().filter(|text| text.contains("load a VCL with")).count()
    };
    wait_for("a word about it", || told(&process) == 1);
    let keyed =
        process.attach(&server.endpoint(), &[("period", "100ms"), ("encrypt_to", &key.public)]);
    drop(clear);
    drop(keyed);
    process.wait_closed();
    assert_eq!(told(&process), 1);
    let mut secret = 0;
    for entry in fs::read_dir(server.root().join(BUCKET)).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        if path.to_str().unwrap().ends_with(".age") {
            secret += key.lines(&bytes).unwrap().lines().count();
        } else if path.to_str().unwrap().contains(".log") {
            let mut text = String::new();
            Decoder::sniff(&bytes[..]).unwrap().read_to_string(&mut text).unwrap();
            assert!(!text.contains("secret"), "{path:?}");
        }
    }
    assert_eq!(secret, 7);
}
