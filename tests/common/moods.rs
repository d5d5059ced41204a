//! An S3 server whose answers are data: each bucket is a row of a table, hostile until it is told
//! to be friendly.
//!
//! A friendly bucket is S3 as far as the uploaders need it: PUT with `If-None-Match`, HEAD and GET,
//! kept in memory, with the MD5 of the body as the entity tag.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use md5::{Digest as _, Md5};

use super::kept::{self, Object};
use super::profiles::{self, Profile};

/// An answer, sent as it is with its length.
#[derive(Debug, Clone, Copy, Default)]
pub struct Say {
    pub status: &'static str,
    pub headers: &'static [(&'static str, &'static str)],
    pub body: &'static str,
}

impl Say {
    pub const fn new(status: &'static str, body: &'static str) -> Self {
        Self { status, headers: &[], body }
    }

    pub const fn with(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }
}

/// What a hostile bucket does with a request.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// Says this to every request and stores nothing.
    Say(Say),
    /// Says this to every PUT and stores nothing; is friendly to the rest.
    ToPut(Say),
    /// Says this after so many bytes of a PUT's body, and closes without reading the rest.
    After(usize, Say),
    /// Says this to a PUT that has the header; stores any other.
    With(&'static str, Say),
    /// Says this to a PUT that has none of the headers; stores any other.
    Without(&'static [&'static str], Say),
    /// Stores, and says so in this way. `{etag}` in a header is the entity tag.
    Stores(Say),
    /// Stores, and says so with this many short header lines.
    ManyHeaders(usize),
    /// Stores what it read with a bit flipped, and gives the tag of that.
    Flips,
    /// Stores and loses its first answer to each key: from then on the key is there. HEAD says
    /// this, as to one who may only write.
    WriteOnly(Say),
    /// Stores and loses its first answer to each key. Says this to whoever puts there again, and
    /// hides nothing from HEAD.
    WriteOnce(Say),
    /// Says this to a PUT of the bucket's first `n` keys; stores any other.
    FirstKeys(usize, Say),
    /// Answers each PUT twice in one go: once for it, once for nobody.
    Twice,
    /// Refuses with 403 and a clock that is wrong by these seconds, once; then stores.
    WrongDate(i64),
    /// Reads 1,000 bytes of the body and resets until asked with `Expect`, which it answers with
    /// 417; then stores what comes without it.
    ExpectationFailed,
    /// Says this to every PUT. Has another object under each key, and says nothing of its metadata.
    Taken(Say),
    /// Has stored it, answers 412, and leaves the metadata out of HEAD.
    Stripped,
    /// Takes what this gateway takes, and refuses the rest as it does.
    Like(Profile),
}

/// One request as it came.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub method: String,
    pub key: String,
    pub headers: BTreeMap<String, String>,
}

#[derive(Debug)]
struct BucketState {
    act: Act,
    hostile: bool,
    objects: HashMap<String, Object>,
    /// Keys in the order in which they were first put.
    keys: Vec<String>,
    seen: Vec<Seen>,
}

/// The server. Its threads end with the process.
#[derive(Debug, Clone)]
pub struct Moods {
    address: SocketAddr,
    buckets: Arc<Mutex<HashMap<String, BucketState>>>,
}

