//! Small cases in many orders: with two threads in every interleaving, with three in every one that has
//! at most three preemptions.
//!
//! `RUSTFLAGS="--cfg s3log_loom" CARGO_TARGET_DIR=target/loom cargo test --release --lib
//! --no-default-features ring::loom` runs them, in half a minute on two busy cores, once it is built.
//!
//! What is bounded:
//!
//! - *preemptions*, to [`PREEMPTIONS`], where two producers and a reader run. A preemption takes the
//!   processor from a thread that could go on; to end or to yield is none. The reader asks three words
//!   more each time that it finds nothing, so that all interleavings of these cases did not end in 25 minutes.
//!   One more preemption takes six times as long;
//! - *producers*, to two with one push each, and one reader;
//! - *waits*: only the reader waits, and a producer that is alone with it. Two producers that wait for room
//!   by turns, while a third thread stands still, never end in a model;
//! - *the ring*, to 64 bytes. It holds four records of up to 8 bytes, or two of 24.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use ::loom::thread;

use super::header::Key;
use super::producer::{PushError, Ring};
use super::reader::{Reader, Torn};
use super::record::Record;
use super::sync::Memory;
use crate::clock::Clock;

const CAPACITY: usize = 64;
/// The most preemptions in a case of three threads. `LOOM_MAX_PREEMPTIONS` does not change it.
const PREEMPTIONS: Option<usize> = Some(3);
/// How often a reader looks that does not wait.
const LOOKS: usize = 2;

/// Every interleaving, or those with at most so many preemptions.
fn model(preemptions: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    let mut model = ::loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(body);
}

fn open() -> (Arc<Ring>, Reader) {
    let ring = Arc::new(Ring::new(Memory::anonymous(CAPACITY).unwrap(), Key(0x5eed)));
    let reader = Reader::new(Arc::clone(&ring), 0, 1);
    (ring, reader)
}

/// The next record, waited for.
fn wait_for_next(reader: &mut Reader) -> Vec<u8> {
    loop {
        if let Some(record) = reader.next() {
            return record.to_vec();
        }
        assert!(!reader.damaged());
        thread::yield_now();
    }
}

/// The next two, sorted.
fn next_two(reader: &mut Reader) -> [Vec<u8>; 2] {
    let mut seen = [wait_for_next(reader), wait_for_next(reader)];
    seen.sort();
    seen
}

/// A thread for each record, which pushes it.
fn producers<const N: usize>(
    ring: &Arc<Ring>,
    records: [&'static [u8; N]; 2],
) -> [thread::JoinHandle<()>; 2] {
    records.map(|record| {
        let ring = Arc::clone(ring);
        thread::spawn(move || ring.push(record).unwrap())
    })
}

/// Moves the ring on by `count` records of 16 bytes, headers included.
fn advance(ring: &Ring, reader: &mut Reader, count: usize) {
    for _ in 0..count {
        ring.push(b"advance").unwrap();
        reader.next().unwrap();
    }
    reader.commit(b"").unwrap();
}

#[test]
fn two_producers_and_a_reader_pass_every_record_on_once() {
    model(PREEMPTIONS, || {
        let (ring, mut reader) = open();
        let producers = producers(&ring, [b"one", b"two"]);
        assert_eq!(next_two(&mut reader), [b"one", b"two"]);
        assert_eq!(reader.next(), None);
        assert_eq!(reader.torn(), Torn::default());
        producers.into_iter().for_each(|p| p.join().unwrap());
    });
}

#[test]
fn records_that_race_for_the_end_of_the_region_go_behind_one_pad() {
    model(PREEMPTIONS, || {
        let (ring, mut reader) = open();
        advance(&ring, &mut reader, 3);
        // 16 bytes are left before the end, and each of these takes 24.
        let producers = producers(&ring, [b"first record", b"other record"]);
        assert_eq!(next_two(&mut reader), [b"first record", b"other record"]);
        assert_eq!(reader.cursor(), 48 + 16 + 2 * 24);
        assert_eq!(reader.torn(), Torn::default());
        reader.commit(b"").unwrap();
        producers.into_iter().for_each(|p| p.join().unwrap());
        // Who claimed the pad has counted it as well.
        assert_eq!(ring.settled(), Some(reader.cursor()));
    });
}

#[test]
fn a_push_into_a_full_ring_is_refused_or_lands_in_released_space() {
    model(None, || {
        let (ring, mut reader) = open();
        for record in [b"a", b"b", b"c", b"d"] {
            ring.push(record).unwrap();
        }
        let pushed = thread::spawn({
            let ring = Arc::clone(&ring);
            move || ring.push(b"e")
        });
        assert_eq!(reader.next(), Some(&b"a"[..]));
        assert_eq!(reader.next(), Some(&b"b"[..]));
        reader.commit(b"").unwrap();
        assert_eq!(reader.next(), Some(&b"c"[..]));
        assert_eq!(reader.next(), Some(&b"d"[..]));
        match pushed.join().unwrap() {
            Ok(()) => assert_eq!(reader.next(), Some(&b"e"[..])),
            Err(e) => assert_eq!((e, reader.next()), (PushError::Full, None)),
        }
        assert_eq!(reader.next(), None);
    });
}

/// A clock that stands still; to sleep is to let others run.
struct Still;

impl Clock for Still {
    fn unix(&self) -> Duration {
        Duration::ZERO
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) {
        thread::yield_now();
    }
}

#[test]
fn a_waiting_push_gets_in_once_the_reader_commits() {
    model(None, || {
        let (ring, mut reader) = open();
        for record in [b"a", b"b", b"c", b"d"] {
            ring.push(record).unwrap();
        }
        let waiting = thread::spawn({
            let ring = Arc::clone(&ring);
            move || ring.push_wait(b"e", u64::MAX, Duration::from_secs(1), &Still)
        });
        assert_eq!(reader.next(), Some(&b"a"[..]));
        reader.commit(b"").unwrap();
        for record in [b"b", b"c", b"d", b"e"] {
            assert_eq!(wait_for_next(&mut reader), record);
        }
        assert_eq!(waiting.join().unwrap(), Ok(()));
    });
}

/// A refused push is not tried again: two that wait by turns never end in a model.
#[test]
fn commits_that_race_with_pushes_around_the_end_lose_and_repeat_nothing() {
    model(PREEMPTIONS, || {
        let (ring, mut reader) = open();
        advance(&ring, &mut reader, 2);
        ring.push(b"old").unwrap();
        // 16 bytes are left before the end. With the pad that the long one may need, there is no
        // room for the other until the reader commits.
        let pushes: [_; 2] = [&b"a long record here"[..], b"short"].map(|record| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.push(record).is_ok().then_some(record))
        });
        let mut seen = Vec::new();
        for _ in 0..LOOKS {
            seen.extend(reader.next().map(<[u8]>::to_vec));
            reader.commit(b"").unwrap();
        }
        let mut taken = vec![&b"old"[..]];
        taken.extend(pushes.into_iter().filter_map(|push| push.join().unwrap()));
        while let Some(record) = reader.next() {
            seen.push(record.to_vec());
        }
        reader.commit(b"").unwrap();
        seen.sort();
        taken.sort();
        assert_eq!(seen, taken);
        assert_eq!((reader.torn(), ring.usage().used), (Torn::default(), 0));
    });
}

