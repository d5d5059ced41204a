//! Ring and spool in step: each record is in the one or in the other, at any instant, for a process
//! that is killed and, as far as [`SyncPolicy`] goes, for a power cut.
//!
//! | `sync` | a chunk | a seal | between |
//! |---|---|---|---|
//! | `none` | append, commit | seal, commit | |
//! | `block` | append, commit | **commit**, seal, **commit** | |
//! | a duration | append, accept | sync, **commit**, seal, **commit** | sync, **commit**, sync the ring |
//!
//! A commit in bold is on the disk before the next step, and before the ring's bytes are erased. The
//! one before a seal keeps the ring from bringing back records that the sealed block has. Under a
//! duration a chunk is only accepted: until its file is on the disk its records stay in the ring,
//! and so a kill and a power cut read them again and cut the file.
//!
//! Non-goals: threads, and what is in a chunk.

use std::io;

use crate::block::Drops;
use crate::ring::{Reader, SyncError, Taken, Until};
use crate::spool::{ChunkStats, Options, Payload, Sealed, Spool, SpoolError, SyncPolicy};

/// What making one block ready for upload comes to, as [`Spool::seal`] does it.
pub type Done = Result<Option<(Sealed, Payload)>, SpoolError>;

/// The reading end of a ring and the writing end of a spool.
#[derive(Debug)]
pub struct Ledger {
    reader: Reader,
    spool: Spool,
    sync: SyncPolicy,
    /// Records before this position of the ring may not be on the disk although a sync says so.
    unsure: u64,
    /// Damaged places that were counted.
    torn: u64,
    /// What was accepted since the commit that ends there.
    accepted: (u64, Repeated),
    /// What was lost with the open block's end and is read again, until somebody takes note.
    repeated: Option<Repeated>,
}

/// What was accepted and is read again. Whoever has counted it does not count it twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Repeated {
    /// Records, dropped ones among them.
    pub(crate) records: u64,
    /// Bytes before compression of those that were appended.
    pub(crate) raw_bytes: u64,
    /// Bytes of their members.
    pub(crate) stored_bytes: u64,
    /// Records that were dropped.
    pub(crate) dropped: u64,
}

impl Repeated {
    /// Both together.
    pub(crate) const fn and(self, more: Self) -> Self {
        Self {
            records: self.records + more.records,
            raw_bytes: self.raw_bytes + more.raw_bytes,
            stored_bytes: self.stored_bytes + more.stored_bytes,
            dropped: self.dropped + more.dropped,
        }
    }
}

/// Why what is in ring and spool is not on the disk.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The open block.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The ring's commit.
    #[error(transparent)]
    Commit(#[from] SyncError),
    /// The ring's records. Those that there were are safe once they are in a block: see
    /// `Ledger::must_pack`.
    #[error("the ring cannot be synced: {0}")]
    Ring(io::Error),
}

impl Ledger {
    /// Of a ring and a spool that a start has brought into step.
    #[must_use]
    pub fn new(reader: Reader, spool: Spool) -> Self {
        let (sync, accepted) = (SyncPolicy::None, (0, Repeated::default()));
        let mut ledger = Self { reader, spool, sync, unsure: 0, torn: 0, accepted, repeated: None };
        ledger.configure(|_| ());
        ledger
    }

    /// Commits what a start has made of the spool, before anything is appended. It is on the disk twice,
    /// so that what was committed before cannot come back and describe bytes that were not there then.
    ///
    /// # Errors
    /// It could not be brought to the disk. Where what was there before could not either, that holds for
    /// this process's successors until the next commit.
    pub fn begin(&mut self) -> Result<(), SyncError> {
        let payload = self.spool.payload();
        if self.sync == SyncPolicy::None {
            self.reader.commit(payload.as_bytes())?;
        } else {
            self.reader.commit_synced(payload.as_bytes())?;
            self.reader.commit_synced(payload.as_bytes())?;
        }
        self.spool.ring_tells();
        Ok(())
    }

    /// Of the same spool and another ring, whose commit says what this one's would.
    #[must_use]
    pub fn read_from(self, reader: Reader) -> Self {
        Self::new(reader, self.spool)
    }

    /// The spool, to look at.
    #[must_use]
    pub const fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Appends records of the ring to `out`, see [`Reader::read_into`].
    pub(crate) fn read_into(&mut self, out: &mut Vec<u8>, until: Until) -> Taken {
        self.reader.read_into(out, until)
    }

