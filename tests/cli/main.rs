//! The command `s3log`, run as a program.
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

mod built_for;
#[path = "../common/mod.rs"]
mod common;
mod compact;
mod compact_tampering;
mod credentials;
mod doctor;
mod hostile;
mod init;
mod listing;
mod node;
mod read;
mod requeue;
mod ship;
mod sizes;
mod terminal;
mod top;
mod verify;
mod verify_chains;
mod verify_checkpoint;
mod verify_names;
