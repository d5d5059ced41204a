//! Many requests at a time; and what to do about those that fail for a moment.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::s3::{Action, Answer, Outcome};

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

/// Calls `work` for each item on `jobs` threads, which send pieces into a queue of `queue` for each
/// item; and `take` on this thread with the items in their order and what comes out of their queues.
///
/// # Errors
/// Those of `take`, which end it.
pub(in crate::cli) fn in_order<'i, T: Sync, P: Send, E>(
    items: &'i [T],
    jobs: usize,
    queue: usize,
    work: impl Fn(&'i T, &Sender<P>) + Sync,
    mut take: impl FnMut(&'i T, Receiver<P>) -> Result<(), E>,
) -> Result<(), E> {
    let jobs = jobs.clamp(1, items.len().max(1));
    let (tasks, waiting) = bounded::<(&'i T, Sender<P>)>(jobs);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (waiting, work) = (waiting.clone(), &work);
            scope.spawn(move || {
                for (item, send) in waiting {
                    work(item, &send);
                }
            });
        }
        drop(waiting);
        // Owned by this closure: its end tells the threads that there is no more to do.
        let tasks = tasks;
        let mut ahead: VecDeque<(&'i T, Receiver<P>)> = VecDeque::with_capacity(jobs);
        let mut left = items.iter();
        loop {
            while ahead.len() < jobs {
                let Some(item) = left.next() else { break };
                let (send, receive) = bounded(queue);
                if tasks.send((item, send)).is_err() {
                    break;
                }
                ahead.push_back((item, receive));
            }
            let Some((item, pieces)) = ahead.pop_front() else { return Ok(()) };
            take(item, pieces)?;
        }
    })
}

/// Waits before the second, third and fourth attempt.
const PAUSES: [u64; 3] = [200, 600, 1_800];

/// Tries again what may work a moment later. An object that is not there comes no more: what was listed and is gone has
/// been deleted.
///
/// # Errors
/// The last answer.
pub(in crate::cli) fn patiently<T>(
    mut attempt: impl FnMut() -> Result<T, Answer>,
) -> Result<T, Answer> {
    for pause in PAUSES {
        match attempt() {
            Err(answer) if answer.outcome == Outcome::NoObject => return Err(answer),
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

/// How often a connection may break within an object.
const BREAKS: u32 = 4;

/// The connections that broke within an object.
#[derive(Debug, Default)]
pub(in crate::cli) struct Breaks(u32);

impl Breaks {
    /// One more. Whether to connect again: before that it waits, the longer the more there were.
    pub(in crate::cli) fn again(&mut self) -> bool {
        let again = self.0 < BREAKS;
        if again {
            self.0 += 1;
            std::thread::sleep(Duration::from_millis(200 << self.0));
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn pieces_come_in_the_order_of_the_items_and_end_with_whoever_does_not_want_more() {
        let items: Vec<usize> = (0..200).collect();
        let work = |item: &usize, send: &Sender<usize>| {
            for piece in 0..*item % 5 {
                if send.send(piece).is_err() {
                    return;
                }
            }
        };
        let mut seen = Vec::new();
        let done: Result<(), ()> = in_order(&items, 7, 2, work, |item, pieces| {
            assert_eq!(pieces.iter().collect::<Vec<_>>(), (0..*item % 5).collect::<Vec<_>>());
            seen.push(*item);
            Ok(())
        });
        assert_eq!((done, seen), (Ok(()), items.clone()));
        let endless = |_: &usize, send: &Sender<usize>| while send.send(0).is_ok() {};
        let ended =
            in_order(&items, 3, 1, endless, |item, _| if *item < 4 { Ok(()) } else { Err(*item) });
        assert_eq!(ended, Err(4));
    }

    #[test]
    fn what_asks_to_come_back_is_tried_again_and_what_refuses_or_is_gone_is_not() {
        let mut tries = 0;
        let busy = patiently(|| {
            tries += 1;
            if tries < 3 { Err(Answer::local(Outcome::Busy, "")) } else { Ok(tries) }
        });
        assert_eq!(busy, Ok(3));
        for outcome in [Outcome::Refused, Outcome::NoObject] {
            let mut tries = 0;
            let refused: Result<(), _> = patiently(|| {
                tries += 1;
                Err(Answer::local(outcome, ""))
            });
            assert_eq!((refused.unwrap_err().outcome, tries), (outcome, 1));
        }
    }
}
