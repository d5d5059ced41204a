//! A block that comes from another route's folder is sealed anew exactly once, wherever it stops.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::sim::Sim;
use vmod_s3log::block::{BootId, ChunkEncoder, Codec, Decoder, Drops};
use vmod_s3log::spool::{
    ChunkStats, Disk, Files, Options, Spool, SyncPolicy, check_left, moved_here, take_back,
};

fn options(boot: u64) -> Options {
    Options::new("access", "node-1", BootId::new(boot, 1))
}

/// A sealed block of two lines in the folder `access` of `spool`.
fn sealed(spool: &Path) -> Spool {
    let disk = Arc::new(Disk::open(&spool.join("access")).unwrap());
    sealed_in(disk, Codec::default())
}

fn sealed_in(files: Arc<dyn Files>, codec: Codec) -> Spool {
    let (mut source, _) =
        Spool::open(files, Options { codec: codec.kind(), ..options(1) }, None).unwrap();
    let mut member = Vec::new();
    ChunkEncoder::new(codec).unwrap().encode(b"x\ny\n", &mut member).unwrap();
    let stats = ChunkStats { records: 2, raw_bytes: 4, first: 5, last: 6, cut: 0 };
    source.append(&member, stats).unwrap();
    source.seal(&Drops::default()).unwrap();
    source
}

/// The folder `other` of `spool`, an empty spool.
fn other(spool: &Path) -> PathBuf {
    let root = spool.join("other");
    Spool::open(Arc::new(Disk::open(&root).unwrap()), options(4), None).unwrap();
    root
}

/// A block of two lines in the folder `access` beside the folder `other`, to which it was handed over
/// unless `stays`.
fn handed_over(spool: &Path, codec: Codec, stays: bool) -> Vec<String> {
    let (from, to) = (spool.join("access"), other(spool));
    let disk = Arc::new(Disk::open(&from).unwrap());
    let source = sealed_in(disk, codec);
    let sidecar = fs::read(from.join("0000000001.json")).unwrap();
    source.store().hand_over(1, "access", &Disk::beside(&to).unwrap()).unwrap();
    assert!(source.store().sealed().is_empty());
    if stays {
        // It was stopped before it could forget it.
        fs::write(from.join("0000000001.json"), sidecar).unwrap();
    }
    moved_here(&to).unwrap()
}

#[test]
fn what_is_still_where_it_was_has_not_moved() {
    let directory = tempfile::tempdir().unwrap();
    assert!(handed_over(directory.path(), Codec::default(), true).is_empty());
}

#[test]
fn a_stop_after_any_operation_neither_loses_nor_repeats_a_block_that_was_moved() {
    take_with_stops(None, true);
}

/// Else a power cut may bring it back when the block that was made of it is sent and forgotten.
#[test]
fn the_removal_of_what_was_taken_is_on_the_disk_before_the_block_can_be_sent() {
    let directory = tempfile::tempdir().unwrap();
    let names = handed_over(directory.path(), Codec::default(), false);
    let [name] = &names[..] else { panic!("{names:?}") };
    let [description, data] = ["json", "data"].map(|end| format!("moved/{name}.{end}"));
    let taken = |sync: SyncPolicy, failures: u32| {
        let sim = Arc::new(Sim::new());
        let files = Arc::clone(&sim) as Arc<dyn Files>;
        let (mut spool, _) = Spool::open(files, Options { sync, ..options(2) }, None).unwrap();
        for file in [&description, &data] {
            sim.place(file, &fs::read(directory.path().join("other").join(file)).unwrap());
        }
        sim.take_log();
        // After those of a block that is copied and sealed, and the two removals.
        sim.fail_in(if failures > 0 { 10 } else { u32::MAX }, failures, ErrorKind::Other);
        spool.take_moved(name, &Drops::default()).unwrap().unwrap();
        (sim, spool)
    };
    let removed = [format!("remove {description}"), format!("remove {data}")];
    let (sim, _) = taken(SyncPolicy::None, 0);
    assert!(sim.take_log().ends_with(&removed));
    let (sim, _) = taken(SyncPolicy::Block, 0);
    let log = sim.take_log();
    let synced = "sync moved".to_owned();
    assert_eq!((log.len(), &log[8..10], &log[10]), (11, &removed[..], &synced), "{log:?}");
    // It fails: once more, and then with whatever is done next.
    let (sim, mut spool) = taken(SyncPolicy::Block, 2);
    assert_eq!(sim.take_log()[10..], [&*synced, &*synced]);
    assert!(spool.take_moved(name, &Drops::default()).unwrap().is_none());
    assert_eq!(sim.take_log()[2], synced);
    spool.seal(&Drops::default()).unwrap();
    assert_eq!(sim.take_log(), [""; 0]);
}

