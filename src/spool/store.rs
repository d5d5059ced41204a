//! The sealed blocks: what uploaders take from, from any thread.
//!
//! Memory: about 60 bytes a block, 6 MB for 100,000; sidecars are read when a block is opened.
//! The lock is held for look-ups and single renames, never while a block is read, and no request
//! ever waits for it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::files::names::Name;
use super::files::{read_small, remove_if_there};
use super::note::{Note, Verdict};
use super::remote::Remote;
use super::sidecar::{self, BadSidecar, Sidecar};
use super::{Files, SpoolError};
use crate::block::Meta;

/// The sealed blocks of a stream. Made by [`Spool::open`](super::Spool::open).
pub struct SealedBlocks {
    pub(super) files: Arc<dyn Files>,
    index: Mutex<Index>,
}

impl std::fmt::Debug for SealedBlocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedBlocks").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// A number of blocks with what is in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Blocks.
    pub blocks: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes as stored.
    pub bytes: u64,
}

impl Tally {
    pub(crate) const fn add(&mut self, records: u64, bytes: u64) {
        self.blocks += 1;
        self.records = self.records.saturating_add(records);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) const fn subtract(&mut self, records: u64, bytes: u64) {
        self.blocks = self.blocks.saturating_sub(1);
        self.records = self.records.saturating_sub(records);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What the store holds and what became of the rest, all read at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sealed, waiting for upload or being uploaded.
    pub sealed: Tally,
    /// In quarantine, those of earlier starts included.
    pub quarantined: Tally,
    /// Unencrypted, and waiting for a key to be encrypted to, see [`Spool::hold`](super::Spool::hold).
    pub held: Tally,
    /// Time of the first record of the oldest of those, ns since 1970.
    pub(crate) held_since: Option<u64>,
    /// Damaged, and waiting for a start that finds room on the disk to mend them; or not to be read, and
    /// waiting for one that can. What is in one that cannot be read may not be known: it counts no records.
    pub damaged: Tally,
    /// Time of the first record of the oldest of those, ns since 1970.
    pub(crate) damaged_since: Option<u64>,
    /// Uploaded since the start.
    pub uploaded: Tally,
    /// Dropped by `spool_max` since the start. A block that was sent by a process that was killed
    /// before it could note that may be in the bucket and dropped.
    pub dropped: Tally,
    /// Found damaged or gone since the start; an open block counts as a block.
    pub lost: Tally,
    /// Time of the first record of the oldest sealed block, ns since 1970.
    pub oldest: Option<u64>,
    /// Files of blocks that are done with and could not be removed; the next start tries again.
    pub left_behind: u64,
}

impl Counts {
    /// Bytes that `spool_max` counts, the open block's left out.
    #[must_use]
    pub const fn limited(&self) -> u64 {
        self.sealed.bytes.saturating_add(self.quarantined.bytes)
    }
}

/// What notes came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noted {
    /// Blocks that are in the bucket.
    pub sent: Tally,
    /// Blocks that are in quarantine now.
    pub refused: Tally,
    /// Notes that could not be taken, each time that was tried.
    pub failed: u64,
    /// Why, of the first of them.
    pub why: Option<String>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) first: u64,
    pub(super) transformed: bool,
    pub(super) encrypted: bool,
    claimed: bool,
    /// Nobody is given the block before this monotonic time.
    not_before: Duration,
}

impl Entry {
    pub(super) fn of(sidecar: &Sidecar) -> Self {
        Self {
            records: sidecar.meta.records,
            bytes: sidecar.meta.bytes,
            first: sidecar.meta.first,
            transformed: sidecar.transformed,
            encrypted: sidecar.is_encrypted(),
            claimed: false,
            not_before: Duration::ZERO,
        }
    }

    /// The same, which nobody is given before this monotonic time.
    pub(super) const fn not_before(self, not_before: Duration) -> Self {
        Self { not_before, ..self }
    }

    pub(super) const fn is_claimed(&self) -> bool {
        self.claimed
    }

    fn is_due(&self, now: Duration) -> bool {
        !self.claimed && self.not_before <= now
    }

    pub(super) const fn data(&self, number: u64) -> Name {
        if self.transformed { Name::Sealed(number) } else { Name::Data(number) }
    }
}

#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) blocks: BTreeMap<u64, Entry>,
    /// In quarantine, each under its number. One whose sidecar cannot be read has nothing to count.
    pub(super) quarantine: BTreeMap<u64, Entry>,
    pub(super) counts: Counts,
    /// The block whose `N.done` stays: the newest that is gone. It carries the chain on when the
    /// ring's file is lost.
    pub(super) anchor: Option<u64>,
    /// What notes have come to and nobody was told of yet.
    pub(super) noted: Noted,
    /// The note after which the pass over all of them goes on; `None` at its beginning.
    pub(super) notes_after: Option<Note>,
    /// The directory's group may read what is sent.
    pub(super) shared: bool,
    /// There for who only uploads.
    pub(super) remote: Option<Remote>,
}

