//! `s3log drain`: what a node's spool holds goes to the bucket while Varnish is down.
//!
//! It is the module's own pipeline, with nobody who logs: the spool's lock is taken, the ring
//! packed, the open block sealed, and all of it uploaded, oldest first. Interrupting it costs
//! nothing: what is not uploaded stays where it is.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::bare;
use super::node::{Terminal, become_owner, environment};
use super::settings::Connection;
use super::terminal::Progress;
use super::terminal::output::{count, counted, json, size};
use super::{Error, spools};
use crate::events::{Events, Level};
use crate::pipeline::{FOREVER, Folder, Registry, StartError, folders, may_be_of};
use crate::settings::table::ARGUMENTS;
use crate::settings::{Place, Settings};
use crate::spool::{self, DiskError};
use crate::stats::{Stats, get};
use crate::units;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(100);
/// What a pipeline gets to close by itself after its time is over.
const GRACE: Duration = Duration::from_secs(2);

/// Which spool, and for how long.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Use it on a node that goes out of service, or whose Varnish cannot start. Run it as the \
                  user that owns the spool; root becomes that user, and another one is refused. It runs until \
                  everything is uploaded; blocks that the gateway refuses for good are quarantined in the spool \
                  (see s3log requeue).\n\n\
                  Exit codes: 0 everything is in the bucket, 1 blocks are left in the spool or \
                  quarantined, or the spool could not be read, 2 invalid arguments or settings."
)]
pub(super) struct DrainArgs {
    /// Stream names as in VCL. Default: all streams in the settings file.
    streams: Vec<String>,
    /// Give up after this time in total, such as 10m. Default: no limit.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Print one JSON object per stream.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).ok_or_else(|| "expected a duration such as 30s, 10m or 2h".to_owned())
}

/// Messages of the pipeline, with the bar out of their way.
struct Aside(Arc<Progress>);

impl Events for Aside {
    fn event(&self, level: Level, message: &str) {
        self.0.aside(|| Terminal.event(level, message));
    }
}

