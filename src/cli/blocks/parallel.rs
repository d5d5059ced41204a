//! Many requests at a time; and what to do about those that fail for a moment.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::s3::{Action, Answer};

/// Calls `work` for each item on `jobs` threads, and `done` on this thread with the item's place
/// and the result, in the order in which they end. `done` may stop the rest.
pub(in crate::cli) fn each<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    work: impl Fn(&T) -> R + Sync,
    mut done: impl FnMut(usize, R) -> ControlFlow<()>,
) {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let (send, receive) = crossbeam_channel::bounded(jobs.max(1) * 2);
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            let send = send.clone();
            let (next, stop, work) = (&next, &stop, &work);
            scope.spawn(move || {
                // Relaxed: each place is taken once by the addition itself; `stop` is only a hint.
                while !stop.load(Ordering::Relaxed) {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else { return };
                    if send.send((place, work(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let receive = receive;
        for (place, result) in &receive {
            if done(place, result).is_break() {
                stop.store(true, Ordering::Relaxed);
                break;
            }
        }
        // Threads that still send see that nobody listens.
        drop(receive);
    });
}

/// Waits before the second, third and fourth attempt.
const PAUSES: [u64; 3] = [200, 600, 1_800];

/// Tries again what may work a moment later.
///
/// # Errors
/// The last answer.
pub(in crate::cli) fn patiently<T>(
    mut attempt: impl FnMut() -> Result<T, Answer>,
) -> Result<T, Answer> {
    for pause in PAUSES {
        match attempt() {
            Err(answer) if matches!(answer.action(), Action::Retry { .. }) => {
                let asked = answer.retry_after.unwrap_or_default();
                let pause = Duration::from_millis(pause).max(asked);
                std::thread::sleep(pause.min(Duration::from_secs(10)));
            }
            done => return done,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::Outcome;

    #[test]
    fn every_item_is_worked_on_once() {
        let items: Vec<usize> = (0..500).collect();
        let mut seen = vec![0; 500];
        each(
            &items,
            7,
            |item| item * 2,
            |place, result| {
                assert_eq!(result, place * 2);
                seen[place] += 1;
                ControlFlow::Continue(())
            },
        );
        assert!(seen.iter().all(|count| *count == 1));
    }

    #[test]
    fn the_rest_is_left_when_it_is_told_to_stop() {
        let items: Vec<usize> = (0..100_000).collect();
        let worked = AtomicUsize::new(0);
        let count = |_: &usize| worked.fetch_add(1, Ordering::Relaxed);
        each(&items, 3, count, |_, _| ControlFlow::Break(()));
        assert!(worked.load(Ordering::Relaxed) < 100);
    }

    #[test]
    fn what_asks_to_come_back_is_tried_again_and_what_refuses_is_not() {
        let mut tries = 0;
        let busy = patiently(|| {
            tries += 1;
            if tries < 3 { Err(Answer::local(Outcome::Busy, "")) } else { Ok(tries) }
        });
        assert_eq!(busy, Ok(3));
        let mut tries = 0;
        let refused: Result<(), _> = patiently(|| {
            tries += 1;
            Err(Answer::local(Outcome::Refused, ""))
        });
        assert!(refused.is_err());
        assert_eq!(tries, 1);
    }
}
