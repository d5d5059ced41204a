//! What all parts of `doctor` look at: one varnishd, its counters and parameters, and the spools.

use std::path::{Path, PathBuf};

use crate::cli::Error;
use crate::cli::settings::Connection;
use crate::cli::spools::{RouteSpool, Spools};
use crate::cli::varnishd::{Counters, Parameters, Varnishd};
use crate::pipeline::{Folder, folders};
use crate::settings::Settings;

/// What all parts look at.
pub(super) struct Node<'a> {
    /// The module's file, if it is named.
    pub(super) module: Option<&'a Path>,
    /// Whether no gateway is to be asked.
    pub(super) offline: bool,
    pub(super) connection: &'a Connection,
    pub(super) varnishd: Varnishd,
    pub(super) counters: Option<Counters>,
    pub(super) parameters: Option<Parameters>,
    /// The streams that were named, with their settings or why they cannot be used.
    pub(super) streams: Vec<(String, Result<Settings, Error>)>,
    /// The spool directories of all streams.
    pub(super) directories: Vec<PathBuf>,
    /// The folders in them.
    pub(super) spools: Vec<RouteSpool>,
}

impl<'a> Node<'a> {
    /// Looks at the varnishd of this `-n` and at the spools `given`.
    ///
    /// # Errors
    /// Several varnishd run and none is named, or an argument.
    pub(super) fn look(
        varnish: Option<&Path>,
        module: Option<&'a Path>,
        offline: bool,
        given: &'a Spools,
    ) -> Result<Self, Error> {
        let varnishd = Varnishd::find(varnish)?;
        let names = given.streams()?;
        let mut directories = Vec::new();
        let mut spools = Vec::new();
        if names.is_empty() {
            let directory = given.directory(None)?;
            let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
            let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
            paths.retain(|path| path.join("lock").exists());
            paths.sort();
            spools.extend(paths.into_iter().map(Folder::read).map(RouteSpool::of));
            directories.push(directory);
        }
        for name in &names {
            let directory = given.directory(Some(name))?;
            // What is wrong with the directory is a finding of its own.
            let found = folders(&directory, name).unwrap_or_default();
            spools.extend(found.into_iter().map(RouteSpool::of));
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        directories.retain(|directory| directory.as_os_str() != "none");
        let settings = |name: String| {
            let settings = given.connection().settings(&name);
            (name, settings)
        };
        Ok(Self {
            module,
            offline,
            connection: given.connection(),
            counters: varnishd.counters().ok(),
            parameters: varnishd.parameters().ok(),
            varnishd,
            streams: names.into_iter().map(settings).collect(),
            directories,
            spools,
        })
    }
}
