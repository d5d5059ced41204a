//! Memory stays flat whatever a block's size: 1 GiB, or as many as `S3LOG_GIB` says (`make sizes`
//! takes the 5 that one PUT may have).

use std::io::{Read, Write};

use super::Alone;
use crate::common::s3_objects::{client, object};
use md5::Md5;
use sha2::{Digest, Sha256};
use vmod_s3log::clock::System;
use vmod_s3log::s3::{Options, Outcome, PutObject};

fn size() -> u64 {
    let gib: u64 = std::env::var("S3LOG_GIB").map_or(1, |gib| gib.parse().unwrap());
    gib << 30
}

/// The bytes of a stream, how many and their hash.
fn hash<D: Digest>(from: &mut dyn Read) -> (u64, Vec<u8>) {
    let (mut hash, mut bytes, mut buffer) = (D::new(), 0, vec![0; 64 * 1024]);
    loop {
        let read = from.read(&mut buffer).unwrap();
        if read == 0 {
            return (bytes, hash.finalize().to_vec());
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
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
        let (body, md5) = hash::<Md5>(&mut Read::by_ref(&mut stream).take(size));
        let etag: String = md5.iter().map(|byte| format!("{byte:02x}")).collect();
        let said = format!("HTTP/1.1 200 OK\r\nETag: \"{etag}\"\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(said.as_bytes()).unwrap();
        body
    });
    let (_, sha256) = hash::<Sha256>(&mut std::io::repeat(7).take(size));
    let sha256 = sha256.try_into().unwrap();
    let client = client(&endpoint, ("AK", "SK"), Options::default(), System::new());
    let grown = alone.growth(|| {
        let answer = object("k", b"", |object| {
            let open = || -> std::io::Result<Box<dyn Read>> {
                Ok(Box::new(std::io::repeat(7).take(size)))
            };
            client.put(&PutObject { len: size, sha256, open: &open, ..*object })
        });
        assert_eq!(answer.outcome, Outcome::Stored, "{answer}");
    });
    assert_eq!(sink.join().unwrap(), size);
    eprintln!("{} GiB sent, what is allocated grew by {grown} KiB", size >> 30);
    assert!(grown < 4096, "{grown} KiB");
}