    /// Places of the ring that were damaged and stepped over since the last call. Each counts as a
    /// lost record, which the next block tells of.
    pub(crate) fn take_torn(&mut self) -> u64 {
        let places = self.reader.torn().places;
        let since = places.saturating_sub(self.torn);
        if since > 0 {
            self.torn = places;
            // Committed with what is read behind them.
            let _ = self.spool.count_drops(&Drops { lost: since, ..Drops::default() });
        }
        since
    }

    /// Up to where the ring was read, in bytes since it was made.
    #[must_use]
    pub(crate) fn read_position(&self) -> u64 {
        self.reader.cursor()
    }

    /// What was read and is in no block will be read again.
    pub(crate) fn rewind(&mut self) {
        self.reader.rewind();
    }

    /// Goes on after a panic in the middle of anything: what is in no block is read again.
    pub(crate) fn after_panic(&mut self) {
        self.reader.rewind();
        self.spool.distrust();
    }

    /// See [`Spool::configure`].
    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut Options)) {
        self.spool.configure(change);
        self.sync = self.spool.sync_policy();
        self.spool.defer_commits(self.defers());
    }

    /// Appends a chunk of all that was read.
    ///
    /// # Errors
    /// As those of [`Spool::append`]; see `take_repeated` for [`SpoolError::Reverted`].
    pub fn append(&mut self, member: &[u8], stats: ChunkStats) -> Result<(), SpoolError> {
        if self.spool.seals_before_append() {
            self.seal(Spool::seal, &Drops::default())?;
        }
        let appended = self.spool.append(member, stats);
        let payload = self.or_back(appended)?;
        self.commit(&payload);
        let ChunkStats { records, raw_bytes, .. } = stats;
        let stored_bytes = member.len() as u64;
        self.note_accepted(Repeated { records, raw_bytes, stored_bytes, dropped: 0 });
        Ok(())
    }

    /// What was accepted and is read again since the last call, because what was on the disk of the open
    /// block is less: what is in hand was read behind it, and has to be given back before anything is
    /// appended.
    pub(crate) fn take_repeated(&mut self) -> Option<Repeated> {
        self.repeated.take()
    }

    /// Commits what was read with nothing in hand: damage that was stepped over, and what a worker left
    /// that died in a push. Its space would otherwise stay taken until a record follows.
    pub(crate) fn pass_over(&mut self) {
        if self.reader.read_bytes() > 0 {
            self.commit(&self.spool.payload());
        }
    }

    /// Counts all that was read as dropped.
    pub(crate) fn drop_read(&mut self, drops: &Drops) {
        let payload = self.spool.count_drops(drops);
        self.commit(&payload);
        let (records, dropped) = (drops.spool, drops.spool);
        self.note_accepted(Repeated { records, dropped, ..Repeated::default() });
    }

    /// Until the next commit, which moves the ring's head.
    fn note_accepted(&mut self, more: Repeated) {
        if self.holds_space() {
            self.accepted = (self.reader.head(), self.uncommitted().and(more));
        }
    }

    fn uncommitted(&self) -> Repeated {
        let (head, accepted) = self.accepted;
        if head == self.reader.head() { accepted } else { Repeated::default() }
    }

    /// Seals a block; what was read and not appended stays in hand. What could not be brought to the
    /// disk, if so: the block is sealed all the same.
    ///
    /// # Errors
    /// As those of [`Spool::seal`].
    pub fn seal(
        &mut self,
        seal: impl FnOnce(&mut Spool, &Drops) -> Done,
        drops: &Drops,
    ) -> Result<Option<(Sealed, Option<LedgerError>)>, SpoolError> {
        let before = self.before_rename()?;
        let done = seal(&mut self.spool, drops);
        let Some((sealed, payload)) = self.or_back(done)? else { return Ok(None) };
        Ok(Some((sealed, self.after_rename(&payload).or(before))))
    }

    /// Sets the open block aside to wait for a key, with nothing in hand that was read and not
    /// appended, see [`Spool::hold`].
    ///
    /// # Errors
    /// As those of [`Spool::hold`].
    pub fn hold(&mut self) -> Result<(), SpoolError> {
        // What cannot be brought to the disk holds for this process and its successors.
        let _ = self.before_rename()?;
        let done = self.spool.hold();
        if let Some(payload) = self.or_back(done)? {
            let _ = self.after_rename(&payload);
        }
        Ok(())
    }

    /// What the ring says of the open block is on the disk before the block has another name: the ring
    /// must not bring back records that are in it. Why it is not, if so.
    fn before_rename(&mut self) -> Result<Option<LedgerError>, SpoolError> {
        if self.defers() {
            return match self.sync_block() {
                Err(LedgerError::Spool(error)) => Err(error),
                synced => Ok(synced.err()),
            };
        }
        if self.sync == SyncPolicy::None {
            return Ok(None);
        }
        Ok(self.commit_synced().err())
    }

    fn after_rename(&mut self, payload: &Payload) -> Option<LedgerError> {
        if self.sync == SyncPolicy::None {
            // What is in hand goes into the next block, if into any. The payload's length is a constant
            // that the ring takes.
            let _ = self.reader.commit_accepted(payload.as_bytes());
            return None;
        }
        self.commit_synced().err()
    }

    /// Nothing that was appended waits for a sync after this.
    ///
    /// # Errors
    /// The open block cannot be brought to the disk.
    pub fn settle(&mut self) -> Result<(), SpoolError> {
        if self.holds_space() {
            // A commit that did not come to the disk holds for this process and its successors.
            if let Err(LedgerError::Spool(error)) = self.sync_block() {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Commits what the spool says of secrets. [Settle](Ledger::settle) before it changes, and give
    /// back what was read.
    pub fn note(&mut self) {
        debug_assert!(!self.holds_space());
        // The payload's length is a constant that the ring takes.
        let _ = self.reader.commit(self.spool.payload().as_bytes());
    }

    /// See [`Spool::end_secrecy`]; noted as well.
    pub fn end_secrecy(&mut self) {
        self.spool.end_secrecy();
        self.note();
    }

    /// Commits which window of the clock is read from now on, see [`Spool::note_reading`], with nothing
    /// in hand. Whether that can be done now: where what was appended waits for a sync, it was done
    /// before.
    pub(crate) fn note_reading(&mut self, time: u64) -> bool {
        if self.holds_space() {
            return false;
        }
        let payload = self.spool.note_reading(time);
        // The payload's length is a constant that the ring takes.
        self.reader.commit(payload.as_bytes()).is_ok()
    }

    /// Brings everything to the disk that was pushed before the call.
    ///
    /// # Errors
    /// What is not there yet. Call it again later.
    pub fn sync(&mut self) -> Result<(), LedgerError> {
        self.sync_block()?;
        // Records that are in no block yet.
        if let Err(error) = self.reader.sync() {
            self.unsure = self.reader.cursor() + self.reader.pending_bytes();
            return Err(LedgerError::Ring(error));
        }
        Ok(())
    }

    /// Whether the ring holds records that cannot be brought to the disk where they are: append
    /// them all and sync. The kernel takes pages that it failed to write for written.
    #[must_use]
    pub(crate) fn must_pack(&self) -> bool {
        self.reader.head() < self.unsure
    }

    /// Whether space of the ring waits for a sync.
    #[must_use]
    pub(crate) fn holds_space(&self) -> bool {
        self.reader.accepted_bytes() > 0
    }

    const fn defers(&self) -> bool {
        matches!(self.sync, SyncPolicy::Every(_))
    }

    fn sync_block(&mut self) -> Result<(), LedgerError> {
        let synced = self.spool.sync();
        self.or_back(synced)?;
        self.commit_synced()
    }

    fn commit(&mut self, payload: &Payload) {
        if self.defers() {
            self.reader.accept();
        } else {
            // The payload's length is a constant that the ring takes.
            let _ = self.reader.commit(payload.as_bytes());
        }
    }

    fn commit_synced(&mut self) -> Result<(), LedgerError> {
        let payload = self.spool.payload();
        // Once more after a failure, which makes the kernel write the page again: without it a seal
        // could be on the disk before the ring is.
        let done = match self.reader.commit_synced(payload.as_bytes()) {
            Err(SyncError::Io(_)) => self.reader.commit_synced(payload.as_bytes()),
            done => done,
        };
        // In memory it is, whether or not it came to the disk.
        self.spool.committed();
        Ok(done?)
    }

    /// What the spool has lost of the open block is read again, if the ring still has it. Else that it
    /// is lost is on the disk before its file has another content, which the commit before would take
    /// for its own.
    fn or_back<T>(&mut self, done: Result<T, SpoolError>) -> Result<T, SpoolError> {
        if matches!(done, Err(SpoolError::Reverted(_))) {
            if self.defers() {
                let repeated = self.uncommitted();
                self.accepted = (0, Repeated::default());
                self.reader.back_to_commit();
                // Those that are dropped again count then.
                let drops = Drops { spool: repeated.dropped, ..Drops::default() };
                self.spool.uncount_drops(&drops);
                self.repeated = Some(self.repeated.unwrap_or_default().and(repeated));
            } else if self.sync != SyncPolicy::None {
                // A disk that fails this as well is one that a later commit reports.
                let _ = self.commit_synced();
            }
        }
        done
    }
}
