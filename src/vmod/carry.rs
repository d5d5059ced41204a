//! Past the rollback of a request, so that one `.log()` in `vcl_recv` has its line whatever comes.
//!
//! `Req_Rollback` finishes a request's values in mid request and then empties the tree that they
//! were in (`VCL_TaskLeave`, `VCL_TaskEnter`). Three things call it: a failure of VCL or a reset by
//! the client (`cnt_vclfail`, on the way to `vcl_synth`), a switch to a VCL label
//! (`VPI_vcl_select`), and `std.rollback()` (`VRT_Rollback`). Nothing tells a module when the tree
//! can be filled again, but the request's transport is asked before each VCL subroutine
//! (`req_poll`, `poll`), for a minimal answer (`minimal_response`, after a second failure), and for
//! the delivery (`deliver`). So a rollback puts a copy of the transport, with these three calls led
//! through here, in `req->transport`; whichever comes first puts the transport back, then enters
//! the values again, then does what it was called for. In between Varnish only copies messages.
//!
//! Not here: a fetch, whose `std.rollback(bereq)` forgets its record; VCL that calls `.log()` again.
//!
//! `struct transport` (`bin/varnishd/cache/cache_transport.h`) is not among the installed headers.
//! It is the same in 7.4.3, 7.5.0, 7.6.4, 7.7.0, 8.0.0 and 9.0, but for the arguments of `deliver`
//! before 7.7. In 7.3.2 it is as in 7.4.3. 7.1 and 7.2 have no `poll`, so nothing is carried there
//! (`TRANSPORT_POLLS` in `version.rs`). Where the magic number differs, or the name is not where
//! `VRT_r_req_transport` finds it, nothing is carried and the record counts as dropped.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use varnish::ffi;

use super::pending::Pending;
use super::task;
use super::version;

/// `TRANSPORT_MAGIC`.
const MAGIC: c_uint = 0xf157_f32f;

type Call = Option<unsafe extern "C" fn()>;
#[cfg(not(varnish_before_7_7))]
type Deliver = unsafe extern "C" fn(*mut ffi::req, c_int) -> c_uint;
#[cfg(varnish_before_7_7)]
type Deliver = unsafe extern "C" fn(*mut ffi::req, *mut c_void, c_int);
type Poll = unsafe extern "C" fn(*mut ffi::req) -> c_int;
type Minimal = unsafe extern "C" fn(*mut ffi::req, u16) -> c_int;

/// `struct transport`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Transport {
    magic: c_uint,
    number: u16,
    proto_ident: *const c_char,
    name: *const c_char,
    new_session: Call,
    unwait: Call,
    req_fail: Call,
    req_body: Call,
    deliver: Option<Deliver>,
    sess_panic: Call,
    req_panic: Call,
    reembark: Call,
    poll: Option<Poll>,
    minimal_response: Option<Minimal>,
    list: [*mut c_void; 2],
}

/// What stands in `req->transport` while a request's values are out of their tree.
#[repr(C)]
struct Carrier {
    /// First, for Varnish takes the carrier's address for a transport's.
    copy: Transport,
    original: *const Transport,
    /// The values, each linked to the next by [`Pending::next`].
    values: *mut Pending,
    /// `req->t_req`: which of the connection's requests this is.
    received: f64,
}

unsafe extern "C" {
    /// VCL's `req.transport`: the name in `req->transport`.
    fn VRT_r_req_transport(ctx: *const ffi::vrt_ctx) -> *const c_char;
}

