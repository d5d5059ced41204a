//! One operation of the hot path, a given number of times, for callgrind to count instructions of:
//! `instructions OPERATION COUNT`. `benches/e2e/instructions.py` runs it.
#![allow(missing_docs, clippy::expect_used, reason = "a benchmark may fail")]

use std::hint::black_box;
use std::sync::Arc;

use vmod_s3log::block::{BootId, ChunkEncoder, Codec, Drops};
use vmod_s3log::record::task::NoStructs;
use vmod_s3log::record::{Options, Program, TagTable};
use vmod_s3log::ring::{Backing, Capacity, Ring};
use vmod_s3log::spool::{ChunkStats, Memory, Options as SpoolOptions, Spool};

mod common;

const LINE: [u8; 200] = [b'x'; 200];

fn render(format: &str, count: usize) {
    let tags = TagTable::varnish_7();
    let log = common::log(&tags);
    let task = common::task(&log, &NoStructs);
    let program = Program::compile(format, &Options::default(), &tags).expect("a format");
    let mut out = Vec::with_capacity(4096);
    for _ in 0..count {
        out.clear();
        black_box(program.render(black_box(&task), &mut out));
    }
}

/// From a finished task's structs to the ring, which is emptied every 4096 lines.
fn task(count: usize) {
    let tags = TagTable::varnish_7();
    let (log, structs) = (common::log(&tags), common::Answered::new());
    let task = common::task(&log, &structs);
    let program = Program::compile(common::COMBINED, &Options::default(), &tags).expect("a format");
    let mut opened = Ring::open(Backing::Memory, Capacity::default()).expect("a ring");
    let mut out = Vec::with_capacity(4096);
    for at in 0..count {
        out.clear();
        black_box(program.render(black_box(&task), &mut out));
        opened.ring.push(&out).expect("room");
        if at % 4096 == 4095 {
            while opened.reader.next().is_some() {}
            opened.reader.commit(b"").expect("a commit");
        }
    }
}

/// Through the ring: pushed, read, and released in commits of 4096.
fn ring(read: bool, count: usize) {
    let mut opened = Ring::open(Backing::Memory, Capacity::default()).expect("a ring");
    for at in 0..count {
        opened.ring.push(black_box(&LINE)).expect("room");
        if read && at % 4096 == 4095 {
            while let Some(record) = opened.reader.next() {
                black_box(record);
            }
            opened.reader.commit(b"").expect("a commit");
        }
    }
}

/// A block of chunks of 4096 lines, compressed and sealed, and made one member of or not.
fn block(codec: Codec, one_member: bool, count: usize) {
    let lines = common::site_lines(2 << 20);
    let chunk: Vec<u8> =
        lines.split_inclusive(|byte| *byte == b'\n').take(4096).flatten().copied().collect();
    let mut options = SpoolOptions::new("access", "node", BootId::new(1_800_000_000, 1));
    options.codec = codec.kind();
    options.one_member = one_member.then_some(codec);
    let (mut spool, _) = Spool::open(Arc::new(Memory::default()), options, None).expect("a spool");
    let mut encoder = ChunkEncoder::new(codec).expect("an encoder");
    let stats =
        ChunkStats { records: 4096, raw_bytes: chunk.len() as u64, first: 1, last: 2, cut: 0 };
    let mut member = Vec::new();
    for _ in 0..count / 4096 {
        member.clear();
        encoder.encode(&chunk, &mut member).expect("a member");
        spool.append(&member, stats).expect("room");
    }
    let sealed = spool.seal(&Drops::default()).expect("a block");
    assert!(sealed.is_some_and(|(sealed, _)| sealed.kept_members.is_none()), "one member");
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let operation = arguments.next().unwrap_or_default();
    // Cargo's own `--bench` is no operation.
    let count = arguments.next().and_then(|text| text.parse().ok()).unwrap_or_default();
    match operation.as_str() {
        "combined" => render(common::COMBINED, count),
        "json" => render(common::JSON, count),
        "walk" => render("-", count),
        "task" => task(count),
        "push" => ring(false, count),
        "push-read" => ring(true, count),
        "gzip-many" => block(Codec::Gzip(3), false, count),
        "gzip-one" => block(Codec::Gzip(3), true, count),
        "zstd-many" => block(Codec::Zstd(3), false, count),
        "zstd-one" => block(Codec::Zstd(3), true, count),
        _ => {}
    }
}
