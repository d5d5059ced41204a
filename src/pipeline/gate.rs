//! When the uploaders of a stream may ask the gateway at all.
//!
//! A block that fails waits its own time, and the others go on. What would fail every block alike
//! shuts the gate: no way to the gateway, no credentials, no bucket, or so many failures in a row
//! that it makes no difference which block it was. A shut gate lets one attempt through at a time,
//! with a backoff of its own, and whatever is stored opens it. So an outage costs one request in 30
//! seconds, however many blocks and uploaders wait; and it is the turn of the block that was not tried
//! for longest, for the oldest may be what fails. A gateway that may only be slow is waited for ever longer,
//! and one that hung may work again meanwhile: beside an attempt that takes long there is a second one. One of
//! them is brief, see [`Patience`](crate::s3::Patience).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::s3::Backoff;

/// How long nobody asks again while a probe is under way, which may take as long as a time-out.
const PROBED: Duration = Duration::from_millis(100);

/// How long a probe is the only one: somewhat longer than a first wait, unless `timeout` is set.
const ALONE: Duration = Duration::from_secs(100);

/// Failures in a row, of any blocks, that mean the gateway and not the blocks.
const STREAK: u32 = 4;
/// The longest `Retry-After` that holds for all blocks; the block that was given it waits longer.
const LONGEST: Duration = Duration::from_secs(30);

/// Shared by the uploaders of one stream. Times are monotonic.
#[derive(Debug)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug)]
struct State {
    backoff: Backoff,
    shut: bool,
    /// Nobody asks before this, when it is shut.
    until: Duration,
    /// Failures since the last success.
    streak: u32,
    /// Who asks whether it works again, by number, and since when.
    probe: Option<(u64, Duration)>,
    /// Who asks beside a probe that takes long.
    second: Option<u64>,
    /// The number of the next probe.
    next: u64,
    /// Goes up with each change of settings: an attempt with those before tells nothing of these.
    era: u64,
}

impl State {
    fn open() -> Self {
        Self {
            backoff: Backoff::new(fastrand::Rng::new()),
            shut: false,
            until: Duration::ZERO,
            streak: 0,
            probe: None,
            second: None,
            next: 0,
            era: 0,
        }
    }

    /// Opens it; attempts that are under way stay known.
    fn reopen(&mut self) {
        *self = Self { next: self.next, era: self.era, ..Self::open() };
    }

    /// An attempt is over.
    fn end(&mut self, pass: &Pass) {
        let Some(number) = pass.probe else { return };
        self.probe = self.probe.filter(|(probe, _)| *probe != number);
        self.second = self.second.filter(|second| *second != number);
    }
}

/// Leave for one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pass {
    probe: Option<u64>,
    era: u64,
}

impl Pass {
    /// Whether it is the only one: then each block has its turn, for the oldest may be what fails.
    pub(super) fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed {
    /// Every other block would have failed alike.
    pub(super) everyones: bool,
    /// Only an operator can correct it.
    pub(super) operators: bool,
    /// The server's `Retry-After`.
    pub(super) after: Option<Duration>,
}

impl Default for Gate {
    fn default() -> Self {
        Self(Mutex::new(State::open()))
    }
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every update leaves the state whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave for one attempt, to be handed to one of the methods below; or the time to ask again.
    pub(super) fn enter(&self, now: Duration) -> Result<Pass, Duration> {
        let mut state = self.state();
        let era = state.era;
        if !state.shut {
            return Ok(Pass { probe: None, era });
        }
        if now < state.until {
            return Err(state.until);
        }
        let number = state.next;
        match state.probe {
            None => state.probe = Some((number, now)),
            Some((_, since)) if state.second.is_none() && now >= since.saturating_add(ALONE) => {
                state.second = Some(number);
            }
            Some(_) => return Err(now.saturating_add(PROBED)),
        }
        state.next += 1;
        Ok(Pass { probe: Some(number), era })
    }

    /// No attempt was made, or it told nothing of the gateway.
    pub(super) fn unused(&self, pass: Pass) {
        self.state().end(&pass);
    }

    /// The gateway works.
    pub(super) fn works(&self, pass: Pass) {
        let mut state = self.state();
        state.end(&pass);
        if pass.era == state.era {
            state.reopen();
        }
    }

