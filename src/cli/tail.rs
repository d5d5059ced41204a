//! `s3log tail`: the last lines of streams, and with `-f` those that come.
//!
//! Following asks for the listing once a second: of the folders of the last hour, and once a
//! minute of the last day, for a node that was cut off uploads blocks that began long ago.

use std::collections::HashSet;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::Error;
use super::blocks::{self, FoundBlock, HEADS, Moved, Range, Told, filter, metas, select};
use super::lines::Reading;
use super::settings::Source;
use super::terminal::{Complaints, Progress, when};
use crate::block::{Meta, sanitise};

/// Between two looks at the newest folders.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at those of the last day.
const SWEEP: Duration = Duration::from_secs(60);

const HOUR: u64 = 3_600_000_000_000;

/// How many lines, of which blocks, and how they are printed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Lines are printed block by block. A line appears once its block is uploaded, at most \
                  `period` plus two seconds after the request. -f runs until it is interrupted or \
                  its output is closed."
)]
pub(super) struct TailArgs {
    /// Number of lines.
    #[arg(long, short = 'n', default_value_t = 10, value_name = "N")]
    lines: u64,
    /// Keep printing the lines of new blocks.
    #[arg(long, short)]
    follow: bool,
    /// Only blocks of this host; can be repeated.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    #[command(flatten)]
    reading: Reading,
}

/// Writes the last lines, and those that come if that is asked for.
///
/// # Errors
/// A setting, an answer of the gateway, a block that cannot be read, or the output.
pub(super) fn run(arguments: &TailArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let mut printer = arguments.reading.printer(out)?;
    let sources = &arguments.reading.sources()?[..];
    let mut complaints = Complaints::default();
    let hosts = Range { host: arguments.host.clone(), ..Range::default() };
    let listed = recent(sources, &mut complaints)?;
    let mut seen: HashSet<Box<str>> = listed.iter().map(|found| found.key.clone()).collect();
    let mut moved = Moved::default();
    let mut blocks = filter(listed, &hosts, Some(&mut moved), &mut complaints)?;
    let (mut start, mut records) =
        newest(&mut blocks, arguments.lines, &mut moved, &mut complaints)?;
    if records < arguments.lines && !arguments.follow {
        // The last day has too few; --follow is about what comes.
        blocks = select(sources, &hosts, &mut moved, &mut complaints)?;
        (start, records) = newest(&mut blocks, arguments.lines, &mut moved, &mut complaints)?;
    }
    drop(moved);
    let shown = blocks.get(start..).unwrap_or_default();
    printer.print(shown, records.saturating_sub(arguments.lines), &mut complaints)?;
    if !arguments.follow {
        return Ok(complaints.code());
    }
    let mut swept = Instant::now();
    loop {
        std::thread::sleep(LOOK);
        let sweep = swept.elapsed() >= SWEEP;
        if sweep {
            swept = Instant::now();
        }
        // --follow waits for the gateway to come back, however long that takes.
        let mut complaints = Complaints::default();
        let listed = match look(sources, if sweep { 24 } else { 1 }) {
            Ok(listed) => listed,
            Err(error) => {
                complaints.say(&format!("{error}; trying again"));
                continue;
            }
        };
        if sweep {
            // Older blocks are not listed any more, and need not be remembered.
            let still: HashSet<&str> = listed.iter().map(|found| &*found.key).collect();
            seen.retain(|key| still.contains(&**key));
        }
        let fresh: Vec<FoundBlock<'_>> =
            listed.into_iter().filter(|found| !seen.contains(&found.key)).collect();
        if fresh.is_empty() {
            continue;
        }
        let keys: Vec<_> = fresh.iter().map(|found| found.key.clone()).collect();
        let mut fresh = match filter(fresh, &hosts, Some(&mut Moved::default()), &mut complaints) {
            Ok(fresh) => fresh,
            Err(error) => {
                complaints.say(&format!("{error}; trying again"));
                continue;
            }
        };
        seen.extend(keys);
        fresh.sort_unstable();
        printer.print(&fresh, 0, &mut complaints)?;
    }
}

/// The blocks of the folders of the last `hours`.
fn look(sources: &[Source], hours: u64) -> Result<Vec<FoundBlock<'_>>, Error> {
    let progress = Progress::hidden();
    let mut all = Vec::new();
    for source in sources {
        all.append(&mut blocks::list(source, last(hours), &progress)?.found);
    }
    all.sort_unstable();
    Ok(all)
}

/// The same of the last day, with those that are there in compacted form only.
fn recent<'a>(
    sources: &'a [Source],
    complaints: &mut Complaints,
) -> Result<Vec<FoundBlock<'a>>, Error> {
    let mut all = Vec::new();
    for source in sources {
        all.append(&mut blocks::current(source, last(24), &Progress::hidden(), complaints)?);
    }
    all.sort_unstable();
    Ok(all)
}

/// From when to when blocks of the last `hours` begin; clocks differ.
fn last(hours: u64) -> (Option<u64>, u64) {
    let now = when::now();
    (Some(now.saturating_sub(hours * HOUR)), now.saturating_add(HOUR))
}

/// Where the newest blocks with at least `lines` records begin, and how many records these have.
fn newest<'a>(
    blocks: &mut [FoundBlock<'a>],
    lines: u64,
    moved: &mut Moved<'a>,
    complaints: &mut Complaints,
) -> Result<(usize, u64), Error> {
    let mut start = blocks.len();
    let mut records = 0u64;
    while records < lines && start > 0 {
        let from = start.saturating_sub(HEADS);
        let asked = blocks.get_mut(from..start).unwrap_or_default();
        let answers = metas(asked, Some(moved), complaints)?;
        for (found, told) in asked.iter().zip(answers).rev() {
            if records >= lines {
                break;
            }
            let ours = |meta: &Meta| meta.stream == sanitise(found.stream());
            records = records.saturating_add(match told {
                Told::Meta(meta) if ours(&meta) => meta.records,
                Told::Compacted { records, .. } => records,
                // One of another stream, whose key is of the same shape, is not printed.
                Told::Meta(_) | Told::Unreadable(_) | Told::Gone => 0,
            });
            start -= 1;
        }
    }
    Ok((start, records))
}
