//! Blocks that are made one member of when they are sealed: read by decoders that stop after the first,
//! under a kill at any operation, on a full disk, and with members that are damaged.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;

use crate::common::sim::Sim;
use vmod_s3log::block::{BootId, ChunkEncoder, Codec, Digest, Drops, Kind};
use vmod_s3log::spool::{ChunkStats, Disk, Files, Options, Payload, Sealed, Spool, moved_here};

const CODECS: [Codec; 3] = [Codec::Gzip(3), Codec::Zstd(3), Codec::Snappy];
const LINES: u64 = 3000;

fn options(codec: Codec) -> Options {
    let mut options = Options::new("access", "node-1", BootId::new(1_800_000_000, 1));
    options.codec = codec.kind();
    options.one_member = Some(codec);
    options
}

fn open(sim: &Arc<Sim>, options: Options, last: Option<&Payload>) -> Spool {
    let files = Arc::clone(sim) as Arc<dyn Files>;
    Spool::open(files, options, last.map(Payload::as_bytes)).unwrap().0
}

fn lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| format!("line {number} {}\n", number.wrapping_mul(0x9e37_79b9))).collect()
}

/// A third of the lines as a member, which part it is.
fn append(spool: &mut Spool, codec: Codec, part: u64) -> Payload {
    let third = LINES / 3;
    let raw = lines(part * third..(part + 1) * third);
    let mut member = Vec::new();
    ChunkEncoder::new(codec).unwrap().encode(raw.as_bytes(), &mut member).unwrap();
    let raw_bytes = raw.len() as u64;
    let stats = ChunkStats { records: third, raw_bytes, first: 5, last: 6, cut: 0 };
    spool.append(&member, stats).unwrap()
}

fn append_all(spool: &mut Spool, codec: Codec) -> Payload {
    append(spool, codec, 0);
    append(spool, codec, 1);
    append(spool, codec, 2)
}

fn seal(spool: &mut Spool) -> Sealed {
    spool.seal(&Drops::default()).unwrap().unwrap().0
}

/// What a decoder reads that stops after the first member.
fn first_member(kind: Kind, bytes: &[u8]) -> String {
    let mut text = String::new();
    match kind {
        Kind::Gzip => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text),
        Kind::Zstd => zstd::Decoder::new(bytes).unwrap().single_frame().read_to_string(&mut text),
        Kind::Snappy => {
            let identifier = b"\xff\x06\x00\x00sNaPpY";
            let found = bytes.windows(identifier.len()).filter(|window| window == identifier);
            assert_eq!(found.count(), 1);
            snap::read::FrameDecoder::new(bytes).read_to_string(&mut text)
        }
        Kind::None => panic!("plain lines have no members"),
    }
    .unwrap();
    text
}

/// The only block of the store.
fn stored(spool: &Spool) -> Vec<u8> {
    let store = spool.store();
    let [number] = store.sealed()[..] else { panic!("not one block: {:?}", store.sealed()) };
    let mut block = store.open_block(number).unwrap();
    let mut bytes = Vec::new();
    block.content.read_to_end(&mut bytes).unwrap();
    assert_eq!(Digest::of(&bytes), block.meta.sha256);
    assert_eq!((bytes.len() as u64, block.meta.records), (block.meta.bytes, LINES));
    bytes
}

#[test]
fn a_block_of_many_members_is_read_whole_by_decoders_that_stop_after_the_first() {
    for codec in CODECS {
        let sim = Arc::new(Sim::new());
        let mut spool = open(&sim, options(codec), None);
        append_all(&mut spool, codec);
        let members = sim.contents("0000000001.data").unwrap();
        let sealed = seal(&mut spool);
        assert!(sealed.kept_members.is_none());
        assert!(!sealed.key.ends_with(".age"));
        let bytes = stored(&spool);
        assert_eq!(first_member(codec.kind(), &bytes), lines(0..LINES), "{codec}");
        if codec != Codec::Snappy {
            assert_eq!(first_member(codec.kind(), &members), lines(0..LINES / 3), "{codec}");
        }
        assert_eq!(sim.contents("0000000001.data"), None);
        spool.store().uploaded(1).unwrap();
        assert_eq!(sim.names(""), ["0000000001.done", "format"]);
    }
}

#[test]
fn plain_lines_stay_as_they_are() {
    let sim = Arc::new(Sim::new());
    let mut spool = open(&sim, options(Codec::None), None);
    append_all(&mut spool, Codec::None);
    assert!(seal(&mut spool).kept_members.is_none());
    assert_eq!(stored(&spool), lines(0..LINES).into_bytes());
    assert!(sim.contents("0000000001.data").is_some());
}

/// A reload may ask for another codec while a block is open.
#[test]
fn the_one_member_is_of_the_blocks_own_codec() {
    let sim = Arc::new(Sim::new());
    let mut options = options(Codec::Gzip(1));
    options.one_member = Some(Codec::Zstd(19));
    let mut spool = open(&sim, options, None);
    append_all(&mut spool, Codec::Gzip(1));
    assert_eq!(seal(&mut spool).meta.codec, Kind::Gzip);
    assert_eq!(first_member(Kind::Gzip, &stored(&spool)), lines(0..LINES));
}

#[test]
fn a_kill_at_any_operation_of_a_seal_ends_in_one_block_of_one_member() {
    for codec in CODECS {
        for operations in 0.. {
            let sim = Arc::new(Sim::new());
            let mut spool = open(&sim, options(codec), None);
            let payload = append_all(&mut spool, codec);
            sim.stop_in(operations);
            let _ = spool.seal(&Drops::default());
            let stopped = sim.stopped();
            drop(spool);
            sim.restart();
            let mut spool = open(&sim, options(codec), Some(&payload));
            let _ = spool.seal(&Drops::default()).unwrap();
            assert_eq!(first_member(codec.kind(), &stored(&spool)), lines(0..LINES));
            assert_eq!(sim.names("foreign"), Vec::<String>::new());
            if !stopped {
                assert!(operations >= 6, "a seal has {operations} operations only");
                break;
            }
        }
    }
}

