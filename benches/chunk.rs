//! A chunk of 1 MiB of log lines: [`ChunkEncoder`] against the codec crate called directly.
//!
//! The difference is the price of the encoder's own loop; both reuse their context and output.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may fail and speak")]

use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::{Compress, Compression, FlushCompress, Status};
use vmod_s3log::block::{ChunkEncoder, Codec, Hasher};

const SIZE: usize = 1 << 20;

/// Combined-format lines with the variety of a real site: paths, referrers, agents, sizes, clients.
fn lines() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let paths = ["/", "/index.html", "/css/site.css", "/img/logo.png", "/api/v1/items", "/search"];
    let agents = [
        "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Version/18.6",
        "curl/8.14.1",
    ];
    let statuses = [200, 200, 200, 200, 200, 304, 301, 404, 500];
    let mut text = String::with_capacity(SIZE + 512);
    let mut second = 0;
    while text.len() < SIZE {
        second += u32::from(random.u8(..) < 40);
        let path = random.choice(paths).unwrap();
        let agent = random.choice(agents).unwrap();
        let status = random.choice(statuses).unwrap();
        writeln!(
            text,
            "{}.{}.{}.{} - - [22/Nov/2026:16:{:02}:{:02} +0000] \"GET http://www.example.com{path}?id={:x} HTTP/1.1\" {status} {} \"https://www.example.com/page/{}\" \"{agent}\"",
            random.u8(1..224), random.u8(..), random.u8(..), random.u8(1..),
            second / 60 % 60, second % 60,
            random.u32(..), random.u32(..200_000), random.u16(..5000),
        )
        .unwrap();
    }
    text.truncate(SIZE);
    text.into_bytes()
}

fn chunk(criterion: &mut Criterion) {
    let raw = lines();
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
    group.bench_function("gzip:3 flate2", |bencher| {
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
