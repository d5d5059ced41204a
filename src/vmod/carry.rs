//! Past the rollback of a request, and to its delivery, so that one `.log()` in `vcl_recv` has its
//! line whatever comes.
//!
//! `Req_Rollback` finishes a request's values in mid request and then empties the tree that they
//! were in (`VCL_TaskLeave`, `VCL_TaskEnter`). Three things call it: a failure of VCL or a reset by
//! the client (`cnt_vclfail`, on the way to `vcl_synth`), a switch to a VCL label
//! (`VPI_vcl_select`), and `std.rollback()` (`VRT_Rollback`). Nothing tells a module when the tree
//! can be filled again, but the request's transport is asked soon after (`transport`): before the
//! next VCL subroutine, or for the delivery. So values wait at the transport, and enter their tree
//! again at the first of these calls. In between Varnish only copies messages. A fragment's values wait
//! at the transport of the top request, which is the one that is asked before a fragment's
//! subroutines; those of a fragment that the client has reset wait at its own, for no subroutine
//! comes any more and the fragment's own is asked for a minimal answer.
//!
//! Values also wait for the delivery itself: once it is over, and before `cnt_finish` tears it
//! down, `req->resp` is what was sent, changed by Varnish after VCL (304, 206, 416) or not.
//!
//! Not here: a fetch, whose `std.rollback(bereq)` forgets its record; VCL that calls `.log()` again;
//! the delivery of a fragment.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use varnish::ffi;

use super::pending::Pending;
use super::task;
use super::transport::{self, Hooks, Lead, Sent};
use super::version;

static HOOKS: Hooks = Hooks { before_vcl: resume, delivery: settle, delivered };

unsafe extern "C" {
    /// The request that this thread works on (`bin/varnishd/cache/cache_main.c`).
    fn THR_GetRequest() -> *mut ffi::req;
}

/// What tells a request from another one in the same memory: when it began, in all of its restarts.
fn number(request: *const ffi::req) -> Option<u64> {
    // SAFETY: the callers' requests are valid, and this thread alone has them.
    Some(unsafe { request.as_ref() }?.t_first.0.to_bits())
}

/// The request that a client asked for, which `request` may be a fragment of.
fn top(request: *mut ffi::req) -> Option<*mut ffi::req> {
    // SAFETY: as above.
    let top = unsafe { request.as_ref() }?.top;
    // SAFETY: a request has a top for as long as it lives.
    Some(unsafe { top.as_ref() }?.topreq)
}

/// Tells `pending`, the value of a request's task, what will have been delivered. `false` where
/// that cannot be done.
pub(super) fn watch(request: *mut ffi::req, pending: &mut Pending) -> bool {
    if pending.watching {
        transport::put_back(request, pending.lead.cast());
        return true;
    }
    let Some(lead) = transport::lead(request, &HOOKS) else { return false };
    pending.watching = true;
    pending.lead = std::ptr::from_mut(lead).cast();
    pending.next = lead.watching;
    lead.watching = pending;
    true
}

/// Keeps `pending` for the time after the rollback that is under way; gives it back where that
/// cannot be done. To be called from the value's destructor.
pub(super) fn keep(ctx: &ffi::vrt_ctx, mut pending: Box<Pending>) -> Result<(), Box<Pending>> {
    let request = ctx.req;
    transport::put_back(request, pending.lead.cast());
    pending.watching = false;
    pending.lead = std::ptr::null_mut();
    let (Some(number), Some(top)) = (number(request), top(request)) else { return Err(pending) };
    let fragment = top != request;
    // Without polls the values of a fragment would wait for ever.
    if fragment && !transport::polled() {
        return Err(pending);
    }
    // SAFETY: the context's request is valid in its destructors, and this thread alone has it.
    let reset = unsafe { request.as_ref() }.is_some_and(version::is_reset);
    let asked = if reset { request } else { top };
    let Some(lead) = transport::lead(asked, &HOOKS) else { return Err(pending) };
    if !fragment {
        // A rollback finishes all of the request's values.
        lead.watching = std::ptr::null_mut();
    }
    if (lead.of, lead.number) != (request, number) {
        lose(std::mem::replace(&mut lead.away, std::ptr::null_mut()));
    }
    (lead.of, lead.number) = (request, number);
    lead.poll_too();
    pending.hold();
    pending.forget_response();
    pending.next = lead.away;
    lead.away = Box::into_raw(pending);
    Ok(())
}

/// Takes the first of a list.
fn pop(list: &mut *mut Pending) -> Option<Box<Pending>> {
    if list.is_null() {
        return None;
    }
    // SAFETY: a list of values that are in no tree is of Boxes that keep() let go of, each once.
    let mut first = unsafe { Box::from_raw(*list) };
    *list = std::mem::replace(&mut first.next, std::ptr::null_mut());
    Some(first)
}

