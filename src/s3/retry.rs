//! From one attempt to a stored block: attempts, waits, and who hears about it.

use std::time::Duration;

use super::backoff::Backoff;
use super::outcome::{Action, Answer, Failure, Outcome};
use super::put::PutObject;
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
/// `notice` hears of every failed attempt with what is done about it and the wait that follows;
/// see [`Quiet`] for saying it once a minute.
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

/// Says each kind of failure once a minute, and how often it was not said.
#[derive(Debug, Default)]
pub struct Quiet {
    /// Each outcome that was said: when, and how many like it were held back since.
    said: Vec<(Outcome, Duration, u64)>,
}

impl Quiet {
    /// How long an outcome is silent after it was said.
    pub const INTERVAL: Duration = Duration::from_secs(60);

    /// `Some(n)`: say it at monotonic time `now`; `n` like it were held back since the last time.
    /// `None`: be quiet.
    pub fn say(&mut self, outcome: Outcome, now: Duration) -> Option<u64> {
        let Some((_, at, held_back)) = self.said.iter_mut().find(|said| said.0 == outcome) else {
            self.said.push((outcome, now, 0));
            return Some(0);
        };
        if now.saturating_sub(*at) < Self::INTERVAL {
            *held_back += 1;
            return None;
        }
        *at = now;
        Some(std::mem::take(held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_is_said_once_a_minute_with_the_number_of_those_held_back() {
        let mut quiet = Quiet::default();
        let mut said = Vec::new();
        for second in 0..180 {
            let outcome = if second % 2 == 0 { Outcome::Busy } else { Outcome::TimedOut };
            if let Some(held_back) = quiet.say(outcome, Duration::from_secs(second)) {
                said.push((second, held_back));
            }
        }
        assert_eq!(said, [(0, 0), (1, 0), (60, 29), (61, 29), (120, 29), (121, 29)]);
    }
}
