//! A stream from `push` to the bucket, with faults, kills and stops.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

mod align;
mod answers;
#[path = "../common/mod.rs"]
mod common;
mod counters;
mod cut;
mod external;
mod faults;
mod kill;
mod life;
mod moves;
mod panics;
mod priority;
mod routes;
mod start;
mod threads;
