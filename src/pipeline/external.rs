//! Who uploads: one process at a time, and the packer's part where that is another one.
//!
//! Uploaders work while their process has the right to upload from the folder ([`Uploading`]). With
//! `upload = "external"` this process never takes it; `s3log ship` does, and leaves notes of what its
//! blocks came to, which the packer takes. So all counters are here, whoever uploads.

use std::io;
use std::time::Duration;

use super::Pipeline;
use super::right::Notes;
use super::view::milliseconds;
use crate::events::Level;
use crate::settings::Upload;
use crate::spool::{self, ShipperState, Uploading};
use crate::stats::{Stats, add, set};

/// Between two attempts to get the right to upload, and between two looks for notes.
const LOOK: Duration = Duration::from_secs(1);

/// The same while somebody waits for the end.
const LOOK_DRAINING: Duration = Duration::from_millis(100);

/// What a shipper that has not been heard of for this long had in hand is no upload under way any more.
const STALE: Duration = Duration::from_secs(15);

/// A shipper that has not been heard of for this long is missed. It says something every five seconds.
const MISSED: Duration = Duration::from_secs(60);

impl Pipeline {
    /// Whether another process is to upload.
    pub(super) fn leaves_uploads(&self) -> bool {
        self.target().is_some_and(|target| target.settings.upload == Upload::External)
    }

    /// Says so where another process is to upload and cannot read what is made in the folder.
    pub(super) fn look_at_group(&self) {
        let folder = self.identity.folder.as_ref().filter(|_| self.leaves_uploads());
        if let Some(problem) = folder.and_then(|folder| spool::group_problem(folder)) {
            self.tell(Level::Warn, &problem);
        }
    }

    /// Whether this process may upload, asked by an uploader that counts as busy. Takes the right if
    /// nobody has it, and then waits until what was uploaded before is known.
    pub(super) fn may_upload(&self) -> bool {
        let Some(folder) = &self.identity.folder else { return true };
        let now = self.environment.clock.monotonic();
        let mut state = self.right.state();
        if state.held.is_some() {
            return state.notes == Notes::Taken;
        }
        if now < state.next {
            return false;
        }
        match Uploading::take(folder) {
            Ok(Some(held)) => {
                state.held = Some(held);
                state.notes = Notes::Unseen;
                drop(state);
                // The packer takes the notes of who had it before, and wakes the uploaders then.
                self.wake();
                return false;
            }
            // Taken away from outside: nobody else finds it either.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            Ok(None) | Err(_) => {}
        }
        state.next = now.saturating_add(LOOK);
        drop(state);
        if self.uploads.limit.admit("other", now).is_some() {
            let who = spool::uploader(folder)
                .map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            let text = format!("{who} uploads from {}, and is left to it", folder.display());
            self.tell(Level::Warn, &text);
        }
        false
    }

    /// Takes the notes of who uploads for this process, now and then. For the packer.
    pub(super) fn look_for_notes(&self, now: Duration) {
        use std::sync::atomic::Ordering;
        if self.identity.folder.is_none() {
            return;
        }
        let external = self.leaves_uploads();
        let own = {
            let mut state = self.right.state();
            if external && state.held.is_some() && self.busy.load(Ordering::Acquire) == 0 {
                state.held = None;
            }
            let draining = self.draining().is_some();
            let every = if draining { LOOK_DRAINING } else { LOOK };
            match (state.held.is_some(), state.notes) {
                (true, Notes::Taken) => return,
                (true, Notes::Unseen) => {
                    // From the first one: nobody leaves any more.
                    self.store.begin_notes();
                    state.notes = Notes::Passing;
                }
                (true, Notes::Passing) => {}
                (false, _) if now < state.looked.saturating_add(every) => return,
                (false, _) => {}
            }
            state.looked = now;
            state.held.is_some()
        };
        let last = self.store.take_notes().unwrap_or_else(|error| {
            self.spool_trouble(1, &error.to_string(), now);
            // Blocks of those that there may be are found in the bucket.
            true
        });
        self.count_notes(now);
        self.hear(external, now);
        let mut state = self.right.state();
        if !last {
            // More are there, and the packer's other work comes first.
            state.looked = Duration::ZERO;
        } else if own {
            state.notes = Notes::Taken;
            drop(state);
            self.wake();
        }
    }

