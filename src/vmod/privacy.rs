//! Pseudonyms for VCL: `s3log.truncate_ip()` and `s3log.hash()`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use varnish::ffi;
use zeroize::Zeroizing;

use crate::record::privacy;
use crate::regular_file;

thread_local! {
    /// The keys that this worker has read, by file.
    static KEYS: RefCell<HashMap<CString, Zeroizing<Vec<u8>>>> = RefCell::default();
}

/// Bits within what an address has; VCL's numbers may be anything.
fn bits(bits: i64, most: u8) -> u8 {
    u8::try_from(bits.clamp(0, i64::from(most))).unwrap_or(most)
}

pub(super) fn truncate_ip(ip: Option<SocketAddr>, v4_bits: i64, v6_bits: i64) -> String {
    ip.map(|ip| privacy::truncate_ip(ip.ip(), bits(v4_bits, 32), bits(v6_bits, 128)).to_string())
        .unwrap_or_default()
}

/// Empty when the key cannot be read: the text itself must not show.
pub(super) fn hash(ctx: &ffi::vrt_ctx, text: &CStr, key_file: &CStr) -> String {
    catch_unwind(AssertUnwindSafe(|| {
        KEYS.with_borrow_mut(|keys| {
            if !keys.contains_key(key_file) {
                let path = std::path::Path::new(std::ffi::OsStr::from_bytes(key_file.to_bytes()));
                match regular_file::read(path, regular_file::KEYS_MAX) {
                    Ok(key) => keys.insert(key_file.to_owned(), key),
                    Err(error) => {
                        complain(ctx, &format!("S3LOG error: hash: {}: {error}", path.display()));
                        return String::new();
                    }
                };
            }
            keys.get(key_file).map(|key| privacy::hash(key, text.to_bytes())).unwrap_or_default()
        })
    }))
    .unwrap_or_default()
}

/// One line in the task's log.
fn complain(ctx: &ffi::vrt_ctx, message: &str) {
    let Ok(message) = CString::new(message) else { return };
    if !ctx.vsl.is_null() {
        // SAFETY: the task's log is valid; the format takes one string.
        unsafe { ffi::VSLb(ctx.vsl, ffi::VslTag::Error, c"%s".as_ptr(), message.as_ptr()) };
    }
}
