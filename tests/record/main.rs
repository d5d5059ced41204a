//! Lines against varnishncsa, and properties of every format and escape.
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

mod oracle;
mod properties;
mod settled;
mod unjson;
