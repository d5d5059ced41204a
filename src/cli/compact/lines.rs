//! A block's lines, once its bytes have the hash that its metadata says.
//!
//! A block is fetched whole, into memory or a temporary file, before a line of it is handed on; so a
//! connection that breaks costs a block's fetch and nothing else.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::path::Path;

use crossbeam_channel::Sender;

use super::scratch::Scratch;
use crate::block::{Decoder, Digest, Hasher, KeyParts, Kind, Meta};
use crate::cli::Error;
use crate::cli::blocks::{Breaks, FoundBlock, Opener, meta, patiently};
use crate::cli::settings::Source;
use crate::s3::Outcome;

/// Bytes of a block that are held in memory.
const HELD: u64 = 4 << 20;
/// Bytes of lines in a piece.
const PIECE: u64 = 256 * 1024;
/// Pieces that wait for each block.
pub(super) const QUEUE: usize = 8;

/// What comes of a block.
pub(super) enum Item {
    /// Its bytes have the hash that its metadata says; lines follow.
    Start(Box<Meta>),
    /// Some of its lines.
    Lines(Vec<u8>),
    /// There are no more, and they are what the metadata says.
    End(Box<Checked>),
    /// It is not what its metadata says: its lines are not to be used.
    Bad(String),
    /// It was listed, and is not there.
    Gone,
    /// Nothing can be said of it.
    Failed(Error),
}

/// A block that is what its metadata says.
pub(super) struct Checked {
    pub(super) meta: Meta,
    /// As it was in the bucket.
    pub(super) metadata: BTreeMap<String, String>,
    /// Of its lines.
    pub(super) lines: Digest,
}

/// A block's bytes as they are in the bucket.
enum Stored {
    Held(Vec<u8>),
    Filed(Scratch),
}

impl Stored {
    fn reader(self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Held(bytes) => Box::new(Cursor::new(bytes)),
            Self::Filed(scratch) => Box::new(scratch.reader()?),
        })
    }
}

/// Why there is no [`Checked`].
enum Stop {
    /// Nobody wants it any more.
    Unwanted,
    Item(Item),
}

/// Sends a block's lines and how they ended. One with a line of more than `longest` bytes is bad.
pub(super) fn pump(
    found: &FoundBlock<'_>,
    opener: &Opener,
    temp: &Path,
    longest: Option<usize>,
    send: &Sender<Item>,
) {
    let give = |item| send.send(item).map_err(|_| Stop::Unwanted);
    let last = match check(found.source, &found.key, opener, temp, longest, give) {
        Ok(checked) => Item::End(Box::new(checked)),
        Err(Stop::Unwanted) => return,
        Err(Stop::Item(item)) => item,
    };
    // Whoever does not listen any more has ended the work.
    let _ = send.send(last);
}

/// What is pumped of the block under `key`, without its lines.
///
/// # Errors
/// How it ended otherwise.
pub(super) fn checked(
    source: &Source,
    key: &str,
    opener: &Opener,
    temp: &Path,
) -> Result<Checked, Item> {
    check(source, key, opener, temp, None, |_| Ok(())).map_err(|stop| match stop {
        Stop::Item(item) => item,
        Stop::Unwanted => Item::Gone,
    })
}

fn check(
    source: &Source,
    key: &str,
    opener: &Opener,
    temp: &Path,
    longest: Option<usize>,
    mut give: impl FnMut(Item) -> Result<(), Stop>,
) -> Result<Checked, Stop> {
    let bad = |text: String| Stop::Item(Item::Bad(text));
    let failed =
        |problem: String| Stop::Item(Item::Failed(Error::Block { key: key.to_owned(), problem }));
    let (stored, sha256, len, metadata) = fetch(source, key, temp)?;
    let told = meta(&metadata).map_err(|error| bad(error.to_string()))?;
    if (sha256, len) != (told.sha256, told.bytes) {
        return Err(bad("the content is not what was sealed".to_owned()));
    }
    let parts = KeyParts::parse(key);
    let (seal, codec) = parts.map_or(("", Kind::None), |parts| (parts.seal, parts.codec));
    let stored = stored.reader().map_err(|error| failed(error.to_string()))?;
    let opened = opener.open(seal, stored).and_then(|body| Decoder::expecting(body, codec));
    let unusable = |error: io::Error| match error.kind() {
        // No key for it; with the right hash, whatever else is wrong was sealed so.
        io::ErrorKind::PermissionDenied => failed(error.to_string()),
        _ => bad(format!("the block cannot be decompressed: {error}")),
    };
    let mut decoder = opened.map_err(unusable)?;
    give(Item::Start(Box::new(told.clone())))?;
    let (mut hasher, mut records, mut bytes, mut ended) = (Hasher::default(), 0, 0, true);
    let mut begun = 0;
    loop {
        let mut piece = Vec::with_capacity(PIECE as usize);
        Read::by_ref(&mut decoder).take(PIECE).read_to_end(&mut piece).map_err(unusable)?;
        let Some(last) = piece.last() else { break };
        ended = *last == b'\n';
        hasher.update(&piece);
        records += memchr::memchr_iter(b'\n', &piece).count() as u64;
        bytes += piece.len() as u64;
        if bytes > told.raw_bytes {
            // Whatever else comes of it: it may be endless.
            let bytes = told.raw_bytes;
            return Err(bad(format!(
                "the metadata says {bytes} bytes of lines, but the block has more"
            )));
        }
        if let Some(longest) = longest
            && longest_line(&mut begun, &piece) > longest
        {
            return Err(bad(format!(
                "a line has more than {longest} bytes, the most that a Parquet object takes and no line of \
                 the module's has"
            )));
        }
        give(Item::Lines(piece))?;
    }
    if (records, bytes) != (told.records, told.raw_bytes) || !ended {
        return Err(bad(format!(
            "the metadata says {} records in {} bytes, but the block has {records} in {bytes}",
            told.records, told.raw_bytes
        )));
    }
    Ok(Checked { meta: told, metadata: metadata.into_iter().collect(), lines: hasher.digest() })
}

