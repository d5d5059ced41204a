//! From `.log()` in VCL to a line in the ring when the task ends.
//!
//! `.log()` leaves a [`Pending`] in the task's workspace as a PRIV_TASK value. Varnish runs its
//! destructor in `VCL_TaskLeave` (`bin/varnishd/cache/cache_vrt_priv.c`), after the body went
//! out: then the byte counters and times are final, `req->http` still stands, and the task's own
//! log buffer, not yet flushed, says the rest. `req->resp` is torn down by then, which is why the
//! response's header lines are remembered when `.log()` is called.
//!
//! The destructor also runs when a request is rolled back: by VCL (`std.rollback()`, a switch to a
//! VCL label), with a context that stands inside a VCL method; and after VCL has failed, on the
//! way to `vcl_synth`, while the worker still has the request's log at hand (`cnt_vclfail` in
//! `bin/varnishd/cache/cache_req_fsm.c`). That is not the end of the task: nothing is logged then,
//! and VCL that goes on must call `.log()` again.
//!
//! Nothing here unwinds: a panic in a destructor would end varnishd's child.

use std::cell::{Cell, RefCell};
use std::ffi::{c_uint, c_void};

use varnish::ffi;

use super::shared::Shared;
use super::structs::{Backend, Client, headers};
use crate::record::{Acct, Side, Structs, Task};
use crate::stats;

/// Words before a log record's text (`VSL_OVERHEAD` of `include/vapi/vsl_int.h`).
const VSL_OVERHEAD: usize = 3;

/// `vsl_reclen`'s default. A module cannot read the parameter: a record at least this long is
/// compared with the struct it was made from.
const VSL_RECLEN: usize = 255;

thread_local! {
    /// A worker's line buffer: grown once, used for every line.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A key and a value that VCL's `.set()` left, in the task's workspace.
struct Value {
    key: &'static [u8],
    value: &'static [u8],
    next: *const Value,
}

/// What VCL left for the end of a task. Lives in the task's workspace.
pub(super) struct Pending {
    /// The stream, without a reference of its own: every worker would write to the one counter,
    /// twice a request. A task holds on to its VCL until its destructors have run (`CNT_Request`
    /// and `cnt_esi` leave the task before they release the VCL, `VPI_vcl_select` rolls back
    /// before it changes it, a fetch releases it with the `busyobj`), and objects of a VCL are
    /// finished when nobody is left that does (`VCL_Poll` asserts it).
    stream: *const Shared,
    registered: Cell<bool>,
    values: Cell<*const Value>,
    /// Copies of the response's header slots, and how many.
    response: Cell<(*const ffi::txt, usize)>,
}

impl Pending {
    /// The response's header lines as they stood when `.log()` was called.
    pub(super) fn response(&self) -> &[ffi::txt] {
        let (slots, count) = self.response.get();
        if slots.is_null() {
            return &[];
        }
        // SAFETY: remember_response() put `count` copies there, in this task's workspace.
        unsafe { std::slice::from_raw_parts(slots, count) }
    }

    /// The latest value that VCL set for `key`.
    pub(super) fn value(&self, key: &[u8]) -> Option<&[u8]> {
        let mut at = self.values.get();
        // SAFETY: the list's nodes lie in this task's workspace and its end is null.
        while let Some(value) = unsafe { at.as_ref() } {
            if value.key == key {
                return Some(value.value);
            }
            at = value.next;
        }
        None
    }
}

static METHODS: Methods = Methods(ffi::vmod_priv_methods {
    magic: ffi::VMOD_PRIV_METHODS_MAGIC,
    type_: c"s3log_pending".as_ptr(),
    fini: Some(task_end),
});

struct Methods(ffi::vmod_priv_methods);

// SAFETY: the struct is constant; Varnish only reads it.
unsafe impl Sync for Methods {}

/// `size` bytes of the task's workspace, aligned for any struct; `None` when it is used up.
fn allocate(ctx: &ffi::vrt_ctx, size: usize) -> Option<*mut c_void> {
    let size = c_uint::try_from(size).ok()?;
    // SAFETY: a context's workspace is valid while its VCL method runs.
    let room = unsafe { ffi::WS_Alloc(ctx.ws, size) };
    (!room.is_null()).then_some(room)
}

/// A copy of `bytes` in the task's workspace, where it stays until the task's end.
fn copy(ctx: &ffi::vrt_ctx, bytes: &[u8]) -> Option<&'static [u8]> {
    if bytes.is_empty() {
        return Some(&[]);
    }
    let room = allocate(ctx, bytes.len())?.cast::<u8>();
    // SAFETY: room has this many bytes and overlaps nothing else.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), room, bytes.len()) };
    // SAFETY: just written; the workspace stands until the destructors have run.
    Some(unsafe { std::slice::from_raw_parts(room, bytes.len()) })
}

