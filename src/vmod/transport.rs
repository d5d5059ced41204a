//! A request's transport, with calls of it led through this module.
//!
//! Varnish asks a request's `struct transport` (`bin/varnishd/cache/cache_transport.h`) at three
//! moments of which nothing else tells a module: before each VCL subroutine (`req_poll` of the top
//! request, `poll`), for the delivery (`cnt_transmit`, `deliver`), and for an answer that is only a
//! status (`minimal_response`). [`lead`] puts a copy of it, with such calls changed, in
//! `req->transport`; [`take`] puts the request's own back. What is done at each moment is the caller's, in [`Hooks`].
//!
//! The struct is not among the installed headers. It is the same in 7.4.3, 7.5.0, 7.6.4, 7.7.0, 8.0.0
//! and 9.0, but for the arguments of `deliver` before 7.7. In 7.3.2 it is as in 7.4.3. 7.1 and 7.2
//! have no `poll`, so nothing is led there (`TRANSPORT_POLLS` in `version.rs`). Where the magic number
//! differs, or the name is not where `VRT_r_req_transport` finds it, nothing is led either.
//!
//! Not here: the transport of an ESI fragment, but for one that the client has reset.
//! `ved_vdp_esi_init` asserts that it is Varnish's own, where a fragment includes another one; what is
//! reset delivers nothing (`cnt_synth`).

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use varnish::ffi;

use super::pending::Pending;
use super::version;

/// `TRANSPORT_MAGIC`.
const MAGIC: c_uint = 0xf157_f32f;

/// How many finished leads a worker keeps.
const KEPT: usize = 4;

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

/// What is done when Varnish asks.
pub(super) struct Hooks {
    /// Before a VCL subroutine of the request, or of a fragment of it.
    pub before_vcl: fn(*mut ffi::req),
    /// A delivery begins, for which the lead has been taken: the values that wait for its end.
    pub delivery: fn(*mut ffi::req, Box<Lead>) -> *mut Pending,
    /// It is over, and what was sent.
    pub delivered: fn(*mut ffi::req, *mut Pending, Option<Sent>),
}

/// What stands in `req->transport` while calls are led through here.
#[repr(C)]
pub(super) struct Lead {
    /// First, for Varnish takes the lead's address for a transport's.
    copy: Transport,
    original: *const Transport,
    hooks: &'static Hooks,
    /// Values in the request's tree that are told what is delivered, linked by [`Pending::next`].
    pub watching: *mut Pending,
    /// Values that a rollback took out of their tree, linked in the same way.
    pub away: *mut Pending,
    /// The request that they are of, this one or a fragment of it.
    pub of: *mut ffi::req,
    /// The number of that one's transaction.
    pub number: u64,
}

/// What was answered.
pub(super) enum Answered {
    /// The response in `req->resp`.
    Response,
    /// Nothing but this status.
    Status(u16),
}

/// An answer that was sent.
pub(super) struct Sent {
    /// What it is.
    pub answer: Answered,
    /// Whether the client was gone by its end, as far as HTTP/2 tells.
    pub aborted: bool,
    /// When it was ready: `req->t_prev`, which the `Process` timestamp has set; 0 where another has since.
    pub ready: f64,
}

thread_local! {
    // Boxes, for Varnish keeps the addresses.
    #[allow(clippy::vec_box)]
    static FINISHED: RefCell<Vec<Box<Lead>>> = const { RefCell::new(Vec::new()) };
}

/// Whether Varnish asks transports before VCL subroutines, which `-p feature=-vcl_req_reset` ends:
/// a call has been seen. Relaxed: nothing else hangs on it.
static POLLED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    /// VCL's `req.transport`: the name in `req->transport`.
    fn VRT_r_req_transport(ctx: *const ffi::vrt_ctx) -> *const c_char;
}

/// Whether VCL subroutines are known to be announced by `poll`.
pub(super) fn polled() -> bool {
    POLLED.load(Relaxed)
}

