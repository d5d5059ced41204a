//! Which folders are just being opened or removed, so that no two threads do so to one.
//!
//! Opening a spool may take as long as its disk does. Only whoever wants that folder waits for it: a
//! `vcl.load` does not wait for what is taken up of other routes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::block::RouteId;

/// What tells one pipeline from another: the stream's name, where its spool is, and its route.
pub(super) type Id = (String, Option<PathBuf>, RouteId);

#[derive(Debug, Default)]
struct Claimed {
    all: Vec<(Id, Option<PathBuf>)>,
    /// Goes up with each claim that is made or ends.
    changes: u64,
}

#[derive(Debug, Default)]
struct Shared {
    claimed: Mutex<Claimed>,
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
        let mine = |(id, at): &(Id, Option<PathBuf>)| *id == self.id && *at == self.folder;
        if let Some(at) = claimed.all.iter().position(mine) {
            claimed.all.swap_remove(at);
        }
        claimed.changes += 1;
        drop(claimed);
        self.shared.changed.notify_all();
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Claimed> {
    shared.claimed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claims {
    fn claim(&self, claimed: &mut Claimed, id: &Id, folder: Option<PathBuf>) -> Claim {
        claimed.all.push((id.clone(), folder.clone()));
        claimed.changes += 1;
        Claim { shared: Arc::clone(&self.0), id: id.clone(), folder }
    }

    /// Claims the folder that `choose` picks for `id`, which is told whether another pipeline has
    /// claimed a folder. Waits for whoever has claimed the same. `choose` reads the disk, so nobody is
    /// kept waiting for it; it is asked again when claims have changed meanwhile.
    ///
    /// # Errors
    /// Those of `choose`.
    pub(super) fn wait(
        &self,
        id: &Id,
        choose: impl Fn(&dyn Fn(&Path) -> bool) -> io::Result<Option<PathBuf>>,
    ) -> io::Result<Claim> {
        let mut claimed = lock(&self.0);
        loop {
            let (all, seen) = (claimed.all.clone(), claimed.changes);
            drop(claimed);
            let taken = |path: &Path| {
                all.iter().any(|(other, folder)| other != id && folder.as_deref() == Some(path))
            };
            let folder = choose(&taken)?;
            claimed = lock(&self.0);
            if claimed.changes != seen {
                continue;
            }
            let same = |(other, at): &(Id, Option<PathBuf>)| {
                other == id || folder.is_some() && *at == folder
            };
            if !claimed.all.iter().any(same) {
                return Ok(self.claim(&mut claimed, id, folder));
            }
            claimed = self.0.changed.wait(claimed).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Claims `folder` for `id` unless somebody has it or is opening a pipeline of that id.
    pub(super) fn try_folder(&self, id: &Id, folder: &Path) -> Option<Claim> {
        let mut claimed = lock(&self.0);
        if claimed.all.iter().any(|(other, at)| other == id || at.as_deref() == Some(folder)) {
            return None;
        }
        Some(self.claim(&mut claimed, id, Some(folder.to_owned())))
    }
}

#[cfg(test)]
#[cfg(not(s3log_loom))]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_reads_a_slow_disk_for_its_folder_keeps_no_other_stream_waiting() {
        let claims = Claims::default();
        let id = |name: &str| (name.to_owned(), None, "0123456789abcdef".parse().unwrap());
        let (one, two) = (id("one"), id("two"));
        let (reads, reading) = channel();
        let (release, hangs) = channel::<()>();
        let slow = claims.clone();
        let (done, ended) = channel();
        let thread = std::thread::spawn(move || {
            let hangs = Mutex::new(hangs);
            let claim = slow.wait(&one, |taken| {
                reads.send(()).unwrap();
                let _ = hangs.lock().unwrap().recv();
                let first = PathBuf::from("/spool/first");
                Ok(Some(if taken(&first) { PathBuf::from("/spool/other") } else { first }))
            });
            done.send(claim.unwrap().folder().cloned()).unwrap();
        });
        reading.recv().unwrap();
        let (got, claimed) = channel();
        let other = claims.clone();
        // In a thread of its own, so that a wait fails the test and does not hang it.
        std::thread::spawn(move || got.send(other.try_folder(&two, Path::new("/spool/first"))));
        let claim = claimed.recv_timeout(Duration::from_secs(60)).expect("it waits for the disk");
        assert!(claim.is_some());
        // What was chosen while the other one claimed it is not taken.
        drop(release);
        let chosen = ended.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(chosen, Some(PathBuf::from("/spool/other")));
        thread.join().unwrap();
    }

    #[test]
    fn a_folder_is_not_claimed_for_its_removal_while_somebody_opens_it_or_a_pipeline_of_its_id() {
        let claims = Claims::default();
        let id = |name: &str| (name.to_owned(), None, "0123456789abcdef".parse().unwrap());
        let [first, other] = ["/spool/first", "/spool/other"].map(PathBuf::from);
        let opens = claims.wait(&id("one"), |_| Ok(Some(first.clone())));
        assert!(claims.try_folder(&id("two"), &first).is_none(), "the folder is being opened");
        assert!(claims.try_folder(&id("one"), &other).is_none(), "a pipeline of the id is");
        let removes = claims.try_folder(&id("two"), &other).unwrap();
        drop(opens);
        let taken = claims.wait(&id("one"), |taken| {
            assert!(taken(&other) && !taken(&first));
            Ok(Some(first.clone()))
        });
        drop((removes, taken));
        assert!(claims.try_folder(&id("one"), &other).is_some());
    }
}
