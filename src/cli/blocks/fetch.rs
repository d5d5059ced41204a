//! The lines of many blocks, fetched in parallel and given in order.
//!
//! Each of a few threads decompresses one block into a short queue of pieces; the caller takes the
//! queues one after the other, and a thread whose queue is full waits. Memory for each thread, whatever
//! the blocks' sizes: 2 MiB and a decoder's window, or of a Parquet object 2 MiB and a row group, some 64 MiB: with
//! 64 jobs 4 GiB where as many objects are read at a time. A connection that breaks in the
//! middle of a block is made again, and what was given already is skipped.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;

use super::keys::Opener;
use super::list::FoundBlock;
use super::moved::{Moved, Places};
use super::parallel::{Breaks, in_order, patiently};
use super::select::gather;
use crate::block::{Decoder, KeyParts, Kind, sanitise};
use crate::cli::Error;
use crate::cli::compacted::{self, Form};
use crate::cli::terminal::Complaints;
use crate::s3::Outcome;

/// Bytes of a piece.
const PIECE: u64 = 256 * 1024;
/// Pieces that wait in a block's queue.
const QUEUE: usize = 8;

/// What is said of an object that is gone.
const MISSING: &str = "a manifest names it and it is not in the bucket; run s3log verify";

/// A place in the object's blocks, and lines of the block there.
type Piece = Result<(usize, Vec<u8>), Error>;

/// Blocks fetched at a time.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(in crate::cli) struct Jobs {
    /// Blocks to fetch in parallel, 1 to 64; each Parquet object takes some 64 MiB of memory.
    #[arg(long, short, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(in crate::cli) jobs: u8,
}

/// Gives the lines of `blocks` in their order, in pieces that end anywhere: `each` hears of every
/// piece with its block, and of a block's end with an empty piece. Blocks that follow one another in a
/// compacted object are read from it at once. A block that was compacted and deleted since it was listed is read
/// from the compacted object, together with the others that are there. One that is gone is said and passed over.
///
/// # Errors
/// The first of a block that cannot be read, after what could be, or that of `each`.
pub(in crate::cli) fn lines(
    blocks: &[FoundBlock<'_>],
    jobs: Jobs,
    keys: &Opener,
    complaints: &mut Complaints,
    mut each: impl FnMut(&FoundBlock<'_>, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut moved = Moved::default();
    let mut rest = Cow::Borrowed(blocks);
    loop {
        let mut done = 0;
        let places = match of(&rest, jobs, keys, &mut moved, &mut done, complaints, &mut each) {
            Ok(()) => return Ok(()),
            Err(Ended::Failed(error)) => return Err(error),
            Err(Ended::Moved(places)) => places,
        };
        rest = Cow::Owned(replaced(rest.get(done..).unwrap_or_default(), places));
    }
}

/// Those of `blocks` that are in `places` as these say, in order again.
fn replaced<'a>(blocks: &[FoundBlock<'a>], mut places: Places<'a>) -> Vec<FoundBlock<'a>> {
    let place = |block: &FoundBlock<'a>| {
        let moved = places.remove(&block.key).filter(|to| std::ptr::eq(to.source, block.source));
        moved.filter(|_| block.within.is_none()).unwrap_or_else(|| block.clone())
    };
    gather(blocks.iter().map(place).collect())
}

/// Why the lines of blocks end early.
enum Ended<'a> {
    Failed(Error),
    /// The next block is gone, and here is where its lines are.
    Moved(Places<'a>),
}

