//! Memory that does not grow with a block. A program of its own, one test at a time: what is
//! measured is the whole process.
#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
mod s3;
mod seal;

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The process, of one test. Each takes it before it does anything.
struct Alone(#[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

impl Alone {
    fn wait() -> Self {
        static PROCESS: Mutex<()> = Mutex::new(());
        Self(PROCESS.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// By how many KiB the peak of what is allocated grows while `work` runs.
    fn growth(&self, work: impl FnOnce()) -> u64 {
        HEAP.reset_peak_usage();
        let before = HEAP.current_usage();
        work();
        (HEAP.peak_usage().saturating_sub(before) >> 10) as u64
    }
}

#[test]
fn memory_that_is_taken_and_given_back_is_seen() {
    let alone = Alone::wait();
    let grown = alone.growth(|| drop(vec![1_u8; 64 << 20]));
    // The harness has threads of its own, which take some KiB.
    assert!((64 << 10..65 << 10).contains(&grown), "{grown} KiB");
}