impl Index {
    fn counts(&self) -> Counts {
        let oldest = self.blocks.values().next().map(|entry| entry.first);
        Counts { oldest, ..self.counts }
    }

    pub(super) fn insert(&mut self, number: u64, entry: Entry) {
        self.counts.sealed.add(entry.records, entry.bytes);
        self.blocks.insert(number, entry);
    }

    pub(super) fn quarantine(&mut self, number: u64, entry: Entry) {
        self.counts.quarantined.add(entry.records, entry.bytes);
        self.quarantine.insert(number, entry);
    }

    pub(super) fn leave_quarantine(&mut self, number: u64) {
        if let Some(entry) = self.quarantine.remove(&number) {
            self.counts.quarantined.subtract(entry.records, entry.bytes);
        }
    }

    pub(super) fn take(&mut self, number: u64) -> Option<Entry> {
        let entry = self.blocks.remove(&number)?;
        self.counts.sealed.subtract(entry.records, entry.bytes);
        Some(entry)
    }
}

/// A sealed block, opened for upload.
pub struct SealedBlock {
    /// What it says of itself; `bytes` is the length of `content`, `sha256` its hash.
    pub meta: Meta,
    /// The object's key.
    pub key: String,
    /// Its bytes, from the start. Open it again to read it again.
    pub content: Box<dyn Read + Send>,
}

