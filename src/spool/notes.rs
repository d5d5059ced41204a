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
//! | `ship/spare` | empty: what becomes a `.sent` on a full disk |
//! | `ship/*.new` | not yet renamed |
//!
//! A block that is being uploaded is held by the flock of its data, from before the first byte is
//! sent until its note is there. `spool_max` drops no block that is held or noted.
//!
//! A `.sent` needs no room on a full disk. It has no content; where there is not even room for a new
//! file (XFS makes room for 64 at a time, ext4 has only so many), the spare one gets its name, and a note
//! that was taken becomes the next spare one. The block that goes with it makes room for more. Notes are
//! not synced: what a power cut takes is sent again under the same key, and found to be there.
//!
//! Limits: what the shipper wrote is not trusted. A note counts for a block that is there and has that
//! hash, at most [`NOTES_MAX`] are in memory and taken at a time, and a reason is cut at 64 KiB. A note
//! that cannot be taken is counted and tried again in the next pass; all others go on.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::names::{Name, SHIP};
use super::files::{read_small, remove_if_there};
use super::note::{Note, Verdict};
use super::sidecar::LIMIT;
use super::store::{Noted, SealedBlocks, load};
use super::{Files, SpoolError, files};
use crate::stats::Stats;

/// Most notes that are taken in one call, between two of which the packer does its other work.
const NOTES_MAX: usize = 1_000;
const SPARE: &str = "ship/spare";
const STATE: &str = "ship/state";
const STATE_NEW: &str = "ship/state.new";

/// Shows each note; none where nobody may leave any.
fn for_each(files: &dyn Files, mut each: impl FnMut(Note)) -> Result<(), SpoolError> {
    let mut named = |text: &str| {
        if let Some(note) = Note::parse(text) {
            each(note);
        }
    };
    match files.list(SHIP, &mut named) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        listed => listed.map_err(SpoolError::io("list", SHIP)),
    }
}

