//! What a VCL leaves while a task still has a part of it: it is freed by a thread of ours.
//!
//! A value that is carried past a switch to another VCL has a reference to its stream, and before Varnish 6.2
//! each value of a request has one ([`FRAGMENTS_TAKE_THE_VCL`](super::version::FRAGMENTS_TAKE_THE_VCL)). Were that
//! the last one, the worker that finishes the task would free the stream, which takes the registry's lock
//! and reads the spool. So the VCL's own reference waits here until no task has one.
//!
//! Limits: a reference waits up to [`LOOK`] longer than it has to. Where no thread can be started, it
//! waits until another VCL is discarded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::thread;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// References that wait until they are the last ones.
pub(super) struct Late<T>(Mutex<Waiting<T>>);

struct Waiting<T> {
    all: Vec<Arc<T>>,
    /// A thread looks after them.
    attended: bool,
}

impl<T: Send + Sync> Late<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Waiting { all: Vec::new(), attended: false }))
    }

    /// Is told by the owner of `shared`, at its end, that no task takes a reference any more.
    pub(super) fn leave(&'static self, shared: &Arc<T>) {
        // With the owner's alone, its own end frees it, on this thread.
        if Arc::strong_count(shared) == 1 {
            return;
        }
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.all.push(Arc::clone(shared));
        if !waiting.attended {
            waiting.attended = thread::spawn("s3log-late", || self.attend()).is_ok();
        }
    }

    fn attend(&self) {
        loop {
            std::thread::sleep(LOOK);
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let last: Vec<_> =
                waiting.all.extract_if(.., |one| Arc::strong_count(one) == 1).collect();
            waiting.attended = !waiting.all.is_empty();
            let attended = waiting.attended;
            drop(waiting);
            // One that panics at its end leaves the others attended.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(last)));
            if !attended {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Says which thread frees it.
    struct Told(Sender<Option<String>>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(std::thread::current().name().map(str::to_owned));
        }
    }

    /// Panics where it is freed.
    struct Sour;

    impl Drop for Sour {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }

    #[test]
    fn one_that_panics_where_it_is_freed_does_not_keep_the_next_one_from_being_freed() {
        enum Any {
            Sour(#[allow(dead_code)] Sour),
            Told(#[allow(dead_code)] Told),
        }
        static LATE: Late<Any> = Late::new();
        let (told, freed) = channel();
        let leave = |one: Any| {
            let shared = Arc::new(one);
            let of_a_task = Arc::clone(&shared);
            LATE.leave(&shared);
            drop(shared);
            of_a_task
        };
        let [sour, told] = [Any::Sour(Sour), Any::Told(Told(told))].map(leave);
        let watch = Arc::downgrade(&sour);
        drop(sour);
        while watch.strong_count() > 0 {
            std::thread::sleep(LOOK);
        }
        drop(told);
        let name = freed.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(name.as_deref(), Some("s3log-late"));
    }

    #[test]
    fn what_a_task_has_the_last_reference_to_is_freed_by_a_thread_of_ours() {
        static LATE: Late<Told> = Late::new();
        let (told, freed) = channel();
        for _ in 0..2 {
            let shared = Arc::new(Told(told.clone()));
            let of_a_task = Arc::clone(&shared);
            LATE.leave(&shared);
            drop(shared);
            // The worker lets go after the VCL has.
            drop(of_a_task);
            let name = freed.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(name.as_deref(), Some("s3log-late"));
        }

        let shared = Arc::new(Told(told));
        LATE.leave(&shared);
        drop(shared);
        assert_eq!(freed.try_recv().unwrap().as_deref(), std::thread::current().name());
    }
}
