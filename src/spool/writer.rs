//! The open block: chunks are appended to it until it is sealed. One thread's business.

use std::io;
use std::sync::Arc;

use super::commit::OpenBlock;
use super::files::names::{Name, Why};
use super::files::{for_each_buffer, remove_if_there};
use super::quarantine::{DroppedBlock, Oldest};
use super::seal::{Origin, Written, write_sealed};
use super::sidecar::Sidecar;
use super::store::Entry;
use super::{OnSpoolFull, Options, Payload, SealedBlocks, SpoolError, SyncPolicy};
use crate::block::{Digest, Drops, Hasher, Kind, Meta, Naming};

/// The writing end of a stream's spool.
///
/// Each call that returns a [`Payload`] has changed what is on disk so that the payload describes
/// it; **commit it to the ring before the next call**. A process that is killed in between comes up
/// with the payload before, and recovery takes back what was done since.
#[derive(Debug)]
pub struct Spool {
    pub(super) store: Arc<SealedBlocks>,
    pub(super) options: Options,
    pub(super) state: OpenBlock,
    /// Of the open block's committed length.
    pub(super) hasher: Hasher,
    /// What a failed operation has left and the next call takes away.
    pub(super) heal: Heal,
    /// Dropped and lost blocks whose last file goes when their count has been committed.
    pub(super) gone: Vec<Name>,
    /// `state.sequence` of the last payload that was handed out.
    pub(super) handed_out: u64,
    /// Blocks that wait for a key, oldest first, each under its number among them.
    pub(super) held: Vec<(u64, OpenBlock)>,
    /// The number that the next of them may have, or a higher one.
    pub(super) held_free: u64,
    /// Blocks of other folders that were sealed anew here and could not be removed yet.
    pub(super) taken: Vec<String>,
    /// Whether the file [`SECRET`] is there.
    pub(super) marked: bool,
    /// Whether it says that what the ring holds is secret.
    pub(super) ring_is_marked: bool,
    /// A block that may have to be encrypted waits to be mended, and nothing but that file tells so.
    pub(super) secrets_wait: bool,
    /// The open block as it was last on the disk, and its hash.
    pub(super) synced: Option<(OpenBlock, Hasher)>,
    /// Payloads are committed some time after they were handed out, see [`Spool::defer_commits`].
    pub(super) deferred: bool,
    /// Most bytes that `spool_max` has counted after a chunk was appended.
    pub(super) high_water: u64,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Heal {
    /// The open block's file may be longer than its committed length.
    pub(super) tail: bool,
    /// A seal may have left files.
    pub(super) seal: bool,
    /// The open block's file could not be brought to the disk. The kernel takes what it failed to
    /// write for written, so that another try on the same file would be believed.
    pub(super) unsure: bool,
    /// Names are to be brought to the disk before the open block goes on: a file of its number may
    /// have had another content.
    pub(super) directory: bool,
}

/// What the packer knows of a chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChunkStats {
    /// Records in it.
    pub records: u64,
    /// Their bytes before compression.
    pub raw_bytes: u64,
    /// Time of the first record, ns since 1970.
    pub first: u64,
    /// Time of the last record, ns since 1970.
    pub last: u64,
    /// Records that were cut to fit.
    pub cut: u64,
}

/// A block that was just sealed.
#[derive(Debug)]
pub struct Sealed {
    /// Its number; the store has it.
    pub number: u64,
    /// What it says of itself.
    pub meta: Meta,
    /// Its key.
    pub key: String,
    /// The block is sealed, but the directory could not be synced: a power cut may undo it.
    pub unsynced: Option<io::Error>,
    /// Why the block keeps its members although [`Options::one_member`] asks for one.
    pub kept_members: Option<SpoolError>,
}

impl Spool {
    /// The sealed blocks, for the uploaders.
    #[must_use]
    pub fn store(&self) -> Arc<SealedBlocks> {
        Arc::clone(&self.store)
    }

    /// Committed bytes of the open block; 0 when nothing is in it.
    #[must_use]
    pub const fn open_len(&self) -> u64 {
        self.state.length
    }