impl Moods {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let moods = Self { address: listener.local_addr().unwrap(), buckets: Arc::default() };
        let server = moods.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), server) = (stream, server.clone()) else { return };
                std::thread::spawn(move || server.serve(&stream));
            }
        });
        moods
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn bucket(&self, name: &str, act: Act) {
        let state = BucketState {
            act,
            hostile: true,
            objects: HashMap::new(),
            keys: Vec::new(),
            seen: Vec::new(),
        };
        self.buckets.lock().unwrap().insert(name.to_owned(), state);
    }

    pub fn befriend(&self, name: &str) {
        self.with(name, |bucket| bucket.hostile = false);
    }

    /// The bodies that are stored, by key.
    pub fn objects(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        self.with(name, |bucket| {
            let objects = bucket.objects.iter();
            objects.map(|(key, object)| (key.clone(), object.body.clone())).collect()
        })
    }

    pub fn seen(&self, name: &str) -> Vec<Seen> {
        self.with(name, |bucket| bucket.seen.clone())
    }

    /// How many PUTs came.
    pub fn puts(&self, name: &str) -> usize {
        self.with(name, |bucket| bucket.seen.iter().filter(|seen| seen.method == "PUT").count())
    }

    fn with<T>(&self, name: &str, look: impl FnOnce(&mut BucketState) -> T) -> T {
        look(self.buckets.lock().unwrap().get_mut(name).unwrap())
    }

    fn serve(&self, stream: &TcpStream) {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream);
        while let Some(seen) = read_head(&mut reader) {
            let mut path = seen.key.splitn(3, '/');
            let (_, bucket) = (path.next(), path.next().unwrap_or_default().to_owned());
            let key = path.next().unwrap_or_default().to_owned();
            let seen = Seen { key, ..seen };
            if !self.answer(&bucket, seen, &mut reader, stream) {
                return;
            }
        }
    }

    /// Whether the connection goes on.
    fn answer(
        &self,
        bucket: &str,
        seen: Seen,
        reader: &mut BufReader<&TcpStream>,
        mut stream: &TcpStream,
    ) -> bool {
        let length: usize =
            seen.headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let expects = seen.headers.contains_key("expect");
        let put = seen.method == "PUT";
        if !self.buckets.lock().unwrap().contains_key(bucket) {
            let _ = std::io::copy(&mut reader.take(length as u64), &mut std::io::sink());
            let body = "<Error><Code>NoSuchBucket</Code></Error>";
            let say = Say::new("404 Not Found", body);
            return stream.write_all(&reply(&say, "", seen.method == "HEAD")).is_ok();
        }
        let (act, hostile, place) = self.with(bucket, |state| {
            state.seen.push(seen.clone());
            if put && !state.keys.contains(&seen.key) {
                state.keys.push(seen.key.clone());
            }
            let place = state.keys.iter().position(|key| *key == seen.key);
            (state.act, state.hostile, place.unwrap_or(usize::MAX))
        });
        let again =
            self.with(bucket, |state| state.seen.iter().filter(|s| s.key == seen.key).count() > 1);
        if hostile && put {
            match act {
                Act::After(bytes, say) => {
                    let _ = std::io::copy(&mut reader.take(bytes as u64), &mut std::io::sink());
                    let _ = stream.write_all(&reply(&say, "", false));
                    return false;
                }
                Act::ExpectationFailed if expects => {
                    let say = Say::new("417 Expectation Failed", "");
                    let _ = stream.write_all(&reply(&say, "", false));
                    return false;
                }
                Act::ExpectationFailed if !again => {
                    let _ = std::io::copy(&mut reader.take(1000), &mut std::io::sink());
                    return false;
                }
                _ => {}
            }
        }
        if expects && stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
            return false;
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return false;
        }
        let friendly = || self.friendly(bucket, &seen, body.clone());
        if !hostile {
            return stream.write_all(&friendly()).is_ok();
        }
        let head = seen.method == "HEAD";
        let bytes = match act {
            Act::Say(say) => reply(&say, "", head),
            Act::ToPut(say) if put => reply(&say, "", head),
            Act::With(header, say) if put && seen.headers.contains_key(header) => {
                reply(&say, "", head)
            }
            Act::Without(headers, say)
                if put && !headers.iter().any(|name| seen.headers.contains_key(*name)) =>
            {
                reply(&say, "", head)
            }
            Act::FirstKeys(most, say) if put && place < most => reply(&say, "", head),
            Act::Stores(say) if put => {
                friendly();
                reply(&say, &tag(&body), head)
            }
            Act::ManyHeaders(count) if put => {
                friendly();
                let lines: String = (0..count).map(|n| format!("X-{n}: y\r\n")).collect();
                let etag = tag(&body);
                format!("HTTP/1.1 200 OK\r\n{lines}ETag: {etag}\r\nContent-Length: 0\r\n\r\n")
                    .into_bytes()
            }
            Act::Flips if put => {
                let mut flipped = body.clone();
                if let Some(byte) = flipped.first_mut() {
                    *byte ^= 1;
                }
                self.friendly(bucket, &seen, flipped)
            }
            Act::WriteOnly(_) | Act::WriteOnce(_) if put && !again => {
                friendly();
                return false;
            }
            Act::WriteOnce(say) if put => reply(&say, "", head),
            Act::WriteOnly(say) if !put => reply(&say, "", head),
            Act::Twice if put => {
                let once = friendly();
                [once.clone(), once].concat()
            }
            Act::WrongDate(seconds) if put && !again => {
                let date = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
                let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT");
                let body = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
                format!(
                    "HTTP/1.1 403 Forbidden\r\nDate: {date}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .into_bytes()
            }
            Act::Like(profile) if put => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                match profiles::refusal(profile, &seen, now) {
                    None => friendly(),
                    Some((status, code)) => {
                        let body = format!("<Error><Code>{code}</Code></Error>");
                        let length = body.len();
                        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
                            .into_bytes()
                    }
                }
            }
            Act::Taken(say) if put => reply(&say, "", head),
            Act::Taken(_) => {
                reply(&Say::new("200 OK", "other").with(&[("ETag", "\"0\"")]), "", head)
            }
            Act::Stripped if put => {
                friendly();
                reply(&Say::new("412 Precondition Failed", ""), "", head)
            }
            Act::Stripped => self.with(bucket, |state| {
                let body = state.objects.get(&seen.key).map(|object| object.body.clone());
                let body = body.unwrap_or_default();
                let (etag, length) = (tag(&body), body.len());
                format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: {length}\r\n\r\n")
                    .into_bytes()
            }),
            _ => friendly(),
        };
        stream.write_all(&bytes).is_ok()
    }

    fn friendly(&self, bucket: &str, seen: &Seen, body: Vec<u8>) -> Vec<u8> {
        self.with(bucket, |state| match seen.method.as_str() {
            "PUT"
                if seen.headers.contains_key("if-none-match")
                    && state.objects.contains_key(&seen.key) =>
            {
                let body = "<Error><Code>PreconditionFailed</Code></Error>";
                reply(&Say::new("412 Precondition Failed", body), "", false)
            }
            "PUT" => {
                let etag = tag(&body);
                let object = Object { body, headers: kept::of(&seen.headers) };
                state.objects.insert(seen.key.clone(), object);
                let say = Say::new("200 OK", "").with(&[("ETag", "{etag}")]);
                reply(&say, &etag, false)
            }
            "GET" if seen.key.contains('?') => kept::answer(&state.objects, &seen.key),
            method => match state.objects.get(&seen.key) {
                Some(object) => {
                    let mut head = format!(
                        "HTTP/1.1 200 OK\r\nETag: {}\r\nContent-Length: {}\r\n",
                        tag(&object.body),
                        object.body.len()
                    );
                    for (name, value) in &object.headers {
                        head.push_str(&format!("{name}: {value}\r\n"));
                    }
                    let mut bytes = (head + "\r\n").into_bytes();
                    if method == "GET" {
                        bytes.extend_from_slice(&object.body);
                    }
                    bytes
                }
                None => {
                    let body = "<Error><Code>NoSuchKey</Code></Error>";
                    reply(&Say::new("404 Not Found", body), "", method == "HEAD")
                }
            },
        })
    }
}

/// The entity tag that S3 gives to an object.
pub fn tag(body: &[u8]) -> String {
    let digest = Md5::digest(body);
    format!("\"{}\"", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn reply(say: &Say, etag: &str, head: bool) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {}\r\nContent-Length: {}\r\n", say.status, say.body.len());
    for (name, value) in say.headers {
        text.push_str(&format!("{name}: {}\r\n", value.replace("{etag}", etag)));
    }
    text.push_str("\r\n");
    if !head {
        text.push_str(say.body);
    }
    text.into_bytes()
}

/// A request's line and headers; its path stands in `key`.
fn read_head(reader: &mut BufReader<&TcpStream>) -> Option<Seen> {
    let mut seen = Seen::default();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let text = line.trim_end();
        if seen.method.is_empty() {
            let mut words = text.split(' ');
            seen.method = words.next()?.to_owned();
            seen.key = words.next()?.to_owned();
        } else if text.is_empty() {
            return Some(seen);
        } else if let Some((name, value)) = text.split_once(": ") {
            seen.headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
}
