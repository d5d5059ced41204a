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

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The process, of one test. Each takes it before it does anything.
struct Alone(#[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

impl Alone {
    fn wait() -> Self {
        static PROCESS: Mutex<()> = Mutex::new(());
        Self(PROCESS.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// By how many KiB the process's peak of resident memory grows while `work` runs.
    fn growth(&self, work: impl FnOnce()) -> u64 {
        // The peak becomes what is resident now (proc_pid_clear_refs(5)).
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = peak();
        work();
        // The kernel counts in batches, so that a peak may be a little below the one before it.
        peak().saturating_sub(before)
    }
}

fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn memory_that_is_taken_and_given_back_is_seen() {
    let alone = Alone::wait();
    // Half of it must show and no more than twice as much. A kernel adds up what each processor
    // has counted only now and then, so that a peak of some MiB may be off by 32 pages a processor.
    let grown = alone.growth(|| assert!(vec![1_u8; 64 << 20].iter().all(|byte| *byte == 1)));
    assert!((32 << 10..128 << 10).contains(&grown), "{grown} KiB");
}
