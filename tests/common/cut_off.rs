//! An address in front of a server that lets so many requests through, and tells when there is one more:
//! for who kills the program that asks, which the bucket then has seen so much of, or lets it wait while
//! something else happens, or has it answered by somebody else.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A running one; its threads end with their connections.
#[derive(Debug)]
pub struct CutOff {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    most: u64,
    /// How the line of a request begins that is the first not to come through.
    first: &'static str,
    answer: Option<&'static [u8]>,
    let_through: AtomicU64,
    reached: AtomicBool,
    open: AtomicBool,
    asked: Mutex<Vec<String>>,
}

impl CutOff {
    /// Lets `most` requests through to `server`.
    pub fn after(most: u64, server: SocketAddr) -> Self {
        Self::start(most, "", server, None)
    }

    /// Lets through to `server` what comes before the first request of this method.
    pub fn before(method: &'static str, server: SocketAddr) -> Self {
        Self::start(0, method, server, None)
    }

    /// Lets `most` requests through to `server`, and answers the others with these bytes and the end of the
    /// connection.
    pub fn answering(most: u64, server: SocketAddr, answer: &'static [u8]) -> Self {
        Self::start(most, "", server, Some(answer))
    }

    fn start(
        most: u64,
        first: &'static str,
        server: SocketAddr,
        answer: Option<&'static [u8]>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            most,
            first,
            answer,
            let_through: AtomicU64::new(0),
            reached: AtomicBool::new(false),
            open: AtomicBool::new(false),
            asked: Mutex::new(Vec::new()),
        });
        let all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&all);
                std::thread::spawn(move || {
                    // Whoever was killed does not care.
                    let _ = shared.lead(&stream.unwrap());
                });
            }
        });
        Self { address, shared }
    }

    /// Lets through what waits, and all that comes.
    pub fn open(&self) {
        self.shared.open.store(true, Ordering::SeqCst);
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether there was a request more, which is not answered before [`CutOff::open`].
    pub fn is_reached(&self) -> bool {
        self.shared.reached.load(Ordering::SeqCst)
    }

    /// Requests that came through.
    pub fn count(&self) -> u64 {
        self.shared.let_through.load(Ordering::SeqCst)
    }

    /// The first line of each request that came, also of those that wait: `GET /bucket/key HTTP/1.1`.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Shared {
    /// Whether a request with this line may come through at once; counts it then.
    fn lets_through(&self, line: &str) -> bool {
        let other = !line.starts_with(self.first) && !self.reached.load(Ordering::SeqCst);
        let next = |through: u64| (other || through < self.most).then_some(through + 1);
        self.let_through.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok()
    }

    /// One request of a connection and its answer.
    fn lead(&self, client: &TcpStream) -> std::io::Result<()> {
        let mut input = BufReader::new(client.try_clone()?);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if input.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let line = head.lines().next().unwrap_or_default();
        self.asked.lock().unwrap().push(line.to_owned());
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<u64>().unwrap())
        });
        let mut body = Vec::new();
        (&mut input).take(length.unwrap_or(0)).read_to_end(&mut body)?;
        if !self.lets_through(line) {
            self.reached.store(true, Ordering::SeqCst);
            if let Some(answer) = self.answer {
                (&*client).write_all(answer)?;
                return client.shutdown(Shutdown::Both);
            }
            client.set_read_timeout(Some(Duration::from_millis(5)))?;
            while !self.open.load(Ordering::SeqCst) {
                match input.read(&mut [0]) {
                    Err(error)
                        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    // The client is gone.
                    ended => return ended.map(drop),
                }
            }
        }
        let mut behind = TcpStream::connect(self.server)?;
        // So that the end of the connection is the end of the answer.
        let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        behind.write_all(head.as_bytes())?;
        behind.write_all(&body)?;
        std::io::copy(&mut behind, &mut &*client)?;
        client.shutdown(Shutdown::Both)
    }
}
