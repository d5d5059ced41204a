//! What differs between the Varnish versions that one source serves, so that the rest need not
//! know: each item names the version that changed it and the header it was read from.
//!
//! `build.rs` sets `varnish_before_X_Y`, and `varnish_without_WORD` for what came in the middle of a version and
//! what distributions add to older ones: the headers tell. Not here: how a VMOD describes itself to the VCL
//! compiler, which is varnish-rs's part (`docs/versions.md`).

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

/// `TRANSPORT_MAGIC` of `bin/varnishd/cache/cache_transport.h`.
pub(super) const TRANSPORT_MAGIC: c_uint = 0xf157_f32f;

/// A call that is not led.
pub(super) type Call = *const c_void;
#[cfg(not(varnish_before_7_7))]
pub(super) type Deliver = unsafe extern "C" fn(*mut ffi::req, c_int) -> c_uint;
#[cfg(varnish_before_7_7)]
pub(super) type Deliver = unsafe extern "C" fn(*mut ffi::req, *mut c_void, c_int);
pub(super) type Poll = unsafe extern "C" fn(*mut ffi::req) -> c_int;
pub(super) type Minimal = unsafe extern "C" fn(*mut ffi::req, u16) -> c_int;

/// `struct transport` of `bin/varnishd/cache/cache_transport.h`, which is not among the installed headers. It is
/// the same in 7.4.3, 7.5.0, 7.6.4, 7.7.0, 8.0.0 and 9.0, but for the arguments of `deliver` before 7.7. In 7.3.2
/// it is as in 7.4.3. 6.6, 7.1, 7.2, 7.3.0, 7.4.0 and 7.4.1 have no `poll`, which came with the flag `req_reset`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Transport {
    pub magic: c_uint,
    pub number: u16,
    proto_ident: *const c_char,
    pub name: *const c_char,
    pub new_session: Call,
    pub unwait: Call,
    pub req_fail: Call,
    pub req_body: Call,
    pub deliver: Option<Deliver>,
    pub sess_panic: Call,
    pub req_panic: Call,
    pub reembark: Call,
    #[cfg(not(varnish_without_req_reset))]
    poll: Option<Poll>,
    pub minimal_response: Option<Minimal>,
    list: [*mut c_void; 2],
}

/// The name of HTTP/2's transport: `bin/varnishd/http2/cache_http2_session.c`.
#[cfg(not(varnish_before_7_1))]
const HTTP2: &CStr = c"HTTP/2";
#[cfg(varnish_before_7_1)]
const HTTP2: &CStr = c"H2";

impl Transport {
    /// `poll`, where Varnish has it.
    pub(super) fn poll(&self) -> Option<Poll> {
        #[cfg(not(varnish_without_req_reset))]
        let poll = self.poll;
        #[cfg(varnish_without_req_reset)]
        let poll = None;
        poll
    }

    pub(super) fn set_poll(&mut self, poll: Poll) {
        #[cfg(not(varnish_without_req_reset))]
        {
            self.poll = Some(poll);
        }
        #[cfg(varnish_without_req_reset)]
        let _ = poll;
    }

    pub(super) fn is_http2(&self) -> bool {
        // SAFETY: a transport's name is a constant string of Varnish's.
        !self.name.is_null() && unsafe { CStr::from_ptr(self.name) } == HTTP2
    }
}

/// What stands between Varnish and a transport's `deliver`.
pub(super) trait Between: Sized {
    /// Before the delivery; the call that does it.
    fn begin(request: *mut ffi::req) -> Option<(Self, Deliver)>;

    /// The delivery is over.
    fn end(self, request: *mut ffi::req);
}

/// A `deliver` with `B` around it. From 7.7 on it says whether the delivery is over.
#[cfg(not(varnish_before_7_7))]
pub(super) unsafe extern "C" fn deliver<B: Between>(
    request: *mut ffi::req,
    send_body: c_int,
) -> c_uint {
    /// `VTR_D_DONE`.
    const DONE: c_uint = 1;
    let Some((between, call)) = B::begin(request) else { return DONE };
    // SAFETY: the call that this one stands for, with its arguments.
    let next = unsafe { call(request, send_body) };
    if next == DONE {
        between.end(request);
    }
    next
}

/// A `deliver` with `B` around it.
#[cfg(varnish_before_7_7)]
pub(super) unsafe extern "C" fn deliver<B: Between>(
    request: *mut ffi::req,
    boc: *mut c_void,
    send_body: c_int,
) {
    let Some((between, call)) = B::begin(request) else { return };
    // SAFETY: the call that this one stands for, with its arguments.
    unsafe { call(request, boc, send_body) };
    between.end(request);
}
