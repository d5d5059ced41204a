//! Folders with records of routes that no VCL has and that cannot be started, for `.status()` and the
//! counters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::folder::Folder;
use crate::{ring, spool};

/// By folder.
#[derive(Debug, Default, Clone)]
pub(super) struct StuckRoutes(Arc<Mutex<BTreeMap<PathBuf, Stuck>>>);

#[derive(Debug)]
struct Stuck {
    stream: String,
    shown: serde_json::Value,
}

impl StuckRoutes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Stuck>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes why the records of `stream` in `folder` are not sent.
    pub(super) fn note(&self, stream: &str, folder: &Folder, problem: &str) {
        let ring = ring::glance(&folder.path.join("ring")).ok();
        let glance = spool::glance(&folder.path).unwrap_or_default();
        let open = ring.and_then(|ring| spool::open_glance(&ring.payload));
        let damaged = glance.damaged(open.as_ref()).blocks;
        let open = open.filter(|open| open.records > 0);
        let shown = serde_json::json!({
            "route": folder.route().map(|route| route.to_string()),
            "folder": folder.path.display().to_string(),
            "blocks": glance.sealed.blocks + glance.held.blocks + glance.moved.blocks
                + damaged + u64::from(open.is_some()),
            "records": glance.sealed.records + glance.held.records + glance.moved.records
                + open.map_or(0, |open| open.records),
            "problem": problem,
        });
        self.lock().insert(folder.path.clone(), Stuck { stream: stream.to_owned(), shown });
    }

    /// It is started, or gone.
    pub(super) fn forget(&self, folder: &Path) {
        self.lock().remove(folder);
    }

    /// Forgets those of a stream in the spool `directory` that are not among `there`: they are gone.
    pub(super) fn keep(&self, directory: &Path, stream: &str, there: &[Folder]) {
        self.lock().retain(|folder, one| {
            one.stream != stream
                || folder.parent() != Some(directory)
                || there.iter().any(|there| there.path == *folder)
        });
    }

    /// Those of a stream in the spool `directory`.
    pub(super) fn of(&self, directory: Option<&Path>, stream: &str) -> Vec<serde_json::Value> {
        let stuck = self.lock();
        let of = stuck.iter().filter(|(folder, one)| {
            one.stream == stream && folder.parent() == directory && directory.is_some()
        });
        of.map(|(_, one)| one.shown.clone()).collect()
    }
}