/// Drains the streams one after the other.
///
/// # Errors
/// A setting, or a spool that cannot be used: another process has it, or there is none.
pub(super) fn run(arguments: &DrainArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let streams = arguments.connection.streams(&arguments.streams)?;
    let all = streams.iter().map(|stream| arguments.connection.settings_again(stream));
    let all = all.collect::<Result<Vec<_>, _>>()?;
    let directories = all.iter().filter_map(|settings| match &settings.place {
        // What cannot be read is refused a moment later, with the reason.
        Place::Directory(directory) => folders(directory, &settings.stream).ok(),
        Place::Memory => None,
    });
    // Where there are several owners, `drain_folder` refuses what is another one's.
    become_owner(directories.flatten())?;
    for objection in all.iter().flat_map(|settings| &settings.objections) {
        // What was logged is sent all the same.
        Terminal.event(Level::Warn, bare(&objection.to_string()));
    }
    let start = Instant::now();
    let whole = each(&all, |settings| drain(arguments, settings, start, out))?;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether all of a stream is in the bucket, whichever routes it is for.
fn drain(
    arguments: &DrainArgs,
    settings: &Settings,
    start: Instant,
    out: &mut dyn Write,
) -> Result<bool, Error> {
    let stream = &settings.stream;
    let Place::Directory(directory) = &settings.place else {
        let text = format!("stream {stream}: spool is \"none\", so there is nothing to upload");
        return Err(Error::Usage(text));
    };
    let folders = folders(directory, stream).map_err(spools::unread(directory))?;
    if folders.is_empty() {
        return Err(spools::none(stream, directory));
    }
    each(&folders, |folder| {
        let mut settings = of_folder(settings, directory, folder)?;
        settings.exit_timeout = left(arguments, start).unwrap_or(FOREVER);
        drain_folder(arguments, settings, folder, out)
    })
}

/// Whether `drain` has done all of each item. One that fails keeps back none of the others; an only
/// one's error is the command's.
fn each<T>(items: &[T], mut drain: impl FnMut(&T) -> Result<bool, Error>) -> Result<bool, Error> {
    let mut whole = true;
    for item in items {
        whole &= match drain(item) {
            Err(error) if items.len() > 1 && !matches!(error, Error::Output(_)) => {
                error.say();
                false
            }
            done => done?,
        };
    }
    Ok(whole)
}

/// What is left of the time for all streams and routes together; `None` for no limit.
fn left(arguments: &DrainArgs, start: Instant) -> Option<Duration> {
    arguments.timeout.map(|timeout| timeout.saturating_sub(start.elapsed()))
}

/// The settings of a folder: its own route, and the rest as the operator says.
fn of_folder(given: &Settings, directory: &Path, folder: &Folder) -> Result<Settings, Error> {
    let Some(saved) = &folder.saved else {
        return adopt(given, folder);
    };
    let mut arguments = saved.arguments(directory);
    for known in ARGUMENTS.iter().filter(|known| !known.route && known.name != "spool") {
        arguments.set(known.name, given.arguments.get(known.name).map(str::to_owned));
    }
    // While s3log ship is at work in the folder, what is sealed here is left to it.
    arguments.set("upload", Some("internal".to_owned()));
    Ok(saved.settings(&arguments)?)
}

/// The settings as given, for a folder that does not say whose it is. What was logged for one
/// destination is not sent to another one because a file cannot be read.
fn adopt(given: &Settings, folder: &Folder) -> Result<Settings, Error> {
    let path = folder.path.display();
    let refuse = |why: String| Err(Error::Usage(format!("{path}: {why}")));
    match folder.route() {
        Some(route) if route != given.route() => refuse(format!(
            "it is the folder of route {route}, its file route cannot be read, and the settings \
             given are those of route {}; give those of {route} with --config or --set",
            given.route()
        )),
        None if folder.path.join("route").symlink_metadata().is_ok() => refuse(format!(
            "its file route is damaged; if its records are for {}, remove that file and drain again",
            given.destination()
        )),
        // Of a release that had one folder a stream.
        _ => {
            let mut arguments = given.arguments.clone();
            arguments.set("upload", Some("internal".to_owned()));
            let settings = Settings::read_again(&arguments)?;
            if folder.route().is_none() && !may_be_of(&folder.path, &settings) {
                return refuse(format!(
                    "its blocks have another name than those for {}, or are encrypted and the settings \
                     given encrypt nothing; give the settings that it was written with by --config or --set",
                    settings.destination()
                ));
            }
            Ok(settings)
        }
    }
}

/// Whether all of a folder is in the bucket.
fn drain_folder(
    arguments: &DrainArgs,
    settings: Settings,
    folder: &Folder,
    out: &mut dyn Write,
) -> Result<bool, Error> {
    let root = &folder.path;
    // What root packs and seals, varnishd's user could not read.
    spool::check_owner(root)
        .map_err(|error| Error::Usage(format!("{}: {error}", root.display())))?;
    let stream = root
        .file_name()
        .map_or_else(|| settings.stream.clone(), |name| name.to_string_lossy().into_owned());
    let progress = Arc::new(Progress::open("blocks uploaded"));
    let environment = environment(Arc::new(Aside(Arc::clone(&progress))));
    let timeout = arguments.timeout.map(|_| settings.exit_timeout);
    let registry = Registry::default();
    let taken = registry.take_up(folder, settings, &environment).map_err(in_use)?;
    let stats = &taken.stats;
    watch(&registry, stats, &progress, timeout);
    let (blocks, records) = (get(&stats.blocks_uploaded), get(&stats.uploaded_records));
    let (left, left_records) = (get(&stats.spooled_blocks), get(&stats.spooled_records));
    let (aside, aside_records) = (get(&stats.quarantined_blocks), get(&stats.quarantined_records));
    let in_ring = get(&stats.ring_used);
    // What its time was too short for, or could not be read, see the messages.
    let moved = spool::moved_here(root)
        .map_err(|source| StartError::Spool { stream: stream.clone(), source })?
        .len() as u64;
    let read = taken.is_read();
    let whole = read && left == 0 && aside == 0 && in_ring == 0 && moved == 0;
    if arguments.json {
        json(
            out,
            &serde_json::json!({
                "stream": stream, "drained": whole, "spool_read": read, "moved_blocks": moved,
                "counters": stats.to_json(),
            }),
        )?;
        return Ok(whole);
    }
    if !read {
        let root = root.display();
        writeln!(
            out,
            "{stream}: NOT DRAINED: {root} was not read: what waits there, and in its ring, stays there; the \
             messages say why, or the time was too short"
        )?;
        return Ok(false);
    }
    writeln!(
        out,
        "{stream}: {} with {} uploaded, {}",
        counted(blocks, "block"),
        counted(records, "record"),
        size(get(&stats.uploaded_bytes)),
    )?;
    if left > 0 || in_ring > 0 {
        writeln!(
            out,
            "{stream}: NOT DRAINED: {} with {} and {} of the ring are left in {}",
            counted(left, "block"),
            counted(left_records, "record"),
            size(in_ring),
            root.display(),
        )?;
    }
    if moved > 0 {
        writeln!(
            out,
            "{stream}: NOT DRAINED: {} from another route left in {}/moved",
            counted(moved, "block"),
            root.display(),
        )?;
    }
    if aside > 0 {
        writeln!(
            out,
            "{stream}: {} with {} records quarantined in {}/quarantine; see s3log requeue",
            counted(aside, "block"),
            count(aside_records),
            root.display(),
        )?;
    }
    Ok(whole)
}

/// Says what to do about a varnishd that is still there.
fn in_use(error: StartError) -> Error {
    match error {
        StartError::Disk { stream, source: DiskError::InUse { path, pid } } => {
            let who = pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
            Error::InUse(format!(
                "stream {stream}: {who} uses the spool {} and uploads it; stop varnishd first",
                path.display()
            ))
        }
        error => Error::Start(error),
    }
}

/// Shows how far it is until the pipeline has closed, or `timeout` is over although a request or a
/// disk still has one of its threads: what they have in hand stays in the spool, as after a kill.
fn watch(registry: &Registry, stats: &Stats, progress: &Progress, timeout: Option<Duration>) {
    let start = Instant::now();
    let late = || timeout.is_some_and(|timeout| start.elapsed() > timeout.saturating_add(GRACE));
    while !registry.is_empty() && !late() {
        progress.set(get(&stats.blocks_uploaded));
        std::thread::sleep(LOOK);
    }
    progress.clear();
}
