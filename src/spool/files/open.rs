//! What both kinds of a spool's directory on disk do: the owner's, and that of who uploads from it.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::FlockOperation;

use super::Hold;
use super::names::SHIP;
use crate::clock::nanoseconds;

/// For files that another user may have made: follows no link, and waits for nobody at the other end
/// of a FIFO.
pub(super) fn careful(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
}

/// Opens a file to read it, whatever another user may have put in its place.
pub(in crate::spool) fn open_to_look(path: &Path) -> io::Result<File> {
    careful(OpenOptions::new().read(true)).open(path)
}

/// See [`Files::length`].
pub(super) fn length_of(path: &Path) -> io::Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// See [`Files::modified`].
pub(super) fn modified_at(path: &Path) -> io::Result<u64> {
    let time = fs::symlink_metadata(path)?.modified()?;
    Ok(nanoseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default()))
}

/// See [`Files::try_hold`]. The kernel lets go when the process ends, however it ends.
pub(super) fn try_hold(path: &Path) -> io::Result<Option<Hold>> {
    Ok(Flock::take(path)?.map(|held| Box::new(held) as Hold))
}

/// A flock that goes with its owner. Closing the file would not do: a child of this process that has not
/// begun its program yet has all of our files, and their locks with them.
#[derive(Debug)]
pub(in crate::spool) struct Flock(pub(in crate::spool) File);

impl Flock {
    /// The flock of the file at `path`; `None` when another process has it.
    pub(in crate::spool) fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = careful(OpenOptions::new().read(true)).open(path)?;
        let taken = try_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(taken.then(|| Self(file)))
    }

    /// Whether its file is `there` still, and not another one of its name: whoever opened the file before
    /// its folder was removed may have locked what nobody else finds.
    pub(in crate::spool) fn is(&self, there: io::Result<Metadata>) -> bool {
        match (there, self.0.metadata()) {
            (Ok(there), Ok(held)) => (there.dev(), there.ino()) == (held.dev(), held.ino()),
            _ => false,
        }
    }
}

/// Whether the flock of `file` was free; it has to go into a [`Flock`] then.
pub(super) fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Flock {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Why a process of the group that the directory `root` has cannot read what `own`, the group of this
/// process, is given by what is made in it, or what is in it; `None` when it can.
pub(in crate::spool) fn group_problem(root: &Path, own: u32) -> Option<String> {
    let there = fs::metadata(root).ok()?;
    let (wanted, inherits) = (there.gid(), there.mode() & 0o2000 != 0);
    let other = |name: &&str| fs::metadata(root.join(name)).is_ok_and(|it| it.gid() != wanted);
    let found = ["format", "route"].into_iter().find(other);
    let what = if !inherits && own != wanted {
        format!("what is made in it gets group {own}")
    } else {
        format!("its file {} has another group", found?)
    };
    let at = root.display();
    Some(format!(
        "{at} has group {wanted} and {what}, so that s3log ship cannot read it unless it is of both: \
         chgrp -R {wanted} {at} && chmod 2750 {at}"
    ))
}

/// Makes the folder that guests write into.
pub(super) fn make_folder(root: &Path) -> io::Result<PathBuf> {
    let path = root.join(SHIP);
    match DirBuilder::new().mode(0o770).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_lock_of_a_file_that_was_removed_and_made_anew_is_not_that_of_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        fs::write(&path, "").unwrap();
        let held = Flock::take(&path).unwrap().unwrap();
        assert!(held.is(fs::symlink_metadata(&path)));
        // Not removed, so that the new one cannot be given its number.
        fs::rename(&path, directory.path().join("before")).unwrap();
        assert!(!held.is(fs::symlink_metadata(&path)), "it is not there");
        fs::write(&path, "").unwrap();
        assert!(!held.is(fs::symlink_metadata(&path)), "it is another one");
    }

    #[test]
    fn a_directory_that_lost_its_set_group_id_bit_is_told_with_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let set =
            |mode| fs::set_permissions(root.path(), fs::Permissions::from_mode(mode)).unwrap();
        let group = fs::metadata(root.path()).unwrap().gid();
        fs::write(root.path().join("format"), "").unwrap();
        set(0o750);
        assert_eq!(group_problem(root.path(), group), None, "one group has all");
        let told = group_problem(root.path(), group + 1).unwrap();
        let (made, command) = (
            format!("gets group {}", group + 1),
            format!("chgrp -R {group} {}", root.path().display()),
        );
        assert!(told.contains(&made) && told.contains(&command), "{told}");
        set(0o2750);
        assert_eq!(group_problem(root.path(), group + 1), None);
    }
}
