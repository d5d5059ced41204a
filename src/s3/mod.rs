//! Sealed blocks into a bucket: signed PUTs, retried until the object is there.
//!
//! Knows S3's REST protocol, credentials and failures; nothing of spool, pipeline or Varnish.
//!
//! | file | what |
//! |---|---|
//! | [`endpoint`] | scheme, host, bucket: the URL of a key |
//! | [`credentials`] | where the access key comes from |
//! | [`sign`] | Signature Version 4 |
//! | [`object`] | an object, its options, and what a kind of gateway accepts |
//! | `http/` | one HTTP exchange, and the way there; knows nothing of S3 |
//! | [`wire`] | texts: XML, dates, encodings |
//! | [`client`] | one attempt, bounded in bytes and time, classified |
//! | [`read`] | HEAD, GET and listings |
//! | `delete` | DELETE |
//! | `put`, `confirm`, `etag` | one attempt to store a block, and the proof that it is stored |
//! | [`outcome`] | the closed set of outcomes and what is done about each |
//! | `classify`, `advice` | an answer's outcome, and what an operator does next |
//! | `learnt` | what a gateway's answers have shown of it |
//! | [`backoff`], [`retry`] | attempts until the object is there |
//! | `patience` | how long a gateway that says nothing is waited for |
//!
//! Non-goals: multipart uploads (a block is at most 5 GiB), aws-chunked bodies (gateways refuse
//! them), presigned URLs.
//!
//! Limits: keys 1,024 bytes; metadata 2 KiB; 64 KiB of an error's body; 8 MiB of a listing's page;
//! 64 KiB of memory a connection and direction, whatever the block's size.

mod advice;
pub mod backoff;
mod classify;
pub mod client;
mod confirm;
pub mod credentials;
mod delete;
pub mod endpoint;
mod etag;
mod http;
mod learnt;
pub mod object;
mod options;
pub mod outcome;
mod patience;
mod put;
pub mod read;
pub mod retry;
pub mod sign;
pub mod wire;

pub use backoff::Backoff;
pub use client::{Client, SetupError};
pub use endpoint::{Addressing, Bucket, Endpoint, EndpointError};
pub use http::{HttpSetupError, Proxy};
pub use object::{Checksum, Gateway, ObjectOptions, OptionError, PutObject};
pub use options::Options;
pub use outcome::{Action, Answer, Failure, Outcome};
pub use patience::Patience;
pub use read::{Get, Head};
pub use retry::{Attempted, Attempts, PutOnce};
