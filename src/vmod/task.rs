//! From `.log()` in VCL to a line in the ring when the task ends.
//!
//! `.log()` leaves a [`Pending`] in the task, one for each pipeline. The first is the module's PRIV_TASK
//! value, and the others follow it. Varnish runs
//! the value's destructor in `VCL_TaskLeave` (`bin/varnishd/cache/cache_vrt_priv.c`), after the body went
//! out: then the byte counters and times are final, `req->http` is as VCL left it, and the task's own
//! log buffer, not yet flushed, says the rest. `req->resp` is torn down by then, which is why
//! `.log()` copies the response's header lines that the format prints.
//!
//! The destructor also runs when a request is rolled back in mid task: with a context that is in a
//! VCL method (`std.rollback()`, a switch to a VCL label), or while the worker has the request's log
//! at hand (`cnt_vclfail`). Then nothing is logged yet, and `carry` brings the value past it. That of a
//! fetch runs in mid task with a context that is in a VCL method (`std.rollback(bereq)`).
//!
//! Nothing here unwinds: a panic in a destructor would end varnishd's child.

use std::ffi::{CStr, c_void};

use varnish::ffi;

use super::carry;
use super::events::complain;
use super::guarded::guarded;
use super::lines::Lines;
use super::object::Stream;
use super::params;
use super::pending::{Answer, Delivered, Pending};
use super::structs::{Backend, Client, headers, line_of, reason_of, status_of};
use super::transport::{Answered, Sent};
use super::version::{self, Destroy, Owner};
use crate::printable::printable;
use crate::priority::{NotAPriority, Priority};
use crate::record::{Acct, Rendered, Side, Structs, Task};
use crate::ring::Record;
use crate::stats;

/// The first of the values in a place, linked by [`Pending::next`].
fn first(place: *mut ffi::vmod_priv) -> *mut Pending {
    // SAFETY: null, or valid until the task's end. Varnish's node of it is in the value that came first; this
    // module alone writes it, and nothing else refers to it.
    unsafe { place.as_ref() }.map_or(std::ptr::null_mut(), |place| place.priv_.cast())
}

/// The first of the values of the task of `ctx`.
pub(super) fn values(ctx: &ffi::vrt_ctx) -> *mut Pending {
    first(version::place(ctx))
}

/// Puts `pending` among the values of the task of `ctx`, which has none for its pipeline. `there` is
/// their place, null if the task has none.
fn add(
    ctx: &ffi::vrt_ctx,
    there: *mut ffi::vmod_priv,
    mut pending: Box<Pending>,
) -> Option<*mut Pending> {
    let place =
        if there.is_null() { version::put::<Values>(ctx, pending.workspace()) } else { there };
    // SAFETY: as in first(), but null when there is no room.
    let place = unsafe { place.as_mut() }?;
    pending.owner = Owner::new(ctx);
    pending.next = place.priv_.cast();
    let pending = Box::into_raw(pending);
    place.priv_ = pending.cast();
    Some(pending)
}

/// Puts `pending` into the task as the value of its pipeline. What the task has already gets what
/// `pending` knows, and is the value.
fn enter(ctx: &ffi::vrt_ctx, pending: Box<Pending>) -> Option<*mut Pending> {
    let place = version::place(ctx);
    let there = Pending::find(first(place), pending.key());
    let Some(value) = there else { return add(ctx, place, pending) };
    // SAFETY: it is in the task, whose thread alone has it.
    if let Some(there) = unsafe { value.as_mut() } {
        there.add_from(&pending);
    }
    pending.give();
    Some(value)
}

/// Calls `with` for this task's [`Pending`] of `stream`'s pipeline, made if there is none; `None`
/// when there is no task, as in `vcl_init`.
fn pending<T>(
    ctx: &ffi::vrt_ctx,
    stream: &Stream,
    with: impl FnOnce(&mut Pending) -> T,
) -> Option<T> {
    if ctx.req.is_null() && ctx.bo.is_null() {
        return None;
    }
    carry::called(ctx);
    let place = version::place(ctx);
    let pending = match Pending::find(first(place), stream.key()) {
        Some(pending) => pending,
        None => add(ctx, place, Pending::take(stream))?,
    };
    // SAFETY: valid until the task's end; the task's thread alone has it, and only here.
    let pending = unsafe { pending.as_mut() }?;
    pending.meant_for(stream);
    if version::FRAGMENTS_TAKE_THE_VCL && !ctx.req.is_null() {
        pending.hold();
    }
    Some(with(pending))
}

