//! The spool on a disk, on a simulated one that fails, and across releases.
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

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod faults;
mod model;
mod moved;
mod one_member;
mod quarantine;
mod ship;
mod unreadable;
mod upgrade;
