//! What one signature costs: the CPU time of a PUT besides its body.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use vmod_s3log::s3::credentials::Credentials;
use vmod_s3log::s3::sign::{EMPTY_SHA256, Request, Service, sign};

fn one_put(c: &mut Criterion) {
    let key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", key, None, None, "bench");
    let url = "https://s3.example.com/logs/varnish/2026/11/22/\
               2026-11-22T16%3A00%3A00.000-edge1-access-18f3-42.log.gz";
    let headers = [
        ("host", "s3.example.com"),
        ("content-length", "67108864"),
        ("content-type", "application/octet-stream"),
        ("if-none-match", "*"),
        ("x-amz-meta-records", "1000000"),
        ("x-amz-meta-sha256", EMPTY_SHA256),
        ("x-amz-meta-previous", EMPTY_SHA256),
    ];
    let request = Request { method: "PUT", url, headers: &headers, payload_sha256: EMPTY_SHA256 };
    let now = Duration::from_secs(1_800_000_000);
    c.bench_function("sign one PUT", |b| {
        b.iter(|| sign(black_box(&request), &credentials, "us-east-1", Service::S3, now).unwrap());
    });
}

criterion_group!(benches, one_put);
criterion_main!(benches);
