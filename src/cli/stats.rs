//! `s3log stats`: what a node's ring and spool hold, without touching them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::Error;
use super::settings::Connection;
use super::terminal::output::{Paint, count, counted, json, size};
use super::terminal::when;
use crate::block::sanitise;
use crate::printable::printable;
use crate::ring;
use crate::settings::DEFAULT_SPOOL;
use crate::spool::{self, Glance, OpenGlance, Tally};

/// Whose spool, and in which form.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads the spool's directory and takes no lock: varnishd may be running, and need not \
                  be. What it counts since its start is in varnishstat -f 'S3LOG.*'."
)]
pub(super) struct StatsArgs {
    /// The streams' names, those of the VCL objects; all of the spool's directory when none is
    /// given.
    streams: Vec<String>,
    /// The spool's directory, that of all streams.
    #[arg(long, value_name = "DIRECTORY")]
    spool: Option<PathBuf>,
    /// One JSON object a stream.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Where the spool of a stream is, below the directory of all streams.
pub(super) fn root(directory: &Path, stream: &str) -> PathBuf {
    directory.join(sanitise(stream))
}

/// Shows each stream's ring and spool.
///
/// # Errors
/// A setting, a directory that cannot be read, or the output.
pub(super) fn run(arguments: &StatsArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let paint = Paint::stdout();
    for (stream, root) in spools(arguments)? {
        let failed = |source| Error::File { path: root.display().to_string(), source };
        let glance = spool::glance(&root).map_err(failed)?;
        let ring = ring::glance(&root.join("ring"));
        let open = ring.as_ref().ok().and_then(|ring| spool::open_glance(&ring.payload));
        if arguments.json {
            json(out, &object(&stream, &root, &glance, &ring, open.as_ref()))?;
        } else {
            show(out, paint, &stream, &root, &glance, &ring, open.as_ref())?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The streams' names and their spools.
fn spools(arguments: &StatsArgs) -> Result<Vec<(String, PathBuf)>, Error> {
    let directory = |stream: &str| -> Result<PathBuf, Error> {
        if let Some(directory) = &arguments.spool {
            return Ok(directory.clone());
        }
        let settings = arguments.connection.arguments(stream)?;
        Ok(PathBuf::from(settings.get("spool").unwrap_or(DEFAULT_SPOOL)))
    };
    if let Ok(streams) = arguments.connection.streams(&arguments.streams) {
        let with_root = |stream: String| {
            let root = root(&directory(&stream)?, &stream);
            Ok((stream, root))
        };
        return streams.into_iter().map(with_root).collect();
    }
    let directory = arguments.spool.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_SPOOL));
    let failed = |source| Error::File { path: directory.display().to_string(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.path().join("lock").exists() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    if found.is_empty() {
        let text = format!("{}: no stream has its spool there", directory.display());
        return Err(Error::Usage(text));
    }
    found.sort();
    Ok(found)
}

fn show(
    out: &mut dyn Write,
    paint: Paint,
    stream: &str,
    root: &Path,
    glance: &Glance,
    ring: &io::Result<ring::Glance>,
    open: Option<&OpenGlance>,
) -> io::Result<()> {
    let holder = glance
        .holder
        .map_or_else(|| "in use by nobody".to_owned(), |pid| format!("in use by process {pid}"));
    // Names of directories, and of files in them, may be anything.
    let root = root.display().to_string();
    let root = printable(&root);
    writeln!(out, "{}  {root}  {holder}", printable(stream))?;
    match ring {
        Ok(ring) => {
            let percent = ring.used * 100 / ring.capacity.max(1);
            writeln!(
                out,
                "  ring         {} of {} ({percent} %)",
                size(ring.used),
                size(ring.capacity)
            )?;
        }
        Err(error) => {
            writeln!(out, "  ring         {}", paint.bad(&printable(&error.to_string())))?
        }
    }
    if let Some(open) = open {
        let since = if open.first == 0 {
            String::new()
        } else {
            format!(", since {}", when::show(open.first))
        };
        let (number, records) = (open.number, counted(open.records, "record"));
        writeln!(out, "  open block   number {number}, {records}, {}{since}", size(open.bytes))?;
    }
    let oldest = glance.oldest.as_ref().map_or_else(String::new, |meta| {
        let age = when::show_age(when::now().saturating_sub(meta.first));
        format!(", the oldest is number {}, begun {age} ago", meta.number)
    });
    writeln!(out, "  waiting      {}{oldest}", tally(&glance.sealed))?;
    if glance.held.blocks > 0 {
        let text = format!("{}, in clear, until there is encrypt_to again", tally(&glance.held));
        writeln!(out, "  for a key    {}", paint.bad(&text))?;
    }
    if let Some(meta) = &glance.last_gone {
        writeln!(out, "  last done    number {}, {}", meta.number, when::show(meta.last))?;
    }
    if glance.quarantined.blocks > 0 {
        let text = format!("{} in {root}/quarantine", tally(&glance.quarantined));
        writeln!(out, "  set aside    {}", paint.bad(&text))?;
    }
    if let Some(open) = open.filter(|open| open.dropped.total() > 0) {
        let dropped = counted(open.dropped.total(), "record");
        writeln!(out, "  dropped      {} since the last block", paint.bad(&dropped))?;
    }
    for (what, number) in [("foreign", glance.foreign), ("unreadable", glance.unreadable)] {
        if number > 0 {
            writeln!(out, "  {what:12} {}", paint.odd(&counted(number, "file")))?;
        }
    }
    Ok(())
}

fn tally(tally: &Tally) -> String {
    let (blocks, records) = (counted(tally.blocks, "block"), count(tally.records));
    format!("{blocks}, {records} records, {}", size(tally.bytes))
}

fn object(
    stream: &str,
    root: &Path,
    glance: &Glance,
    ring: &io::Result<ring::Glance>,
    open: Option<&OpenGlance>,
) -> Value {
    let numbers = |tally: &Tally| json!({ "blocks": tally.blocks, "records": tally.records, "bytes": tally.bytes });
    json!({
        "stream": stream,
        "spool": root.display().to_string(),
        "holder": glance.holder,
        "ring": match ring {
            Ok(ring) => json!({ "capacity": ring.capacity, "used": ring.used }),
            Err(error) => json!({ "problem": error.to_string() }),
        },
        "open": open.map(|open| json!({
            "number": open.number,
            "boot": open.boot.to_string(),
            "records": open.records,
            "bytes": open.bytes,
            "first": open.first,
            "dropped": open.dropped,
        })),
        "waiting": numbers(&glance.sealed),
        "oldest": glance.oldest,
        "held": numbers(&glance.held),
        "quarantined": numbers(&glance.quarantined),
        "last_done": glance.last_gone,
        "foreign": glance.foreign,
        "unreadable": glance.unreadable,
    })
}
