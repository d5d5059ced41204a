//! One spool, two processes: the owner packs and drops, the shipper uploads and leaves notes.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::sim::Sim;
use vmod_s3log::block::{BootId, Digest, Drops, Kind};
use vmod_s3log::seal::{Recipients, Sealing};
use vmod_s3log::spool::{
    self, ChunkStats, Disk, Files, Guest, Options, SealedBlocks, Selection, Spool, SpoolError,
    Tally, Uploading,
};

const NOW: Duration = Duration::from_secs(100);
/// The same since 1970.
const DATE: Duration = Duration::from_secs(1_800_000_000);
const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

fn options() -> Options {
    let mut options = Options::new("access", "node-1", BootId::new(1_800_000_000, 1));
    options.codec = Kind::None;
    options.shared = true;
    options
}

fn owner(root: &Path, options: Options, last: Option<&[u8]>) -> Spool {
    Spool::open(Arc::new(Disk::open_shared(root).unwrap()), options, last).unwrap().0
}

/// A block of one line of ten bytes, as long as each other one.
fn block(spool: &mut Spool, n: u64) {
    let stats = ChunkStats { records: 1, raw_bytes: 10, first: 5, last: 6, cut: 0 };
    spool.append(format!("{n:09}\n").as_bytes(), stats).unwrap();
    spool.seal(&Drops::default()).unwrap();
}

/// A spool with blocks 1 to `count`, and a shipper that has seen them.
fn both(root: &Path, count: u64, options: Options) -> (Spool, SealedBlocks) {
    let mut spool = owner(root, options, None);
    for n in 1..=count {
        block(&mut spool, n);
    }
    let shipper = SealedBlocks::of_another(root).unwrap();
    assert_eq!(shipper.follow(NOW, DATE).unwrap().came, count > 0);
    (spool, shipper)
}

fn tally(blocks: u64) -> Tally {
    Tally { blocks, records: blocks, bytes: 10 * blocks }
}

fn notes(root: &Path) -> Vec<String> {
    let names = std::fs::read_dir(root.join("ship")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name != "spare").collect();
    names.sort();
    names
}

#[test]
fn what_the_shipper_has_sent_or_was_refused_its_owner_removes_or_sets_aside() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (spool, shipper) = both(root, 3, options());
    let store = spool.store();
    assert_eq!((shipper.claim(NOW), shipper.claim(NOW)), (Some(1), Some(2)));
    shipper.uploaded(1).unwrap();
    shipper.quarantine(2, "400 EntityTooLarge: too large").unwrap();
    assert_eq!(shipper.sealed(), [3]);
    assert_eq!(store.sealed(), [1, 2, 3], "the owner was not told yet");
    assert!(!shipper.follow(NOW, DATE).unwrap().came, "what is noted does not come back");

    store.take_notes().unwrap();
    let noted = store.noted();
    assert_eq!((noted.sent, noted.refused), (tally(1), tally(1)));
    assert_eq!(store.sealed(), [3]);
    assert_eq!(notes(root), [""; 0]);
    assert!(!root.join("0000000001.data").exists());
    let refused = spool::refused(root).unwrap();
    assert_eq!(refused[0].reason, "400 EntityTooLarge: too large");

    // A person asks for it again: the shipper finds it, with nobody to tell it so.
    spool::request(root, &Selection::All).unwrap();
    assert_eq!(store.take_requests().unwrap().0, tally(1));
    assert!(shipper.follow(NOW, DATE).unwrap().came);
    assert_eq!(shipper.claim(NOW), Some(2));
    shipper.open_block(2).unwrap();
}

#[test]
fn a_start_of_the_owner_and_a_start_of_the_shipper_go_by_the_notes() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (spool, shipper) = both(root, 3, options());
    let payload = spool.payload();
    drop(spool);
    assert_eq!(shipper.claim(NOW), Some(1));
    shipper.uploaded(1).unwrap();
    drop(shipper);
    let shipper = SealedBlocks::of_another(root).unwrap();
    shipper.follow(NOW, DATE).unwrap();
    assert_eq!(shipper.sealed(), [2, 3], "sent by the one before");
    let spool = owner(root, options(), Some(payload.as_bytes()));
    assert_eq!(spool.store().sealed(), [2, 3]);
    assert_eq!(spool.store().counts().quarantined, tally(0));
    assert_eq!(notes(root), [""; 0]);
}

