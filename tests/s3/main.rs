//! The client against servers: right ones, wrong ones, proxies, TLS and every gateway at hand.
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
mod credentials;
mod failures;
mod gateway;
mod profiles;
mod proxy;
mod requests;
mod server;
mod tls;
