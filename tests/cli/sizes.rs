//! Blocks of no, one and very many records, of many members: what `zcat` and `zstdcat` give of
//! them, `s3log cat` gives, and `s3log verify --deep` counts. 200,000 records, or as many as
//! `S3LOG_RECORDS` says (`make sizes` takes ten million).

use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::common::logs::Logs;
use crate::common::s3_server::BUCKET;
use vmod_s3log::block::Codec;

/// Records of a chunk, some 800 KiB of lines.
const CHUNK: u64 = 10_000;

fn many() -> u64 {
    std::env::var("S3LOG_RECORDS").map_or(200_000, |records| records.parse().unwrap())
}

/// The lines of a chunk; all of a block differ.
fn chunk(records: std::ops::Range<u64>) -> String {
    records
        .map(|n| format!("192.0.2.{} - - \"GET /page/{n} HTTP/1.1\" 200 {}\n", n % 256, n * 7919))
        .collect()
}

/// Coreutils' hash of what is written to it.
fn sha256sum() -> Child {
    Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn hash(sum: Child) -> String {
    let out = sum.wait_with_output().unwrap();
    String::from_utf8(out.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// The hash of a command's output.
fn hash_of(command: &mut Command) -> String {
    let mut sum = sha256sum();
    let child = command.stdout(sum.stdin.take().unwrap()).spawn();
    // The command's builder holds the pipe's end as well.
    command.stdout(Stdio::null());
    let status = child.unwrap().wait().unwrap();
    assert!(status.success(), "{command:?}: {status}");
    hash(sum)
}

fn blocks_of_every_size_are_read_back(codec: Codec, reader: &str) {
    let mut logs = Logs::start();
    logs.codec = codec;
    let sizes = [0, 1, many()];
    for records in sizes {
        let host = format!("of-{records}");
        let mut sum = sha256sum();
        let mut input = sum.stdin.take().unwrap();
        // A block of no records is one empty member.
        let chunks = (0..records.div_ceil(CHUNK).max(1)).map(|at| {
            let lines = chunk(at * CHUNK..records.min((at + 1) * CHUNK));
            input.write_all(lines.as_bytes()).unwrap();
            lines
        });
        let (key, meta) = logs.chunks("access", &host, 1, chunks);
        drop(input);
        let sent = hash(sum);
        assert_eq!(meta.records, records);
        let file = logs.server.root().join(BUCKET).join(key);
        let stored = std::fs::metadata(&file).unwrap().len();
        assert_eq!(hash_of(Command::new(reader).arg(&file)), sent, "{reader}, {records} records");
        let cat = ["cat", "access", "--host", &host];
        assert_eq!(hash_of(&mut logs.command(&cat)), sent, "s3log cat, {records} records");
        eprintln!("{records} records in {stored} bytes: {reader} and s3log cat give what was sent");
    }
    let ran = logs.s3log(&["verify", "--deep", "access", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = logs.s3log(&["verify", "--deep", "access"]);
    let counted: String =
        (1 + many()).to_string().as_bytes().rchunks(3).rev().fold(String::new(), |text, part| {
            let comma = if text.is_empty() { "" } else { "," };
            format!("{text}{comma}{}", std::str::from_utf8(part).unwrap())
        });
    let wanted = format!("complete: 3 blocks, {counted} records, 3 hosts; ");
    assert!(ran.out.contains(&wanted), "no {wanted:?} in {}", ran.out);
    eprintln!("{}", ran.out.lines().last().unwrap());
}

#[test]
fn gzip_blocks_of_every_size_are_what_zcat_reads() {
    blocks_of_every_size_are_read_back(Codec::Gzip(3), "zcat");
}

#[test]
fn zstd_blocks_of_every_size_are_what_zstdcat_reads() {
    blocks_of_every_size_are_read_back(Codec::Zstd(3), "zstdcat");
}