/// All notes in the spool in `root`, for who only looks at it.
pub(super) fn left(root: &Path) -> io::Result<BTreeSet<Note>> {
    let entries = match fs::read_dir(root.join(SHIP)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let parsed = entries.map(|entry| Ok(Note::parse(&entry?.file_name().to_string_lossy())));
    parsed.filter_map(io::Result::transpose).collect()
}

/// The numbers of all blocks that have a note, for who leaves them: a block without one is sent again.
pub(super) fn numbers(files: &dyn Files) -> Result<BTreeSet<u64>, SpoolError> {
    let mut numbers = BTreeSet::new();
    for_each(files, |note| {
        numbers.insert(note.number);
    })?;
    Ok(numbers)
}

/// The first [`NOTES_MAX`] notes after `after`, in their order, and whether there are more.
fn next_of(files: &dyn Files, after: Option<Note>) -> Result<(BTreeSet<Note>, bool), SpoolError> {
    let (mut first, mut more) = (BTreeSet::new(), false);
    for_each(files, |note| {
        if after.is_none_or(|after| note > after) {
            first.insert(note);
            if first.len() > NOTES_MAX {
                first.pop_last();
                more = true;
            }
        }
    })?;
    Ok((first, more))
}

impl SealedBlocks {
    /// Lets the directory's group read what it needs to upload, and from now on what comes back from
    /// quarantine. What cannot be shared the other process cannot read, and says so.
    pub(super) fn share(&self) {
        let _ = self.files.share("");
        let mut index = self.lock();
        index.shared = true;
        let blocks: Vec<_> = index.blocks.iter().map(|(n, entry)| (*n, *entry)).collect();
        drop(index);
        for (number, entry) in blocks {
            let _ = self.files.share(&entry.data(number).to_string());
            let _ = self.files.share(&Name::Sidecar(number).to_string());
        }
    }

    /// Does what the next notes say, each of which then goes; whether they were the last of a pass over
    /// all. What they came to, and how many could not be taken, is in [`SealedBlocks::noted`].
    ///
    /// # Errors
    /// The notes cannot be listed: call it again.
    pub fn take_notes(&self) -> Result<bool, SpoolError> {
        let after = self.lock().notes_after;
        let (notes, more) = next_of(&*self.files, after)?;
        for note in &notes {
            if let Err(error) = self.take_note(*note) {
                let noted = &mut self.lock().noted;
                noted.failed += 1;
                noted.why.get_or_insert_with(|| error.to_string());
            }
        }
        self.lock().notes_after = notes.last().copied().filter(|_| more);
        Ok(!more)
    }

    /// The next call of [`take_notes`](SealedBlocks::take_notes) begins with the first note.
    pub(crate) fn begin_notes(&self) {
        self.lock().notes_after = None;
    }

    /// Does what all notes say, for who takes the blocks elsewhere. The numbers of blocks whose notes could
    /// not be taken: what became of these is not known.
    ///
    /// # Errors
    /// The notes cannot be listed.
    pub(crate) fn take_all_notes(&self) -> Result<BTreeSet<u64>, SpoolError> {
        self.begin_notes();
        while !self.take_notes()? {}
        numbers(&*self.files)
    }

    fn take_note(&self, note: Note) -> Result<(), SpoolError> {
        let number = note.number;
        // A note for a block that is gone, or for another one, has had its effect or has none.
        let there = self.lock().blocks.get(&number).copied();
        if let Some(entry) = there
            && self.is_of(note)?
        {
            match note.verdict {
                Verdict::Sent => self.uploaded(number)?,
                Verdict::Refused => self.quarantine(number, &self.reason(note))?,
            }
            let noted = &mut self.lock().noted;
            let tally = match note.verdict {
                Verdict::Sent => &mut noted.sent,
                Verdict::Refused => &mut noted.refused,
            };
            tally.add(entry.records, entry.bytes);
        }
        // A spare file for the next one, if it can be one; a refusal has content, and so takes up room.
        let path = note.path();
        if note.verdict == Verdict::Sent && self.files.rename(&path, SPARE).is_ok() {
            return Ok(());
        }
        remove_if_there(&*self.files, &path).map_err(SpoolError::io("remove", path))
    }

    /// Why a block was refused, as far as the note can be read: that it was is in its name.
    fn reason(&self, note: Note) -> String {
        match read_small(&*self.files, &note.path(), LIMIT) {
            Ok(reason) => String::from_utf8_lossy(&reason).into_owned(),
            Err(error) => format!("the note that says why cannot be read: {error}"),
        }
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
            // Taken away from outside: there is nothing left to be sent.
            Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Notes that a block is in the bucket, also on a full disk.
    pub(super) fn note_sent(&self, note: Note) -> Result<(), SpoolError> {
        let path = note.path();
        self.files
            .create(&path, &[])
            .or_else(|error| self.files.rename(SPARE, &path).map_err(|_| error))
            .map_err(SpoolError::io("write", path))
    }

    /// Makes the spare file while there is room, for the shipper. Without one a note takes what a full disk
    /// has.
    pub(super) fn make_spare(&self) {
        if matches!(self.files.length(SPARE), Ok(None)) {
            let _ = self.files.create(SPARE, &[]);
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

/// Why the shipper, as one of the directory's group, cannot read what this process makes in the
/// directory, and what to do; `None` when it can.
#[must_use]
pub(crate) fn group_problem(root: &Path) -> Option<String> {
    files::group_problem(root, rustix::process::getegid().as_raw())
}

/// What a shipper says of itself, several times a minute. One of an older release says less: what
/// was added since has a default.
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
    /// Since then: upload attempts answered with 2xx, 3xx, 4xx, 5xx, and not at all. Of an older release
    /// none, of a newer one perhaps more.
    #[serde(default)]
    pub(crate) answers: Vec<u64>,
    /// Now: blocks that are being uploaded.
    #[serde(default)]
    pub(crate) uploading_blocks: u64,
    /// Their bytes.
    #[serde(default)]
    pub(crate) uploading_bytes: u64,
    /// Of these, the bytes that are sent.
    #[serde(default)]
    pub(crate) uploading_sent: u64,
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
            answers: stats.answers().map(get).to_vec(),
            uploading_blocks: get(&stats.uploading_blocks),
            uploading_bytes: get(&stats.uploading_bytes),
            uploading_sent: get(&stats.uploading_sent),
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
