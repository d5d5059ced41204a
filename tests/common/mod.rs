//! Shared by the integration tests.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod clock;
pub mod s3_objects;
pub mod s3_server;
