//! What the documentation, the make targets and the packaging files say is true.
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

mod counters;
mod format;
#[cfg(feature = "vmod")]
mod gateways;
mod install;
mod names;
