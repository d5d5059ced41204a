//! The mark in the module's file that says which Varnish it was compiled against (`src/built_for.rs`).

use varnish::ffi;

use crate::built_for::{mark, mark_length};

const ABI: &[u8] = ffi::VMOD_ABI_Version.to_bytes();

/// Exported, so that no linker takes it for unused. Nothing reads it but programs that read the file.
// SAFETY: no other symbol in varnishd or a module has this name.
#[unsafe(no_mangle)]
static vmod_s3log_built_for: [u8; mark_length(ABI.len())] = mark(ABI);

/// What Varnish compares at `vcl.load`.
pub(crate) const fn abi() -> &'static str {
    match ffi::VMOD_ABI_Version.to_str() {
        Ok(text) => text,
        Err(_) => "",
    }
}