/// Which response a request has now.
fn answer(req: &ffi::req) -> Answer {
    Answer { restarts: version::count(req.restarts), synthetic: req.err_code != 0 }
}

/// The priority that VCL gave; a word that is none is told in the task's log. There is no ENUM among
/// the types that `varnish::vmod` knows, so that `vcl.load` cannot refuse it.
pub(super) fn priority(ctx: &ffi::vrt_ctx, given: Option<&CStr>) -> Option<Priority> {
    let given = given?.to_bytes();
    let priority = std::str::from_utf8(given).ok().and_then(|word| word.parse().ok());
    if priority.is_none() {
        let given = String::from_utf8_lossy(given.get(..64).unwrap_or(given));
        let text = format!("S3LOG error: priority is {given:?}: {NotAPriority}");
        complain(ctx, &printable(&text));
    }
    priority
}

/// VCL's `.log()`, with a priority if it gave one. Whether the record will be written.
pub(super) fn register(ctx: &ffi::vrt_ctx, stream: &Stream, priority: Option<Priority>) -> bool {
    let done = pending(ctx, stream, |pending| {
        pending.registered = true;
        pending.priority = priority.or(pending.priority);
        // SAFETY: in a client task req is valid while a VCL method runs.
        let Some(req) = (unsafe { ctx.req.as_ref() }) else { return };
        if carry::watch(ctx.req, pending) || !stream.reads_response {
            return;
        }
        remember(req, headers(ctx, version::response(ctx)), stream, pending);
    });
    done.is_some()
}

/// Copies what the format prints of a response's header lines. Whether all of it fitted.
fn remember(req: &ffi::req, lines: &[ffi::txt], stream: &Stream, pending: &mut Pending) -> bool {
    let lines = lines.iter().filter_map(line_of);
    let printed = lines.filter(|line| stream.program.prints_response_header(line));
    pending.remember_response(answer(req), printed)
}

/// What was delivered of a request, while `req->resp` is there. Whether its lines are remembered is
/// another matter for each value.
pub(super) fn delivered(req: &ffi::req, sent: &Sent) -> Option<Delivered> {
    let status = match sent.answer {
        Answered::Status(number) => number,
        Answered::Response => status_of(req, req.resp)?,
    };
    // SAFETY: an object that is delivered stands until `cnt_finish`, before 7.7 the end of
    // `cnt_transmit`.
    let private = unsafe { req.objcore.as_ref() }
        .is_some_and(|object| u32::from(object.flags) & ffi::oc_flags_OC_F_PRIVATE != 0);
    let Sent { aborted, ready, .. } = *sent;
    let response = matches!(sent.answer, Answered::Response);
    Some(Delivered { status, ready, aborted, private, lines: false, response })
}

/// Tells a request's value what was delivered, while `req->resp` is there.
pub(super) fn tell(req: &ffi::req, pending: &mut Pending, sent: Option<Delivered>) {
    pending.forget_response();
    let (Some(sent), Some(stream)) = (sent, pending.lend()) else { return };
    let lines = !stream.reads_response || remember(req, headers(req, req.resp), stream, pending);
    if stream.reads_reason && sent.response {
        pending.remember_reason(reason_of(req, req.resp).unwrap_or_default());
    }
    pending.delivered = Some(Delivered { lines, ..sent });
}

/// VCL's `.nolog()`: takes back the calls of `.log()` so far.
pub(super) fn unregister(ctx: &ffi::vrt_ctx, stream: &Stream) {
    // Outside of a task nothing is registered.
    let _ = pending(ctx, stream, |pending| {
        pending.registered = false;
        pending.priority = None;
    });
}