#[test]
fn the_command_stats_tells_what_waits_from_what_the_shipper_is_done_with() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("access");
    let (spool, shipper) = both(&root, 4, options());
    drop(spool);
    assert_eq!((shipper.claim(NOW), shipper.claim(NOW)), (Some(1), Some(2)));
    shipper.uploaded(1).unwrap();
    shipper.quarantine(2, "400 EntityTooLarge: too large").unwrap();
    let stats = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_s3log"));
        command.env_clear().args(["stats", "--spool"]).arg(directory.path()).args(more);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let json: serde_json::Value = serde_json::from_str(&stats(&["--json"])).unwrap();
    let blocks = |name: &str| json[name]["blocks"].as_u64().unwrap();
    assert_eq!((blocks("waiting"), blocks("uploaded"), blocks("refused")), (2, 1, 1), "{json}");
    assert_eq!(json["oldest"]["number"], 3);
    let text = stats(&[]);
    assert!(text.contains("waiting      2 blocks, 2 records"), "{text}");
    assert!(text.contains("uploaded     1 block, 1 records"), "{text}");
    assert!(text.contains("refused      1 block, 1 records"), "{text}");
}

#[test]
fn spool_max_drops_neither_a_block_that_is_being_sent_nor_one_that_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut limited = options();
    limited.spool_max = 40;
    let (mut spool, shipper) = both(directory.path(), 4, limited);
    let store = spool.store();
    assert_eq!((shipper.claim(NOW), shipper.claim(NOW)), (Some(1), Some(2)));
    shipper.open_block(1).unwrap();
    shipper.uploaded(2).unwrap();
    block(&mut spool, 5);
    assert_eq!(store.sealed(), [1, 3, 4, 5], "2 made room, as it is in the bucket");
    assert_eq!(store.counts().dropped, tally(0));
    assert_eq!(store.noted().sent, tally(1));
    block(&mut spool, 6);
    assert_eq!(store.sealed(), [1, 4, 5, 6], "1 is being sent");
    assert_eq!(store.counts().dropped, tally(1));
    // The shipper had seen 3, and does not get it any more.
    assert_eq!(shipper.sealed(), [1, 3, 4]);
    assert_eq!(shipper.claim(NOW), Some(4));
    shipper.release(1);
    block(&mut spool, 7);
    assert_eq!(store.sealed(), [4, 5, 6, 7]);
    assert_eq!(store.counts().dropped, tally(2));
}

/// A spool with blocks 1 to 4 and room for no other, whose files can be refused.
fn full(root: &Path) -> (Arc<Sim<Disk>>, Spool) {
    let sim = Arc::new(Sim::over(Disk::open_shared(root).unwrap()));
    let limited = Options { spool_max: 40, ..options() };
    let (mut spool, _) = Spool::open(Arc::clone(&sim) as Arc<dyn Files>, limited, None).unwrap();
    for n in 1..=4 {
        block(&mut spool, n);
    }
    (sim, spool)
}

/// Whether it was being sent could not be told, and so it was taken for a block that is not there.
#[test]
fn spool_max_drops_no_block_that_is_being_sent_while_a_descriptor_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let (sim, mut spool) = full(directory.path());
    let store = spool.store();
    let shipper = SealedBlocks::of_another(directory.path()).unwrap();
    shipper.follow(NOW, DATE).unwrap();
    assert_eq!(shipper.claim(NOW), Some(1));
    sim.refuse("0000000001.data", libc::EMFILE);
    let stats = ChunkStats { records: 1, raw_bytes: 10, first: 5, last: 6, cut: 0 };
    spool.append(b"000000005\n", stats).unwrap_err();
    assert_eq!((store.sealed(), store.counts().dropped), (vec![1, 2, 3, 4], tally(0)));
    sim.allow_all();
    block(&mut spool, 5);
    assert_eq!((store.sealed(), store.counts().dropped), (vec![1, 3, 4, 5], tally(1)));
    shipper.uploaded(1).unwrap();
    block(&mut spool, 6);
    assert_eq!((store.sealed(), store.noted().sent), (vec![3, 4, 5, 6], tally(1)));
}

