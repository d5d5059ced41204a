//! Pseudonyms for VCL: `s3log.truncate_ip()` and `s3log.hash()`.

use std::cell::RefCell;
use std::ffi::CStr;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use varnish::ffi;

use super::events::complain;
use super::keys::Keys;
use crate::printable::printable;
use crate::record::privacy;

thread_local! {
    /// The keys that this worker has read, by file.
    static KEYS: RefCell<Keys> = RefCell::default();
}

/// Bits within what an address has; VCL's numbers may be anything.
fn bits(bits: i64, most: u8) -> u8 {
    u8::try_from(bits.clamp(0, i64::from(most))).unwrap_or(most)
}

pub(super) fn truncate_ip(ip: Option<SocketAddr>, v4_bits: i64, v6_bits: i64) -> Option<String> {
    let ip = ip?.ip();
    Some(privacy::truncate_ip(ip, bits(v4_bits, 32), bits(v6_bits, 128)).to_string())
}

/// Empty when the key cannot be used: the text itself must not show. An unset text has none, for it would be
/// that of an empty one.
pub(super) fn hash(ctx: &ffi::vrt_ctx, text: Option<&CStr>, key_file: &CStr) -> Option<String> {
    let text = text?.to_bytes();
    let hashed = catch_unwind(AssertUnwindSafe(|| {
        KEYS.with_borrow_mut(|keys| match keys.get(key_file, Instant::now) {
            Ok(key) => privacy::hash(key, text),
            Err(error) => {
                if let Some(error) = error {
                    let path = key_file.to_string_lossy();
                    complain(ctx, &format!("S3LOG error: hash: {}: {error}", printable(&path)));
                }
                String::new()
            }
        })
    }));
    Some(hashed.unwrap_or_default())
}
