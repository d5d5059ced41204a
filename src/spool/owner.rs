//! Whose a folder of a spool is, for a command that works in it as root or as its user.
//!
//! Whoever owns the spool's directory can put any name there. The cache process does, and its user must not
//! lead root into a directory of root's: by a link, or by another directory in place of its own.
//!
//! Non-goal: the directory of the spool itself, which an operator names.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A user, and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The owner of the folder `root`, whose files are that user's to read. A link that root or the owner has
/// made is followed: the folder lies elsewhere.
///
/// # Errors
/// `PermissionDenied` with what to do where somebody else can have put it there, or the file system's.
pub(crate) fn owner(root: &Path) -> io::Result<Owner> {
    let (entry, found) = (fs::symlink_metadata(root)?, fs::metadata(root)?);
    let refused = |text: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    if entry.is_symlink() && ![0, found.uid()].contains(&entry.uid()) {
        return refused(format!(
            "it is a link to {}, which belongs to the user with id {}, and the user with id {} has made the \
             link: remove it, or give it to root (chown -h root) if it is meant",
            fs::read_link(root)?.display(),
            found.uid(),
            entry.uid()
        ));
    }
    let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    let above = fs::metadata(directory)?.uid();
    if found.uid() == 0 && above != 0 {
        return refused(format!(
            "it belongs to root, and {} to the user with id {above}, who can put any directory there: give \
             both to one of the two",
            directory.display()
        ));
    }
    Ok(Owner { uid: found.uid(), gid: found.gid() })
}

/// Refuses a folder of another user: what this process makes in it, root's included, its owner could not
/// read.
///
/// # Errors
/// `PermissionDenied` with what to do, or the file system's.
pub(crate) fn check_owner(root: &Path) -> io::Result<()> {
    let Owner { uid, .. } = owner(root)?;
    if uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let text = format!(
        "it belongs to the user with id {uid}: run the command as that user (sudo -u '#{uid}' ...)"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}
