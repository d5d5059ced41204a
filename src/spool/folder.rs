//! What can be told of a spool's folder without opening it, and its end.

use std::fs;
use std::io;
use std::path::Path;

use super::files::Flock;
use super::files::names::{
    FOREIGN, FORMAT, FORMAT_NEW, LOCK, MOVED, Name, QUARANTINE, SECRET, SHIP,
};
use super::notes;
use super::sidecar::{self, Sidecar};
use crate::block::Meta;

/// Names that are read of a folder while somebody waits; a cold disk reads as many in well under a
/// second.
pub(crate) const AT_ONCE: usize = 10_000;

/// How many numbers the newest description may be below the one that the ring names.
const NEAR: u64 = 64;

#[cfg(test)]
thread_local! {
    /// Names that this thread has read.
    pub(crate) static NAMES_READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Names in `root`.
fn names(root: &Path) -> io::Result<impl Iterator<Item = io::Result<String>>> {
    Ok(fs::read_dir(root)?.map(|entry| {
        #[cfg(test)]
        NAMES_READ.set(NAMES_READ.get() + 1);
        Ok(entry?.file_name().to_string_lossy().into_owned())
    }))
}

/// Whether there is such a name in `root`, or may be: it cannot be listed. Stops at the first.
fn has_name(root: &Path, such: impl Fn(&str) -> bool) -> bool {
    match names(root) {
        Ok(mut names) => names.any(|name| name.map_or(true, |name| such(&name))),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether there are blocks in `root` that are not sent, the open one and those that wait for a key
/// included, those in quarantine not; or may be: of what cannot be listed a start says why.
#[must_use]
pub(crate) fn has_blocks(root: &Path) -> bool {
    let is_block = |name: &str| {
        matches!(
            Name::parse(name),
            Some(Name::Data(_) | Name::Sidecar(_) | Name::Held(_) | Name::Hold(_))
        )
    };
    has_name(root, is_block) || has_name(&root.join(MOVED), |_| true)
}

/// Whether there is so much in `root` that nobody should wait for it to be read.
#[must_use]
pub(crate) fn is_large(root: &Path) -> bool {
    names(root).is_ok_and(|mut names| names.nth(AT_ONCE).is_some())
}

/// Whether records in `root` must not be uploaded unencrypted, or may be such: it cannot be listed.
#[must_use]
pub(crate) fn has_secrets(root: &Path) -> bool {
    root.join(SECRET).exists() || has_name(root, is_held)
}

/// Whether a block that waits for a key has this name.
fn is_held(name: &str) -> bool {
    matches!(Name::parse(name), Some(Name::Held(_) | Name::Hold(_)))
}

/// What the newest block that was sealed in `root` tells of who sealed it: a folder of an older release
/// does not say it otherwise.
#[derive(Debug)]
pub(crate) struct SealedBy {
    /// What the block says of itself.
    pub(crate) meta: Meta,
    /// Its key.
    pub(crate) key: String,
    /// It is encrypted.
    pub(crate) encrypted: bool,
}

/// Reads that of the newest block in `root` whose description is there, uploaded or not.
pub(crate) fn sealed_by(root: &Path) -> Option<SealedBy> {
    newest(root, names(root).ok()?.flatten())
}

/// The same of the newest of `names`.
fn newest(root: &Path, names: impl Iterator<Item = String>) -> Option<SealedBy> {
    let numbered = names.filter_map(|name| match Name::parse(&name)? {
        Name::Sidecar(number) | Name::Done(number) => Some((number, name)),
        _ => None,
    });
    let (_, name) = numbered.max()?;
    described(&sidecar::read(&root.join(name)).ok()?)
}

fn described(bytes: &[u8]) -> Option<SealedBy> {
    let sidecar = Sidecar::decode(bytes).ok()?;
    let encrypted = sidecar.is_encrypted();
    let Sidecar { key, meta, .. } = sidecar;
    Some(SealedBy { meta, key, encrypted })
}

/// What can be told of a folder at once, however much is in it.
#[derive(Debug)]
pub(crate) struct Told {
    /// See [`has_secrets`]. In a folder of more than [`AT_ONCE`] names a block that waits for a key may
    /// be missed: it waits on there.
    pub(crate) secrets: bool,
    /// See [`sealed_by`].
    pub(crate) newest: Option<SealedBy>,
}

/// Tells it of `root`, whose ring says that `open` is the number of the open block; `None` where it
/// cannot be told. Reads up to [`AT_ONCE`] names, and then tries those next to that number.
pub(crate) fn tell_at_once(root: &Path, open: Option<u64>) -> Option<Told> {
    let names: Vec<String> = names(root).ok()?.take(AT_ONCE + 1).collect::<io::Result<_>>().ok()?;
    let secrets = root.join(SECRET).exists() || names.iter().any(|name| is_held(name));
    if names.len() <= AT_ONCE {
        return Some(Told { secrets, newest: newest(root, names.into_iter()) });
    }
    let open = open?;
    // A seal that was just killed has the open block's own number.
    let numbers = (open.saturating_sub(NEAR)..=open).rev();
    let mut names = numbers.flat_map(|number| [Name::Sidecar(number), Name::Done(number)]);
    let bytes = names.find_map(|name| match sidecar::read(&root.join(name.to_string())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read),
    });
    Some(Told { secrets, newest: described(&bytes?.ok()?) })
}

/// Removes `root` with what is left of a spool in which nothing waits: its lock, its ring, the
/// chain's anchor, and the files named `more`, which go after the others. The caller holds the lock, whose
/// file is the last: who comes meanwhile finds the folder in use, or nothing in it.
///
/// # Errors
/// `DirectoryNotEmpty` when there is anything else, quarantined and foreign files included, or somebody
/// is just moving blocks into it; nothing was removed then. Else the file system's.
pub fn remove_empty(root: &Path, more: &[&str]) -> io::Result<()> {
    let Some(_alone) = Flock::take(root)? else {
        return Err(io::ErrorKind::DirectoryNotEmpty.into());
    };
    let all: Vec<String> = names(root)?.collect::<io::Result<_>>()?;
    let ours = |name: &String| {
        [FORMAT, FORMAT_NEW, LOCK, SECRET, "ring"].contains(&&**name)
            || matches!(Name::parse(name), Some(Name::Done(_)))
    };
    let folder = |name: &String| [QUARANTINE, FOREIGN, MOVED].contains(&&**name);
    let known =
        |name: &&String| ours(name) || folder(name) || *name == SHIP || more.contains(&&***name);
    let empty = |name: &&str| !has_name(&root.join(name), |_| true);
    if !all.iter().all(|name| known(&name)) || ![QUARANTINE, FOREIGN, MOVED].iter().all(empty) {
        return Err(io::ErrorKind::DirectoryNotEmpty.into());
    }
    for name in all.iter().filter(|name| folder(name)) {
        fs::remove_dir(root.join(name))?;
    }
    if all.iter().any(|name| name == SHIP) {
        notes::remove_folder(root)?;
    }
    for name in all.iter().filter(|name| ours(name) && *name != LOCK) {
        fs::remove_file(root.join(name))?;
    }
    for name in all.iter().filter(|name| !ours(name) && !folder(name) && *name != SHIP) {
        fs::remove_file(root.join(name))?;
    }
    if all.iter().any(|name| name == LOCK) {
        fs::remove_file(root.join(LOCK))?;
    }
    fs::remove_dir(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{Disk, check_owner};

    #[test]
    fn a_folder_that_blocks_are_moved_into_is_not_removed_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("access");
        drop(Disk::open(&root).unwrap());
        assert_eq!(Disk::beside(&root).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(root.join(FORMAT), "x").unwrap();
        let (one, two) = (Disk::beside(&root).unwrap(), Disk::beside(&root).unwrap());
        for held in [one, two] {
            assert!(remove_empty(&root, &[]).is_err());
            drop(held);
        }
        assert!(root.join(FORMAT).exists() && root.join(LOCK).exists());
        remove_empty(&root, &[]).unwrap();
        assert_eq!(Disk::beside(&root).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_lock_is_the_last_file_that_goes() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in [LOCK, FORMAT, "ring"] {
            fs::write(root.join(name), "x").unwrap();
        }
        // It cannot be removed as a file, and goes after the others.
        fs::create_dir(root.join("route")).unwrap();
        assert!(remove_empty(root, &["route"]).is_err());
        assert!(root.join(LOCK).exists() && !root.join("ring").exists());
    }

    #[test]
    fn nothing_is_moved_into_a_folder_of_another_user() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FORMAT), "x").unwrap();
        check_owner(directory.path()).unwrap();
        // Only root may give it away; to others the root of all is another user's.
        let given = std::os::unix::fs::chown(directory.path(), Some(54321), None).is_ok();
        let root = if given { directory.path() } else { Path::new("/") };
        let error = Disk::beside(root).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let owner = if given { "54321" } else { "0" };
        assert!(error.to_string().contains(&format!("the user with id {owner}:")), "{error}");
        assert!(!root.join(MOVED).exists());
    }

    #[test]
    fn what_cannot_be_listed_is_not_without_blocks_nor_anybodys() {
        let directory = tempfile::tempdir().unwrap();
        let (root, file) = (directory.path(), directory.path().join("file"));
        assert!(!has_blocks(root) && !has_secrets(root) && tell_at_once(root, None).is_some());
        assert!(!has_blocks(&root.join("none")));
        fs::write(root.join(MOVED), "not a folder").unwrap();
        assert!(has_blocks(root));
        fs::write(&file, "not a folder").unwrap();
        assert!(has_blocks(&file) && has_secrets(&file) && tell_at_once(&file, None).is_none());
    }

    #[test]
    fn a_folder_goes_only_when_nothing_that_counts_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("access");
        let put = |name: &str| fs::write(root.join(name), "x").unwrap();
        fs::create_dir(&root).unwrap();
        for name in [LOCK, FORMAT, "ring", "0000000007.done", "route"] {
            put(name);
        }
        fs::create_dir(root.join(QUARANTINE)).unwrap();
        assert!(!has_blocks(&root) && !has_secrets(&root));
        for name in ["0000000008.data", "0000000008.json", "ring.aside-1", "quarantine/x"] {
            put(name);
            assert!(remove_empty(&root, &["route"]).is_err(), "{name}");
            assert!(root.join(LOCK).exists() && root.join(name).exists(), "{name}");
            fs::remove_file(root.join(name)).unwrap();
        }
        put("0000000008.data");
        assert!(has_blocks(&root));
        fs::remove_file(root.join("0000000008.data")).unwrap();
        put("0000000001.held");
        assert!(has_blocks(&root) && has_secrets(&root));
        fs::remove_file(root.join("0000000001.held")).unwrap();
        remove_empty(&root, &["route"]).unwrap();
        assert!(!root.exists());
    }
}