    /// Most bytes that [`Options::spool_max`] has counted after an [`append`](Self::append), since the start;
    /// 0 before the first. What a start has found is not in it.
    #[must_use]
    pub const fn high_water(&self) -> u64 {
        self.high_water
    }

    /// Bytes that its disk has room for; `None` where that is not known.
    #[must_use]
    pub(crate) fn room(&self) -> Option<u64> {
        self.store.files.room()
    }

    /// Records in the open block.
    #[must_use]
    pub const fn open_records(&self) -> u64 {
        self.state.records
    }

    /// Time of the open block's first record, ns since 1970; `None` when nothing is in it.
    #[must_use]
    pub const fn open_since(&self) -> Option<u64> {
        if self.state.length == 0 { None } else { Some(self.state.first) }
    }

    /// Number of the open block.
    #[must_use]
    pub const fn open_number(&self) -> u64 {
        self.state.number
    }

    /// Drops that no sealed block tells of yet.
    #[must_use]
    pub const fn pending_drops(&self) -> Drops {
        self.state.drops
    }

    /// Whether a block begun now would be another kind of block than the open one.
    #[must_use]
    pub(crate) fn is_other(&self, codec: Kind, naming: &Naming, host: &str) -> bool {
        self.state.codec != codec || self.options.naming != *naming || self.options.host != host
    }

    /// A time in the window of the clock that the records behind the ring's head belong to, ns since
    /// 1970; 0 when it is not known.
    #[must_use]
    pub const fn reading(&self) -> u64 {
        self.state.reading
    }

    /// Notes that time: commit the payload to make it last.
    pub fn note_reading(&mut self, time: u64) -> Payload {
        self.state.reading = time;
        self.state.encode()
    }

