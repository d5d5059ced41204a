//! The packer: one thread a stream, from the ring to sealed blocks.
//!
//! It copies records out of the ring into one buffer until a chunk is due: at a mebibyte, when
//! the block is due, or when the ring fills up. The chunk is compressed, appended to the open
//! block, and then the ring's head is moved on in the same commit that records the block's new
//! length. A kill at any instant repeats nothing and loses nothing.
//!
//! When the spool cannot be written the records stay in the ring and the chunk is tried again
//! once a second; what then finds the ring full is dropped and counted by the workers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_utils::sync::Parker;

use super::ledger::{Done, Ledger, LedgerError};
use super::rest::Rest;
use super::view::milliseconds;
use super::windows::Reading;
use super::{Pipeline, Target, folder, spread, threads};
use crate::block::{ChunkEncoder, Codec, Drops};
use crate::clock::nanoseconds;
use crate::events::{Level, RateLimit, more_like_it};
use crate::priority::presses;
use crate::ring::Usage;
use crate::seal::{Sealing, Signer};
use crate::settings::{Place, Settings, Upload};
use crate::spool::{self, ChunkStats, Spool, SpoolError, SyncPolicy};
use crate::stats::{add, get, set};

/// How long a spool that cannot be written is left alone.
const SPOOL_RETRY: Duration = Duration::from_secs(1);

/// Between two looks for blocks in quarantine that a person wants sent again.
const REQUESTS: Duration = Duration::from_secs(5);

/// Panics after which the packer ends, if less than [`CALM`] is between them.
const PANICS: u32 = 10;

/// After this time a panic counts as the first.
const CALM: Duration = Duration::from_secs(60);

/// Between two looks for dropped records.
const OBSERVE: Duration = Duration::from_millis(100);

/// The packer's own state.
pub struct Packer {
    pub(super) ledger: Ledger,
    pub(super) encoder: ChunkEncoder,
    pub(super) codec: Codec,
    /// How the spool encrypts.
    pub(super) sealing: Option<Sealing>,
    /// Who signs for the spool.
    pub(super) signer: Option<Signer>,
    /// Which process the folder says is to upload.
    pub(super) upload: Upload,
    /// Records copied out of the ring and not committed yet.
    pub(super) raw: Vec<u8>,
    pub(super) chunk: ChunkStats,
    /// What may be read now.
    pub(super) reading: Reading,
    /// Compressed bytes of the chunk, ready to be appended; empty while it is still open.
    pub(super) member: Vec<u8>,
    /// When the open block's first record was read, in monotonic time.
    pub(super) since: Option<Duration>,
    /// What part of `period` the first block is closed after, see [`spread::first_share`]; then 1.
    pub(super) share: f64,
    pub(super) told: Drops,
    /// What the operator was told of drops, by cause.
    pub(super) reported: [u64; 5],
    pub(super) limit: RateLimit,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

/// What one round came to.
enum Round {
    /// There is more in the ring.
    More,
    /// The ring is empty.
    Idle,
}

impl Packer {
    /// Runs until the pipeline is closed. After a panic it goes on from ring and spool: what it had
    /// read and not committed is read again.
    pub(super) fn run(mut self, pipeline: &Arc<Pipeline>, woken: &Parker) {
        let clock = &*pipeline.environment.clock;
        let (mut panics, mut last) = (0, Duration::ZERO);
        while catch_unwind(AssertUnwindSafe(|| self.work(pipeline, woken))).is_err() {
            let now = clock.monotonic();
            panics = if now.saturating_sub(last) > CALM { 1 } else { panics + 1 };
            last = now;
            self.give_back();
            // Also what was read and not counted yet.
            self.ledger.after_panic();
            if panics >= PANICS {
                let text = format!(
                    "the packer has panicked {PANICS} times and has ended: records are dropped once \
                     the ring is full; restart varnishd"
                );
                pipeline.tell(Level::Error, &text);
                while pipeline.draining().is_none() && !pipeline.is_closed() {
                    woken.park_timeout(SPOOL_RETRY);
                }
                pipeline.abandon();
                return;
            }
            pipeline.tell(Level::Error, "the packer panicked and goes on; no record is lost");
            woken.park_timeout(SPOOL_RETRY.saturating_mul(panics - 1));
        }
    }