    fn spool_trouble(&self, times: u64, error: &str, now: Duration) {
        add(&self.stats.spool_errors, times);
        if self.uploads.limit.admit("notes", now).is_some() {
            let text = format!("what s3log ship has noted cannot be taken: {error}");
            self.tell(Level::Warn, &text);
        }
    }

    /// Counts what notes have come to, also those that were taken to make room.
    fn count_notes(&self, now: Duration) {
        let (noted, stats) = (self.store.noted(), &self.stats);
        if let Some(why) = &noted.why {
            self.spool_trouble(noted.failed, why, now);
        }
        if noted.sent.blocks > 0 {
            set(&self.view.uploaded, milliseconds(now));
        }
        add(&stats.blocks_uploaded, noted.sent.blocks);
        add(&stats.uploaded_records, noted.sent.records);
        add(&stats.uploaded_bytes, noted.sent.bytes);
        add(&stats.blocks_quarantined, noted.refused.blocks);
        if noted.refused.blocks > 0 {
            let text =
                format!("{} blocks set aside in the spool's quarantine", noted.refused.blocks);
            self.tell(Level::Error, &text);
        }
    }

    /// Reads what the shipper says of itself, and misses it.
    fn hear(&self, external: bool, now: Duration) {
        let said = self.store.shipper_state();
        let mut state = self.right.state();
        if let Some(said) = said {
            let before = state.heard.as_ref();
            if before.is_none_or(|(before, _)| *before != said) {
                // What it counted before this process listened is not this process's.
                count(&self.stats, before.map_or(&said, |(before, _)| before), &said);
                // What it said before this process began may be as old as anything.
                let at = before.map(|_| now);
                state.heard = Some((said, at));
            }
        }
        if !external {
            set(&self.stats.shipper_silent, 0);
            self.show_elsewhere(None);
            return;
        }
        let start = *state.began.get_or_insert(now);
        let (said, at) = state.heard.as_ref().map(|(said, at)| (said, *at)).unzip();
        let at = at.flatten();
        let lately = at.is_some_and(|at| now.saturating_sub(at) < STALE);
        self.show_elsewhere(said.filter(|_| lately));
        drop(state);
        let at = at.map_or(start, |at| start.max(at));
        let silent = now.saturating_sub(at);
        set(&self.stats.shipper_silent, silent.as_secs());
        let waiting = self.store.try_counts().map_or(0, |counts| counts.sealed.blocks);
        if silent >= MISSED && waiting > 0 && self.uploads.limit.admit("missed", now).is_some() {
            let text = format!(
                "{waiting} blocks wait, and no s3log ship has been at work in this spool for {} s: \
                 start it, or look at its messages",
                silent.as_secs()
            );
            self.tell(Level::Warn, &text);
        }
    }

    /// What another process has in hand.
    fn show_elsewhere(&self, said: Option<&ShipperState>) {
        let there = &self.view.elsewhere;
        set(&there.blocks, said.map_or(0, |said| said.uploading_blocks));
        set(&there.bytes, said.map_or(0, |said| said.uploading_bytes));
        set(&there.sent, said.map_or(0, |said| said.uploading_sent));
    }

    /// Who uploads, for the status; `None` where this process does.
    pub(super) fn shipper(&self) -> Option<serde_json::Value> {
        if !self.leaves_uploads() {
            return None;
        }
        let state = self.right.state();
        let said = state.heard.as_ref().map(|(said, _)| said);
        Some(serde_json::json!({
            "pid": said.map(|said| said.pid),
            "since": said.map(|said| said.since),
        }))
    }
}

/// Adds what a shipper has counted since it was last heard, all of it if it is another one.
fn count(stats: &Stats, before: &ShipperState, said: &ShipperState) {
    let before = Some(before).filter(|before| (before.pid, before.since) == (said.pid, said.since));
    let since = |read: fn(&ShipperState) -> u64| read(said).saturating_sub(before.map_or(0, read));
    add(&stats.upload_retries, since(|state| state.upload_retries));
    add(&stats.spool_errors, since(|state| state.spool_errors));
    for (n, counter) in stats.answers().into_iter().enumerate() {
        let all = |state: &ShipperState| state.answers.get(n).copied().unwrap_or_default();
        add(counter, all(said).saturating_sub(before.map_or(0, all)));
    }
    set(&stats.last_status, said.last_status);
    set(&stats.last_upload_ms, said.last_upload_ms);
}
