//! The packer: one thread a stream, from the ring to sealed blocks.
//!
//! It copies records out of the ring into one buffer until a chunk is due: at a mebibyte, when
//! the block is due, or when the ring fills up. The chunk is compressed, appended to the open
//! block, and then the ring's head is moved on in the same commit that records the block's new
//! length. A kill at any instant repeats nothing and loses nothing.
//!
//! When the spool cannot be written the records stay in the ring and the chunk is tried again
//! once a second; what then finds the ring full is dropped and counted by the workers. Where the disk has
//! no room for it the open block is sealed, so that its upload makes some.
//!
//! Here is when; `blocks.rs` has what is done with chunks and blocks, `secrets.rs` keys that come and
//! go, `report.rs` what is told and counted.

mod blocks;
mod counts;
mod report;
mod rest;
mod secrets;
mod spread;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::sync::Parker;

use self::rest::Rest;
use super::ledger::{Ledger, Repeated};
use super::packing::{Full, Packing};
use super::panics::keep_on;
use super::windows::Reading;
use super::{Pipeline, Target, threads};
use crate::block::Drops;
use crate::clock::nanoseconds;
use crate::events::{Level, RateLimit};
use crate::priority::presses;
use crate::ring::Usage;
use crate::seal::{Sealing, Signer};
use crate::settings::Upload;
use crate::spool::{Files, SpoolError, SyncPolicy};

/// How long a spool that cannot be written is left alone.
const SPOOL_RETRY: Duration = Duration::from_secs(1);

/// Between two looks for blocks in quarantine that a person wants sent again.
const REQUESTS: Duration = Duration::from_secs(5);

/// Between two looks for dropped records.
const OBSERVE: Duration = Duration::from_millis(100);

/// What a start hands over.
pub(super) struct Parts {
    pub(super) target: Arc<Target>,
    /// Those of the folder.
    pub(super) files: Arc<dyn Files>,
    pub(super) ledger: Ledger,
    pub(super) packing: Packing,
    /// Records dropped by a full ring that the operator was told of.
    pub(super) told: u64,
    /// The folder says whose it is.
    pub(super) noted: bool,
}

/// The packer's own state.
pub(super) struct Packer {
    pipeline: Arc<Pipeline>,
    /// The settings in force.
    target: Arc<Target>,
    files: Arc<dyn Files>,
    ledger: Ledger,
    packing: Packing,
    /// How the spool encrypts.
    sealing: Option<Sealing>,
    /// Who signs for the spool.
    signer: Option<Signer>,
    /// Which process the folder says is to upload; `None` while that could not be noted.
    upload: Option<Upload>,
    /// What may be read now.
    reading: Reading,
    /// When the open block's first record was read, in monotonic time.
    since: Option<Duration>,
    /// What part of `period` the first block is closed after, see [`spread::first_share`]; then 1.
    share: f64,
    /// Drops that sealed blocks tell of.
    told: Drops,
    /// Counted, lost by the disk, and not packed again yet.
    repeated: Repeated,
    /// Blocks that were moved here and cannot be taken, with when each is looked at again, monotonic.
    unfit: BTreeMap<String, Duration>,
    /// What the operator was told of drops, by cause.
    reported: [u64; 5],
    limit: RateLimit,
}

/// What one round came to.
enum Round {
    /// There is more in the ring.
    More,
    /// The ring is empty.
    Idle,
}

impl Packer {
    /// Of a ring and a spool that a start has brought into step, with the target's keys.
    pub(super) fn new(pipeline: &Arc<Pipeline>, parts: Parts) -> Self {
        let Parts { target, files, ledger, packing, told, noted } = parts;
        let open = ledger.spool().open_len() > 0;
        Self {
            pipeline: Arc::clone(pipeline),
            sealing: target.settings.sealing.clone(),
            signer: target.settings.signer.clone(),
            upload: noted.then_some(target.settings.upload),
            reading: Reading::ALL,
            target,
            files,
            since: open.then(|| pipeline.environment.clock.monotonic()),
            share: spread::first_share(),
            ledger,
            packing,
            told: Drops::default(),
            repeated: Repeated::default(),
            unfit: BTreeMap::new(),
            reported: [told, 0, 0, 0, 0],
            limit: RateLimit::default(),
        }
    }

    /// Runs until the pipeline is closed. After a panic it goes on from ring and spool: what it had
    /// read and not committed is read again.
    pub(super) fn run(mut self, woken: &Parker) {
        let pipeline = Arc::clone(&self.pipeline);
        let go_on = |packer: &mut Self| {
            packer.packing.give_back(&mut packer.ledger);
            // Also what was read and not counted yet.
            packer.ledger.after_panic();
        };
        keep_on(&mut self, (&pipeline, woken), |packer| packer.work(woken), go_on);
    }

