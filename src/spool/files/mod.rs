//! The file operations that the spool needs, and no others.
//!
//! Everything the spool knows about a file system stands here, so that a test can stop it after any
//! one operation, or refuse one.

mod disk;
mod guest;
mod memory;
pub(super) mod names;
mod open;
mod system;

use std::io::{self, Read};

use crate::block::{Digest, Hasher};

pub use disk::{Disk, DiskError};
pub use guest::Guest;
pub use memory::Memory;
pub(in crate::spool) use open::{Flock, group_problem, open_to_look};
pub(crate) use system::warning as file_system_warning;

/// Bytes read at a time.
const BUFFER: usize = 64 * 1024;

/// Keeps other processes that ask for the same from a file, until it is dropped or the process ends.
pub type Hold = Box<dyn Send>;

/// A directory with folders below it, such as `quarantine` and `foreign`.
///
/// Names are relative to it, with at most one `/`. Calls come from several threads, never two at a
/// time for one name.
pub trait Files: Send + Sync {
    /// Makes a file of `bytes`, or makes the one that is there hold exactly them. Not atomic.
    ///
    /// # Errors
    /// The file system's; the file may then hold any part of `bytes`.
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Adds `bytes` to the end of an existing file.
    ///
    /// # Errors
    /// The file system's; any part of `bytes` may then have been added.
    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file to `length`, which is at most its length.
    ///
    /// # Errors
    /// The file system's, `NotFound` among them.
    fn truncate(&self, name: &str, length: u64) -> io::Result<()>;

    /// Gives a file another name in one atomic step, replacing what had that name.
    ///
    /// # Errors
    /// The file system's, `NotFound` among them.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Deletes a file.
    ///
    /// # Errors
    /// The file system's, `NotFound` among them.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Calls `each` with every name in `folder`; `""` is the directory itself. Names that are not
    /// UTF-8 come with U+FFFD in them.
    ///
    /// # Errors
    /// The file system's.
    fn list(&self, folder: &str, each: &mut dyn FnMut(&str)) -> io::Result<()>;

    /// Opens a file for reading from its start.
    ///
    /// # Errors
    /// The file system's, `NotFound` among them.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    /// Length of a file, bytes; `None` when there is none of that name.
    ///
    /// # Errors
    /// The file system's.
    fn length(&self, name: &str) -> io::Result<Option<u64>>;

    /// When a file was last written, ns since 1970; 0 when that is not known.
    ///
    /// # Errors
    /// The file system's.
    fn modified(&self, name: &str) -> io::Result<u64>;

    /// Brings a file's bytes, or a folder's names, to the disk.
    ///
    /// # Errors
    /// The file system's.
    fn sync_file(&self, name: &str) -> io::Result<()>;

    /// Brings the directory's names to the disk.
    ///
    /// # Errors
    /// The file system's.
    fn sync_directory(&self) -> io::Result<()>;

    /// Bytes that there is room for; `None` where that is not known.
    fn room(&self) -> Option<u64> {
        None
    }

    /// Lets the directory's group read a file; `""` is the directory itself, with a folder for what
    /// the group has to say.
    ///
    /// # Errors
    /// The file system's.
    fn share(&self, _name: &str) -> io::Result<()> {
        // Where there is no other process there is no group.
        Ok(())
    }

    /// Holds a file, unless another process does; then `None`.
    ///
    /// # Errors
    /// The file system's, `NotFound` among them.
    fn try_hold(&self, _name: &str) -> io::Result<Option<Hold>> {
        Ok(Some(Box::new(())))
    }
}

/// [`Files::remove`] for which a file that is not there is as good as removed.
pub(in crate::spool) fn remove_if_there(files: &dyn Files, name: &str) -> io::Result<()> {
    match files.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// A whole file of at most `limit` bytes; a longer one is cut there.
pub(in crate::spool) fn read_small(
    files: &dyn Files,
    name: &str,
    limit: u64,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    files.read(name)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Hash of up to `length` bytes of a file, ready to be carried on, and how many there were.
pub(in crate::spool) fn hash(
    files: &dyn Files,
    name: &str,
    length: u64,
) -> io::Result<(Hasher, Digest, u64)> {
    let mut hasher = Hasher::default();
    let read = for_each_buffer(files, name, length, |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    let digest = hasher.digest();
    Ok((hasher, digest, read))
}

/// Hands out up to `length` bytes of a file; how many there were.
pub(in crate::spool) fn for_each_buffer(
    files: &dyn Files,
    name: &str,
    length: u64,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut source = files.read(name)?.take(length);
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => {
                each(buffer.get(..n).unwrap_or_default())?;
                total += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
