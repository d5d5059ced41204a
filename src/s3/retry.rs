//! From one attempt to a stored block: attempts, waits, and who hears about it.

use std::time::Duration;

use super::backoff::Backoff;
use super::object::PutObject;
use super::outcome::{Action, Answer, Failure, Outcome};
use crate::clock::Clock;

/// What an upload is made of; [`Client`](super::Client) is one, a test brings another.
pub trait Store {
    /// One attempt.
    fn put(&self, object: &PutObject<'_>) -> Answer;
    /// The credentials were not taken: read them again before the next attempt.
    fn reread_credentials(&self);
}

/// How an upload ended.
#[derive(Debug)]
pub enum Finished {
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
    Quarantine(Failure),
    /// `wait` said to stop; the block is kept. The failure is the last one.
    Stopped(Failure),
}

/// Tries until the object is there, is to be set aside, or `wait` says to stop.
///
/// `wait` waits for the given time and returns `false` to stop; so shutdown can interrupt a wait.
/// `notice` hears of every failed attempt with what is done about it and the wait that follows.
pub fn upload(
    store: &dyn Store,
    object: &PutObject<'_>,
    clock: &dyn Clock,
    mut backoff: Backoff,
    wait: &mut dyn FnMut(Duration) -> bool,
    notice: &mut dyn FnMut(&Failure, Action, Duration),
) -> Finished {
    let start = clock.monotonic();
    let mut attempts = 0u32;
    loop {
        let answer = store.put(object);
        attempts = attempts.saturating_add(1);
        let elapsed = clock.monotonic().saturating_sub(start);
        let action = answer.action();
        let already = answer.outcome == Outcome::AlreadyStored;
        let failure =
            Failure { method: "PUT", key: object.key.to_owned(), attempts, elapsed, answer };
        let pause = match action {
            Action::Done => return Finished::Stored { attempts, elapsed, already },
            Action::Retry { after } => backoff.next(after),
            Action::RetryCredentials => {
                store.reread_credentials();
                backoff.at_cap()
            }
            Action::RetryConfiguration => backoff.at_cap(),
            Action::Quarantine => {
                notice(&failure, action, Duration::ZERO);
                return Finished::Quarantine(failure);
            }
        };
        notice(&failure, action, pause);
        if !wait(pause) {
            return Finished::Stopped(failure);
        }
    }
}
