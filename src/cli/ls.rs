//! `s3log ls`: the blocks of streams.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::bucket::Found;
use super::output::{Paint, count, counted, json, size};
use super::select::{Range, metas, select};
use super::settings::{Connection, Source};
use super::{Error, when};
use crate::block::{Drops, KeyParts, Meta};

/// Which blocks, and what is shown of them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Blocks come in the order of their first record's time. Times, hosts and sizes are \
                  read from the listing; --long asks for each block's metadata, 16 at a time."
)]
pub(super) struct Arguments {
    /// The streams' names, those of the VCL objects; all of the settings file when none is given.
    streams: Vec<String>,
    /// Show records, raw bytes, drops before the block, boot and what is wrong with the metadata.
    #[arg(long, short)]
    long: bool,
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
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let sources = Source::all(&arguments.connection, &arguments.streams)?;
    let blocks = select(&sources, &arguments.range)?;
    let mut told: Vec<Option<Result<Meta, String>>> = Vec::new();
    if arguments.long {
        told.resize_with(blocks.len(), || None);
        metas(&sources, &blocks, |place, meta| {
            if let Some(slot) = told.get_mut(place) {
                *slot = Some(meta.map_err(|error| error.to_string()));
            }
        })?;
    }
    let told = |place: usize| told.get(place).and_then(Option::as_ref);
    if arguments.json {
        for (place, found) in blocks.iter().enumerate() {
            let stream = stream_of(&sources, found);
            json(out, &row(stream, found, told(place)))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let host = |found: &Found| found.host.as_deref().unwrap_or("?").len();
    let wide = blocks.iter().map(host).max().unwrap_or(0).max(4);
    let several = sources.len() > 1;
    let paint = Paint::stdout();
    if !blocks.is_empty() {
        let stream = if several { "STREAM    " } else { "" };
        let long =
            if arguments.long { "   RECORDS         RAW   DROPPED  BOOT        " } else { "" };
        let heading = format!(
            "TIME                  {stream}{:wide$}  NUMBER      STORED{long}  KEY",
            "HOST"
        );
        writeln!(out, "{}", paint.faint(&heading))?;
    }
    let (mut stored, mut records, mut raw) = (0u64, 0u64, 0u64);
    for (place, found) in blocks.iter().enumerate() {
        stored += found.size;
        let time = found.time.map_or_else(|| "?".to_owned(), |time| when::show(time * SECOND));
        let stream =
            if several { format!("{:8}  ", stream_of(&sources, found)) } else { String::new() };
        let host = found.host.as_deref().unwrap_or("?");
        write!(
            out,
            "{time:20}  {stream}{host:wide$}  {:>6}  {:>10}",
            found.number,
            size(found.size)
        )?;
        match told(place) {
            None => {}
            Some(Ok(meta)) => {
                records += meta.records;
                raw += meta.raw_bytes;
                let dropped = count(meta.dropped.total());
                let dropped = format!("{dropped:>8}");
                let dropped = if meta.dropped.total() > 0 { paint.odd(&dropped) } else { dropped };
                let (records, raw) = (count(meta.records), size(meta.raw_bytes));
                write!(out, "  {records:>8}  {raw:>10}  {dropped}  {}", found.boot)?;
            }
            Some(Err(problem)) => write!(out, "  {}", paint.bad(problem))?,
        }
        writeln!(out, "  {}", found.key)?;
    }
    let mut sum = format!("{}, {} stored", counted(blocks.len() as u64, "block"), size(stored));
    if arguments.long {
        sum.push_str(&format!(", {}, {} raw", counted(records, "record"), size(raw)));
    }
    writeln!(out, "{}", paint.faint(&sum))?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

const SECOND: u64 = 1_000_000_000;

fn stream_of<'s>(sources: &'s [Source], found: &Found) -> &'s str {
    sources.get(found.source).map_or("", |source| &source.settings.stream)
}

fn row<'a>(stream: &'a str, found: &'a Found, told: Option<&Result<Meta, String>>) -> Row<'a> {
    let seal = KeyParts::parse(&found.key).map_or("", |parts| parts.seal);
    Row {
        stream,
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