/// VCL's `.set()`. `false` when there is too much already, or no task.
pub(super) fn set(ctx: &ffi::vrt_ctx, stream: &Stream, key: &[u8], value: &[u8]) -> bool {
    pending(ctx, stream, |pending| pending.set(key, value)).unwrap_or(false)
}

/// Enters a value that was carried past a rollback. What cannot be entered counts as dropped.
pub(super) fn enter_again(ctx: &ffi::vrt_ctx, pending: Box<Pending>) -> Option<*mut Pending> {
    let stream = pending.lend()?;
    let counts = pending.counts();
    // What cannot be entered is let go of, and may have had the last reference.
    let _held = pending.held();
    let entered = guarded(|| enter(ctx, pending));
    if counts && !matches!(entered, Some(Some(_))) {
        let stats = stream.outlet.stats();
        stats::add(if entered.is_none() { &stats.dropped_panic } else { &stats.dropped_end }, 1);
    }
    entered.flatten()
}

/// The values of a task, of which the first is in its place.
struct Values;

impl Destroy for Values {
    fn destroy(ctx: &ffi::vrt_ctx, goes_on: bool, first: *mut c_void) {
        let first = first.cast::<Pending>();
        let mut values = first;
        // SAFETY: the values are the Boxes that add() put there, and Varnish gives them back once.
        let mut next = || unsafe { Pending::pop(&mut values) };
        // SAFETY: in a client task req is valid until its destructors have run.
        if let Some(req) = unsafe { ctx.req.as_ref() } {
            if goes_on {
                let [vsl] = &req.vsl;
                while let Some(pending) = next() {
                    rolled_back(ctx, vsl, version::count(req.esi_level), pending);
                }
                return;
            }
            guarded(|| carry::end(ctx));
            // SAFETY: they are let go of when the lines are.
            let values = unsafe { Pending::all(first) };
            finish(values, |stream, pending, lines| end_of_request(stream, req, pending, lines));
        // SAFETY: in a backend task bo is valid until its destructors have run.
        } else if let Some(bo) = unsafe { ctx.bo.as_ref() } {
            if goes_on {
                let [vsl] = &bo.vsl;
                while let Some(pending) = next() {
                    rolled_back(ctx, vsl, 0, pending);
                }
                return;
            }
            guarded(|| carry::end(ctx));
            // SAFETY: as above.
            let values = unsafe { Pending::all(first) };
            finish(values, |stream, pending, lines| end_of_fetch(stream, bo, pending, lines));
        }
        while let Some(pending) = next() {
            pending.give();
        }
    }
}

/// The destructor runs in mid task.
fn rolled_back(ctx: &ffi::vrt_ctx, vsl: &ffi::vsl_log, esi_level: u32, mut pending: Box<Pending>) {
    let Some(stream) = pending.lend() else { return pending.give() };
    // It would have no line in any case.
    if esi_level > 0 && !stream.esi {
        return pending.give();
    }
    pending.sampled = stream.sample.has(version::vxid(vsl));
    // Not in the guard: Varnish is walking over its node.
    if guarded(|| carry::rolls_back(ctx)) == Some(true) {
        carry::keep(pending);
    } else {
        drop_end(pending);
    }
}

/// Writes the records that VCL has asked for.
fn finish<'t>(
    values: impl Iterator<Item = &'t Pending>,
    write: impl Fn(&Stream, &'t Pending, &mut Lines<'_, 't>),
) {
    Lines::with(|lines| {
        for pending in values.filter(|pending| pending.registered) {
            if let Some(stream) = pending.stream() {
                stream.guard(|| write(stream, pending, lines));
            }
        }
    });
}

/// Counts a record whose request's end will not be seen.
pub(super) fn drop_end(pending: Box<Pending>) {
    if pending.counts()
        && let Some(stream) = pending.stream()
    {
        stats::add(&stream.outlet.stats().dropped_end, 1);
    }
    pending.give();
}

