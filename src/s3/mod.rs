//! Sealed blocks into a bucket: signed PUTs, retried until the object is there.
//!
//! Knows S3's REST protocol, credentials and failures; nothing of spool, pipeline or Varnish.
//!
//! | file | what |
//! |---|---|
//! | [`endpoint`] | scheme, host, bucket: the URL of a key |
//! | [`credentials`] | where the access key comes from |
//! | [`sign`] | Signature Version 4 |
//! | [`put`], [`options`] | an object and the headers it is stored with |
//! | [`gateway`], [`option_text`] | what a provider takes, and what the operator writes |
//! | `http/` | one HTTP exchange, and the way there; knows nothing of S3 |
//! | [`wire`] | texts: XML, dates, encodings |
//! | [`client`] | one attempt, bounded in bytes and time, classified |
//! | [`read`] | HEAD, GET and listings |
//! | [`outcome`] | the closed set of outcomes and what is done about each |
//! | [`backoff`], [`retry`] | attempts until the object is there |
//!
//! Non-goals: multipart uploads (a block is at most 5 GiB), aws-chunked bodies (gateways refuse
//! them), presigned URLs.
//!
//! Limits: keys 1,024 bytes; metadata 2 KiB; 64 KiB of an error's body; 8 MiB of a listing's page;
//! 64 KiB of memory a connection and direction, whatever the block's size.

pub mod backoff;
mod body;
pub mod client;
pub mod credentials;
pub mod endpoint;
pub mod gateway;
mod http;
pub mod option_text;
pub mod options;
pub mod outcome;
pub mod put;
pub mod read;
pub mod retry;
pub mod sign;
pub mod wire;

pub use backoff::Backoff;
pub use client::{Client, SetupError};
pub use endpoint::{Addressing, Bucket, Endpoint, EndpointError};
pub use gateway::Gateway;
pub use http::{HttpSetupError, Proxy};
pub use option_text::OptionError;
pub use options::{Checksum, ObjectOptions, Options};
pub use outcome::{Action, Answer, Failure, Outcome, decide};
pub use put::{PutObject, Sums};
pub use read::{Get, Head};
pub use retry::{Finished, Store, upload};