#[test]
fn a_stop_while_a_moved_block_is_made_one_member_of_neither_loses_nor_repeats_it() {
    for codec in [Codec::Gzip(1), Codec::Zstd(1), Codec::Snappy] {
        take_with_stops(Some(codec), true);
        take_with_stops(Some(codec), false);
    }
}

/// Takes a block that has come, with a stop after each operation, and starts again, `ring` says whether
/// with what the ring has.
fn take_with_stops(one_member: Option<Codec>, ring: bool) {
    let options = |boot| Options { one_member, ..options(boot) };
    let directory = tempfile::tempdir().unwrap();
    let names = handed_over(directory.path(), one_member.unwrap_or_default(), false);
    let [name] = &names[..] else { panic!("{names:?}") };
    let kept = ["json", "data"].map(|end| format!("moved/{name}.{end}"));
    for stop in 0.. {
        let sim = Arc::new(Sim::new());
        let files = || Arc::clone(&sim) as Arc<dyn Files>;
        let (mut spool, found) = Spool::open(files(), options(2), None).unwrap();
        for file in &kept {
            sim.place(file, &fs::read(directory.path().join("other").join(file)).unwrap());
        }
        sim.stop_in(stop);
        let done = spool.take_moved(name, &Drops::default());
        let stopped = sim.stopped();
        drop(spool);
        sim.restart();
        // Its commit may have come, or not.
        let payload = match &done {
            Ok(Some((_, payload))) if stop % 2 == 0 => *payload,
            _ => found.payload,
        };
        let payload = ring.then_some(payload.as_bytes());
        let (mut spool, found) = Spool::open(files(), options(3), payload).unwrap();
        assert!(found.set_aside.is_empty(), "stopped after {stop}: {:?}", found.set_aside);
        if sim.contents(&kept[0]).is_some() {
            spool.take_moved(name, &Drops::default()).unwrap().unwrap();
        }
        let sealed = spool.store().sealed();
        assert_eq!(sealed.len(), 1, "stopped after {stop}: {:?}", sim.names(""));
        let block = spool.store().open_block(sealed[0]).unwrap();
        let mut text = String::new();
        Decoder::new(block.content, block.meta.codec).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((&*text, block.meta.records, block.meta.number), ("x\ny\n", 2, 1));
        assert!(sim.contents(&kept[0]).is_none(), "stopped after {stop}");
        if !stopped {
            assert!(stop > 5, "{stop} operations");
            break;
        }
    }
}

/// Starts the folder `access` of `spool` as a start does, and sends what is in it. How many blocks.
fn send(spool: &Path) -> usize {
    let root = spool.join("access");
    take_back(&root).unwrap();
    let (source, _) = Spool::open(Arc::new(Disk::open(&root).unwrap()), options(7), None).unwrap();
    let blocks = source.store().sealed();
    blocks.iter().for_each(|number| source.store().uploaded(*number).unwrap());
    blocks.len()
}

/// Takes what has come to `other`. How many blocks.
fn take(spool: &Path) -> usize {
    let root = spool.join("other");
    take_back(&root).unwrap();
    let (mut target, _) =
        Spool::open(Arc::new(Disk::open(&root).unwrap()), options(8), None).unwrap();
    let names = moved_here(&root).unwrap();
    for name in &names {
        target.check_moved(name).unwrap();
        target.take_moved(name, &Drops::default()).unwrap().unwrap();
    }
    names.len()
}

