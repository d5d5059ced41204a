//! A spool without a directory, for `spool = "none"`: it ends with the process.
//!
//! `spool_max` bounds it as it bounds a directory. A block that is being read is kept until the
//! reader is done, as an unlinked file is.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Files;

/// Files that are only in memory.
#[derive(Debug, Default)]
pub struct Memory {
    files: Mutex<BTreeMap<String, Arc<Vec<u8>>>>,
}

impl Memory {
    /// No files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Vec<u8>>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut files = self.lock();
        let file = files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        change(Arc::make_mut(file));
        Ok(())
    }
}

/// A file as it was when it was opened.
struct Snapshot {
    bytes: Arc<Vec<u8>>,
    at: usize,
}

impl Read for Snapshot {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.get(self.at..).unwrap_or_default().read(out)?;
        self.at += n;
        Ok(n)
    }
}

impl Files for Memory {
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.lock().insert(name.to_owned(), Arc::new(bytes.to_vec()));
        Ok(())
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.change(name, |file| file.extend_from_slice(bytes))
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.change(name, |file| file.truncate(length))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        let names: Vec<String> = self.lock().keys().cloned().collect();
        for name in &names {
            match name.split_once('/') {
                None if folder.is_empty() => each(name),
                Some((place, name)) if place == folder => each(name),
                _ => {}
            }
        }
        Ok(())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.lock().get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Snapshot { bytes, at: 0 }))
    }

    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.lock().get(name).map(|file| file.len() as u64))
    }

    fn modified(&self, _: &str) -> io::Result<u64> {
        Ok(0)
    }

    fn sync_file(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }
}