#[test]
fn a_damaged_record_is_stepped_over_while_producers_push() {
    model(PREEMPTIONS, || {
        let (ring, mut reader) = open();
        ring.push(b"damaged").unwrap();
        // SAFETY: nobody else has the ring yet.
        unsafe { ring.memory.write(8, b"stray") }
        let producers = producers(&ring, [b"one", b"two"]);
        assert_eq!(next_two(&mut reader), [b"one", b"two"]);
        reader.commit(b"").unwrap();
        assert_eq!((reader.torn().places, ring.usage().used), (1, 0));
        producers.into_iter().for_each(|p| p.join().unwrap());
    });
}

/// The one that is never stepped over is a push that is under way: a claim of zeros as well.
#[test]
fn zeros_are_stepped_over_while_producers_push_and_their_records_are_not() {
    model(PREEMPTIONS, || {
        let (ring, mut reader) = open();
        ring.push(b"zeroed").unwrap();
        // SAFETY: nobody else has the ring yet.
        unsafe { ring.memory.zero(0, 16) }
        let producers = producers(&ring, [b"one", b"two"]);
        assert_eq!(next_two(&mut reader), [b"one", b"two"]);
        reader.commit(b"").unwrap();
        assert_eq!((reader.torn().places, ring.usage().used), (1, 0));
        producers.into_iter().for_each(|p| p.join().unwrap());
    });
}

#[test]
fn a_record_that_was_cut_is_never_seen_without_its_mark() {
    model(PREEMPTIONS, || {
        let (ring, mut reader) = open();
        let producers = [true, false].map(|cut| {
            let ring = Arc::clone(&ring);
            let bytes = if cut { b"cut" } else { b"all" };
            thread::spawn(move || ring.push(Record { bytes, cut }).unwrap())
        });
        let mut seen = 0;
        while seen < 2 {
            match reader.next_record() {
                Some(record) => {
                    assert_eq!(record.cut, record.bytes == b"cut");
                    seen += 1;
                }
                None => thread::yield_now(),
            }
        }
        producers.into_iter().for_each(|p| p.join().unwrap());
    });
}

/// Empty records: the model's payload is not in its headers.
#[test]
fn behind_a_damaged_header_nothing_is_read_that_a_producer_has_not_published() {
    model(PREEMPTIONS, || {
        let (ring, mut reader) = open();
        ring.push(b"").unwrap();
        ring.memory.header(0).store(0x5717_a75e, super::sync::Ordering::Relaxed);
        let producers = [(), ()].map(|()| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.push(b"").unwrap())
        });
        let mut seen = 0;
        // Where both are published before the reader looks, the first of them is the next frame
        // that holds; where none is claimed yet, the damage reaches to the tail.
        while seen < 2 {
            match reader.next() {
                Some(record) => {
                    assert!(record.is_empty());
                    seen += 1;
                }
                None => thread::yield_now(),
            }
        }
        reader.commit(b"").unwrap();
        assert_eq!((reader.torn().places, ring.usage().used), (1, 0));
        producers.into_iter().for_each(|p| p.join().unwrap());
    });
}