    /// Changes the options. Limits and syncing hold from now on. The codec holds for blocks that
    /// are begun from now on; names, which a block gets when it is sealed, for the open one as well:
    /// seal it first if it [`is_other`](Self::is_other). With a [`Sealing`](crate::seal::Sealing) the
    /// open block and what the ring holds are secret from now on: commit the payload to make that
    /// last.
    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut Options)) {
        let shared = self.options.shared;
        change(&mut self.options);
        if self.options.shared && !shared {
            self.store.share();
        }
        if self.state.length == 0 {
            self.state.codec = self.options.codec;
        }
        self.state.secret |= self.options.sealing.is_some();
        self.mark();
    }

    /// When bytes are brought to the disk.
    #[must_use]
    pub(crate) const fn sync_policy(&self) -> SyncPolicy {
        self.options.sync
    }

    /// The payload of the present state.
    #[must_use]
    pub fn payload(&self) -> Payload {
        self.state.encode()
    }

    /// Appends a chunk, one whole member, to the open block.
    ///
    /// Under [`OnSpoolFull::DropOldest`] it makes room first; what was dropped is in
    /// [`Counts::dropped`](super::Counts::dropped) and in the next block's metadata.
    ///
    /// # Errors
    /// The open block is as it was; keep the records in the ring and try again later.
    pub fn append(&mut self, chunk: &[u8], stats: ChunkStats) -> Result<Payload, SpoolError> {
        self.heal()?;
        self.forget_gone();
        if self.seals_before_append() {
            // The settings changed, and the start could not seal what was open.
            self.seal(&Drops::default())?;
        }
        let wanted = chunk.len() as u64;
        let used = self.make_room(wanted)?;
        let name = Name::Data(self.state.number);
        let files = &*self.store.files;
        let written = if self.state.length == 0 {
            files.create(&name.to_string(), chunk)
        } else {
            files.append(&name.to_string(), chunk)
        };
        if let Err(source) = written {
            self.heal.tail = true;
            // Gives a full disk its bytes back at once; if that fails, the next call tries again.
            let error = SpoolError::Io { doing: "write", name: name.to_string(), source };
            return Err(self.heal_after(error));
        }
        self.hasher.update(chunk);
        self.high_water = self.high_water.max(used.saturating_add(wanted));
        let state = &mut self.state;
        if state.length == 0 {
            state.first = stats.first;
            state.last = stats.last;
        }
        state.length += wanted;
        state.records += stats.records;
        state.raw_bytes += stats.raw_bytes;
        state.cut += stats.cut;
        state.first = state.first.min(stats.first);
        state.last = state.last.max(stats.last);
        state.content = self.hasher.digest();
        Ok(self.hand_out())
    }

    /// Counts records that will never be in a block; the next sealed block's metadata tells of them.
    /// Commit the payload with the ring's head behind them.
    pub fn count_drops(&mut self, drops: &Drops) -> Payload {
        self.state.drops.add(drops);
        self.hand_out()
    }

    /// Takes back what was counted since the last commit, whose records are read again.
    pub(crate) const fn uncount_drops(&mut self, drops: &Drops) {
        self.state.drops.take(drops);
    }

    /// Seals the open block, `drops` having been counted since the last call; `None` when it has no
    /// records, and `drops` then wait for the next block.
    ///
    /// The commit point is the rename of the sidecar: from then on the store has the block, whether
    /// or not the returned payload is ever committed.
    ///
    /// # Errors
    /// The block is open as it was, and `drops` are not counted. [`SpoolError::NoKey`] for a block
    /// that is to be encrypted while there is no [`Sealing`](crate::seal::Sealing).
    pub fn seal(&mut self, drops: &Drops) -> Result<Option<(Sealed, Payload)>, SpoolError> {
        self.heal()?;
        self.forget_gone();
        if self.state.length == 0 {
            self.state.drops.add(drops);
            return Ok(None);
        }
        if self.lacks_key() {
            return Err(SpoolError::NoKey(self.state.number));
        }
        let (written, unsynced) = self.commit_sealed(|spool| {
            let data = Name::Data(spool.state.number);
            write_sealed(
                &*spool.store.files,
                &spool.options,
                spool.state,
                data,
                Origin::Open,
                drops,
            )
        })?;
        if written.sidecar.transformed {
            let name = Name::Data(written.sidecar.meta.number).to_string();
            if remove_if_there(&*self.store.files, &name).is_err() {
                self.store.lock().counts.left_behind += 1;
            }
        }
        Ok(Some(self.enter(written, unsynced)))
    }

    /// Runs `write`, which ends in a seal's commit point, and takes back what it did if it fails.
    /// What it wrote, and why the directory could not be synced, if so.
    pub(super) fn commit_sealed(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<Written, SpoolError>,
    ) -> Result<(Written, Option<io::Error>), SpoolError> {
        self.heal.seal = true;
        let written = match write(self) {
            Ok(written) => written,
            Err(error) => {
                let data = Name::Data(self.state.number).to_string();
                let of_data = |name: &String| *name == data;
                if matches!(&error, SpoolError::Io { doing: "sync", name, .. } if of_data(name)) {
                    self.heal.unsure = true;
                }
                return Err(self.heal_after(error));
            }
        };
        self.heal.seal = false;
        let sync = self.options.sync != SyncPolicy::None;
        // Once more after a failure: the block may be sent from now on, and one whose sidecar a power
        // cut undid would be made anew under another key.
        let files = &self.store.files;
        let sync_twice = || files.sync_directory().or_else(|_| files.sync_directory());
        let unsynced = if sync { sync_twice().err() } else { None };
        self.heal.directory = unsynced.is_some();
        Ok((written, unsynced))
    }

    /// Puts a sealed block into the store and begins the next one.
    pub(super) fn enter(
        &mut self,
        written: Written,
        unsynced: Option<io::Error>,
    ) -> (Sealed, Payload) {
        let Written { sidecar, kept_members } = written;
        let number = sidecar.meta.number;
        self.store.lock().insert(number, Entry::of(&sidecar));
        let Sidecar { meta, key, .. } = sidecar;
        self.next_block(Some(meta.sha256));
        (Sealed { number, meta, key, unsynced, kept_members }, self.hand_out())
    }

    /// Brings the open block to the disk, for [`SyncPolicy::Every`]. The caller commits and syncs
    /// the ring.
    ///
    /// # Errors
    /// The file system's. [`SpoolError::Reverted`]: see there.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        self.heal()?;
        if self.state.length > 0 {
            let name = Name::Data(self.state.number);
            let files = &*self.store.files;
            if let Err(source) = files.sync_file(&name.to_string()) {
                self.heal.unsure = true;
                let error = SpoolError::Io { doing: "sync", name: name.to_string(), source };
                return Err(self.heal_after(error));
            }
            files.sync_directory().map_err(SpoolError::io("sync", "its directory"))?;
        }
        self.synced = Some((self.state, self.hasher.clone()));
        Ok(())
    }

    /// From now on a payload is committed some time after it was handed out, and the caller says so
    /// with [`Spool::committed`]; or, with `false`, before the next call, as everybody does who is
    /// not asked.
    pub(crate) fn defer_commits(&mut self, deferred: bool) {
        self.deferred = deferred;
    }

    /// The present payload is committed.
    pub fn committed(&mut self) {
        self.handed_out = self.state.sequence;
    }

    /// Whether the next [`Spool::append`] seals the open block before, because it is of another
    /// codec.
    #[must_use]
    pub(crate) fn seals_before_append(&self) -> bool {
        self.state.length > 0 && self.state.codec != self.options.codec
    }

    /// Starts the block after the present one, empty.
    pub(super) fn next_block(&mut self, previous: Option<Digest>) {
        self.hasher = Hasher::default();
        self.state = OpenBlock {
            number: self.state.number + 1,
            sequence: self.state.sequence,
            previous,
            reading: self.state.reading,
            ..OpenBlock::empty(&self.options)
        };
    }

    /// A call may have ended in a panic: the next one takes away what it has left.
    pub fn distrust(&mut self) {
        // A seal has noted itself before it began.
        self.heal.tail = true;
    }

    /// Takes away what a failed call has left.
    pub(super) fn heal(&mut self) -> Result<(), SpoolError> {
        let store = Arc::clone(&self.store);
        let files = &*store.files;
        let number = self.state.number;
        if self.heal.seal {
            // The sidecar first: while it is there, the block counts as sealed.
            for name in [Name::Sidecar(number), Name::New(number), Name::Sealed(number)] {
                let name = name.to_string();
                remove_if_there(files, &name).map_err(SpoolError::io("remove", &name))?;
            }
            self.heal.seal = false;
        }
        if self.heal.tail {
            let name = Name::Data(number).to_string();
            match files.truncate(&name, self.state.length) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if self.state.length > 0 {
                        self.give_up_open();
                    }
                }
                Ok(()) if self.syncs() => {
                    // Before the next chunk takes its place: after a power cut a commit that counts
                    // that chunk must not find this one.
                    self.heal.unsure |= files.sync_file(&name).is_err();
                }
                done => done.map_err(SpoolError::io("truncate", &name))?,
            }
            self.heal.tail = false;
        }
        if self.heal.unsure {
            self.write_again()?;
        }
        if self.heal.directory {
            files.sync_directory().map_err(SpoolError::io("sync", "its directory"))?;
            self.heal.directory = false;
        }
        Ok(())
    }

    /// What the caller is told of a call that failed with `error`: that records are to be read again
    /// matters more.
    fn heal_after(&mut self, error: SpoolError) -> SpoolError {
        match self.heal() {
            Err(reverted @ SpoolError::Reverted(_)) => reverted,
            _ => error,
        }
    }

    const fn syncs(&self) -> bool {
        !matches!(self.options.sync, SyncPolicy::None)
    }

    /// Puts a copy of the open block's file in its place, which the kernel has not failed on. What
    /// was there is partly on the disk, and so the copy has to be before it takes its name.
    fn write_again(&mut self) -> Result<(), SpoolError> {
        let files = &*self.store.files;
        let (data, new) = (Name::Data(self.state.number), Name::New(self.state.number));
        let (data, new) = (data.to_string(), new.to_string());
        if self.state.length == 0 {
            remove_if_there(files, &data).map_err(SpoolError::io("remove", &data))?;
            self.heal = Heal { unsure: false, directory: self.syncs(), ..self.heal };
            return Ok(());
        }
        let mut hasher = Hasher::default();
        files.create(&new, &[]).map_err(SpoolError::io("write", &new))?;
        let copied = for_each_buffer(files, &data, self.state.length, |bytes| {
            hasher.update(bytes);
            files.append(&new, bytes)
        });
        if let Err(source) = copied {
            let _ = remove_if_there(files, &new);
            return Err(SpoolError::Io { doing: "copy", name: data, source });
        }
        if hasher.digest() == self.state.content {
            files.sync_file(&new).map_err(SpoolError::io("sync", &new))?;
            files.rename(&new, &data).map_err(SpoolError::io("rename", &new))?;
            self.heal = Heal { unsure: false, directory: self.syncs(), ..self.heal };
            return Ok(());
        }
        let _ = remove_if_there(files, &new);
        self.revert()
    }

    /// The kernel has dropped what it could not write: back to what was on the disk before.
    fn revert(&mut self) -> Result<(), SpoolError> {
        let number = self.state.number;
        match self
            .synced
            .clone()
            .filter(|_| self.deferred)
            .filter(|(synced, _)| synced.number == number)
        {
            Some((synced, hasher)) if synced.length < self.state.length => {
                self.state = OpenBlock {
                    sequence: self.state.sequence,
                    drops: self.state.drops,
                    secret: self.state.secret,
                    ..synced
                };
                self.hasher = hasher;
            }
            // Nothing of this block was on the disk.
            None if self.deferred => {
                self.state = self.state.begun_anew(&self.options);
                self.hasher = Hasher::default();
            }
            _ => self.give_up_open(),
        }
        // The file is cut to that before it is written again.
        self.heal = Heal { tail: true, unsure: self.state.length > 0, ..self.heal };
        Err(SpoolError::Reverted(Name::Data(number).to_string()))
    }

    pub(super) fn hand_out(&mut self) -> Payload {
        if !self.deferred {
            self.committed();
        }
        self.payload()
    }

    /// Removes what is left of taken blocks. Drops the last files of those that a payload counts which was handed out before, and which
    /// is therefore committed: see [`Spool`].
    pub(super) fn forget_gone(&mut self) {
        if !self.taken.is_empty() {
            self.forget_taken();
        }
        if self.gone.is_empty() {
            return;
        }
        let mut index = self.store.lock();
        let (store, counted) = (&self.store, self.handed_out);
        self.gone.retain(|name| match *name {
            Name::Gone { sequence, number, .. } if sequence <= counted => {
                store.retire(&mut index, number, *name);
                false
            }
            _ => true,
        });
    }

    /// The open block's file was taken away from outside: its records are lost, and the block
    /// begins anew.
    fn give_up_open(&mut self) {
        let state = self.state;
        self.store.lock().counts.lost.add(state.records, state.length);
        self.state = state.begun_anew(&self.options);
        self.state.drops.add(&Drops { lost: state.records, ..Drops::default() });
        self.hasher = Hasher::default();
    }

    /// Makes room for so many bytes; how many others `spool_max` counts.
    fn make_room(&mut self, wanted: u64) -> Result<u64, SpoolError> {
        let limit = self.options.spool_max;
        let mut past_notes = false;
        loop {
            let counts = self.store.counts();
            let used = counts.limited().saturating_add(self.state.length);
            if used.saturating_add(wanted) <= limit {
                return Ok(used);
            }
            // What another process has uploaded makes room first. Notes that cannot be taken are
            // counted, and told by whoever asks what notes have come to.
            let _ = self.store.take_notes();
            if self.store.counts() != counts {
                continue;
            }
            let full = SpoolError::Full { used, limit, wanted };
            // A chunk that could not fit into an empty spool is no reason to empty it.
            if self.options.on_full == OnSpoolFull::DropNewest
                || self.state.length.saturating_add(wanted) > limit
            {
                return Err(full);
            }
            let sequence = self.state.sequence + 1;
            let DroppedBlock { number, drops, clean } =
                match self.store.drop_oldest(sequence, past_notes)? {
                    Oldest::Dropped(block) => block,
                    // Left since, or one that cannot be taken.
                    Oldest::Noted => {
                        past_notes = true;
                        continue;
                    }
                    Oldest::None => return Err(full),
                };
            self.state.sequence = sequence;
            self.state.drops.add(&drops);
            if clean {
                self.gone.push(Name::Gone { sequence, number, why: Why::Dropped });
            }
        }
    }
}
