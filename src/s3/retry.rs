//! The attempts of one block: how many, since when, how long until the next.

use std::time::Duration;

use super::backoff::Backoff;
use super::object::PutObject;
use super::outcome::Answer;
use super::outcome::{Action, Failure, Outcome};
use super::patience::Patience;
use crate::clock::Clock;

/// A block is set aside after so many attempts that found the fault in the block itself.
pub(crate) const CONDEMNED_AFTER: u32 = 3;

/// What an upload is made of; [`Client`](super::Client) is one, a test brings another.
pub trait PutOnce {
    /// One attempt.
    fn put(&self, object: &PutObject<'_>) -> Answer;
    /// The credentials were not taken: read them again before the next attempt.
    fn reread_credentials(&self);
}

/// What one more attempt came to.
#[derive(Debug)]
pub enum Attempted {
    /// The object is there.
    Stored {
        /// Attempts, the successful one among them.
        attempts: u32,
        /// Time from the first attempt to the end.
        elapsed: Duration,
        /// An earlier attempt, perhaps of an earlier process, had stored it.
        already: bool,
    },
    /// Set the block aside and say why.
    Condemned(Failure),
    /// Keep the block, and try again after this time.
    Kept(Failure, Duration),
}

/// The attempts that were made for one block.
#[derive(Debug)]
pub struct Attempts {
    backoff: Backoff,
    attempts: u32,
    /// Those of them that found the fault in the block.
    condemned: u32,
    /// Twice the longest silence that ended one of them.
    patience: Duration,
    /// When the first one began, in monotonic time.
    since: Option<Duration>,
}

impl Attempts {
    /// None yet; the waits come from `backoff`.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, attempts: 0, condemned: 0, patience: Duration::ZERO, since: None }
    }

    /// As if there had been none, with what the gateway has shown of its silences: that goes with the
    /// gateway and not with what was wrong before.
    #[must_use]
    pub(crate) fn anew(&self, backoff: Backoff) -> Self {
        Self { patience: self.patience, ..Self::new(backoff) }
    }

    /// One more attempt. It waits for as long as any before it has shown to be needed, those of the block or those
    /// that `patience` has heard of; or more briefly, see `Patience::begin`.
    pub fn once(
        &mut self,
        store: &dyn PutOnce,
        object: &PutObject<'_>,
        clock: &dyn Clock,
        patience: &Patience,
    ) -> Attempted {
        let since = *self.since.get_or_insert_with(|| clock.monotonic());
        let wait = patience.begin(self.patience);
        let answer = store.put(&PutObject { patience: wait.least(), ..*object });
        wait.heard(&answer);
        drop(wait);
        self.attempts = self.attempts.saturating_add(1);
        if answer.outcome == Outcome::TimedOut {
            self.patience = self.patience.max(answer.silence.saturating_mul(2));
        }
        let (attempts, elapsed) = (self.attempts, clock.monotonic().saturating_sub(since));
        let (action, outcome) = (answer.action(), answer.outcome);
        let failure =
            Failure { method: "PUT", key: object.key.to_owned(), attempts, elapsed, answer };
        let pause = match action {
            Action::Done => {
                let already = outcome == Outcome::AlreadyStored;
                return Attempted::Stored { attempts, elapsed, already };
            }
            Action::Retry { after } => self.backoff.next(after),
            Action::RetryCredentials => {
                store.reread_credentials();
                self.backoff.at_cap()
            }
            Action::RetryConfiguration => self.backoff.at_cap(),
            Action::Quarantine => {
                self.condemned = self.condemned.saturating_add(1);
                if self.condemned >= CONDEMNED_AFTER {
                    return Attempted::Condemned(failure);
                }
                self.backoff.next(failure.answer.retry_after)
            }
        };
        Attempted::Kept(failure, pause)
    }
}
