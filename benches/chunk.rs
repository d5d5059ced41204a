//! A chunk of 1 MiB of log lines: [`ChunkEncoder`], beside zstd called directly and gzip by zlib-rs.
//!
//! All reuse their context and output.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may fail and speak"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::{Compress, Compression, FlushCompress, Status};
use vmod_s3log::block::{ChunkEncoder, Codec, Hasher};

mod common;
use common::site_lines;

const SIZE: usize = 1 << 20;

fn chunk(criterion: &mut Criterion) {
    let raw = site_lines(SIZE);
    let mut group = criterion.benchmark_group("chunk of 1 MiB");
    group.throughput(Throughput::Bytes(raw.len() as u64)).sample_size(20);
    let mut out = Vec::with_capacity(2 * SIZE);

    let mut gzip = ChunkEncoder::new(Codec::Gzip(3)).unwrap();
    group.bench_function("gzip:3 ours", |bencher| {
        bencher.iter(|| {
            out.clear();
            gzip.encode(black_box(&raw), &mut out).unwrap();
        });
    });
    println!("gzip:3 {} bytes of {}", out.len(), raw.len());

    let mut direct = Compress::new_gzip(Compression::new(3), 15);
    group.bench_function("gzip:3 zlib-rs", |bencher| {
        bencher.iter(|| {
            out.clear();
            direct.reset();
            let status = direct.compress_vec(black_box(&raw), &mut out, FlushCompress::Finish);
            assert_eq!(status.unwrap(), Status::StreamEnd);
        });
    });

    let mut zstd = ChunkEncoder::new(Codec::Zstd(3)).unwrap();
    group.bench_function("zstd:3 ours", |bencher| {
        bencher.iter(|| {
            out.clear();
            zstd.encode(black_box(&raw), &mut out).unwrap();
        });
    });
    println!("zstd:3 {} bytes of {}", out.len(), raw.len());

    let mut direct = zstd::bulk::Compressor::new(3).unwrap();
    direct.include_checksum(true).unwrap();
    group.bench_function("zstd:3 zstd", |bencher| {
        bencher.iter(|| {
            out.clear();
            direct.compress_to_buffer(black_box(&raw), &mut out).unwrap();
        });
    });

    group.bench_function("sha256 of it", |bencher| {
        bencher.iter(|| {
            let mut hasher = Hasher::default();
            hasher.update(black_box(&raw));
            hasher.digest()
        });
    });
    group.finish();
}

criterion_group!(benches, chunk);
criterion_main!(benches);
