//! The VCL object of a stream, and what VCL calls on it.
//!
//! Varnish runs `vcl_fini` of every VCL, also where `vcl_init` has failed or has left a stream's `new` out
//! (`lib/libvcc/vcc_compile.c`), and the stream's object is null there. The binding unwraps the object of a
//! method that takes `&self`, outside of what catches a panic. So the methods that it reads take none, and
//! what it calls is found on the pointer: these.

use std::ffi::CStr;
use std::sync::Arc;

use varnish::vcl::Ctx;

use super::late::Late;
use super::object::Stream;
use super::structs::UNSET;
use super::{process, task};
use crate::stats;

/// The VCL object `s3log.stream`.
#[allow(non_camel_case_types, unreachable_pub)]
pub struct stream {
    // With a count, for what outlives its VCL by a moment; tasks keep the address alone as a rule.
    pub(super) stream: Arc<Stream>,
}

/// Streams of VCLs that are gone, which a task still has.
static LATE: Late<Stream> = Late::new();

impl Drop for stream {
    fn drop(&mut self) {
        LATE.leave(&self.stream);
    }
}

/// The methods of an object that may be null. On a null one they do nothing: its VCL has failed to load, and
/// the operator is told why.
///
/// # Safety
///
/// For each of them, the object is null or outlives the call.
pub(super) trait Methods {
    /// VCL's `.log()`.
    unsafe fn log(self, ctx: &mut Ctx<'_>, priority: Option<&CStr>);
    /// VCL's `.nolog()`.
    unsafe fn nolog(self, ctx: &mut Ctx<'_>);
    /// VCL's `.log_line()`.
    unsafe fn log_line(self, ctx: &mut Ctx<'_>, line: &CStr, priority: Option<&CStr>);
    /// VCL's `.set()`.
    unsafe fn set(self, ctx: &mut Ctx<'_>, key: &CStr, value: Option<&CStr>);
    /// VCL's `.status()`.
    unsafe fn status(self) -> String;
}

/// Calls `body` with the stream of `object`, if there is one; a panic in it costs one record.
///
/// # Safety
///
/// As for [`Methods`].
unsafe fn of<T: Default>(object: *const stream, body: impl FnOnce(&Stream) -> T) -> T {
    // SAFETY: the caller's.
    match unsafe { object.as_ref() } {
        Some(stream { stream }) => stream.guard(|| body(stream)),
        None => T::default(),
    }
}

impl Methods for *const stream {
    unsafe fn log(self, ctx: &mut Ctx<'_>, priority: Option<&CStr>) {
        let body = |stream: &Stream| {
            let priority = task::priority(ctx.raw, priority);
            if !task::register(ctx.raw, stream, priority) {
                stats::add(&stream.outlet.stats().dropped_end, 1);
            }
        };
        // SAFETY: the caller's.
        unsafe { of(self, body) };
    }

    unsafe fn nolog(self, ctx: &mut Ctx<'_>) {
        // SAFETY: the caller's.
        unsafe { of(self, |stream| task::unregister(ctx.raw, stream)) };
    }

    unsafe fn log_line(self, ctx: &mut Ctx<'_>, line: &CStr, priority: Option<&CStr>) {
        let body = |stream: &Stream| {
            let priority = task::priority(ctx.raw, priority);
            task::write_line(ctx.raw, stream, line.to_bytes(), priority);
        };
        // SAFETY: the caller's.
        unsafe { of(self, body) };
    }

    unsafe fn set(self, ctx: &mut Ctx<'_>, key: &CStr, value: Option<&CStr>) {
        let body = |stream: &Stream| {
            let value = value.map_or(UNSET, CStr::to_bytes);
            if !task::set(ctx.raw, stream, key.to_bytes(), value) {
                stats::add(&stream.outlet.stats().incomplete, 1);
            }
        };
        // SAFETY: the caller's.
        unsafe { of(self, body) };
    }

    unsafe fn status(self) -> String {
        // SAFETY: the caller's.
        unsafe { of(self, |stream| process::status(&stream.outlet)) }
    }
}
