//! The spools of this node: which streams have one, and where.

use std::path::{Path, PathBuf};

use super::Error;
use super::settings::Connection;
use crate::block::sanitise;
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

/// Where the spool of a stream is, below the directory of all streams.
pub(super) fn root(directory: &Path, stream: &str) -> PathBuf {
    directory.join(sanitise(stream))
}

impl Spools {
    /// The streams' names and their spools.
    ///
    /// # Errors
    /// A setting, or a directory that cannot be read or has no spool.
    pub(super) fn find(&self) -> Result<Vec<(String, PathBuf)>, Error> {
        let directory = |stream: &str| -> Result<PathBuf, Error> {
            if let Some(directory) = &self.spool {
                return Ok(directory.clone());
            }
            let settings = self.connection.arguments(stream)?;
            Ok(PathBuf::from(settings.get("spool").unwrap_or(DEFAULT_SPOOL)))
        };
        if let Ok(streams) = self.connection.streams(&self.streams) {
            let with_root = |stream: String| {
                let root = root(&directory(&stream)?, &stream);
                Ok((stream, root))
            };
            return streams.into_iter().map(with_root).collect();
        }
        let directory = self.spool.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_SPOOL));
        let failed = |source| Error::File { path: directory.display().to_string(), source };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.path().join("lock").exists() {
                found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
            }
        }
        if found.is_empty() {
            let text = format!("{}: no stream has its spool here", directory.display());
            return Err(Error::Usage(text));
        }
        found.sort();
        Ok(found)
    }
}
