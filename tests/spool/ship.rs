//! One spool, two processes: the owner packs and drops, the shipper uploads and leaves notes.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vmod_s3log::block::{BootId, Drops, Kind};
use vmod_s3log::seal::{Recipients, Sealing};
use vmod_s3log::spool::{
    self, ChunkStats, Disk, Options, SealedBlocks, Selection, Spool, Tally, Uploading,
};

const NOW: Duration = Duration::from_secs(100);
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
    assert_eq!(shipper.follow().unwrap(), count > 0);
    (spool, shipper)
}

fn tally(blocks: u64) -> Tally {
    Tally { blocks, records: blocks, bytes: 10 * blocks }
}

fn notes(root: &Path) -> Vec<String> {
    let names = std::fs::read_dir(root.join("ship")).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
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
    assert!(!shipper.follow().unwrap(), "what is noted does not come back");

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
    assert_eq!(store.take_requests().unwrap(), tally(1));
    assert!(shipper.follow().unwrap());
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
    shipper.follow().unwrap();
    assert_eq!(shipper.sealed(), [2, 3], "sent by the one before");
    let spool = owner(root, options(), Some(payload.as_bytes()));
    assert_eq!(spool.store().sealed(), [2, 3]);
    assert_eq!(spool.store().counts().quarantined, tally(0));
    assert_eq!(notes(root), [""; 0]);
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
                shipper.follow().unwrap();
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
    spool.store().take_notes().unwrap_err();
    assert_eq!(spool.store().sealed(), [1, 2]);
    std::fs::remove_file(ship.join(&name)).unwrap();
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
