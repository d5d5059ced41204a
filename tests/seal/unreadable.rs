//! A block that is to be encrypted has a file that cannot be read: the others are sent, and it is never sent
//! unencrypted, whichever start can read it.

use std::sync::Arc;

use crate::common::sim::Sim;
use crate::guard::{CLEAR, Key, SECRET, encrypted, keep_secrets, open_as, stats, zstd};
use vmod_s3log::block::{Drops, Kind};
use vmod_s3log::spool::{Files as _, Payload, Recovered, Spool};

/// Another user's file, and a bad sector.
const ERRORS: [i32; 2] = [libc::EACCES, libc::EIO];

fn start(sim: &Arc<Sim>, key: Option<&Key>, last: &Payload) -> (Spool, Recovered) {
    sim.restart();
    open_as(Kind::Zstd, sim, key, Some(last)).unwrap()
}

/// A sealed block, and an open one of one line.
fn two(key: &Key) -> (Arc<Sim>, Spool, Payload) {
    let sim = Arc::new(Sim::new());
    let (mut spool, _) = open_as(Kind::Zstd, &sim, Some(key), None).unwrap();
    spool.append(&zstd(CLEAR), stats(CLEAR)).unwrap();
    spool.seal(&Drops::default()).unwrap();
    let last = spool.append(&zstd(SECRET), stats(SECRET)).unwrap();
    (sim, spool, last)
}

#[test]
fn an_open_block_that_cannot_be_read_is_encrypted_by_whichever_start_can() {
    let key = Key::new();
    let with = |has: bool| Some(&key).filter(|_| has);
    for error in ERRORS {
        for (now, later) in [(true, true), (true, false), (false, true), (false, false)] {
            let (sim, spool, last) = two(&key);
            drop(spool);
            sim.remove("secret").unwrap();
            sim.refuse("0000000002.data", error);
            let (mut spool, found) = start(&sim, with(now), &last);
            assert_eq!(encrypted(&spool, &key), [CLEAR]);
            assert_eq!((found.unreadable.len(), found.counts.damaged.records), (1, 1));
            let last = keep_secrets(&sim, &mut spool, found.payload);
            drop(spool);
            sim.allow_all();
            let (mut spool, found) = start(&sim, with(later), &last);
            let last = keep_secrets(&sim, &mut spool, found.payload);
            drop(spool);
            let (mut spool, found) = start(&sim, Some(&key), &last);
            let _ = spool.release(&Drops::default()).unwrap();
            assert_eq!(encrypted(&spool, &key), [CLEAR, SECRET], "{now}, {later}");
            assert_eq!(found.counts.lost.records, 0);
        }
    }
}

#[test]
fn a_block_that_waits_for_a_key_and_cannot_be_read_keeps_no_other_back_and_is_not_lost() {
    let key = Key::new();
    for error in ERRORS {
        for name in ["0000000002.held", "0000000002.hold"] {
            // The ring may say that it is open still.
            for told in [true, false] {
                let (sim, spool, last) = two(&key);
                drop(spool);
                let (mut spool, found) = start(&sim, None, &last);
                let set_aside = keep_secrets(&sim, &mut spool, found.payload);
                drop(spool);
                let last = if told { set_aside } else { found.payload };
                sim.refuse(name, error);
                let (mut spool, found) = start(&sim, Some(&key), &last);
                assert_eq!((found.unreadable.len(), found.counts.damaged.blocks), (1, 1));
                assert_eq!((found.counts.held.blocks, found.counts.lost.records), (0, 0));
                spool.append(&zstd(CLEAR), stats(CLEAR)).unwrap();
                let (_, last) = spool.seal(&Drops::default()).unwrap().unwrap();
                assert_eq!(encrypted(&spool, &key), [CLEAR, CLEAR], "{name}, {told}");
                drop(spool);
                sim.allow_all();
                let (mut spool, found) = start(&sim, Some(&key), &last);
                assert_eq!((found.counts.held.records, found.counts.damaged.blocks), (1, 0));
                let _ = spool.release(&Drops::default()).unwrap().unwrap();
                assert_eq!(encrypted(&spool, &key), [CLEAR, CLEAR, SECRET], "{name}, {told}");
            }
        }
    }
}

/// Its members could not be removed when it was sealed, so that a start asks whether it is whole.
#[test]
fn an_encrypted_block_that_cannot_be_read_beside_its_members_stays_as_it_is() {
    let key = Key::new();
    for error in ERRORS {
        let (sim, mut spool, open) = two(&key);
        let members = sim.contents("0000000002.data").unwrap();
        let (_, sealed) = spool.seal(&Drops::default()).unwrap().unwrap();
        drop(spool);
        for last in [open, sealed] {
            sim.place("0000000002.data", &members);
            let before = sim.names("");
            sim.refuse("0000000002.sealed", error);
            let (spool, found) = start(&sim, Some(&key), &last);
            assert_eq!((encrypted(&spool, &key), spool.open_number()), (vec![CLEAR.into()], 3));
            assert_eq!((found.unreadable.len(), sim.names("")), (1, before));
            sim.allow_all();
            let (spool, _) = start(&sim, Some(&key), &found.payload);
            assert_eq!(encrypted(&spool, &key), [CLEAR, SECRET]);
            assert!(!sim.names("").contains(&"0000000002.data".to_owned()));
        }
    }
}