/// A ring that was lost leaves an open block that nothing tells of.
#[test]
fn a_block_without_its_ring_is_one_member_whenever_the_start_is_killed() {
    for operations in 0.. {
        let codec = Codec::Gzip(3);
        let sim = Arc::new(Sim::new());
        append_all(&mut open(&sim, options(codec), None), codec);
        sim.restart();
        sim.stop_in(operations);
        drop(Spool::open(Arc::clone(&sim) as Arc<dyn Files>, options(codec), None));
        let stopped = sim.stopped();
        sim.restart();
        let spool = open(&sim, options(codec), None);
        assert_eq!(first_member(codec.kind(), &stored(&spool)), lines(0..LINES));
        if !stopped {
            assert!(operations >= 4, "a start has {operations} operations only");
            break;
        }
    }
}

#[test]
fn a_torn_sidecar_is_made_anew_from_the_one_member_whether_the_ring_knows_of_the_seal_or_not() {
    for codec in CODECS {
        for knows in [false, true] {
            let sim = Arc::new(Sim::new());
            let mut spool = open(&sim, options(codec), None);
            let before = append_all(&mut spool, codec);
            let (_, after) = spool.seal(&Drops::default()).unwrap().unwrap();
            drop(spool);
            sim.create("0000000001.json", b"torn").unwrap();
            let spool = open(&sim, options(codec), Some(if knows { &after } else { &before }));
            assert_eq!(first_member(codec.kind(), &stored(&spool)), lines(0..LINES));
            assert_eq!((spool.open_len(), spool.open_number()), (0, 2));
            assert_eq!(spool.store().counts().lost.records, 0);
        }
    }
}

#[test]
fn members_that_are_damaged_go_out_as_they_are_and_it_is_said() {
    for codec in CODECS {
        let sim = Arc::new(Sim::new());
        let mut spool = open(&sim, options(codec), None);
        append_all(&mut spool, codec);
        let mut members = sim.contents("0000000001.data").unwrap();
        let at = members.len() / 2;
        members[at] ^= 1;
        sim.create("0000000001.data", &members).unwrap();
        let sealed = seal(&mut spool);
        let why = sealed.kept_members.unwrap().to_string();
        assert!(why.contains("compress") && why.contains("0000000001.data"), "{why}");
        assert_eq!(sim.contents("0000000001.data"), Some(members));
        assert_eq!(sim.contents("0000000001.sealed"), None);
    }
}

#[test]
fn snappy_members_that_were_cut_between_two_frames_are_noticed() {
    let sim = Arc::new(Sim::new());
    let mut spool = open(&sim, options(Codec::Snappy), None);
    append_all(&mut spool, Codec::Snappy);
    let mut members = sim.contents("0000000001.data").unwrap();
    let third = members.windows(10).rposition(|at| at == b"\xff\x06\x00\x00sNaPpY").unwrap();
    members.truncate(third);
    sim.create("0000000001.data", &members).unwrap();
    let why = seal(&mut spool).kept_members.unwrap();
    let source = std::error::Error::source(&why).unwrap().to_string();
    assert!(format!("{why} {source}").contains("the members have less lines"), "{why}: {source}");
}

#[test]
fn a_disk_without_room_for_the_one_member_gets_the_block_as_it_is() {
    for operations in 0..3 {
        let codec = Codec::Zstd(3);
        let sim = Arc::new(Sim::new());
        let mut spool = open(&sim, options(codec), None);
        append_all(&mut spool, codec);
        let members = sim.contents("0000000001.data").unwrap();
        sim.fail_in(operations, 1, ErrorKind::StorageFull);
        let sealed = spool.seal(&Drops::default());
        sim.restart();
        match sealed {
            // In the creation or in the writing of the second file.
            Ok(Some((sealed, _))) => {
                assert!(operations < 2 && sealed.kept_members.is_some());
                assert_eq!(stored(&spool), members);
                assert_eq!(sim.contents("0000000001.sealed"), None);
            }
            // In what every seal does.
            _ => {
                seal(&mut spool);
                assert_eq!(first_member(codec.kind(), &stored(&spool)), lines(0..LINES));
            }
        }
    }
}

fn on_disk(root: &Path) -> Arc<Disk> {
    Arc::new(Disk::open(root).unwrap())
}

/// That it was transformed does not make it an encrypted one.
#[test]
fn a_block_of_one_member_moves_to_another_folder_without_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("access"), directory.path().join("other"));
    let codec = Codec::Gzip(3);
    let (mut source, _) = Spool::open(on_disk(&from), options(codec), None).unwrap();
    append_all(&mut source, codec);
    seal(&mut source);
    assert!(from.join("0000000001.sealed").exists());
    assert!(!source.store().is_encrypted(1));
    drop(Spool::open(on_disk(&to), options(codec), None).unwrap());
    source.store().hand_over(1, "access", &Disk::beside(&to).unwrap()).unwrap();
    let names = moved_here(&to).unwrap();
    let mut many = options(codec);
    many.one_member = None;
    let (mut spool, _) = Spool::open(on_disk(&to), many, None).unwrap();
    spool.take_moved(&names[0], &Drops::default()).unwrap().unwrap();
    assert_eq!(first_member(codec.kind(), &stored(&spool)), lines(0..LINES));
    assert!(fs::read(to.join("0000000001.data")).is_ok());
}
