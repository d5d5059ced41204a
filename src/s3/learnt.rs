//! What a gateway's answers have shown of it, for as long as the client lives.
//!
//! Hints for the next request: nothing is published by them, so every access is Relaxed.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use super::object::{ContentMd5, ObjectOptions};

/// A clock that is further off than this is corrected; gateways allow 15 minutes.
const SKEW: i64 = 4 * 60;
/// No `Date` was seen yet.
const UNKNOWN: i64 = i64::MIN;

/// What is known of one gateway.
#[derive(Debug)]
pub(super) struct Learnt {
    /// Seconds to add to our clock to have the gateway's.
    offset: AtomicI64,
    /// The same as the last answer's `Date` has it, to the second; [`UNKNOWN`] before one.
    seen_offset: AtomicI64,
    /// The gateway cut a body short: ask before the next one is sent. A gateway that refuses a
    /// request may close before the body is through, and its answer is lost with the connection.
    ask_first: AtomicBool,
    /// It answered 417 to the question: never ask again.
    never_ask: AtomicBool,
    /// It does not know `If-None-Match`.
    unconditional: AtomicBool,
    /// That was a guess: it refused a header and did not say which. A guess is made once.
    guessed: AtomicBool,
    /// It wants `Content-MD5`.
    wants_md5: AtomicBool,
    /// Its entity tags look like an MD5 and are none.
    etags_differ: AtomicBool,
}

impl Learnt {
    pub(super) const fn new() -> Self {
        Self {
            offset: AtomicI64::new(0),
            seen_offset: AtomicI64::new(UNKNOWN),
            ask_first: AtomicBool::new(false),
            never_ask: AtomicBool::new(false),
            unconditional: AtomicBool::new(false),
            guessed: AtomicBool::new(false),
            wants_md5: AtomicBool::new(false),
            etags_differ: AtomicBool::new(false),
        }
    }

    /// `options` as this gateway takes them.
    pub(super) fn adapt(&self, options: &ObjectOptions) -> ObjectOptions {
        ObjectOptions {
            if_none_match: options.if_none_match && !self.unconditional.load(Relaxed),
            content_md5: match options.content_md5 {
                ContentMd5::Auto if self.wants_md5.load(Relaxed) => ContentMd5::Always,
                chosen => chosen,
            },
            ..options.clone()
        }
    }

    /// From now on without `If-None-Match`.
    pub(super) fn go_unconditional(&self) {
        self.unconditional.store(true, Relaxed);
    }

    /// It refused a header and did not say which: whether the next request is sent without
    /// `If-None-Match`, which most of those who know no conditions refuse so. A guess that did not help
    /// is taken back. `conditional` is whether the refused request had it.
    pub(super) fn guess_unconditional(&self, conditional: bool) -> bool {
        if conditional && !self.guessed.swap(true, Relaxed) {
            self.unconditional.store(true, Relaxed);
            return true;
        }
        if !conditional && self.guessed.load(Relaxed) {
            self.unconditional.store(false, Relaxed);
        }
        false
    }

    /// From now on with `Content-MD5`.
    pub(super) fn send_md5(&self) {
        self.wants_md5.store(true, Relaxed);
    }

    /// Whether the next body waits for the gateway to say `100 Continue`.
    pub(super) fn asks_first(&self) -> bool {
        self.ask_first.load(Relaxed) && !self.never_ask.load(Relaxed)
    }

    /// The last body was cut short, or it was not.
    pub(super) fn ask_first(&self, ask: bool) {
        self.ask_first.store(ask, Relaxed);
    }

    /// The question itself was refused.
    pub(super) fn never_ask(&self) {
        self.never_ask.store(true, Relaxed);
    }

    /// Whether an entity tag of 32 hexadecimal digits is the MD5 of the body.
    pub(super) fn etags_are_md5(&self) -> bool {
        !self.etags_differ.load(Relaxed)
    }

    /// An object was read back and is what was sent, under another entity tag.
    pub(super) fn etags_differ(&self) {
        self.etags_differ.store(true, Relaxed);
    }

    /// Seconds by which the gateway's clock is ahead, as far as it mattered.
    pub(super) fn offset(&self) -> i64 {
        self.offset.load(Relaxed)
    }

    /// Seconds by which it was ahead in the last answer.
    pub(super) fn seen_offset(&self) -> Option<i64> {
        Some(self.seen_offset.load(Relaxed)).filter(|offset| *offset != UNKNOWN)
    }

    /// An answer with a date came at `unix`.
    pub(super) fn saw(&self, date: Duration, unix: Duration) {
        self.seen_offset.store(between(date, unix), Relaxed);
    }

    /// The gateway's Unix time as far as it is known.
    pub(super) fn now(&self, unix: Duration) -> Duration {
        let offset = self.offset();
        let magnitude = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 { unix.saturating_sub(magnitude) } else { unix.saturating_add(magnitude) }
    }

    /// A request was refused by an answer with this date. Takes the gateway's clock over when ours
    /// is off; `true` when that changed anything. An offset that was in use and did not help is
    /// dropped: dates are wrong, too.
    pub(super) fn refused(&self, date: Duration, unix: Duration) -> bool {
        let agrees = between(date, self.now(unix)).abs() < SKEW;
        // Each thread learns the same from the same gateway: the last one wins.
        self.offset.store(if agrees { 0 } else { between(date, unix) }, Relaxed);
        !agrees
    }

    /// A request was taken by an answer with this date: ours is right when it says so.
    pub(super) fn taken(&self, date: Duration, unix: Duration) {
        if between(date, unix).abs() < SKEW {
            self.offset.store(0, Relaxed);
        }
    }
}

/// Seconds from `b` to `a`.
fn between(a: Duration, b: Duration) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    seconds(a).saturating_sub(seconds(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_offset_that_does_not_help_is_dropped_and_may_be_learnt_again() {
        let learnt = Learnt::new();
        assert!(learnt.refused(NOW + HOUR, NOW));
        assert_eq!(learnt.now(NOW), NOW + HOUR);
        assert!(!learnt.refused(NOW + HOUR, NOW));
        assert_eq!(learnt.now(NOW), NOW);
        assert!(learnt.refused(NOW - HOUR, NOW));
        assert_eq!(learnt.now(NOW), NOW - HOUR);
    }

    #[test]
    fn a_success_that_agrees_with_our_clock_clears_the_offset() {
        let learnt = Learnt::new();
        assert!(learnt.refused(NOW + HOUR, NOW));
        learnt.taken(NOW + HOUR, NOW);
        assert_eq!(learnt.offset(), 3600);
        learnt.taken(NOW, NOW);
        assert_eq!(learnt.offset(), 0);
    }
}
