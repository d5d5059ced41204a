//! A file of one block cannot be opened, or what the disk has of it cannot be read: the others are sent, and
//! the block is there for a start that can read it.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::common::sim::Sim;
use crate::faults::{append, open, open_with, options, overwrite, seal, text, three};
use vmod_s3log::spool::{Files, Options, Recovered, Spool};

/// Another user's file, and a bad sector.
const ERRORS: [i32; 2] = [libc::EACCES, libc::EIO];

/// That one block stays as it is, because `name` cannot be read.
fn left_one(found: &Recovered, name: &str) {
    let [(_, why)] = &found.unreadable[..] else { panic!("{:?}", found.unreadable) };
    assert!(why.starts_with(&format!("the spool cannot read {name}: ")), "{why}");
    assert_eq!((found.counts.damaged.blocks, found.left_in_place), (1, 0));
}

#[test]
fn a_block_whose_description_cannot_be_read_keeps_no_other_back_and_is_sent_later() {
    for error in ERRORS {
        let sim = Arc::new(Sim::new());
        let last = three(&sim);
        let before = sim.names("");
        sim.refuse("0000000001.json", error);
        let (spool, found) = open(&sim, Some(&last));
        assert_eq!((spool.store().sealed(), found.open_records), (vec![2], 3));
        left_one(&found, "0000000001.json");
        let length = sim.contents("0000000001.data").unwrap().len() as u64;
        assert_eq!((found.counts.damaged.bytes, found.counts.lost.records), (length, 0));
        assert_eq!(sim.names(""), before);
        sim.allow_all();
        let (spool, found) = open(&sim, Some(&found.payload));
        assert_eq!((spool.store().sealed(), found.counts.damaged.blocks), (vec![1, 2], 0));
        assert_eq!((text(&spool, 1), found.open_records), ("a\nb\n".into(), 3));
    }
}

#[test]
fn no_other_block_has_the_number_of_one_whose_description_cannot_be_read() {
    for error in ERRORS {
        // What the ring says from before the seal, from after it, and where it is lost.
        for ring in 0..3 {
            let sim = Arc::new(Sim::new());
            let (mut spool, _) = open(&sim, None);
            let before = append(&mut spool, &["a"]);
            let (_, after) = seal(&mut spool);
            sim.refuse("0000000001.json", error);
            let last = [Some(&before), Some(&after), None][ring];
            let (mut spool, found) = open(&sim, last);
            left_one(&found, "0000000001.json");
            assert_eq!((spool.open_number(), spool.open_records()), (2, 0), "{ring}");
            append(&mut spool, &["b"]);
            let (_, last) = seal(&mut spool);
            sim.allow_all();
            let (spool, _) = open(&sim, Some(&last));
            assert_eq!(spool.store().sealed(), [1, 2]);
            assert_eq!((text(&spool, 1), text(&spool, 2)), ("a\n".into(), "b\n".into()));
        }
    }
}

#[test]
fn members_that_cannot_be_read_are_described_by_a_later_start() {
    for error in ERRORS {
        let sim = Arc::new(Sim::new());
        let last = three(&sim);
        sim.remove("0000000001.json").unwrap();
        sim.refuse("0000000001.data", error);
        let (spool, found) = open(&sim, Some(&last));
        assert_eq!((spool.store().sealed(), found.open_records), (vec![2], 3));
        left_one(&found, "0000000001.data");
        assert_eq!(found.set_aside, [""; 0]);
        sim.allow_all();
        let (spool, found) = open(&sim, Some(&found.payload));
        assert_eq!((spool.store().sealed(), found.rebuilt), (vec![1, 2], vec![1]));
        assert_eq!(text(&spool, 1), "a\nb\n");
    }
}

