//! The sealed blocks of a spool that another process owns, for who only uploads them.
//!
//! What is there is found by looking, again and again: blocks come when the owner seals them or takes
//! them out of quarantine, and go when it has taken a note or `spool_max` has dropped them. What a
//! block came to is a note (`notes.rs`).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::SpoolError;
use super::files::names::{FORMAT, Name};
use super::files::{Files, Flock, Guest, remove_if_there};
use super::note::{Note, Verdict};
use super::notes;
use super::remote::Remote;
use super::store::{Entry, Index, SealedBlocks, load};

/// How many looks a block is left alone whose description cannot be read: five seconds of four looks
/// each.
const UNREADABLE_LOOKS: u64 = 20;

/// The longest that a block is left alone because its description asks for that, whatever another
/// user's file or a clock that jumps says.
const WAIT_MOST: Duration = Duration::from_secs(30);

/// What a look into a spool has found.
#[derive(Debug, Default)]
pub struct Look {
    /// Blocks have come.
    pub came: bool,
    /// Blocks whose descriptions were tried and could not be read.
    pub unreadable: u64,
    /// Why, of the first of them.
    pub why: Option<SpoolError>,
}

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
        self.held.is(std::fs::symlink_metadata(self.root.join(FORMAT)))
    }
}

impl SealedBlocks {
    /// The blocks of the spool in `root`, none until [`follow`](SealedBlocks::follow) has looked.
    ///
    /// # Errors
    /// The folder is not there, or not shared with this user.
    pub fn of_another(root: &Path) -> io::Result<Self> {
        Ok(Self::of_anothers(Arc::new(Guest::open(root)?)))
    }

    /// The same of files that are a [`Guest`]'s.
    #[must_use]
    pub fn of_anothers(files: Arc<dyn Files>) -> Self {
        let store = Self::empty(files);
        store.lock().remote = Some(Remote::default());
        store.make_spare();
        store
    }

    /// Looks for blocks that have come or gone. One whose description cannot be read keeps none of the
    /// others back, and is tried again some looks later. It is `now`, monotonic, and
    /// `unix`, since 1970: blocks that end on all nodes at once wait for their uploads.
    ///
    /// # Errors
    /// The folder cannot be read, or is gone.
    pub fn follow(&self, now: Duration, unix: Duration) -> Result<Look, SpoolError> {
        let number = self.lock().remote.as_mut().map_or(0, |remote| {
            remote.looks += 1;
            remote.looks
        });
        // Notes first: a block whose note has gone by then, and that is there afterwards, has come
        // back from quarantine.
        let noted = notes::numbers(&*self.files)?;
        let mut there = BTreeSet::new();
        let mut each = |text: &str| {
            if let Some(Name::Sidecar(number)) = Name::parse(text) {
                there.insert(number);
            }
        };
        self.files.list("", &mut each).map_err(SpoolError::io("list", "its directory"))?;
        let mut look = Look::default();
        for new in self.new_blocks(number, &noted, there) {
            match load(&*self.files, &Name::Sidecar(new).to_string()) {
                Ok(sidecar) => {
                    let until = Duration::from_nanos(sidecar.wait_until.unwrap_or(0));
                    let wait = until.saturating_sub(unix).min(WAIT_MOST);
                    let entry = Entry::of(&sidecar).not_before(now.saturating_add(wait));
                    self.lock().insert(new, entry);
                    look.came = true;
                }
                // Gone again.
                Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    if let Some(remote) = &mut self.lock().remote {
                        remote.unreadable.insert(new, number + UNREADABLE_LOOKS);
                    }
                    look.unreadable += 1;
                    look.why.get_or_insert(error);
                }
            }
        }
        Ok(look)
    }

    /// Forgets the blocks that are not `there` any more; those that are and were not, and that are not
    /// done with.
    fn new_blocks(&self, look: u64, noted: &BTreeSet<u64>, there: BTreeSet<u64>) -> Vec<u64> {
        let mut index = self.lock();
        let Index { blocks, remote: Some(remote), .. } = &mut *index else { return Vec::new() };
        remote.noted.retain(|number, since| {
            there.contains(number) && (noted.contains(number) || *since >= look)
        });
        remote.unreadable.retain(|number, next| there.contains(number) && *next > look);
        let gone: Vec<u64> = blocks
            .iter()
            .filter(|(number, entry)| !entry.is_claimed() && !there.contains(number))
            .map(|(number, _)| *number)
            .collect();
        let new = there
            .into_iter()
            .filter(|number| !blocks.contains_key(number) && !noted.contains(number))
            .filter(|number| !remote.noted.contains_key(number))
            .filter(|number| !remote.unreadable.contains_key(number))
            .collect();
        for number in gone {
            index.take(number);
        }
        new
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
        if verdict == Verdict::Sent {
            self.note_sent(note)?;
        } else {
            let path = note.path();
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
