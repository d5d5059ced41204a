//! The uploaders: sealed blocks, oldest first, into the bucket.
//!
//! An uploader claims a block, makes one attempt, and gives the block back or forgets it. A block
//! that failed waits its own time in the spool, so that no block ever holds an uploader; what would
//! fail every block alike shuts the gate. A change of settings, a reload and an exit
//! end all waits: the next attempt is made with the settings then in force.

use std::cell::Cell;
use std::collections::HashSet;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_utils::sync::Parker;

use super::Pipeline;
use super::gate::{Failed, Pass};
use super::uploads::{End, Tried};
use super::view::milliseconds;
use crate::block::Meta;
use crate::events::{Level, more_like_it};
use crate::s3::{Action, Answer, Attempted, Client, Failure, Outcome, PutObject, PutOnce};
use crate::spool::{SealedBlock, SpoolError};
use crate::stats::{add, set};

/// How often an idle uploader looks for a block that nobody woke it for.
const IDLE: Duration = Duration::from_secs(1);

/// How long a block whose files cannot be read or removed is left alone.
const SPOOL_RETRY: Duration = Duration::from_secs(5);

/// Blocks of which something is remembered before those that are gone are forgotten.
const REMEMBERED: usize = 1024;

/// Runs until the pipeline is closed.
pub(super) fn run(pipeline: &Pipeline, index: usize, woken: &Parker) {
    while !pipeline.is_closed() {
        if pipeline.rests(index) {
            woken.park_timeout(IDLE);
            continue;
        }
        renew(pipeline);
        let news = pipeline.news();
        match claim(pipeline) {
            Ok((number, pass)) => {
                let spare = pass.clone();
                let attempt = AssertUnwindSafe(|| match pipeline.target() {
                    Some(target) => {
                        let client = target.client.as_ref();
                        let bucket = client.map(|client| -> &dyn PutOnce { client });
                        let wait = Upload { pipeline, bucket, number }.run(pass);
                        tell_notices(pipeline, client);
                        wait
                    }
                    None => {
                        pipeline.uploads.gate.unused(pass);
                        Some(IDLE)
                    }
                });
                let wait = catch_unwind(attempt).unwrap_or_else(|_| {
                    pipeline.uploads.gate.unused(spare);
                    panicked(pipeline, number)
                });
                if let Some(wait) = wait {
                    // With other settings it need not wait for what was wrong before.
                    let wait = if pipeline.news() == news { wait } else { Duration::ZERO };
                    let now = pipeline.environment.clock.monotonic();
                    pipeline.store.release_until(number, now.saturating_add(wait));
                }
                // Release pairs with the packer's Acquire: the block is in its place again.
                pipeline.busy.fetch_sub(1, Ordering::Release);
            }
            Err(wait) => {
                woken.park_timeout(wait.clamp(Duration::from_millis(1), IDLE));
                look_at_files(pipeline);
            }
        }
    }
}

/// Where blocks wait for another attempt and the files of credentials or certificates have changed since
/// they were read, none waits any longer. Looks once a second.
fn look_at_files(pipeline: &Pipeline) {
    let uploads = &pipeline.uploads;
    if uploads.tried().is_empty() {
        return;
    }
    let Ok(mut looked) = uploads.looked.try_lock() else { return };
    if looked.is_some_and(|looked| looked.elapsed() < IDLE) {
        return;
    }
    *looked = Some(Instant::now());
    let Some(target) = pipeline.target() else { return };
    if target.client.as_ref().is_some_and(Client::is_outdated) {
        pipeline.changed();
    }
}

/// What an operator should know although the gateway stores.
fn tell_notices(pipeline: &Pipeline, client: Option<&Client>) {
    let Some(client) = client else { return };
    let credentials = client.credentials().notice(pipeline.environment.clock.unix());
    for notice in credentials.into_iter().chain(client.notice()) {
        pipeline.tell(Level::Warn, &notice);
    }
}

/// An uploader has panicked with this block in hand: how long it is left alone, or `None` when it
/// is in quarantine, the second time.
fn panicked(pipeline: &Pipeline, number: u64) -> Option<Duration> {
    let first = pipeline.staff.panicked().insert(number);
    if first {
        let text = format!("block {number}: the uploader panicked; the block is tried once more");
        pipeline.tell(Level::Error, &text);
        return Some(IDLE);
    }
    let reason = "the module panicked twice while it uploaded this block";
    match pipeline.store.quarantine(number, reason) {
        Ok(()) => {
            pipeline.staff.panicked().remove(&number);
            add(&pipeline.stats.blocks_quarantined, 1);
            let text = format!("block {number}: {reason}: set aside in the spool's quarantine");
            pipeline.tell(Level::Error, &text);
            None
        }
        Err(_) => Some(IDLE),
    }
}