/// Every block was passed over, the spool counted as full of what may not be dropped, and `drop_oldest`
/// dropped what had just come.
#[test]
fn without_descriptors_spool_max_drops_neither_old_records_nor_new_ones() {
    for error in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
        let directory = tempfile::tempdir().unwrap();
        let (sim, mut spool) = full(directory.path());
        let store = spool.store();
        for number in 1..=4 {
            sim.refuse(&format!("{number:010}.data"), error);
        }
        let stats = ChunkStats { records: 1, raw_bytes: 10, first: 5, last: 6, cut: 0 };
        let refused = spool.append(b"000000005\n", stats).unwrap_err();
        // The packer takes a full spool for a reason to drop the chunk, and tries again after any other.
        assert!(matches!(refused, SpoolError::Io { .. }), "{refused}");
        assert_eq!((store.sealed(), store.counts().dropped), (vec![1, 2, 3, 4], tally(0)));
        sim.allow_all();
        block(&mut spool, 5);
        assert_eq!((store.sealed(), store.counts().dropped), (vec![2, 3, 4, 5], tally(1)));
    }
}

#[test]
fn spool_max_drops_no_block_that_was_sent_while_a_descriptor_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let (sim, mut spool) = full(directory.path());
    let store = spool.store();
    let shipper = SealedBlocks::of_another(directory.path()).unwrap();
    shipper.follow(NOW, DATE).unwrap();
    assert_eq!(shipper.claim(NOW), Some(1));
    shipper.uploaded(1).unwrap();
    sim.refuse("0000000001.json", libc::EMFILE);
    let stats = ChunkStats { records: 1, raw_bytes: 10, first: 5, last: 6, cut: 0 };
    spool.append(b"000000005\n", stats).unwrap_err();
    assert_eq!((store.sealed(), store.counts().dropped), (vec![1, 2, 3, 4], tally(0)));
    sim.allow_all();
    block(&mut spool, 5);
    assert_eq!((store.sealed(), store.noted().sent), (vec![2, 3, 4, 5], tally(1)));
}

#[test]
fn a_block_that_the_shipper_could_not_hold_is_held_before_it_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (_, mut spool) = full(root);
    let data = root.join("0000000001.data");
    let shipper = SealedBlocks::of_another(root).unwrap();
    shipper.follow(NOW, DATE).unwrap();
    // It cannot be opened when it is claimed, and can when it is read.
    let aside = root.join("aside");
    std::fs::rename(&data, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &data).unwrap();
    assert_eq!(shipper.claim(NOW), Some(1));
    shipper.open_block(1).unwrap_err();
    std::fs::rename(&aside, &data).unwrap();
    let block_1 = shipper.open_block(1).unwrap();
    block(&mut spool, 5);
    assert_eq!(spool.store().sealed(), [1, 3, 4, 5], "1 is being sent");
    drop(block_1);
    shipper.release(1);
}

