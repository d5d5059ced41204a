//! What a gateway's answers have shown of it, for as long as the client lives.
//!
//! Hints for the next request: nothing is published by them, so every access is Relaxed. Several
//! uploads are under way at a time, and an answer may be older than what another one has shown since.
//! So each answer is judged by what its own request was sent with.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::object::{ContentMd5, ObjectOptions};

/// A clock that is further off than this is corrected; gateways allow 15 minutes.
const SKEW: i64 = 4 * 60;
/// No `Date` was seen yet.
const UNKNOWN: i64 = i64::MIN;
/// Most keys that are remembered because their body was cut.
const CUT: usize = 64;

/// How `If-None-Match` fares: it is sent as the options say.
const AS_CHOSEN: u8 = 0;
/// It is left out, and whether that helps is not known yet.
const TRIED_WITHOUT: u8 = 1;
/// It is left out for good.
const WITHOUT: u8 = 2;
/// It is sent as the options say: leaving it out did not help.
const IN_VAIN: u8 = 3;

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
    /// The keys whose last body was cut, the newest last. They ask although others were stored since.
    cut: Mutex<VecDeque<String>>,
    /// It answered 417 to the question: never ask again.
    never_ask: AtomicBool,
    /// What becomes of `If-None-Match`.
    condition: AtomicU8,
    /// It wants `Content-MD5`.
    wants_md5: AtomicBool,
    /// Its entity tags look like an MD5 and are none.
    etags_differ: AtomicBool,
    /// What it has said of the encryption of an object where that is not what was asked for.
    encryption: Mutex<Option<Doubt>>,
}

/// An answer that does not confirm the encryption that was asked for.
#[derive(Debug, Clone)]
struct Doubt {
    text: String,
    told: bool,
}

impl Learnt {
    pub(super) const fn new() -> Self {
        Self {
            offset: AtomicI64::new(0),
            seen_offset: AtomicI64::new(UNKNOWN),
            ask_first: AtomicBool::new(false),
            cut: Mutex::new(VecDeque::new()),
            never_ask: AtomicBool::new(false),
            condition: AtomicU8::new(AS_CHOSEN),
            wants_md5: AtomicBool::new(false),
            etags_differ: AtomicBool::new(false),
            encryption: Mutex::new(None),
        }
    }

    /// An object was stored; `said` is the answer's encryption, empty where it has none.
    pub(super) fn encrypted(&self, wanted: Option<&str>, said: &str) {
        let Some(wanted) = wanted.filter(|wanted| !wanted.eq_ignore_ascii_case(said)) else {
            return;
        };
        let said = match said {
            "" => "does not say that it encrypts".to_owned(),
            said => format!("says {}", said.escape_debug()),
        };
        let text = format!(
            "the gateway stores and {said}, and server_side_encryption is {wanted}: blocks may lie there \
             in clear; check what it supports, or use encrypt_to"
        );
        self.doubt().get_or_insert(Doubt { text, told: false });
    }

    /// That it has not confirmed the encryption that was asked for, if so.
    pub(super) fn encryption_doubt(&self) -> Option<String> {
        self.doubt().as_ref().map(|doubt| doubt.text.clone())
    }

    /// The same, once.
    pub(super) fn encryption_notice(&self) -> Option<String> {
        let mut doubt = self.doubt();
        let doubt = doubt.as_mut().filter(|doubt| !doubt.told)?;
        doubt.told = true;
        Some(doubt.text.clone())
    }

    fn doubt(&self) -> MutexGuard<'_, Option<Doubt>> {
        // Every update leaves it whole, so a panic elsewhere does not spoil it.
        self.encryption.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `options` as this gateway takes them.
    pub(super) fn adapt(&self, options: &ObjectOptions) -> ObjectOptions {
        let without = matches!(self.condition.load(Relaxed), TRIED_WITHOUT | WITHOUT);
        ObjectOptions {
            if_none_match: options.if_none_match && !without,
            content_md5: match options.content_md5 {
                ContentMd5::Auto if self.wants_md5.load(Relaxed) => ContentMd5::Always,
                chosen => chosen,
            },
            ..options.clone()
        }
    }

    /// From now on without `If-None-Match`.
    pub(super) fn go_unconditional(&self) {
        self.condition.store(WITHOUT, Relaxed);
    }

    /// It refused a header and did not say which: whether the next request is sent without
    /// `If-None-Match`, which most of those who know no conditions refuse so. That is tried once, and
    /// taken back if it does not help. `conditional` is whether the refused request had it.
    pub(super) fn guess_unconditional(&self, conditional: bool) -> bool {
        if conditional {
            let tried = self.condition.compare_exchange(AS_CHOSEN, TRIED_WITHOUT, Relaxed, Relaxed);
            // One that was sent before the guess is sent again, too.
            return !matches!(tried, Err(IN_VAIN));
        }
        let _ = self.condition.compare_exchange(TRIED_WITHOUT, IN_VAIN, Relaxed, Relaxed);
        false
    }

    /// The object at `key` was stored, with `If-None-Match` if `conditional`.
    pub(super) fn stored(&self, key: &str, conditional: bool) {
        self.body_was_cut(key, false);
        if !conditional {
            let _ = self.condition.compare_exchange(TRIED_WITHOUT, WITHOUT, Relaxed, Relaxed);
        }
    }

