//! Time as an argument, so that a test can hold it still or run it fast.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the threads behind the ring ask for the time.
///
/// The request path never asks: there Varnish has read the clock already.
pub trait Clock: Send + Sync {
    /// Wall-clock time since 1970-01-01T00:00:00Z; zero for a clock set before that.
    fn unix(&self) -> Duration;
    /// Time that never runs backwards, from an arbitrary start.
    fn monotonic(&self) -> Duration;
    /// Returns after `duration` of this clock's time.
    fn sleep(&self, duration: Duration);
}

/// A duration as files and metadata have times, in nanoseconds; what is longer than 584 years is
/// the most that a number holds.
#[must_use]
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct System {
    start: Instant,
}

impl System {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for System {
    fn unix(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}
