//! The spool's directory on a real file system.
//!
//! The directory is 0700 and its files 0600 from the moment they exist: log lines are personal data.
//! Symbolic links in place of files are not followed. A directory that another user's process uploads
//! from is 0750, and what it needs of it 0640: sealed blocks, their descriptions, `format` and
//! `route`, not the ring and not the open block.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::names::{FOREIGN, FORMAT, FORMAT_NEW, LOCK, MOVED, Name, QUARANTINE, SHIP, is_not_ours};
use super::open::{Flock, careful, length_of, make_folder, modified_at, try_hold, try_lock};
use super::system::warning;
use super::{Files, Hold};
use crate::spool::owner::check_owner;

/// The directory's mode.
const PRIVATE: u32 = 0o700;
/// The same where the group uploads.
const SHARED: u32 = 0o750;
/// The mode of the folder that the group writes into.
const WRITABLE: u32 = 0o770;
/// How often a lock file is opened that is not there any more once it is locked.
const LOCK_TRIES: u32 = 10;
/// Whose folder it is, for who uploads from it; not the spool's file.
const ROUTE: &str = "route";

/// A directory that this process alone writes until it is dropped, or alone adds blocks to: see
/// [`Disk::beside`].
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    /// The kernel lets go of it when the process ends, however it ends.
    _lock: Flock,
}

/// Why a directory cannot be the spool.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another process has it.
    #[error(
        "spool {path} is in use by {}: give each varnishd a spool of its own (argument spool)",
        holder(*.pid)
    )]
    InUse {
        /// The spool's directory.
        path: PathBuf,
        /// What the lock file says of its holder.
        pid: Option<u32>,
    },
    /// It is somebody else's: it was never a spool, and there are files in it.
    #[error(
        "spool {path} is a directory with other files, such as {name}: give an empty one, or one that does not exist yet"
    )]
    NotASpool {
        /// The directory.
        path: PathBuf,
        /// One of its files.
        name: String,
    },
    /// It cannot be made or written.
    #[error(
        "spool {path} cannot be used: {source}; make it a directory that varnishd's cache user may write"
    )]
    Io {
        /// The directory or the file in it.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl Disk {
    /// Makes the directory if it is not there, and takes its lock.
    ///
    /// # Errors
    /// See [`DiskError`]; nothing was changed in a directory that is in use.
    pub fn open(root: &Path) -> Result<Self, DiskError> {
        Self::open_with(root, PRIVATE)
    }

    /// The same for a directory that another user's process uploads from.
    ///
    /// # Errors
    /// Those of [`Disk::open`].
    pub fn open_shared(root: &Path) -> Result<Self, DiskError> {
        Self::open_with(root, SHARED)
    }

    fn open_with(root: &Path, mode: u32) -> Result<Self, DiskError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DiskError::Io { path, source }
        };
        // A wrong path must not narrow the rights of /var/log and sort its files into folders.
        if let Some(name) = stranger(root) {
            return Err(DiskError::NotASpool { path: root.to_owned(), name });
        }
        let made = missing(root);
        let path = root.join(LOCK);
        let mut tries = 1;
        let mut lock = loop {
            make_folder_of(root, mode, true).map_err(failed(root))?;
            let lock = private(OpenOptions::new().read(true).write(true).create(true))
                .open(&path)
                .map_err(failed(&path))?;
            let exclusive = FlockOperation::NonBlockingLockExclusive;
            if !try_lock(&lock, exclusive).map_err(failed(&path))? {
                let mut text = String::new();
                let _ = lock.take(20).read_to_string(&mut text);
                let pid = text.trim().parse().ok();
                return Err(DiskError::InUse { path: root.to_owned(), pid });
            }
            let lock = Flock(lock);
            // Else whoever had it was just removing the folder, or the file system's numbers mean nothing.
            if lock.is(fs::symlink_metadata(&path)) || tries == LOCK_TRIES {
                break lock;
            }
            tries += 1;
        };
        // The id is for a person's eyes only: a disk that is full does not make the lock less held.
        let file = &mut lock.0;
        let _ = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()));
        for folder in [QUARANTINE, FOREIGN] {
            let path = root.join(folder);
            make_folder_of(&path, PRIVATE, false).map_err(failed(&path))?;
        }
        // A file that is on the disk is of no use in a folder that is not.
        for folder in made.iter().map(PathBuf::as_path).chain([root]) {
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_folder(parent.unwrap_or(Path::new("."))).map_err(failed(folder))?;
        }
        sync_folder(root).map_err(failed(root))?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// The spool in `root`, which another process may have, for who puts blocks into its folder
    /// `moved`. It is not removed as long as this is held.
    ///
    /// # Errors
    /// `NotFound` when there is no spool, or its owner is just removing it; `PermissionDenied` where it is
    /// another user's; else the file system's.
    pub fn beside(root: &Path) -> io::Result<Self> {
        check_owner(root)?;
        let directory = File::open(root)?;
        if !try_lock(&directory, FlockOperation::NonBlockingLockShared)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let lock = Flock(directory);
        // Removed before it was locked, and perhaps made anew.
        if !lock.is(fs::metadata(root)) || !root.join(FORMAT).exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        make_folder_of(&root.join(MOVED), PRIVATE, false)?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// What an operator should know of the file system below the spool, if anything: the end of a
    /// sentence that begins with the directory.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        warning(&self.root)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn open_for_writing(&self, name: &str) -> io::Result<File> {
        private(OpenOptions::new().write(true)).open(self.root.join(name))
    }
}