    /// From now on with `Content-MD5`.
    pub(super) fn send_md5(&self) {
        self.wants_md5.store(true, Relaxed);
    }

    /// Whether the body of the object at `key` waits for the gateway to say `100 Continue`.
    pub(super) fn asks_first(&self, key: &str) -> bool {
        !self.never_ask.load(Relaxed)
            && (self.ask_first.load(Relaxed) || self.cut().iter().any(|cut| cut == key))
    }

    /// The body for `key` was cut short, or it was not.
    pub(super) fn body_was_cut(&self, key: &str, was: bool) {
        self.ask_first.store(was, Relaxed);
        let mut cut = self.cut();
        cut.retain(|other| other != key);
        if was {
            if cut.len() >= CUT {
                cut.pop_front();
            }
            cut.push_back(key.to_owned());
        }
    }

    fn cut(&self) -> MutexGuard<'_, VecDeque<String>> {
        // Every update leaves it whole, so a panic elsewhere does not spoil it.
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// A request was refused by an answer with this date; `used` is the offset that it was signed with.
    /// Takes the gateway's clock over when that was off; `true` when the next request is another one
    /// for it. An offset that was in use and did not help is dropped: dates are wrong, too.
    pub(super) fn refused(&self, used: i64, date: Duration, unix: Duration) -> bool {
        let offset = between(date, unix);
        if offset.saturating_sub(used).abs() >= SKEW {
            self.offset.store(offset, Relaxed);
            return true;
        }
        // Unless another answer has shown a better one meanwhile.
        let _ = self.offset.compare_exchange(used, 0, Relaxed, Relaxed);
        false
    }

    /// A request was taken by an answer with this date: ours is right when it says so.
    pub(super) fn taken(&self, date: Duration, unix: Duration) {
        if between(date, unix).abs() < SKEW {
            self.offset.store(0, Relaxed);
        }
    }
}

/// `unix` with an offset in seconds.
pub(super) fn shifted(unix: Duration, offset: i64) -> Duration {
    let magnitude = Duration::from_secs(offset.unsigned_abs());
    if offset < 0 { unix.saturating_sub(magnitude) } else { unix.saturating_add(magnitude) }
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
        assert!(learnt.refused(0, NOW + HOUR, NOW));
        assert_eq!(learnt.offset(), 3600);
        assert!(!learnt.refused(3600, NOW + HOUR, NOW));
        assert_eq!(learnt.offset(), 0);
        assert!(learnt.refused(0, NOW - HOUR, NOW));
        assert_eq!(shifted(NOW, learnt.offset()), NOW - HOUR);
    }

    #[test]
    fn a_late_refusal_is_judged_by_the_clock_that_its_own_request_was_signed_with() {
        let learnt = Learnt::new();
        // Both were signed with our clock; one has taught the gateway's.
        assert!(learnt.refused(0, NOW + HOUR, NOW));
        assert!(learnt.refused(0, NOW + HOUR, NOW));
        assert_eq!(learnt.offset(), 3600);
        // The gateway's clock was set right meanwhile, and another answer has shown it: the late one
        // was signed with the old offset, agreed with it, and changes nothing.
        assert!(learnt.refused(3600, NOW - HOUR, NOW));
        assert!(!learnt.refused(3600, NOW + HOUR, NOW));
        assert_eq!(learnt.offset(), -3600);
    }

    #[test]
    fn a_success_that_agrees_with_our_clock_clears_the_offset() {
        let learnt = Learnt::new();
        assert!(learnt.refused(0, NOW + HOUR, NOW));
        learnt.taken(NOW + HOUR, NOW);
        assert_eq!(learnt.offset(), 3600);
        learnt.taken(NOW, NOW);
        assert_eq!(learnt.offset(), 0);
    }

    fn is_conditional(learnt: &Learnt) -> bool {
        learnt.adapt(&ObjectOptions::default()).if_none_match
    }

    #[test]
    fn two_requests_under_way_that_are_refused_for_no_named_header_are_both_sent_without_the_condition()
     {
        let learnt = Learnt::new();
        assert!(learnt.guess_unconditional(true));
        assert!(learnt.guess_unconditional(true));
        assert!(!is_conditional(&learnt));
    }

    #[test]
    fn a_guess_that_helped_is_kept_and_one_that_did_not_is_made_once() {
        let learnt = Learnt::new();
        assert!(learnt.guess_unconditional(true));
        learnt.stored("k", false);
        assert!(!learnt.guess_unconditional(false));
        assert!(!is_conditional(&learnt));
        let learnt = Learnt::new();
        assert!(learnt.guess_unconditional(true));
        assert!(!learnt.guess_unconditional(false));
        assert!(is_conditional(&learnt));
        assert!(!learnt.guess_unconditional(true));
    }

    #[test]
    fn a_bounded_number_of_keys_is_remembered_for_their_cut_bodies() {
        let learnt = Learnt::new();
        for key in 0..2 * CUT {
            learnt.body_was_cut(&key.to_string(), true);
        }
        learnt.stored("another", true);
        assert!(!learnt.asks_first("0") && learnt.asks_first(&(2 * CUT - 1).to_string()));
        learnt.stored(&(2 * CUT - 1).to_string(), true);
        assert_eq!(learnt.cut().len(), CUT - 1);
    }
}
