//! Folders with records of routes that no VCL has and that cannot be started, for `.status()` and the
//! counters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::folder::Folder;
use crate::{ring, spool};

/// By folder.
#[derive(Debug, Default, Clone)]
pub(super) struct StuckRoutes(Arc<Mutex<BTreeMap<PathBuf, Stuck>>>);

#[derive(Debug)]
struct Stuck {
    stream: String,
    shown: serde_json::Value,
    problem: String,
    /// `None` where it is to be read the next time in any case.
    changed: Option<Changed>,
}

/// When names came into a folder or left it, and those in it where others put blocks and notes.
type Changed = [Option<SystemTime>; 3];

/// Times of files go in steps: one that is younger than this may be that of the next change as well.
const SETTLED: Duration = Duration::from_secs(2);

fn changed(folder: &Path) -> Changed {
    let at = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    [at(folder), at(&folder.join("moved")), at(&folder.join("ship"))]
}

/// Whether a change from now on shows in other times than these.
fn is_settled(changed: &Changed) -> bool {
    let now = SystemTime::now();
    let old = |time: &SystemTime| now.duration_since(*time).is_ok_and(|age| age >= SETTLED);
    changed[0].is_some() && changed.iter().flatten().all(old)
}

impl StuckRoutes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Stuck>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes why the records of `stream` in `folder` are not sent. How many they are is read where that
    /// may have changed: of a large spool it takes long.
    pub(super) fn note(&self, stream: &str, folder: &Folder, problem: &str) {
        // Before it is read: what changes meanwhile is read the next time.
        let changed = changed(&folder.path);
        let known = self.lock().get(&folder.path).is_some_and(|stuck| {
            stuck.stream == stream && stuck.problem == problem && stuck.changed == Some(changed)
        });
        if known {
            return;
        }
        let file = folder.path.join("ring");
        let (ring, glance) = (ring::glance(&file), spool::glance(&folder.path));
        // Without a descriptor, say, the numbers are not those of the folder.
        let read = glance.is_ok() && (ring.is_ok() || file.try_exists().is_ok_and(|there| !there));
        let (ring, glance) = (ring.ok(), glance.unwrap_or_default());
        let changed = Some(changed).filter(|changed| read && is_settled(changed));
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
        let (stream, problem) = (stream.to_owned(), problem.to_owned());
        self.lock().insert(folder.path.clone(), Stuck { stream, shown, problem, changed });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BootId, Drops};
    use crate::spool::{ChunkStats, Disk, Options, Spool};

    #[test]
    fn a_stuck_folder_is_read_again_only_when_something_in_it_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("access");
        let seal = |payload: Option<Vec<u8>>| {
            let options = Options::new("access", "node", BootId::new(1_800_000_000, 1));
            let disk = Arc::new(Disk::open(&root).unwrap());
            let (mut spool, _) = Spool::open(disk, options, payload.as_deref()).unwrap();
            spool.append(b"1\n", ChunkStats { records: 1, ..ChunkStats::default() }).unwrap();
            spool.seal(&Drops::default()).unwrap().unwrap().1.as_bytes().to_vec()
        };
        let payload = seal(None);
        let stuck = StuckRoutes::default();
        let records = |problem: &str| {
            stuck.note("access", &Folder::read(root.clone()), problem);
            stuck.of(Some(directory.path()), "access")[0]["records"].as_u64().unwrap()
        };
        let hour = Duration::from_secs(3_600);
        let touch = |age: Duration| {
            let times = std::fs::FileTimes::new().set_modified(SystemTime::now() - age);
            let names = [root.clone(), root.join("moved"), root.join("ship")];
            for folder in names.iter().filter(|folder| folder.is_dir()) {
                std::fs::File::open(folder).unwrap().set_times(times).unwrap();
            }
        };
        touch(2 * hour);
        assert_eq!(records("no key"), 1);
        // Such as changes no name: whoever looks finds another number.
        let sidecar = root.join("0000000001.json");
        let before = std::fs::read(&sidecar).unwrap();
        std::fs::write(&sidecar, "").unwrap();
        assert_eq!(records("no key"), 1, "it was read again");
        assert_eq!(records("no gateway"), 0);
        std::fs::write(&sidecar, before).unwrap();
        seal(Some(payload));
        touch(hour);
        assert_eq!(records("no gateway"), 2);

        // A time that is that of the next change, too, and a ring that cannot be read now.
        let vanish = |vanishes: bool| {
            let before = std::fs::read(&sidecar).unwrap();
            std::fs::write(&sidecar, "").unwrap();
            assert_eq!(records("no gateway") < 2, vanishes);
            std::fs::write(&sidecar, before).unwrap();
        };
        vanish(false);
        touch(Duration::ZERO);
        assert_eq!(records("no gateway"), 2);
        vanish(true);
        std::fs::write(root.join("ring"), "no ring").unwrap();
        touch(3 * hour);
        assert_eq!(records("no gateway"), 2);
        vanish(true);
        std::fs::remove_file(root.join("ring")).unwrap();
        touch(4 * hour);
        assert_eq!(records("no gateway"), 2);
        vanish(false);
    }
}