    fn work(&mut self, pipeline: &Arc<Pipeline>, woken: &Parker) {
        let clock = &*pipeline.environment.clock;
        let mut generation = None;
        let mut target: Option<Arc<Target>> = None;
        let mut blocked_until = Duration::ZERO;
        let mut observed = Duration::ZERO;
        let mut synced = Duration::ZERO;
        // Blocks that were moved here may be there from the start.
        let mut asked = None::<Duration>;
        // The ring as full as it was seen since the last sleep.
        let mut seen_used = 0;
        let mut rest = Rest::new();
        loop {
            let now = clock.monotonic();
            pipeline.follow();
            let seen = pipeline.generation();
            if generation != Some(seen) {
                generation = Some(seen);
                target = pipeline.target();
                if let Err(error) = threads::hire(pipeline) {
                    let text = format!("upload_threads: a thread cannot be started: {error}");
                    self.tell(pipeline, Level::Warn, "threads", &text);
                }
                // What waits for the spool need not wait for new settings, which may mend it.
                blocked_until = Duration::ZERO;
            }
            let Some(target) = &target else { return };
            let mut round = Round::Idle;
            let usage = pipeline.ring.usage();
            seen_used = usage.used.max(seen_used);
            if now >= blocked_until {
                match self.round(pipeline, target, usage, now) {
                    Ok(done) => round = done,
                    Err(error) => {
                        blocked_until = now.saturating_add(SPOOL_RETRY);
                        if matches!(error, SpoolError::Reverted(_)) {
                            // Read again, after what was lost with it.
                            self.give_back();
                        }
                        self.complain(pipeline, &error);
                    }
                }
            }
            if let SyncPolicy::Every(every) = target.settings.sync
                && (now.saturating_sub(synced) >= every || self.ring_waits(usage))
            {
                synced = now;
                self.sync(pipeline, target, now);
            }
            pipeline.look_for_notes(now);
            if asked.is_none_or(|asked| now.saturating_sub(asked) >= REQUESTS) {
                asked = Some(now);
                self.take_requests(pipeline);
                if let Err(error) = self.take_moved(pipeline, target) {
                    self.complain(pipeline, &error);
                }
            }
            self.show(pipeline, now);
            if now.saturating_sub(observed) >= OBSERVE || pipeline.draining().is_some() {
                observed = now;
                self.report_drops(pipeline);
            }
            if let Some(deadline) = pipeline.draining() {
                self.note_drained(pipeline, seen);
                if Self::may_close(pipeline, seen, deadline, now) && pipeline.try_close() {
                    pipeline.publish();
                    self.note_lost(pipeline, target);
                    return;
                }
            }
            if matches!(round, Round::Idle) {
                // Woken or not, the ring is looked at.
                let (left, draining) = (self.left(target, now), pipeline.draining().is_some());
                let due = left.into_iter().chain(self.reading.left(clock.unix())).min();
                woken.park_timeout(rest.next(usage.capacity, seen_used, due, draining));
                seen_used = 0;
            }
        }
    }

    /// Whether the ring fills up, and has space that only a sync releases.
    fn ring_waits(&self, usage: Usage) -> bool {
        presses(usage.used, usage.capacity) && self.ledger.holds_space()
    }

    /// How long the open block has until it is due; `None` before its first record.
    fn left(&self, target: &Target, now: Duration) -> Option<Duration> {
        let age = spread::age_at_seal(target.settings.period, self.share);
        self.since.map(|since| since.saturating_add(age).saturating_sub(now))
    }

