//! How old a block is closed at, so that the nodes of a fleet do not upload together.
//!
//! Nodes that are restarted together would from then on close their blocks together, once a
//! period, and a gateway with a limit would refuse most of them (`benches/e2e/fleet_model.py` simulates
//! it). So a start's first block is closed sooner, at random; the nodes keep that distance. Blocks that are
//! aligned to the clock end on all nodes at once; there the upload waits, at random.

use std::time::Duration;

/// Periods shorter than this are kept to from the first block on.
const SPREAD_FROM: Duration = Duration::from_secs(10);

/// What part of `period` a start's first block is closed after: from a tenth of it to all of it,
/// at random.
pub(super) fn first_share() -> f64 {
    1.0 - 0.9 * fastrand::f64()
}

/// How old a block is closed at; `share` is 1 for all but the first.
pub(super) fn age_at_seal(period: Duration, share: f64) -> Duration {
    if period < SPREAD_FROM { period } else { period.mul_f64(share.clamp(0.0, 1.0)) }
}

/// The longest that an aligned block waits for its upload.
const WAIT_MOST: Duration = Duration::from_secs(30);

/// How long a block that ended with a window of the clock waits for its upload, at most: a tenth of
/// the period. `share` is random, from 0 to 1.
pub(super) fn wait_after_window(period: Duration, share: f64) -> Duration {
    if period < SPREAD_FROM {
        return Duration::ZERO;
    }
    (period / 10).min(WAIT_MOST).mul_f64(share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{age_at_seal, first_share, wait_after_window};

    #[test]
    fn nodes_that_start_together_close_their_first_blocks_at_different_times() {
        let period = Duration::from_secs(60);
        let ages: Vec<_> = (0..1_000).map(|_| age_at_seal(period, first_share())).collect();
        assert!(ages.iter().all(|age| (period / 10..=period).contains(age)));
        // A thousand nodes, a minute: no second sees more than three times its fair share.
        for second in 6..60 {
            let range = Duration::from_secs(second)..Duration::from_secs(second + 1);
            let here = ages.iter().filter(|age| range.contains(*age)).count();
            assert!(here < 3 * 1_000 / 54, "{here} in second {second}");
        }
    }

    #[test]
    fn an_aligned_block_waits_a_tenth_of_its_period_at_most_and_not_in_a_short_one() {
        let wait =
            |seconds, share| wait_after_window(Duration::from_secs(seconds), share).as_secs();
        assert_eq!([wait(9, 1.0), wait(10, 1.0), wait(60, 0.5), wait(86_400, 1.0)], [0, 1, 3, 30]);
        assert_eq!(wait(3_600, 0.0), 0);
    }

    #[test]
    fn a_short_period_and_every_later_block_are_kept_to() {
        let (short, long) = (Duration::from_secs(9), Duration::from_secs(60));
        assert_eq!(age_at_seal(short, 0.1), short);
        assert_eq!(age_at_seal(long, 1.0), long);
    }
}
