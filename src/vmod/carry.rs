//! Past the rollback of a request, and to its delivery, so that one `.log()` in `vcl_recv` has its
//! line whatever comes.
//!
//! `Req_Rollback` finishes a request's values in mid request and then empties the tree that they
//! were in (`VCL_TaskLeave`, `VCL_TaskEnter`). Three things call it: a failure of VCL or a reset by
//! the client (`cnt_vclfail`, on the way to `vcl_synth`), a switch to a VCL label
//! (`VPI_vcl_select`), and `std.rollback()` (`VRT_Rollback`). Nothing tells a module when the tree
//! can be filled again, but the request's transport is asked soon after (`transport`): before the
//! next VCL subroutine, or for the delivery. So values wait with their worker ([`AWAY`]), and enter
//! their tree again at the first of these calls, or when VCL calls the module again. In between Varnish
//! only copies messages. The transport that is asked before a fragment's subroutines is that of the top
//! request. Of a fragment that the client has reset no subroutine runs any more, and its own transport
//! is asked for its delivery.
//!
//! A request may end with none of these calls: when its body cannot be read, or there is no room for the
//! body of a synth. Then its values stay with its worker, and count as dropped when that
//! next has to do with a value, or ends. A worker works on one request, and one fragment of it, at a
//! time, and leaves it for another one only when it is over or when it sleeps on a waiting list. Before
//! that Varnish runs `vcl_hash`, so that it sleeps without its values only before
//! 7.3 or with `-p feature=-vcl_req_reset`: then they count as dropped, too.
//!
//! Values also wait for the delivery itself: once it is over, and before `cnt_finish` tears it
//! down, `req->resp` is what was sent, changed by Varnish after VCL (304, 206, 416) or not.
//! [`Pending::watching`] tells those that do from the others of the request.
//!
//! `std.rollback(bereq)` does the same to a fetch (`Bereq_Rollback`), and nothing at all tells when that is
//! over: its values enter the tree again when VCL calls the module again, or count as dropped.
//!
//! Not here: the delivery of a fragment.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::null_mut;

use varnish::ffi;

use super::guarded::guarded;
use super::pending::Pending;
use super::task;
use super::transport::{self, Hooks, Sent};
use super::version;

static HOOKS: Hooks = Hooks { before_vcl: resume, delivery: settle, delivered };

/// Values that a rollback took out of their tree.
struct Away {
    /// The first, linked by [`Pending::next`].
    first: Cell<*mut Pending>,
    of: Cell<Of>,
}

/// A request, perhaps a fragment, or a fetch.
#[derive(Clone, Copy, PartialEq)]
struct Of {
    /// Its address. Only compared: whether it still stands is known when it is what this thread works on.
    at: *const c_void,
    /// What tells it from a later one in the same memory: when it began, in all of its restarts.
    number: u64,
}

impl Of {
    const NONE: Self = Self { at: std::ptr::null(), number: 0 };

    /// Whether this is what `ctx` has, of which nothing is read where the address is another one.
    fn is(self, ctx: &ffi::vrt_ctx) -> bool {
        let at: *const c_void = if ctx.req.is_null() { ctx.bo.cast() } else { ctx.req.cast() };
        self.at == at && self == Self::new(ctx)
    }

    fn new(ctx: &ffi::vrt_ctx) -> Self {
        // SAFETY: in a client task req is valid, and this thread alone has it.
        if let Some(req) = unsafe { ctx.req.as_ref() } {
            return Self { at: ctx.req.cast(), number: version::seconds(req.t_first).to_bits() };
        }
        // SAFETY: in a backend task bo is valid, and this thread alone has it.
        let Some(bo) = (unsafe { ctx.bo.as_ref() }) else { return Self::NONE };
        Self { at: ctx.bo.cast(), number: version::seconds(bo.t_first).to_bits() }
    }
}

/// The context of a request, outside of VCL.
fn context(request: *mut ffi::req) -> ffi::vrt_ctx {
    ffi::vrt_ctx { magic: ffi::VRT_CTX_MAGIC, req: request, ..Default::default() }
}

thread_local! {
    static AWAY: Away = const {
        Away { first: Cell::new(null_mut()), of: Cell::new(Of::NONE) }
    };
}

impl Drop for Away {
    fn drop(&mut self) {
        lose(self.first.replace(null_mut()));
    }
}

unsafe extern "C" {
    /// The request that this thread works on (`bin/varnishd/cache/cache_main.c`). In a fetch that of an HTTP/2
    /// session which the thread has run before, and which is freed (`h2_new_session`).
    fn THR_GetRequest() -> *mut ffi::req;
}

/// The request that a client asked for, which `request` may be a fragment of.
fn top(request: *mut ffi::req) -> Option<*mut ffi::req> {
    // SAFETY: the callers' requests are valid, and this thread alone has them.
    version::top(unsafe { request.as_ref() }?)
}

/// A VCL that logs is about to be used. To be called from the thread that loads VCLs.
pub(super) fn prepare() {
    transport::lead_http2(&HOOKS);
}

/// Tells `pending`, the value of a request's task, what will have been delivered. `false` where
/// that cannot be done.
pub(super) fn watch(request: *mut ffi::req, pending: &mut Pending) -> bool {
    // Again, too: when a request has slept on a waiting list, HTTP1_Session has set its transport anew.
    let led = transport::lead(request, &HOOKS, !transport::polled());
    pending.watching |= led;
    led
}

