//! `s3log ls`: the blocks of streams.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::Error;
use super::blocks::{
    self, FoundBlock, Listing, Moved, Others, Range, Told, filter, gather, metas, none_found,
    select,
};
use super::compacted::{Place, Within};
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
                  is given. --long also requests the metadata of each block, 16 at a time. Where a host or \
                  the stream has a - in its name, the metadata of one block of each boot is requested, \
                  and where it is of another stream with keys of the same shape, that of each block of the boot, \
                  to leave out those. Blocks that \
                  s3log compact has written into a compacted object are listed as that object, with \
                  their number; --unsorted lists blocks alone."
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

/// A compacted object.
#[derive(Serialize)]
struct CompactedRow<'a> {
    stream: &'a str,
    hosts: BTreeSet<&'a str>,
    /// How many of its blocks were asked for; what follows of records and bytes is theirs.
    blocks: u64,
    /// RFC 3339, of the first record; to the second.
    time: Option<String>,
    stored_bytes: u64,
    state: &'static str,
    key: &'a str,
    records: u64,
    raw_bytes: u64,
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
    let mut others = Others::default();
    let mut table = Table::new(arguments, sources.len() > 1, out);
    if arguments.unsorted {
        for source in sources {
            let (times, hidden) = (arguments.range.times(), Progress::hidden());
            let mut listing = Listing::default();
            let mut any = false;
            blocks::pages(source, times, &hidden, &mut listing, |found| {
                let found = std::mem::take(found);
                let mut found = filter(found, &arguments.range, None, &mut complaints)?;
                others.leave_out(&mut found)?;
                any |= !found.is_empty();
                table.rows(found, None, &mut complaints)
            })?;
            if !any && arguments.range.is_all() {
                none(source, &mut complaints);
            }
        }
    } else {
        let mut moved = Moved::default();
        let mut found = select(sources, &arguments.range, &mut moved, &mut complaints)?;
        others.leave_out(&mut found)?;
        for source in sources {
            let of = |found: &FoundBlock<'_>| std::ptr::eq(found.source, source);
            if arguments.range.is_all() && !found.iter().any(of) {
                none(source, &mut complaints);
            }
        }
        table.rows(found, Some(&mut moved), &mut complaints)?;
    }
    table.sum()?;
    Ok(complaints.code())
}