    /// Reads what there is, up to one chunk, and closes chunk and block if they are due. `usage` is
    /// the ring's just before.
    fn round(
        &mut self,
        pipeline: &Pipeline,
        target: &Target,
        usage: Usage,
        now: Duration,
    ) -> Result<Round, SpoolError> {
        let full = target.settings.chunk_bytes(usage.capacity);
        self.keep_to_window(pipeline, target)?;
        self.keep_secrets(pipeline, target, (usage.used, full), now)?;
        if self.member.is_empty() {
            self.fill(pipeline, full, now);
        }
        let torn = self.ledger.take_torn();
        if torn > 0 {
            add(&pipeline.stats.torn, torn);
            let message = format!(
                "{torn} records lost: other code in varnishd has written into the ring's memory"
            );
            self.tell(pipeline, Level::Error, "torn", &message);
        }
        if self.ledger.damaged() {
            let message = "other code in varnishd has written into the ring's memory, and where the \
                           damage ends cannot be determined: nothing more is read from the ring \
                           until varnishd restarts, which takes up what is intact";
            self.tell(pipeline, Level::Error, "damaged", message);
        }
        let draining = pipeline.draining().is_some();
        let over = self.window_is_read();
        let block_due =
            draining || over || self.left(target, now).is_some_and(|left| left.is_zero());
        let pressed = presses(usage.used, usage.capacity);
        let whole = self.raw.len() >= full;
        if self.chunk.records > 0 && (whole || block_due || pressed || !self.member.is_empty()) {
            self.close_chunk(pipeline, target)?;
        }
        let grown = self.ledger.spool().open_len() >= target.settings.max_bytes;
        if self.ledger.spool().open_len() > 0 && (block_due || grown) {
            self.seal(pipeline, target)?;
        }
        // Not where the chunk was given back for want of room in the block.
        if self.window_is_read() && self.chunk.records == 0 && self.ledger.spool().open_len() == 0 {
            pipeline.windows.passed();
        }
        Ok(if whole || over { Round::More } else { Round::Idle })
    }

    /// Whether the window is over and read to its end.
    fn window_is_read(&self) -> bool {
        self.reading.over && self.ledger.read_position() >= self.reading.until
    }

    /// Finds out which window of the clock is read now, and ends what belongs to another one.
    fn keep_to_window(&mut self, pipeline: &Pipeline, target: &Target) -> Result<(), SpoolError> {
        let align = target.settings.align.as_ref();
        let clock = &*pipeline.environment.clock;
        self.reading = pipeline.windows.reading(align, &pipeline.ring, clock);
        if self.chunk.records > 0 && !self.reading.continues(self.chunk.first) {
            self.give_back();
        }
        if self.ledger.spool().open_since().is_some_and(|first| !self.reading.continues(first)) {
            self.seal(pipeline, target)?;
        }
        let Some(window) = self.reading.window else { return Ok(()) };
        if self.chunk.records == 0 && !window.contains(self.ledger.spool().reading()) {
            self.ledger.note_reading(window.clamp(nanoseconds(clock.unix())));
        }
        Ok(())
    }

    /// Copies records out of the ring until the chunk is full, or all is read that may be.
    pub(super) fn fill(&mut self, pipeline: &Pipeline, full: usize, now: Duration) {
        let unix = self.reading.date(nanoseconds(pipeline.environment.clock.unix()));
        while self.raw.len() < full && self.ledger.read_position() < self.reading.until {
            let Some(record) = self.ledger.next_record() else { break };
            self.raw.extend_from_slice(record.bytes);
            self.chunk.records += 1;
            self.chunk.cut += u64::from(record.cut);
        }
        if self.chunk.records > 0 {
            self.chunk.raw_bytes = self.raw.len() as u64;
            self.chunk.last = unix;
            if self.chunk.first == 0 {
                self.chunk.first = unix;
            }
            self.since.get_or_insert(now);
        }
    }

    /// Compresses the chunk, appends it to the open block and commits both ends.
    fn close_chunk(&mut self, pipeline: &Pipeline, target: &Target) -> Result<(), SpoolError> {
        self.begin_or_keep_block(pipeline, target)?;
        if self.chunk.records == 0 {
            return Ok(());
        }
        self.store_chunk(pipeline, target)
    }

