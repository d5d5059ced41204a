//! A gateway that answers each request as a test says: any bytes, at any pace. Checks nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::kept::decoded;

/// What a request asks for.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// The key, percent-decoded; empty for the bucket itself.
    pub key: String,
    /// As it was sent.
    pub query: String,
    pub body: Vec<u8>,
}

/// What comes back.
#[derive(Debug, Clone)]
pub enum Reply {
    /// These bytes, head and body.
    Now(Vec<u8>),
    /// These bytes, then these one at a time for as long as the client listens.
    Drip(Vec<u8>, Duration),
    /// Nothing, for as long as the client waits.
    Silence,
}

/// A running gateway.
#[derive(Debug)]
pub struct Answering {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Answering {
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                std::thread::spawn(move || serve(stream.unwrap(), &*answer, &seen));
            }
        });
        Self { address, asked }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// An answer of a status, header lines and a body.
pub fn http(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn serve(
    mut stream: TcpStream,
    answer: &(dyn Fn(&Asked) -> Reply + Send + Sync),
    seen: &Mutex<Vec<Asked>>,
) {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if input.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<u64>().unwrap())
        });
        let mut body = Vec::new();
        if (&mut input).take(length.unwrap_or(0)).read_to_end(&mut body).is_err() {
            return;
        }
        let mut words = head.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // /bucket/key
        let key = path.splitn(3, '/').nth(2).map(decoded).unwrap_or_default();
        let asked = Asked { method, key, query: query.to_owned(), body };
        seen.lock().unwrap().push(asked.clone());
        match answer(&asked) {
            Reply::Now(bytes) => {
                let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
                let bytes = if asked.method == "HEAD" { &bytes[..end] } else { &bytes[..] };
                if stream.write_all(bytes).is_err() {
                    return;
                }
            }
            Reply::Drip(bytes, pause) => {
                if stream.write_all(&bytes).is_err() {
                    return;
                }
                while stream.write_all(b"x").is_ok() {
                    std::thread::sleep(pause);
                }
                return;
            }
            Reply::Silence => {
                let _ = input.read(&mut [0]);
                return;
            }
        }
    }
}
