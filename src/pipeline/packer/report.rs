//! What the packer tells the operator, counts, and leaves for whoever publishes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Packer;
use crate::events::{Level, more_like_it};
use crate::pipeline::view::milliseconds;
use crate::settings::Place;
use crate::spool::{Counts, SpoolError, Tally};
use crate::stats::{add, get, set};

impl Packer {
    pub(super) fn take_requests(&self) {
        let (taken, failed) = match self.pipeline.store.take_requests() {
            Ok(done) => done,
            Err(error) => (Tally::default(), BTreeMap::from([(0, error)])),
        };
        if taken.blocks > 0 {
            let (blocks, records) = (taken.blocks, taken.records);
            let text = format!("{blocks} blocks with {records} records leave quarantine");
            self.pipeline.tell(Level::Info, &text);
            self.pipeline.wake();
        }
        for error in failed.values() {
            add(&self.pipeline.stats.spool_errors, 1);
            self.tell(Level::Warn, "requeue", &format!("{error}; the others leave quarantine"));
        }
    }

    pub(super) fn complain(&self, error: &SpoolError) {
        add(&self.pipeline.stats.spool_errors, 1);
        let message = format!("{error}; the records wait in the ring");
        self.tell(Level::Warn, "spool", &message);
    }

    pub(super) fn tell(&self, level: Level, kind: &'static str, message: &str) {
        let now = self.pipeline.environment.clock.monotonic();
        if let Some(held) = self.limit.admit(kind, now) {
            self.pipeline.tell(level, &format!("{message}{}", more_like_it(held)));
        }
    }

    /// Says what of the ring's content does not hold.
    pub(super) fn report_damage(&mut self) {
        let torn = self.ledger.take_torn();
        if torn > 0 {
            add(&self.pipeline.stats.torn, torn);
            let message = format!(
                "at least {torn} records lost: other code in varnishd has written into the ring's \
                 memory; reading goes on behind the damage"
            );
            self.tell(Level::Error, "torn", &message);
        }
    }

    /// Says how many records were lost, and to what, since it was last said. What
    /// `drop_newest` drops is said as it happens.
    pub(super) fn report_drops(&mut self) {
        let stats = &self.pipeline.stats;
        let counts = self.pipeline.store.counts();
        self.show_high_water(&counts);
        let causes = [
            ("the ring is full", get(&stats.dropped_ring)),
            ("the module did not see the end of their requests", get(&stats.dropped_end)),
            ("the module panicked while making a line", get(&stats.dropped_panic)),
            ("the spool is full and the oldest blocks make room", counts.dropped.records),
            ("files of the spool are damaged or gone", counts.lost.records),
        ];
        let now = self.pipeline.environment.clock.monotonic();
        for ((cause, dropped), reported) in causes.into_iter().zip(&mut self.reported) {
            let since = dropped.saturating_sub(*reported);
            if since > 0 && self.limit.admit(cause, now).is_some() {
                *reported = dropped;
                self.pipeline.tell(Level::Error, &format!("{since} records dropped: {cause}"));
            }
        }
    }

    /// Shows how full the spool has been. Only this thread makes a part of the open block one of the sealed, so
    /// that nothing counts twice here.
    fn show_high_water(&self, counts: &Counts) {
        let (shown, spool) = (&self.pipeline.view.spool_high_water, self.ledger.spool());
        let now = counts.limited().saturating_add(spool.open_len());
        set(shown, get(shown).max(now).max(spool.high_water()));
    }

    /// Notes when everything that was pushed before `generation` began is uploaded, or sealed where
    /// another process uploads.
    pub(super) fn note_drained(&self, generation: u64) {
        if self.packing.records() == 0
            && self.ledger.spool().open_len() == 0
            && self.pipeline.ring.usage().used == 0
            && (self.pipeline.leaves_uploads() || self.pipeline.store.counts().sealed.blocks == 0)
        {
            // Release pairs with the Acquire in Pipeline::is_drained.
            self.pipeline.drained.store(generation, Ordering::Release);
        }
    }

    /// Says what could not be uploaded in time: lost without a spool, else left in it.
    pub(super) fn note_lost(&self) {
        let records = get(&self.pipeline.stats.spooled_records) + self.packing.records();
        let (level, message) = if self.target.settings.place == Place::Memory {
            let text = format!("{records} records lost: spool is none and exit_timeout is over");
            (Level::Error, text)
        } else {
            let blocks = get(&self.pipeline.stats.spooled_blocks);
            let place =
                self.pipeline.identity.folder.as_ref().map(|path| path.display().to_string());
            let text = format!(
                "closed with {blocks} blocks with {records} records left in {}: exit_timeout is \
                 over; {} uploads them, or s3log drain; if their bucket or key will not come back, \
                 s3log requeue --from {} moves them to the stream's present route",
                place.unwrap_or_default(),
                if self.pipeline.leaves_uploads() {
                    "s3log ship"
                } else {
                    "the next start with this spool"
                },
                self.pipeline.identity.route,
            );
            (Level::Warn, text)
        };
        if records > 0 {
            self.tell(level, "lost", &message);
        }
    }

    /// Whether nothing is left to wait for: all uploaded, or the time is over and no uploader has
    /// a block in hand.
    pub(super) fn may_close(&self, seen: u64, deadline: Duration, now: Duration) -> bool {
        // Acquire pairs with the uploaders' Release: a block that was put back is in the store.
        let idle = self.pipeline.busy.load(Ordering::Acquire) == 0;
        let empty =
            || self.pipeline.is_drained(seen) && self.pipeline.store.counts().sealed.blocks == 0;
        idle && (empty() || now >= deadline)
    }

    /// Leaves for whoever publishes what it does, see `view.rs`.
    pub(super) fn show(&self, now: Duration) {
        let (view, spool) = (&self.pipeline.view, self.ledger.spool());
        set(&view.open_records, spool.open_records());
        set(&view.open_bytes, spool.open_len());
        set(&view.spool_max, self.target.settings.spool_max);
        set(&view.open_since, milliseconds(self.since.unwrap_or(now)));
        set(&view.open_first, spool.open_since().unwrap_or(0));
        set(&view.round, milliseconds(now));
    }
}
