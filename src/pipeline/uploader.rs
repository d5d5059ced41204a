//! The uploaders: sealed blocks, oldest first, into the bucket.
//!
//! An uploader claims a block, tries until the gateway has it, and forgets it. What it cannot
//! send it keeps: a reload, an exit or a change of settings puts the block back, and the next
//! attempt is made with the settings then in force.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_utils::sync::Parker;

use super::{Pipeline, Target};
use crate::error::{Level, RateLimit, more_like_it};
use crate::s3::{self, Action, Backoff, Failure, Finished, PutObject, Sums};
use crate::spool::{SealedBlock, SpoolError};
use crate::stats::{add, set};

/// How often an idle uploader looks for a block that nobody woke it for.
const IDLE: Duration = Duration::from_secs(1);

/// How long a block whose files cannot be read or removed is left alone.
const SPOOL_RETRY: Duration = Duration::from_secs(5);

/// Runs until the pipeline is closed.
pub(super) fn run(pipeline: &Pipeline, woken: &Parker) {
    let limit = RateLimit::default();
    let mut unreadable = Unreadable::default();
    loop {
        if pipeline.is_closed() {
            return;
        }
        unreadable.release(pipeline);
        match claim(pipeline) {
            Some(number) => {
                // Before the target, so that a change after it is seen while waiting.
                let generation = pipeline.generation();
                let end = pipeline.target().map_or(End::Kept, |target| {
                    Upload { pipeline, target, number, generation, woken, limit: &limit }.run()
                });
                match end {
                    End::Done => (),
                    End::Kept => pipeline.store.release(number),
                    End::Unreadable => unreadable.add(pipeline, number),
                }
                // Release pairs with the packer's Acquire: the block is in its place again.
                pipeline.busy.fetch_sub(1, Ordering::Release);
                if matches!(end, End::Kept) {
                    woken.park_timeout(Duration::from_millis(100));
                }
            }
            None => {
                woken.park_timeout(IDLE);
            }
        }
    }
}

/// What became of a claimed block.
enum End {
    /// It is done with.
    Done,
    /// It goes back into the store.
    Kept,
    /// Its files cannot be read at present.
    Unreadable,
}

/// Blocks that cannot be read, with the time until which they are left alone: they stay claimed,
/// so that the blocks behind them go on.
#[derive(Default)]
struct Unreadable(Vec<(u64, Duration)>);

impl Unreadable {
    fn add(&mut self, pipeline: &Pipeline, number: u64) {
        let until = pipeline.environment.clock.monotonic().saturating_add(SPOOL_RETRY);
        self.0.push((number, until));
    }

    /// Gives back what has waited long enough.
    fn release(&mut self, pipeline: &Pipeline) {
        if self.0.is_empty() {
            return;
        }
        let now = pipeline.environment.clock.monotonic();
        self.0.retain(|(number, until)| {
            if *until <= now {
                pipeline.store.release(*number);
            }
            *until > now
        });
    }
}

/// The oldest block nobody has in hand; counts as busy from now on.
fn claim(pipeline: &Pipeline) -> Option<u64> {
    // Before the claim, so that the packer never sees a claimed block and no busy uploader.
    pipeline.busy.fetch_add(1, Ordering::AcqRel);
    let number = if pipeline.is_late() {
        None
    } else {
        pipeline.store.claim(pipeline.environment.clock.monotonic())
    };
    if number.is_none() {
        pipeline.busy.fetch_sub(1, Ordering::Release);
    }
    number
}

/// One claimed block on its way.
struct Upload<'a> {
    pipeline: &'a Pipeline,
    target: Arc<Target>,
    number: u64,
    /// When `target` was in force.
    generation: u64,
    woken: &'a Parker,
    limit: &'a RateLimit,
}

