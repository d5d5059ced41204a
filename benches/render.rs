//! What a line costs: the walk of a realistic log and the rendering, against copying the line; and all
//! that a worker does with a task that is over, up to the line's place in the ring.
#![allow(missing_docs)] // criterion's macros make public items.
#![allow(clippy::expect_used)] // A benchmark may fail.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use vmod_s3log::record::task::NoStructs;
use vmod_s3log::record::{Dialect, Options, Program, TagTable};
use vmod_s3log::ring::{Backing, Capacity, Ring};

mod common;
use common::{Answered, COMBINED, JSON, log, task};

fn render(c: &mut Criterion) {
    let tags = TagTable::varnish_7();
    let log = log(&tags);
    let task = task(&log, &NoStructs);
    let apache = Options::default();
    let csa = Options { dialect: Dialect::Varnishncsa, ..Options::default() };
    for (name, format, options) in [
        ("combined", COMBINED, &apache),
        ("combined, dialect varnishncsa, local time", COMBINED, &csa),
        ("json of 16 fields", JSON, &apache),
        ("a constant: the walk alone", "-", &apache),
    ] {
        let program = Program::compile(format, options, &tags).expect(format);
        let mut line = Vec::with_capacity(4096);
        program.render(&task, &mut line);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.sample_size(40);
        group.warm_up_time(Duration::from_millis(500));
        group.measurement_time(Duration::from_secs(2));
        let mut out = Vec::with_capacity(4096);
        group.bench_function("render", |b| {
            b.iter(|| {
                out.clear();
                black_box(program.render(black_box(&task), &mut out));
            });
        });
        group.bench_function("memcpy of the line", |b| {
            b.iter(|| {
                out.clear();
                out.extend_from_slice(black_box(&line));
                black_box(&out);
            });
        });
        group.finish();
    }
}

/// The combined line of a task whose structs have all of it, from their first look to the push. The ring
/// is emptied between the batches, untimed.
fn finished_task(c: &mut Criterion) {
    const BATCH: usize = 1024;
    let tags = TagTable::varnish_7();
    let (log, structs) = (log(&tags), Answered::new());
    let task = task(&log, &structs);
    let program = Program::compile(COMBINED, &Options::default(), &tags).expect("a format");
    let mut opened = Ring::open(Backing::Memory, Capacity::MIN).expect("a ring");
    let mut group = c.benchmark_group("combined, a finished task");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut line = Vec::with_capacity(4096);
    group.bench_function("structs, render, push", |b| {
        b.iter_batched(
            || {
                while opened.reader.next().is_some() {}
                opened.reader.commit(b"").expect("a commit");
            },
            |()| {
                for _ in 0..BATCH {
                    line.clear();
                    black_box(program.render(black_box(&task), &mut line));
                    opened.ring.push(&line).expect("room");
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, render, finished_task);
criterion_main!(benches);
