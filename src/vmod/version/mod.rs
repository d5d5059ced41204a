//! What differs between the Varnish versions that one source serves, so that the rest need not
//! know: each item names the version that changed it and the header it was read from.
//!
//! `build.rs` sets `varnish_before_X_Y`, and `varnish_without_WORD` for what came in the middle of a version and
//! what distributions add to older ones: the headers tell. Not here: how a VMOD describes itself to the VCL
//! compiler, which is varnish-rs's part (`docs/versions.md`).

mod transport;
mod values;

#[cfg(not(varnish_before_7_1))]
use std::ffi::CStr;
use std::ffi::{c_int, c_uint};

use varnish::ffi;

pub(super) use self::transport::{
    Between, Call, Deliver, Minimal, Poll, Transport, change, deliver, http2, is_registered, known,
};
pub(super) use self::values::{Destroy, Owner, place, put};

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

/// An empty log buffer over `words`, which nobody flushes: `struct vsl_log` of `bin/varnishd/cache/cache.h`. `VSLb`
/// asserts the magic number where it has one, as in 9.0.
pub(super) fn log_buffer(words: &mut [u32]) -> ffi::vsl_log {
    let bounds = words.as_mut_ptr_range();
    ffi::vsl_log {
        #[cfg(not(varnish_without_vsl_log_magic))]
        magic: ffi::VSL_LOG_MAGIC as u16,
        #[cfg(not(varnish_without_vsl_log_magic))]
        flags: 0,
        wlb: bounds.start,
        wlp: bounds.start,
        wle: bounds.end,
        wlr: 0,
        wid: Default::default(),
    }
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

/// Whether the request's body was read, if only to find it empty, and is not kept (`VRB_Iterate`).
/// `include/tbl/body_status.h` has the states from 6.4 on, `include/tbl/req_body.h` before.
pub(super) fn body_was_read(req: &ffi::req) -> bool {
    #[cfg(not(varnish_before_6_4))]
    let read = [&raw const ffi::BS_TAKEN, &raw const ffi::BS_ERROR]
        .into_iter()
        .any(|status| std::ptr::eq(status.cast(), req.req_body_status));
    #[cfg(varnish_before_6_4)]
    let read = [ffi::req_body_state_e_REQ_BODY_TAKEN, ffi::req_body_state_e_REQ_BODY_FAIL]
        .contains(&req.req_body_status);
    read
}

/// Whether the request's body is kept, so that it can be sent again.
pub(super) fn body_is_kept(req: &ffi::req) -> bool {
    #[cfg(not(varnish_before_6_4))]
    let kept = std::ptr::eq(&raw const ffi::BS_CACHED, req.req_body_status.cast());
    #[cfg(varnish_before_6_4)]
    let kept = req.req_body_status == ffi::req_body_state_e_REQ_BODY_CACHED;
    kept
}

/// The request that a client asked for, which `req` may be a fragment of: `req->top` is that from 6.4 on in
/// a `struct reqtop`.
pub(super) fn top(req: &ffi::req) -> Option<*mut ffi::req> {
    #[cfg(not(varnish_before_6_4))]
    // SAFETY: a request has a top for as long as it lives.
    let top = unsafe { req.top.as_ref() }?.topreq;
    #[cfg(varnish_before_6_4)]
    let top = req.top;
    Some(top)
}

/// Whether a fragment may let go of the VCL of the request that includes it, which goes on without: before 6.2
/// `ved_include` of `bin/varnishd/cache/cache_esi_deliver.c` hands that request's one reference to the fragment, and a
/// switch to a label releases it there (`VRT_vcl_select`). From 6.2 on a fragment has a reference of its own.
#[cfg(not(varnish_before_6_2))]
pub(super) const FRAGMENTS_TAKE_THE_VCL: bool = false;
#[cfg(varnish_before_6_2)]
pub(super) const FRAGMENTS_TAKE_THE_VCL: bool = true;

/// The response that VCL sees: a struct around the pointer from 6.2 on, `VCL_HTTP` of `include/vrt.h`.
pub(super) fn response(ctx: &ffi::vrt_ctx) -> *const ffi::http {
    #[cfg(not(varnish_before_6_2))]
    let response = ctx.http_resp.0;
    #[cfg(varnish_before_6_2)]
    let response = ctx.http_resp;
    response
}

/// A moment in seconds since 1970: `vtim_real` of `include/vdef.h`, for which some structs have a plain number
/// before 6.2.
#[cfg(not(varnish_before_6_2))]
pub(super) fn seconds(moment: ffi::vtim_real) -> f64 {
    moment.0
}
#[cfg(varnish_before_6_2)]
pub(super) fn seconds(moment: impl Moment) -> f64 {
    moment.seconds()
}

#[cfg(varnish_before_6_2)]
pub(super) trait Moment {
    fn seconds(self) -> f64;
}
#[cfg(varnish_before_6_2)]
impl Moment for ffi::vtim_real {
    fn seconds(self) -> f64 {
        self.0
    }
}
#[cfg(varnish_before_6_2)]
impl Moment for f64 {
    fn seconds(self) -> f64 {
        self
    }
}

/// A number of restarts or of levels of ESI: signed in `bin/varnishd/cache/cache.h` before 6.4, and never
/// negative.
#[cfg(not(varnish_before_6_4))]
pub(super) fn count(number: u32) -> u32 {
    number
}
#[cfg(varnish_before_6_4)]
pub(super) fn count(number: c_int) -> u32 {
    u32::try_from(number).unwrap_or(0)
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
