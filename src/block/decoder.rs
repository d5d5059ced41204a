//! A block back into lines, in bounded memory.
//!
//! [`Decoder`] reads a whole block as one stream of lines. [`members`] reports the members one by
//! one, which is how a block without its sidecar is mended: all members up to the first bad one
//! are good.
//!
//! Memory: 64 KiB of input, 140 KiB for snappy, and for zstd a window of at most 8 MiB, the most that any level up to
//! 19 asks for. A frame that asks for more is an error, so that an object made by somebody else
//! cannot take the reader's memory.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::{GzDecoder, MultiGzDecoder};
use snap::read::FrameDecoder;

use super::{Kind, snappy};

/// Bytes read at a time from the source, and bytes decoded at a time by [`members`].
const BUFFER: usize = 64 * 1024;

/// Largest zstd window that is decoded, as a power of two: level 19 uses 8 MiB.
const WINDOW_LOG_MAX: u32 = 23;

/// A line that ends with the file.
const NO_NEWLINE: &str = "a line without its newline";

/// The lines of a block, from any source of its stored bytes.
///
/// Members follow one another without a seam. No bytes at all are a block of no lines.
pub struct Decoder<R: Read> {
    inner: Inner<BufReader<R>>,
}

enum Inner<B: BufRead> {
    Gzip(Box<MultiGzDecoder<B>>),
    Zstd(Box<zstd::Decoder<'static, B>>),
    Snappy(Box<FrameDecoder<B>>),
    None(B),
}

impl<R: Read> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.inner {
            Inner::Gzip(_) => Kind::Gzip,
            Inner::Zstd(_) => Kind::Zstd,
            Inner::Snappy(_) => Kind::Snappy,
            Inner::None(_) => Kind::None,
        };
        f.debug_struct("Decoder").field("kind", &kind).finish_non_exhaustive()
    }
}

impl<R: Read> Decoder<R> {
    /// Decodes `source` as `kind`.
    ///
    /// # Errors
    /// When the first bytes cannot be read or zstd has no memory.
    pub fn new(source: R, kind: Kind) -> io::Result<Self> {
        let mut source = BufReader::with_capacity(BUFFER, source);
        // gzip's decoder takes an empty source for a cut one.
        let empty = retry_interrupted(&mut source)?.is_empty();
        let inner = match kind {
            Kind::Gzip if !empty => Inner::Gzip(Box::new(MultiGzDecoder::new(source))),
            Kind::Zstd if !empty => {
                let mut decoder = zstd::Decoder::with_buffer(source)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Inner::Zstd(Box::new(decoder))
            }
            Kind::Snappy => Inner::Snappy(Box::new(FrameDecoder::new(source))),
            Kind::Gzip | Kind::Zstd | Kind::None => Inner::None(source),
        };
        Ok(Self { inner })
    }

    /// Decodes `source` as `kind`, which its name or its metadata promises, and as nothing else.
    ///
    /// # Errors
    /// As [`Decoder::new`], and [`io::ErrorKind::InvalidData`] when its first bytes say that it is
    /// something else.
    pub(crate) fn expecting(
        mut source: R,
        kind: Kind,
    ) -> io::Result<Decoder<io::Chain<io::Cursor<Vec<u8>>, R>>> {
        let mut start = Vec::with_capacity(4);
        Read::by_ref(&mut source).take(4).read_to_end(&mut start)?;
        let found = Kind::sniff(&start);
        if found != kind && !start.is_empty() {
            let said = |kind| match kind {
                Kind::None => "uncompressed".to_owned(),
                kind => format!("{kind} data"),
            };
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the content is not what the name says: expected {}, found {}",
                    said(kind),
                    match found {
                        Kind::None => "none of the known formats".to_owned(),
                        found => said(found),
                    }
                ),
            ));
        }
        Decoder::new(io::Cursor::new(start).chain(source), kind)
    }

    /// Decodes `source` as what its first bytes say it is.
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn sniff(mut source: R) -> io::Result<Decoder<io::Chain<io::Cursor<Vec<u8>>, R>>> {
        let mut start = Vec::with_capacity(4);
        Read::by_ref(&mut source).take(4).read_to_end(&mut start)?;
        let kind = Kind::sniff(&start);
        Decoder::new(io::Cursor::new(start).chain(source), kind)
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Gzip(decoder) => decoder.read(out),
            Inner::Zstd(decoder) => decoder.read(out),
            Inner::Snappy(decoder) => decoder.read(out),
            Inner::None(source) => source.read(out),
        }
    }
}

/// One member as [`members`] found it, whole and with a right check value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its length as stored, bytes.
    pub stored: u64,
    /// Its length decoded, bytes.
    pub raw: u64,
    /// Newlines in it, which is records: a record holds exactly one, at its end.
    pub lines: u64,
}

