//! What stands beside a sealed block, `N.json`.
//!
//! Two lines, each a JSON text and ended by a newline: an object, and a string with the CRC-32C of
//! the first line without its newline.
//!
//! ```json
//! {"format":1,"key":"...","transformed":false,"sequence":0,"rebuilt":false,"meta":{...}}
//! "crc32c:00000000"
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `format` | 1; a release refuses a spool with a newer one |
//! | `key` | the object's key |
//! | `transformed` | the bytes to upload are in `N.sealed`, else in `N.data` |
//! | `sequence` | newest dropped or lost block that `meta.dropped` counts |
//! | `rebuilt` | made anew from the data, because the first sidecar was lost |
//! | `moved` | the block of another folder which this one was made of; absent for others |
//! | `held` | the block that waited for a key which this one was made of; absent for others |
//! | `wait_until` | before this time, ns since 1970, another process that uploads leaves it alone: the uploads of a fleet are spread; absent for others |
//! | `meta` | [`Meta`] |

use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::open_to_look;
use crate::block::Meta;
use crate::seal::Sealing;

/// Version that this code writes and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

/// Longest sidecar that is read, bytes; a real one has less than 4 KiB.
pub(super) const LIMIT: u64 = 64 * 1024;

/// Up to [`LIMIT`] bytes of a file, for who only looks at a spool, which may be another user's.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_to_look(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sidecar {
    pub(super) format: u32,
    pub(super) key: String,
    pub(super) transformed: bool,
    pub(super) sequence: u64,
    #[serde(default)]
    pub(super) rebuilt: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) moved: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wait_until: Option<u64>,
    pub(super) meta: Meta,
}

/// Why bytes are not a [`Sidecar`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadSidecar {
    /// Whole, but of another release.
    Version(u32),
    /// Torn, damaged or something else.
    Damaged,
}

impl Sidecar {
    /// Whether only the holder of a key can read the block: one that was transformed may be unencrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.transformed && Sealing::SUFFIXES.iter().any(|suffix| self.key.ends_with(suffix))
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(self)?;
        let check = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(format!("\n\"crc32c:{check:08x}\"\n").as_bytes());
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadSidecar> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |_| BadSidecar::Damaged;
        let end = memchr::memchr(b'\n', bytes).ok_or(BadSidecar::Damaged)?;
        let (line, rest) = bytes.split_at(end);
        let check = format!("\n\"crc32c:{:08x}\"\n", crc32c::crc32c(line));
        if rest != check.as_bytes() {
            return Err(BadSidecar::Damaged);
        }
        let Version { format } = serde_json::from_slice(line).map_err(damaged)?;
        if format != FORMAT {
            return Err(BadSidecar::Version(format));
        }
        serde_json::from_slice(line).map_err(damaged)
    }
}
