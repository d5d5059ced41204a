//! Shared by the integration tests.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests; and each test program uses its own part"
)]

pub mod answering;
pub mod clock;
pub mod cut_off;
pub mod fake;
pub mod gate;
pub mod kept;
pub mod logs;
pub mod moods;
pub mod ports;
pub mod profiles;
pub mod proxy;
pub mod s3_objects;
pub mod s3_server;
pub mod sim;
pub mod stream;