/// Reports the good members of a block from its start, and returns why it stopped: `None` at the
/// end of the source, else what is wrong with the next member.
///
/// Of [`Kind::None`], which has no members, each whole line is one. A snappy stream has no mark at
/// its end: of a torn one, what reaches to the end of a line is a member.
///
/// # Errors
/// Only when the source cannot be read.
pub fn members<R: Read>(
    source: R,
    kind: Kind,
    mut each: impl FnMut(Member),
) -> io::Result<Option<String>> {
    let mut source =
        Counted { inner: BufReader::with_capacity(BUFFER, source), taken: 0, failed: None };
    let mut scratch = vec![0; BUFFER];
    loop {
        if retry_interrupted(&mut source)?.is_empty() {
            return Ok(None);
        }
        let start = source.taken;
        let read = match kind {
            Kind::Gzip => drain(&mut GzDecoder::new(&mut source), &mut scratch).map(Some),
            Kind::Zstd => checked_frame(&mut source).and_then(|head| {
                let mut decoder = zstd::Decoder::with_buffer(head.chain(&mut source))?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                drain(&mut decoder.single_frame(), &mut scratch).map(Some)
            }),
            Kind::Snappy => {
                let mut reached = None;
                let read = drain_frames(&mut source, &mut scratch, &mut reached);
                if let (Some(member), None) = (reached, &source.failed) {
                    each(member);
                }
                read.map(|()| None)
            }
            Kind::None => line(&mut source).map(Some),
        };
        // The decoders pass a failure of the source on; it is not the member's fault.
        if let Some(error) = source.failed.take() {
            return Err(error);
        }
        match read {
            Ok(Some((raw, lines))) => each(Member { stored: source.taken - start, raw, lines }),
            Ok(None) => {}
            Err(error) => return Ok(Some(error.to_string())),
        }
    }
}

/// The start of a zstd frame, if it says that the frame has a check value (RFC 8878, 3.1.1.1.1). All
/// of ours have one; torn bytes that look like a frame without one would be taken for lines.
fn checked_frame(source: &mut impl Read) -> io::Result<io::Cursor<[u8; 5]>> {
    let mut head = [0; 5];
    source.read_exact(&mut head)?;
    let [.., descriptor] = head;
    if descriptor & 0b100 == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame without a check value"));
    }
    Ok(io::Cursor::new(head))
}

/// Reads to the end of a member; its bytes and its newlines.
fn drain(member: &mut impl Read, scratch: &mut [u8]) -> io::Result<(u64, u64)> {
    let (mut raw, mut lines) = (0, 0);
    loop {
        match member.read(scratch) {
            Ok(0) => return Ok((raw, lines)),
            Ok(n) => {
                raw += n as u64;
                let got = scratch.get(..n).unwrap_or_default();
                lines += memchr::memchr_iter(b'\n', got).count() as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads to the end of a snappy stream; `reached` is its last place behind which a line ended.
fn drain_frames<B: BufRead>(
    source: &mut Counted<B>,
    scratch: &mut [u8],
    reached: &mut Option<Member>,
) -> io::Result<()> {
    let start = source.taken;
    let mut decoder = FrameDecoder::new(snappy::Member::new(source));
    let (mut raw, mut lines, mut ended) = (0, 0, true);
    loop {
        // Never more than one frame, and it is taken from the source in whole.
        let read = match decoder.read(scratch) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let got = scratch.get(..read).unwrap_or_default();
        raw += read as u64;
        lines += memchr::memchr_iter(b'\n', got).count() as u64;
        ended = got.last().map_or(ended, |byte| *byte == b'\n');
        if ended {
            let stored = decoder.get_ref().source.taken - start;
            *reached = Some(Member { stored, raw, lines });
        }
        if read == 0 {
            return if ended {
                Ok(())
            } else {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, NO_NEWLINE))
            };
        }
    }
}

/// Takes one line, newline included, without keeping it.
fn line(source: &mut impl BufRead) -> io::Result<(u64, u64)> {
    let mut raw = 0;
    loop {
        let got = retry_interrupted(source)?;
        if got.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, NO_NEWLINE));
        }
        let (used, ended) = match memchr::memchr(b'\n', got) {
            Some(at) => (at + 1, true),
            None => (got.len(), false),
        };
        source.consume(used);
        raw += used as u64;
        if ended {
            return Ok((raw, 1));
        }
    }
}

fn retry_interrupted(source: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match source.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    source.fill_buf()
}

/// Knows how many bytes were taken from it, and whether it was the source that failed.
struct Counted<B> {
    inner: B,
    taken: u64,
    failed: Option<io::Error>,
}

impl<B: BufRead> BufRead for Counted<B> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.inner.fill_buf() {
            Ok(got) => Ok(got),
            Err(error) => {
                let copy = io::Error::new(error.kind(), error.to_string());
                if error.kind() != io::ErrorKind::Interrupted {
                    self.failed = Some(error);
                }
                Err(copy)
            }
        }
    }

    fn consume(&mut self, amount: usize) {
        self.taken += amount as u64;
        self.inner.consume(amount);
    }
}

impl<B: BufRead> Read for Counted<B> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let got = self.fill_buf()?;
        let n = got.len().min(out.len());
        if let (Some(from), Some(to)) = (got.get(..n), out.get_mut(..n)) {
            to.copy_from_slice(from);
        }
        self.consume(n);
        Ok(n)
    }
}
