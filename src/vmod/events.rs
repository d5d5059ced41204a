//! Messages to the operator: into Varnish's log, and WARN and above to syslog.
//!
//! In Varnish's log they are records without a transaction, tag `Error` for WARN and ERROR and
//! `Debug` (which `vsl_mask` hides unless told otherwise) for the rest, that begin with `S3LOG`:
//! `varnishlog -g raw -q 'Error ~ "^S3LOG"'`. What the cache process writes to its standard error
//! the manager passes on to syslog and to its own standard error.

use std::ffi::{CStr, CString};
use std::io::Write as _;

use varnish::ffi;

use super::version::NO_VXID;
use crate::events::{Events, Level};
use crate::printable::printable;

/// varnishd's log and syslog.
#[derive(Debug, Clone, Copy)]
pub(super) struct Varnish;

impl Events for Varnish {
    fn event(&self, level: Level, message: &str) {
        // A gateway's words are among them.
        let text = format!("S3LOG {}: {}", level.word(), printable(message));
        if level >= Level::Warn {
            // A closed standard error is nobody's loss.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
        let tag = match level {
            Level::Info => ffi::VslTag::Debug,
            Level::Warn | Level::Error => ffi::VslTag::Error,
        };
        let Ok(text) = CString::new(text) else { return };
        log(tag, &text);
    }
}

/// One line in the task's log; in `vcl_init` and `vcl_fini`, which have none, in Varnish's.
pub(super) fn complain(ctx: &ffi::vrt_ctx, message: &str) {
    let Ok(message) = CString::new(message) else { return };
    if ctx.vsl.is_null() {
        log(ffi::VslTag::Error, &message);
    } else {
        // SAFETY: the task's log is valid; the format takes one string.
        unsafe { ffi::VSLb(ctx.vsl, ffi::VslTag::Error, c"%s".as_ptr(), message.as_ptr()) };
    }
}

/// One record of no transaction.
fn log(tag: ffi::VslTag, text: &CStr) {
    // SAFETY: both strings are NUL-terminated; the format takes one string.
    unsafe { ffi::VSL(tag, NO_VXID, c"%s".as_ptr(), text.as_ptr()) };
}
