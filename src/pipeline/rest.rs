//! How long the packer sleeps between two looks at the ring.
//!
//! A look costs some 60 to 80 microseconds of CPU time, most of it the kernel's for the sleep and
//! the wake-up, whether a record is there or not; requests never wake the packer, as that would be
//! a system call on their path. So a look is as rare as the ring allows: what comes in between must
//! find room, also when it comes out of nothing.

use std::time::Duration;

/// The shortest sleep, for a ring that fills fast or is small.
const SHORT: Duration = Duration::from_millis(20);

/// The longest: what is asked of the pipeline without a wake-up waits no longer.
const LONG: Duration = Duration::from_millis(100);

/// The sudden rate that must not fill an empty ring during a sleep, bytes a second: a million
/// lines of some 250 bytes.
const BURST: u64 = 256 << 20;

/// The sleep after a look that found `used` of a ring's `capacity`, both bytes. `due` is how long
/// the open block has left; a pipeline that is `draining` is waited for.
pub(super) fn until_next_look(
    capacity: u64,
    used: u64,
    due: Option<Duration>,
    draining: bool,
) -> Duration {
    let room = Duration::from_micros(capacity.saturating_mul(1_000_000) / BURST);
    let hurry = draining || used > capacity / 4;
    let longest = if hurry { SHORT } else { room.clamp(SHORT, LONG) };
    match due {
        // What is overdue already has met with an obstacle, and is tried again at leisure.
        Some(left) if !left.is_zero() => left.clamp(Duration::from_millis(1), longest),
        _ => longest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_out_of_nothing_finds_room_until_the_next_look() {
        for bits in 16..34 {
            let capacity = 1_u64 << bits;
            let sleep = until_next_look(capacity, 0, None, false);
            assert!((SHORT..=LONG).contains(&sleep), "{capacity}: {sleep:?}");
            let came = sleep.as_micros() * u128::from(BURST) / 1_000_000;
            assert!(sleep == SHORT || came <= u128::from(capacity), "{capacity}: {came}");
        }
        assert_eq!(until_next_look(16 << 20, 0, None, false), Duration::from_micros(62_500));
    }

    #[test]
    fn a_ring_that_fills_or_is_to_be_closed_is_looked_at_sooner() {
        assert_eq!(until_next_look(64 << 20, 17 << 20, None, false), SHORT);
        assert_eq!(until_next_look(64 << 20, 15 << 20, None, false), LONG);
        assert_eq!(until_next_look(64 << 20, 0, None, true), SHORT);
    }

    #[test]
    fn a_block_that_comes_due_is_not_slept_over() {
        let look = |left| until_next_look(64 << 20, 0, Some(left), false);
        let ms = Duration::from_millis;
        assert_eq!(look(ms(30)), ms(30));
        assert_eq!(look(ms(3_000)), LONG);
        // No spinning, neither up to the instant nor after it.
        assert_eq!(look(Duration::from_nanos(1)), ms(1));
        assert_eq!(look(Duration::ZERO), LONG);
    }
}