/// With other settings, or at an exit, nothing waits for what was wrong before.
fn renew(pipeline: &Pipeline) {
    let seen = pipeline.news();
    let uploads = &pipeline.uploads;
    let mut news = uploads.news.lock().unwrap_or_else(PoisonError::into_inner);
    if *news == seen {
        return;
    }
    *news = seen;
    uploads.gate.open();
    uploads.tried().values_mut().for_each(Tried::renew);
    pipeline.store.forget_waits();
}

/// The oldest block whose time has come, with leave to try it; counts as busy from now on. Else
/// how long there is nothing to do.
fn claim(pipeline: &Pipeline) -> Result<(u64, Pass), Duration> {
    let (now, gate) = (pipeline.environment.clock.monotonic(), &pipeline.uploads.gate);
    let pass = gate.enter(now).map_err(|until| until.saturating_sub(now))?;
    // Before the claim, so that the packer never sees a claimed block and no busy uploader.
    pipeline.busy.fetch_add(1, Ordering::AcqRel);
    let late = pipeline.is_late() || !pipeline.may_upload();
    let number = match (late, pass.is_probe()) {
        (true, _) => None,
        (false, false) => pipeline.store.claim(now),
        (false, true) => pipeline.store.claim_in_turn(now),
    };
    match number {
        Some(number) => Ok((number, pass)),
        None => {
            gate.unused(pass);
            pipeline.busy.fetch_sub(1, Ordering::Release);
            let due = pipeline.store.next_due().filter(|_| !late);
            Err(due.map_or(IDLE, |due| due.saturating_sub(now)))
        }
    }
}

/// One claimed block and one attempt.
struct Upload<'a> {
    pipeline: &'a Pipeline,
    /// None where another process uploads.
    bucket: Option<&'a dyn PutOnce>,
    number: u64,
}

