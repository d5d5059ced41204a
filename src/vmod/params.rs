//! Two of the running varnishd's parameters, of which a module has no other sight.
//!
//! `vsl_mask` is asked for by `VSL_tag_is_masked`, for the tag of each value that a request's log
//! lacks. Where Varnish does not have that (`version::masked`), `VSLb` into a buffer of our own writes
//! nothing of a tag that is masked. The masks of a request's first and last moment may differ; what is missing then is told by
//! neither.
//!
//! `vsl_reclen` is measured: `VSLb` into a buffer of our own, which nobody flushes, cuts a long text
//! at it. That costs as much as copying 4 KB, so one request a second does it. Up to a second after
//! a `param.set` values may be taken as whole, or as cut, that are not.

use std::ffi::{CStr, c_char, c_uint};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use varnish::ffi;

use super::version::{self, VSL_OVERHEAD};

/// `vsl_reclen`'s default, for as long as nothing was measured.
const DEFAULT: usize = 255;

/// The longest that is measured. A record at least this long is compared with its struct.
const TEXT: usize = 4096;

const WORDS: usize = VSL_OVERHEAD + TEXT / 4 + 16;

// Relaxed: each value is good on its own.
static RECLEN: AtomicUsize = AtomicUsize::new(DEFAULT);
static MEASURED: AtomicU64 = AtomicU64::new(0);

/// `vsl_reclen` as it was at most a second before `now`, in seconds since 1970.
pub(super) fn reclen(now: f64) -> usize {
    let second = now as u64;
    if MEASURED.load(Relaxed) != second
        && MEASURED.swap(second, Relaxed) != second
        && let Some(found) = measure()
    {
        RECLEN.store(found, Relaxed);
    }
    RECLEN.load(Relaxed)
}

/// A C string.
#[repr(C)]
struct Text([u8; TEXT], u8);

/// The length at which Varnish cuts a record now; `None` when every tag is masked.
#[inline(never)]
fn measure() -> Option<usize> {
    static LONG: Text = Text([b'x'; TEXT], 0);
    let tags = [ffi::VslTag::Vsl, ffi::VslTag::Error, ffi::VslTag::Notice, ffi::VslTag::ReqUrl];
    let tag = tags.into_iter().map(|tag| tag as c_uint).find(|tag| !hidden(*tag))?;
    let mut words = [0u32; WORDS];
    write(tag, c"%s", (&raw const LONG).cast(), &mut words);
    // The text's length with its NUL is in the low half of the record's first word.
    let length = words.first()? & 0xffff;
    usize::try_from(length).ok().filter(|length| *length > 0)
}

unsafe extern "C" {
    /// As in varnish-sys, for a number that is no constant of its enum.
    #[allow(clashing_extern_declarations)]
    fn VSLb(log: *mut ffi::vsl_log, tag: c_uint, format: *const c_char, ...);
}

/// Logs a record of `tag` into `words`, where it is the first, unless `vsl_mask` hides it.
fn write(tag: c_uint, format: &CStr, argument: *const c_char, words: &mut [u32]) {
    let mut log = version::log_buffer(words);
    // SAFETY: an empty buffer with room for the record, which VSLb therefore does not flush; the
    // format takes one string or none.
    unsafe { VSLb(&raw mut log, tag, format.as_ptr(), argument) };
}

/// Whether `vsl_mask` hides records of tag `number`, which is one that the running Varnish has.
pub(super) fn masked(number: u8) -> bool {
    hidden(c_uint::from(number))
}

fn hidden(tag: c_uint) -> bool {
    version::masked(tag).unwrap_or_else(|| {
        let mut words = [0u32; VSL_OVERHEAD + 4];
        write(tag, c"", std::ptr::null(), &mut words);
        // The first word has the tag.
        words.first() == Some(&0)
    })
}
