//! What differs between the Varnish versions that one source serves, so that the rest need not
//! know: each item names the version that changed it and the header it was read from.
//!
//! `build.rs` sets `varnish_before_X_Y`, and `varnish_without_WORD` for what came in the middle of a version and
//! what distributions add to older ones: the headers tell. Not here: how a VMOD describes itself to the VCL
//! compiler, which is varnish-rs's part (`docs/versions.md`), and `struct transport`, whose one
//! difference is in `transport.rs` beside the struct.

#[cfg(not(varnish_without_vsl_tag_is_masked))]
use std::ffi::c_int;
use std::ffi::c_uint;

use varnish::ffi;

/// Words before a log record's text: `VSL_OVERHEAD` of `include/vapi/vsl_int.h`. 7.3 added the
/// high half of the transaction's number.
#[cfg(not(varnish_before_7_3))]
pub(super) const VSL_OVERHEAD: usize = 3;
#[cfg(varnish_before_7_3)]
pub(super) const VSL_OVERHEAD: usize = 2;

/// The number of no transaction, for `VSL()` of `bin/varnishd/cache/cache.h`: a struct from 7.3
/// on, an unsigned number before.
#[cfg(not(varnish_before_7_3))]
pub(super) const NO_VXID: ffi::vxids = ffi::vxids { vxid: 0 };
#[cfg(varnish_before_7_3)]
pub(super) const NO_VXID: u32 = 0;

/// The transaction's number without its marker bits: `VSL_CLIENTMARKER` and `VSL_BACKENDMARKER`
/// of `include/vapi/vsl_int.h` are bits 62 and 63 from 7.3 on, of which 51 bits count
/// (`VRT_INTEGER_MAX`), and bits 30 and 31 before.
pub(super) fn vxid(vsl: &ffi::vsl_log) -> u64 {
    #[cfg(not(varnish_before_7_3))]
    let vxid = vsl.wid.vxid & ((1 << 51) - 1);
    #[cfg(varnish_before_7_3)]
    let vxid = u64::from(vsl.wid & ((1 << 30) - 1));
    vxid
}

/// Whether `vsl_mask` hides records of `tag`: `VSL_tag_is_masked` of `bin/varnishd/cache/cache.h`,
/// from 7.3.1 on. `None` before.
#[cfg(not(varnish_without_vsl_tag_is_masked))]
pub(super) fn masked(tag: c_uint) -> Option<bool> {
    unsafe extern "C" {
        /// As in varnish-sys, for a number that is no constant of its enum.
        #[allow(clashing_extern_declarations)]
        fn VSL_tag_is_masked(tag: c_uint) -> c_int;
    }
    // SAFETY: reads the parameter alone.
    Some(unsafe { VSL_tag_is_masked(tag) } != 0)
}
#[cfg(varnish_without_vsl_tag_is_masked)]
pub(super) fn masked(_tag: c_uint) -> Option<bool> {
    None
}

/// Whether this was a pipe, whose bytes the request's account does not have. `RES_PIPE` of
/// `bin/varnishd/cache/cache.h` is a bit of `res_mode` before 7.7 and a flag of its own from
/// then on.
pub(super) fn piped(req: &ffi::req) -> bool {
    #[cfg(not(varnish_before_7_7))]
    let piped = req.res_pipe() != 0;
    #[cfg(varnish_before_7_7)]
    let piped = req.res_mode & ffi::RES_PIPE != 0;
    piped
}

/// Whether the client has reset the request: then no more of its VCL runs, and its transport is not
/// asked before what does not (`req_poll`). 6.0.12, 7.3.1 and 7.4.2 added it, with `poll` of
/// `struct transport`: `include/tbl/req_flags.h`.
#[cfg(not(varnish_without_req_reset))]
pub(super) fn is_reset(req: &ffi::req) -> bool {
    req.req_reset() != 0
}
#[cfg(varnish_without_req_reset)]
pub(super) fn is_reset(_req: &ffi::req) -> bool {
    false
}
