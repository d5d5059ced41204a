//! What each version has for `struct transport`, whose calls `src/vmod/transport.rs` leads.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem::offset_of;
use std::ptr::null_mut;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Relaxed, Release};

use varnish::ffi;

/// The transport at `at`, if Varnish has one there that is laid out as it is here.
pub(crate) fn known(at: *const Transport) -> Option<Transport> {
    if !is_layout(by_number) {
        return None;
    }
    // SAFETY: the callers' transports are there, and all of Varnish's and its modules' are laid out alike.
    let now = *unsafe { at.as_ref() }?;
    (now.magic == TRANSPORT_MAGIC && is_varnishs(at.cast(), &now)).then_some(now)
}

/// Whether the list that Varnish has its transports in goes through them as [`Transport`] says. No installed header
/// has the struct, and what `vcl.load` compares need not change where a distribution adds a call to it. Varnish numbers
/// them in their order (`XPORT_Init`, from 7.1 on `XPORT_Register`). The list follows all of the calls, so that it is
/// elsewhere where Varnish has one call more or less than there is here.
fn is_layout(by_number: impl Fn(u16) -> *const Transport) -> bool {
    let mut at = by_number(1);
    for number in 2..=u16::MAX {
        if at.is_null() {
            return false;
        }
        let next = by_number(number);
        let list = at.wrapping_byte_add(offset_of!(Transport, list));
        // SAFETY: what Varnish has in its list stands for ever. Only this field is looked at, and what is there is
        // only compared.
        let after = unsafe { list.cast::<*const Transport>().read() };
        if after != next {
            return false;
        }
        if next.is_null() {
            return true;
        }
        at = next;
    }
    false
}

/// Whether the transport at `at`, which is `now`, is what Varnish has there: VCL's `req.transport` is the name from 7.1
/// on (`include/vrt_obj.h`); before, it is in Varnish's list. What is at `at` begins with [`TRANSPORT_MAGIC`].
fn is_varnishs(at: *const c_void, now: &Transport) -> bool {
    #[cfg(not(varnish_before_7_1))]
    let known = {
        unsafe extern "C" {
            /// The name in `req->transport`.
            fn VRT_r_req_transport(ctx: *const ffi::vrt_ctx) -> *const c_char;
        }
        // Nothing but the two fields that are looked at.
        let mut request =
            ffi::req { magic: ffi::REQ_MAGIC, transport: at.cast(), ..Default::default() };
        let req = &raw mut request;
        let ctx = ffi::vrt_ctx { magic: ffi::VRT_CTX_MAGIC, req, ..Default::default() };
        // SAFETY: looks at the request's transport alone, whose magic number is right.
        now.name == unsafe { VRT_r_req_transport(&raw const ctx) }
    };
    #[cfg(varnish_before_7_1)]
    let known = is_registered(at, now.number);
    known
}

/// Whether Varnish has the transport at `at` in its list, by this number: `XPORT_ByNumber` of
/// `bin/varnishd/cache/cache_transport.h`. Those are its own for connections, and stand for ever. None is
/// constant: `XPORT_Init` has written the number and the list's pointers into it.
pub(crate) fn is_registered(at: *const c_void, number: u16) -> bool {
    number != 0 && at == by_number(number).cast()
}

fn by_number(number: u16) -> *const Transport {
    unsafe extern "C" {
        fn XPORT_ByNumber(number: u16) -> *const c_void;
    }
    // SAFETY: looks through a list that does not change any more.
    unsafe { XPORT_ByNumber(number) }.cast()
}

/// Varnish's transport for HTTP/2, if it is one that is known here.
pub(crate) fn http2() -> Option<*mut Transport> {
    let all = (1..=u16::MAX).map(by_number).take_while(|at| !at.is_null());
    all.zip(1..)
        .find(|(at, number)| known(*at).is_some_and(|now| now.number == *number && now.is_http2()))
        .map(|(at, _)| at.cast_mut())
}

/// `TRANSPORT_MAGIC` of `bin/varnishd/cache/cache_transport.h`.
const TRANSPORT_MAGIC: c_uint = 0xf157_f32f;

