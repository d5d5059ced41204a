//! `s3log requeue --from`: what waits for a route that cannot be served goes to another one.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use super::Error;
use super::node::{Terminal, environment};
use super::spools::{RouteSpool, Spools};
use super::terminal::output::{count, counted, json, size};
use crate::block::sanitise;
use crate::pipeline::Move;
use crate::printable::printable;
use crate::settings::Saved;
use crate::spool;

/// What is to be moved; see the command's arguments of these names.
pub(super) struct Shift<'a> {
    pub(super) from: &'a str,
    pub(super) to: Option<&'a str>,
    pub(super) change_signer: bool,
    pub(super) dry_run: bool,
    pub(super) json: bool,
    pub(super) spools: &'a Spools,
}

/// How a folder without a route is called.
const UNKNOWN: &str = "unknown";

fn route(spool: &RouteSpool) -> String {
    spool.folder.route().map_or_else(|| UNKNOWN.to_owned(), |route| route.to_string())
}

/// The stream's name as in VCL; as in the name of the folder where that does not say it.
fn stream(spool: &RouteSpool) -> &str {
    let named = || spool.name.split('@').next().unwrap_or_default();
    spool.folder.saved.as_ref().map_or_else(named, Saved::stream)
}

/// Whether both are of one stream, as far as they say it.
fn is_same_stream(one: &RouteSpool, other: &RouteSpool) -> bool {
    let say = one.folder.saved.is_some() && other.folder.saved.is_some();
    let [one, other] = [one, other].map(stream);
    if say { one == other } else { sanitise(one) == sanitise(other) }
}

/// Moves what waits for a route, or only says what that would do.
///
/// # Errors
/// No such route or several, what must not be moved, and the file system's.
pub(super) fn run(arguments: &Shift<'_>, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let from = arguments.from;
    let all = arguments.spools.find()?;
    let usage = |text: String| Error::Usage(format!("requeue --from {from}: {text}"));
    let source = only(all.iter().filter(|spool| route(spool) == from)).map_err(|many| {
        usage(if many {
            "several streams have this route: name the stream".to_owned()
        } else {
            format!("no stream here has this route; there are {}", routes(&all))
        })
    })?;
    let others = all.iter().filter(|other| {
        let same = is_same_stream(other, source) && other.folder.path != source.folder.path;
        let wanted = arguments.to.is_none_or(|to| route(other) == to);
        same && wanted && other.folder.path.parent() == source.folder.path.parent()
    });
    let target = only(others).map_err(|many| {
        usage(if many {
            format!("the stream has several other routes: name one with --to; {}", routes(&all))
        } else {
            "there is no other such route of the stream here; load the VCL that has it first"
                .to_owned()
        })
    })?;
    let work =
        Move { from: &source.folder, to: &target.folder, change_signer: arguments.change_signer };
    work.check().map_err(usage)?;
    let root = &source.folder.path;
    let failed = |source| Error::File { path: root.display().to_string(), source };
    let glance = spool::glance(root).map_err(failed)?;
    if let Some(pid) = glance.holder {
        let text = format!(
            "process {pid} has {} and still tries to send it; stop varnishd first, and start it again \
             after this",
            root.display()
        );
        return Err(Error::InUse(format!("requeue --from {from}: {text}")));
    }
    let done = if arguments.dry_run {
        work.foretell()
    } else {
        work.carry_out(&environment(Arc::new(Terminal)))
    };
    let done = done.map_err(usage)?;
    let moved = done.moved;
    let to = route(target);
    if arguments.json {
        json(
            out,
            &serde_json::json!({
                "stream": stream(source), "from": from, "to": to, "dry_run": arguments.dry_run,
                "blocks": moved.blocks, "records": moved.records, "stored_bytes": moved.bytes,
                "left": done.stay(), "ring": done.ring,
                "failed": done.failed.iter().map(|(block, why)| {
                    serde_json::json!({ "block": block, "problem": why })
                }).collect::<Vec<_>>(),
            }),
        )?;
    } else {
        let what = format!(
            "{} with {} records, {}",
            counted(moved.blocks, "block"),
            count(moved.records),
            size(moved.bytes)
        );
        let [verb, stay, stays] = if arguments.dry_run {
            ["would be moved", "would stay", "would stay"]
        } else {
            ["moved", "stay", "stays"]
        };
        let destination = target.destination().unwrap_or_default();
        let name = printable(stream(source));
        writeln!(
            out,
            "{name}: {what} {verb} from route {from} to route {to}: {}",
            printable(&destination)
        )?;
        if arguments.dry_run {
            writeln!(out, "{name}: what the ring and the open block hold is moved as well")?;
        } else if let Some(pid) = spool::glance(&target.folder.path).map_err(failed)?.holder {
            writeln!(out, "{name}: process {pid} sends them within seconds")?;
        } else {
            writeln!(
                out,
                "{name}: no process uses the spool of that route: start varnishd or run s3log drain"
            )?;
        }
        if done.keyless > 0 {
            let blocks = counted(done.keyless, "block");
            let root = root.display();
            writeln!(out, "{name}: {blocks} {stay} in {root}: their keys are not known")?;
        }
        if let Some(why) = &done.ring {
            let (root, why) = (root.display(), printable(why));
            writeln!(
                out,
                "{name}: records stay in the ring in {root}: {why}; make room, and run the command again"
            )?;
        }
        for (block, why) in &done.failed {
            let (block, why) = (printable(block), printable(why));
            writeln!(out, "{name}: block {block} {stays} in {}: {why}", root.display())?;
        }
    }
    out.flush()?;
    Ok(if done.stay() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The only one, or whether there are several.
fn only<'a>(mut found: impl Iterator<Item = &'a RouteSpool>) -> Result<&'a RouteSpool, bool> {
    let first = found.next().ok_or(false)?;
    if found.next().is_some() { Err(true) } else { Ok(first) }
}

fn routes(all: &[RouteSpool]) -> String {
    let all: Vec<_> = all
        .iter()
        .map(|spool| {
            let destination = spool.destination().unwrap_or_else(|| "unknown".to_owned());
            format!("{} of {} ({destination})", route(spool), stream(spool))
        })
        .collect();
    all.join(", ")
}
