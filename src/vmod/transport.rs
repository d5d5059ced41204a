//! A request's transport, with calls of it led through this module.
//!
//! Varnish asks a request's `struct transport` (`bin/varnishd/cache/cache_transport.h`) at three
//! moments of which nothing else tells a module: before each VCL subroutine (`req_poll` of the top
//! request, `poll`), for the delivery (`cnt_transmit`, `deliver`), and for an answer that is only a
//! status (`minimal_response`). [`lead`] lets `req->transport` point to a copy of it, with such calls
//! changed; [`own`] lets it point to Varnish's own again. What is done at each moment is the caller's, in [`Hooks`].
//!
//! There are two copies of each transport, made when a request with it is led for the first time. They
//! never change and are never freed, and have nothing of a request in them. For a request may leave its
//! worker with a copy in its place (`hsh_rush2` looks into it when it wakes a request), and a module that
//! works on fragments in several threads asks the one transport of their top request from all of them.
//! The place itself is written as an atomic, for the same reason. Limit: [`PAIRS`] has room for as many
//! transports as Varnish and its modules have; one more is not led.
//!
//! HTTP/2's transport is led where it stands instead, from the load of a VCL that logs on: by its address
//! vmod_h2 tells whether a request came as HTTP/2. So all such requests come through here, of which most have
//! nothing to be done. HTTP/1's is copied all the same: it has no `poll`, and requests without values need none.
//! Varnish loads VCLs in one thread (`ASSERT_CLI()` of `vcl_set_state`), so that no two copies of the module write
//! to the transport at a time, each of which would take half of the other's calls for Varnish's.
//!
//! What stands in `req->transport` may be another one's: where VCLs have different copies of this module, as an
//! upgrade leaves them, each leads what the other one has led. So no call looks there for what it stands for.
//!
//! What the struct is on each version is in `version/transport.rs`. Where it has no `poll`, a value waits for the
//! delivery or for VCL's next call, also past a rollback. Where the magic number or the layout differs, or Varnish has
//! another transport there (`version::known`), nothing is led: then a value waits for VCL's next call alone, and has
//! what `.log()` found.
//!
//! Not here: the transport of an ESI fragment, but for one that the client has reset.
//! `ved_vdp_esi_init` asserts that it is Varnish's own, where a fragment includes another one; what is
//! reset delivers nothing (`cnt_synth`).

use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicPtr, fence};

use varnish::ffi;

use super::guarded::guarded;
use super::version::{self, Between, Call, Deliver, Minimal, Poll, Transport};

impl Transport {
    /// Whether both call the same.
    fn is(&self, other: &Self) -> bool {
        let calls = |of: &Self| {
            let deliver = of.deliver.map(|call| call as Call);
            let poll = of.poll().map(|call| call as Call);
            let minimal_response = of.minimal_response.map(|call| call as Call);
            let led = (of.name, deliver, poll, minimal_response);
            let session = (of.new_session, of.unwait, of.sess_panic);
            (led, session, of.req_fail, of.req_body, of.req_panic, of.reembark)
        };
        calls(self) == calls(other)
    }
}

/// What is done when Varnish asks.
pub(super) struct Hooks {
    /// Before a VCL subroutine of the request or of a fragment of it, and before a 100 Continue.
    pub before_vcl: fn(*mut ffi::req),
    /// A delivery begins, for which the request has its own transport again.
    pub delivery: fn(*mut ffi::req),
    /// It is over, and what was sent; `None` where only the log tells.
    pub delivered: fn(*mut ffi::req, Option<Sent>),
}

/// One transport, and what it is led by.
struct Pair {
    /// `poll` is the transport's own.
    quiet: Transport,
    /// `poll` is led, too.
    asking: Transport,
    /// As it was when it was copied.
    original: Transport,
    at: *const Transport,
    /// It is led where it stands, as `asking` is, and no request points to a copy.
    in_place: bool,
    hooks: &'static Hooks,
}

/// All that are led. A place that is filled stays as it is.
static PAIRS: [AtomicPtr<Pair>; 8] = [const { AtomicPtr::new(null_mut()) }; 8];