/// Calls `with` for each value of `request`.
fn each(request: *mut ffi::req, mut with: impl FnMut(&mut Pending)) {
    let mut next = task::values(&context(request));
    // SAFETY: the values are in the request's tree, which nobody leaves before its end; this thread alone
    // has them.
    while let Some(pending) = unsafe { next.as_mut() } {
        next = pending.next;
        with(pending);
    }
}

/// Makes ready to keep the values of `ctx` for the time after the rollback that is under way. `false` where
/// that cannot be done. To be called from a value's destructor.
pub(super) fn rolls_back(ctx: &ffi::vrt_ctx) -> bool {
    if !ctx.req.is_null() {
        ask_for_end(ctx.req);
    }
    let of = Of::new(ctx);
    let ready = AWAY.try_with(|away| {
        if away.of.replace(of) != of {
            lose(away.first.replace(null_mut()));
        }
    });
    // A thread that ends has no requests.
    ready.is_ok()
}

/// Keeps `pending`, after [`rolls_back`].
pub(super) fn keep(mut pending: Box<Pending>) {
    pending.watching = false;
    pending.hold();
    pending.forget_response();
    let _ = AWAY.try_with(|away| {
        pending.next = away.first.get();
        // pop() makes it a Box again.
        away.first.set(Box::into_raw(pending));
    });
}

/// Asks to be told when a rollback of `request` is over. Where nothing tells it, its values enter the
/// tree when VCL calls the module again, or count as dropped.
fn ask_for_end(request: *mut ffi::req) {
    let Some(top) = top(request) else { return };
    // Without polls nobody asks the top request before a fragment's subroutines.
    if top != request && !transport::polled() {
        return;
    }
    transport::lead(if transport::reset(request) { request } else { top }, &HOOKS, true);
}

/// Takes the first of a list of values that are in no tree.
fn pop(list: &mut *mut Pending) -> Option<Box<Pending>> {
    // SAFETY: they are Boxes that keep() let go of, each once.
    unsafe { Pending::pop(list) }
}

/// Whether values of this worker are out of their tree.
fn is_away() -> bool {
    AWAY.try_with(|away| !away.first.get().is_null()).unwrap_or(false)
}

/// Counts values whose request is gone.
fn lose(mut away: *mut Pending) {
    while let Some(pending) = pop(&mut away) {
        task::drop_end(pending);
    }
}

/// This thread works on the task of `ctx`, whose tree can be filled: enters values that a rollback took
/// out of it, and calls `with` for each. Those of another one will not be entered any more.
fn enter(ctx: &ffi::vrt_ctx, mut with: impl FnMut(&mut Pending)) {
    let taken = AWAY.try_with(|away| (away.first.replace(null_mut()), away.of.get()));
    let Ok((mut away, of)) = taken else { return };
    if away.is_null() {
        return;
    }
    if !of.is(ctx) {
        return lose(away);
    }
    while let Some(pending) = pop(&mut away) {
        let Some(entered) = task::enter_again(ctx, pending) else { continue };
        // SAFETY: it is in its tree, and this thread alone has it.
        let Some(pending) = (unsafe { entered.as_mut() }) else { continue };
        // A panic costs what the delivery would have told.
        guarded(|| with(pending));
    }
}

/// VCL has called the module from this task.
pub(super) fn called(ctx: &ffi::vrt_ctx) {
    if is_away() {
        enter(ctx, |pending| {
            if pending.registered && !ctx.req.is_null() {
                watch(ctx.req, pending);
            }
        });
    }
}

/// Before a VCL subroutine of `asked`, or of a fragment of it.
fn resume(asked: *mut ffi::req) {
    // SAFETY: looks at a variable of this thread alone.
    let now = unsafe { THR_GetRequest() };
    if now.is_null() {
        return;
    }
    if is_away() {
        called(&context(now));
    }
    // Its fragments may be worked on by other threads, which need this call.
    if now == asked && transport::own(asked) {
        let mut waits = false;
        each(asked, |pending| waits |= pending.watching);
        if waits {
            transport::lead(asked, &HOOKS, false);
        }
    }
}

/// A delivery begins.
fn settle(request: *mut ffi::req) {
    if is_away() {
        enter(&context(request), |pending| pending.watching = true);
    }
}

/// The delivery is over, and `req->resp` as it was sent; `None` where nobody but the log knows.
fn delivered(request: *mut ffi::req, sent: Option<Sent>) {
    // SAFETY: Varnish calls a transport with a valid request, which this thread alone has.
    let Some(req) = (unsafe { request.as_ref() }) else { return };
    // A panic costs what it would have told, which is then looked for in the log.
    let sent = guarded(|| task::delivered(req, &sent?)).flatten();
    each(request, |pending| {
        if std::mem::take(&mut pending.watching) {
            guarded(|| task::tell(req, pending, sent));
        }
    });
}

/// The task of `ctx` ends. To be called from the destructors of its values.
pub(super) fn end(ctx: &ffi::vrt_ctx) {
    // There was no delivery if it still is not its own.
    transport::own(ctx.req);
    // None is entered, for the tree is being left.
    if let Ok(away) = AWAY.try_with(|away| away.first.replace(null_mut()))
        && !away.is_null()
    {
        lose(away);
    }
}