fn end_of_request<'t>(
    stream: &Stream,
    req: &ffi::req,
    pending: &'t Pending,
    lines: &mut Lines<'_, 't>,
) {
    if req.esi_level > 0 && !stream.esi {
        return;
    }
    let [vsl] = &req.vsl;
    let structs = Client::new(req, pending, answer(req));
    let acct = (!version::piped(req)).then_some(Acct {
        request_header: req.acct.req_hdrbytes,
        request_body: req.acct.req_bodybytes,
        response_header: req.acct.resp_hdrbytes,
        response_body: req.acct.resp_bodybytes,
    });
    let about = About {
        now: version::seconds(req.t_prev),
        pending,
        side: Side::Client,
        esi_level: version::count(req.esi_level),
        restarts: version::count(req.restarts),
    };
    write(stream, vsl, &about, acct, &structs, lines);
}

fn end_of_fetch<'t>(
    stream: &Stream,
    bo: &ffi::busyobj,
    pending: &'t Pending,
    lines: &mut Lines<'_, 't>,
) {
    let [vsl] = &bo.vsl;
    stream.mask.fetch();
    let structs = Backend { bo, pending };
    let acct = Some(Acct {
        request_header: bo.acct.bereq_hdrbytes,
        request_body: bo.acct.bereq_bodybytes,
        response_header: bo.acct.beresp_hdrbytes,
        response_body: bo.acct.beresp_bodybytes,
    });
    let about = About {
        now: version::seconds(bo.t_prev),
        pending,
        side: Side::Backend,
        esi_level: 0,
        restarts: version::count(bo.retries),
    };
    write(stream, vsl, &about, acct, &structs, lines);
}

struct About<'t> {
    /// When the task ended.
    now: f64,
    pending: &'t Pending,
    side: Side,
    esi_level: u32,
    restarts: u32,
}

/// The records that the task has logged and Varnish has not flushed yet.
fn log_of(vsl: &ffi::vsl_log) -> &[u8] {
    let length = (vsl.wlp as usize).saturating_sub(vsl.wlb as usize);
    if vsl.wlb.is_null() {
        return &[];
    }
    // SAFETY: wlb..wlp is initialised and stands still: this thread alone writes it.
    unsafe { std::slice::from_raw_parts(vsl.wlb.cast::<u8>(), length) }
}

fn write<'t>(
    stream: &Stream,
    vsl: &ffi::vsl_log,
    about: &About<'t>,
    acct: Option<Acct>,
    structs: &dyn Structs,
    lines: &mut Lines<'_, 't>,
) {
    let vxid = version::vxid(vsl);
    if !stream.sample.has(vxid) {
        return;
    }
    let (program, pending) = (&*stream.program, about.pending);
    let render = |line: &mut Vec<u8>| {
        let task = Task {
            side: about.side,
            log: log_of(vsl),
            overhead: version::VSL_OVERHEAD,
            reclen: params::reclen(about.now),
            mask: &params::masked,
            vxid,
            esi_level: about.esi_level,
            restarts: about.restarts,
            acct,
            structs,
        };
        program.render(&task, line)
    };
    let more = !pending.next.is_null();
    let (line, rendered) = lines.of(program, pending, more, render);
    push(stream, line, rendered, pending.priority);
}

/// Counts what is wrong with a line, and pushes it.
fn push(stream: &Stream, line: &[u8], rendered: Rendered, priority: Option<Priority>) {
    if rendered.truncated {
        stats::add(&stream.outlet.stats().truncated, 1);
    }
    if rendered.incomplete {
        stats::add(&stream.outlet.stats().incomplete, 1);
    }
    let priority = priority.unwrap_or_else(|| Priority::of_status(rendered.status));
    stream.outlet.push(Record { bytes: line, cut: rendered.truncated }, priority);
}

/// VCL's `.log_line()`: a line that is complete now.
pub(super) fn write_line(
    ctx: &ffi::vrt_ctx,
    stream: &Stream,
    text: &[u8],
    priority: Option<Priority>,
) {
    let program = &*stream.program;
    Lines::with(|lines| {
        let (line, rendered) =
            lines.once(program, |line| program.render_line(text, version::seconds(ctx.now), line));
        push(stream, line, rendered, priority);
    });
}
