//! `upload_threads`: as many blocks are on their way at a time, and no more.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::common::gate::Gate;
use crate::common::moods::tag;
use crate::common::stream::Process;

const BLOCKS: usize = 8;

/// What the gateway saw: PUTs that are being answered now, the most of them at a time, all keys.
#[derive(Debug, Default)]
struct Seen {
    now: usize,
    most: usize,
    keys: Vec<String>,
}

#[derive(Debug, Default)]
struct Gateway {
    seen: Mutex<Seen>,
    changed: Condvar,
    /// Each PUT is held until so many are there, or the last one.
    together: usize,
}

/// A gateway that holds PUTs and then stores them.
fn gateway(together: usize) -> (SocketAddr, Arc<Gateway>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Arc::new(Gateway { together, ..Gateway::default() });
    let all = Arc::clone(&gateway);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let gateway = Arc::clone(&all);
            std::thread::spawn(move || while serve(&stream, &gateway).is_some() {});
        }
    });
    (address, gateway)
}

/// One request; `None` at the connection's end.
fn serve(mut stream: &TcpStream, gateway: &Gateway) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8(head).unwrap();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let length = length.parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let mut seen = gateway.seen.lock().unwrap();
    seen.keys.push(head.split(' ').nth(1).unwrap().to_owned());
    seen.now += 1;
    seen.most = seen.most.max(seen.now);
    gateway.changed.notify_all();
    let waits = |seen: &mut Seen| seen.now < gateway.together && seen.keys.len() < BLOCKS;
    let guard = Duration::from_secs(60);
    let (seen, late) = gateway.changed.wait_timeout_while(seen, guard, waits).unwrap();
    assert!(!late.timed_out(), "{seen:?}");
    drop(seen);
    // One more than may be there has the time to come.
    std::thread::sleep(Duration::from_millis(50));
    gateway.seen.lock().unwrap().now -= 1;
    let etag = tag(&body);
    stream
        .write_all(
            format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
        )
        .ok()
}

#[test]
fn as_many_blocks_are_uploaded_at_a_time_as_upload_threads_says() {
    for threads in [1, 2, 5] {
        let (address, gateway) = gateway(threads);
        let process = Process::new();
        let text = threads.to_string();
        let settings = [("period", "100ms"), ("upload_threads", text.as_str())];
        let gate = Gate::shut();
        let holder = process.attach(&gate.endpoint(), &settings);
        for block in 0..BLOCKS {
            holder.push("line", block..block + 1);
            holder.wait_stat("blocks_sealed", block as u64 + 1);
        }
        gate.open_to(address);
        // A reload wakes all of them at once.
        let again = process.attach(&gate.endpoint(), &settings);
        drop(holder);
        again.wait_stat("uploaded_records", BLOCKS as u64);
        let seen = gateway.seen.lock().unwrap();
        assert_eq!(seen.most, threads, "{seen:?}");
        let number = |key: &String| {
            let digits = key.rsplit('-').next().unwrap().split('.').next().unwrap();
            digits.parse::<usize>().unwrap()
        };
        let mut numbers: Vec<usize> = seen.keys.iter().map(number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=BLOCKS).collect::<Vec<_>>(), "each once");
    }
}
