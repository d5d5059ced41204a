//! Encryption, signatures and the chain, read back by other programs.
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

mod age;
mod chain;
#[path = "../common/mod.rs"]
mod common;
mod gpg;
mod guard;
mod minisign;
mod spool;
mod unreadable;
