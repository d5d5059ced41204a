//! `s3log ls`: the blocks of streams.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::Error;
use super::blocks::{self, Found, Listing, Range, filter, metas, select};
use super::settings::{Connection, Source};
use super::terminal::output::{Paint, count, counted, json, size};
use super::terminal::{Progress, when};
use crate::block::{Drops, KeyParts, Meta};

/// Which blocks, and what is shown of them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Blocks come in the order of their first record's time. Times, hosts and sizes are \
                  read from the listing, which is held until it is whole, 256 bytes a block, but with --unsorted; --long asks for each block's metadata, 16 at a time."
)]
pub(super) struct LsArgs {
    /// The streams' names, those of the VCL objects; all of the settings file when none is given.
    streams: Vec<String>,
    /// Show records, raw bytes, drops before the block, boot and what is wrong with the metadata.
    #[arg(long, short)]
    long: bool,
    /// In the gateway's order, each page when it is there: memory does not grow with the blocks.
    #[arg(long, short)]
    unsorted: bool,
    #[command(flatten)]
    range: Range,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Row<'a> {
    stream: &'a str,
    host: Option<&'a str>,
    boot: String,
    number: u64,
    /// RFC 3339, of the first record; to the second.
    time: Option<String>,
    stored_bytes: u64,
    state: &'static str,
    key: &'a str,
    #[serde(flatten)]
    long: Option<Long>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// What only the metadata tells.
#[derive(Serialize)]
struct Long {
    records: u64,
    raw_bytes: u64,
    /// ns since 1970.
    first: u64,
    last: u64,
    cut: u64,
    dropped: Drops,
    sha256: String,
}

impl From<&Meta> for Long {
    fn from(meta: &Meta) -> Self {
        Self {
            records: meta.records,
            raw_bytes: meta.raw_bytes,
            first: meta.first,
            last: meta.last,
            cut: meta.cut,
            dropped: meta.dropped,
            sha256: meta.sha256.to_string(),
        }
    }
}

/// Writes a line for each block, and a sum.
///
/// # Errors
/// A setting, an answer of the gateway, or the output.
pub(super) fn run(arguments: &LsArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let sources = &Source::all(&arguments.connection, &arguments.streams)?[..];
    let mut table = Table::new(arguments, sources.len() > 1, out);
    if arguments.unsorted {
        for source in sources {
            let (times, hidden) = (arguments.range.times(), Progress::hidden());
            let mut listing = Listing::default();
            blocks::pages(source, times, &hidden, &mut listing, |found| {
                table.rows(&filter(std::mem::take(found), &arguments.range)?)
            })?;
        }
    } else {
        table.rows(&select(sources, &arguments.range)?)?;
    }
    table.sum()?;
    Ok(ExitCode::SUCCESS)
}

/// The rows that were written so far.
struct Table<'a> {
    arguments: &'a LsArgs,
    /// Whether there is more than one stream to tell apart.
    several: bool,
    out: &'a mut dyn Write,
    paint: Paint,
    /// Columns of the widest host.
    wide: usize,
    blocks: u64,
    stored: u64,
    records: u64,
    raw: u64,
}

impl<'a> Table<'a> {
    fn new(arguments: &'a LsArgs, several: bool, out: &'a mut dyn Write) -> Self {
        let paint = Paint::stdout();
        Self { arguments, several, out, paint, wide: 4, blocks: 0, stored: 0, records: 0, raw: 0 }
    }

    fn rows(&mut self, blocks: &[Found<'_>]) -> Result<(), Error> {
        let mut told: Vec<Option<Result<Meta, String>>> = Vec::new();
        if self.arguments.long {
            told.resize_with(blocks.len(), || None);
            metas(blocks, |place, meta| {
                if let Some(slot) = told.get_mut(place) {
                    *slot = Some(meta.map_err(|error| error.to_string()));
                }
            })?;
        }
        let host = |found: &Found<'_>| found.host.as_deref().unwrap_or("?").len();
        self.wide = blocks.iter().map(host).max().unwrap_or(0).max(self.wide);
        if self.blocks == 0 && !blocks.is_empty() && !self.arguments.json {
            self.heading()?;
        }
        self.blocks += blocks.len() as u64;
        for (place, found) in blocks.iter().enumerate() {
            let told = told.get(place).and_then(Option::as_ref);
            if self.arguments.json {
                json(self.out, &row(found, told))?;
            } else {
                self.row(found, told)?;
            }
        }
        Ok(())
    }

    fn heading(&mut self) -> Result<(), Error> {
        let stream = if self.several { "STREAM    " } else { "" };
        let long =
            if self.arguments.long { "   RECORDS         RAW   DROPPED  BOOT        " } else { "" };
        let wide = self.wide;
        let heading = format!(
            "TIME                  {stream}{:wide$}  NUMBER      STORED{long}  KEY",
            "HOST"
        );
        writeln!(self.out, "{}", self.paint.faint(&heading))?;
        Ok(())
    }

    fn row(&mut self, found: &Found<'_>, told: Option<&Result<Meta, String>>) -> Result<(), Error> {
        let Self { paint, wide, .. } = *self;
        self.stored += found.size;
        let time = found.time.map_or_else(|| "?".to_owned(), |time| when::show(time * SECOND));
        let stream = if self.several { format!("{:8}  ", found.stream()) } else { String::new() };
        let host = found.host.as_deref().unwrap_or("?");
        write!(
            self.out,
            "{time:20}  {stream}{host:wide$}  {:>6}  {:>10}",
            found.number,
            size(found.size)
        )?;
        match told {
            None => {}
            Some(Ok(meta)) => {
                self.records += meta.records;
                self.raw += meta.raw_bytes;
                let dropped = count(meta.dropped.total());
                let dropped = format!("{dropped:>8}");
                let dropped = if meta.dropped.total() > 0 { paint.odd(&dropped) } else { dropped };
                let (records, raw) = (count(meta.records), size(meta.raw_bytes));
                write!(self.out, "  {records:>8}  {raw:>10}  {dropped}  {}", found.boot)?;
            }
            Some(Err(problem)) => write!(self.out, "  {}", paint.bad(problem))?,
        }
        writeln!(self.out, "  {}", found.key)?;
        Ok(())
    }

    /// The last line, but for JSON.
    fn sum(&mut self) -> Result<(), Error> {
        if !self.arguments.json {
            let mut sum =
                format!("{}, {} stored", counted(self.blocks, "block"), size(self.stored));
            if self.arguments.long {
                let (records, raw) = (counted(self.records, "record"), size(self.raw));
                sum.push_str(&format!(", {records}, {raw} raw"));
            }
            writeln!(self.out, "{}", self.paint.faint(&sum))?;
        }
        self.out.flush()?;
        Ok(())
    }
}

const SECOND: u64 = 1_000_000_000;

fn row<'a>(found: &'a Found<'a>, told: Option<&Result<Meta, String>>) -> Row<'a> {
    let seal = KeyParts::parse(&found.key).map_or("", |parts| parts.seal);
    Row {
        stream: found.stream(),
        host: found.host.as_deref(),
        boot: found.boot.to_string(),
        number: found.number,
        time: found.time.map(|time| when::show(time * SECOND)),
        stored_bytes: found.size,
        state: if seal.is_empty() { "clear" } else { "encrypted" },
        key: &found.key,
        long: told.and_then(|told| told.as_ref().ok()).map(Long::from),
        problem: told.and_then(|told| told.as_ref().err().cloned()),
    }
}
