//! How long a gateway is waited for that says nothing, as what came of it so far has shown.
//!
//! One that hangs and one that is slow look alike until the slow one answers. So each attempt that ran out of
//! time has the next one wait twice as long, whichever block that is for, and what was waited for an answer
//! is remembered. Belongs to a gateway, and so outlives the settings and the client.
//!
//! One that hung may work again meanwhile. So of those who store at the same time one waits for longer than the
//! gateway has been seen to need, and the others find out.
//!
//! Non-goals: a block's own attempts, see [`Attempts`](super::Attempts); the first wait and the longest, see
//! [`Options`](super::Options).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::outcome::{Answer, Outcome};

/// So many objects in a row that were stored in a quarter of the time that is waited halve it.
const QUICK: u32 = 16;

/// What is known of a gateway's silences. Shared by all who store there.
#[derive(Debug, Default)]
pub struct Patience(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Twice the longest silence that nothing came of since an object was stored.
    doubled: Duration,
    /// Twice the longest silence that an object was stored after.
    proven: Duration,
    /// Objects in a row that were stored in a quarter of `proven`.
    quick: u32,
    /// Objects that were stored.
    stored: u64,
    /// An attempt is under way that waits for longer than `proven`.
    long: bool,
    /// The attempt that began last is such a one: the next is not, so that one uploader alone makes both kinds.
    long_last: bool,
}

impl Patience {
    /// The least time that is waited.
    #[must_use]
    pub fn least(&self) -> Duration {
        let state = self.state();
        state.doubled.max(state.proven)
    }

