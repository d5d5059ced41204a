//! An object, what it is stored with, and what a gateway takes of that.
//!
//! | file | what |
//! |---|---|
//! | `options`, `option_text` | what an operator chooses, and the texts for it |
//! | `gateway`, `gateways` | the kinds of gateways, and a row of `traits` for each: which options it accepts |
//! | `hosts` | the kind and the region that a host's name shows |
//! | `check` | whether these options suit each other and the gateway |
//! | `headers`, `body` | the request as it is sent |

mod body;
mod check;
mod error;
mod gateway;
mod gateways;
mod headers;
mod hosts;
mod option_text;
mod options;
mod traits;

use std::fmt;
use std::io::Read;
use std::time::Duration;

use super::wire::encode;
pub(super) use body::{Fault, Outgoing, Sent, Told, hashes, sums};
pub use error::{HeaderError, OptionError};
pub use gateway::Gateway;
pub use gateways::GATEWAYS;
pub(super) use headers::headers;
pub use option_text::{acl, server_side_encryption, storage_class};
pub use options::{Checksum, ContentMd5, LockMode, ObjectLock, ObjectOptions, SecondsOrDate};
pub use traits::{COLUMNS, Does, Region, Tags, Traits, Words};

/// Longest key that S3 takes, in bytes of UTF-8.
pub(crate) const LONGEST_KEY: usize = 1024;
/// Most bytes of metadata names and values together that S3 takes.
pub(crate) const MOST_METADATA: usize = 2048;

/// A block on its way out.
pub struct PutObject<'a> {
    /// The object's key, not empty, at most `LONGEST_KEY` bytes.
    pub key: &'a str,
    /// Bytes of the body.
    pub len: u64,
    /// The body's SHA-256: signed, checked by the server, and compared after a 412.
    pub sha256: [u8; 32],
    /// Names (without `x-amz-meta-`) and values.
    pub metadata: &'a [(String, String)],
    /// Opens the body afresh for each attempt.
    pub open: &'a dyn Fn() -> std::io::Result<Box<dyn Read>>,
    /// Is told of each piece of the body that is handed to the connection: its bytes.
    pub sending: &'a dyn Fn(u64),
    /// The least time for which a gateway is waited for that takes no more of the body or does not answer;
    /// the options' own where that is longer.
    pub patience: Duration,
}

impl PutObject<'_> {
    /// For a caller that does not ask how far it is.
    pub const UNTOLD: &'static dyn Fn(u64) = &|_| ();
}

/// The name in the metadata that holds the SHA-256 of the body in hexadecimal: HEAD looks at it to
/// see whose object it is.
pub(crate) const SHA256_NAME: &str = "sha256";

/// Sums of a body besides its SHA-256, for headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// For `Content-MD5`.
    pub(super) md5: Option<[u8; 16]>,
    /// For `x-amz-checksum-crc32c`.
    pub(super) crc32c: Option<u32>,
    /// For `x-amz-checksum-crc64nvme`.
    pub(super) crc64nvme: Option<u64>,
}

impl fmt::Debug for PutObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutObject")
            .field("key", &self.key)
            .field("len", &self.len)
            .field("sha256", &encode::hex(&self.sha256))
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}
