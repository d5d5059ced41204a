//! At most one request an interval, for gateways that count.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Lets requests through one by one, `interval` apart, whichever thread they come from.
#[derive(Debug)]
pub(in crate::s3) struct Pace {
    interval: Duration,
    /// Monotonic time of the next free place.
    next: Mutex<Duration>,
}

impl Pace {
    /// No limit when `interval` is zero.
    pub(in crate::s3) fn new(interval: Duration) -> Self {
        Self { interval, next: Mutex::new(Duration::ZERO) }
    }

    /// Waits for this request's turn; it takes `cost` places.
    pub(in crate::s3) fn wait(&self, clock: &dyn Clock, cost: u32) {
        if self.interval.is_zero() {
            return;
        }
        let now = clock.monotonic();
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(now);
            *next = turn.saturating_add(self.interval.saturating_mul(cost));
            turn
        };
        if turn > now {
            clock.sleep(turn - now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time that only sleeping moves.
    #[derive(Default)]
    struct Still(Mutex<Duration>);

    impl Clock for Still {
        fn unix(&self) -> Duration {
            self.monotonic()
        }
        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
        fn sleep(&self, duration: Duration) {
            *self.0.lock().unwrap() += duration;
        }
    }

    #[test]
    fn a_hundred_requests_at_20_ms_take_two_seconds_and_without_a_limit_none() {
        for (interval, total) in [(20, 1980), (0, 0)] {
            let clock = Still::default();
            let pace = Pace::new(Duration::from_millis(interval));
            (0..100).for_each(|_| pace.wait(&clock, 1));
            assert_eq!(clock.monotonic(), Duration::from_millis(total));
        }
    }

    #[test]
    fn a_request_that_costs_four_keeps_the_next_one_waiting_as_long_as_four() {
        let clock = Still::default();
        let pace = Pace::new(Duration::from_millis(20));
        (0..10).for_each(|_| pace.wait(&clock, 4));
        assert_eq!(clock.monotonic(), Duration::from_millis(9 * 80));
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let clock = Still::default();
        let pace = Pace::new(Duration::from_millis(20));
        clock.sleep(Duration::from_secs(10));
        pace.wait(&clock, 1);
        pace.wait(&clock, 1);
        assert_eq!(clock.monotonic(), Duration::from_millis(10_020));
    }
}