/// Says that a stream has no block, which `select` may have said before.
fn none(source: &Source, complaints: &mut Complaints) {
    complaints.say(&format!("stream {}: {}", source.settings.stream, none_found(source)));
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
    /// Compacted objects, the blocks in them, and those of these that are still there.
    objects: u64,
    within: u64,
    beside: u64,
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
            objects: 0,
            within: 0,
            beside: 0,
            stored: 0,
            records: 0,
            raw: 0,
        }
    }

    /// Writes a row for each of `blocks`; with --long of those that are there, or were compacted as `moved` finds.
    fn rows<'b>(
        &mut self,
        mut blocks: Vec<FoundBlock<'b>>,
        moved: Option<&mut Moved<'b>>,
        complaints: &mut Complaints,
    ) -> Result<(), Error> {
        let mut told = match self.arguments.long {
            true => metas(&mut blocks, moved, complaints)?,
            false => Vec::new(),
        };
        // Nothing but the manifest tells of these. Those that were compacted meanwhile join the others.
        told.retain(|told| !matches!(told, Told::Compacted { .. }));
        if !self.arguments.unsorted {
            blocks = gather(blocks);
        }
        let objects = blocks.chunk_by(FoundBlock::precedes);
        let wide = |object: &[FoundBlock<'_>]| shown_hosts(object).chars().count();
        self.wide = objects.clone().map(wide).max().unwrap_or(0).max(self.wide);
        if !self.headed && !blocks.is_empty() && !self.arguments.json {
            self.heading()?;
            self.headed = true;
        }
        let mut told = told.iter();
        for object in objects {
            let Some(found) = object.first() else { continue };
            if let Some(within) = &found.within {
                self.compacted(object, &within.place)?;
                continue;
            }
            let told = told.next();
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

    /// A row for a compacted object, with what is asked for of it.
    fn compacted(&mut self, object: &[FoundBlock<'_>], place: &Place) -> Result<(), Error> {
        let sum = |of: fn(&Within) -> u64| {
            let each = object.iter().filter_map(|found| found.within.as_deref());
            each.fold(0u64, |sum, within| sum.saturating_add(of(within)))
        };
        let (records, raw) = (sum(|within| within.records), sum(|within| within.bytes));
        let blocks = object.len() as u64;
        self.objects += 1;
        self.within += blocks;
        self.beside += sum(|within| u64::from(within.beside));
        self.stored = self.stored.saturating_add(place.size);
        let time = object.first().and_then(|found| found.time);
        if self.arguments.json {
            let hosts: BTreeSet<_> = object.iter().filter_map(|b| b.host.as_deref()).collect();
            let row = CompactedRow {
                stream: object.first().map_or("", |found| found.stream()),
                hosts,
                blocks,
                time: time.map(|time| when::show(time.saturating_mul(SECOND))),
                stored_bytes: place.size,
                state: state(place.seal),
                key: &place.key,
                records,
                raw_bytes: raw,
            };
            return Ok(json(self.out, &row)?);
        }
        self.records = self.records.saturating_add(records);
        self.raw = self.raw.saturating_add(raw);
        let time = shown_time(time);
        let stream = object.first().map_or("", |found| found.stream());
        let stream = if self.several { format!("{stream:8}  ") } else { String::new() };
        let (host, wide, number) = (shown_hosts(object), self.wide, format!("x{blocks}"));
        let stored = size(place.size);
        write!(self.out, "{time:20}  {stream}{host:wide$}  {number:>6}  {stored:>10}")?;
        if self.arguments.long {
            let (records, raw) = (count(records), size(raw));
            write!(self.out, "  {records:>8}  {raw:>10}  {:>8}  {:12}", "-", "compacted")?;
        }
        writeln!(self.out, "  {}", printable(&place.key))?;
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
        let time = shown_time(found.time);
        let stream = if self.several { format!("{:8}  ", found.stream()) } else { String::new() };
        let host = shown_host(found);
        write!(
            self.out,
            "{time:20}  {stream}{host:wide$}  {:>6}  {:>10}",
            found.number,
            size(found.size)
        )?;
        match told {
            None | Some(Told::Gone | Told::Compacted { .. }) => {}
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
            let mut sum = counted(self.blocks, "block");
            if self.objects > 0 {
                let objects = counted(self.objects, "compacted object");
                sum.push_str(&format!(", {objects} of {}", counted(self.within, "block")));
            }
            sum.push_str(&format!(", {} stored", size(self.stored)));
            if self.arguments.long {
                let (records, raw) = (counted(self.records, "record"), size(self.raw));
                sum.push_str(&format!(", {records}, {raw} raw"));
            }
            writeln!(self.out, "{}", self.paint.faint(&sum))?;
            if self.beside > 0 {
                let text = format!(
                    "{} not listed, still there beside the compacted object: s3log compact --delete \
                     deletes them",
                    counted(self.beside, "block")
                );
                writeln!(self.out, "{}", self.paint.faint(&text))?;
            }
        }
        self.out.flush()?;
        Ok(())
    }
}

const SECOND: u64 = 1_000_000_000;

fn shown_time(time: Option<u64>) -> String {
    time.map_or_else(|| "?".to_owned(), |time| when::show(time.saturating_mul(SECOND)))
}

fn state(seal: &str) -> &'static str {
    if seal.is_empty() { "clear" } else { "encrypted" }
}

/// The host of an object's blocks, or how many there are.
fn shown_hosts<'a>(object: &'a [FoundBlock<'_>]) -> Cow<'a, str> {
    let hosts: BTreeSet<_> = object.iter().filter_map(|found| found.host.as_deref()).collect();
    match object.first() {
        Some(found) if hosts.len() <= 1 => shown_host(found),
        _ => format!("{} hosts", hosts.len()).into(),
    }
}

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
        state: state(seal),
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
