//! Keeps credentials until they are due, changed or refused.
//!
//! - Refreshed five minutes ahead of their expiry, by one thread; the others go on with what is
//!   there while it is good.
//! - Read again when their file's stamp changes (looked at once a second at most), and when a
//!   server refused them (at most once a second).
//! - A source that is down is asked again after a backoff of 1 s, doubling to 60 s; until then the
//!   last error is the answer, or the old credentials while they last.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::types::{Credentials, CredentialsError, Ending, Provider, Stamp};

/// A person hears this long before that something ends that only a person can renew.
const NOTICE: Duration = Duration::from_secs(30 * 60);
/// Credentials are replaced this long before they expire.
const AHEAD: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_secs(1);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// A chain of providers with memory. Share it: all threads of a stream use one.
#[derive(Debug)]
pub struct Cache {
    providers: Vec<Box<dyn Provider>>,
    state: Mutex<State>,
    /// Held while a provider is asked, so that only one thread asks.
    asking: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Credentials>,
    error: Option<CredentialsError>,
    stamps: Vec<Option<Stamp>>,
    looked: Duration,
    /// No provider is asked before this Unix time.
    not_before: Duration,
    failures: u32,
    refused: bool,
    /// The end that was last told.
    told: Option<Duration>,
}

impl Cache {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(providers: Vec<Box<dyn Provider>>) -> Self {
        Self { providers, state: Mutex::default(), asking: Mutex::default() }
    }

    /// Credentials good at Unix time `now`. Blocks only while there are none that are.
    ///
    /// # Errors
    /// Why there are none.
    pub fn get(&self, now: Duration) -> Result<Credentials, CredentialsError> {
        if let Some(answer) = self.ready(now) {
            return answer;
        }
        let _asking = match self.asking.try_lock() {
            Ok(guard) => guard,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => {
                if let Some(good) = self.still_good(now) {
                    return Ok(good);
                }
                let guard = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(answer) = self.ready(now) {
                    return answer;
                }
                guard
            }
        };
        self.ask(now)
    }

    /// Credentials good at Unix time `now`, or that they will come from somebody who is not asked here:
    /// who waits for a load must not wait for a network.
    ///
    /// # Errors
    /// Why there are none.
    pub fn check(&self, now: Duration) -> Result<(), CredentialsError> {
        for provider in &self.providers {
            if !provider.check(now)? {
                return Ok(());
            }
        }
        self.get(now).map(|_| ())
    }

    /// What a person should do soon, so that the source does not end: once for each end. Asks the source
    /// before, whose end may have been put off where no stamp tells it.
    pub(crate) fn notice(&self, now: Duration) -> Option<String> {
        self.ending_soon(now)?;
        if let Ok(_asking) = self.asking.try_lock() {
            let _ = self.ask(now);
        }
        let ending = self.ending_soon(now)?;
        self.state().told = Some(ending.at);
        Some(ending.text)
    }

    /// The end that is near and was not told yet.
    fn ending_soon(&self, now: Duration) -> Option<Ending> {
        let state = self.state();
        let ending = state.current.as_ref()?.source_ending()?;
        let near = now + NOTICE >= ending.at && state.told != Some(ending.at);
        near.then(|| ending.clone())
    }

    /// What the server said no to is read again on the next [`get`](Self::get).
    pub fn refused(&self) {
        self.state().refused = true;
    }

    /// The answer that needs no provider, if there is one.
    fn ready(&self, now: Duration) -> Option<Result<Credentials, CredentialsError>> {
        // File stamps cost a stat each: taken outside the lock.
        let look = {
            let state = self.state();
            now.saturating_sub(state.looked) >= LOOK || now < state.looked
        };
        let stamps = look.then(|| self.stamps());
        let mut state = self.state();
        if let Some(stamps) = stamps {
            state.looked = now;
            if state.stamps != stamps {
                state.not_before = Duration::ZERO;
                return None;
            }
            if state.refused {
                state.refused = false;
                return None;
            }
        }
        // One that is longer was counted by a clock that was ahead and has been set back.
        let left = state.not_before.saturating_sub(now);
        let waiting = !left.is_zero() && left <= LONGEST_BACKOFF;
        match (&state.current, &state.error) {
            (Some(current), _) if !due(current, now, AHEAD) => Some(Ok(current.clone())),
            (Some(current), _) if waiting && !due(current, now, Duration::ZERO) => {
                Some(Ok(current.clone()))
            }
            (_, Some(error)) if waiting => Some(Err(error.clone())),
            _ => None,
        }
    }

    fn still_good(&self, now: Duration) -> Option<Credentials> {
        self.state().current.clone().filter(|current| !due(current, now, Duration::ZERO))
    }

    fn ask(&self, now: Duration) -> Result<Credentials, CredentialsError> {
        // Taken before reading: a change in between is seen the next time.
        let stamps = self.stamps();
        let found = self.providers.iter().find_map(|provider| provider.load(now).transpose());
        let found = found.unwrap_or_else(|| Err(CredentialsError::None(self.names().join(", "))));
        let mut state = self.state();
        state.stamps = stamps;
        state.looked = now;
        match found {
            Ok(credentials) => {
                state.failures = 0;
                state.error = None;
                // A source that only has what expires soon is not asked in a loop.
                state.not_before =
                    if due(&credentials, now, AHEAD) { now + FIRST_BACKOFF } else { now };
                state.current = Some(credentials.clone());
                if due(&credentials, now, Duration::ZERO) {
                    let error = CredentialsError::Broken {
                        place: credentials.source().to_owned(),
                        reason: "they have expired; renew them at their source".to_owned(),
                    };
                    state.error = Some(error.clone());
                    return Err(error);
                }
                Ok(credentials)
            }
            Err(error) => {
                let backoff = FIRST_BACKOFF * 2u32.saturating_pow(state.failures.min(6));
                state.failures = state.failures.saturating_add(1);
                state.not_before = now + backoff.min(LONGEST_BACKOFF);
                state.error = Some(error.clone());
                match &state.current {
                    // Down is not gone, and what was lent until a time is good until then. A file
                    // that is there and broken has been changed by somebody.
                    Some(old)
                        if (matches!(error, CredentialsError::Down { .. })
                            || old.expires().is_some())
                            && !due(old, now, Duration::ZERO) =>
                    {
                        Ok(old.clone())
                    }
                    _ => {
                        state.current = None;
                        Err(error)
                    }
                }
            }
        }
    }

    /// Those that have expired by our clock, where they have not by `theirs`, or nobody else's clock is
    /// known yet: ours may be ahead of everybody's.
    #[must_use]
    pub(crate) fn lapsed(&self, theirs: Option<Duration>) -> Option<Credentials> {
        let current = self.state().current.clone()?;
        theirs.is_none_or(|now| !due(&current, now, Duration::ZERO)).then_some(current)
    }

    /// Whether a file was changed since it was read.
    #[must_use]
    pub(crate) fn is_outdated(&self) -> bool {
        let stamps = self.stamps();
        let state = self.state();
        !state.stamps.is_empty() && state.stamps != stamps
    }

    /// Changes when what any provider has read changes.
    #[must_use]
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::of(self.providers.iter().filter_map(|provider| provider.stamp()))
    }

    /// The providers' names in their order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.providers.iter().map(|provider| provider.name()).collect()
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.providers.iter().map(|provider| provider.stamp()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every update leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn due(credentials: &Credentials, now: Duration, ahead: Duration) -> bool {
    credentials.expires().is_some_and(|at| now + ahead >= at)
}
