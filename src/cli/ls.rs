//! `s3log ls`: the blocks of streams.

use std::borrow::Cow;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::Error;
use super::blocks::{self, FoundBlock, Listing, Range, Told, filter, metas, none_found, select};
use super::settings::{Connection, Source};
use super::terminal::output::{Paint, count, counted, json, size};
use super::terminal::{Complaints, Progress, when};
use crate::block::{Drops, KeyParts, Meta};
use crate::printable::printable;

/// Which blocks, and what is shown of them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Blocks are ordered by the time of their first record. Times, hosts and sizes come \
                  from the listing, which is kept in memory, 256 bytes per block, unless --unsorted \
                  is given. --long also requests the metadata of each block, 16 at a time."
)]
pub(super) struct LsArgs {
    /// Stream names as in VCL. Default: all streams in the settings file.
    streams: Vec<String>,
    /// Also show records, raw bytes, dropped records, boot, and problems with the metadata.
    #[arg(long, short)]
    long: bool,
    /// Print blocks in the gateway's order, page by page; memory use does not grow.
    #[arg(long, short)]
    unsorted: bool,
    #[command(flatten)]
    range: Range,
    /// Print one JSON object per line.
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
    let mut complaints = Complaints::default();
    let mut table = Table::new(arguments, sources.len() > 1, out);
    if arguments.unsorted {
        for source in sources {
            let (times, hidden) = (arguments.range.times(), Progress::hidden());
            let mut listing = Listing::default();
            let mut any = false;
            blocks::pages(source, times, &hidden, &mut listing, |found| {
                any |= !found.is_empty();
                let found = std::mem::take(found);
                let found = filter(found, &arguments.range, &mut complaints)?;
                table.rows(&found, &mut complaints)
            })?;
            if !any && arguments.range.is_all() {
                let stream = &source.settings.stream;
                complaints.say(&format!("stream {stream}: {}", none_found(source)));
            }
        }
    } else {
        let found = select(sources, &arguments.range, &mut complaints)?;
        table.rows(&found, &mut complaints)?;
    }
    table.sum()?;
    Ok(complaints.code())
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
    headed: bool,
    blocks: u64,
    stored: u64,
    records: u64,
    raw: u64,
}

impl<'a> Table<'a> {
    fn new(arguments: &'a LsArgs, several: bool, out: &'a mut dyn Write) -> Self {
        let paint = Paint::stdout();
        Self {
            arguments,
            several,
            out,
            paint,
            wide: 4,
            headed: false,
            blocks: 0,
            stored: 0,
            records: 0,
            raw: 0,
        }
    }

    /// Writes a row for each of `blocks`; with --long of those that are there.
    fn rows(
        &mut self,
        blocks: &[FoundBlock<'_>],
        complaints: &mut Complaints,
    ) -> Result<(), Error> {
        let told = if self.arguments.long { metas(blocks, complaints)? } else { Vec::new() };
        let wide = |found: &FoundBlock<'_>| shown_host(found).chars().count();
        self.wide = blocks.iter().map(wide).max().unwrap_or(0).max(self.wide);
        if !self.headed && !blocks.is_empty() && !self.arguments.json {
            self.heading()?;
            self.headed = true;
        }
        for (place, found) in blocks.iter().enumerate() {
            let told = told.get(place);
            if matches!(told, Some(Told::Gone)) {
                continue;
            }
            self.blocks += 1;
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

    fn row(&mut self, found: &FoundBlock<'_>, told: Option<&Told>) -> Result<(), Error> {
        let Self { paint, wide, .. } = *self;
        // What a listing and metadata say may be anything.
        self.stored = self.stored.saturating_add(found.size);
        let time = found
            .time
            .map_or_else(|| "?".to_owned(), |time| when::show(time.saturating_mul(SECOND)));
        let stream = if self.several { format!("{:8}  ", found.stream()) } else { String::new() };
        let host = shown_host(found);
        write!(
            self.out,
            "{time:20}  {stream}{host:wide$}  {:>6}  {:>10}",
            found.number,
            size(found.size)
        )?;
        match told {
            None | Some(Told::Gone) => {}
            Some(Told::Meta(meta)) => {
                self.records = self.records.saturating_add(meta.records);
                self.raw = self.raw.saturating_add(meta.raw_bytes);
                let dropped = count(meta.dropped.total());
                let dropped = format!("{dropped:>8}");
                let dropped = if meta.dropped.total() > 0 { paint.odd(&dropped) } else { dropped };
                let (records, raw) = (count(meta.records), size(meta.raw_bytes));
                write!(self.out, "  {records:>8}  {raw:>10}  {dropped}  {}", found.boot)?;
            }
            Some(Told::Unreadable(problem)) => {
                write!(self.out, "  {}", paint.bad(&printable(&problem.to_string())))?;
            }
        }
        writeln!(self.out, "  {}", printable(&found.key))?;
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

fn shown_host<'a>(found: &'a FoundBlock<'_>) -> Cow<'a, str> {
    printable(found.host.as_deref().unwrap_or("?"))
}

fn row<'a>(found: &'a FoundBlock<'a>, told: Option<&Told>) -> Row<'a> {
    let seal = KeyParts::parse(&found.key).map_or("", |parts| parts.seal);
    Row {
        stream: found.stream(),
        host: found.host.as_deref(),
        boot: found.boot.to_string(),
        number: found.number,
        time: found.time.map(|time| when::show(time.saturating_mul(SECOND))),
        stored_bytes: found.size,
        state: if seal.is_empty() { "clear" } else { "encrypted" },
        key: &found.key,
        long: match told {
            Some(Told::Meta(meta)) => Some(Long::from(&**meta)),
            _ => None,
        },
        problem: match told {
            Some(Told::Unreadable(problem)) => Some(problem.to_string()),
            _ => None,
        },
    }
}
