//! Blocks that wait their time and blocks that were refused: who is given which, what counts, and
//! what is sent again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::sim::Sim;
use vmod_s3log::block::{BootId, Drops, Kind};
use vmod_s3log::spool::{
    self, ChunkStats, Disk, Files, OnSpoolFull, Options, Selection, Spool, SpoolError, Tally,
};

const NOW: Duration = Duration::from_secs(100);

fn options() -> Options {
    let mut options = Options::new("access", "node-1", BootId::new(1_800_000_000, 1));
    options.codec = Kind::None;
    options
}

fn open(files: Arc<dyn Files>, options: Options, last: Option<&[u8]>) -> Spool {
    Spool::open(files, options, last).unwrap().0
}

/// Appends a chunk of ten bytes.
fn append(spool: &mut Spool) -> Result<(), SpoolError> {
    let stats = ChunkStats { records: 2, raw_bytes: 10, first: 5, last: 6, cut: 0 };
    spool.append(b"one\ntwo..\n"[..10].as_ref(), stats).map(drop)
}

/// A spool with blocks 1 to `count`, of two records and ten bytes each; what was committed last.
fn filled(files: Arc<dyn Files>, options: Options, count: u64) -> (Spool, Vec<u8>) {
    let mut spool = open(files, options, None);
    for _ in 0..count {
        append(&mut spool).unwrap();
        spool.seal(&Drops::default()).unwrap();
    }
    let payload = spool.payload().as_bytes().to_vec();
    (spool, payload)
}

fn tally(blocks: u64) -> Tally {
    Tally { blocks, records: 2 * blocks, bytes: 10 * blocks }
}

#[test]
fn a_block_that_waits_its_time_holds_up_none_behind_it() {
    let (spool, _) = filled(Arc::new(Sim::new()), options(), 3);
    let store = spool.store();
    assert_eq!(store.claim(NOW), Some(1));
    store.release_until(1, NOW + Duration::from_secs(5));
    assert_eq!(store.next_due(), Some(Duration::ZERO));
    assert_eq!((store.claim(NOW), store.claim(NOW), store.claim(NOW)), (Some(2), Some(3), None));
    assert_eq!(store.next_due(), Some(NOW + Duration::from_secs(5)));
    assert_eq!(store.claim(NOW + Duration::from_secs(5)), Some(1));
    assert_eq!(store.next_due(), None);
    // New settings: nothing waits any more, and what is claimed stays so.
    store.release_until(1, NOW + Duration::from_secs(50));
    store.release_until(3, NOW + Duration::from_secs(50));
    store.forget_waits();
    assert_eq!((store.claim(NOW), store.claim(NOW), store.claim(NOW)), (Some(1), Some(3), None));
}

#[test]
fn the_quarantine_counts_in_spool_max_and_its_oldest_block_makes_room_first() {
    let sim = Arc::new(Sim::new());
    let mut limited = options();
    limited.spool_max = 30;
    let (mut spool, _) = filled(Arc::clone(&sim) as Arc<dyn Files>, limited, 3);
    let store = spool.store();
    for number in [1, 2] {
        assert_eq!(store.claim(NOW), Some(number));
        store.quarantine(number, "refused").unwrap();
    }
    assert_eq!(store.counts().quarantined, tally(2));
    append(&mut spool).unwrap();
    let counts = store.counts();
    assert_eq!((counts.quarantined, counts.sealed, counts.dropped), (tally(1), tally(1), tally(1)));
    assert_eq!(spool.pending_drops().spool, 2);
    // As much as there may be: it was full before, and what went made room for as much.
    assert_eq!(spool.high_water(), 30);
    assert!(sim.contents("quarantine/0000000001.reason").is_none());
    assert!(sim.contents("quarantine/0000000001.data").is_none());

    let mut newest = options();
    newest.spool_max = 30;
    newest.on_full = OnSpoolFull::DropNewest;
    drop(spool);
    let (mut spool, _) = filled(Arc::new(Sim::new()), newest, 3);
    spool.store().quarantine(1, "refused").unwrap();
    let error = append(&mut spool).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the spool is full: 30 of 30 bytes are waiting for upload or in quarantine, and 10 more \
         do not fit"
    );
}

/// Blocks 1 to 4 on a disk, 1 to 3 in quarantine for different reasons.
fn refused(root: &Path) -> (Spool, Vec<u8>) {
    let (spool, payload) = filled(Arc::new(Disk::open(root).unwrap()), options(), 4);
    let reasons = [
        (1, "PUT b/k: 400 EntityTooLarge: your proposed upload exceeds the maximum\n"),
        (2, "PUT b/k: 400 KeyTooLongError: (EntityTooLargeX)"),
        (3, "PUT b/k: 412, and the object there has other content"),
    ];
    for (number, reason) in reasons {
        spool.store().quarantine(number, reason).unwrap();
    }
    (spool, payload)
}

fn numbers(refused: &[spool::Refused]) -> Vec<u64> {
    refused.iter().map(|refused| refused.meta.number).collect()
}

