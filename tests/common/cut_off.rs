//! An address in front of a server that lets so many requests through, and tells when there is one more:
//! for who kills the program that asks, which the bucket then has seen so much of, or lets it wait while
//! something else happens, or has it answered by somebody else.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A running one; its threads end with their connections.
#[derive(Debug)]
pub struct CutOff {
    address: SocketAddr,
    let_through: Arc<AtomicU64>,
    reached: Arc<AtomicBool>,
    open: Arc<AtomicBool>,
}

impl CutOff {
    /// Lets `most` requests through to `server`.
    pub fn after(most: u64, server: SocketAddr) -> Self {
        Self::start(most, server, None)
    }

    /// Lets `most` requests through to `server`, and answers the others with these bytes and the end of the
    /// connection.
    pub fn answering(most: u64, server: SocketAddr, answer: &'static [u8]) -> Self {
        Self::start(most, server, Some(answer))
    }

    fn start(most: u64, server: SocketAddr, answer: Option<&'static [u8]>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let let_through = Arc::new(AtomicU64::new(0));
        let reached = Arc::new(AtomicBool::new(false));
        let open = Arc::new(AtomicBool::new(false));
        let (count, over) = (Arc::clone(&let_through), Arc::clone(&reached));
        let opened = Arc::clone(&open);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (count, over) = (Arc::clone(&count), Arc::clone(&over));
                let opened = Arc::clone(&opened);
                std::thread::spawn(move || {
                    // Whoever was killed does not care.
                    let _ = lead(&stream.unwrap(), server, most, &count, &over, &opened, answer);
                });
            }
        });
        Self { address, let_through, reached, open }
    }

    /// Lets through what waits, and all that comes.
    pub fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether there was a request more, which is not answered before [`CutOff::open`].
    pub fn is_reached(&self) -> bool {
        self.reached.load(Ordering::SeqCst)
    }

    /// Requests that came through.
    pub fn count(&self) -> u64 {
        self.let_through.load(Ordering::SeqCst)
    }
}

/// One request of a connection and its answer.
fn lead(
    client: &TcpStream,
    server: SocketAddr,
    most: u64,
    count: &AtomicU64,
    reached: &AtomicBool,
    open: &AtomicBool,
    answer: Option<&[u8]>,
) -> std::io::Result<()> {
    let mut input = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if input.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<u64>().unwrap())
    });
    let mut body = Vec::new();
    (&mut input).take(length.unwrap_or(0)).read_to_end(&mut body)?;
    let next = |through: u64| (through < most).then_some(through + 1);
    if count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_err() {
        reached.store(true, Ordering::SeqCst);
        if let Some(answer) = answer {
            (&*client).write_all(answer)?;
            return client.shutdown(Shutdown::Both);
        }
        client.set_read_timeout(Some(Duration::from_millis(5)))?;
        while !open.load(Ordering::SeqCst) {
            match input.read(&mut [0]) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                // The client is gone.
                ended => return ended.map(drop),
            }
        }
    }
    let mut behind = TcpStream::connect(server)?;
    // So that the end of the connection is the end of the answer.
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    behind.write_all(head.as_bytes())?;
    behind.write_all(&body)?;
    std::io::copy(&mut behind, &mut &*client)?;
    client.shutdown(Shutdown::Both)
}
