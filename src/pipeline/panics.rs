//! What a thread does that has panicked: it goes on, up to ten times a minute, and says so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::sync::Parker;

use super::Pipeline;
use crate::events::Level;

/// How long a thread rests for each panic but the first.
const REST: Duration = Duration::from_secs(1);

/// Panics after which a thread ends, if less than [`CALM`] is between them.
pub(super) const MOST: u32 = 10;

/// After this time a panic counts as the first.
const CALM: Duration = Duration::from_secs(60);

/// The panics of one thread.
#[derive(Debug, Default)]
pub(super) struct Panics {
    count: u32,
    last: Duration,
}

impl Panics {
    /// One more, at `now`, monotonic. How long the thread rests before it goes on; `None` when it has
    /// to end.
    pub(super) fn note(&mut self, now: Duration) -> Option<Duration> {
        let calm = now.saturating_sub(self.last) > CALM;
        self.count = if calm { 1 } else { self.count + 1 };
        self.last = now;
        (self.count < MOST).then(|| REST.saturating_mul(self.count - 1))
    }
}

/// Has the packer's thread do its `work` until that comes to an end, after a panic and `mend` again.
/// `None` when it has panicked too often, and the pipeline has ended.
pub(super) fn keep_on<S, T>(
    state: &mut S,
    (pipeline, woken): (&Arc<Pipeline>, &Parker),
    work: impl Fn(&mut S) -> T,
    mend: impl Fn(&mut S),
) -> Option<T> {
    let mut panics = Panics::default();
    loop {
        if let Ok(done) = catch_unwind(AssertUnwindSafe(|| work(state))) {
            return Some(done);
        }
        mend(state);
        let Some(rest) = panics.note(pipeline.environment.clock.monotonic()) else { break };
        pipeline.tell(Level::Error, "the packer panicked and goes on; no record is lost");
        woken.park_timeout(rest);
    }
    let text = format!(
        "the packer has panicked {MOST} times and has ended: records are dropped once the ring is \
         full; restart varnishd"
    );
    pipeline.tell(Level::Error, &text);
    while pipeline.draining().is_none() && !pipeline.is_closed() {
        woken.park_timeout(REST);
    }
    pipeline.abandon();
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_ends_after_ten_panics_that_follow_each_other_and_rests_longer_each_time() {
        let mut panics = Panics::default();
        let mut now = Duration::from_secs(1000);
        for count in 0..MOST - 1 {
            assert_eq!(panics.note(now), Some(Duration::from_secs(count.into())));
            now += CALM;
        }
        assert_eq!(panics.note(now), None);
        let mut panics = Panics::default();
        for _ in 0..3 * MOST {
            now += CALM + Duration::from_millis(1);
            assert_eq!(panics.note(now), Some(Duration::ZERO));
        }
    }
}