#[test]
fn each_record_is_sent_or_counted_as_dropped_while_both_work_at_once() {
    const BLOCKS: u64 = 400;
    let directory = tempfile::tempdir().unwrap();
    let root: PathBuf = directory.path().to_owned();
    let mut limited = options();
    limited.sync = spool::SyncPolicy::None;
    limited.spool_max = 60;
    let mut spool = owner(&root, limited, None);
    let over = AtomicBool::new(false);
    let bucket = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let uploaders = || {
            let shipper = SealedBlocks::of_another(&root).unwrap();
            loop {
                let last = over.load(Ordering::SeqCst);
                shipper.follow(NOW, DATE).unwrap();
                while let Some(number) = shipper.claim(NOW) {
                    let mut line = String::new();
                    let block = shipper.open_block(number).expect("it is held");
                    block.content.take(100).read_to_string(&mut line).unwrap();
                    std::thread::yield_now();
                    bucket.lock().unwrap().push(line.trim().parse::<u64>().unwrap());
                    shipper.uploaded(number).expect("it is held");
                }
                if last {
                    break;
                }
            }
        };
        scope.spawn(uploaders);
        for n in 1..=BLOCKS {
            block(&mut spool, n);
            if n % 7 == 0 {
                spool.store().take_notes().unwrap();
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    let store = spool.store();
    store.take_notes().unwrap();
    let sent = bucket.into_inner().unwrap();
    let distinct: BTreeSet<u64> = sent.iter().copied().collect();
    let dropped = store.counts().dropped.blocks;
    assert_eq!(store.sealed(), [0; 0]);
    assert_eq!(distinct.len(), sent.len(), "sent twice");
    assert_eq!(store.noted().sent.blocks, sent.len() as u64);
    assert_eq!(sent.len() as u64 + dropped, BLOCKS, "{dropped} were dropped");
    assert!(!sent.is_empty());
}

#[test]
fn a_note_of_another_block_a_link_and_a_fifo_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (spool, shipper) = both(root, 2, options());
    let ship = root.join("ship");
    std::fs::write(ship.join("0000000001-0123456789abcdef.sent"), "").unwrap();
    std::fs::write(ship.join("0000000009-0123456789abcdef.sent"), "").unwrap();
    std::fs::write(ship.join("notes.txt"), "").unwrap();
    spool.store().take_notes().unwrap();
    assert_eq!(spool.store().sealed(), [1, 2]);
    assert_eq!(notes(root), ["notes.txt"], "notes that say nothing go");

    // As a shipper in bad hands would: the name of a real note for what is no file.
    assert_eq!(shipper.claim(NOW), Some(1));
    shipper.quarantine(1, "refused").unwrap();
    let name = notes(root).remove(0);
    std::fs::remove_file(ship.join(&name)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", ship.join(&name)).unwrap();
    spool.store().take_notes().unwrap();
    assert_eq!(spool.store().sealed(), [2]);
    let reason = &spool::refused(root).unwrap()[0].reason;
    assert!(reason.starts_with("the note that says why cannot be read: "), "{reason}");
    assert_eq!(notes(root), ["notes.txt"]);
    spool::request(root, &Selection::All).unwrap();
    spool.store().take_requests().unwrap();
    let made = std::process::Command::new("mkfifo").arg(ship.join(&name)).status().unwrap();
    assert!(made.success());
    spool.store().take_notes().unwrap();
    assert_eq!(spool::refused(root).unwrap()[0].reason, "");

    // And as an owner in bad hands would.
    std::fs::remove_file(root.join("0000000002.data")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("0000000002.data")).unwrap();
    assert_eq!(shipper.claim(NOW), Some(2));
    shipper.open_block(2).unwrap_err();
}

/// What stands in the way of a note or a block: a file by this name cannot be read, nor written.
fn block_name(root: &Path, name: &str) {
    let _ = std::fs::remove_file(root.join(name));
    std::fs::create_dir(root.join(name)).unwrap();
}

#[test]
fn a_block_that_cannot_be_read_keeps_no_other_from_the_shipper() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (mut spool, shipper) = both(root, 0, options());
    block(&mut spool, 1);
    block(&mut spool, 2);
    let whole = std::fs::read(root.join("0000000001.json")).unwrap();
    block_name(root, "0000000001.json");
    let look = shipper.follow(NOW, DATE).unwrap();
    assert!(look.came);
    assert_eq!(shipper.sealed(), [2]);
    assert_eq!(look.unreadable, 1);
    assert!(look.why.unwrap().to_string().contains("0000000001.json"));
    // It is not tried at each look, and found when it can be read.
    assert_eq!(shipper.follow(NOW, DATE).unwrap().unreadable, 0);
    std::fs::remove_dir(root.join("0000000001.json")).unwrap();
    std::fs::write(root.join("0000000001.json"), whole).unwrap();
    while !shipper.follow(NOW, DATE).unwrap().came {}
    assert_eq!(shipper.sealed(), [1, 2]);
}

#[test]
fn a_block_that_ends_on_all_nodes_at_once_waits_as_its_owner_says_and_no_longer_than_that() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let second = |seconds| Duration::from_secs(seconds);
    let until = |time: Duration| Options {
        wait_until: Some(u64::try_from(time.as_nanos()).unwrap()),
        ..options()
    };
    let sealed = |number: u64, options: Options, last: Option<spool::Payload>| {
        let mut spool = owner(root, options, last.as_ref().map(spool::Payload::as_bytes));
        block(&mut spool, number);
        Some(spool.payload())
    };
    let last = sealed(1, until(DATE + second(7)), None);
    let last = sealed(2, options(), last);
    // As a file in bad hands, or a clock that was set back, would have it.
    let last = sealed(3, until(DATE + second(100_000)), last);
    sealed(4, until(DATE - second(1)), last);
    let shipper = SealedBlocks::of_another(root).unwrap();
    assert!(shipper.follow(NOW, DATE).unwrap().came);
    let claimed = |now| std::iter::from_fn(|| shipper.claim(now)).collect::<Vec<_>>();
    assert_eq!(claimed(NOW + second(6)), [2, 4]);
    assert_eq!(claimed(NOW + second(7)), [1]);
    assert_eq!(claimed(NOW + second(29)), [0; 0]);
    assert_eq!(claimed(NOW + second(30)), [3]);
}