/// What a transport calls that is led. Those of each of the [`PAIRS`] are functions of their own, which know
/// it by that: another copy of the module may have led a request on, to a copy of theirs.
struct Calls {
    deliver: Deliver,
    poll: Poll,
    minimal_response: Minimal,
}

impl Calls {
    /// Those of pair `N`.
    const fn of<const N: usize>() -> Self {
        Self {
            deliver: version::deliver::<Delivery<N>>,
            poll: poll::<N>,
            minimal_response: minimal_response::<N>,
        }
    }
}

static CALLS: [Calls; 8] = [
    Calls::of::<0>(),
    Calls::of::<1>(),
    Calls::of::<2>(),
    Calls::of::<3>(),
    Calls::of::<4>(),
    Calls::of::<5>(),
    Calls::of::<6>(),
    Calls::of::<7>(),
];

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

/// Whether Varnish asks transports before VCL subroutines, which `-p feature=-vcl_req_reset` ends:
/// a call has been seen. Relaxed: nothing else hangs on it.
static POLLED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    /// The fetch that this thread works on (`bin/varnishd/cache/cache_main.c`).
    fn THR_GetBusyobj() -> *mut ffi::busyobj;
}

/// Whether VCL subroutines are known to be announced by `poll`.
pub(super) fn polled() -> bool {
    POLLED.load(Relaxed)
}

/// Where `request` has its transport.
fn place<'r>(request: *mut ffi::req) -> Option<&'r AtomicPtr<Transport>> {
    if request.is_null() {
        return None;
    }
    // SAFETY: the callers' requests are valid.
    let place = unsafe { &raw mut (*request).transport };
    // SAFETY: aligned, and there for as long as the request. Another thread that works on a fragment of it
    // may write there at the same time, and does it here.
    Some(unsafe { AtomicPtr::from_ptr(place.cast()) })
}

/// Leads the transport of `request`, before VCL subroutines too if it shall be `asking`. `false` where
/// this Varnish's transports are not known, and for a fragment that is not reset.
pub(super) fn lead(request: *mut ffi::req, hooks: &'static Hooks, asking: bool) -> bool {
    let Some(place) = place(request) else { return false };
    let at = place.load(Relaxed);
    let led = copied(at);
    if led.is_some_and(|pair| pair.has(at, asking)) {
        return true;
    }
    // SAFETY: as in place().
    let level = unsafe { &raw const (*request).esi_level };
    let pair = match led {
        Some(pair) => Some(pair),
        None if is_beneath(at, asking) => return true,
        // SAFETY: a fragment's level stands from its beginning to its end.
        None if unsafe { *level } > 0 && !reset(request) => None,
        None => pair(at, |calls| Pair::copy(at, hooks, calls)),
    };
    let Some(pair) = pair else { return false };
    if !pair.in_place {
        let led = if asking { &pair.asking } else { &pair.quiet };
        place.store(std::ptr::from_ref(led).cast_mut(), Relaxed);
    }
    true
}

/// Whether the client has reset `request`.
pub(super) fn reset(request: *mut ffi::req) -> bool {
    // SAFETY: the caller's request is valid, and this thread alone has it.
    unsafe { request.as_ref() }.is_some_and(version::is_reset)
}

/// Lets `request` have its own transport again. Whether it had a copy.
pub(super) fn own(request: *mut ffi::req) -> bool {
    if let Some(place) = place(request)
        && let Some(pair) = copied(place.load(Relaxed))
    {
        place.store(pair.at.cast_mut(), Relaxed);
        return true;
    }
    false
}

/// Leads HTTP/2's transport where it stands. To be called from the thread that loads VCLs alone.
pub(super) fn lead_http2(hooks: &'static Hooks) {
    let Some(at) = version::http2() else { return };
    if let Some(pair) = pair(at, |calls| Pair::in_place(at, hooks, calls)) {
        // SAFETY: Varnish's own, which stands for ever and is written to.
        unsafe { version::change(at, &pair.original, &pair.asking) };
    }
}

