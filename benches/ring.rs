//! What a push costs, next to the least that anything could do: one atomic and one copy.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use vmod_s3log::ring::{Backing, Capacity, PushError, Reader, Ring};

const LINE: [u8; 200] = [b'x'; 200];
/// As many lines as a batch pushes before the reader, untimed, makes room.
const BATCH: usize = 4096;

fn drain(reader: &mut Reader) {
    while reader.next().is_some() {}
    reader.commit(b"").unwrap();
}

fn one_thread(c: &mut Criterion) {
    let mut group = c.benchmark_group("200-byte line");
    group.throughput(Throughput::Elements(BATCH as u64));

    let mut region = vec![0_u8; (1 << 20) + 208];
    let tail = AtomicU64::new(0);
    group.bench_function("fetch_add and copy", |b| {
        b.iter(|| {
            for _ in 0..BATCH {
                let at = tail.fetch_add(208, Ordering::Relaxed) as usize & ((1 << 20) - 1);
                region[at..at + 200].copy_from_slice(black_box(&LINE));
            }
            black_box(&region);
        });
    });
    group.bench_function("CRC-32C", |b| {
        b.iter(|| {
            for _ in 0..BATCH {
                black_box(crc32c::crc32c(black_box(&LINE)));
            }
        });
    });

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ring");
    for (name, backing) in
        [("push, in memory", Backing::Memory), ("push, file", Backing::File(&path))]
    {
        let mut opened = Ring::open(backing, Capacity::MIN).unwrap();
        group.bench_function(name, |b| {
            b.iter_batched(
                || drain(&mut opened.reader),
                |()| {
                    for _ in 0..BATCH {
                        opened.ring.push(black_box(&LINE)).unwrap();
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    let mut opened = Ring::open(Backing::Memory, Capacity::MIN).unwrap();
    group.bench_function("next and commit", |b| {
        b.iter_batched(
            || (0..BATCH).for_each(|_| opened.ring.push(&LINE).unwrap()),
            |()| drain(&mut opened.reader),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// `producers` threads push `each` lines; a reader drains until all are through.
fn through(producers: usize, each: u64) -> Duration {
    let opened = Ring::open(Backing::Memory, Capacity::default()).unwrap();
    let start = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..producers)
        .map(|_| {
            let (ring, start) = (Arc::clone(&opened.ring), Arc::clone(&start));
            std::thread::spawn(move || {
                while !start.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
                for _ in 0..each {
                    while ring.push(black_box(&LINE)) == Err(PushError::Full) {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut reader = opened.reader;
    let began = Instant::now();
    start.store(true, Ordering::Release);
    let mut left = producers as u64 * each;
    while left > 0 {
        let mut got = 0;
        while got < 1000 && reader.next().is_some() {
            got += 1;
        }
        reader.commit(b"").unwrap();
        left -= got;
        if got == 0 {
            std::thread::yield_now();
        }
    }
    let took = began.elapsed();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    took
}

fn many_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("200-byte lines through a drained ring");
    group.throughput(Throughput::Elements(1));
    for producers in [1, 2, 4] {
        group.bench_function(format!("{producers} producers"), |b| {
            b.iter_custom(|lines| {
                let each = lines.div_ceil(producers as u64);
                through(producers, each)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = one_thread, many_threads
}
criterion_main!(benches);
