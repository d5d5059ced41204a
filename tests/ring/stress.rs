//! Real threads, real contention: every record arrives once, each producer's in its order. `S3LOG_RECORDS`
//! is how many each of the four producers pushes, for a longer run than that of every day.

use std::sync::Arc;
use std::time::Duration;

use vmod_s3log::clock::System;
use vmod_s3log::ring::{Backing, Capacity, PushError, Ring};

const PRODUCERS: usize = 4;
const RECORDS: u64 = 100_000;

fn records() -> u64 {
    std::env::var("S3LOG_RECORDS").map_or(RECORDS, |given| given.parse().expect("a number"))
}

/// A record of 9 to about 400 bytes that says whose it is, which, and what follows.
fn record(producer: u8, number: u64, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut record = vec![producer];
    record.extend_from_slice(&number.to_le_bytes());
    let filler = number.wrapping_mul(0x9e37_79b9) as u8;
    record.resize(record.len() + random.usize(0..400), filler);
    record
}

fn check(record: &[u8], next: &mut [u64; PRODUCERS]) {
    let producer = usize::from(record[0]);
    let number = u64::from_le_bytes(record[1..9].try_into().unwrap());
    assert_eq!(number, next[producer], "producer {producer}");
    let filler = number.wrapping_mul(0x9e37_79b9) as u8;
    assert!(record[9..].iter().all(|byte| *byte == filler));
    next[producer] += 1;
}

fn pass_everything_on(backing: Backing<'_>, push: fn(&Ring, &[u8])) {
    let opened = Ring::open(backing, Capacity::MIN).unwrap();
    let mut reader = opened.reader;
    let (mut next, records) = ([0; PRODUCERS], records());
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS as u8 {
            let ring = Arc::clone(&opened.ring);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(producer.into());
                for number in 0..records {
                    push(&ring, &record(producer, number, &mut random));
                }
            });
        }
        let mut random = fastrand::Rng::with_seed(99);
        while next.iter().sum::<u64>() < PRODUCERS as u64 * records {
            for _ in 0..random.u32(1..500) {
                match reader.next() {
                    Some(record) => check(record, &mut next),
                    None => break,
                }
            }
            assert_eq!((reader.damaged(), reader.torn().bytes), (false, 0));
            if random.u8(..) < 200 {
                reader.commit(b"").unwrap();
            }
            if reader.pending_bytes() == 0 {
                reader.commit(b"").unwrap();
                std::thread::yield_now();
            }
        }
    });
    assert_eq!(next, [records; PRODUCERS]);
    assert_eq!(reader.next(), None);
    reader.commit(b"").unwrap();
    let usage = opened.ring.usage();
    assert_eq!(usage.used, 0);
    assert!(usage.high_water > 0 && usage.high_water <= usage.capacity);
}

#[test]
fn four_producers_pass_every_record_on_once_and_in_order_through_a_file() {
    let dir = tempfile::tempdir().unwrap();
    pass_everything_on(Backing::File(&dir.path().join("ring")), |ring, record| {
        while ring.push(record) == Err(PushError::Full) {
            std::thread::yield_now();
        }
    });
}

#[test]
fn four_waiting_producers_lose_nothing_in_memory() {
    pass_everything_on(Backing::Memory, |ring, record| {
        ring.push_wait(record, u64::MAX, Duration::from_secs(60), &System::new()).unwrap();
    });
}