/// A call that is not led.
pub(crate) type Call = *const c_void;
#[cfg(not(varnish_before_7_7))]
pub(crate) type Deliver = unsafe extern "C" fn(*mut ffi::req, c_int) -> c_uint;
#[cfg(varnish_before_7_7)]
pub(crate) type Deliver = unsafe extern "C" fn(*mut ffi::req, *mut c_void, c_int);
pub(crate) type Poll = unsafe extern "C" fn(*mut ffi::req) -> c_int;
pub(crate) type Minimal = unsafe extern "C" fn(*mut ffi::req, u16) -> c_int;

/// `struct transport` of `bin/varnishd/cache/cache_transport.h`, which is not among the installed headers. It is
/// the same in 7.4.3, 7.5.0, 7.6.4, 7.7.0, 8.0.0 and 9.0, but for the arguments of `deliver` before 7.7. In 7.3.2
/// it is as in 7.4.3. 6.6, 7.1, 7.2, 7.3.0, 7.4.0 and 7.4.1 have no `poll`, which came with the flag `req_reset`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Transport {
    pub magic: c_uint,
    pub number: u16,
    proto_ident: *const c_char,
    pub name: *const c_char,
    pub new_session: Call,
    pub unwait: Call,
    pub req_fail: Call,
    pub req_body: Call,
    pub deliver: Option<Deliver>,
    pub sess_panic: Call,
    pub req_panic: Call,
    pub reembark: Call,
    #[cfg(not(varnish_without_req_reset))]
    poll: Option<Poll>,
    pub minimal_response: Option<Minimal>,
    list: [*mut c_void; 2],
}

/// What `list` of a copy begins with: no address, as those of the last page are errors to Linux.
const COPY: *mut c_void = std::ptr::without_provenance_mut(usize::MAX - 0x533);

/// The name of HTTP/2's transport: `bin/varnishd/http2/cache_http2_session.c`.
#[cfg(not(varnish_before_7_1))]
const HTTP2: &CStr = c"HTTP/2";
#[cfg(varnish_before_7_1)]
const HTTP2: &CStr = c"H2";

impl Transport {
    /// `poll`, where Varnish has it.
    pub(crate) fn poll(&self) -> Option<Poll> {
        #[cfg(not(varnish_without_req_reset))]
        let poll = self.poll;
        #[cfg(varnish_without_req_reset)]
        let poll = None;
        poll
    }

    pub(crate) fn set_poll(&mut self, poll: Poll) {
        #[cfg(not(varnish_without_req_reset))]
        {
            self.poll = Some(poll);
        }
        #[cfg(varnish_without_req_reset)]
        let _ = poll;
    }

    /// Says that this is a copy of the transport at `at`, for other copies of this module. Varnish looks at
    /// `list` in its own transports alone.
    pub(crate) fn is_copy_of(&mut self, at: *const Self) {
        self.list = [COPY, at.cast_mut().cast()];
    }

    /// What this is a copy of, if a copy of this module has made it.
    pub(crate) fn copied_from(&self) -> Option<*const Self> {
        let [mark, at] = self.list;
        (self.magic == TRANSPORT_MAGIC && mark == COPY).then_some(at.cast_const().cast())
    }

    pub(crate) fn is_http2(&self) -> bool {
        // SAFETY: a transport's name is a constant string of Varnish's.
        !self.name.is_null() && unsafe { CStr::from_ptr(self.name) } == HTTP2
    }
}

