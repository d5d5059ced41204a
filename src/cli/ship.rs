//! `s3log ship`: uploads what varnishd packs, for streams with `upload = "external"`.
//!
//! It runs beside varnishd as another user, with the credentials that varnishd does not have. It
//! looks for folders of its streams, uploads from each with the module's own uploaders, and leaves
//! notes of what became of each block. It may start, stop and be killed at any time, before or after
//! varnishd.
//!
//! Non-goals: what varnishd has not sealed (`s3log drain` does that when varnishd is gone), and
//! removing anything.
//!
//! Limits: one process a folder uploads; a second one waits. A look at all folders each
//! [`LOOK`], for new ones each [`SCAN`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use super::Error;
use super::error::bare;
use super::node::{Terminal, environment};
use super::settings::Connection;
use crate::events::{Events as _, Level};
use crate::pipeline::{Environment, Folder, Shipment, folders};
use crate::settings::{Arguments, DEFAULT_SPOOL};

/// Between two looks at what is in the folders.
const LOOK: Duration = Duration::from_millis(250);

/// Between two looks for folders.
const SCAN: Duration = Duration::from_secs(2);

/// Whose blocks, and where they go.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "For streams whose VCL has upload = external. Run it as a user of its own, whose group \
                  the spool directory has, with a credentials file that only this user can read; the \
                  unit s3log-ship.service does that (docs/operations.md). Settings about requests come \
                  from here and not from VCL; endpoint must be the one that VCL has.\n\n\
                  It runs until SIGTERM or SIGINT, finishes the uploads in progress for at most \
                  exit_timeout, and leaves the rest in the spool for its next start.\n\n\
                  Exit codes: 0 stopped by a signal, 2 invalid arguments or settings."
)]
pub(super) struct ShipArgs {
    /// Stream names as in VCL. Default: all streams in the settings file, or in the spool directory
    /// if there is no settings file.
    streams: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Uploads until a signal comes.
///
/// # Errors
/// A setting, at the start.
pub(super) fn run(arguments: &ShipArgs) -> Result<ExitCode, Error> {
    let signal = signals()?;
    let mut ship = Ship::new(arguments);
    for (_, given) in ship.streams()? {
        given.required("endpoint", "https://host, optionally with a port")?;
        given.duration("exit_timeout")?;
    }
    let mut scanned: Option<Instant> = None;
    loop {
        if scanned.is_none_or(|at| at.elapsed() >= SCAN) {
            scanned = Some(Instant::now());
            ship.scan();
        }
        ship.follow();
        match signal.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    ship.end();
    Ok(ExitCode::SUCCESS)
}

/// Says when the process is asked to end. To be called before there are threads, which inherit what
/// is blocked.
fn signals() -> Result<Receiver<()>, Error> {
    let mut asked = SigSet::empty();
    asked.add(Signal::SIGTERM);
    asked.add(Signal::SIGINT);
    asked.thread_block().map_err(io::Error::from)?;
    let (send, receive) = mpsc::channel();
    let wait = move || {
        while asked.wait().is_ok() {
            if send.send(()).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("s3log-signal".to_owned()).spawn(wait)?;
    Ok(receive)
}

/// A folder that is uploaded from.
struct Open {
    shipment: Shipment,
    /// How long the uploads in progress may take at the end.
    exit_timeout: Duration,
}

struct Ship<'a> {
    arguments: &'a ShipArgs,
    environment: Environment,
    open: BTreeMap<PathBuf, Open>,
    /// What was last said of a folder or a directory.
    said: BTreeMap<PathBuf, String>,
}

impl<'a> Ship<'a> {
    fn new(arguments: &'a ShipArgs) -> Self {
        let environment = environment(Arc::new(Terminal));
        Self { arguments, environment, open: BTreeMap::new(), said: BTreeMap::new() }
    }

    /// The streams that are named, or that the settings file has by now, with what is given for each;
    /// one without a name stands for all.
    fn streams(&self) -> Result<Vec<(Option<String>, Arguments)>, Error> {
        let connection = &self.arguments.connection;
        if self.arguments.streams.is_empty() && !connection.has_file() {
            return Ok(vec![(None, connection.arguments("*")?)]);
        }
        let streams = connection.streams(&self.arguments.streams)?;
        let given = |stream: String| {
            let arguments = connection.arguments(&stream)?;
            Ok((Some(stream), arguments))
        };
        streams.into_iter().map(given).collect()
    }

    /// Opens the folders that have come, and leaves those that varnishd uploads from now.
    fn scan(&mut self) {
        let left: Vec<PathBuf> =
            self.open.keys().filter(|path| Folder::is_taken_back(path)).cloned().collect();
        for path in left {
            // What is in progress is finished; then the right to upload is varnishd's.
            self.open.remove(&path);
        }
        let streams = match self.streams() {
            Ok(streams) => streams,
            // It was valid at the start, and what is open goes on.
            Err(error) => return self.say(Path::new(""), Level::Error, error.to_string()),
        };
        for (stream, given) in streams {
            let directory = PathBuf::from(given.get("spool").unwrap_or(DEFAULT_SPOOL));
            let found = std::fs::read_dir(&directory).and_then(|_| match &stream {
                Some(stream) => folders(&directory, stream),
                None => all(&directory),
            });
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    let text = format!("{}: {error}; it is looked for again", directory.display());
                    self.say(&directory, Level::Warn, text);
                    continue;
                }
            };
            self.said.remove(&directory);
            for folder in found {
                if !self.open.contains_key(&folder.path) {
                    self.open_folder(&folder, &given);
                }
            }
        }
    }

    fn open_folder(&mut self, folder: &Folder, given: &Arguments) {
        let path = &folder.path;
        match self.try_open(folder, given) {
            Ok(open) => {
                let to = open.shipment.destination();
                self.say(path, Level::Info, format!("{} is uploaded to {to}", path.display()));
                self.open.insert(path.clone(), open);
            }
            Err((level, why)) => {
                let text = format!("{} is not uploaded: {why}", path.display());
                self.say(path, level, text);
            }
        }
    }

    fn try_open(&self, folder: &Folder, given: &Arguments) -> Result<Open, (Level, String)> {
        let path = &folder.path;
        let warn =
            |error: &dyn std::fmt::Display| (Level::Warn, bare(&error.to_string()).to_owned());
        std::fs::read_dir(path).map_err(|error| {
            let text = format!(
                "{error}; a stream with upload = external lets the directory's group read it"
            );
            (Level::Warn, text)
        })?;
        let Some(saved) = &folder.saved else {
            return Err((Level::Warn, "its file route cannot be read".to_owned()));
        };
        if !folder.is_external() {
            let text = "the stream's upload is internal, so its varnishd uploads it";
            return Err((Level::Info, text.to_owned()));
        }
        let named = given.named(saved.stream());
        let settings = saved.settings_to_ship(&named).map_err(|error| warn(&error))?;
        let exit_timeout = settings.exit_timeout;
        let shipment = Shipment::open(folder, settings, &self.environment);
        Ok(Open { shipment: shipment.map_err(|error| warn(&error))?, exit_timeout })
    }

    fn follow(&mut self) {
        let (mut gone, mut said) = (Vec::new(), Vec::new());
        for (path, open) in &self.open {
            match open.shipment.follow() {
                Ok(true) => {}
                Ok(false) => gone.push(path.clone()),
                Err(error) => {
                    said.push((path.clone(), format!("{}: {error}", path.display())));
                }
            }
        }
        for (path, text) in said {
            self.say(&path, Level::Warn, text);
        }
        for path in gone {
            self.open.remove(&path);
            self.say(&path, Level::Info, format!("{} is gone", path.display()));
        }
    }

    /// Finishes what is in progress.
    fn end(&mut self) {
        let begin = Instant::now();
        for open in self.open.values() {
            open.shipment.stop();
        }
        let busy = |open: &Open| !open.shipment.is_idle() && begin.elapsed() < open.exit_timeout;
        while self.open.values().any(busy) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Says something of a place, once until something else is said of it.
    fn say(&mut self, place: &Path, level: Level, text: String) {
        if self.said.get(place) != Some(&text) {
            Terminal.event(level, bare(&text));
            self.said.insert(place.to_owned(), text);
        }
    }
}

/// All spools in a directory.
fn all(directory: &Path) -> io::Result<Vec<Folder>> {
    let entries = std::fs::read_dir(directory)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.is_dir());
    paths.sort();
    Ok(paths.into_iter().map(Folder::read).collect())
}