#[test]
fn a_note_that_cannot_be_taken_keeps_no_other_back_nor_a_start_nor_a_chunk() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let limited = || Options { spool_max: 40, ..options() };
    let (spool, shipper) = both(root, 4, limited());
    for number in [1, 2] {
        assert_eq!(shipper.claim(NOW), Some(number));
    }
    shipper.quarantine(1, "refused").unwrap();
    shipper.uploaded(2).unwrap();
    // It can neither be read nor removed.
    let note = notes(root).remove(0);
    block_name(root, &format!("ship/{note}"));
    let payload = spool.payload();
    drop(spool);
    let mut spool = owner(root, limited(), Some(payload.as_bytes()));
    let store = spool.store();
    assert_eq!(store.sealed(), [3, 4], "1 is in quarantine and 2 in the bucket");
    assert!(store.take_notes().unwrap());
    let noted = store.noted();
    assert_eq!(noted.failed, 1);
    assert!(noted.why.unwrap().contains(&note));

    std::fs::remove_dir(root.join(format!("ship/{note}"))).unwrap();

    // The disk does not take the reason.
    assert_eq!(shipper.claim(NOW), Some(3));
    shipper.quarantine(3, "refused").unwrap();
    block_name(root, "quarantine/0000000003.reason");
    for n in 5..=7 {
        block(&mut spool, n);
    }
    assert_eq!(store.sealed(), [3, 5, 6, 7], "3 may not be dropped, and is no reason to take none");
    assert_eq!(store.counts().dropped, tally(2), "1 and 4");
    assert!(store.noted().why.unwrap().contains("0000000003.reason"));
    std::fs::remove_dir(root.join("quarantine/0000000003.reason")).unwrap();
    store.take_notes().unwrap();
    assert_eq!(store.sealed(), [5, 6, 7]);
    assert_eq!(spool::refused(root).unwrap()[0].reason, "refused");
}

/// A full XFS refuses an empty file, as soon as it has none left of the last 64 that it made room for; a full
/// ext4 that has no inode left.
#[test]
fn what_is_sent_from_a_disk_that_takes_no_new_file_is_noted_and_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (mut spool, shipper) = both(root, 3, options());
    drop(shipper);
    let sim = Arc::new(Sim::over(Guest::open(root).unwrap()));
    let shipper = SealedBlocks::of_anothers(Arc::clone(&sim) as Arc<dyn Files>);
    shipper.follow(NOW, DATE).unwrap();
    let store = spool.store();
    for number in 1..=3 {
        assert_eq!(shipper.claim(NOW), Some(number));
        // Each name that the shipper may give to a new file.
        sim.allow_all();
        let block = std::fs::read(root.join(format!("{number:010}.data"))).unwrap();
        let digest = &Digest::of(&block).to_string()[..16];
        sim.refuse(&format!("ship/{number:010}-{digest}.sent"), libc::ENOSPC);
        sim.refuse("ship/spare", libc::ENOSPC);
        shipper.uploaded(number).unwrap();
        assert!(!root.join("ship/spare").exists(), "it is the note");
        store.take_notes().unwrap();
        assert_eq!(store.noted().sent, tally(1));
    }
    assert_eq!((store.sealed(), notes(root)), (vec![], vec![]));
    block(&mut spool, 4);
    shipper.follow(NOW, DATE).unwrap();
    assert_eq!(shipper.claim(NOW), Some(4));
}

