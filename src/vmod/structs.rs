//! Varnish's request structs, as the record needs them.
//!
//! Everything here reads memory that Varnish owns and that stands until the task's last
//! destructor has run: `struct req` or `struct busyobj`, their `struct http`s and the workspace
//! that their header lines lie in (`bin/varnishd/cache/cache.h`).

use std::cell::OnceCell;
use std::ffi::{CStr, c_char, c_uint};
use std::io::Write as _;
use std::net::SocketAddr;

use smallvec::SmallVec;
use varnish::ffi;

use super::pending::{self, Answer, Pending};
use super::version;
use crate::record::task::{
    Address, Connection, Handling, Message, Moment, Names, Part, Settled, Structs,
};

/// The value of a task for a STRING that is unset: no STRING has this byte.
pub(super) const UNSET: &[u8] = b"\0";

/// `include/vcl.h`.
const VCL_MET_PIPE: c_uint = 1 << 2;

/// The bytes of one header line or first-line part; `None` where there is none.
pub(super) fn line_of(txt: &ffi::txt) -> Option<&[u8]> {
    if txt.b.is_null() {
        return None;
    }
    // There is none where the end is null or before the beginning.
    let length = (txt.e as usize).checked_sub(txt.b as usize)?;
    // SAFETY: Varnish keeps b..e readable for as long as the http it belongs to.
    Some(unsafe { std::slice::from_raw_parts(txt.b.cast::<u8>(), length) })
}

/// The used slots of `http->hd[]`, the first-line parts included. `owner` is what has the `http`, a
/// request, a fetch or a context: nothing of it outlives the look.
fn slots<T>(_owner: &T, http: *const ffi::http) -> &[ffi::txt] {
    // SAFETY: a http of this task is null or valid until the task's destructors have run.
    let Some(http) = (unsafe { http.as_ref() }) else { return &[] };
    if http.hd.is_null() {
        return &[];
    }
    // SAFETY: hd[] has shd slots, of which the first nhd are in use.
    unsafe { std::slice::from_raw_parts(http.hd, usize::from(http.nhd.min(http.shd))) }
}

/// The header lines of `http` alone, as `Name: value`.
pub(super) fn headers<T>(owner: &T, http: *const ffi::http) -> &[ffi::txt] {
    slots(owner, http).get(ffi::HTTP_HDR_FIRST as usize..).unwrap_or_default()
}

/// A response's status, as Varnish logs it: of 1404 the last three digits.
pub(super) fn status_of<T>(owner: &T, http: *const ffi::http) -> Option<u16> {
    let text = slots(owner, http).get(ffi::HTTP_HDR_STATUS as usize).and_then(line_of)?;
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let digit = |byte: &u8| u16::from(byte - b'0');
            Some(100 * digit(a) + 10 * digit(b) + digit(c))
        }
        _ => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// The reason of a message.
pub(super) fn reason_of<T>(owner: &T, http: *const ffi::http) -> Option<&[u8]> {
    slots(owner, http).get(ffi::HTTP_HDR_REASON as usize).and_then(line_of)
}

fn first_line<T>(owner: &T, http: *const ffi::http, part: Part) -> Option<&[u8]> {
    let index = match part {
        Part::Method => ffi::HTTP_HDR_METHOD,
        Part::Url => ffi::HTTP_HDR_URL,
        Part::Protocol => ffi::HTTP_HDR_PROTO,
    };
    slots(owner, http).get(index as usize).and_then(line_of)
}

/// Whether a request line's URL stands right behind its method. `HTTP1_DissectRequest` takes the host
/// out of one that has it, by moving its beginning, and the client's `Host` away.
fn is_plain(method: &ffi::txt, url: &ffi::txt) -> bool {
    (method.e as usize).checked_add(1) == Some(url.b as usize)
}

/// Whether a request came as HTTP/2, and not as an upgrade from HTTP/1: `h2h_addhdr` keeps its `:scheme`.
fn has_scheme(req: &ffi::req) -> bool {
    let mut lines = headers(req, req.http0).iter().filter_map(line_of);
    lines.any(|line| line.starts_with(b"scheme:"))
}

/// A C string that Varnish keeps.
pub(super) fn text<'a>(pointer: *const c_char) -> Option<&'a [u8]> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: a non-null string of Varnish's is NUL-terminated and outlives the task.
    Some(unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// What VCL has set for `key`.
fn value<'p>(pending: &'p Pending, key: &[u8]) -> Option<&'p [u8]> {
    pending.value(key).filter(|value| *value != UNSET)
}

type Text = SmallVec<[u8; 48]>;

