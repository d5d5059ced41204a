//! Bytes in a temporary file that nobody else sees: it has no name, and is gone with the process.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::block::{Digest, Hasher};

/// A file that is written once and read any number of times.
#[derive(Debug)]
pub(super) struct Scratch {
    file: File,
    hasher: Hasher,
    len: u64,
}

impl Scratch {
    /// An empty one in `directory`.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let mut tries = 0;
        loop {
            let name = format!("s3log-compact-{}-{:08x}", std::process::id(), fastrand::u32(..));
            let path = directory.join(name);
            let open =
                OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            match open {
                Ok(file) => {
                    std::fs::remove_file(&path)?;
                    return Ok(Self { file, hasher: Hasher::default(), len: 0 });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < 16 => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Bytes in it.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Of its bytes.
    pub(super) fn sha256(&self) -> Digest {
        self.hasher.digest()
    }

    /// Its bytes from the start.
    ///
    /// # Errors
    /// The system has no file handle left.
    pub(super) fn reader(&self) -> io::Result<impl Read + Send + use<>> {
        Ok(At { file: self.file.try_clone()?, at: 0 })
    }
}

impl Write for Scratch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A reader with a place of its own.
struct At {
    file: File,
    at: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_no_file_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::new(directory.path()).unwrap();
        scratch.write_all(b"one ").unwrap();
        scratch.write_all(b"two").unwrap();
        assert_eq!((scratch.len(), scratch.sha256()), (7, Digest::of(b"one two")));
        for _ in 0..2 {
            let mut text = String::new();
            scratch.reader().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "one two");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