    /// Begins an attempt of one of several uploaders, for an object that is to be waited for at least so long
    /// for its own part. It waits no longer than is proven while another one does, and after such a one.
    pub(crate) fn begin(&self, own: Duration) -> Wait<'_> {
        let mut state = self.state();
        let wanted = own.max(state.doubled).max(state.proven);
        let long = wanted > state.proven && !state.long && !state.long_last;
        state.long |= long;
        state.long_last = long;
        let least = if long { wanted } else { state.proven };
        Wait { patience: self, least, long, stored: state.stored }
    }

    /// Takes in what an attempt came to.
    pub fn heard(&self, answer: &Answer) {
        let twice = answer.silence.saturating_mul(2);
        let mut state = self.state();
        match answer.outcome {
            Outcome::TimedOut => state.doubled = state.doubled.max(twice),
            Outcome::Stored => {
                // It answers, and this is how long that takes. What hung did not do so because it is slow.
                state.doubled = Duration::ZERO;
                state.stored += 1;
                state.quick = if twice < state.proven / 2 { state.quick + 1 } else { 0 };
                // Slow once is not slow for ever, and who hangs would be waited for as long. Not at once: each
                // halving may cost an object that is sent twice.
                if state.quick >= QUICK {
                    state.quick = 0;
                    state.proven /= 2;
                }
                state.proven = state.proven.max(twice);
            }
            // What an earlier attempt has stored says nothing of how long that took.
            _ => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every update leaves the state whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long an attempt that is under way waits. Dropped when it is over.
pub(crate) struct Wait<'a> {
    patience: &'a Patience,
    least: Duration,
    long: bool,
    /// Objects that were stored when it began.
    stored: u64,
}

impl Wait<'_> {
    /// The least time that is waited.
    pub(crate) fn least(&self) -> Duration {
        self.least
    }

    /// Takes in what the attempt came to. Where an object was stored after it began, a time-out says only what
    /// the gateway was like before.
    pub(crate) fn heard(&self, answer: &Answer) {
        let outdated = self.patience.state().stored != self.stored;
        if answer.outcome != Outcome::TimedOut || !outdated {
            self.patience.heard(answer);
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.long {
            self.patience.state().long = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn heard(patience: &Patience, outcome: Outcome, seconds: u32) -> u64 {
        patience.heard(&Answer { silence: SECOND * seconds, ..Answer::local(outcome, "") });
        patience.least().as_secs()
    }

    #[test]
    fn the_wait_doubles_with_each_time_out_and_not_with_those_that_began_before() {
        let patience = Patience::default();
        assert_eq!(patience.least(), Duration::ZERO);
        assert_eq!([94, 94, 94].map(|long| heard(&patience, Outcome::TimedOut, long)), [188; 3]);
        assert_eq!(heard(&patience, Outcome::TimedOut, 188), 376);
        assert_eq!(heard(&patience, Outcome::TimedOut, 94), 376);
        assert_eq!(heard(&patience, Outcome::Busy, 1), 376);
        assert_eq!(heard(&patience, Outcome::AlreadyStored, 1), 376);
        assert_eq!(heard(&patience, Outcome::TimedOut, u32::MAX), 2 * u64::from(u32::MAX));
    }

    #[test]
    fn what_a_slow_gateway_needed_is_kept() {
        let patience = Patience::default();
        heard(&patience, Outcome::TimedOut, 188);
        assert_eq!(heard(&patience, Outcome::Stored, 200), 400);
        for _ in 0..10 {
            for _ in 1..QUICK {
                assert_eq!(heard(&patience, Outcome::Stored, 1), 400);
            }
            assert_eq!(heard(&patience, Outcome::Stored, 110), 400);
        }
        for _ in 1..QUICK {
            assert_eq!(heard(&patience, Outcome::Stored, 1), 400);
        }
        assert_eq!(heard(&patience, Outcome::Stored, 1), 200, "it is slow no more");
        assert_eq!(heard(&patience, Outcome::Stored, 250), 500);
    }

    #[test]
    fn a_gateway_that_hung_and_answers_at_once_is_waited_for_as_at_first() {
        let patience = Patience::default();
        for _ in 0..10 {
            let waited = u32::try_from(patience.least().as_secs().max(94)).unwrap();
            heard(&patience, Outcome::TimedOut, waited);
        }
        assert_eq!(heard(&patience, Outcome::Stored, 1), 2);
    }

    #[test]
    fn one_attempt_at_a_time_waits_for_longer_than_is_proven_and_one_uploader_alternates() {
        let patience = Patience::default();
        let begin = |own: u32| patience.begin(SECOND * own);
        heard(&patience, Outcome::Stored, 100);
        assert_eq!([begin(0), begin(0)].map(|wait| wait.least().as_secs()), [200; 2]);
        heard(&patience, Outcome::TimedOut, 200);
        let long = begin(0);
        assert_eq!(long.least(), SECOND * 400);
        assert_eq!([begin(0), begin(900)].map(|wait| wait.least().as_secs()), [200; 2]);
        drop(long);
        // What the object has shown itself counts as well.
        assert_eq!([900, 900, 0, 0].map(|own| begin(own).least().as_secs()), [900, 200, 400, 200]);
    }

    #[test]
    fn a_time_out_of_an_attempt_that_began_before_an_object_was_stored_teaches_nothing() {
        let patience = Patience::default();
        heard(&patience, Outcome::TimedOut, 500);
        let answer = |outcome, seconds: u32| Answer {
            silence: SECOND * seconds,
            ..Answer::local(outcome, "")
        };
        let (long, brief) = (patience.begin(Duration::ZERO), patience.begin(Duration::ZERO));
        brief.heard(&answer(Outcome::Stored, 1));
        long.heard(&answer(Outcome::TimedOut, 1000));
        assert_eq!(patience.least(), SECOND * 2);
        patience.begin(Duration::ZERO).heard(&answer(Outcome::TimedOut, 94));
        assert_eq!(patience.least(), SECOND * 188);
        // It is stored all the same, and that is how long it took.
        long.heard(&answer(Outcome::Stored, 1000));
        assert_eq!(patience.least(), SECOND * 2000);
    }
}