/// The lead in the transport of `request`, put there if there is none; `None` where this Varnish's
/// transports are not known, and for a fragment that is not reset.
pub(super) fn lead<'r>(request: *mut ffi::req, hooks: &'static Hooks) -> Option<&'r mut Lead> {
    if !version::TRANSPORT_POLLS {
        return None;
    }
    // SAFETY: the caller's request is valid, and this thread alone has it.
    let req = unsafe { request.as_mut() }?;
    if req.esi_level > 0 && !version::is_reset(req) {
        return None;
    }
    let original = req.transport.cast::<Transport>();
    // SAFETY: a request has a transport for as long as it lives.
    let now = unsafe { original.as_ref() }?;
    if now.magic != MAGIC {
        return None;
    }
    let there = if is_lead(now) {
        original.cast::<Lead>().cast_mut()
    } else {
        let ctx = ffi::vrt_ctx { magic: ffi::VRT_CTX_MAGIC, req: request, ..Default::default() };
        // SAFETY: looks at the request's transport alone, whose magic number is right.
        if now.name != unsafe { VRT_r_req_transport(&raw const ctx) } {
            return None;
        }
        let mut copy = *now;
        copy.deliver = Some(deliver);
        copy.minimal_response = Some(minimal_response);
        if !polled() {
            copy.poll = Some(poll);
        }
        let none = std::ptr::null_mut();
        let new = Lead {
            copy,
            original,
            hooks,
            watching: none,
            away: none,
            of: std::ptr::null_mut(),
            number: 0,
        };
        let kept = FINISHED.try_with(|kept| kept.try_borrow_mut().ok()?.pop());
        let new = match kept.ok().flatten() {
            Some(mut old) => {
                *old = new;
                old
            }
            None => Box::new(new),
        };
        let new = Box::into_raw(new);
        req.transport = new.cast();
        new
    };
    // SAFETY: just made, or put there earlier and not taken since.
    unsafe { there.as_mut() }
}

impl Lead {
    /// From now on VCL subroutines are told of, too.
    pub(super) fn poll_too(&mut self) {
        self.copy.poll = Some(poll);
    }
}

fn is_lead(transport: &Transport) -> bool {
    let ours: Minimal = minimal_response;
    transport.minimal_response.is_some_and(|call| std::ptr::fn_addr_eq(call, ours))
}

/// The lead of `request` where it is.
pub(super) fn led<'r>(request: *mut ffi::req) -> Option<&'r mut Lead> {
    // SAFETY: the caller's request is valid, and this thread alone has it.
    let req = unsafe { request.as_ref() }?;
    let now = req.transport.cast::<Transport>();
    // SAFETY: a request has a transport for as long as it lives.
    if !is_lead(unsafe { now.as_ref() }?) {
        return None;
    }
    // SAFETY: lead() put it there, and take() has not been called since.
    unsafe { now.cast::<Lead>().cast_mut().as_mut() }
}

/// Puts `lead` into the transport of `request` again, if its own is there: `HTTP1_Session` sets that
/// anew when a request has slept on a waiting list (`hsh_rush2`).
pub(super) fn put_back(request: *mut ffi::req, lead: *mut Lead) {
    if lead.is_null() || led(request).is_some() {
        return;
    }
    // SAFETY: the caller's request is valid, and this thread alone has it.
    if let Some(req) = unsafe { request.as_mut() } {
        req.transport = lead.cast();
    }
}

/// Puts the request's own transport back; what was in its place.
pub(super) fn take(request: *mut ffi::req) -> Option<Box<Lead>> {
    let there = std::ptr::from_mut(led(request)?);
    // SAFETY: lead() made it with Box, and nothing refers to it once the next lines have run.
    let lead = unsafe { Box::from_raw(there) };
    // SAFETY: Varnish calls a transport with a valid request, which this thread alone has.
    let req = unsafe { request.as_mut() }?;
    req.transport = lead.original.cast();
    Some(lead)
}

/// Keeps a lead that was taken, to be used again.
pub(super) fn give(lead: Box<Lead>) {
    let kept = FINISHED.try_with(|kept| {
        if let Ok(mut kept) = kept.try_borrow_mut()
            && kept.len() < KEPT
        {
            kept.push(lead);
        }
    });
    // A thread that ends has no requests.
    let _ = kept;
}

/// The transport that stands behind `lead`.
fn behind(lead: &Lead) -> Option<Transport> {
    // SAFETY: transports are constants of Varnish's.
    unsafe { lead.original.as_ref() }.copied()
}

