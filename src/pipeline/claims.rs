//! Which folders are just being opened or removed, so that no two threads do so to one.
//!
//! Opening a spool may take as long as its disk does. Only whoever wants that folder waits for it: a
//! `vcl.load` does not wait for what is taken up of other routes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::block::RouteId;

/// What tells one pipeline from another: the stream's name, where its spool is, and its route.
pub(super) type Id = (String, Option<PathBuf>, RouteId);

#[derive(Debug, Default)]
struct Shared {
    claimed: Mutex<Vec<(Id, Option<PathBuf>)>>,
    changed: Condvar,
}

/// The claims of this process.
#[derive(Debug, Default, Clone)]
pub(super) struct Claims(Arc<Shared>);

/// A claim, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    shared: Arc<Shared>,
    id: Id,
    folder: Option<PathBuf>,
}

impl Claim {
    /// The folder; `None` in memory.
    pub(super) fn folder(&self) -> Option<&PathBuf> {
        self.folder.as_ref()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = lock(&self.shared);
        if let Some(at) = claimed.iter().position(|(id, at)| *id == self.id && *at == self.folder) {
            claimed.swap_remove(at);
        }
        drop(claimed);
        self.shared.changed.notify_all();
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Vec<(Id, Option<PathBuf>)>> {
    shared.claimed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claims {
    /// Claims the folder that `choose` picks for `id`, which is told whether another pipeline has
    /// claimed a folder. Waits for whoever has claimed the same.
    pub(super) fn wait(
        &self,
        id: &Id,
        choose: impl Fn(&dyn Fn(&Path) -> bool) -> Option<PathBuf>,
    ) -> Claim {
        let mut claimed = lock(&self.0);
        loop {
            let taken = |path: &Path| {
                claimed.iter().any(|(other, folder)| other != id && folder.as_deref() == Some(path))
            };
            let folder = choose(&taken);
            let same = |(other, at): &(Id, Option<PathBuf>)| {
                other == id || folder.is_some() && *at == folder
            };
            if !claimed.iter().any(same) {
                claimed.push((id.clone(), folder.clone()));
                return Claim { shared: Arc::clone(&self.0), id: id.clone(), folder };
            }
            claimed = self.0.changed.wait(claimed).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Claims `folder` for `id` unless somebody has it or is opening a pipeline of that id.
    pub(super) fn try_folder(&self, id: &Id, folder: &Path) -> Option<Claim> {
        let mut claimed = lock(&self.0);
        if claimed.iter().any(|(other, at)| other == id || at.as_deref() == Some(folder)) {
            return None;
        }
        let folder = Some(folder.to_owned());
        claimed.push((id.clone(), folder.clone()));
        Some(Claim { shared: Arc::clone(&self.0), id: id.clone(), folder })
    }
}
