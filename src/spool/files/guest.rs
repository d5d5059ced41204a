//! The spool's directory for who only uploads from it: another user's process, which reads sealed
//! blocks and writes into the folder `ship` alone.
//!
//! Neither side trusts the other's files: links are not followed, and a FIFO holds nobody up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::names::SHIP;
use super::open::{careful, length_of, modified_at, try_hold};
use super::{Files, Hold};

/// See the module.
#[derive(Debug)]
pub struct Guest {
    root: PathBuf,
}

impl Guest {
    /// The spool in `root`, whose owner has made the folder `ship`.
    ///
    /// # Errors
    /// It is not there, is no directory, or cannot be read.
    pub fn open(root: &Path) -> io::Result<Self> {
        if !fs::symlink_metadata(root.join(SHIP))?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        fs::read_dir(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// The spool in `root`, whoever has it, for who only looks at it.
    pub(in crate::spool) fn looking(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The path of a file that a guest may write.
    fn own(&self, name: &str) -> io::Result<PathBuf> {
        let own = name.strip_prefix(SHIP).is_some_and(|rest| rest.starts_with('/'));
        if own { Ok(self.root.join(name)) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl Files for Guest {
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file =
            careful(OpenOptions::new().write(true).create(true).truncate(true).mode(0o644))
                .open(self.own(name)?)?;
        // The folder keeps others out; the spool's owner has to read it, whatever the umask is.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(bytes)
    }

    fn append(&self, _name: &str, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn truncate(&self, _name: &str, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.own(from)?, self.own(to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.own(name)?)
    }

    fn list(&self, folder: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(folder))? {
            each(&entry?.file_name().to_string_lossy());
        }
        Ok(())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let file: File = careful(OpenOptions::new().read(true)).open(self.root.join(name))?;
        Ok(Box::new(file))
    }

    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        length_of(&self.root.join(name))
    }

    fn modified(&self, name: &str) -> io::Result<u64> {
        modified_at(&self.root.join(name))
    }

    fn sync_file(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_hold(&self, name: &str) -> io::Result<Option<Hold>> {
        try_hold(&self.root.join(name))
    }
}