/// The structs of a client task.
pub(super) struct Client<'a> {
    /// The request.
    pub req: &'a ffi::req,
    /// What VCL left for the end of the task.
    pub pending: &'a Pending,
    answer: Answer,
    server: OnceCell<Option<(Text, Text)>>,
}

impl<'a> Client<'a> {
    pub(super) fn new(req: &'a ffi::req, pending: &'a Pending, answer: Answer) -> Self {
        Self { req, pending, answer, server: OnceCell::new() }
    }

    fn server(&self) -> Option<&(Text, Text)> {
        self.server
            .get_or_init(|| {
                let mut address: *mut ffi::suckaddr = std::ptr::null_mut();
                // SAFETY: the session outlives its request.
                if unsafe { ffi::SES_Get_server_addr(self.req.sp, &raw mut address) } != 0 {
                    return None;
                }
                let socket: Option<SocketAddr> = ffi::VCL_IP(address).into();
                let socket = socket?;
                let (mut ip, mut port) = (Text::new(), Text::new());
                write!(ip, "{}", socket.ip()).ok()?;
                write!(port, "{}", socket.port()).ok()?;
                Some((ip, port))
            })
            .as_ref()
    }

    /// Whether a VCL subroutine ran in this request, or in what its worker did of it.
    fn ran(&self, method: c_uint) -> bool {
        // SAFETY: a request that is being worked on has a worker.
        unsafe { self.req.wrk.as_ref() }.is_some_and(|worker| worker.seen_methods & method != 0)
    }

    fn session_text(&self, which: ffi::SessionAttr) -> Option<&[u8]> {
        if pending::workspaces_are_plain() {
            // What `ses_get_attr` does, without its three looks at the workspace.
            const NONE: u16 = 0xffff;
            // SAFETY: the session outlives its request.
            let session = unsafe { self.req.sp.as_ref() }?;
            let offset = *session.sattr.get(which as usize).filter(|offset| **offset != NONE)?;
            let [workspace] = &session.ws;
            return text(workspace.s.wrapping_add(usize::from(offset)));
        }
        // SAFETY: the session outlives its request; the attribute is a string of its workspace.
        text(unsafe { ffi::SES_Get_String_Attr(self.req.sp, which) })
    }
}