/// Keeps `pending` for the time after the rollback that is under way; gives it back where that
/// cannot be done. To be called from the value's destructor.
pub(super) fn keep(ctx: &ffi::vrt_ctx, mut pending: Box<Pending>) -> Result<(), Box<Pending>> {
    if !version::TRANSPORT_POLLS {
        return Err(pending);
    }
    let request = ctx.req;
    // SAFETY: the context's request is valid in its destructors, and this thread alone has it.
    let Some(req) = (unsafe { request.as_mut() }) else { return Err(pending) };
    pending.hold();
    pending.forget_response();
    let original = req.transport.cast::<Transport>();
    // SAFETY: a request has a transport for as long as it lives.
    let Some(now) = (unsafe { original.as_ref() }) else { return Err(pending) };
    // SAFETY: the context is the one that Varnish gave.
    let name = unsafe { VRT_r_req_transport(ctx) };
    if now.magic != MAGIC || now.name != name {
        return Err(pending);
    }
    let carrier = if is_carrier(now) {
        original.cast::<Carrier>().cast_mut()
    } else {
        let mut copy = *now;
        copy.poll = Some(poll);
        copy.deliver = Some(deliver);
        copy.minimal_response = Some(minimal_response);
        let values = std::ptr::null_mut();
        let carrier = Box::new(Carrier { copy, original, values, received: req.t_req.0 });
        Box::into_raw(carrier)
    };
    // SAFETY: just made, or put there by an earlier value's destructor in the same rollback.
    let Some(place) = (unsafe { carrier.as_mut() }) else { return Err(pending) };
    pending.next = place.values;
    place.values = Box::into_raw(pending);
    req.transport = carrier.cast();
    Ok(())
}

fn is_carrier(transport: &Transport) -> bool {
    let ours: Minimal = minimal_response;
    transport.minimal_response.is_some_and(|call| std::ptr::fn_addr_eq(call, ours))
}

/// Puts the request's own transport back, enters its values again, and returns the transport.
fn resume(request: *mut ffi::req) -> Option<Transport> {
    // SAFETY: Varnish calls a transport with a valid request, which this thread alone has.
    let req = unsafe { request.as_mut() }?;
    let now = req.transport.cast::<Transport>();
    // SAFETY: a request has a transport for as long as it lives.
    if !is_carrier(unsafe { now.as_ref() }?) {
        return None;
    }
    // SAFETY: keep() made it with Box, and nothing refers to it once the next line has run.
    let carrier = unsafe { Box::from_raw(now.cast::<Carrier>().cast_mut()) };
    req.transport = carrier.original.cast();
    let same = carrier.received.to_bits() == req.t_req.0.to_bits();
    let mut next = carrier.values;
    while !next.is_null() {
        // SAFETY: keep() put it there with Box, once.
        let mut pending = unsafe { Box::from_raw(next) };
        next = std::mem::replace(&mut pending.next, std::ptr::null_mut());
        let entering = AssertUnwindSafe(move || task::enter_again(request, same, pending));
        // A panic costs this record.
        let _ = catch_unwind(entering);
    }
    // SAFETY: transports are constants of Varnish's.
    unsafe { carrier.original.as_ref() }.copied()
}

/// Before a VCL subroutine.
unsafe extern "C" fn poll(req: *mut ffi::req) -> c_int {
    match resume(req).and_then(|original| original.poll) {
        // SAFETY: the call that this one stands for, with its argument.
        Some(original) => unsafe { original(req) },
        // What `req_poll` takes a transport without one for.
        None => 0,
    }
}

/// Before the answer is sent, where no subroutine came first.
#[cfg(not(varnish_before_7_7))]
unsafe extern "C" fn deliver(req: *mut ffi::req, send_body: c_int) -> c_uint {
    match resume(req).and_then(|original| original.deliver) {
        // SAFETY: the call that this one stands for, with its arguments.
        Some(original) => unsafe { original(req, send_body) },
        // VTR_D_DONE; CNT_Request asserts that every transport has this call.
        None => 1,
    }
}

/// Before the answer is sent, where no subroutine came first.
#[cfg(varnish_before_7_7)]
unsafe extern "C" fn deliver(req: *mut ffi::req, boc: *mut c_void, send_body: c_int) {
    if let Some(original) = resume(req).and_then(|original| original.deliver) {
        // SAFETY: the call that this one stands for, with its arguments.
        unsafe { original(req, boc, send_body) };
    }
}

/// Before an answer that is only a status.
unsafe extern "C" fn minimal_response(req: *mut ffi::req, status: u16) -> c_int {
    match resume(req).and_then(|original| original.minimal_response) {
        // SAFETY: the call that this one stands for, with its arguments.
        Some(original) => unsafe { original(req, status) },
        // CNT_Request asserts that every transport has this call.
        None => -1,
    }
}