impl Upload<'_> {
    fn run(&self) -> End {
        let block = match self.pipeline.store.open_block(self.number) {
            Ok(block) => block,
            Err(error) => {
                self.spool_error(&error);
                return End::Unreadable;
            }
        };
        let SealedBlock { meta, key, content } = block;
        drop(content);
        let metadata: Vec<(String, String)> =
            meta.to_pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let object = PutObject {
            key: &key,
            len: meta.bytes,
            sha256: meta.sha256.0,
            sums: Sums::default(),
            metadata: &metadata,
            sha256_name: "sha256",
            open: &|| self.open(),
        };
        let clock = &*self.pipeline.environment.clock;
        let finished = s3::upload(
            &self.target.client,
            &object,
            clock,
            Backoff::new(fastrand::Rng::new()),
            &mut |pause| self.wait(pause),
            &mut |failure, action, pause| self.notice(failure, action, pause),
        );
        match finished {
            Finished::Stored { elapsed, .. } => {
                let stats = &self.pipeline.stats;
                set(&stats.last_status, 200);
                set(&stats.last_upload_ms, u64::try_from(elapsed.as_millis()).unwrap_or(0));
                if !self.insist(|| self.pipeline.store.uploaded(self.number)) {
                    return End::Kept;
                }
                add(&stats.blocks_uploaded, 1);
                add(&stats.uploaded_records, meta.records);
                add(&stats.uploaded_bytes, meta.bytes);
                End::Done
            }
            Finished::Quarantine(failure) => {
                let reason = failure.to_string();
                if !self.insist(|| self.pipeline.store.quarantine(self.number, &reason)) {
                    return End::Kept;
                }
                add(&self.pipeline.stats.blocks_quarantined, 1);
                End::Done
            }
            Finished::Stopped(_) => End::Kept,
        }
    }

    fn open(&self) -> io::Result<Box<dyn Read>> {
        let block = self.pipeline.store.open_block(self.number).map_err(io::Error::other)?;
        Ok(block.content)
    }

    /// Does what the block's end asks of the spool, again and again until it is done or the
    /// pipeline is closed: the block is in the bucket, and need not be sent once more. Whether it
    /// is done.
    fn insist(&self, mut act: impl FnMut() -> Result<(), SpoolError>) -> bool {
        while let Err(error) = act() {
            self.spool_error(&error);
            if self.pipeline.is_late() || self.pipeline.is_closed() {
                // Whoever claims it next sends it again, finds it there by its hash, and forgets
                // it.
                return false;
            }
            self.woken.park_timeout(SPOOL_RETRY);
        }
        true
    }

    fn spool_error(&self, error: &SpoolError) {
        add(&self.pipeline.stats.spool_errors, 1);
        let now = self.pipeline.environment.clock.monotonic();
        if let Some(held) = self.limit.admit("spool", now) {
            let held = more_like_it(held);
            self.pipeline.tell(Level::Warn, &format!("block {}: {error}{held}", self.number));
        }
    }

    /// Waits before the next attempt; `false` to give the block back.
    fn wait(&self, pause: Duration) -> bool {
        let clock = &self.pipeline.environment.clock;
        let end = clock.monotonic().saturating_add(pause);
        loop {
            if self.pipeline.generation() != self.generation || self.pipeline.is_closed() {
                // Other settings, or draining: whoever claims the block next knows.
                return false;
            }
            if self.pipeline.is_late() {
                return false;
            }
            let left = end.saturating_sub(clock.monotonic());
            if left.is_zero() {
                return true;
            }
            self.woken.park_timeout(left.min(IDLE));
        }
    }

    fn notice(&self, failure: &Failure, action: Action, pause: Duration) {
        let stats = &self.pipeline.stats;
        set(&stats.last_status, failure.answer.status.unwrap_or(0).into());
        let (level, what) = match action {
            Action::Done => return,
            Action::Retry { .. } => (Level::Warn, "kept, tried again"),
            Action::RetryCredentials | Action::RetryConfiguration => {
                (Level::Error, "kept, tried again")
            }
            Action::Quarantine => (Level::Error, "set aside in the spool's quarantine"),
        };
        if !matches!(action, Action::Quarantine) {
            add(&stats.upload_retries, 1);
        }
        let now = self.pipeline.environment.clock.monotonic();
        if let Some(held) = self.limit.admit(failure.answer.outcome.advice(), now) {
            let held = more_like_it(held);
            let pause = if pause.is_zero() {
                String::new()
            } else {
                format!(" in {:.1} s", pause.as_secs_f64())
            };
            let text = format!("block {}: {failure}; {what}{pause}{held}", self.number);
            self.pipeline.tell(level, &text);
        }
    }
}
