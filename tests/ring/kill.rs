//! A process that pushes, reads and commits is killed again and again; nothing that it was told
//! is safe is missing or doubled afterwards.
//!
//! The victim is this test's own binary. Its producers write down, after each push that
//! succeeded, how far they are; its reader appends records to a "block" file and commits the
//! file's length, as the packer does. After a kill, the block up to the committed length
//! followed by what the ring still holds must be each producer's records 0, 1, 2, ... without
//! a gap, at least as far as it had written down, and at most one further.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmod_s3log::ring::{Backing, Capacity, Opened, PushError, Reader, Ring};

const PRODUCERS: usize = 3;
const KILLS: u32 = 60;
const DIR: &str = "RING_KILL_DIR";
const STARTS: &str = "RING_KILL_STARTS";

/// 16 bytes that tell producer and number, then up to 300 that follow from them.
fn record(producer: u64, number: u64) -> Vec<u8> {
    let mut record = producer.to_le_bytes().to_vec();
    record.extend_from_slice(&number.to_le_bytes());
    let filler = (producer + number) as u8;
    record.resize(16 + (number.wrapping_mul(2_654_435_761) % 300) as usize, filler);
    record
}

fn open(dir: &Path) -> Opened {
    Ring::open(Backing::File(&dir.join("ring")), Capacity::MIN).unwrap()
}

fn block(dir: &Path) -> File {
    let path = dir.join("block");
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

fn acknowledged(dir: &Path) -> File {
    let path = dir.join("acknowledged");
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// The committed length of the block; the rest of it is cut off.
fn recover_block(file: &File, payload: Option<&[u8]>) -> u64 {
    let len = payload.map_or(0, |payload| u64::from_le_bytes(payload.try_into().unwrap()));
    assert!(file.metadata().unwrap().len() >= len, "the commit says more than the block has");
    file.set_len(len).unwrap();
    len
}

/// Moves up to `most` records from the ring to the block, each behind its length.
fn pack(reader: &mut Reader, file: &File, len: &mut u64, most: usize) -> usize {
    let mut chunk = Vec::new();
    let mut count = 0;
    while count < most {
        let Some(record) = reader.next() else { break };
        chunk.extend_from_slice(&(record.len() as u64).to_le_bytes());
        chunk.extend_from_slice(record);
        count += 1;
    }
    file.write_all_at(&chunk, *len).unwrap();
    *len += chunk.len() as u64;
    reader.commit(&len.to_le_bytes()).unwrap();
    count
}

#[test]
fn victim() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let starts: Vec<u64> =
        std::env::var(STARTS).unwrap().split(',').map(|n| n.parse().unwrap()).collect();
    let opened = open(dir);
    let file = block(dir);
    let mut len = recover_block(&file, opened.recovered.payload.as_deref());
    for (producer, start) in starts.into_iter().enumerate() {
        let ring = Arc::clone(&opened.ring);
        let acknowledged = acknowledged(dir);
        std::thread::spawn(move || {
            for number in start.. {
                while ring.push(&record(producer as u64, number)) == Err(PushError::Full) {
                    std::thread::sleep(Duration::from_micros(50));
                }
                let done = (number + 1).to_le_bytes();
                acknowledged.write_all_at(&done, producer as u64 * 8).unwrap();
            }
        });
    }
    let mut reader = opened.reader;
    let mut random = fastrand::Rng::new();
    // The end is for a parent that has died: this process must not outlive it for long.
    let end = Instant::now() + Duration::from_secs(120);
    let mut works = false;
    while Instant::now() < end {
        // Mostly small chunks, for many commits; at times none for a while, so that it fills.
        let packed = pack(&mut reader, &file, &mut len, random.usize(1..50));
        assert!(!reader.damaged());
        if packed > 0 && !works {
            println!("ready");
            works = true;
        }
        if random.u8(..) < 2 {
            std::thread::sleep(Duration::from_millis(random.u64(1..10)));
        }
    }
}

/// Starts a victim, kills it somewhere.
fn kill_one(dir: &Path, starts: &[u64; PRODUCERS], random: &mut fastrand::Rng) {
    let starts: Vec<String> = starts.iter().map(u64::to_string).collect();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::victim", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(STARTS, starts.join(","))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    if random.u8(..) < 200 {
        // Wait until it works; the others die while they start and recover.
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(victim.stdout.take().unwrap()));
        assert!(lines.any(|line| line.unwrap().contains("ready")));
    }
    std::thread::sleep(Duration::from_micros(random.u64(0..40_000)));
    // SIGKILL.
    victim.kill().unwrap();
    victim.wait().unwrap();
}

/// Reads the block from `from` on and checks that each producer's numbers go on from `next`.
fn check_block(file: &File, from: u64, to: u64, next: &mut [u64; PRODUCERS]) -> u64 {
    let mut bytes = vec![0; (to - from) as usize];
    file.read_exact_at(&mut bytes, from).unwrap();
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        let len = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let found = &bytes[at + 8..at + 8 + len];
        let producer = u64::from_le_bytes(found[..8].try_into().unwrap());
        let number = &mut next[producer as usize];
        assert!(found == record(producer, *number), "producer {producer}, expected {number}");
        *number += 1;
        at += 8 + len;
        count += 1;
    }
    count
}

#[test]
fn sixty_kills_lose_repeat_and_invent_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    acknowledged(dir).write_all_at(&[0; 8 * PRODUCERS], 0).unwrap();
    let file = block(dir);
    let mut next = [0; PRODUCERS];
    let (mut checked, mut records, mut recovered, mut torn) = (0, 0, 0, 0);
    for _ in 0..KILLS {
        kill_one(dir, &next, &mut random);
        let mut opened = open(dir);
        let committed = recover_block(&file, opened.recovered.payload.as_deref());
        recovered += opened.recovered.records;
        torn += opened.recovered.torn;
        let mut len = committed;
        while pack(&mut opened.reader, &file, &mut len, 100) > 0 {}
        assert_eq!(opened.reader.pending_bytes(), 0);
        records += check_block(&file, checked, len, &mut next);
        checked = len;
        let mut told = [0; 8 * PRODUCERS];
        acknowledged(dir).read_exact_at(&mut told, 0).unwrap();
        for (producer, told) in told.chunks(8).enumerate() {
            let told = u64::from_le_bytes(told.try_into().unwrap());
            let got = next[producer];
            assert!(told <= got, "producer {producer}: {told} acknowledged, {got} arrived");
            assert!(got <= told + 1, "producer {producer}: {told} acknowledged, {got} arrived");
            acknowledged(dir).write_all_at(&got.to_le_bytes(), producer as u64 * 8).unwrap();
        }
    }
    println!("{KILLS} kills, {records} records, {recovered} recovered by the parent, {torn} torn");
    assert!(records > 0 && recovered > 0);
}
