//! One block: what it says of itself, and what it is.

use std::io::{self, Read};

use super::super::bucket::Found;
use super::super::parallel::patiently;
use super::super::select::meta;
use super::super::settings::Source;
use crate::block::{Decoder, Digest, Hasher, KeyParts, Meta};
use crate::s3::{Answer, Outcome};

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Heads,
    Download,
    Deep,
}

/// A block that was looked at.
#[derive(Debug)]
pub(super) struct Inspected {
    pub(super) found: Found,
    /// What it says of itself; the text says why it says nothing.
    pub(super) meta: Result<Box<Meta>, String>,
    /// Bytes of the object.
    pub(super) len: u64,
    /// Of its bytes, if they were read.
    pub(super) content: Option<Digest>,
    /// Lines and their bytes, or why it cannot be decompressed; if that was tried.
    pub(super) lines: Option<Result<(u64, u64), String>>,
    /// It could not be asked for.
    pub(super) unchecked: Option<String>,
    /// It was listed, and is not there.
    pub(super) gone: bool,
}

/// Looks at a block.
pub(super) fn inspect(source: &Source, found: &Found, mode: Mode) -> Inspected {
    let mut inspected = Inspected {
        found: found.clone(),
        meta: Err(String::new()),
        len: found.size,
        content: None,
        lines: None,
        unchecked: None,
        gone: false,
    };
    let mut broken = None;
    // A connection that breaks within a body is made again; an answer is retried by itself.
    for _ in 0..4 {
        broken = None;
        let looked = if mode == Mode::Heads {
            heads(source, &mut inspected)
        } else {
            contents(source, &mut inspected, mode == Mode::Deep)
        };
        match looked {
            Ok(()) => break,
            Err(Trouble::Answer(answer)) if answer.outcome == Outcome::NoBucket => {
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
        inspected.unchecked = Some(format!("the connection broke: {error}"));
    }
    inspected
}

enum Trouble {
    Answer(Answer),
    Broken(io::Error),
}

fn heads(source: &Source, inspected: &mut Inspected) -> Result<(), Trouble> {
    let key = &inspected.found.key;
    let head = patiently(|| source.client.head(key)).map_err(Trouble::Answer)?;
    inspected.len = head.len.unwrap_or(inspected.found.size);
    inspected.meta = meta(&head.metadata).map(Box::new).map_err(|error| error.to_string());
    Ok(())
}

fn contents(source: &Source, inspected: &mut Inspected, deep: bool) -> Result<(), Trouble> {
    let key = &inspected.found.key;
    let got = patiently(|| source.client.get(key)).map_err(Trouble::Answer)?;
    inspected.meta = meta(&got.metadata).map(Box::new).map_err(|error| error.to_string());
    let sealed = KeyParts::parse(key).is_some_and(|parts| !parts.seal.is_empty());
    let mut body = Hashed { inner: got.body, hasher: Hasher::default(), len: 0, failed: None };
    if deep && !sealed {
        inspected.lines = Some(lines(&mut body).map_err(|error| error.to_string()));
    }
    // What the decoder did not want is part of the content, too.
    let rest = io::copy(&mut body, &mut io::sink());
    if let Some(error) = body.failed.or(rest.err()) {
        return Err(Trouble::Broken(error));
    }
    inspected.len = body.len;
    inspected.content = Some(body.hasher.digest());
    Ok(())
}

/// Newlines and bytes of what is in `body`.
fn lines(body: &mut impl Read) -> io::Result<(u64, u64)> {
    let mut decoder = Decoder::sniff(body)?;
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

/// Hashes what is read through it, and remembers a failure of the source.
struct Hashed<R> {
    inner: R,
    hasher: Hasher,
    len: u64,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(n) => {
                self.hasher.update(buffer.get(..n).unwrap_or_default());
                self.len += n as u64;
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
