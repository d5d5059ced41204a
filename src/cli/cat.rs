//! `s3log cat`: the lines of streams.

use std::io::Write;
use std::process::ExitCode;

use super::Error;
use super::blocks::{Moved, Range, none_found, select};
use super::lines::Reading;
use super::terminal::Complaints;

/// Which blocks, and how their lines are printed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Blocks are ordered by the time of their first record; the lines of a block are \
                  printed as they were logged. Blocks are printed as a whole: --since and --until \
                  skip blocks without a record in the range."
)]
pub(super) struct CatArgs {
    #[command(flatten)]
    range: Range,
    #[command(flatten)]
    reading: Reading,
}

/// Writes every line of every block that was asked for.
///
/// # Errors
/// A setting, an answer of the gateway, a block that cannot be read, or the output.
pub(super) fn run(arguments: &CatArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let mut printer = arguments.reading.printer(out)?;
    let sources = arguments.reading.sources()?;
    let mut complaints = Complaints::default();
    let blocks = select(&sources, &arguments.range, &mut Moved::default(), &mut complaints)?;
    let before = complaints.count();
    printer.print(&blocks, 0, &mut complaints)?;
    // All that was listed may be of streams whose names end alike.
    let whole = arguments.range.is_all() && complaints.count() == before;
    for source in sources.iter().filter(|_| whole) {
        let stream = &source.settings.stream;
        if !printer.had(stream) && blocks.iter().any(|found| found.stream() == stream) {
            complaints.say(&format!("stream {stream}: {}", none_found(source)));
        }
    }
    Ok(complaints.code())
}
