//! A gateway that plays a script: one connection an entry, over plain TCP.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the gateway does on one connection.
#[derive(Debug, Clone)]
pub enum Play {
    /// Reads the whole request, sends these bytes and closes.
    Say(String),
    /// Reads the whole request, and answers as S3 does to one who stores.
    Store,
    /// Sends these bytes once it has the headers, and then does as [`Play::Store`] does.
    StoreAfter(String),
    /// Sends these bytes before it has read anything, and closes.
    Greet(String),
    /// Answers `Expect: 100-continue` with these bytes; without that header resets the
    /// connection after the first bytes of the body.
    SayIfAsked(String),
    /// Sends these bytes without reading any of the body, with or without `Expect`, and keeps the
    /// connection open.
    SayUnread(String),
    /// Reads this many bytes of the body and resets the connection.
    Reset(usize),
    /// Reads the whole request and never answers.
    Silence,
    /// Reads the request, then sends one byte of these every 100 ms.
    Drip(String),
    /// Reads the request, sends the first text at once, and so many bytes of the second one every 100 ms.
    Slowly(String, String, usize),
    /// Reads the request, sends these bytes and then `x` for ever.
    Endless(String),
}

/// An HTTP answer that closes its connection.
pub fn reply(status: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("Connection: close\r\n\r\n");
    text.push_str(body);
    text
}

/// An S3 error document.
pub fn error(code: &str, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code>\
         <Message>{message}</Message><RequestId>REQ-1</RequestId></Error>"
    )
}

/// The script's player. Ends with its script; a client that comes later is refused.
#[derive(Debug)]
pub struct Fake {
    address: SocketAddr,
    requests: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub fn start(script: Vec<Play>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub fn on(listener: TcpListener, script: Vec<Play>) -> Self {
        let address = listener.local_addr().unwrap();
        let (sender, requests) = channel();
        let thread = std::thread::spawn(move || {
            let mut silent = Vec::new();
            for play in script {
                let Ok((mut stream, _)) = listener.accept() else { return };
                // A guard against a hang, as the one on writes below.
                stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
                let request = perform(&play, &mut stream);
                if sender.send(request).is_err() {
                    return;
                }
                if matches!(play, Play::Silence | Play::SayUnread(_)) {
                    silent.push(stream);
                }
            }
        });
        Self { address, requests, thread: Some(thread) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the clients sent, in order, after the script has ended.
    pub fn requests(mut self) -> Vec<String> {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.requests.iter().map(|r| String::from_utf8_lossy(&r).into_owned()).collect()
    }
}

/// Sends so many bytes every 100 ms, until nobody takes them.
fn drip(stream: &mut TcpStream, text: &str, bytes: usize) {
    for piece in text.as_bytes().chunks(bytes) {
        std::thread::sleep(Duration::from_millis(100));
        if stream.write_all(piece).is_err() {
            break;
        }
    }
}

fn perform(play: &Play, stream: &mut TcpStream) -> Vec<u8> {
    if let Play::Greet(text) = play {
        let _ = stream.write_all(text.as_bytes());
        return Vec::new();
    }
    let mut request = Vec::new();
    let mut byte = [0; 1];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return request,
        }
    }
    if let Play::StoreAfter(text) = play {
        let _ = stream.write_all(text.as_bytes());
    }
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.trim().parse().unwrap());
    let asks = head.contains("expect: 100-continue");
    let mut body = |most: usize| {
        let mut left = most.min(length);
        let mut buffer = [0; 65536];
        while left > 0 {
            let room = left.min(buffer.len());
            match stream.read(&mut buffer[..room]) {
                Ok(read) if read > 0 => {
                    request.extend_from_slice(&buffer[..read]);
                    left -= read;
                }
                _ => break,
            }
        }
    };
    match play {
        Play::Say(text) => {
            body(usize::MAX);
            let _ = stream.write_all(text.as_bytes());
        }
        Play::Store | Play::StoreAfter(_) => {
            body(usize::MAX);
            let start = request.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
            let etag = super::moods::tag(&request[start..]);
            let _ = stream.write_all(reply("200 OK", &[("ETag", &etag)], "").as_bytes());
        }
        Play::Greet(_) => (),
        Play::SayUnread(text) => {
            let _ = stream.write_all(text.as_bytes());
        }
        Play::SayIfAsked(text) if asks => {
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
        }
        Play::SayIfAsked(_) => body(1000),
        Play::Reset(bytes) => body(*bytes),
        Play::Silence => body(usize::MAX),
        Play::Drip(text) => {
            body(usize::MAX);
            drip(stream, text, 1);
        }
        Play::Slowly(head, text, bytes) => {
            body(usize::MAX);
            let _ = stream.write_all(head.as_bytes());
            drip(stream, text, *bytes);
        }
        Play::Endless(text) => {
            body(usize::MAX);
            let _ = stream.write_all(text.as_bytes());
            stream.set_write_timeout(Some(Duration::from_secs(120))).unwrap();
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        }
    }
    // Dropping a socket with unread bytes resets the connection.
    request
}
