//! What differs between the Varnish versions that one source serves, so that the rest need not
//! know: each item names the version that changed it and the header it was read from.
//!
//! `build.rs` sets `varnish_before_X_Y`, and `varnish_without_WORD` for what came in the middle of a version and
//! what distributions add to older ones: the headers tell. Not here: how a VMOD describes itself to the VCL
//! compiler, which is varnish-rs's part (`docs/versions.md`), and `struct transport`, whose one
//! difference is in `transport.rs` beside the struct.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

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

/// Whether `index` is that of a reason by which a client is gone before the answer is complete.
/// `include/tbl/sess_close.h` has the reasons: structs with an index from 7.1 on, an enum before.
pub(super) fn aborts(index: c_int) -> bool {
    #[cfg(not(varnish_before_7_1))]
    let reasons =
        [&raw const ffi::SC_REM_CLOSE, &raw const ffi::SC_TX_ERROR, &raw const ffi::SC_RX_BODY]
            .map(|reason| {
                // SAFETY: constants of varnishd.
                let [reason] = unsafe { &*reason };
                reason.idx
            });
    #[cfg(varnish_before_7_1)]
    let reasons =
        [ffi::sess_close_SC_REM_CLOSE, ffi::sess_close_SC_TX_ERROR, ffi::sess_close_SC_RX_BODY]
            .map(|reason| reason as c_int);
    reasons.contains(&index)
}

/// Why the connection is closed after the answer, or `null`: the name in `req->doclose`. Before 7.1 it is a
/// number, of which only the reasons that tell something have their name here.
pub(super) fn close_reason(req: &ffi::req) -> Option<&[u8]> {
    #[cfg(not(varnish_before_7_1))]
    let name = {
        // SAFETY: doclose points to one of Varnish's constant descriptions.
        let name = unsafe { req.doclose.as_ref() }?.name;
        if name.is_null() {
            return None;
        }
        // SAFETY: a constant string of Varnish's.
        unsafe { CStr::from_ptr(name) }.to_bytes()
    };
    #[cfg(varnish_before_7_1)]
    let name: &[u8] = match req.doclose {
        ffi::sess_close_SC_NULL => b"null",
        ffi::sess_close_SC_REM_CLOSE => b"REM_CLOSE",
        ffi::sess_close_SC_TX_ERROR => b"TX_ERROR",
        ffi::sess_close_SC_RX_BODY => b"RX_BODY",
        ffi::sess_close_SC_RX_TIMEOUT => b"RX_TIMEOUT",
        _ => b"other",
    };
    Some(name)
}

/// When the first byte of a fetch's response was there: `bo->t_resp` of `bin/varnishd/cache/cache.h`, from 7.1
/// on; 0 before, where only the log has it.
pub(super) fn first_byte(bo: &ffi::busyobj) -> f64 {
    #[cfg(not(varnish_before_7_1))]
    let time = bo.t_resp.0;
    #[cfg(varnish_before_7_1)]
    let time = {
        let _ = bo;
        0.0
    };
    time
}

/// The name of HTTP/2's transport: `bin/varnishd/http2/cache_http2_session.c`.
#[cfg(not(varnish_before_7_1))]
pub(super) const HTTP2: &CStr = c"HTTP/2";
#[cfg(varnish_before_7_1)]
pub(super) const HTTP2: &CStr = c"H2";

/// Whether the transport of `request`, at `at` with what `transport.rs` takes for its number and name, is what
/// Varnish has there: VCL's `req.transport` is the name from 7.1 on (`include/vrt_obj.h`); before,
/// `XPORT_ByNumber` of `bin/varnishd/cache/cache_transport.h` finds a transport.
pub(super) fn knows_transport(
    request: *mut ffi::req,
    at: *const c_void,
    number: u16,
    name: *const c_char,
) -> bool {
    #[cfg(not(varnish_before_7_1))]
    let known = {
        let _ = (at, number);
        let ctx = ffi::vrt_ctx { magic: ffi::VRT_CTX_MAGIC, req: request, ..Default::default() };
        unsafe extern "C" {
            /// The name in `req->transport`.
            fn VRT_r_req_transport(ctx: *const ffi::vrt_ctx) -> *const c_char;
        }
        // SAFETY: looks at the request's transport alone, whose magic number is right.
        name == unsafe { VRT_r_req_transport(&raw const ctx) }
    };
    #[cfg(varnish_before_7_1)]
    let known = {
        let _ = (request, name);
        unsafe extern "C" {
            fn XPORT_ByNumber(number: u16) -> *const c_void;
        }
        // SAFETY: looks through a constant list.
        at == unsafe { XPORT_ByNumber(number) }
    };
    known
}