/// Gives the transport at `at` the calls of `to` where it still has those of `from`. Another module may have
/// changed them further.
///
/// # Safety
///
/// It stands for ever, and may be written to. Varnish reads the calls at any time, each on its own.
pub(crate) unsafe fn change(at: *mut Transport, from: &Transport, to: &Transport) {
    let calls = |of: &Transport| {
        let deliver = of.deliver.map_or(null_mut(), |call| call as *mut c_void);
        let poll = of.poll().map_or(null_mut(), |call| call as *mut c_void);
        let minimal_response = of.minimal_response.map_or(null_mut(), |call| call as *mut c_void);
        [deliver, poll, minimal_response]
    };
    // SAFETY: as the caller says.
    let deliver: *mut *mut c_void = unsafe { &raw mut (*at).deliver }.cast();
    // SAFETY: as the caller says.
    #[cfg(not(varnish_without_req_reset))]
    let poll: *mut *mut c_void = unsafe { &raw mut (*at).poll }.cast();
    #[cfg(varnish_without_req_reset)]
    let poll: *mut *mut c_void = null_mut();
    // SAFETY: as the caller says.
    let minimal_response: *mut *mut c_void = unsafe { &raw mut (*at).minimal_response }.cast();
    let places = [deliver, poll, minimal_response];
    for ((place, from), to) in places.into_iter().zip(calls(from)).zip(calls(to)) {
        if place.is_null() {
            continue;
        }
        // SAFETY: a pointer to a function or null, aligned, and there for as long as the transport.
        let place = unsafe { AtomicPtr::from_ptr(place) };
        if place.load(Relaxed) == from {
            // Release: whoever calls it finds its pair.
            let _ = place.compare_exchange(from, to, Release, Relaxed);
        }
    }
}

/// What stands between Varnish and a transport's `deliver`.
pub(crate) trait Between: Sized {
    /// Before the delivery; the call that does it.
    fn begin(request: *mut ffi::req) -> Option<(Self, Deliver)>;

    /// The delivery is over.
    fn end(self, request: *mut ffi::req);
}

/// A `deliver` with `B` around it. From 7.7 on it says whether the delivery is over.
#[cfg(not(varnish_before_7_7))]
pub(crate) unsafe extern "C" fn deliver<B: Between>(
    request: *mut ffi::req,
    send_body: c_int,
) -> c_uint {
    /// `VTR_D_DONE`.
    const DONE: c_uint = 1;
    let Some((between, call)) = B::begin(request) else { return DONE };
    // SAFETY: the call that this one stands for, with its arguments.
    let next = unsafe { call(request, send_body) };
    if next == DONE {
        between.end(request);
    }
    next
}

/// A `deliver` with `B` around it.
#[cfg(varnish_before_7_7)]
pub(crate) unsafe extern "C" fn deliver<B: Between>(
    request: *mut ffi::req,
    boc: *mut c_void,
    send_body: c_int,
) {
    let Some((between, call)) = B::begin(request) else { return };
    // SAFETY: the call that this one stands for, with its arguments.
    unsafe { call(request, boc, send_body) };
    between.end(request);
}

#[cfg(test)]
mod tests {
    use std::ptr::null;

    use super::*;

    /// The transports of a Varnish whose struct has `more` calls than there are here, in its list. As in Varnish, the
    /// first one has no calls.
    fn transports(count: usize, more: isize) -> Vec<Vec<*const c_void>> {
        static CALL: u8 = 0;
        let words = size_of::<Transport>() / size_of::<*const c_void>();
        let list = (words - 2).checked_add_signed(more).unwrap();
        let call: *const c_void = (&raw const CALL).cast();
        let mut all = vec![vec![null(); words + 1]; count];
        all.iter_mut().skip(1).for_each(|one| one[..list].fill(call));
        for at in 0..count {
            all[at][list] = all.get(at + 1).map_or(null(), |next| next.as_ptr().cast());
            all[at][list + 1] = match at.checked_sub(1) {
                Some(before) => (&raw const all[before][list]).cast(),
                None => call,
            };
        }
        all
    }

    #[test]
    fn transports_with_a_call_more_or_less_than_here_are_not_known() {
        for (more, known) in [(-1, false), (0, true), (1, false)] {
            for count in 2..5 {
                let all = transports(count, more);
                let by_number = |number: u16| {
                    all.get(usize::from(number) - 1).map_or(null(), |one| one.as_ptr().cast())
                };
                assert_eq!(is_layout(by_number), known, "{count} with {more} more");
            }
        }
        assert!(!is_layout(|_| null()));
    }
}