impl std::fmt::Debug for SealedBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedBlock")
            .field("meta", &self.meta)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl SealedBlocks {
    /// A store without blocks, for `Spool::open_into` to fill.
    #[must_use]
    pub fn empty(files: Arc<dyn Files>) -> Self {
        Self { files, index: Mutex::default() }
    }

    /// From now on these are its blocks.
    pub(super) fn fill(&self, index: Index) {
        *self.lock() = index;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in the store and what became of the rest.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts()
    }

    /// The same, unless somebody has the store in hand, who may be held up by the disk.
    #[must_use]
    pub(crate) fn try_counts(&self) -> Option<Counts> {
        match self.index.try_lock() {
            Ok(index) => Some(index.counts()),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner().counts()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Numbers of all sealed blocks, oldest first.
    #[must_use]
    pub fn sealed(&self) -> Vec<u64> {
        self.lock().blocks.keys().copied().collect()
    }

    /// The oldest block that nobody has claimed and whose time has come at `now`, monotonic; now
    /// claimed: no other call returns it and `spool_max` does not drop it, until it is
    /// [released](SealedBlocks::release), uploaded or quarantined.
    #[must_use]
    pub fn claim(&self, now: Duration) -> Option<u64> {
        self.claim_first(|index| {
            let mut all = index.blocks.iter();
            all.find(|(_, entry)| entry.is_due(now)).map(|(number, _)| *number)
        })
    }

    /// As [`claim`](SealedBlocks::claim), but the block that has not been tried for longest, or never:
    /// each has its turn, even where the oldest ones fail. Looks at every block.
    #[must_use]
    pub(crate) fn claim_in_turn(&self, now: Duration) -> Option<u64> {
        self.claim_first(|index| {
            let due = index.blocks.iter().filter(|(_, entry)| entry.is_due(now));
            let first = due.min_by_key(|(number, entry)| (entry.not_before, **number));
            first.map(|(number, _)| *number)
        })
    }

    /// Claims the block that `choose` gives. One that is another process's, and that it has dropped
    /// or is dropping, is forgotten.
    fn claim_first(&self, choose: impl Fn(&Index) -> Option<u64>) -> Option<u64> {
        let mut index = self.lock();
        loop {
            let number = choose(&index)?;
            let Index { blocks, remote, .. } = &mut *index;
            let entry = blocks.get_mut(&number)?;
            let held = remote
                .as_mut()
                .is_none_or(|remote| remote.hold(&*self.files, number, entry.data(number)));
            if held {
                entry.claimed = true;
                return Some(number);
            }
            index.take(number);
        }
    }

    /// Gives a claimed block back: it was not uploaded, and may be claimed at once.
    pub fn release(&self, number: u64) {
        self.release_until(number, Duration::ZERO);
    }

    /// Gives a claimed block back, which nobody is given before `not_before`, monotonic. Those
    /// behind it go on.
    pub fn release_until(&self, number: u64, not_before: Duration) {
        let mut index = self.lock();
        if let Some(entry) = index.blocks.get_mut(&number) {
            entry.claimed = false;
            entry.not_before = not_before;
        }
        if let Some(remote) = &mut index.remote {
            remote.release(number);
        }
    }

    /// Nobody is given this block before `not_before`, monotonic, if nobody has it yet.
    pub fn delay(&self, number: u64, not_before: Duration) {
        if let Some(entry) = self.lock().blocks.get_mut(&number).filter(|entry| !entry.claimed) {
            entry.not_before = not_before;
        }
    }

    /// When the next block may be claimed, monotonic; `None` when all are claimed, or there is none.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        let index = self.lock();
        let free = index.blocks.values().filter(|entry| !entry.claimed);
        free.map(|entry| entry.not_before).min()
    }

    /// Every block may be claimed at once: the settings have changed, and with them the reason to
    /// wait.
    pub fn forget_waits(&self) {
        self.lock().blocks.values_mut().for_each(|entry| entry.not_before = Duration::ZERO);
    }

    /// Opens a sealed block for upload. Reads its sidecar; the content is read by the caller.
    ///
    /// # Errors
    /// [`SpoolError::NoBlock`], or a file that cannot be read.
    pub fn open_block(&self, number: u64) -> Result<SealedBlock, SpoolError> {
        let mut index = self.lock();
        let entry = index.blocks.get(&number).copied().ok_or(SpoolError::NoBlock(number))?;
        if let Some(remote) = &mut index.remote {
            remote.keep(&*self.files, number, entry.data(number))?;
        }
        drop(index);
        let name = Name::Sidecar(number);
        let Sidecar { key, meta, .. } = load(&*self.files, &name.to_string())?;
        let data = entry.data(number);
        let content = self.files.read(&data.to_string()).map_err(SpoolError::io("read", data))?;
        Ok(SealedBlock { meta, key, content })
    }

    /// The block is in the bucket: forgets it and deletes its files.
    ///
    /// Its sidecar becomes `N.done` in one rename; whatever happens after that, the block is not
    /// uploaded again and not missed. Data that cannot be deleted is counted in
    /// [`Counts::left_behind`].
    ///
    /// # Errors
    /// When the rename fails: call it again. Should the process end before that, the block is sent
    /// once more under the same key, and found to be there.
    pub fn uploaded(&self, number: u64) -> Result<(), SpoolError> {
        let mut index = self.lock();
        let entry = index.blocks.get(&number).copied().ok_or(SpoolError::NoBlock(number))?;
        if index.remote.is_some() {
            return self.note(&mut index, number, Verdict::Sent, "");
        }
        let name = Name::Sidecar(number).to_string();
        match self.files.rename(&name, &Name::Done(number).to_string()) {
            // Taken away from outside; there is nothing left to be sent again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(SpoolError::io("rename", name))?,
        }
        index.take(number);
        index.counts.uploaded.add(entry.records, entry.bytes);
        // While data is left, `N.done` has to stay and say that it is not to be sent again.
        if self.tidy_data(&mut index, number, entry) {
            self.retire(&mut index, number, Name::Done(number));
        }
        Ok(())
    }

    /// Removes `last`, the last file of a block that is gone, or keeps it as the anchor.
    pub(super) fn retire(&self, index: &mut Index, number: u64, last: Name) {
        let done = Name::Done(number);
        match index.anchor {
            Some(anchor) if anchor >= number => {
                self.tidy(index, last);
            }
            before => {
                if last != done {
                    match self.files.rename(&last.to_string(), &done.to_string()) {
                        Ok(()) => {}
                        Err(error) => {
                            let gone = error.kind() == io::ErrorKind::NotFound;
                            index.counts.left_behind += u64::from(!gone);
                            return;
                        }
                    }
                }
                index.anchor = Some(number);
                if let Some(before) = before {
                    self.tidy(index, Name::Done(before));
                }
            }
        }
    }

    /// Whether the block's data is gone now. A transformed one may have left its members, too, when
    /// they could not be removed at its seal.
    pub(super) fn tidy_data(&self, index: &mut Index, number: u64, entry: Entry) -> bool {
        let members_gone = !entry.transformed || self.tidy(index, Name::Data(number));
        self.tidy(index, entry.data(number)) && members_gone
    }

    /// Whether the file is gone now.
    pub(super) fn tidy(&self, index: &mut Index, name: Name) -> bool {
        let gone = remove_if_there(&*self.files, &name.to_string()).is_ok();
        index.counts.left_behind += u64::from(!gone);
        gone
    }
}

/// Reads and checks a sidecar.
pub(super) fn load(files: &dyn Files, name: &str) -> Result<Sidecar, SpoolError> {
    let bytes = read_small(files, name, sidecar::LIMIT).map_err(SpoolError::io("read", name))?;
    Sidecar::decode(&bytes).map_err(|bad| match bad {
        BadSidecar::Damaged => SpoolError::Damaged { name: name.to_owned() },
        BadSidecar::Version(found) => SpoolError::Version {
            name: name.to_owned(),
            found: u64::from(found),
            reads: u64::from(sidecar::FORMAT),
        },
    })
}
