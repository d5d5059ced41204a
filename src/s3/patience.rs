//! How long a gateway is waited for that says nothing, as what came of it so far has shown.
//!
//! One that hangs and one that is slow look alike until the slow one answers. So each attempt that ran out of
//! time has the next one wait twice as long, whichever block that is for, and what was waited for an answer
//! is remembered. Belongs to a gateway, and so outlives the settings and the client.
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
}

impl Patience {
    /// The least time that is waited.
    #[must_use]
    pub fn least(&self) -> Duration {
        let state = self.state();
        state.doubled.max(state.proven)
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
}
