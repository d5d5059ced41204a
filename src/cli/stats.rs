//! `s3log stats`: what a node's ring and spool hold, without touching them.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::Error;
use super::spools::{RouteSpool, Spools};
use super::terminal::output::{Paint, count, counted, json, size};
use super::terminal::when;
use crate::printable::printable;
use crate::ring;
use crate::spool::{self, Glance, OpenGlance, Tally};

/// Whose spool, and in which form.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads the spool directory and takes no lock, whether or not varnishd is running. \
                  Counters since the start of varnishd are in varnishstat -f 'S3LOG.*'."
)]
pub(super) struct StatsArgs {
    /// Print one JSON object per stream.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    spools: Spools,
}

/// Shows each stream's ring and spool.
///
/// # Errors
/// A setting, a directory that cannot be read, or the output.
pub(super) fn run(arguments: &StatsArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let paint = Paint::stdout();
    for found in arguments.spools.find()? {
        let root = &found.folder.path;
        let ring = ring::glance(&root.join("ring"));
        let Some(glance) = found.read(spool::glance)? else { continue };
        let open = ring.as_ref().ok().and_then(|ring| spool::open_glance(&ring.payload));
        if arguments.json {
            json(out, &object(&found, &glance, &ring, open.as_ref()))?;
        } else {
            show(out, paint, &found, &glance, &ring, open.as_ref())?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn show(
    out: &mut dyn Write,
    paint: Paint,
    found: &RouteSpool,
    glance: &Glance,
    ring: &io::Result<ring::Glance>,
    open: Option<&OpenGlance>,
) -> io::Result<()> {
    let holder = glance
        .holder
        .map_or_else(|| "not in use".to_owned(), |pid| format!("in use by process {pid}"));
    // Names of directories, and of files in them, may be anything.
    let root = found.folder.path.display().to_string();
    let root = printable(&root);
    writeln!(out, "{}  {root}  {holder}", printable(&found.name))?;
    if let Some(destination) = found.destination() {
        writeln!(out, "  uploads to   {}", printable(&destination))?;
    }
    let external = found.folder.is_external();
    let by = match glance.uploader {
        Some(pid) if external => format!("s3log ship, process {pid}"),
        None if external => paint.odd("nobody; start s3log ship"),
        // Where upload is internal again, and the shipper has not let go yet.
        Some(pid) if glance.holder.is_some_and(|holder| holder != pid) => {
            format!("s3log ship, process {pid}, until it lets go")
        }
        _ => String::new(),
    };
    if !by.is_empty() {
        writeln!(out, "  uploaded by  {by}")?;
    }
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
        format!(", the oldest is number {}, started {age} ago", meta.number)
    });
    writeln!(out, "  waiting      {}{oldest}", tally(&glance.sealed))?;
    if glance.sent.blocks > 0 {
        let text = "by s3log ship; varnishd or s3log drain removes them";
        writeln!(out, "  uploaded     {}, {text}", tally(&glance.sent))?;
    }
    if glance.refused.blocks > 0 {
        let text = "by the gateway; varnishd or s3log drain quarantines them";
        writeln!(out, "  refused      {}, {text}", paint.bad(&tally(&glance.refused)))?;
    }
    if glance.moved.blocks > 0 {
        let text = "from another route, not sealed for this one yet";
        writeln!(out, "  moved here   {}, {text}", tally(&glance.moved))?;
    }
    if glance.held.blocks > 0 {
        let text = format!(
            "{}, unencrypted; set encrypt_to or public_key again to upload them",
            tally(&glance.held)
        );
        writeln!(out, "  held         {}", paint.bad(&text))?;
    }
    let damaged = glance.damaged(open);
    if damaged.blocks > 0 {
        let text = format!(
            "{}, {}; a start that can read them and finds room on the disk mends them",
            counted(damaged.blocks, "block"),
            size(damaged.bytes)
        );
        writeln!(out, "  damaged      {}", paint.bad(&text))?;
    }
    if let Some(meta) = &glance.last_gone {
        writeln!(out, "  last done    number {}, {}", meta.number, when::show(meta.last))?;
    }
    if glance.quarantined.blocks > 0 {
        let text = format!("{} in {root}/quarantine", tally(&glance.quarantined));
        writeln!(out, "  quarantined  {}", paint.bad(&text))?;
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
    found: &RouteSpool,
    glance: &Glance,
    ring: &io::Result<ring::Glance>,
    open: Option<&OpenGlance>,
) -> Value {
    let damaged = glance.damaged(open);
    let numbers = |tally: &Tally| json!({ "blocks": tally.blocks, "records": tally.records, "bytes": tally.bytes });
    json!({
        "stream": found.name.split('@').next(),
        "spool": found.folder.path.display().to_string(),
        "route": found.folder.route().map(|route| route.to_string()),
        "destination": found.destination(),
        "holder": glance.holder,
        "upload": if found.folder.is_external() { "external" } else { "internal" },
        "uploader": glance.uploader,
        "shipper": glance.shipper,
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
        "uploaded": numbers(&glance.sent),
        "refused": numbers(&glance.refused),
        "oldest": glance.oldest,
        "moved": numbers(&glance.moved),
        "held": numbers(&glance.held),
        "damaged": { "blocks": damaged.blocks, "bytes": damaged.bytes },
        "quarantined": numbers(&glance.quarantined),
        "last_done": glance.last_gone,
        "foreign": glance.foreign,
        "unreadable": glance.unreadable,
    })
}
