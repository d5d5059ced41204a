//! What handing a 200-byte line to another thread costs the one who has it, in CPU time: the ring,
//! the queues one would take instead with a line in a buffer of its own, and the least anything
//! could do, one copy and one atomic addition.
//!
//! Nobody reads while it is measured, so that only the handing over counts; what was handed over
//! is taken out, and its memory freed, unmeasured.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use s3log_rivals::thread_time;
use vmod_s3log::ring::{Backing, Capacity, Ring};

const LINE: [u8; 200] = [b'x'; 200];
/// Lines that are handed over between two emptyings: 32 768 of 208 bytes fit the default ring.
const BATCH: u64 = 32_768;
const PRODUCERS: [u64; 4] = [1, 2, 4, 8];

/// CPU time of `producers` threads that push `lines` between them, emptied after each batch.
fn measure<T: Sync + Send + ?Sized>(
    producers: u64,
    lines: u64,
    queue: &Arc<T>,
    push: impl Fn(&T) + Copy + Send + Sync + 'static,
    mut empty: impl FnMut(),
) -> Duration
where
    T: 'static,
{
    let mut spent = Duration::ZERO;
    let mut left = lines;
    while left > 0 {
        let each = left.min(BATCH).div_ceil(producers);
        left = left.saturating_sub(each * producers);
        let barrier = Arc::new(Barrier::new(usize::try_from(producers).unwrap_or(1)));
        let threads: Vec<_> = (0..producers)
            .map(|_| {
                let (queue, barrier) = (Arc::clone(queue), Arc::clone(&barrier));
                std::thread::spawn(move || {
                    barrier.wait();
                    let from = thread_time();
                    for _ in 0..each {
                        push(&queue);
                    }
                    thread_time() - from
                })
            })
            .collect();
        for thread in threads {
            spent += thread.join().unwrap_or_default();
        }
        empty();
    }
    spent
}

fn push(c: &mut Criterion) {
    for producers in PRODUCERS {
        let mut group = c.benchmark_group(format!("{producers} producers"));
        group.throughput(Throughput::Elements(1));

        // The floor is uncontended whatever the number of producers: each has its own.
        group.bench_function("one copy and one atomic", |b| {
            b.iter_custom(|lines| {
                let floor = Arc::new(());
                measure(producers, lines, &floor, move |()| floor_push(), || ())
            });
        });

        let mut opened = Ring::open(Backing::Memory, Capacity::default()).expect("a ring");
        let ring = Arc::clone(&opened.ring);
        group.bench_function("s3log ring", |b| {
            b.iter_custom(|lines| {
                let push = |ring: &Ring| ring.push(black_box(&LINE)).expect("room");
                measure(producers, lines, &ring, push, || {
                    while opened.reader.next().is_some() {}
                    opened.reader.commit(b"").expect("a commit");
                })
            });
        });

        let (sender, receiver) = crossbeam_channel::bounded::<Box<[u8]>>(BATCH as usize + 8);
        let sender = Arc::new(sender);
        group.bench_function("crossbeam-channel", |b| {
            b.iter_custom(|lines| {
                let push = |to: &crossbeam_channel::Sender<Box<[u8]>>| {
                    to.try_send(Box::from(black_box(&LINE[..]))).expect("room");
                };
                measure(producers, lines, &sender, push, || {
                    while receiver.try_recv().is_ok() {}
                })
            });
        });

        let queue = Arc::new(ArrayQueue::<Box<[u8]>>::new(BATCH as usize + 8));
        group.bench_function("crossbeam ArrayQueue", |b| {
            b.iter_custom(|lines| {
                let push = |to: &ArrayQueue<Box<[u8]>>| {
                    to.push(Box::from(black_box(&LINE[..]))).expect("room");
                };
                measure(producers, lines, &queue, push, || while queue.pop().is_some() {})
            });
        });
        group.finish();
    }
}

thread_local! {
    static FLOOR: (AtomicU64, std::cell::RefCell<Vec<u8>>) =
        (AtomicU64::new(0), std::cell::RefCell::new(vec![0; (1 << 20) + 256]));
}

fn floor_push() {
    FLOOR.with(|(tail, memory)| {
        let at = tail.fetch_add(208, Ordering::Relaxed) as usize & ((1 << 20) - 1);
        if let Some(place) = memory.borrow_mut().get_mut(at..at + 200) {
            place.copy_from_slice(black_box(&LINE));
        }
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = push
}
criterion_main!(benches);
