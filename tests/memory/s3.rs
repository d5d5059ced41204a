//! Memory stays flat whatever a block's size: 1 GiB, or as many as `S3LOG_GIB` says (`make sizes`
//! takes the 5 that one PUT may have).

use std::io::{Read, Write};

use super::Alone;
use crate::common::s3_objects::{client, object};
use vmod_s3log::clock::System;
use vmod_s3log::s3::{Options, Outcome, PutObject};

fn size() -> u64 {
    let gib: u64 = std::env::var("S3LOG_GIB").map_or(1, |gib| gib.parse().unwrap());
    gib << 30
}

#[test]
fn a_block_of_gibibytes_takes_less_than_four_mebibytes_of_memory() {
    let alone = Alone::wait();
    let size = size();
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
            std::io::copy(&mut Read::by_ref(&mut stream).take(size), &mut std::io::sink()).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        body
    });
    let client = client(&endpoint, ("AK", "SK"), Options::default(), System::new());
    let grown = alone.growth(|| {
        let answer = object("k", b"", |object| {
            let open = || -> std::io::Result<Box<dyn Read>> {
                Ok(Box::new(std::io::repeat(7).take(size)))
            };
            client.put(&PutObject { len: size, open: &open, metadata: object.metadata, ..*object })
        });
        assert_eq!(answer.outcome, Outcome::Stored, "{answer}");
    });
    assert_eq!(sink.join().unwrap(), size);
    eprintln!("{} GiB sent, resident memory grew by {grown} KiB", size >> 30);
    assert!(grown < 4096, "{grown} KiB");
}
