//! The lines of many blocks, fetched in parallel and given in order.
//!
//! Each of a few threads decompresses one block into a short queue of pieces; the caller takes the
//! queues one after the other, and a thread whose queue is full waits. Memory: 2 MiB and a
//! decoder's window for each thread, whatever the blocks' sizes. A connection that breaks in the
//! middle of a block is made again, and what was given already is skipped.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::keys::Opener;
use super::list::FoundBlock;
use super::parallel::patiently;
use crate::block::{Decoder, KeyParts, Kind, sanitise};
use crate::cli::Error;
use crate::cli::terminal::Complaints;
use crate::s3::Outcome;

/// Bytes of a piece.
const PIECE: usize = 256 * 1024;
/// Pieces that wait in a block's queue.
const QUEUE: usize = 8;
/// How often a connection may break within a block.
const BREAKS: u32 = 4;

type Piece = Result<Vec<u8>, Error>;

/// Blocks fetched at a time.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(in crate::cli) struct Jobs {
    /// Blocks to fetch in parallel, 1 to 64.
    #[arg(long, short, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(in crate::cli) jobs: u8,
}

/// Gives the lines of `blocks` in their order, in pieces that end anywhere: `each` hears of every
/// piece with its block, and of a block's end with an empty piece. A block that is gone is said and
/// passed over.
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
    let jobs = usize::from(jobs.jobs).min(blocks.len().max(1));
    let (tasks, waiting) = bounded::<(&FoundBlock<'_>, Sender<Piece>)>(jobs);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let waiting = waiting.clone();
            scope.spawn(move || {
                for (found, send) in waiting {
                    pump(found, keys, &send);
                }
            });
        }
        drop(waiting);
        // Owned by this closure: its end tells the threads that there is no more to do.
        let tasks = tasks;
        let mut ahead: VecDeque<(&FoundBlock<'_>, Receiver<Piece>)> = VecDeque::with_capacity(jobs);
        let mut left = blocks.iter();
        loop {
            while ahead.len() < jobs {
                let Some(found) = left.next() else { break };
                let (send, receive) = bounded(QUEUE);
                if tasks.send((found, send)).is_err() {
                    break;
                }
                ahead.push_back((found, receive));
            }
            let Some((found, pieces)) = ahead.pop_front() else { return Ok(()) };
            for piece in pieces {
                match piece {
                    Ok(piece) => each(found, &piece)?,
                    Err(gone @ Error::Gone { .. }) => complaints.say(&gone.to_string()),
                    Err(error) => return Err(error),
                }
            }
            each(found, &[])?;
        }
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

fn pump(found: &FoundBlock<'_>, keys: &Opener, send: &Sender<Piece>) {
    let mut given = 0;
    let mut breaks = 0;
    loop {
        match attempt(found, keys, &mut given, send) {
            Ok(()) | Err(Stop::Unwanted) => return,
            Err(Stop::Broken(_)) if breaks < BREAKS => {
                breaks += 1;
                std::thread::sleep(Duration::from_millis(200 << breaks));
            }
            Err(Stop::Broken(error)) => {
                let _ = send.send(Err(unreadable(found, &error)));
                return;
            }
            Err(Stop::Failed(error)) => {
                let _ = send.send(Err(error));
                return;
            }
        }
    }
}

fn unreadable(found: &FoundBlock<'_>, problem: &impl ToString) -> Error {
    Error::Block { key: found.key.to_string(), problem: problem.to_string() }
}

/// Fetches a block from its start and sends what comes after the first `given` bytes.
fn attempt(
    found: &FoundBlock<'_>,
    keys: &Opener,
    given: &mut u64,
    send: &Sender<Piece>,
) -> Result<(), Stop> {
    let parts = KeyParts::parse(&found.key);
    let (seal, codec) = parts.map_or(("", Kind::None), |parts| (parts.seal, parts.codec));
    let got = patiently(|| found.source.client.get(&found.key)).map_err(|answer| {
        let key = found.key.to_string();
        Stop::Failed(match answer.outcome {
            Outcome::NoObject if *given == 0 => Error::Gone { key },
            Outcome::NoObject => {
                Error::Block { key, problem: "deleted while it was being read".to_owned() }
            }
            _ => Error::Gateway { what: format!("get {key}"), answer },
        })
    })?;
    let ours = sanitise(found.stream());
    let theirs = got.metadata.iter().find(|(name, _)| name == "stream");
    if theirs.is_some_and(|(_, stream)| *stream != ours) {
        // `web-access` of host `a` and `access` of host `a-web` have keys of one shape.
        return Ok(());
    }
    let broken = Arc::new(AtomicBool::new(false));
    let watched = Watched { inner: got.body, failed: Arc::clone(&broken) };
    let mut skip = *given;
    // Relaxed: read after the source has failed, and for itself.
    let failed = |error: io::Error| match broken.load(Ordering::Relaxed) {
        true => Stop::Broken(error),
        false => Stop::Failed(unreadable(found, &error)),
    };
    let decoder = keys.open(seal, watched);
    let mut decoder =
        decoder.and_then(|source| Decoder::expecting(source, codec)).map_err(failed)?;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = Read::by_ref(&mut decoder).take(PIECE as u64).read_to_end(&mut piece);
        let whole = piece.len() as u64;
        let fresh = piece.split_off(usize::try_from(skip.min(whole)).unwrap_or(piece.len()));
        skip = skip.saturating_sub(whole);
        let ended = fresh.is_empty() && whole == 0;
        if !fresh.is_empty() {
            *given += fresh.len() as u64;
            send.send(Ok(fresh)).map_err(|_| Stop::Unwanted)?;
        }
        match read {
            Ok(_) if ended => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(failed(error)),
        }
    }
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
            // Relaxed: see attempt().
            self.failed.store(true, Ordering::Relaxed);
        }
        read
    }
}
