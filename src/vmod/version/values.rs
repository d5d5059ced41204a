//! What each version has for the values of a task, its PRIV_TASKs: `include/vrt.h` and
//! `bin/varnishd/cache/cache_vrt_priv.c`.
//!
//! The values are in `privs` of the task's `struct req` or `struct busyobj`. So whatever leaves them still has
//! that struct: `Req_Release` (`MPL_Free`) and `VBO_ReleaseBusyObj` free it afterwards.

use std::ffi::c_void;
use std::ptr::null_mut;

use varnish::ffi;

/// The key of the module's value.
static KEY: u8 = 0;

fn key() -> *const c_void {
    (&raw const KEY).cast()
}

/// What is done with a task's value when Varnish leaves the task, or what it was until a rollback.
pub(crate) trait Destroy {
    /// `ctx` has the request or the fetch. `goes_on` says that it is rolled back and not over.
    fn destroy(ctx: &ffi::vrt_ctx, goes_on: bool, value: *mut c_void);
}

/// Whether a worker still has the log of the request: `CNT_Request` takes it away before a request's last
/// destructors.
fn is_worked_on(req: &ffi::req) -> bool {
    // SAFETY: a request that is being worked on has a worker.
    let worker = unsafe { req.wrk.as_ref() };
    worker.is_some_and(|worker| !worker.vsl.is_null())
}

/// What a value begins with: whose it is, where its destructor is not told. 6.6 gave it a context.
#[cfg(not(varnish_before_6_6))]
pub(crate) struct Owner;
#[cfg(varnish_before_6_6)]
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    req: *mut ffi::req,
    bo: *mut ffi::busyobj,
}

impl Owner {
    /// Nobody's.
    #[cfg(not(varnish_before_6_6))]
    pub(crate) const NONE: Self = Self;
    #[cfg(varnish_before_6_6)]
    pub(crate) const NONE: Self = Self { req: null_mut(), bo: null_mut() };

    /// The owner of what is put into the task of `ctx`: as `VRT_priv_task`, which prefers the request.
    #[cfg(not(varnish_before_6_6))]
    pub(crate) fn new(_ctx: &ffi::vrt_ctx) -> Self {
        Self
    }
    #[cfg(varnish_before_6_6)]
    pub(crate) fn new(ctx: &ffi::vrt_ctx) -> Self {
        let bo = if ctx.req.is_null() { ctx.bo } else { null_mut() };
        Self { req: ctx.req, bo }
    }
}

/// The place of the module's value in the task of `ctx`: null where there is none.
#[cfg(not(varnish_before_6_6))]
pub(crate) fn place(ctx: &ffi::vrt_ctx) -> *mut ffi::vmod_priv {
    // SAFETY: in a client task req is valid, and this thread alone has it.
    if unsafe { ctx.req.as_ref() }
        .is_some_and(|req| req.privs.iter().all(|of| of.rbh_root.is_null()))
    {
        return null_mut();
    }
    // SAFETY: the context belongs to a client or backend task.
    unsafe { ffi::VRT_priv_task_get(ctx, key()) }
}

/// 6.6 added `VRT_priv_task_get`. Before, the call that makes a place finds one, too; here it has no room to make
/// one.
#[cfg(varnish_before_6_6)]
pub(crate) fn place(ctx: &ffi::vrt_ctx) -> *mut ffi::vmod_priv {
    // SAFETY: in a client task req is valid, and this thread alone has it.
    if unsafe { ctx.req.as_ref() }.is_some_and(|req| req.privs.iter().all(is_empty)) {
        return null_mut();
    }
    let mut space = [0u64; 2];
    let mut workspace = ffi::ws::default();
    let length = size_of_val(&space) as std::ffi::c_uint;
    // SAFETY: both are here until this function returns, and what is looked for keeps neither.
    unsafe { ffi::WS_Init(&raw mut workspace, c"no".as_ptr(), space.as_mut_ptr().cast(), length) };
    make(ctx, &raw mut workspace)
}

/// Whether there are no values: a list up to 6.1, a tree from 6.2 on.
#[cfg(varnish_before_6_2)]
fn is_empty(values: &ffi::vrt_privs) -> bool {
    values.privs.vtqh_first.is_null()
}
#[cfg(all(varnish_before_6_6, not(varnish_before_6_2)))]
fn is_empty(values: &ffi::vrt_privs) -> bool {
    values.rbh_root.is_null()
}

/// The same, made in `workspace` where there is none; null without room for it.
fn make(ctx: &ffi::vrt_ctx, workspace: *mut ffi::ws) -> *mut ffi::vmod_priv {
    let mut own = *ctx;
    own.ws = workspace;
    // Up to 6.1 a value is of one VCL, and one that is found without a context of Varnish's has none.
    #[cfg(varnish_before_6_2)]
    {
        own.vcl = null_mut();
    }
    // SAFETY: the context belongs to a client or backend task.
    unsafe { ffi::VRT_priv_task(&raw const own, key()) }
}

/// The place for a value of the task of `ctx`, which has none, with `D` for its destructor; null without room
/// for it in `workspace`. The value begins with its `Owner`.
pub(crate) fn put<D: Destroy>(ctx: &ffi::vrt_ctx, workspace: *mut ffi::ws) -> *mut ffi::vmod_priv {
    let place = make(ctx, workspace);
    // SAFETY: valid until the task's end, and nothing else refers to it.
    if let Some(place) = unsafe { place.as_mut() } {
        #[cfg(not(varnish_before_6_6))]
        {
            place.methods = const {
                &ffi::vmod_priv_methods {
                    magic: ffi::VMOD_PRIV_METHODS_MAGIC,
                    type_: c"s3log_pending".as_ptr(),
                    fini: Some(fini::<D>),
                }
            };
        }
        #[cfg(varnish_before_6_6)]
        {
            place.free = Some(free::<D>);
        }
    }
    place
}

#[cfg(not(varnish_before_6_6))]
unsafe extern "C" fn fini<D: Destroy>(ctx: *const ffi::vrt_ctx, value: *mut c_void) {
    // SAFETY: Varnish passes a valid context.
    let Some(ctx) = (unsafe { ctx.as_ref() }) else { return };
    // SAFETY: in a client task req is valid until its destructors have run.
    let req = unsafe { ctx.req.as_ref() };
    D::destroy(ctx, ctx.method != 0 || req.is_some_and(is_worked_on), value);
}

#[cfg(varnish_before_6_6)]
unsafe extern "C" fn free<D: Destroy>(value: *mut c_void) {
    /// Of `worker::cur_method`: the subroutine has returned (`vcl_call_method`).
    const RETURNED: std::ffi::c_uint = 1;
    // SAFETY: the value that put() made a place for begins with it.
    let Some(Owner { req, bo }) = (unsafe { value.cast::<Owner>().as_ref() }).copied() else {
        return;
    };
    let ctx = ffi::vrt_ctx { magic: ffi::VRT_CTX_MAGIC, req, bo, ..Default::default() };
    // SAFETY: whoever leaves the values has what they are in.
    let goes_on = if let Some(req) = unsafe { req.as_ref() } {
        is_worked_on(req)
    // SAFETY: as above.
    } else if let Some(bo) = unsafe { bo.as_ref() } {
        // A subroutine of the fetch has put the value, and only `std.rollback()` in another one destroys it
        // before the end.
        // SAFETY: a fetch has a worker.
        unsafe { bo.wrk.as_ref() }.is_some_and(|worker| worker.cur_method & RETURNED == 0)
    } else {
        false
    };
    D::destroy(&ctx, goes_on, value);
}
