//! `s3log cat`: the lines of streams.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::bucket::Found;
use super::fetch::{self, Jobs};
use super::keys::Keys;
use super::select::{Range, select};
use super::settings::{Connection, Source};
use super::{Error, output};

/// Lines come block by block in the order of their first record's time, as they were logged.
/// Blocks are given as a whole: --since and --until leave out those without any record in the range.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The streams' names, those of the VCL objects; all of the settings file when none is given.
    streams: Vec<String>,
    #[command(flatten)]
    range: Range,
    #[command(flatten)]
    jobs: Jobs,
    #[command(flatten)]
    keys: Keys,
    /// One JSON object a line: stream, host, boot, block and line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Writes every line of every block that was asked for.
///
/// # Errors
/// A setting, an answer of the gateway, a block that cannot be read, or the output.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let keys = arguments.keys.read()?;
    let sources = Source::all(&arguments.connection, &arguments.streams)?;
    let blocks = select(&sources, &arguments.range)?;
    let mut lines = Lines::new(out, arguments.json);
    fetch::lines(&sources, &blocks, arguments.jobs, &keys, |found, piece| {
        lines.piece(&sources, found, piece)
    })?;
    lines.out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Writes pieces of blocks as they are, or line by line as JSON.
pub(super) struct Lines<'a> {
    pub(super) out: &'a mut dyn Write,
    json: bool,
    /// The start of a line whose end has not come yet.
    begun: Vec<u8>,
    /// Lines to be left out.
    pub(super) skip: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    host: Option<&'a str>,
    boot: String,
    block: u64,
    line: &'a str,
}

impl<'a> Lines<'a> {
    pub(super) fn new(out: &'a mut dyn Write, json: bool) -> Self {
        Self { out, json, begun: Vec::new(), skip: 0 }
    }

    /// Writes a piece of a block; an empty one ends the block.
    ///
    /// # Errors
    /// The output's.
    pub(super) fn piece(
        &mut self,
        sources: &[Source],
        found: &Found,
        mut piece: &[u8],
    ) -> Result<(), Error> {
        while self.skip > 0 && !piece.is_empty() {
            let Some(end) = memchr::memchr(b'\n', piece) else { return Ok(()) };
            piece = piece.get(end + 1..).unwrap_or_default();
            self.skip -= 1;
        }
        if !self.json {
            self.out.write_all(piece)?;
            return Ok(());
        }
        let stream = sources.get(found.source).map_or("", |source| &source.settings.stream);
        let ended = piece.is_empty();
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (line, rest) = piece.split_at(end);
            self.begun.extend_from_slice(line);
            self.line(stream, found)?;
            piece = rest.get(1..).unwrap_or_default();
        }
        self.begun.extend_from_slice(piece);
        if ended && !self.begun.is_empty() {
            self.line(stream, found)?;
        }
        Ok(())
    }

    fn line(&mut self, stream: &str, found: &Found) -> Result<(), Error> {
        let line = Line {
            stream,
            host: found.host.as_deref(),
            boot: found.boot.to_string(),
            block: found.number,
            // JSON has no bytes: what is not UTF-8 becomes U+FFFD.
            line: &String::from_utf8_lossy(&self.begun),
        };
        output::json(self.out, &line)?;
        self.begun.clear();
        Ok(())
    }
}
