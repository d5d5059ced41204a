//! What `cat` and `tail` share: whose lines, how they are fetched, and in which form they are
//! printed.

use std::collections::HashSet;
use std::io::{IsTerminal as _, Write};

use serde::Serialize;

use super::Error;
use super::blocks::{self, FoundBlock, Jobs, Keys, Opener};
use super::settings::{Connection, Source};
use super::terminal::{Complaints, output};
use crate::printable::printable;

/// Whose lines, how and in which form. Flattened last: its settings have a heading of their own.
#[derive(Debug, clap::Args)]
pub(super) struct Reading {
    /// Stream names as in VCL. Default: all streams in the settings file.
    streams: Vec<String>,
    #[command(flatten)]
    jobs: Jobs,
    #[command(flatten)]
    keys: Keys,
    /// Print one JSON object per line: stream, host, boot, block and line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Reading {
    /// The streams that were named; nothing is asked of a gateway yet.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub(super) fn sources(&self) -> Result<Vec<Source>, Error> {
        Source::all(&self.connection, &self.streams)
    }

    /// What prints their lines.
    ///
    /// # Errors
    /// A key file that cannot be used.
    pub(super) fn printer<'a>(&self, out: &'a mut dyn Write) -> Result<Printer<'a>, Error> {
        let keys = self.keys.read()?;
        let lines = Lines::new(out, self.json);
        Ok(Printer { jobs: self.jobs, keys, lines, streams: HashSet::new() })
    }
}

/// Fetches blocks and writes their lines.
pub(super) struct Printer<'a> {
    jobs: Jobs,
    keys: Opener,
    lines: Lines<'a>,
    /// Names of streams that had a line.
    streams: HashSet<String>,
}

impl Printer<'_> {
    /// Writes the lines of `blocks` in their order, without the first `skip` of the first block.
    ///
    /// # Errors
    /// A block that cannot be read, or the output.
    pub(super) fn print(
        &mut self,
        blocks: &[FoundBlock<'_>],
        skip: u64,
        complaints: &mut Complaints,
    ) -> Result<(), Error> {
        let Self { jobs, keys, lines, streams } = self;
        lines.skip = skip;
        blocks::lines(blocks, *jobs, keys, complaints, |found, piece| {
            if !piece.is_empty() && !streams.contains(found.stream()) {
                streams.insert(found.stream().to_owned());
            }
            lines.piece(found, piece)
        })?;
        lines.skip = 0;
        lines.out.flush()?;
        Ok(())
    }

    /// Whether a block of this stream had a line so far.
    pub(super) fn had(&self, stream: &str) -> bool {
        self.streams.contains(stream)
    }
}

/// How lines are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As they were logged, byte for byte.
    Raw,
    /// The same on a terminal: whoever can write to the bucket may have put anything there.
    Shown,
    Json,
}

/// Writes pieces of blocks as they are, or line by line.
struct Lines<'a> {
    out: &'a mut dyn Write,
    form: Form,
    /// The start of a line whose end has not come yet.
    begun: Vec<u8>,
    /// Lines of this block to be left out.
    skip: u64,
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
    fn new(out: &'a mut dyn Write, json: bool) -> Self {
        let form = match (json, std::io::stdout().is_terminal()) {
            (true, _) => Form::Json,
            (false, true) => Form::Shown,
            (false, false) => Form::Raw,
        };
        Self { out, form, begun: Vec::new(), skip: 0 }
    }

    /// Writes a piece of a block; an empty one ends the block.
    ///
    /// # Errors
    /// The output's.
    fn piece(&mut self, found: &FoundBlock<'_>, mut piece: &[u8]) -> Result<(), Error> {
        let ended = piece.is_empty();
        if ended {
            // What a block's metadata says of its records costs no other block a line.
            self.skip = 0;
        }
        while self.skip > 0 && !piece.is_empty() {
            let Some(end) = memchr::memchr(b'\n', piece) else { return Ok(()) };
            piece = piece.get(end + 1..).unwrap_or_default();
            self.skip -= 1;
        }
        if self.form == Form::Raw {
            self.out.write_all(piece)?;
            return Ok(());
        }
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (line, rest) = piece.split_at(end);
            self.begun.extend_from_slice(line);
            self.line(found)?;
            piece = rest.get(1..).unwrap_or_default();
        }
        self.begun.extend_from_slice(piece);
        if ended && !self.begun.is_empty() {
            self.line(found)?;
        }
        Ok(())
    }

    fn line(&mut self, found: &FoundBlock<'_>) -> Result<(), Error> {
        if self.form == Form::Shown {
            let line = String::from_utf8_lossy(&self.begun);
            // Fields may be separated by tabs.
            let fields: Vec<_> = line.split('\t').map(printable).collect();
            writeln!(self.out, "{}", fields.join("\t"))?;
            self.begun.clear();
            return Ok(());
        }
        let line = Line {
            stream: found.stream(),
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
