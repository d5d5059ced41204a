//! How long the packer sleeps between two looks at the ring.
//!
//! A look costs some 60 to 80 microseconds of CPU time, most of it the kernel's for the sleep and
//! the wake-up, whether a record is there or not; requests never wake the packer, as that would be
//! a system call on their path. So looks are rare while little comes, as rare as the ring's size
//! allows, and frequent once a look has found the ring a quarter full.

use std::time::Duration;

/// The sleep while much comes.
const BUSY: Duration = Duration::from_millis(5);

/// The longest sleep for a small ring.
const SHORT: Duration = Duration::from_millis(20);

/// The longest for a large one: what is asked of the pipeline without a wake-up waits no longer.
const LONG: Duration = Duration::from_millis(100);

/// The sudden rate that an empty ring has room for during the longest sleep, bytes a second: a
/// million lines of some 250 bytes.
const BURST: u64 = 256 << 20;

/// The sleep to come, found from the one before.
#[derive(Debug)]
pub(super) struct Rest(Duration);

impl Rest {
    /// As after a look that found little.
    pub(super) const fn new() -> Self {
        Self(SHORT)
    }

    /// The sleep after a look that found `used` of a ring's `capacity`, both bytes. `due` is how
    /// long the open block has left; a pipeline that is `draining` is waited for.
    pub(super) fn next(
        &mut self,
        capacity: u64,
        used: u64,
        due: Option<Duration>,
        draining: bool,
    ) -> Duration {
        let room = Duration::from_micros(capacity.saturating_mul(1_000_000) / BURST);
        let longest = if draining { SHORT } else { room.clamp(SHORT, LONG) };
        self.0 = if used > capacity / 4 { BUSY } else { longest.min(self.0.saturating_mul(2)) };
        match due {
            // What is overdue already has met with an obstacle, and is tried again at leisure.
            Some(left) if !left.is_zero() => self.0.min(left.max(Duration::from_millis(1))),
            _ => self.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// One that has found nothing for a while.
    fn quiet(capacity: u64) -> Rest {
        let mut rest = Rest::new();
        for _ in 0..9 {
            rest.next(capacity, 0, None, false);
        }
        rest
    }

    #[test]
    fn a_burst_out_of_nothing_finds_room_until_the_next_look() {
        for bits in 16..34 {
            let capacity = 1_u64 << bits;
            let sleep = quiet(capacity).next(capacity, 0, None, false);
            assert!((SHORT..=LONG).contains(&sleep), "{capacity}: {sleep:?}");
            let came = sleep.as_micros() * u128::from(BURST) / 1_000_000;
            assert!(sleep == SHORT || came <= u128::from(capacity), "{capacity}: {came}");
        }
        assert_eq!(quiet(16 * MIB).next(16 * MIB, 0, None, false), Duration::from_micros(62_500));
    }

    #[test]
    fn a_ring_that_fills_is_looked_at_at_once_and_ever_more_rarely_afterwards() {
        let mut rest = quiet(64 * MIB);
        let sleeps: Vec<_> = [15, 17, 40, 15, 1, 0, 0, 0, 0]
            .map(|used| rest.next(64 * MIB, used * MIB, None, false).as_millis())
            .into();
        assert_eq!(sleeps, [100, 5, 5, 10, 20, 40, 80, 100, 100]);
    }

    #[test]
    fn a_pipeline_that_is_to_be_closed_is_looked_at_sooner() {
        assert_eq!(quiet(64 * MIB).next(64 * MIB, 0, None, true), SHORT);
    }

    #[test]
    fn a_block_that_comes_due_is_not_slept_over() {
        let look = |left| quiet(64 * MIB).next(64 * MIB, 0, Some(left), false);
        assert_eq!(look(ms(30)), ms(30));
        assert_eq!(look(ms(3_000)), LONG);
        // No spinning, neither up to the instant nor after it.
        assert_eq!(look(Duration::from_nanos(1)), ms(1));
        assert_eq!(look(Duration::ZERO), LONG);
    }
}