impl Structs for Client<'_> {
    fn settled(&self) -> Option<Settled<'_>> {
        let req = self.req;
        let sent = self.pending.delivered.as_ref().filter(|sent| sent.response)?;
        let fresh = req.restarts == 0 && req.esi_level == 0;
        let (start, end) = (version::seconds(req.t_first), version::seconds(req.t_prev));
        let timed = start > 0.0 && end > 0.0 && end.is_finite();
        if !fresh || !timed || version::piped(req) || version::is_reset(req) {
            return None;
        }
        let slots = slots(req, req.http0);
        let slot = |index: c_uint| slots.get(index as usize);
        let part = |index| slot(index).and_then(line_of);
        Some(Settled {
            method: part(ffi::HTTP_HDR_METHOD),
            url: part(ffi::HTTP_HDR_URL),
            protocol: part(ffi::HTTP_HDR_PROTO),
            plain_url: is_plain(slot(ffi::HTTP_HDR_METHOD)?, slot(ffi::HTTP_HDR_URL)?)
                || part(ffi::HTTP_HDR_PROTO) == Some(b"HTTP/2.0") && has_scheme(req),
            status: sent.status,
            synthetic: req.err_code != 0,
            start,
            end,
            // VCL may have made another answer before.
            ready: (sent.ready > 0.0 && req.err_code == 0).then_some(sent.ready),
        })
    }

    fn received<'s>(&'s self, names: &Names, visit: &mut dyn FnMut(u16, &'s [u8])) {
        names.visit(headers(self.req, self.req.http0).iter().filter_map(line_of), visit);
    }

    fn body_is_kept(&self) -> bool {
        version::body_is_kept(self.req)
    }

    fn line(&self, message: Message, part: Part) -> Option<&[u8]> {
        match message {
            Message::Received => first_line(self.req, self.req.http0, part),
            Message::Request => first_line(self.req, self.req.http, part),
            Message::Response => None,
        }
    }

    fn header(&self, message: Message, index: usize) -> Option<&[u8]> {
        let headers = match message {
            Message::Received => headers(self.req, self.req.http0),
            Message::Request => headers(self.req, self.req.http),
            Message::Response => return self.pending.response_line(self.answer, index),
        };
        headers.get(index).and_then(line_of)
    }

    fn address(&self, which: Address) -> Option<&[u8]> {
        match which {
            Address::ClientIp => self.session_text(ffi::SessionAttr::ClientIp),
            Address::ClientPort => self.session_text(ffi::SessionAttr::ClientPort),
            Address::ServerIp => self.server().map(|(ip, _)| ip.as_slice()),
            Address::ServerPort => self.server().map(|(_, port)| port.as_slice()),
        }
    }

    fn moment(&self, which: Moment) -> Option<f64> {
        let time = match which {
            Moment::Start => version::seconds(self.req.t_first),
            Moment::End => version::seconds(self.req.t_prev),
            Moment::FirstByte => self.pending.delivered.as_ref()?.ready,
        };
        (time > 0.0).then_some(time)
    }

    fn status(&self) -> Option<u16> {
        self.pending.delivered.as_ref().map(|sent| sent.status)
    }

    fn reason(&self) -> Option<&[u8]> {
        self.pending.reason()
    }

    fn response_is_final(&self) -> bool {
        self.pending.delivered.as_ref().is_some_and(|sent| sent.lines)
    }

    fn connection(&self) -> Option<Connection> {
        if version::piped(self.req) {
            return Some(Connection::Closed);
        }
        let sent = self.pending.delivered.as_ref();
        if version::is_reset(self.req) || sent.is_some_and(|sent| sent.aborted) {
            return Some(Connection::Aborted);
        }
        // SAFETY: the session outlives its request.
        let fd = unsafe { self.req.sp.as_ref() }?.fd;
        if fd < 0 {
            // `SES_Close` leaves a reason there, negated, and `req->doclose` as it was.
            let aborted = version::aborts(-fd);
            return Some(if aborted { Connection::Aborted } else { Connection::Closed });
        }
        Some(match version::close_reason(self.req)? {
            b"null" => Connection::KeptAlive,
            b"REM_CLOSE" | b"TX_ERROR" | b"RX_BODY" | b"RX_TIMEOUT" => Connection::Aborted,
            // Whatever would close a connection of HTTP/1 ends a stream: nothing in `bin/varnishd/http2` reads it.
            _ if self.line(Message::Received, Part::Protocol) == Some(b"HTTP/2.0") => {
                Connection::KeptAlive
            }
            _ => Connection::Closed,
        })
    }

    fn handling(&self) -> Option<Handling> {
        // A reset skips subroutines, of which varnishncsa counts those that ran.
        if version::is_reset(self.req) {
            return None;
        }
        if version::piped(self.req) {
            return Some(Handling::Pipe);
        }
        // Set by what leads to vcl_synth, reset before vcl_recv (cnt_recv_prep).
        if self.req.err_code != 0 {
            return Some(Handling::Synth);
        }
        let Some(sent) = &self.pending.delivered else {
            // A pipe to a backend that cannot be reached.
            return self.ran(VCL_MET_PIPE).then_some(Handling::Pipe);
        };
        Some(if self.req.is_hitpass() != 0 {
            Handling::HitPass
        } else if sent.private {
            // Of a pass the object is private, also where another one was hit before.
            Handling::Pass
        } else if self.req.is_hitmiss() != 0 {
            Handling::HitMiss
        } else if self.req.is_hit() != 0 {
            Handling::Hit
        } else {
            Handling::Miss
        })
    }

    fn value(&self, key: &[u8]) -> Option<&[u8]> {
        value(self.pending, key)
    }
}

/// The structs of a backend task.
pub(super) struct Backend<'a> {
    /// The fetch.
    pub bo: &'a ffi::busyobj,
    /// What VCL left for the end of the task.
    pub pending: &'a Pending,
}

impl Structs for Backend<'_> {
    fn line(&self, message: Message, part: Part) -> Option<&[u8]> {
        match message {
            Message::Received => first_line(self.bo, self.bo.bereq0, part),
            Message::Request => first_line(self.bo, self.bo.bereq, part),
            Message::Response => None,
        }
    }

    fn header(&self, message: Message, index: usize) -> Option<&[u8]> {
        let headers = match message {
            Message::Received => headers(self.bo, self.bo.bereq0),
            Message::Request => headers(self.bo, self.bo.bereq),
            Message::Response => headers(self.bo, self.bo.beresp),
        };
        headers.get(index).and_then(line_of)
    }

    fn moment(&self, which: Moment) -> Option<f64> {
        let time = match which {
            Moment::Start => version::seconds(self.bo.t_first),
            Moment::End => version::seconds(self.bo.t_prev),
            Moment::FirstByte => version::first_byte(self.bo),
        };
        (time > 0.0).then_some(time)
    }

    fn value(&self, key: &[u8]) -> Option<&[u8]> {
        value(self.pending, key)
    }
}