    fn work(&mut self, woken: &Parker) {
        let pipeline = Arc::clone(&self.pipeline);
        let clock = &*pipeline.environment.clock;
        let mut generation = None;
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
                let Some(target) = pipeline.target() else { return };
                self.target = target;
                if let Err(error) = threads::hire(&pipeline) {
                    let text = format!("upload_threads: a thread cannot be started: {error}");
                    self.tell(Level::Warn, "threads", &text);
                }
                // What waits for the spool need not wait for new settings, which may correct it.
                blocked_until = Duration::ZERO;
            }
            let mut round = Round::Idle;
            let usage = pipeline.ring.usage();
            seen_used = usage.used.max(seen_used);
            if now >= blocked_until {
                match self.round(usage, now) {
                    Ok(done) => round = done,
                    Err(error) => {
                        blocked_until = now.saturating_add(SPOOL_RETRY);
                        self.read_again();
                        self.complain(&error);
                    }
                }
            }
            if let SyncPolicy::Every(every) = self.target.settings.sync
                && (now.saturating_sub(synced) >= every || self.space_is_wanted(usage))
            {
                synced = now;
                self.sync(now);
            }
            pipeline.look_for_notes(now);
            if asked.is_none_or(|asked| now.saturating_sub(asked) >= REQUESTS) {
                asked = Some(now);
                self.take_requests();
                self.takes_moved(now);
            }
            self.show(now);
            if now.saturating_sub(observed) >= OBSERVE || pipeline.draining().is_some() {
                observed = now;
                self.report_drops();
            }
            if let Some(deadline) = pipeline.draining() {
                self.note_drained(seen);
                let late = now >= deadline;
                if self.may_close(seen, deadline, now)
                    && (late || !self.takes_moved(now))
                    && pipeline.try_close()
                {
                    pipeline.publish();
                    self.note_lost();
                    return;
                }
            }
            if matches!(round, Round::Idle) {
                // Woken or not, the ring is looked at.
                let (left, draining) = (self.left(now), pipeline.draining().is_some());
                let due = left.into_iter().chain(self.reading.left(clock.unix())).min();
                woken.park_timeout(rest.next(usage.capacity, seen_used, due, draining));
                seen_used = 0;
            }
        }
    }

    /// Whether the ring has space that only a sync releases, and fills up, or is to be empty.
    fn space_is_wanted(&self, usage: Usage) -> bool {
        let ends = self.pipeline.draining().is_some();
        (ends || presses(usage.used, usage.capacity)) && self.ledger.holds_space()
    }

    /// How long the open block has until it is due; `None` before its first record.
    fn left(&self, now: Duration) -> Option<Duration> {
        let age = spread::age_at_seal(self.target.settings.period, self.share);
        self.since.map(|since| since.saturating_add(age).saturating_sub(now))
    }

    /// Reads what there is, up to one chunk, and closes chunk and block if they are due. `usage` is
    /// the ring's just before.
    fn round(&mut self, usage: Usage, now: Duration) -> Result<Round, SpoolError> {
        let full = self.target.settings.chunk_bytes(usage.capacity);
        // A block that came from elsewhere was taken since.
        self.read_again();
        self.keep_to_window()?;
        self.keep_secrets(usage.used, full, now)?;
        self.fill(full, now);
        self.report_damage();
        if self.packing.records() == 0 {
            self.ledger.pass_over();
        }
        let draining = self.pipeline.draining().is_some();
        let over = self.window_is_read();
        let block_due = draining || over || self.left(now).is_some_and(|left| left.is_zero());
        let pressed = presses(usage.used, usage.capacity);
        let whole = self.packing.raw_bytes() >= full;
        let due = whole || block_due || pressed || self.packing.is_encoded();
        if self.packing.records() > 0 && due {
            self.close_chunk()?;
        }
        let grown = self.ledger.spool().open_len() >= self.target.settings.block_bytes();
        if self.ledger.spool().open_len() > 0 && (block_due || grown) {
            self.seal()?;
        }
        // Not where the chunk was given back for want of room in the block.
        let none = self.packing.records() == 0 && self.ledger.spool().open_len() == 0;
        if self.window_is_read() && none {
            self.pipeline.windows.passed();
        }
        Ok(if whole || over { Round::More } else { Round::Idle })
    }

    /// Whether the window is over and read to its end.
    fn window_is_read(&self) -> bool {
        self.reading.over && self.ledger.read_position() >= self.reading.until
    }

    /// Finds out which window of the clock is read now, and ends what belongs to another one.
    fn keep_to_window(&mut self) -> Result<(), SpoolError> {
        let pipeline = Arc::clone(&self.pipeline);
        let clock = &*pipeline.environment.clock;
        let align = self.target.settings.align.as_ref();
        self.reading = pipeline.windows.reading(align, &pipeline.ring, clock);
        if self.packing.records() > 0 && !self.reading.continues(self.packing.first()) {
            self.packing.give_back(&mut self.ledger);
        }
        if self.ledger.spool().open_since().is_some_and(|first| !self.reading.continues(first)) {
            self.seal()?;
        }
        let Some(window) = self.reading.window else { return Ok(()) };
        if self.packing.records() == 0 && !window.contains(self.ledger.spool().reading()) {
            self.ledger.note_reading(window.clamp(nanoseconds(clock.unix())));
        }
        Ok(())
    }

    /// Copies records out of the ring until the chunk is full, or all is read that may be.
    fn fill(&mut self, full: usize, now: Duration) {
        let unix = self.reading.date(nanoseconds(self.pipeline.environment.clock.unix()));
        let full = Full { until: self.reading.until, ..Full::at(full) };
        self.packing.fill(&mut self.ledger, full, unix);
        if self.packing.records() > 0 {
            self.since.get_or_insert(now);
        }
    }
}

#[cfg(test)]
#[cfg(not(s3log_loom))]
mod tests;
