//! `s3log ls` over very many blocks: page by page, in memory of so many bytes a block. 30,000
//! blocks, or as many as `S3LOG_BLOCKS` says. The listing is made up, in no order, as some
//! gateways give it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What S3 gives at most in one answer.
const PAGE: u64 = 1000;
/// Most resident bytes a block: src/cli/mod.rs tells of 260, and a vector that grows has spare room.
const A_BLOCK: u64 = 450;

fn blocks() -> u64 {
    std::env::var("S3LOG_BLOCKS").map_or(30_000, |blocks| blocks.parse().unwrap())
}

/// The key of the block at `place` in the listing; a stride through all of them.
fn key(place: u64, blocks: u64) -> String {
    let at = place * 7919 % blocks;
    let (day, second) = (1 + at / 86_400, at % 86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "varnish/2026/11/{day:02}/2026-11-{day:02}T{hour:02}-{minute:02}-{second:02}Z-edge-1-access\
         -6b032b6fd269-{:010}.log.gz",
        at + 1
    )
}

/// Answers ListObjectsV2 on one connection, for as long as it is asked.
fn answer(mut stream: TcpStream, blocks: u64, asked: &AtomicU64) {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if input.read_line(&mut request).unwrap_or(0) == 0 {
                return;
            }
        }
        asked.fetch_add(1, Ordering::SeqCst);
        if request.starts_with("HEAD ") {
            // A block's metadata, which says nothing.
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n").is_err() {
                return;
            }
            continue;
        }
        let compacted = request.contains("prefix=varnish%2Fcompact%2F");
        let token = request.split("continuation-token=").nth(1);
        let from: u64 = token.map_or(0, |rest| rest.split('&').next().unwrap().parse().unwrap());
        let to = (from + PAGE).min(blocks);
        let mut body = "<?xml version=\"1.0\"?><ListBucketResult>".to_owned();
        for place in if compacted { 0..0 } else { from..to } {
            let key = key(place, blocks);
            write!(body, "<Contents><Key>{key}</Key><Size>500</Size></Contents>").unwrap();
        }
        let more = !compacted && to < blocks;
        write!(body, "<IsTruncated>{more}</IsTruncated>").unwrap();
        if more {
            write!(body, "<NextContinuationToken>{to}</NextContinuationToken>").unwrap();
        }
        body.push_str("</ListBucketResult>");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()))
            .is_err()
        {
            return;
        }
    }
}

/// Peak resident memory of a process, bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Lists so many blocks: requests that it took, and the command's peak memory in bytes before the
/// last row. `unsorted` is as they are listed, else in the order of time.
fn list(blocks: u64, unsorted: bool) -> (u64, u64) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let count = Arc::clone(&count);
            std::thread::spawn(move || answer(stream.unwrap(), blocks, &count));
        }
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_s3log"))
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", "AK")
        .env("AWS_SECRET_ACCESS_KEY", "SK")
        .args(["ls", "--endpoint", &endpoint, "--bucket", "b", "--path", "varnish/%Y/%m/%d/"])
        .arg("access")
        .args(unsorted.then_some("--unsorted"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let mut rows = 0;
    let mut before = String::new();
    let mut memory = 0;
    while out.read_line(&mut line).unwrap() > 0 {
        // In order: all is listed, and the pipe holds the command up. Unsorted: the last page is.
        if rows == if unsorted { blocks - PAGE / 2 } else { 1 } {
            memory = peak(child.id());
        }
        if rows > 0 && rows <= blocks {
            let number: u64 = line.split_whitespace().nth(2).unwrap().parse().unwrap();
            let wanted = if unsorted { (rows - 1) * 7919 % blocks + 1 } else { rows };
            assert_eq!(number, wanted, "after {before}");
        }
        rows += 1;
        std::mem::swap(&mut before, &mut line);
        line.clear();
    }
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(rows, blocks + 2, "a heading, a line for each block, and the sum {before}");
    (asked.load(Ordering::SeqCst), memory)
}

#[test]
fn a_listing_in_no_order_is_paged_through_in_so_many_bytes_a_block() {
    let (few, base) = list(PAGE, false);
    // One page of blocks, what compaction has left, which is nothing, and a block of the boot.
    assert_eq!(few, 3);
    let blocks = blocks();
    let (requests, memory) = list(blocks, false);
    assert_eq!(requests, blocks.div_ceil(PAGE) + 2);
    let each = memory.saturating_sub(base) / blocks;
    let shown = memory >> 20;
    eprintln!("{blocks} blocks: {requests} requests, {shown} MiB resident, {each} bytes a block");
    assert!(each < A_BLOCK, "{each} bytes a block: {base} for {PAGE}, {memory} for {blocks}");
}

#[test]
fn unsorted_a_listing_takes_no_more_memory_for_more_blocks() {
    let (_, base) = list(2 * PAGE, true);
    let (requests, memory) = list(blocks(), true);
    assert_eq!(requests, blocks().div_ceil(PAGE) + 1);
    eprintln!(
        "{} blocks, unsorted: {} KiB resident, {} for 2,000",
        blocks(),
        memory >> 10,
        base >> 10
    );
    // All of them would be some 8 MiB; a kernel counts a MiB or two late.
    assert!(memory < base + (4 << 20), "{base} for 2,000 blocks, {memory} for {}", blocks());
}
