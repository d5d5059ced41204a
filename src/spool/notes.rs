//! What a process that only uploads tells the spool's owner: notes in the folder `ship`.
//!
//! With `upload = "external"` two processes work in one spool, of two users. The owner (varnishd, or
//! `s3log drain`) has `lock`, seals blocks and alone moves and removes files. The shipper
//! (`s3log ship`) has the flock of `format`, reads sealed blocks, and leaves a note when one is done
//! with. So each file has one writer, and either process may end at any instruction.
//!
//! | name | holds |
//! |---|---|
//! | `ship/N-D.sent` | empty: block N, whose SHA-256 begins with the 16 digits D, is in the bucket |
//! | `ship/N-D.refused` | why the block belongs into quarantine, in words |
//! | `ship/state` | what the shipper counts, see [`ShipperState`] |
//! | `ship/*.new` | not yet renamed |
//!
//! A block that is being uploaded is held by the flock of its data, from before the first byte is
//! sent until its note is there. `spool_max` drops no block that is held or noted.
//!
//! A `.sent` has no content, so that it needs no room on a full disk. Notes are not synced: what a
//! power cut takes is sent again under the same key, and found to be there.
//!
//! Limits: what the shipper wrote is not trusted. A note counts for a block that is there and has that
//! hash, at most [`NOTES_MAX`] are taken at a time, and a reason is cut at 64 KiB.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::names::{Name, SHIP};
use super::files::{read_small, remove_if_there};
use super::note::{Note, Verdict};
use super::sidecar::LIMIT;
use super::store::{Noted, SealedBlocks, load};
use super::{Files, SpoolError};
use crate::stats::Stats;

/// Most notes that are taken in one call.
pub(super) const NOTES_MAX: usize = 10_000;
const STATE: &str = "ship/state";
const STATE_NEW: &str = "ship/state.new";

/// All notes, at most [`NOTES_MAX`]; none where nobody may leave any.
pub(super) fn all(files: &dyn Files) -> Result<Vec<Note>, SpoolError> {
    let mut notes = Vec::new();
    let mut each = |text: &str| {
        if notes.len() < NOTES_MAX
            && let Some(note) = Note::parse(text)
        {
            notes.push(note);
        }
    };
    match files.list(SHIP, &mut each) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        listed => listed.map_err(SpoolError::io("list", SHIP))?,
    }
    notes.sort_unstable();
    Ok(notes)
}

impl SealedBlocks {
    /// Lets the directory's group read what it needs to upload. What cannot be shared the other process
    /// cannot read, and says so.
    pub(super) fn share(&self) {
        let _ = self.files.share("");
        let blocks: Vec<_> = self.lock().blocks.iter().map(|(n, entry)| (*n, *entry)).collect();
        for (number, entry) in blocks {
            let _ = self.files.share(&entry.data(number).to_string());
            let _ = self.files.share(&Name::Sidecar(number).to_string());
        }
    }

    /// Does what the notes say, each of which then goes. What they came to is in
    /// [`SealedBlocks::noted`].
    ///
    /// # Errors
    /// When a file operation fails: call it again.
    pub fn take_notes(&self) -> Result<(), SpoolError> {
        for note in all(&*self.files)? {
            let number = note.number;
            // A note for a block that is gone, or for another one, has had its effect or has none.
            let there = self.lock().blocks.get(&number).copied();
            if let Some(entry) = there
                && self.is_of(note)?
            {
                match note.verdict {
                    Verdict::Sent => self.uploaded(number)?,
                    Verdict::Refused => {
                        let reason = read_small(&*self.files, &note.path(), LIMIT);
                        let reason = reason.map_err(SpoolError::io("read", note.path()))?;
                        self.quarantine(number, &String::from_utf8_lossy(&reason))?;
                    }
                }
                let noted = &mut self.lock().noted;
                let tally = match note.verdict {
                    Verdict::Sent => &mut noted.sent,
                    Verdict::Refused => &mut noted.refused,
                };
                tally.add(entry.records, entry.bytes);
            }
            remove_if_there(&*self.files, &note.path())
                .map_err(SpoolError::io("remove", note.path()))?;
        }
        Ok(())
    }

    /// What notes have come to since the last call.
    #[must_use]
    pub fn noted(&self) -> Noted {
        std::mem::take(&mut self.lock().noted)
    }

    fn is_of(&self, note: Note) -> Result<bool, SpoolError> {
        match load(&*self.files, &Name::Sidecar(note.number).to_string()) {
            Ok(sidecar) => Ok(Note::new(note.number, sidecar.meta.sha256, note.verdict) == note),
            // The next start says what becomes of it.
            Err(SpoolError::Damaged { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// What the shipper last said of itself; `None` when it has said nothing, or nonsense.
    #[must_use]
    pub(crate) fn shipper_state(&self) -> Option<ShipperState> {
        let bytes = read_small(&*self.files, STATE, LIMIT).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Says it, for the shipper.
    ///
    /// # Errors
    /// The file system's: a full disk, or the folder is gone.
    pub(crate) fn tell_state(&self, state: &ShipperState) -> Result<(), SpoolError> {
        let files = &*self.files;
        let bytes = serde_json::to_vec(state).unwrap_or_default();
        files
            .create(STATE_NEW, &bytes)
            .and_then(|()| files.rename(STATE_NEW, STATE))
            .map_err(SpoolError::io("write", STATE))
    }
}

/// What a shipper says of itself, several times a minute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipperState {
    /// Its process, as its own namespace numbers it.
    pub pid: u32,
    /// Since when it uploads from this folder, seconds since 1970.
    pub since: u64,
    /// Goes up with each time that it says so.
    pub(crate) beat: u64,
    /// Since then: upload attempts that failed and are made again.
    pub upload_retries: u64,
    /// Since then: files of the spool that it could not read or write.
    pub spool_errors: u64,
    /// HTTP status of the gateway's last answer.
    pub last_status: u64,
    /// Milliseconds that the last upload took.
    pub(crate) last_upload_ms: u64,
}

impl ShipperState {
    /// What a shipper's counters say.
    #[must_use]
    pub fn of(stats: &Stats) -> Self {
        use crate::stats::get;
        Self {
            upload_retries: get(&stats.upload_retries),
            spool_errors: get(&stats.spool_errors),
            last_status: get(&stats.last_status),
            last_upload_ms: get(&stats.last_upload_ms),
            ..Self::default()
        }
    }
}

/// Reads what the shipper of the spool in `root` last said of itself.
#[must_use]
pub(crate) fn shipper_state(root: &Path) -> Option<ShipperState> {
    serde_json::from_str(&crate::regular_file::read_text(&root.join(STATE), LIMIT).ok()?).ok()
}

/// Removes the folder of notes of a spool in which nothing waits.
pub(super) fn remove_folder(root: &Path) -> io::Result<()> {
    let folder = root.join(SHIP);
    for entry in fs::read_dir(&folder)? {
        fs::remove_file(entry?.path())?;
    }
    fs::remove_dir(folder)
}