/// Bytes of the longest line in `piece`, whose first began `begun` bytes before it; then `begun` is what its
/// last has so far.
fn longest_line(begun: &mut usize, piece: &[u8]) -> usize {
    let (mut longest, mut start) = (0, 0);
    for end in memchr::memchr_iter(b'\n', piece) {
        longest = longest.max(std::mem::take(begun) + end - start);
        start = end + 1;
    }
    *begun += piece.len() - start;
    longest.max(*begun)
}

type Fetched = (Stored, Digest, u64, Vec<(String, String)>);

/// A block's bytes, their hash and length, and its metadata.
fn fetch(source: &Source, key: &str, temp: &Path) -> Result<Fetched, Stop> {
    let failed = |error| Stop::Item(Item::Failed(error));
    let mut breaks = Breaks::default();
    loop {
        let got = patiently(|| source.client.get(key)).map_err(|answer| match answer.outcome {
            Outcome::NoObject => Stop::Item(Item::Gone),
            _ => failed(Error::gateway(format!("get {key}"), answer)),
        })?;
        let mut body = got.body;
        let room = got.len.unwrap_or(0).min(HELD) + 1;
        let mut held = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
        let read = Read::by_ref(&mut body).take(HELD + 1).read_to_end(&mut held);
        let stored = match read {
            Ok(len) if (len as u64) <= HELD => {
                let (sha256, len) = (Digest::of(&held), len as u64);
                Ok((Stored::Held(held), sha256, len))
            }
            Ok(_) => spill(&held, body, temp).map(|scratch| {
                let (sha256, len) = (scratch.sha256(), scratch.len());
                (Stored::Filed(scratch), sha256, len)
            }),
            Err(error) => Err(Spill::Read(error)),
        };
        match stored {
            // Where the gateway gives no length, a connection that breaks looks like the end.
            Ok((stored, sha256, len)) if got.len.is_none_or(|all| all == len) => {
                return Ok((stored, sha256, len, got.metadata));
            }
            Err(Spill::Write(source)) => {
                let path = temp.display().to_string();
                return Err(failed(Error::File { path, source }));
            }
            broken => {
                if breaks.again() {
                    continue;
                }
                let problem = match broken {
                    Err(Spill::Read(error)) => format!("the connection failed: {error}"),
                    _ => "the connection ended early".to_owned(),
                };
                return Err(failed(Error::Block { key: key.to_owned(), problem }));
            }
        }
    }
}

/// Which end failed.
enum Spill {
    Read(io::Error),
    Write(io::Error),
}

/// What was read of a block and the rest of it, in a file.
fn spill(start: &[u8], mut rest: impl Read, temp: &Path) -> Result<Scratch, Spill> {
    let mut scratch = Scratch::new(temp).map_err(Spill::Write)?;
    scratch.write_all(start).map_err(Spill::Write)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match rest.read(&mut buffer) {
            Ok(0) => return Ok(scratch),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Spill::Read(error)),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        scratch.write_all(piece).map_err(Spill::Write)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_line_is_that_of_the_whole_wherever_pieces_end() {
        let text = b"ab\n\nabcdef\nabcd\nabcdefgh";
        for size in 1..=text.len() {
            let mut begun = 0;
            let most = |text: &[u8], begun: &mut usize| {
                text.chunks(size).map(|piece| longest_line(begun, piece)).max()
            };
            assert_eq!((most(text, &mut begun), begun), (Some(8), 8), "{size}");
            assert_eq!((most(&text[..16], &mut 0), size), (Some(6), size));
        }
    }
}
