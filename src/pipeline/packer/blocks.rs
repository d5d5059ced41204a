//! What the packer does with chunks and blocks, of the settings in force.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Packer;
use super::spread::wait_after_window;
use crate::block::Drops;
use crate::clock::nanoseconds;
use crate::events::Level;
use crate::pipeline::folder;
use crate::pipeline::ledger::{Done, LedgerError};
use crate::pipeline::packing::Packed;
use crate::settings::{COPY_MORE, Upload};
use crate::spool::{self, Spool, SpoolError};
use crate::stats::{add, get};

/// How long a block that was moved here and cannot be taken is left alone.
const UNFIT_RETRY: Duration = Duration::from_secs(60);

/// More than a block's description takes on a disk, and what its name adds to the directory.
const SEAL_BYTES: u64 = 64 * 1024;

impl Packer {
    /// Compresses the chunk, appends it to the open block and commits both ends.
    pub(super) fn close_chunk(&mut self) -> Result<(), SpoolError> {
        self.begin_or_keep_block()?;
        if self.packing.records() == 0 {
            return Ok(());
        }
        self.store_chunk()
    }

    /// The same for the open block as it is.
    pub(super) fn store_chunk(&mut self) -> Result<(), SpoolError> {
        let open = self.ledger.spool().open_len();
        if open > 0 {
            let chunk = self.packing.encode()?;
            if open + chunk > self.target.settings.block_bytes() || !self.leaves_room(open, chunk) {
                // The chunk is read again, for the next block.
                return self.seal();
            }
        }
        let packed = match self.packing.store(&mut self.ledger) {
            Ok(packed) => packed,
            Err(error @ SpoolError::Full { .. }) => {
                self.drop_chunk(&error);
                return Ok(());
            }
            Err(error) if open > 0 && error.is_no_room() => {
                // Uploading what is open may be all that can make room, and to seal it takes a page. The
                // chunk is read again.
                self.seal()?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        self.count(packed);
        Ok(())
    }

    /// Whether the disk has room for so many bytes more in the open block, and then for what its seal takes:
    /// a description, and a copy of what is encrypted or made one member of. A block that could not be
    /// sealed could not make room.
    fn leaves_room(&self, open: u64, chunk: u64) -> bool {
        let settings = &self.target.settings;
        let sealing = self.sealing.is_some() || settings.sealing.is_some();
        let copied = sealing || settings.one_member().is_some();
        let copy = if copied { open.saturating_add(chunk) } else { 0 };
        let wanted = [chunk, copy, copy / COPY_MORE, SEAL_BYTES];
        let wanted = wanted.into_iter().fold(0, u64::saturating_add);
        self.ledger.spool().room().is_none_or(|room| room >= wanted)
    }

    /// The spool is at its limit and may not make room: the chunk's records are dropped and told.
    fn drop_chunk(&mut self, why: &SpoolError) {
        let records = self.packing.drop_all(&mut self.ledger);
        self.count(Packed { records, raw_bytes: 0, stored_bytes: 0 });
        add(&self.pipeline.view.dropped_newest, records);
        let message = format!("{records} records dropped: {why}");
        self.tell(Level::Error, "dropped", &message);
        if self.ledger.spool().open_len() == 0 {
            self.since = None;
        }
    }

    /// Sees to it that the open block is one of the settings in force: one that was begun with
    /// another name or key is sealed first. Another codec holds from the next block on: two VCLs of
    /// one route that write in turns would make a block of each turn.
    fn begin_or_keep_block(&mut self) -> Result<(), SpoolError> {
        let settings = &self.target.settings;
        let (spool, codec) = (self.ledger.spool(), self.packing.codec().kind());
        let other = spool.is_other(codec, &settings.naming, &settings.host)
            || self.sealing != settings.sealing;
        if spool.open_len() > 0 && other {
            self.seal()?;
        }
        let switched = self.note_upload();
        if self.ledger.spool().open_len() == 0 {
            self.packing.recode(self.target.settings.codec)?;
        }
        self.configure();
        if switched {
            self.pipeline.look_at_group();
        }
        Ok(())
    }

    pub(super) fn seal(&mut self) -> Result<(), SpoolError> {
        self.packing.give_back(&mut self.ledger);
        if self.target.settings.sealing.is_some() {
            // The keys in force, also for what was begun before they were.
            self.set_sealing();
        }
        self.seal_by(Spool::seal)?;
        self.since = None;
        Ok(())
    }

    /// Lets the spool seal a block, and tells everybody. Whether there was one.
    pub(super) fn seal_by(
        &mut self,
        seal: impl FnOnce(&mut Spool, &Drops) -> Done,
    ) -> Result<bool, SpoolError> {
        let stats = &self.pipeline.stats;
        let drops = Drops {
            ring: get(&stats.dropped_ring) + get(&stats.dropped_end),
            panic: get(&stats.dropped_panic),
            ..Drops::default()
        };
        let since = Drops {
            ring: drops.ring.saturating_sub(self.told.ring),
            panic: drops.panic.saturating_sub(self.told.panic),
            ..Drops::default()
        };
        self.set_signer();
        let wait = self.wait_after_seal();
        let clock = &*self.pipeline.environment.clock;
        let until = wait.map(|wait| nanoseconds(clock.unix().saturating_add(wait)));
        self.ledger.configure(|options| options.wait_until = until);
        let sealed = self.ledger.seal(seal, &since)?;
        self.told = drops;
        self.share = 1.0;
        let any = sealed.is_some();
        if let Some((sealed, unsynced)) = sealed {
            if let Some(error) = unsynced {
                // Holds for this process and its successors; the next commit syncs it again.
                self.tell(Level::Warn, "sync", &error.to_string());
            }
            add(&self.pipeline.stats.blocks_sealed, 1);
            if let Some(error) = sealed.unsynced {
                let message = format!("block {}: the spool is not synced: {error}", sealed.number);
                self.tell(Level::Warn, "sync", &message);
            }
            if let Some(error) = sealed.kept_members {
                add(&self.pipeline.stats.spool_errors, 1);
                let message = format!(
                    "block {} keeps its members, though members is one: {error}",
                    sealed.number
                );
                self.tell(Level::Warn, "members", &message);
            }
            if let Some(wait) = wait {
                let now = self.pipeline.environment.clock.monotonic();
                self.pipeline.store.delay(sealed.number, now.saturating_add(wait));
                if self.pipeline.draining().is_some() {
                    // Since it was looked at: an end has ended all waits, and this one came later.
                    self.pipeline.store.delay(sealed.number, Duration::ZERO);
                }
            }
            self.pipeline.wake();
        }
        Ok(any)
    }

    /// How long what is sealed now waits for its upload, whoever uploads: every node's block ends with
    /// the window.
    fn wait_after_seal(&self) -> Option<Duration> {
        if !self.window_is_read() || self.pipeline.draining().is_some() {
            return None;
        }
        let wait = wait_after_window(self.target.settings.period, fastrand::f64());
        Some(wait).filter(|wait| !wait.is_zero())
    }

    /// Seals anew what was moved here from another route's folder. A block that cannot be taken stops none
    /// behind it, and does not end the open block, unless that is found when it is copied. How many were
    /// taken.
    pub(super) fn take_moved(&mut self, now: Duration) -> Result<u64, SpoolError> {
        let pipeline = Arc::clone(&self.pipeline);
        let Some(folder) = &pipeline.identity.folder else { return Ok(0) };
        let (mut blocks, mut records) = (0_u64, 0_u64);
        for name in spool::moved_here(folder)? {
            if self.unfit.get(&name).is_some_and(|again| now < *again) {
                continue;
            }
            let fit = spool::check_left(folder, &name);
            if let Err(error) = fit.and_then(|()| self.ledger.spool().check_moved(&name)) {
                self.leave_moved(name, &error, now);
                continue;
            }
            self.seal()?;
            let mut came = None;
            let done = self.seal_by(|spool, drops| {
                let done = spool.take_moved(&name, drops)?;
                came = done.as_ref().map(|(sealed, _)| sealed.meta.records);
                Ok(done)
            });
            if let Err(error) = done {
                // Such as a disk without room for it.
                self.leave_moved(name, &error, now);
                continue;
            }
            if let Some(came) = came {
                add(&pipeline.stats.recovered, came);
                blocks += 1;
                records += came;
            }
        }
        if blocks > 0 {
            let text = format!("{blocks} blocks with {records} records came from another route");
            pipeline.tell(Level::Warn, &text);
        }
        Ok(blocks)
    }

    /// The same; an error is told. Whether there were any.
    pub(super) fn takes_moved(&mut self, now: Duration) -> bool {
        self.take_moved(now).unwrap_or_else(|error| {
            self.complain(&error);
            0
        }) > 0
    }

    /// Counts a block that was moved here and cannot be taken, says so once, and leaves it alone for a
    /// while.
    fn leave_moved(&mut self, name: String, error: &SpoolError, now: Duration) {
        add(&self.pipeline.stats.spool_errors, 1);
        let folder = self.pipeline.identity.folder.as_deref().unwrap_or(Path::new(""));
        let text = format!(
            "block {name}, which came from another route, stays in {}/moved and is not uploaded: {error}; \
             the others are",
            folder.display()
        );
        if self.unfit.insert(name, now.saturating_add(UNFIT_RETRY)).is_none() {
            self.pipeline.tell(Level::Error, &text);
        }
    }

    /// Limits hold at once; names and codec for blocks that are begun from now on, see
    /// [`Packer::begin_or_keep_block`].
    fn configure(&mut self) {
        let (settings, codec) = (&self.target.settings, self.packing.codec().kind());
        self.ledger.configure(|options| {
            options.codec = codec;
            options.one_member = settings.one_member();
            options.naming = settings.naming.clone();
            options.host.clone_from(&settings.host);
            options.spool_max = settings.spool_max;
            options.on_full = settings.on_spool_full;
            options.sync = settings.sync;
            options.shared |= settings.upload == Upload::External;
        });
        self.set_sealing();
    }

    /// Tells who else may upload from the folder whether to, when that has changed or could not be told
    /// yet. Whether it has been told now.
    fn note_upload(&mut self) -> bool {
        let settings = &self.target.settings;
        let identity = &self.pipeline.identity;
        let folder = identity.folder.as_ref().filter(|_| identity.keeps);
        let Some(folder) = folder.filter(|_| self.upload != Some(settings.upload)) else {
            return false;
        };
        if let Err(error) = folder::save(folder, &*self.files, settings, identity.route) {
            let text = format!("its route cannot be noted in the spool: {error}");
            self.tell(Level::Warn, "route", &text);
            return false;
        }
        self.upload = Some(settings.upload);
        true
    }

    /// Brings everything to the disk. Records that the ring cannot bring there go into the block
    /// first.
    pub(super) fn sync(&mut self, now: Duration) {
        if let Err(error) = self.pack_unsure(now) {
            self.complain(&error);
        }
        self.read_again();
        match self.ledger.sync() {
            Ok(()) => {}
            Err(LedgerError::Spool(error)) => self.complain(&error),
            Err(error) => self.tell(Level::Warn, "sync", &error.to_string()),
        }
        self.read_again();
    }

    fn pack_unsure(&mut self, now: Duration) -> Result<(), SpoolError> {
        // At most what is in the ring; a producer may push faster than this packs.
        let usage = self.pipeline.ring.usage();
        let full = self.target.settings.chunk_bytes(usage.capacity);
        let mut left = usage.used;
        while self.ledger.must_pack() && left > 0 {
            self.fill(full, now);
            if self.packing.records() == 0 {
                break;
            }
            left = left.saturating_sub(self.packing.raw_bytes() as u64);
            self.close_chunk()?;
        }
        Ok(())
    }
}