#[test]
fn more_blocks_than_notes_are_taken_at_a_time_are_sent_once_each_and_all_are_taken() {
    const BLOCKS: u64 = 1_050;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut unsynced = options();
    unsynced.sync = spool::SyncPolicy::None;
    let (mut spool, shipper) = both(root, 0, unsynced);
    for n in 1..=BLOCKS {
        block(&mut spool, n);
    }
    assert!(shipper.follow(NOW, DATE).unwrap().came);
    while let Some(number) = shipper.claim(NOW) {
        shipper.uploaded(number).unwrap();
    }
    assert!(!shipper.follow(NOW, DATE).unwrap().came, "all of them are noted");
    let another = SealedBlocks::of_another(root).unwrap();
    assert!(!another.follow(NOW, DATE).unwrap().came, "and that is what a shipper's start finds");
    // What cannot be removed, in front of all.
    for n in 1..=1_000 {
        std::fs::create_dir(root.join(format!("ship/0000000000-{n:016x}.sent"))).unwrap();
    }
    let store = spool.store();
    let mut calls = 1;
    while !store.take_notes().unwrap() {
        calls += 1;
    }
    assert_eq!((calls, store.sealed().len()), (3, 0));
    let noted = store.noted();
    assert_eq!((noted.sent, noted.failed), (tally(BLOCKS), 1_000));
}

#[test]
fn what_comes_back_from_a_quarantine_of_before_is_the_groups_to_read() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut private = options();
    private.shared = false;
    let mut spool = Spool::open(Arc::new(Disk::open(root).unwrap()), private, None).unwrap().0;
    block(&mut spool, 1);
    spool.store().quarantine(1, "refused").unwrap();
    let payload = spool.payload();
    drop(spool);
    let spool = owner(root, options(), Some(payload.as_bytes()));
    spool::request(root, &Selection::All).unwrap();
    assert_eq!(spool.store().take_requests().unwrap().0, tally(1));
    for name in ["0000000001.data", "0000000001.json"] {
        let mode = std::fs::metadata(root.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{name}");
    }
}

#[test]
fn the_group_may_read_what_is_sent_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("sealed");
    let mode =
        |name: &str| std::fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
    // As it was before, for the owner alone.
    let mut private = options();
    private.shared = false;
    let mut spool = Spool::open(Arc::new(Disk::open(&root).unwrap()), private, None).unwrap().0;
    block(&mut spool, 1);
    assert_eq!((mode(""), mode("0000000001.data"), mode("format")), (0o700, 0o600, 0o600));
    assert!(SealedBlocks::of_another(&root).is_err(), "it has not been shared");
    let payload = spool.payload();
    drop(spool);
    // The bit that gives the folder's group to what is made in it stays.
    let set = |mode| std::fs::set_permissions(&root, std::fs::Permissions::from_mode(mode));
    set(0o2700).unwrap();
    std::fs::write(root.join("ring"), "").unwrap();
    std::fs::set_permissions(root.join("ring"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(root.join("route"), "{}").unwrap();

    let mut shared = options();
    shared.sealing = Some(Sealing::Age(Recipients::read(KEY).unwrap()));
    let mut spool = owner(&root, shared, Some(payload.as_bytes()));
    assert_eq!((mode(""), mode("ship")), (0o2750, 0o2770));
    assert_eq!((mode("quarantine"), mode("foreign")), (0o700, 0o700));
    for name in ["0000000001.data", "0000000001.json", "format", "route"] {
        assert_eq!(mode(name), 0o640, "{name}");
    }
    let stats = ChunkStats { records: 1, raw_bytes: 10, first: 5, last: 6, cut: 0 };
    spool.append(b"in clear!\n", stats).unwrap();
    assert_eq!((mode("0000000002.data"), mode("ring")), (0o600, 0o600), "unencrypted lines");
    spool.seal(&Drops::default()).unwrap();
    assert_eq!((mode("0000000002.sealed"), mode("0000000002.json")), (0o640, 0o640));
    drop(spool);
    // Not for the group any more.
    drop(Disk::open(&root).unwrap());
    assert_eq!(mode(""), 0o2700);
}

#[test]
fn one_process_at_a_time_has_the_right_to_upload_from_a_folder() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("access");
    let (spool, _) = both(&root, 0, options());
    let first = Uploading::take(&root).unwrap().unwrap();
    assert!(Uploading::take(&root).unwrap().is_none());
    assert!(first.holds());
    assert_eq!(spool::uploader(&root), Some(std::process::id()));
    drop(spool);
    spool::remove_empty(&root, &[]).unwrap();
    assert!(!first.holds(), "the folder is gone");
    drop(owner(&root, options(), None));
    assert!(!first.holds(), "it is another one");
    assert!(Uploading::take(&root).unwrap().is_some());
}