/// Counts values whose request is gone.
fn lose(mut away: *mut Pending) {
    while let Some(pending) = pop(&mut away) {
        task::drop_end(pending);
    }
}

/// Enters the values of a rollback into their tree again, and calls `with` for each.
fn enter(
    mut away: *mut Pending,
    of: *mut ffi::req,
    same: bool,
    mut with: impl FnMut(&mut Pending),
) {
    if !same {
        return lose(away);
    }
    while let Some(pending) = pop(&mut away) {
        let entering = AssertUnwindSafe(move || task::enter_again(of, pending));
        // A panic costs this record.
        if let Ok(Some(entered)) = catch_unwind(entering)
            // SAFETY: it is in its tree, and this thread alone has it.
            && let Some(pending) = unsafe { entered.as_mut() }
        {
            with(pending);
        }
    }
}

/// Before a VCL subroutine of `request`, or of a fragment of it.
fn resume(request: *mut ffi::req) {
    let Some(lead) = transport::led(request) else { return };
    let away = std::mem::replace(&mut lead.away, std::ptr::null_mut());
    let of = lead.of;
    let number_then = lead.number;
    if lead.watching.is_null()
        && let Some(lead) = transport::take(request)
    {
        transport::give(lead);
    }
    if away.is_null() {
        return;
    }
    // SAFETY: looks at a variable of this thread alone.
    let now = unsafe { THR_GetRequest() };
    let same = of == request || of == now;
    enter(away, of, same && number(of) == Some(number_then), |pending| {
        if pending.registered {
            watch(of, pending);
        }
    });
}

/// A delivery begins, for which `lead` has been taken: the values that wait for its end.
fn settle(request: *mut ffi::req, mut lead: Box<Lead>) -> *mut Pending {
    let mut values = lead.watching;
    forget_lead(values, std::ptr::null_mut());
    let away = std::mem::replace(&mut lead.away, std::ptr::null_mut());
    let same = lead.of == request && number(request) == Some(lead.number);
    transport::give(lead);
    enter(away, request, same, |pending| {
        if !pending.watching {
            pending.watching = true;
            pending.next = values;
            values = pending;
        }
    });
    values
}

/// The delivery is over, and `req->resp` as it was sent; `None` where nobody but the log knows.
fn delivered(request: *mut ffi::req, values: *mut Pending, sent: Option<Sent>) {
    // SAFETY: Varnish calls a transport with a valid request, which this thread alone has.
    let Some(req) = (unsafe { request.as_ref() }) else { return };
    let mut next = values;
    // SAFETY: the values that watch are in the request's tree, which nobody leaves before its end.
    while let Some(pending) = unsafe { next.as_mut() } {
        next = std::mem::replace(&mut pending.next, std::ptr::null_mut());
        let telling = AssertUnwindSafe(|| task::tell(req, pending, sent.as_ref()));
        // A panic costs what it would have told.
        let _ = catch_unwind(telling);
    }
}

/// The request ends, without a delivery if its transport still is not its own. To be called from the
/// destructor of its value `pending`.
pub(super) fn end(request: *mut ffi::req, pending: *mut Pending) {
    // SAFETY: the caller's value is valid, and this thread alone has it.
    let Some(own) = (unsafe { pending.as_mut() }) else { return };
    let own = std::mem::replace(&mut own.lead, std::ptr::null_mut());
    let left = leave(request, pending);
    // One that a wake-up took out of the transport.
    if !own.is_null() && own != left {
        transport::put_back(request, own.cast());
        leave(request, pending);
    }
}

/// Takes the lead of `request` away; where it was, if there was one.
fn leave(request: *mut ffi::req, but: *mut Pending) -> *mut c_void {
    let Some(mut lead) = transport::take(request) else { return std::ptr::null_mut() };
    let there = std::ptr::from_mut(&mut *lead).cast();
    // All values of the request are there at the first one's end, and then none waits any more.
    forget_lead(std::mem::replace(&mut lead.watching, std::ptr::null_mut()), but);
    lose(std::mem::replace(&mut lead.away, std::ptr::null_mut()));
    transport::give(lead);
    there
}

/// Tells the values of a list, `but` left out, that their lead is gone.
fn forget_lead(mut values: *mut Pending, but: *mut Pending) {
    while !values.is_null() {
        // SAFETY: the values that watch are in the request's tree, which nobody leaves before its end.
        let Some(value) = (unsafe { values.as_mut() }) else { return };
        let next = value.next;
        if values != but {
            value.lead = std::ptr::null_mut();
        }
        values = next;
    }
}