impl Upload<'_> {
    /// How long the block is left alone; `None` when it is done with.
    fn run(&self, pass: Pass) -> Option<Duration> {
        let mut tried =
            self.pipeline.uploads.tried().remove(&self.number).unwrap_or_else(Tried::new);
        let wait = self.attempt(&mut tried, pass);
        if wait.is_some() {
            self.remember(tried);
        }
        wait
    }

    fn attempt(&self, tried: &mut Tried, pass: Pass) -> Option<Duration> {
        let gate = &self.pipeline.uploads.gate;
        let block = match self.pipeline.store.open_block(self.number) {
            Ok(block) => block,
            Err(error) => {
                gate.unused(pass);
                self.spool_error(&error);
                return Some(SPOOL_RETRY);
            }
        };
        let SealedBlock { meta, key, content } = block;
        let first = Cell::new(Some(content));
        if let Some(end) = &tried.end {
            gate.unused(pass);
            return self.end(end, &meta);
        }
        let metadata: Vec<(String, String)> =
            meta.to_pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let underway = self.pipeline.view.uploads.begin(meta.bytes);
        let object = PutObject {
            key: &key,
            len: meta.bytes,
            sha256: meta.sha256.0,
            metadata: &metadata,
            open: &|| self.open(&first),
            sending: &|bytes| underway.sending(bytes),
            patience: Duration::ZERO,
        };
        let clock = &*self.pipeline.environment.clock;
        let Some(bucket) = self.bucket else {
            // The settings have changed meanwhile, and another process uploads.
            gate.unused(pass);
            return Some(Duration::ZERO);
        };
        let patience = &self.pipeline.uploads.patience;
        let attempted = tried.attempts.once(bucket, &object, clock, patience);
        drop(underway);
        match attempted {
            Attempted::Stored { elapsed, .. } => {
                let stats = &self.pipeline.stats;
                stats.count_answer(Some(200));
                set(&stats.last_status, 200);
                set(&stats.last_upload_ms, u64::try_from(elapsed.as_millis()).unwrap_or(0));
                gate.works(pass);
                self.end(tried.end.insert(End::Stored), &meta)
            }
            Attempted::Condemned(failure) => {
                gate.works(pass);
                self.notice(&failure, None);
                self.end(tried.end.insert(End::Aside(failure.to_string())), &meta)
            }
            Attempted::Kept(failure, pause) => {
                self.judge(&failure, pass);
                self.notice(&failure, Some(pause));
                Some(pause)
            }
        }
    }

    /// What a failure means for the other blocks.
    fn judge(&self, failure: &Failure, pass: Pass) {
        let (gate, action) = (&self.pipeline.uploads.gate, failure.answer.action());
        let outcome = failure.answer.outcome;
        match (outcome, action) {
            // The next attempt is another one, or the fault is on this side.
            (Outcome::Adapted | Outcome::ClockCorrected | Outcome::Unreadable, _) => {
                gate.unused(pass);
            }
            // The gateway has answered about this block.
            (_, Action::Quarantine) => gate.works(pass),
            _ => {
                let failed = Failed {
                    everyones: outcome.is_everyones(),
                    operators: !matches!(action, Action::Retry { .. }),
                    after: failure.answer.retry_after,
                };
                gate.failed(pass, failed, self.pipeline.environment.clock.monotonic());
            }
        }
    }

    /// Has the spool note what the block came to. When it cannot, the block is not sent again: only
    /// this is tried again.
    fn end(&self, end: &End, meta: &Meta) -> Option<Duration> {
        let store = &self.pipeline.store;
        let noted = match end {
            End::Stored => store.uploaded(self.number),
            End::Aside(reason) => store.quarantine(self.number, reason),
        };
        if let Err(error) = noted {
            self.spool_error(&error);
            return Some(SPOOL_RETRY);
        }
        let stats = &self.pipeline.stats;
        match end {
            End::Stored => {
                let now = self.pipeline.environment.clock.monotonic();
                set(&self.pipeline.view.uploaded, milliseconds(now));
                add(&stats.blocks_uploaded, 1);
                add(&stats.uploaded_records, meta.records);
                add(&stats.uploaded_bytes, meta.bytes);
            }
            End::Aside(_) => add(&stats.blocks_quarantined, 1),
        }
        None
    }

    fn remember(&self, tried: Tried) {
        let mut all = self.pipeline.uploads.tried();
        if all.len() >= REMEMBERED {
            // Blocks that `spool_max` has dropped since.
            let there: HashSet<u64> = self.pipeline.store.sealed().into_iter().collect();
            all.retain(|number, _| there.contains(number));
        }
        all.insert(self.number, tried);
    }

    /// The block from its start: as it was opened for this attempt, and anew after that.
    fn open(&self, first: &Cell<Option<Box<dyn Read + Send>>>) -> io::Result<Box<dyn Read>> {
        if let Some(content) = first.take() {
            return Ok(content);
        }
        let block = self.pipeline.store.open_block(self.number).map_err(io::Error::other)?;
        Ok(block.content)
    }

    fn spool_error(&self, error: &SpoolError) {
        add(&self.pipeline.stats.spool_errors, 1);
        let now = self.pipeline.environment.clock.monotonic();
        if let Some(held) = self.pipeline.uploads.limit.admit("spool", now) {
            let held = more_like_it(held);
            self.pipeline.tell(Level::Warn, &format!("block {}: {error}{held}", self.number));
        }
    }

    /// Tells the operator, and counts; `wait` is `None` for a block that is set aside.
    fn notice(&self, failure: &Failure, wait: Option<Duration>) {
        let stats = &self.pipeline.stats;
        let Answer { status, outcome, .. } = failure.answer;
        if status.is_some() || outcome.is_silence() {
            stats.count_answer(status);
        }
        set(&stats.last_status, status.unwrap_or(0).into());
        if wait.is_some() {
            add(&stats.upload_retries, 1);
        }
        let level = match failure.answer.action() {
            Action::Retry { .. } => Level::Warn,
            _ => Level::Error,
        };
        let now = self.pipeline.environment.clock.monotonic();
        // That a block is set aside is said even where the attempts before were.
        let kind = if wait.is_some() { failure.answer.advice() } else { "set aside" };
        if let Some(held) = self.pipeline.uploads.limit.admit(kind, now) {
            let held = more_like_it(held);
            let what = match wait {
                Some(wait) => format!("kept, tried again in {:.1} s", wait.as_secs_f64()),
                None => "set aside in the spool's quarantine".to_owned(),
            };
            self.pipeline.tell(level, &format!("block {}: {failure}; {what}{held}", self.number));
        }
    }
}

#[cfg(test)]
#[cfg(not(s3log_loom))]
mod tests;