/// A file that no spool has, in a directory that does not call itself one.
fn stranger(root: &Path) -> Option<String> {
    if root.join(FORMAT).exists() {
        return None;
    }
    // What cannot be listed is refused a moment later, with the reason.
    fs::read_dir(root)
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .find(|name| Name::parse(name).is_none() && name != FORMAT_NEW && !is_not_ours(name))
}

/// Makes a directory of this mode, or narrows the one that is there to it.
fn make_folder_of(path: &Path, mode: u32, parents: bool) -> io::Result<()> {
    DirBuilder::new().recursive(parents).mode(mode).create(path).or_else(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
    })?;
    let metadata = fs::symlink_metadata(path)?;
    // A link to a directory elsewhere is the operator's choice for the spool, not for what is in it.
    let linked = parents && path.is_dir();
    if !(metadata.is_dir() || linked) {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let found = fs::metadata(path)?.permissions().mode();
    if found & 0o077 & !mode != 0 { set_mode(path, found, mode) } else { Ok(()) }
}

/// Changes the mode of a directory and keeps its set-group-ID bit, by which an operator gives what is
/// made in it another group.
fn set_mode(path: &Path, found: u32, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(found & 0o2000 | mode))
}

/// The folders of `path` that are not there yet, itself included.
fn missing(path: &Path) -> Vec<PathBuf> {
    let named = path.ancestors().filter(|folder| !folder.as_os_str().is_empty());
    named.take_while(|folder| !folder.exists()).map(Path::to_owned).collect()
}

/// Brings a folder's names to the disk, where this process may open it and its file system can.
fn sync_folder(path: &Path) -> io::Result<()> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    match synced {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(())
        }
        done => done,
    }
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW)
}

impl Files for Disk {
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        private(OpenOptions::new().write(true).create(true).truncate(true))
            .open(self.root.join(name))?
            .write_all(bytes)
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        private(OpenOptions::new().append(true)).open(self.root.join(name))?.write_all(bytes)
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        self.open_for_writing(name)?.set_len(length)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(name))
    }

    fn list(&self, folder: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(folder))? {
            each(&entry?.file_name().to_string_lossy());
        }
        Ok(())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let mut options = OpenOptions::new();
        options.read(true);
        let options = match name.split_once('/') {
            Some((SHIP, _)) => careful(&mut options),
            _ => private(&mut options),
        };
        Ok(Box::new(options.open(self.root.join(name))?))
    }

    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        length_of(&self.root.join(name))
    }

    fn modified(&self, name: &str) -> io::Result<u64> {
        modified_at(&self.root.join(name))
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        private(OpenOptions::new().read(true)).open(self.root.join(name))?.sync_all()
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }

    fn room(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.root).ok()?;
        // There are file systems that say nothing of themselves.
        (stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn share(&self, name: &str) -> io::Result<()> {
        let share = |path: &Path| {
            // Through the file, so that no link is followed; whatever the umask is.
            let file = careful(OpenOptions::new().read(true)).open(path)?;
            file.set_permissions(Permissions::from_mode(0o640))
        };
        if !name.is_empty() {
            return share(&self.root.join(name));
        }
        let widen = |path: &Path, mode: u32| {
            let found = fs::metadata(path)?.permissions().mode();
            // Not without need: it may cost the directory its set-group-ID bit.
            if found & 0o777 == mode { Ok(()) } else { set_mode(path, found, mode) }
        };
        widen(&self.root, SHARED)?;
        widen(&make_folder(&self.root)?, WRITABLE)?;
        for name in [FORMAT, ROUTE] {
            match share(&self.root.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn try_hold(&self, name: &str) -> io::Result<Option<Hold>> {
        try_hold(&self.root.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_that_a_spool_makes_are_known_for_their_parents_to_be_synced() {
        let root = tempfile::tempdir().unwrap();
        let spool = root.path().join("a/b");
        assert_eq!(missing(&spool), [spool.clone(), root.path().join("a")]);
        drop(Disk::open(&spool).unwrap());
        assert_eq!(missing(&spool), Vec::<PathBuf>::new());
        sync_folder(Path::new("/proc")).unwrap();
    }

    #[test]
    fn a_disk_tells_its_room() {
        let root = tempfile::tempdir().unwrap();
        let disk = Disk::open(root.path()).unwrap();
        let stat = rustix::fs::statvfs(root.path()).unwrap();
        assert!(disk.room().unwrap() <= stat.f_blocks * stat.f_frsize);
    }

    #[test]
    fn a_spool_that_was_closed_is_free_although_a_child_still_has_its_files() {
        let root = tempfile::tempdir().unwrap();
        let first = Disk::open(root.path()).unwrap();
        // What a fork does to a file.
        let inherited = first._lock.0.try_clone().unwrap();
        assert!(matches!(Disk::open(root.path()), Err(DiskError::InUse { .. })));
        drop(first);
        Disk::open(root.path()).unwrap();
        drop(inherited);
    }
}
