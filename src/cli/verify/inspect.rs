//! One block: what it says of itself, and what it is.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::blocks::{FoundBlock, Opener, meta, patiently};
use super::signed::Signed;
use crate::block::{Decoder, Digest, Hasher, KeyParts, Kind, Meta};
use crate::s3::{Answer, Outcome};
use crate::seal::{self, Verifier};

/// What is needed to look at blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lens<'a> {
    pub(super) mode: Mode,
    /// Opens encrypted blocks.
    pub(super) opener: &'a Opener,
    /// Checks signatures.
    pub(super) keys: &'a [Verifier],
}

/// First bytes that are kept: those that tell what a content is.
const START: usize = 32;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Heads,
    Download,
    Deep,
}

/// A block that was looked at.
#[derive(Debug)]
pub(super) struct Inspected<'a> {
    pub(super) found: FoundBlock<'a>,
    /// What it says of itself; the text says why it says nothing.
    pub(super) meta: Result<Box<Meta>, String>,
    /// Bytes of the object.
    pub(super) len: u64,
    /// Of its bytes, if they were read.
    pub(super) content: Option<Digest>,
    /// They do not begin as the key's suffixes say.
    pub(super) misnamed: bool,
    /// Lines and their bytes, or why it cannot be decompressed; if that was tried, and there was a
    /// key.
    pub(super) lines: Option<Result<(u64, u64), String>>,
    /// Who vouches for the metadata.
    pub(super) signed: Signed,
    /// It could not be asked for.
    pub(super) unchecked: Option<String>,
    /// It was listed, and is not there.
    pub(super) gone: bool,
}

/// Looks at a block.
pub(super) fn inspect<'a>(found: &FoundBlock<'a>, lens: Lens<'_>) -> Inspected<'a> {
    let mut inspected = Inspected {
        found: found.clone(),
        meta: Err(String::new()),
        len: found.size,
        content: None,
        misnamed: false,
        lines: None,
        signed: Signed::Not,
        unchecked: None,
        gone: false,
    };
    let mut broken = None;
    // A connection that breaks within a body is made again; an answer is retried by itself.
    for _ in 0..4 {
        broken = None;
        let looked = if lens.mode == Mode::Heads {
            heads(&mut inspected, lens)
        } else {
            contents(&mut inspected, lens)
        };
        match looked {
            Ok(()) => break,
            Err(Trouble::Answer(answer)) if answer.outcome == Outcome::NoObject => {
                inspected.gone = true;
                break;
            }
            Err(Trouble::Answer(answer)) => {
                inspected.unchecked = Some(answer.to_string());
                break;
            }
            Err(Trouble::Broken(error)) => broken = Some(error),
        }
    }
    if let Some(error) = broken {
        inspected.unchecked = Some(format!("the connection failed: {error}"));
    }
    inspected
}

enum Trouble {
    Answer(Answer),
    Broken(io::Error),
}

fn heads(inspected: &mut Inspected<'_>, lens: Lens<'_>) -> Result<(), Trouble> {
    let FoundBlock { key, source, .. } = &inspected.found;
    let head = patiently(|| source.client.head(key)).map_err(Trouble::Answer)?;
    inspected.len = head.len.unwrap_or(inspected.found.size);
    inspected.told(&head.metadata, lens);
    Ok(())
}

fn contents(inspected: &mut Inspected<'_>, lens: Lens<'_>) -> Result<(), Trouble> {
    let FoundBlock { key, source, .. } = &inspected.found;
    let got = patiently(|| source.client.get(key)).map_err(Trouble::Answer)?;
    let key = key.clone();
    let parts = KeyParts::parse(&key);
    let (seal, codec) = parts.map_or(("", Kind::None), |parts| (parts.seal, parts.codec));
    // The decoder reads from one end, the hasher from the other.
    let mut body = Shared::new(Hashed::new(got.body));
    if lens.mode == Mode::Deep {
        let counted = lens.opener.open(seal, body.clone()).and_then(|body| lines(body, codec));
        inspected.lines = match counted {
            // Only the holder of the key can count.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            counted => Some(counted.map_err(|error| error.to_string())),
        };
    }
    inspected.told(&got.metadata, lens);
    // What the decoder did not want is part of the content, too.
    let rest = io::copy(&mut body, &mut io::sink());
    let (len, sha256, failed) = body.ended();
    if let Some(error) = failed.or(rest.err()) {
        return Err(Trouble::Broken(error));
    }
    inspected.len = len;
    inspected.content = Some(sha256);
    inspected.misnamed = !begins(seal, codec, &body.start());
    Ok(())
}

/// Whether a content that begins with `start` can be what a key says. Lines that are neither encrypted nor
/// compressed may be anything.
fn begins(seal: &str, codec: Kind, start: &[u8]) -> bool {
    match seal {
        _ if start.is_empty() => true,
        "" => codec == Kind::None || Kind::sniff(start) == codec,
        seal::SUFFIX => start.starts_with(b"age-encryption.org/"),
        // A packet's first bit, <https://www.rfc-editor.org/rfc/rfc9580#section-4.2>.
        _ => start.first().is_some_and(|byte| byte & 0x80 != 0) && Kind::sniff(start) == Kind::None,
    }
}

impl Inspected<'_> {
    /// Takes down what the metadata says.
    fn told(&mut self, metadata: &[(String, String)], lens: Lens<'_>) {
        self.meta = meta(metadata).map(Box::new).map_err(|error| error.to_string());
        self.signed = Signed::of(metadata, lens.keys);
        if let Ok(meta) = &mut self.meta {
            // Judged; there may be very many.
            meta.signature = None;
        }
    }
}

/// Newlines and bytes of what is in `body`.
fn lines(body: impl Read, codec: Kind) -> io::Result<(u64, u64)> {
    let mut decoder = Decoder::expecting(body, codec)?;
    let mut buffer = vec![0; 64 * 1024];
    let (mut lines, mut bytes) = (0, 0);
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return Ok((lines, bytes)),
            Ok(n) => {
                let got = buffer.get(..n).unwrap_or_default();
                lines += memchr::memchr_iter(b'\n', got).count() as u64;
                bytes += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A body that two read from, one after the other.
pub(super) struct Shared<R>(Arc<Mutex<Hashed<R>>>);

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> Shared<R> {
    pub(super) fn new(body: Hashed<R>) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// Length and hash of what was read, and what the source died of.
    pub(super) fn ended(&self) -> (u64, Digest, Option<io::Error>) {
        let mut hashed = self.lock();
        (hashed.len, hashed.hasher.digest(), hashed.failed.take())
    }

    /// The first bytes.
    fn start(&self) -> Vec<u8> {
        self.lock().start.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Hashed<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Read> Read for Shared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.lock().read(buffer)
    }
}

/// Hashes what is read through it, and remembers a failure of the source.
pub(super) struct Hashed<R> {
    inner: R,
    hasher: Hasher,
    len: u64,
    start: Vec<u8>,
    failed: Option<io::Error>,
}

impl<R> Hashed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hasher: Hasher::default(), len: 0, start: Vec::new(), failed: None }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(n) => {
                let got = buffer.get(..n).unwrap_or_default();
                self.hasher.update(got);
                self.len += n as u64;
                self.start.extend(got.iter().take(START - self.start.len().min(START)));
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let copy = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                Err(copy)
            }
        }
    }
}