#[test]
fn a_stop_of_the_move_after_any_operation_leaves_the_block_to_one_of_the_two_folders() {
    let (mut stays, mut moves) = (0, 0);
    for stop in 0.. {
        let mut stopped = false;
        // Whoever is started first, and whether the command is given again before that.
        for (sends_first, again) in [(true, false), (false, false), (true, true), (false, true)] {
            let directory = tempfile::tempdir().unwrap();
            let spool = directory.path();
            let to = other(spool);
            let sim = Sim::over(Disk::open(&spool.join("access")).unwrap());
            let from = Arc::new(sim);
            let source = sealed_in(Arc::clone(&from) as Arc<dyn Files>, Codec::default());
            let beside = from.beside(Disk::beside(&to).unwrap());
            from.stop_in(stop);
            let done = source.store().hand_over(1, "access", &beside);
            stopped = from.stopped();
            assert!(stopped || done.is_ok());
            drop((source, from, beside));
            if again {
                let root = spool.join("access");
                take_back(&root).unwrap();
                let disk = Arc::new(Disk::open(&root).unwrap());
                let (source, _) = Spool::open(disk, options(2), None).unwrap();
                for number in source.store().sealed() {
                    let beside = Disk::beside(&to).unwrap();
                    source.store().hand_over(number, "access", &beside).unwrap();
                }
            }
            let counts = if sends_first {
                let sent = send(spool);
                (sent, take(spool))
            } else {
                let taken = take(spool);
                let sent = send(spool);
                (sent, taken + take(spool))
            };
            assert_eq!(fs::read_dir(to.join("moved")).unwrap().count(), 0, "stopped after {stop}");
            assert!([(1, 0), (0, 1)].contains(&counts), "stopped after {stop}: {counts:?}");
            assert!(!again || counts == (0, 1), "given again, after {stop}: {counts:?}");
            stays += usize::from(!again && counts == (1, 0));
            moves += usize::from(!again && counts == (0, 1));
        }
        if !stopped {
            assert!(stop > 5 && stays > 5 && moves > 3, "{stop} operations: {stays} {moves}");
            break;
        }
    }
}

#[test]
fn what_a_move_has_left_without_a_description_goes_once_its_block_is_not_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("access"), directory.path().join("other"));
    fs::create_dir_all(to.join("moved")).unwrap();
    fs::create_dir(&from).unwrap();
    let put = |number: u64, ends: &[&str]| {
        for end in ends {
            fs::write(to.join(format!("moved/access.6b07.{number:010}.{end}")), "x").unwrap();
        }
    };
    put(1, &["data", "new"]);
    put(2, &["data", "json"]);
    put(3, &["data", "new"]);
    // The third is just being moved.
    fs::write(from.join("0000000003.json"), "x").unwrap();
    take_back(&to).unwrap();
    let entries = fs::read_dir(to.join("moved")).unwrap();
    let mut left: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    let expected = ["2.data", "2.json", "3.data", "3.new"];
    assert_eq!(left, expected.map(|end| format!("access.6b07.000000000{end}")));
}

/// The block is in both folders, because the move was stopped, and its own folder's description of it
/// cannot be read.
fn stopped_and_damaged(spool: &Path) -> (PathBuf, PathBuf) {
    let (from, to) = (spool.join("access"), other(spool));
    let source = sealed(spool);
    let data = fs::read(from.join("0000000001.data")).unwrap();
    source.store().hand_over(1, "access", &Disk::beside(&to).unwrap()).unwrap();
    drop(source);
    fs::remove_file(from.join("0000000001.done")).unwrap_or_default();
    fs::write(from.join("0000000001.data"), data).unwrap();
    fs::write(from.join("0000000001.json"), "torn").unwrap();
    (from, to)
}

#[test]
fn a_block_whose_description_was_damaged_while_it_moved_is_sent_by_one_of_the_two_folders() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = stopped_and_damaged(directory.path());
    let names = moved_here(&to).unwrap();
    let [name] = &names[..] else { panic!("it is not told: {names:?}") };
    let error = check_left(&to, name).unwrap_err().to_string();
    assert!(error.contains("access/0000000001.json is damaged"), "{error}");
    assert_eq!((send(directory.path()), take(directory.path())), (1, 0));
    assert!(!from.join("0000000001.data").exists());
}

#[test]
fn a_block_whose_folder_has_other_data_by_now_is_not_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = stopped_and_damaged(directory.path());
    fs::write(from.join("0000000001.data"), "torn as well").unwrap();
    assert_eq!((send(directory.path()), take(directory.path())), (0, 1));
    assert_eq!(moved_here(&to).unwrap(), [""; 0]);
}

#[test]
fn a_folder_of_moved_blocks_that_cannot_be_listed_is_an_error_and_not_empty() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("access"), other(directory.path()));
    fs::create_dir(&from).unwrap();
    fs::write(to.join("moved"), "not a folder").unwrap();
    let error = moved_here(&to).unwrap_err().to_string();
    assert!(error.contains("other/moved"), "{error}");
    take_back(&to).unwrap_err();
    take_back(&from).unwrap();
}