#[test]
fn an_open_block_that_cannot_be_read_keeps_no_other_back_and_nothing_of_it_is_sent_twice() {
    for error in ERRORS {
        for tail in [false, true] {
            let sim = Arc::new(Sim::new());
            let last = three(&sim);
            let whole = sim.contents("0000000003.data").unwrap();
            if tail {
                // A chunk whose records come from the ring again.
                overwrite(&sim, "0000000003.data", |bytes| bytes.extend_from_slice(&whole));
            }
            sim.refuse("0000000003.data", error);
            let (mut spool, found) = open(&sim, Some(&last));
            assert_eq!(spool.store().sealed(), [1, 2]);
            if tail && error == libc::EACCES {
                // It cannot be cut off.
                assert_eq!(found.set_aside, ["foreign/0000000003.data"]);
                assert_eq!((found.counts.lost.records, found.counts.damaged.blocks), (3, 0));
                append(&mut spool, &["g"]);
                let (meta, _) = seal(&mut spool);
                assert_eq!((meta.number, meta.dropped.lost), (3, 3));
                continue;
            }
            left_one(&found, "0000000003.data");
            assert_eq!((found.counts.damaged.records, found.counts.lost.records), (3, 0));
            append(&mut spool, &["g"]);
            let (meta, last) = seal(&mut spool);
            assert_eq!((meta.number, meta.dropped.lost), (4, 0));
            drop(spool);
            // No start before that one does anything to it.
            let (spool, found) = open(&sim, Some(&last));
            assert_eq!((spool.store().sealed(), found.unreadable.len()), (vec![1, 2, 4], 1));
            sim.allow_all();
            let (spool, found) = open(&sim, Some(&found.payload));
            assert_eq!((spool.store().sealed(), found.rebuilt), (vec![1, 2, 3, 4], vec![3]));
            assert_eq!((text(&spool, 3), text(&spool, 4)), ("d\ne\nf\n".into(), "g\n".into()));
        }
    }
}

#[test]
fn an_error_that_is_not_one_files_is_no_reason_to_leave_blocks() {
    for error in [libc::EMFILE, libc::ENOMEM] {
        let sim = Arc::new(Sim::new());
        let last = three(&sim);
        sim.refuse("0000000001.json", error);
        sim.restart();
        let files = || Arc::clone(&sim) as Arc<dyn Files>;
        Spool::open(files(), options(), Some(last.as_bytes())).unwrap_err();
        sim.allow_all();
        let (spool, _) = open(&sim, Some(&last));
        assert_eq!(spool.store().sealed(), [1, 2]);
    }
}

/// Opens with the first changing operation refused.
fn open_refused(sim: &Arc<Sim>, last: &[u8], kind: ErrorKind) -> (Spool, Recovered) {
    sim.restart();
    sim.fail_in(0, 1, kind);
    Spool::open(Arc::clone(sim) as Arc<dyn Files>, options(), Some(last)).unwrap()
}

#[test]
fn a_block_that_cannot_be_moved_into_quarantine_or_out_of_it_keeps_no_other_back() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        let sim = Arc::new(Sim::new());
        let last = three(&sim);
        overwrite(&sim, "0000000001.data", |bytes| bytes.truncate(3));
        let (spool, found) = open_refused(&sim, last.as_bytes(), kind);
        assert_eq!((spool.store().sealed(), found.counts.damaged.blocks), (vec![2], 1));
        let (_, found) = open(&sim, Some(&found.payload));
        assert_eq!((found.counts.quarantined.blocks, found.counts.damaged.blocks), (1, 0));

        // A power cut has kept one of the two names.
        let sim = Arc::new(Sim::new());
        let last = three(&sim);
        sim.rename("0000000001.data", "quarantine/0000000001.data").unwrap();
        let (spool, found) = open_refused(&sim, last.as_bytes(), kind);
        assert_eq!((spool.store().sealed(), found.counts.lost.blocks), (vec![2], 0));
        let (spool, _) = open(&sim, Some(&found.payload));
        assert_eq!((spool.store().sealed(), text(&spool, 1)), (vec![1, 2], "a\nb\n".into()));

        let sim = Arc::new(Sim::new());
        let last = three(&sim);
        sim.rename("0000000001.json", "quarantine/0000000001.json").unwrap();
        let (spool, found) = open_refused(&sim, last.as_bytes(), kind);
        assert_eq!(spool.store().sealed(), [2]);
        assert_eq!((found.counts.quarantined.blocks, found.left_in_place), (1, 1));
        let (_, found) = open(&sim, Some(&found.payload));
        assert_eq!(found.counts.quarantined.blocks, 1);
        assert!(sim.contents("quarantine/0000000001.data").is_some());
    }
}

#[test]
fn a_block_of_another_codec_that_cannot_be_read_is_left_as_well() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    sim.refuse("0000000003.data", libc::EIO);
    let other = Options { codec: vmod_s3log::block::Kind::Zstd, ..options() };
    let (spool, found) = open_with(&sim, other, Some(last.as_bytes()));
    left_one(&found, "0000000003.data");
    assert_eq!((spool.store().sealed(), spool.open_number()), (vec![1, 2], 4));
}