/// This task's [`Pending`] of `stream`, made if there is none.
fn pending<'a>(ctx: &'a ffi::vrt_ctx, stream: &Shared) -> Option<&'a Pending> {
    if ctx.req.is_null() && ctx.bo.is_null() {
        return None;
    }
    let id = std::ptr::from_ref(stream).cast::<c_void>();
    // SAFETY: ctx belongs to a client or backend task; the id is this stream's own.
    let slot = unsafe { ffi::VRT_priv_task(ctx, id) };
    // SAFETY: null when the workspace is used up, else valid until the task's end.
    let slot = unsafe { slot.as_mut() }?;
    if slot.priv_.is_null() {
        let room = allocate(ctx, size_of::<Pending>())?.cast::<Pending>();
        let pending = Pending {
            stream: std::ptr::from_ref(stream),
            registered: Cell::new(false),
            values: Cell::new(std::ptr::null()),
            response: Cell::new((std::ptr::null(), 0)),
        };
        // SAFETY: room is new, large enough, and aligned to a pointer as WS_Alloc promises.
        unsafe { room.write(pending) };
        slot.priv_ = room.cast();
        slot.methods = &raw const METHODS.0;
    }
    // SAFETY: this module alone writes this slot, with a Pending.
    unsafe { slot.priv_.cast::<Pending>().as_ref() }
}

/// VCL's `.log()`. Whether the record will be written; `false` when the workspace is used up or
/// there is no task, as in `vcl_init`.
pub(super) fn register(ctx: &ffi::vrt_ctx, stream: &Shared) -> bool {
    let Some(pending) = pending(ctx, stream) else { return false };
    pending.registered.set(true);
    if stream.reads_response {
        remember_response(ctx, pending);
    }
    true
}

/// Keeps where the response's header lines lie: the lines stay in the workspace, but the list of
/// them is gone before the task ends. Without room for the list only its healing is lost.
fn remember_response(ctx: &ffi::vrt_ctx, pending: &Pending) {
    let lines = headers(ctx.http_resp.0);
    let Some(room) = (!lines.is_empty()).then(|| allocate(ctx, size_of_val(lines))).flatten()
    else {
        return;
    };
    let room = room.cast::<ffi::txt>();
    // SAFETY: room has this many slots and overlaps nothing else.
    unsafe { std::ptr::copy_nonoverlapping(lines.as_ptr(), room, lines.len()) };
    pending.response.set((room, lines.len()));
}

/// VCL's `.set()`. `false` when the workspace is used up or there is no task.
pub(super) fn set(ctx: &ffi::vrt_ctx, stream: &Shared, key: &[u8], value: &[u8]) -> bool {
    let Some(pending) = pending(ctx, stream) else { return false };
    let Some(key) = copy(ctx, key) else { return false };
    let Some(value) = copy(ctx, value) else { return false };
    let Some(room) = allocate(ctx, size_of::<Value>()) else { return false };
    let room = room.cast::<Value>();
    // SAFETY: room is new, large enough, and aligned to a pointer as WS_Alloc promises.
    unsafe { room.write(Value { key, value, next: pending.values.get() }) };
    pending.values.set(room);
    true
}

