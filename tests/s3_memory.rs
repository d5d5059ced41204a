//! Memory stays flat whatever a block's size. Alone in its process, so that nobody else's memory
//! is counted.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a test")]

mod common;

use std::io::{Read, Write};

use common::s3_objects::{client, object};
use vmod_s3log::clock::System;
use vmod_s3log::s3::{Options, Outcome, PutObject};

const SIZE: u64 = 1 << 30;

/// Peak resident memory of this process, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_block_of_one_gibibyte_takes_less_than_four_mebibytes_of_memory() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let sink = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let body =
            std::io::copy(&mut Read::by_ref(&mut stream).take(SIZE), &mut std::io::sink()).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        body
    });
    let client = client(&endpoint, ("AK", "SK"), Options::default(), System::new());
    let before = peak();
    let answer = object("k", b"", |object| {
        let open =
            || -> std::io::Result<Box<dyn Read>> { Ok(Box::new(std::io::repeat(7).take(SIZE))) };
        client.put(&PutObject { len: SIZE, open: &open, metadata: object.metadata, ..*object })
    });
    assert_eq!(answer.outcome, Outcome::Stored, "{answer}");
    assert_eq!(sink.join().unwrap(), SIZE);
    let grown = peak() - before;
    assert!(grown < 4096, "{grown} KiB");
}
