//! What a line costs: the walk of a realistic log and the rendering, against copying the line.
#![allow(missing_docs)] // criterion's macros make public items.
#![allow(clippy::expect_used)] // A benchmark may fail.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vmod_s3log::record::task::NoStructs;
use vmod_s3log::record::{Dialect, Options, Program, TagTable};

mod common;
use common::{COMBINED, JSON, log, task};

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

criterion_group!(benches, render);
criterion_main!(benches);