/// How the transport at `at` is led; as `make` says from now on if it was not.
fn pair(at: *const Transport, make: impl Fn(&Calls) -> Option<Pair>) -> Option<&'static Pair> {
    for (place, calls) in PAIRS.iter().zip(&CALLS) {
        let mut there = place.load(Acquire);
        if there.is_null() {
            let new = Box::into_raw(Box::new(make(calls)?));
            match place.compare_exchange(null_mut(), new, AcqRel, Acquire) {
                Ok(_) => there = new,
                Err(earlier) => {
                    // SAFETY: made above, and nobody else has it.
                    drop(unsafe { Box::from_raw(new) });
                    there = earlier;
                }
            }
        }
        // SAFETY: what stands in a place stands for ever.
        let pair = unsafe { there.as_ref() }?;
        if pair.at != at {
            continue;
        }
        // Of a module that was unloaded another one may have the memory.
        // SAFETY: a request has a transport for as long as it lives.
        if pair.in_place || pair.original.is(unsafe { at.as_ref() }?) {
            return Some(pair);
        }
    }
    None
}

impl Pair {
    /// By copies of it. `None` where it is not known, or is not led by copies.
    fn copy(at: *const Transport, hooks: &'static Hooks, calls: &Calls) -> Option<Self> {
        let now = version::known(at)?;
        if now.is_http2() && version::is_registered(at.cast(), now.number) {
            return None;
        }
        let mut pair = Self::of_calls(now, at, hooks, calls);
        pair.quiet.is_copy_of(at);
        pair.asking.is_copy_of(at);
        Some(pair)
    }

    /// Where it stands.
    fn in_place(at: *const Transport, hooks: &'static Hooks, calls: &Calls) -> Option<Self> {
        // SAFETY: Varnish's own, which stands for ever.
        let now = *unsafe { at.as_ref() }?;
        Some(Self { in_place: true, ..Self::of_calls(now, at, hooks, calls) })
    }

    fn of_calls(
        now: Transport,
        at: *const Transport,
        hooks: &'static Hooks,
        calls: &Calls,
    ) -> Self {
        let mut quiet = now;
        quiet.deliver = Some(calls.deliver);
        quiet.minimal_response = Some(calls.minimal_response);
        let mut asking = quiet;
        asking.set_poll(calls.poll);
        Self { quiet, asking, original: now, at, in_place: false, hooks }
    }

    /// Whether the copy at `at`, one of its two, has `poll` led if it shall be `asking`.
    fn has(&self, at: *const Transport, asking: bool) -> bool {
        !asking || std::ptr::eq(at, &raw const self.asking)
    }

    /// Pair `N`, for what is called only once that is there.
    fn of<const N: usize>() -> Option<&'static Self> {
        // Acquire pairs with the Release in version::change(): who has found the call in a transport that is
        // led in place finds its pair.
        fence(Acquire);
        // SAFETY: what stands in a place stands for ever.
        unsafe { PAIRS.get(N)?.load(Acquire).as_ref() }
    }
}

/// What the transport at `at` is a copy of, if it is one of those here.
fn copied(at: *const Transport) -> Option<&'static Pair> {
    // SAFETY: what stands in a place stands for ever.
    let pairs = PAIRS.iter().map_while(|place| unsafe { place.load(Acquire).as_ref() });
    let mut pairs = pairs.filter(|pair| {
        std::ptr::eq(at, &raw const pair.quiet) || std::ptr::eq(at, &raw const pair.asking)
    });
    pairs.next()
}

/// Whether the transport at `at`, a request's, is another copy of the module's and calls one of those here, which
/// has `poll` led if it shall be `asking`. Each time that a request is rolled back both come through here, and
/// would lead one another on for as long as there are [`PAIRS`].
fn is_beneath(mut at: *const Transport, asking: bool) -> bool {
    // Before one of these was copied, none is known to be a transport.
    if PAIRS.first().is_some_and(|place| place.load(Acquire).is_null()) {
        return false;
    }
    // SAFETY: a request has a transport for as long as it lives, and what a copy is of stands for ever.
    while let Some(below) = unsafe { at.as_ref() }.and_then(Transport::copied_from) {
        at = below;
        if copied(at).is_some_and(|pair| pair.has(at, asking)) {
            return true;
        }
    }
    false
}

