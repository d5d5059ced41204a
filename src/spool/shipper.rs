//! The sealed blocks of a spool that another process owns, for who only uploads them.
//!
//! What is there is found by looking, again and again: blocks come when the owner seals them or takes
//! them out of quarantine, and go when it has taken a note or `spool_max` has dropped them. What a
//! block came to is a note (`notes.rs`).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SpoolError;
use super::files::names::{FORMAT, Name};
use super::files::{Flock, Guest, remove_if_there};
use super::note::{Note, Verdict};
use super::notes;
use super::remote::Remote;
use super::store::{Entry, Index, SealedBlocks, load};

/// The right to upload from a spool, which one process has at a time: the flock of `format`.
pub struct Uploading {
    root: PathBuf,
    held: Flock,
}

impl std::fmt::Debug for Uploading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploading").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Uploading {
    /// The right to upload from the spool in `root`; `None` while another process has it.
    ///
    /// # Errors
    /// The file system's; `NotFound` for a folder that is no spool yet.
    pub fn take(root: &Path) -> io::Result<Option<Self>> {
        let held = Flock::take(&root.join(FORMAT))?;
        Ok(held.map(|held| Self { root: root.to_owned(), held }))
    }

    /// Whether the folder is still the one whose right this is, and not another one of its name.
    #[must_use]
    pub fn holds(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let there = std::fs::symlink_metadata(self.root.join(FORMAT));
        match (there, self.held.0.metadata()) {
            (Ok(there), Ok(held)) => (there.dev(), there.ino()) == (held.dev(), held.ino()),
            _ => false,
        }
    }
}

impl SealedBlocks {
    /// The blocks of the spool in `root`, none until [`follow`](SealedBlocks::follow) has looked.
    ///
    /// # Errors
    /// The folder is not there, or not shared with this user.
    pub fn of_another(root: &Path) -> io::Result<Self> {
        let store = Self::empty(Arc::new(Guest::open(root)?));
        store.lock().remote = Some(Remote::default());
        Ok(store)
    }

    /// Looks for blocks that have come or gone. Whether any has come.
    ///
    /// # Errors
    /// The folder cannot be read, or is gone.
    pub fn follow(&self) -> Result<bool, SpoolError> {
        let look = self.lock().remote.as_mut().map_or(0, |remote| {
            remote.looks += 1;
            remote.looks
        });
        // Notes first: a block whose note has gone by then, and that is there afterwards, has come
        // back from quarantine.
        let noted: BTreeSet<u64> = notes::all(&*self.files)?.iter().map(|n| n.number).collect();
        let mut there = BTreeSet::new();
        let mut each = |text: &str| {
            if let Some(Name::Sidecar(number)) = Name::parse(text) {
                there.insert(number);
            }
        };
        self.files.list("", &mut each).map_err(SpoolError::io("list", "its directory"))?;
        let mut index = self.lock();
        let Index { blocks, remote: Some(remote), .. } = &mut *index else { return Ok(false) };
        remote.noted.retain(|number, since| {
            there.contains(number) && (noted.contains(number) || *since >= look)
        });
        let gone: Vec<u64> = blocks
            .iter()
            .filter(|(number, entry)| !entry.is_claimed() && !there.contains(number))
            .map(|(number, _)| *number)
            .collect();
        let new: Vec<u64> = there
            .into_iter()
            .filter(|number| !blocks.contains_key(number))
            .filter(|number| !noted.contains(number) && !remote.noted.contains_key(number))
            .collect();
        for number in gone {
            index.take(number);
        }
        drop(index);
        let mut came = false;
        for number in new {
            match load(&*self.files, &Name::Sidecar(number).to_string()) {
                Ok(sidecar) => {
                    self.lock().insert(number, Entry::of(&sidecar));
                    came = true;
                }
                // Gone again, or its owner's next start makes it anew.
                Err(SpoolError::Damaged { .. }) => {}
                Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(came)
    }

    /// Leaves a note of what a block came to, and forgets the block.
    pub(super) fn note(
        &self,
        index: &mut Index,
        number: u64,
        verdict: Verdict,
        reason: &str,
    ) -> Result<(), SpoolError> {
        let files = &*self.files;
        let sidecar = load(files, &Name::Sidecar(number).to_string())?;
        let note = Note::new(number, sidecar.meta.sha256, verdict);
        let path = note.path();
        if verdict == Verdict::Sent {
            files.create(&path, &[]).map_err(SpoolError::io("write", &path))?;
        } else {
            let new = format!("{path}.new");
            let written =
                files.create(&new, reason.as_bytes()).and_then(|()| files.rename(&new, &path));
            if let Err(source) = written {
                let _ = remove_if_there(files, &new);
                return Err(SpoolError::Io { doing: "write", name: path, source });
            }
        }
        index.take(number);
        if let Some(remote) = &mut index.remote {
            remote.noted.insert(number, remote.looks);
            // Not before the note is there: its owner asks for both.
            remote.release(number);
        }
        Ok(())
    }
}
