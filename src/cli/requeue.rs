//! `s3log requeue`: blocks that the gateway refused for good are sent again.
//!
//! It leaves a request beside each block and takes no lock: a running varnishd takes the requests
//! within seconds, a stopped one at its next start. Without a choice it lists what is there.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::Error;
use super::node::become_owner;
use super::shift::{self, Shift};
use super::spools::Spools;
use super::terminal::output::{Paint, count, counted, json, size};
use super::terminal::when;
use crate::printable::printable;
use crate::spool::{self, Refused, Selection};

/// Which blocks of which spools.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A block is quarantined when the gateway refuses it for good. Fix the cause first, \
                  then requeue. Without --all, --code, --block or --from, the command only lists the \
                  quarantined blocks. Run it as the user that owns the spool; root becomes that user, and another one \
                  is refused.\n\n\
                  --from moves all that waits for a route, as s3log stats shows it, to another route of \
                  the stream: for a bucket or a key that will not come back. Encrypted blocks are moved \
                  only to a route with exactly the same keys. The blocks continue the chain of the other \
                  route. No process may have the folder that they leave. --dry-run reads every block and says \
                  what would be moved and what would stay.\n\n\
                  A running varnishd uploads requeued blocks within seconds, a stopped one after its next \
                  start; s3log drain uploads them as well.\n\n\
                  Exit codes: 0 done, 1 no quarantined block matches --code or --block, or --from leaves a \
                  block behind, or would, or finds its folder in use, 2 invalid arguments or settings."
)]
pub(super) struct RequeueArgs {
    /// Requeue all quarantined blocks.
    #[arg(long, group = "selection")]
    all: bool,
    /// Requeue blocks that were refused with this error code or HTTP status, such as InvalidArgument
    /// or 413.
    #[arg(long, value_name = "CODE", group = "selection")]
    code: Option<String>,
    /// Requeue the block with this number.
    #[arg(long, value_name = "NUMBER", group = "selection")]
    block: Option<u64>,
    /// Move what waits for this route to another route of the stream, because it cannot be delivered;
    /// "unknown" is a folder that does not say its route.
    #[arg(long, value_name = "ROUTE", group = "selection")]
    from: Option<String>,
    /// The route to move to. Default: the only other one of the stream.
    #[arg(long, value_name = "ROUTE", requires = "from")]
    to: Option<String>,
    /// Allow that the blocks are signed by another key than until now, or by none.
    #[arg(long, requires = "from")]
    change_signer: bool,
    /// Only show what --from would do.
    #[arg(long, requires = "from")]
    dry_run: bool,
    /// Print one JSON object per block, or one in all with --from.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    spools: Spools,
}

impl RequeueArgs {
    fn selection(&self) -> Option<Selection> {
        match (self.all, &self.code, self.block) {
            (true, ..) => Some(Selection::All),
            (_, Some(code), _) => Some(Selection::Code(code.clone())),
            (.., Some(number)) => Some(Selection::Number(number)),
            (false, None, None) => None,
        }
    }
}

/// Lists or requeues the blocks.
///
/// # Errors
/// A setting, a directory that cannot be read or written, or the output.
pub(super) fn run(arguments: &RequeueArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let selection = arguments.selection();
    // Who only looks at the list changes nothing.
    if arguments.from.is_some() || selection.is_some() {
        become_owner(arguments.spools.find()?.into_iter().map(|spool| spool.folder))?;
    }
    if let Some(from) = &arguments.from {
        let shift = Shift {
            from,
            to: arguments.to.as_deref(),
            change_signer: arguments.change_signer,
            dry_run: arguments.dry_run,
            json: arguments.json,
            spools: &arguments.spools,
        };
        return shift::run(&shift, out);
    }
    let paint = Paint::stdout();
    let mut chosen = 0u64;
    for spool in arguments.spools.find()? {
        let (stream, root) = (&spool.name, &spool.folder.path);
        let failed = |source| Error::File { path: root.display().to_string(), source };
        let Some(glance) = spool.read(spool::glance)? else { continue };
        let holder = glance.holder;
        let blocks = match &selection {
            Some(selection) => {
                spool::check_owner(root)
                    .map_err(|error| Error::Usage(format!("{}: {error}", root.display())))?;
                spool::request(root, selection)
            }
            None => spool::refused(root),
        };
        let blocks = match blocks {
            // The folder is made with the first quarantined block.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            blocks => blocks.map_err(failed)?,
        };
        chosen += blocks.len() as u64;
        if arguments.json {
            for block in &blocks {
                json(out, &object(stream, block))?;
            }
            continue;
        }
        for block in &blocks {
            row(out, paint, stream, block)?;
        }
        conclude(out, selection.as_ref(), stream, root, &blocks, holder)?;
    }
    out.flush()?;
    let nothing =
        chosen == 0 && matches!(selection, Some(Selection::Code(_) | Selection::Number(_)));
    Ok(if nothing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn row(out: &mut dyn Write, paint: Paint, stream: &str, block: &Refused) -> io::Result<()> {
    let Refused { meta, reason, requested } = block;
    let reason = if reason.is_empty() { "reason unknown" } else { reason };
    writeln!(
        out,
        "{}  block {}  {}  {}, {}{}",
        printable(stream),
        meta.number,
        when::show(meta.first),
        counted(meta.records, "record"),
        size(meta.bytes),
        if *requested { paint.good("  requeued") } else { String::new() },
    )?;
    writeln!(out, "    {}", paint.odd(&printable(reason)))
}

fn conclude(
    out: &mut dyn Write,
    selection: Option<&Selection>,
    stream: &str,
    root: &Path,
    blocks: &[Refused],
    holder: Option<u32>,
) -> io::Result<()> {
    let stream = printable(stream);
    if blocks.is_empty() {
        let what = match selection {
            Some(Selection::Code(code)) => format!("no quarantined block was refused with {code}"),
            Some(Selection::Number(number)) => format!("block {number} is not quarantined"),
            Some(Selection::All) | None => "no quarantined blocks".to_owned(),
        };
        return writeln!(out, "{stream}: {}", printable(&what));
    }
    let records = blocks.iter().fold(0u64, |sum, block| sum.saturating_add(block.meta.records));
    let what = format!("{} with {} records", counted(blocks.len() as u64, "block"), count(records));
    match (selection, holder) {
        (None, _) => {
            let root = root.display().to_string();
            let root = printable(&root);
            writeln!(
                out,
                "{stream}: {what} quarantined in {root}/quarantine; fix the cause, then requeue \
                 them with --all, --code or --block"
            )
        }
        (Some(_), Some(pid)) => {
            writeln!(out, "{stream}: {what} requeued; process {pid} sends them within seconds")
        }
        (Some(_), None) => writeln!(
            out,
            "{stream}: {what} requeued; no process uses this spool: start varnishd or run s3log drain"
        ),
    }
}

fn object(stream: &str, block: &Refused) -> serde_json::Value {
    serde_json::json!({
        "stream": stream,
        "number": block.meta.number,
        "boot": block.meta.boot.to_string(),
        "records": block.meta.records,
        "stored_bytes": block.meta.bytes,
        "first": block.meta.first,
        "last": block.meta.last,
        "reason": block.reason,
        "requeued": block.requested,
    })
}
