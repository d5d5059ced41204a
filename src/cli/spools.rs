//! The spools of this node: which streams have one, and where.

use std::path::{Path, PathBuf};

use super::Error;
use super::settings::Connection;
use crate::block::sanitise;
use crate::pipeline::{Folder, folders};
use crate::settings::DEFAULT_SPOOL;

/// Whose spools. Flattened last: its settings have a heading of their own.
#[derive(Debug, clap::Args)]
pub(super) struct Spools {
    /// Stream names as in VCL. Default: all streams in the settings file, or in the spool directory
    /// if there is no settings file.
    streams: Vec<String>,
    /// Spool directory that contains one directory per stream.
    #[arg(long, value_name = "DIRECTORY")]
    spool: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// The spool of one route of a stream.
#[derive(Debug)]
pub(super) struct RouteSpool {
    /// The stream's name, followed by `@` and the route for all routes but the first.
    pub(super) name: String,
    pub(super) folder: Folder,
}

impl RouteSpool {
    /// The one in this folder.
    pub(super) fn of(folder: Folder) -> Self {
        let name = folder.path.file_name().map(|name| name.to_string_lossy().into_owned());
        Self { name: name.unwrap_or_default(), folder }
    }

    /// What `read` finds in the folder; `None` when the folder has gone meanwhile, as that of a route
    /// does when all is sent.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Path) -> std::io::Result<T>,
    ) -> Result<Option<T>, Error> {
        let root = &self.folder.path;
        match read(root) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !root.exists() => {
                Ok(None)
            }
            Err(source) => Err(Error::File { path: root.display().to_string(), source }),
        }
    }

    /// Where its blocks go, in words; `None` when it does not say.
    pub(super) fn destination(&self) -> Option<String> {
        let saved = self.folder.saved.as_ref()?;
        let arguments = saved.arguments(self.folder.path.parent()?);
        let settings = saved.settings(&arguments);
        Some(settings.map_or_else(|error| error.to_string(), |settings| settings.destination()))
    }
}

impl Spools {
    /// The settings of the streams.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The streams that are named, or all of the settings file; none where it is the spool directory
    /// that says which there are.
    ///
    /// # Errors
    /// The settings file.
    pub(super) fn streams(&self) -> Result<Vec<String>, Error> {
        if self.streams.is_empty() && !self.connection.has_file() {
            return Ok(Vec::new());
        }
        self.connection.streams(&self.streams)
    }

    /// The spool directory of `stream`; without one, that of the command.
    ///
    /// # Errors
    /// A setting.
    pub(super) fn directory(&self, stream: Option<&str>) -> Result<PathBuf, Error> {
        if let Some(directory) = &self.spool {
            return Ok(directory.clone());
        }
        let settings = stream.map(|stream| self.connection.arguments(stream)).transpose()?;
        let given = settings.as_ref().and_then(|settings| settings.get("spool"));
        Ok(PathBuf::from(given.unwrap_or(DEFAULT_SPOOL)))
    }

    /// The spools of the streams, one for each route.
    ///
    /// # Errors
    /// A setting, or a directory that cannot be read or has no spool.
    pub(super) fn find(&self) -> Result<Vec<RouteSpool>, Error> {
        if self.streams.is_empty() && !self.connection.has_file() {
            return self.all();
        }
        let streams = self.connection.streams(&self.streams)?;
        let mut found = Vec::new();
        for stream in streams {
            let directory = self.directory(Some(&stream))?;
            let folders = folders(&directory, &stream).map_err(unread(&directory))?;
            if folders.is_empty() {
                return Err(none(&stream, &directory));
            }
            found.extend(folders.into_iter().map(RouteSpool::of));
        }
        Ok(found)
    }

    /// All that are in the directory.
    fn all(&self) -> Result<Vec<RouteSpool>, Error> {
        let directory = self.directory(None)?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(unread(&directory))? {
            let path = entry.map_err(unread(&directory))?.path();
            if path.join("lock").exists() {
                found.push(path);
            }
        }
        if found.is_empty() {
            let text = format!("{}: no stream has its spool here", directory.display());
            return Err(Error::Usage(text));
        }
        found.sort();
        Ok(found.into_iter().map(Folder::read).map(RouteSpool::of).collect())
    }
}

/// Why nothing can be done with a spool directory that cannot be read.
pub(super) fn unread(directory: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = directory.display().to_string();
    move |source| Error::File { path: path.clone(), source }
}

/// Why nothing can be done for a stream without a spool.
pub(super) fn none(stream: &str, directory: &Path) -> Error {
    Error::Usage(format!(
        "stream {stream}: no spool at {}; give its directory with --set spool=DIRECTORY",
        directory.join(sanitise(stream)).display()
    ))
}
