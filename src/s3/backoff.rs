//! How long to wait before the next attempt.
//!
//! Attempt n (from 0) waits a uniformly random time between 0 and `min(30 s, 100 ms * 2^n)`: full
//! jitter, which spreads many hosts after an outage better than a fixed schedule does
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>). What only an
//! operator can mend is tried again after 15 to 30 s. `Retry-After` is a lower bound, up to five
//! minutes, so that a broken header cannot park a block for days.

use std::time::Duration;

/// The first attempt's longest wait.
pub const FIRST: Duration = Duration::from_millis(100);
/// The longest wait that we choose ourselves.
pub const CAP: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that is obeyed.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The waits of one block. Its randomness is seeded, so a test knows every wait.
#[derive(Debug)]
pub struct Backoff {
    random: fastrand::Rng,
    failures: u32,
}

impl Backoff {
    /// Waits from `random`.
    #[must_use]
    pub fn new(random: fastrand::Rng) -> Self {
        Self { random, failures: 0 }
    }

    /// The longest wait that comes next.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        FIRST.saturating_mul(2u32.saturating_pow(self.failures)).min(CAP)
    }

    /// The wait after one more failure.
    pub fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let jitter = self.up_to(self.ceiling());
        self.failures = self.failures.saturating_add(1);
        jitter.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }

    /// The wait for what only an operator can mend.
    pub(crate) fn at_cap(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        CAP / 2 + self.up_to(CAP / 2)
    }

    fn up_to(&mut self, ceiling: Duration) -> Duration {
        let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.random.u64(0..=micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_from_100_ms_to_30_s() {
        let mut backoff = Backoff::new(fastrand::Rng::with_seed(1));
        let mut ceilings = Vec::new();
        for _ in 0..12 {
            ceilings.push(backoff.ceiling().as_millis());
            let ceiling = backoff.ceiling();
            assert!(backoff.next(None) <= ceiling);
        }
        assert_eq!(
            ceilings,
            [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000]
        );
    }

    #[test]
    fn the_jitter_is_full_and_differs_from_host_to_host() {
        let waits = |seed| {
            let mut backoff = Backoff::new(fastrand::Rng::with_seed(seed));
            (0..200).map(|_| backoff.next(None)).collect::<Vec<_>>()
        };
        let one = waits(1);
        assert_eq!(one, waits(1));
        assert_ne!(one, waits(2));
        let late = one.iter().skip(10);
        let mean = late.clone().sum::<Duration>() / u32::try_from(late.len()).unwrap();
        assert!((12.0..18.0).contains(&mean.as_secs_f64()), "{mean:?}");
        assert!(one.iter().skip(10).any(|w| *w < Duration::from_secs(3)));
    }

    #[test]
    fn retry_after_is_a_lower_bound_of_at_most_five_minutes() {
        let mut backoff = Backoff::new(fastrand::Rng::with_seed(1));
        assert_eq!(backoff.next(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(backoff.next(Some(Duration::MAX)), LONGEST_RETRY_AFTER);
    }

    #[test]
    fn what_an_operator_must_mend_waits_15_to_30_s_from_the_first_time() {
        let mut backoff = Backoff::new(fastrand::Rng::with_seed(1));
        for _ in 0..100 {
            let wait = backoff.at_cap();
            assert!(wait >= CAP / 2 && wait <= CAP, "{wait:?}");
        }
    }
}