/// The destructor of a [`Pending`].
unsafe extern "C" fn task_end(ctx: *const ffi::vrt_ctx, pending: *mut c_void) {
    // SAFETY: Varnish passes a valid context.
    let Some(ctx) = (unsafe { ctx.as_ref() }) else { return };
    // SAFETY: the value is the Pending that pending() put there.
    let Some(pending) = (unsafe { pending.cast::<Pending>().as_ref() }) else { return };
    // SAFETY: the task's VCL, and with it the stream, stands until this has returned.
    let Some(stream) = (unsafe { pending.stream.as_ref() }) else { return };
    if !pending.registered.get() || ctx.method != 0 {
        return;
    }
    stream.guard(|| {
        // SAFETY: in a client task req is valid until its destructors have run.
        if let Some(req) = unsafe { ctx.req.as_ref() } {
            // SAFETY: a request that is being worked on has a worker.
            let worker = unsafe { req.wrk.as_ref() };
            // CNT_Request takes the log from the worker before a request's last destructors.
            if worker.is_some_and(|worker| !worker.vsl.is_null()) {
                return;
            }
            end_of_request(stream, req, pending);
        // SAFETY: in a backend task bo is valid until its destructors have run.
        } else if let Some(bo) = unsafe { ctx.bo.as_ref() } {
            end_of_fetch(stream, bo, pending);
        }
    });
}

fn end_of_request(stream: &Shared, req: &ffi::req, pending: &Pending) {
    if req.esi_level > 0 && !stream.esi {
        return;
    }
    let [vsl] = &req.vsl;
    let structs = Client::new(req, pending);
    let acct = (!piped(req)).then_some(Acct {
        request_header: req.acct.req_hdrbytes,
        request_body: req.acct.req_bodybytes,
        response_header: req.acct.resp_hdrbytes,
        response_body: req.acct.resp_bodybytes,
    });
    let about = About { side: Side::Client, esi_level: req.esi_level, restarts: req.restarts };
    write(stream, vsl, &about, acct, &structs);
}

/// Whether this was a pipe, whose bytes the request's account does not have.
fn piped(req: &ffi::req) -> bool {
    #[cfg(not(varnish_before_7_7))]
    let piped = req.res_pipe() != 0;
    #[cfg(varnish_before_7_7)]
    let piped = req.res_mode & ffi::RES_PIPE != 0;
    piped
}

fn end_of_fetch(stream: &Shared, bo: &ffi::busyobj, pending: &Pending) {
    let [vsl] = &bo.vsl;
    let structs = Backend { bo, pending };
    let acct = Some(Acct {
        request_header: bo.acct.bereq_hdrbytes,
        request_body: bo.acct.bereq_bodybytes,
        response_header: bo.acct.beresp_hdrbytes,
        response_body: bo.acct.beresp_bodybytes,
    });
    let about = About { side: Side::Backend, esi_level: 0, restarts: bo.retries };
    write(stream, vsl, &about, acct, &structs);
}

struct About {
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

fn write(
    stream: &Shared,
    vsl: &ffi::vsl_log,
    about: &About,
    acct: Option<Acct>,
    structs: &dyn Structs,
) {
    let task = Task {
        side: about.side,
        log: log_of(vsl),
        overhead: VSL_OVERHEAD,
        reclen: VSL_RECLEN,
        mask: &[],
        vxid: vsl.wid.vxid & ((1 << 51) - 1),
        esi_level: about.esi_level,
        restarts: about.restarts,
        acct,
        structs,
    };
    LINE.with_borrow_mut(|line| {
        line.clear();
        let rendered = stream.program.render(&task, line);
        if rendered.truncated {
            stats::add(&stream.outlet.stats().truncated, 1);
        }
        if rendered.incomplete {
            stats::add(&stream.outlet.stats().incomplete, 1);
        }
        stream.outlet.push(line);
    });
}

/// VCL's `.log_line()`: a line that is complete now.
pub(super) fn write_line(ctx: &ffi::vrt_ctx, stream: &Shared, text: &[u8]) {
    LINE.with_borrow_mut(|line| {
        line.clear();
        if stream.program.render_line(text, ctx.now.0, line).truncated {
            stats::add(&stream.outlet.stats().truncated, 1);
        }
        stream.outlet.push(line);
    });
}