/// Before a VCL subroutine.
unsafe extern "C" fn poll<const N: usize>(request: *mut ffi::req) -> c_int {
    if !polled() {
        POLLED.store(true, Relaxed);
    }
    let Some(pair) = Pair::of::<N>() else { return 0 };
    guarded(|| (pair.hooks.before_vcl)(request));
    match pair.original.poll() {
        // SAFETY: the call that this one stands for, with its argument.
        Some(own) => unsafe { own(request) },
        // What `req_poll` takes a transport without one for.
        None => 0,
    }
}

/// Whether the connection of an HTTP/1 request has not been closed by Varnish yet.
fn is_open(req: &ffi::req) -> bool {
    // SAFETY: a request has a session for as long as it lives.
    unsafe { req.sp.as_ref() }.is_some_and(|session| session.fd >= 0)
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
        let read = req.err_code != 0 && version::body_was_read(req);
        let ready = if read { 0.0 } else { version::seconds(req.t_prev) };
        let headers = req.acct.resp_hdrbytes;
        Self { ready, headers }
    }

    /// What has been sent since. `None` where only the log tells.
    fn sent(self, request: *mut ffi::req, through: &Transport) -> Option<Sent> {
        // `h2_poll`: whether the stream has an error.
        // SAFETY: the request stands until its task is left, and is this transport's.
        let aborted = through.poll().is_some_and(|poll| unsafe { poll(request) } < 0);
        // SAFETY: as above.
        let req = unsafe { request.as_ref() }?;
        let multiplexed = through.is_http2();
        let answer = if multiplexed {
            // `h2_deliver` sends a 500 when the headers do not fit into the workspace.
            // SAFETY: the request's own workspace.
            if unsafe { ffi::WS_Overflowed(req.ws.as_ptr()) } != 0 {
                return None;
            }
            Answered::Response
        } else if req.esi_level == 0 && req.acct.resp_hdrbytes == self.headers && is_open(req) {
            // `v1d_error`, which counts nothing and leaves the connection open. Of a fragment no headers are sent
            // (`ved_deliver`). Before 6.6, headers count once they are written: where the client was gone before
            // that, the connection is closed (`Req_Fail`).
            Answered::Status(500)
        } else {
            Answered::Response
        };
        Some(Sent { answer, aborted, ready: self.ready })
    }
}

/// A delivery by pair `N`.
struct Delivery<const N: usize> {
    pair: &'static Pair,
    before: Before,
}

impl<const N: usize> Between for Delivery<N> {
    fn begin(request: *mut ffi::req) -> Option<(Self, Deliver)> {
        let before = Before::new(request);
        let pair = Pair::of::<N>()?;
        own(request);
        guarded(|| (pair.hooks.delivery)(request));
        Some((Self { pair, before }, pair.original.deliver?))
    }

    fn end(self, request: *mut ffi::req) {
        let Self { pair, before } = self;
        guarded(|| (pair.hooks.delivered)(request, before.sent(request, &pair.original)));
    }
}

/// Before an answer that is only a status.
unsafe extern "C" fn minimal_response<const N: usize>(
    request: *mut ffi::req,
    status: u16,
) -> c_int {
    let Some(pair) = Pair::of::<N>() else { return -1 };
    if status < 200 {
        // 100 Continue is not the answer, but when it cannot be sent, nothing comes after it. A fetch that
        // asks for the request's body (`vrb_pull`) has nothing of the request.
        // SAFETY: looks at a variable of this thread alone.
        if unsafe { THR_GetBusyobj() }.is_null() {
            guarded(|| (pair.hooks.before_vcl)(request));
        }
    } else {
        let Before { ready, .. } = Before::new(request);
        own(request);
        guarded(|| (pair.hooks.delivery)(request));
        let answer = Answered::Status(status);
        let sent = Sent { answer, aborted: false, ready };
        guarded(|| (pair.hooks.delivered)(request, Some(sent)));
    }
    match pair.original.minimal_response {
        // SAFETY: the call that this one stands for, with its arguments.
        Some(own) => unsafe { own(request, status) },
        // CNT_Request asserts that every transport has this call.
        None => -1,
    }
}