    /// The attempt failed.
    pub(super) fn failed(&self, pass: Pass, failed: Failed, now: Duration) {
        let mut state = self.state();
        state.end(&pass);
        if pass.era != state.era {
            return;
        }
        state.streak = state.streak.saturating_add(1);
        if !failed.everyones && state.streak < STREAK {
            return;
        }
        state.shut = true;
        // A streak may be the blocks' own, and then the next one works.
        let wait = if failed.operators && failed.everyones {
            state.backoff.at_cap()
        } else {
            state.backoff.next(failed.after.map(|after| after.min(LONGEST)))
        };
        state.until = state.until.max(now.saturating_add(wait));
    }

    /// Other settings are in force.
    pub(super) fn open(&self) {
        let mut state = self.state();
        state.reopen();
        state.era += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);
    const FAILED: Failed = Failed { everyones: false, operators: false, after: None };

    #[test]
    fn some_blocks_that_fail_do_not_hold_the_others() {
        let gate = Gate::default();
        for _ in 0..100 {
            for _ in 0..STREAK - 1 {
                let pass = gate.enter(PAUSE).unwrap();
                gate.failed(pass, FAILED, PAUSE);
            }
            let pass = gate.enter(PAUSE).unwrap();
            gate.works(pass);
        }
    }

    #[test]
    fn what_every_block_would_hear_is_asked_one_at_a_time_and_ever_less_often() {
        let gate = Gate::default();
        let failed = Failed { everyones: true, ..FAILED };
        let (mut now, mut asked) = (Duration::ZERO, 0);
        while now < Duration::from_secs(3600) {
            match gate.enter(now) {
                Ok(pass) => {
                    asked += 1;
                    // A second one is not let in, and need not ask again at once.
                    assert!(asked == 1 || gate.enter(now).unwrap_err() > now);
                    gate.failed(pass, failed, now);
                }
                Err(until) => now = until,
            }
        }
        // Full jitter below 30 s: 15 s on average.
        assert!((150..=400).contains(&asked), "{asked}");
        let pass = gate.enter(Duration::MAX).unwrap();
        gate.works(pass);
        assert!(!gate.enter(Duration::ZERO).unwrap().is_probe());
    }

    #[test]
    fn an_attempt_with_the_settings_before_says_nothing_of_those_in_force() {
        let gate = Gate::default();
        let failed = Failed { everyones: true, operators: true, ..FAILED };
        let pass = gate.enter(PAUSE).unwrap();
        gate.failed(pass, failed, PAUSE);
        let later = PAUSE + Duration::from_secs(60);
        let slow = gate.enter(later).unwrap();
        assert!(slow.is_probe());
        // The credentials are corrected while it waits for its answer.
        gate.open();
        gate.failed(slow, failed, later);
        assert!(!gate.enter(later).unwrap().is_probe(), "the gate is open");
    }

    #[test]
    fn the_end_of_an_earlier_probe_does_not_let_a_second_one_in() {
        let gate = Gate::default();
        let failed = Failed { everyones: true, ..FAILED };
        let at = |minutes: u32| Duration::from_secs(60) * minutes;
        gate.failed(gate.enter(at(0)).unwrap(), failed, at(0));
        let before = gate.enter(at(1)).unwrap();
        gate.open();
        gate.failed(gate.enter(at(1)).unwrap(), failed, at(1));
        let probe = gate.enter(at(2)).unwrap();
        assert!(probe.is_probe());
        gate.failed(before, failed, at(2));
        assert!(gate.enter(at(3)).is_err(), "one asks already");
        gate.unused(probe);
        assert!(gate.enter(at(3)).unwrap().is_probe());
    }

    #[test]
    fn beside_a_probe_that_takes_long_a_second_one_asks_and_no_third() {
        let gate = Gate::default();
        let failed = Failed { everyones: true, ..FAILED };
        let minute = PAUSE * 60;
        gate.failed(gate.enter(PAUSE).unwrap(), failed, PAUSE);
        let long = gate.enter(minute).unwrap();
        assert!(gate.enter(minute + ALONE - PAUSE).is_err());
        let second = gate.enter(minute + ALONE).unwrap();
        assert!(second.is_probe());
        assert!(gate.enter(minute * 60).is_err(), "two ask already");
        gate.failed(second, failed, minute * 60);
        let second = gate.enter(minute * 61).unwrap();
        gate.failed(long, failed, minute * 61);
        assert!(gate.enter(minute * 62).unwrap().is_probe());
        assert!(gate.enter(minute * 65).is_err(), "two ask again");
        gate.works(second);
        assert!(!gate.enter(minute * 65).unwrap().is_probe());
    }
}