    /// The same for the open block as it is.
    pub(super) fn store_chunk(
        &mut self,
        pipeline: &Pipeline,
        target: &Target,
    ) -> Result<(), SpoolError> {
        if self.member.is_empty() {
            self.encoder
                .encode(&self.raw, &mut self.member)
                .map_err(SpoolError::io("compress", "a chunk"))?;
        }
        let open = self.ledger.spool().open_len();
        if open > 0 && open + self.member.len() as u64 > target.settings.max_bytes {
            // The chunk is read again, for the next block.
            return self.seal(pipeline, target);
        }
        match self.ledger.append(&self.member, self.chunk) {
            Ok(()) => {}
            Err(error @ SpoolError::Full { .. }) => {
                self.drop_chunk(pipeline, &error);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        add(&pipeline.stats.records, self.chunk.records);
        add(&pipeline.stats.raw_bytes, self.chunk.raw_bytes);
        add(&pipeline.stats.stored_bytes, self.member.len() as u64);
        self.clear();
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.raw.clear();
        self.member.clear();
        self.chunk = ChunkStats::default();
    }

    /// The spool is at its limit and may not make room: the chunk's records are dropped and told.
    fn drop_chunk(&mut self, pipeline: &Pipeline, why: &SpoolError) {
        let records = self.chunk.records;
        let drops = Drops { spool: records, ..Drops::default() };
        self.ledger.drop_read(&drops);
        add(&pipeline.stats.records, records);
        add(&pipeline.view.dropped_newest, records);
        let message = format!("{records} records dropped: {why}");
        self.tell(pipeline, Level::Error, "dropped", &message);
        self.clear();
        if self.ledger.spool().open_len() == 0 {
            self.since = None;
        }
    }

    /// Sees to it that the open block is one of the settings in force: one that was begun with
    /// another name or key is sealed first. Another codec holds from the next block on: two VCLs of
    /// one route that write in turns would make a block of each turn.
    fn begin_or_keep_block(
        &mut self,
        pipeline: &Pipeline,
        target: &Target,
    ) -> Result<(), SpoolError> {
        let settings = &target.settings;
        let spool = self.ledger.spool();
        let other = spool.is_other(self.codec.kind(), &settings.naming, &settings.host)
            || self.sealing != settings.sealing;
        if spool.open_len() > 0 && other {
            self.seal(pipeline, target)?;
        }
        let begins = self.ledger.spool().open_len() == 0;
        self.note_upload(pipeline, settings);
        self.configure(target, begins);
        if begins && self.codec != settings.codec {
            self.encoder = ChunkEncoder::new(settings.codec)
                .map_err(SpoolError::io("compress", format!("as {}", settings.codec)))?;
            self.codec = settings.codec;
            // A member that a full disk has not taken yet is of the codec before.
            self.member.clear();
        }
        Ok(())
    }

    pub(super) fn seal(&mut self, pipeline: &Pipeline, target: &Target) -> Result<(), SpoolError> {
        self.give_back();
        if target.settings.sealing.is_some() {
            // The keys in force, also for what was begun before they were.
            self.set_sealing(target);
        }
        self.seal_by(pipeline, target, Spool::seal)?;
        self.since = None;
        Ok(())
    }

    /// A commit moves the ring's head to where it was read to; records that are in no block yet are
    /// read again after it.
    pub(super) fn give_back(&mut self) {
        if self.chunk.records > 0 {
            self.ledger.rewind();
            self.clear();
        }
    }

    /// Lets the spool seal a block, and tells everybody. Whether there was one.
    pub(super) fn seal_by(
        &mut self,
        pipeline: &Pipeline,
        target: &Target,
        seal: impl FnOnce(&mut Spool, &Drops) -> Done,
    ) -> Result<bool, SpoolError> {
        let drops = Drops {
            ring: get(&pipeline.stats.dropped_ring) + get(&pipeline.stats.dropped_end),
            panic: get(&pipeline.stats.dropped_panic),
            ..Drops::default()
        };
        let since = Drops {
            ring: drops.ring.saturating_sub(self.told.ring),
            panic: drops.panic.saturating_sub(self.told.panic),
            ..Drops::default()
        };
        self.set_signer(target);
        let sealed = self.ledger.seal(seal, &since)?;
        self.told = drops;
        self.share = 1.0;
        let any = sealed.is_some();
        if let Some((sealed, unsynced)) = sealed {
            if let Some(error) = unsynced {
                // Holds for this process and its successors; the next commit syncs it again.
                self.tell(pipeline, Level::Warn, "sync", &error.to_string());
            }
            add(&pipeline.stats.blocks_sealed, 1);
            if let Some(error) = sealed.unsynced {
                let message = format!("block {}: the spool is not synced: {error}", sealed.number);
                self.tell(pipeline, Level::Warn, "sync", &message);
            }
            if self.window_is_read() && pipeline.draining().is_none() {
                // Every node's block ends now.
                let wait = spread::wait_after_window(target.settings.period, fastrand::f64());
                let now = pipeline.environment.clock.monotonic();
                pipeline.store.delay(sealed.number, now.saturating_add(wait));
            }
            pipeline.wake();
        }
        Ok(any)
    }

    /// Limits hold at once; names and codec for blocks that are begun from now on, see
    /// [`Packer::begin_or_keep_block`].
    fn configure(&mut self, target: &Target, begins: bool) {
        let settings = &target.settings;
        let codec = if begins { settings.codec } else { self.codec };
        self.ledger.configure(|options| {
            options.codec = codec.kind();
            options.naming = settings.naming.clone();
            options.host.clone_from(&settings.host);
            options.spool_max = settings.spool_max;
            options.on_full = settings.on_spool_full;
            options.sync = settings.sync;
            options.shared |= settings.upload == Upload::External;
        });
        self.set_sealing(target);
    }

    /// Tells who else may upload from the folder whether to, when that has changed.
    fn note_upload(&mut self, pipeline: &Pipeline, settings: &Settings) {
        if self.upload == settings.upload {
            return;
        }
        self.upload = settings.upload;
        let Some(folder) = pipeline.identity.folder.as_ref().filter(|_| pipeline.identity.keeps)
        else {
            return;
        };
        if let Err(error) = folder::save(folder, settings) {
            let text = format!("its route cannot be noted in the spool: {error}");
            self.tell(pipeline, Level::Warn, "route", &text);
        }
    }

    /// Brings everything to the disk. Records that the ring cannot bring there go into the block
    /// first.
    fn sync(&mut self, pipeline: &Pipeline, target: &Target, now: Duration) {
        if let Err(error) = self.pack_unsure(pipeline, target, now) {
            self.complain(pipeline, &error);
        }
        match self.ledger.sync() {
            Ok(()) => {}
            Err(LedgerError::Spool(error)) => self.complain(pipeline, &error),
            Err(error) => self.tell(pipeline, Level::Warn, "sync", &error.to_string()),
        }
    }

    fn pack_unsure(
        &mut self,
        pipeline: &Pipeline,
        target: &Target,
        now: Duration,
    ) -> Result<(), SpoolError> {
        // At most what is in the ring; a producer may push faster than this packs.
        let full = target.settings.chunk_bytes(pipeline.ring.usage().capacity);
        let mut left = pipeline.ring.usage().used;
        while self.ledger.must_pack() && left > 0 {
            if self.member.is_empty() {
                self.fill(pipeline, full, now);
            }
            if self.chunk.records == 0 {
                break;
            }
            left = left.saturating_sub(self.chunk.raw_bytes);
            self.close_chunk(pipeline, target)?;
        }
        Ok(())
    }

    fn take_requests(&self, pipeline: &Pipeline) {
        match pipeline.store.take_requests() {
            Ok(taken) if taken.blocks > 0 => {
                let (blocks, records) = (taken.blocks, taken.records);
                let text = format!("{blocks} blocks with {records} records leave quarantine");
                pipeline.tell(Level::Info, &text);
                pipeline.wake();
            }
            Ok(_) => {}
            Err(error) => {
                add(&pipeline.stats.spool_errors, 1);
                self.tell(pipeline, Level::Warn, "spool", &error.to_string());
            }
        }
    }

    /// Seals anew what was moved here from another route's folder.
    fn take_moved(&mut self, pipeline: &Pipeline, target: &Target) -> Result<(), SpoolError> {
        let Some(folder) = &pipeline.identity.folder else { return Ok(()) };
        let (mut blocks, mut records) = (0_u64, 0_u64);
        for name in spool::moved_here(folder) {
            self.seal(pipeline, target)?;
            let mut came = None;
            self.seal_by(pipeline, target, |spool, drops| {
                let done = spool.take_moved(&name, drops)?;
                came = done.as_ref().map(|(sealed, _)| sealed.meta.records);
                Ok(done)
            })?;
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
        Ok(())
    }

    fn complain(&self, pipeline: &Pipeline, error: &SpoolError) {
        add(&pipeline.stats.spool_errors, 1);
        let message = format!("{error}; the records wait in the ring");
        self.tell(pipeline, Level::Warn, "spool", &message);
    }

    fn tell(&self, pipeline: &Pipeline, level: Level, kind: &'static str, message: &str) {
        let now = pipeline.environment.clock.monotonic();
        if let Some(held) = self.limit.admit(kind, now) {
            pipeline.tell(level, &format!("{message}{}", more_like_it(held)));
        }
    }

    /// Says how many records were lost, and to what, since it was last said. What
    /// `drop_newest` drops is said as it happens.
    fn report_drops(&mut self, pipeline: &Pipeline) {
        let stats = &pipeline.stats;
        let counts = pipeline.store.counts();
        let causes = [
            ("the ring is full", get(&stats.dropped_ring)),
            ("the module did not see the end of their requests", get(&stats.dropped_end)),
            ("the module panicked while making a line", get(&stats.dropped_panic)),
            ("the spool is full and the oldest blocks make room", counts.dropped.records),
            ("files of the spool are damaged or gone", counts.lost.records),
        ];
        let now = pipeline.environment.clock.monotonic();
        for ((cause, dropped), reported) in causes.into_iter().zip(&mut self.reported) {
            let since = dropped.saturating_sub(*reported);
            if since > 0 && self.limit.admit(cause, now).is_some() {
                *reported = dropped;
                pipeline.tell(Level::Error, &format!("{since} records dropped: {cause}"));
            }
        }
    }

    /// Notes when everything that was pushed before `generation` began is uploaded, or sealed where
    /// another process uploads.
    fn note_drained(&self, pipeline: &Pipeline, generation: u64) {
        if self.chunk.records == 0
            && self.ledger.spool().open_len() == 0
            && pipeline.ring.usage().used == 0
            && (pipeline.leaves_uploads() || pipeline.store.counts().sealed.blocks == 0)
        {
            // Release pairs with the Acquire in Pipeline::is_drained.
            pipeline.drained.store(generation, Ordering::Release);
        }
    }

    /// Says what could not be uploaded in time: lost without a spool, else left in it.
    fn note_lost(&self, pipeline: &Pipeline, target: &Target) {
        let records = get(&pipeline.stats.spooled_records) + self.chunk.records;
        let (level, message) = if target.settings.place == Place::Memory {
            let text = format!("{records} records lost: spool is none and exit_timeout is over");
            (Level::Error, text)
        } else {
            let blocks = get(&pipeline.stats.spooled_blocks);
            let place = pipeline.identity.folder.as_ref().map(|path| path.display().to_string());
            let text = format!(
                "closed with {blocks} blocks with {records} records left in {}: exit_timeout is \
                 over; {} uploads them, or s3log drain",
                place.unwrap_or_default(),
                if pipeline.leaves_uploads() {
                    "s3log ship"
                } else {
                    "the next start with this spool"
                },
            );
            (Level::Warn, text)
        };
        if records > 0 {
            self.tell(pipeline, level, "lost", &message);
        }
    }

    /// Whether nothing is left to wait for: all uploaded, or the time is over and no uploader has
    /// a block in hand.
    fn may_close(pipeline: &Pipeline, seen: u64, deadline: Duration, now: Duration) -> bool {
        // Acquire pairs with the uploaders' Release: a block that was put back is in the store.
        let idle = pipeline.busy.load(Ordering::Acquire) == 0;
        let empty = || pipeline.is_drained(seen) && pipeline.store.counts().sealed.blocks == 0;
        idle && (empty() || now >= deadline)
    }

    /// Leaves for whoever publishes what it does, see [`super::view`].
    fn show(&self, pipeline: &Pipeline, now: Duration) {
        let (view, spool) = (&pipeline.view, self.ledger.spool());
        set(&view.open_records, spool.open_records());
        set(&view.open_bytes, spool.open_len());
        set(&view.open_since, milliseconds(self.since.unwrap_or(now)));
        set(&view.open_first, spool.open_since().unwrap_or(0));
        set(&view.round, milliseconds(now));
    }
}
