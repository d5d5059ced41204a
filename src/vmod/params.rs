//! Two of the running varnishd's parameters, of which a module has no other sight.
//!
//! `vsl_mask` is asked for by `VSL_tag_is_masked`, for the tag of each value that a request's log
//! lacks. The masks of a request's first and last moment may differ; what is missing then is told by
//! neither.
//!
//! `vsl_reclen` is measured: `VSLb` into a buffer of our own, which nobody flushes, cuts a long text
//! at it. That costs as much as copying 4 KB, so one request a second does it. Up to a second after
//! a `param.set` values may be taken as whole, or as cut, that are not.

use std::ffi::{c_char, c_int, c_uint};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use varnish::ffi;

use super::version::VSL_OVERHEAD;

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
    // SAFETY: reads the parameter alone.
    let tag = tags.into_iter().find(|tag| unsafe { ffi::VSL_tag_is_masked(*tag) } == 0)?;
    let mut words = [0u32; WORDS];
    let bounds = words.as_mut_ptr_range();
    let mut log = ffi::vsl_log {
        wlb: bounds.start,
        wlp: bounds.start,
        wle: bounds.end,
        wlr: 0,
        wid: Default::default(),
    };
    let text = (&raw const LONG).cast::<c_char>();
    // SAFETY: an empty buffer with room for the record, which VSLb therefore does not flush; the
    // format takes one string.
    unsafe { ffi::VSLb(&raw mut log, tag, c"%s".as_ptr(), text) };
    // The text's length with its NUL is in the low half of the record's first word.
    let length = words.first()? & 0xffff;
    usize::try_from(length).ok().filter(|length| *length > 0)
}

unsafe extern "C" {
    /// As in varnish-sys, for a number that is no constant of its enum.
    #[allow(clashing_extern_declarations)]
    #[link_name = "VSL_tag_is_masked"]
    fn tag_is_masked(tag: c_uint) -> c_int;
}

/// Whether `vsl_mask` hides records of tag `number`, which is one that the running Varnish has.
pub(super) fn masked(number: u8) -> bool {
    // SAFETY: reads the parameter alone.
    unsafe { tag_is_masked(c_uint::from(number)) != 0 }
}