/// Before a VCL subroutine.
unsafe extern "C" fn poll(request: *mut ffi::req) -> c_int {
    if !polled() {
        POLLED.store(true, Relaxed);
    }
    let original = led(request).and_then(|lead| {
        let original = behind(lead)?;
        lead.copy.poll = original.poll;
        (lead.hooks.before_vcl)(request);
        Some(original)
    });
    match original.and_then(|original| original.poll) {
        // SAFETY: the call that this one stands for, with its argument.
        Some(original) => unsafe { original(request) },
        // What `req_poll` takes a transport without one for.
        None => 0,
    }
}

/// A request as a delivery begins.
struct Before {
    ready: f64,
    /// Bytes of headers that were sent.
    headers: u64,
}

impl Before {
    fn new(request: *const ffi::req) -> Self {
        // SAFETY: Varnish calls a transport with a valid request.
        let req = unsafe { request.as_ref() };
        let Some(req) = req else { return Self { ready: 0.0, headers: 0 } };
        // A synth reads the request's body after `Process`, and that is logged too (`VRB_Ignore`).
        let read = req.err_code != 0 && req.acct.req_bodybytes > 0;
        let ready = if read { 0.0 } else { req.t_prev.0 };
        let headers = req.acct.resp_hdrbytes;
        Self { ready, headers }
    }

    /// What has been sent since. `None` where only the log tells.
    fn sent(self, request: *mut ffi::req, through: &Transport) -> Option<Sent> {
        // `h2_poll`: whether the stream has an error.
        // SAFETY: the request stands until its task is left, and is this transport's.
        let aborted = through.poll.is_some_and(|poll| unsafe { poll(request) } < 0);
        // SAFETY: as above.
        let req = unsafe { request.as_ref() }?;
        let multiplexed = through.poll.is_some();
        let answer = if multiplexed {
            // `h2_deliver` sends a 500 when the headers do not fit into the workspace.
            // SAFETY: the request's own workspace.
            if unsafe { ffi::WS_Overflowed(req.ws.as_ptr()) } != 0 {
                return None;
            }
            Answered::Response
        } else if req.acct.resp_hdrbytes == self.headers {
            // `v1d_error`, which counts nothing.
            Answered::Status(500)
        } else {
            Answered::Response
        };
        Some(Sent { answer, aborted, ready: self.ready })
    }
}

/// The answer is sent.
#[cfg(not(varnish_before_7_7))]
unsafe extern "C" fn deliver(request: *mut ffi::req, send_body: c_int) -> c_uint {
    /// `VTR_D_DONE`.
    const DONE: c_uint = 1;
    let before = Before::new(request);
    let Some((original, hooks, values)) = start(request) else { return DONE };
    let Some(call) = original.deliver else { return DONE };
    // SAFETY: the call that this one stands for, with its arguments.
    let next = unsafe { call(request, send_body) };
    if next == DONE {
        (hooks.delivered)(request, values, before.sent(request, &original));
    }
    next
}

/// The answer is sent.
#[cfg(varnish_before_7_7)]
unsafe extern "C" fn deliver(request: *mut ffi::req, boc: *mut c_void, send_body: c_int) {
    let before = Before::new(request);
    let Some((original, hooks, values)) = start(request) else { return };
    if let Some(call) = original.deliver {
        // SAFETY: the call that this one stands for, with its arguments.
        unsafe { call(request, boc, send_body) };
        (hooks.delivered)(request, values, before.sent(request, &original));
    }
}

/// Puts the request's transport back and its values into their tree, for a delivery that begins.
fn start(request: *mut ffi::req) -> Option<(Transport, &'static Hooks, *mut Pending)> {
    let lead = take(request)?;
    let (original, hooks) = (behind(&lead)?, lead.hooks);
    Some((original, hooks, (hooks.delivery)(request, lead)))
}

/// Before an answer that is only a status.
unsafe extern "C" fn minimal_response(request: *mut ffi::req, status: u16) -> c_int {
    let Before { ready, .. } = Before::new(request);
    // 100 Continue is not the answer.
    let original = if status < 200 {
        led(request).and_then(|lead| behind(lead))
    } else {
        start(request).map(|(original, hooks, values)| {
            let answer = Answered::Status(status);
            (hooks.delivered)(request, values, Some(Sent { answer, aborted: false, ready }));
            original
        })
    };
    match original.and_then(|original| original.minimal_response) {
        // SAFETY: the call that this one stands for, with its arguments.
        Some(original) => unsafe { original(request, status) },
        // CNT_Request asserts that every transport has this call.
        None => -1,
    }
}