#[test]
fn a_process_that_has_the_spool_sends_again_what_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = refused(directory.path());
    let store = spool.store();
    let seen = spool::refused(directory.path()).unwrap();
    assert_eq!(numbers(&seen), [1, 2, 3]);
    assert!(seen.iter().all(|refused| !refused.requested));
    assert_eq!(seen[2].reason, "PUT b/k: 412, and the object there has other content");

    assert_eq!(store.take_requests().unwrap().0, tally(0), "nobody has asked");
    let code = Selection::Code("EntityTooLarge".to_owned());
    assert_eq!(numbers(&spool::request(directory.path(), &code).unwrap()), [1]);
    assert!(spool::refused(directory.path()).unwrap()[0].requested);
    assert_eq!(store.take_requests().unwrap().0, tally(1));
    assert_eq!(store.sealed(), [1, 4]);
    assert_eq!(store.counts().quarantined, tally(2));
    assert_eq!(numbers(&spool::refused(directory.path()).unwrap()), [2, 3]);

    assert!(spool::request(directory.path(), &Selection::Number(9)).unwrap().is_empty());
    assert_eq!(numbers(&spool::request(directory.path(), &Selection::Number(3)).unwrap()), [3]);
    assert_eq!(numbers(&spool::request(directory.path(), &Selection::All).unwrap()), [2, 3]);
    assert_eq!(store.take_requests().unwrap().0, tally(2));
    assert_eq!(store.sealed(), [1, 2, 3, 4]);
    assert_eq!(std::fs::read_dir(directory.path().join("quarantine")).unwrap().count(), 0);
    assert_eq!(store.claim(NOW), Some(1));
    store.open_block(1).unwrap();
}

#[test]
fn a_start_sends_again_what_was_asked_for_while_no_process_had_the_spool() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, payload) = refused(directory.path());
    drop(spool);
    let code = Selection::Code("412".to_owned());
    assert_eq!(numbers(&spool::request(directory.path(), &code).unwrap()), [3]);
    let spool = open(Arc::new(Disk::open(directory.path()).unwrap()), options(), Some(&payload));
    assert_eq!(spool.store().sealed(), [3, 4]);
    assert_eq!(spool.store().counts().quarantined, tally(2));
    assert_eq!(spool.open_number(), 5);
}

#[test]
fn a_block_whose_file_is_not_whole_stays_in_quarantine_and_the_request_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = refused(directory.path());
    let quarantine = directory.path().join("quarantine");
    std::fs::write(quarantine.join("0000000001.data"), "cut").unwrap();
    std::fs::remove_file(quarantine.join("0000000002.data")).unwrap();
    std::fs::write(quarantine.join("0000000003.json"), "damaged").unwrap();
    for number in 1..=3 {
        std::fs::write(quarantine.join(format!("{number:010}.requeue")), "").unwrap();
    }
    std::fs::write(quarantine.join("0000000007.requeue"), "").unwrap();
    assert_eq!(spool.store().take_requests().unwrap().0, tally(0));
    assert_eq!(spool.store().sealed(), [4]);
    assert_eq!(numbers(&spool::refused(directory.path()).unwrap()), [1, 2]);
    let left = std::fs::read_dir(quarantine).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().ends_with(".requeue")));
}

#[test]
fn a_request_that_cannot_be_carried_out_keeps_no_other_back_nor_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let open_disk = || Arc::new(Disk::open(root).unwrap());
    let (spool, payload) = filled(open_disk(), options(), 3);
    for number in 1..=3 {
        spool.store().quarantine(number, "400").unwrap();
    }
    spool::request(root, &Selection::All).unwrap();
    // Nobody can read its description, whoever tries.
    let sidecar = root.join("quarantine/0000000001.json");
    std::fs::remove_file(&sidecar).unwrap();
    std::fs::create_dir(&sidecar).unwrap();
    let (taken, failed) = spool.store().take_requests().unwrap();
    assert_eq!((taken.blocks, failed.len()), (2, 1));
    assert!(failed[&1].to_string().contains("0000000001.json"), "{failed:?}");
    assert_eq!(spool.store().sealed(), [2, 3]);
    spool.store().quarantine(3, "400").unwrap();
    drop(spool);
    spool::request(root, &Selection::Number(3)).unwrap();
    let spool = open(open_disk(), options(), Some(&payload));
    assert_eq!(spool.store().sealed(), [2, 3]);
    assert_eq!(spool.store().take_requests().unwrap().1.len(), 1, "it is told from now on");
}

#[test]
fn a_folder_in_place_of_a_reason_stops_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let open_disk = || Arc::new(Disk::open(root).unwrap());
    let (spool, payload) = filled(open_disk(), options(), 1);
    drop(spool);
    std::fs::create_dir(root.join("quarantine/0000000001.reason")).unwrap();
    let spool = open(open_disk(), options(), Some(&payload));
    assert_eq!(spool.store().sealed(), [1]);
}