impl From<Error> for Ended<'_> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// [`lines`], until a block turns out to have been compacted; `done` counts the blocks before it.
fn of<'a>(
    blocks: &[FoundBlock<'a>],
    jobs: Jobs,
    keys: &Opener,
    moved: &mut Moved<'a>,
    done: &mut usize,
    complaints: &mut Complaints,
    mut each: impl FnMut(&FoundBlock<'_>, &[u8]) -> Result<(), Error>,
) -> Result<(), Ended<'a>> {
    let objects: Vec<&[FoundBlock<'_>]> = blocks.chunk_by(FoundBlock::precedes).collect();
    let work = |object: &&[FoundBlock<'_>], send: &Sender<Piece>| pump(object, keys, send);
    in_order(&objects, usize::from(jobs.jobs), QUEUE, work, |object, pieces| {
        let mut open = object.iter().peekable();
        for piece in pieces {
            let (place, bytes) = match piece {
                Ok(piece) => piece,
                Err(gone @ Error::Gone { .. }) => {
                    if let Some(found) = object.first() {
                        let places = moved.places(found)?;
                        if places.contains_key(&found.key) {
                            return Err(Ended::Moved(places));
                        }
                    }
                    complaints.say(&gone.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(found) = object.get(place) else { continue };
            while let Some(before) = open.next_if(|block| !std::ptr::eq(*block, found)) {
                each(before, &[])?;
            }
            each(found, &bytes)?;
        }
        open.try_for_each(|block| each(block, &[]))?;
        *done += object.len();
        Ok(())
    })
}

/// Why a block's lines end early.
enum Stop {
    /// Nobody wants them any more.
    Unwanted,
    /// The connection broke.
    Broken(io::Error),
    /// For good.
    Failed(Error),
}

fn pump(object: &[FoundBlock<'_>], keys: &Opener, send: &Sender<Piece>) {
    let Some(first) = object.first() else { return };
    let mut given = 0;
    let mut breaks = Breaks::default();
    loop {
        match attempt(object, first, keys, &mut given, send) {
            Ok(()) | Err(Stop::Unwanted) => return,
            Err(Stop::Broken(error)) => {
                if breaks.again() {
                    continue;
                }
                let _ = send.send(Err(unreadable(key(first), &error)));
                return;
            }
            Err(Stop::Failed(error)) => {
                let _ = send.send(Err(error));
                return;
            }
        }
    }
}

/// The key of the object that a block's lines are in.
fn key<'a>(found: &'a FoundBlock<'_>) -> &'a str {
    found.within.as_ref().map_or(&found.key, |within| &within.place.key)
}

fn unreadable(key: &str, problem: &impl ToString) -> Error {
    Error::Block { key: key.to_owned(), problem: problem.to_string() }
}

/// Fetches an object from its start and sends what comes after the first `given` bytes of its lines.
fn attempt(
    object: &[FoundBlock<'_>],
    first: &FoundBlock<'_>,
    keys: &Opener,
    given: &mut u64,
    send: &Sender<Piece>,
) -> Result<(), Stop> {
    let key = key(first);
    let broken = Arc::new(AtomicBool::new(false));
    let (seal, codec) = match &first.within {
        Some(within) => match within.place.form {
            Form::Lines(kind) => (within.place.seal, kind),
            Form::Columns => {
                let asked = object.iter().filter_map(|found| found.within.as_ref());
                let asked = asked.map(|within| within.block).collect();
                let lines = compacted::lines(first.source, &within.place, Some(asked));
                let lines = lines.map_err(|error| Stop::Failed(unreadable(key, &told(error))))?;
                return give(object, Holds::Asked, Box::new(lines), &broken, given, send);
            }
        },
        None => KeyParts::parse(key).map_or(("", Kind::None), |parts| (parts.seal, parts.codec)),
    };
    let got = patiently(|| first.source.client.get(key)).map_err(|answer| {
        let key = key.to_owned();
        Stop::Failed(match answer.outcome {
            Outcome::NoObject if first.within.is_some() => {
                Error::Block { key, problem: MISSING.to_owned() }
            }
            Outcome::NoObject if *given == 0 => Error::Gone { key },
            Outcome::NoObject => {
                Error::Block { key, problem: "deleted while it was being read".to_owned() }
            }
            _ => Error::gateway(format!("get {key}"), answer),
        })
    })?;
    let ours = sanitise(first.stream());
    let theirs = got.metadata.iter().find(|(name, _)| name == "stream");
    if first.within.is_none() && theirs.is_some_and(|(_, stream)| *stream != ours) {
        // `web-access` of host `a` and `access` of host `a-web` have keys of one shape.
        return Ok(());
    }
    let watched = Watched { inner: got.body, failed: Arc::clone(&broken) };
    let decoder = keys.open(seal, watched);
    let decoder = decoder.and_then(|source| Decoder::expecting(source, codec));
    let decoder = decoder.map_err(|error| stop(key, error, &broken))?;
    give(object, Holds::All, Box::new(decoder), &broken, given, send)
}

/// What is wrong with an object that a manifest names.
fn told(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => MISSING.to_owned(),
        _ => error.to_string(),
    }
}

/// Why lines end with an error.
fn stop(key: &str, error: io::Error, broken: &AtomicBool) -> Stop {
    // Relaxed: read after the source has failed, and for itself.
    match broken.load(Ordering::Relaxed) {
        true => Stop::Broken(error),
        false => Stop::Failed(unreadable(key, &error)),
    }
}

/// What a decoder gives.
#[derive(Debug, Clone, Copy)]
enum Holds {
    /// The lines of a block, or of all that are in a compacted object.
    All,
    /// The lines of the blocks that are asked for, one behind the other.
    Asked,
}

/// Sends what comes after the first `given` bytes of the lines.
fn give(
    object: &[FoundBlock<'_>],
    holds: Holds,
    mut decoder: Box<dyn Read + '_>,
    broken: &AtomicBool,
    given: &mut u64,
    send: &Sender<Piece>,
) -> Result<(), Stop> {
    let key = object.first().map(key).unwrap_or_default();
    let failed = |error| stop(key, error, broken);
    let (mut position, mut asked) = (0, 0u64);
    for (place, found) in object.iter().enumerate() {
        let (from, to) = match (&found.within, holds) {
            (Some(within), Holds::All) => (within.at, within.at.saturating_add(within.bytes)),
            (Some(within), Holds::Asked) => {
                let from = asked;
                asked = asked.saturating_add(within.bytes);
                (from, asked)
            }
            (None, _) => (0, u64::MAX),
        };
        let from = from.max(*given);
        if from > position {
            position += skip(&mut decoder, from - position).map_err(failed)?;
        }
        while position < to {
            let most = (to - position).min(PIECE);
            let mut piece = Vec::with_capacity(PIECE as usize);
            let read = Read::by_ref(&mut decoder).take(most).read_to_end(&mut piece);
            let ended = piece.is_empty();
            if !ended {
                position += piece.len() as u64;
                *given = position;
                send.send(Ok((place, piece))).map_err(|_| Stop::Unwanted)?;
            }
            read.map_err(failed)?;
            if ended {
                if found.within.is_none() {
                    return Ok(());
                }
                let text = "it ends before the lines that its manifest names; run s3log verify";
                return Err(Stop::Failed(unreadable(key, &text)));
            }
        }
    }
    Ok(())
}

/// Reads `bytes` bytes and forgets them; how many there were.
fn skip(source: &mut impl Read, bytes: u64) -> io::Result<u64> {
    io::copy(&mut source.take(bytes), &mut io::sink())
}

/// Knows whether it was the source that failed, and not what was made of it.
struct Watched<R> {
    inner: R,
    failed: Arc<AtomicBool>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        if read.as_ref().is_err_and(|e| e.kind() != io::ErrorKind::Interrupted) {
            // Relaxed: see stop().
            self.failed.store(true, Ordering::Relaxed);
        }
        read
    }
}
