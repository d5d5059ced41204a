//! Values of a client request that Varnish's structs have exactly as its log does, so that nobody
//! walks over the log for them.
//!
//! What varnishncsa prints of a request is the first record of each kind, and these are written from
//! what `req->http0` keeps (`cnt_recv`: `Req_LogStart`, `http_VSL_log`). The exceptions, of which the
//! log stays the source:
//!
//! | header | why |
//! |---|---|
//! | with `:last` | later records may follow |
//! | `Content-Length`, `Transfer-Encoding` | `std.cache_req_body()` changes `http0` |
//! | `Via` | Varnish adds it after `http0` |
//! | `Host` of a request for `http://host/path` | `HTTP1_DissectRequest` logs that it takes the client's away |
//!
//! Of a response, the lines that were sent are printed, also where a VMOD changed them without logging that
//! (`std.collect()`). They are the last that were logged otherwise, unless VCL made a synthetic one in its
//! place: the log has the lines of both.

use super::heal::{heal_rest, last};
use super::program::{HeaderWatch, Program, Which, slot};
use super::task::{Address, Handling, Settled, Side, Task};
use super::text::{basic, trim};
use super::times::Times;
use super::walk::{Captured, walk};

/// Headers of a request whose first record is not what `http0` has.
const LOGGED: [&[u8]; 3] = [b"Content-Length", b"Transfer-Encoding", b"Via"];

/// What Varnish adds where the client sent none (`cnt_recv_prep`).
pub(super) const FORWARDED: &[u8] = b"X-Forwarded-For";

impl HeaderWatch {
    /// Whether `http0` has the value of this header of a request.
    pub(super) fn is_settled(&self) -> bool {
        self.which != Which::Last && !LOGGED.iter().any(|name| self.name.eq_ignore_ascii_case(name))
    }
}

/// Puts into `found`, which is new, what `program` prints of a task whose structs have it; `None`, and
/// nothing is put there, when all of it is to be looked for in the log.
pub(super) fn settle<'a>(
    program: &Program,
    task: &Task<'a>,
    found: &mut Captured<'_, 'a>,
) -> Option<Times> {
    if !program.heal || task.side != Side::Client {
        return None;
    }
    let structs = task.structs;
    let known = structs.settled()?;
    let reason = match program.reason {
        Some(slot) => Some((slot, structs.reason()?)),
        None => None,
    };
    let handling = if program.uses_handling { Some(structs.handling()?) } else { None };
    if program.host && !known.plain_url
        || !program.response.is_empty() && !answer(program, task, &known)
    {
        return None;
    }
    if program.uses(slot::FIRST_BYTE) {
        found.first_byte = Some(known.ready? - known.start);
    }
    first_line(program, &known, found);
    addresses(program, task, found);
    request(program, task, found);
    response(program, task, found);
    if let Some((slot, reason)) = reason {
        found.put(slot, trim(reason), false);
    }
    found.whole = true;
    if program.rest.walks {
        walk(program, &program.rest, task, found);
        heal_rest(program, task, found);
    }
    found.status = Some(known.status);
    found.handling = handling;
    found.hit = handling.map(|handling| handling == Handling::Hit);
    Some(Times::settled(program, &known))
}

/// Whether the lines of the response that was sent are the last ones in the log.
fn answer(program: &Program, task: &Task<'_>, known: &Settled<'_>) -> bool {
    let last = program.response.iter().all(|watch| watch.which != Which::First);
    last && !known.synthetic && task.structs.response_is_final()
}

fn first_line<'a>(program: &Program, known: &Settled<'a>, found: &mut Captured<'_, 'a>) {
    let mut put = |slot, value: Option<&'a [u8]>| {
        if let Some(value) = value
            && program.uses(slot)
        {
            found.put(slot, trim(value), false);
        }
    };
    put(slot::METHOD, known.method);
    put(slot::PROTOCOL, known.protocol);
    // Nothing is white space in the URL of a request that came as HTTP/1 (`HTTP1_DissectRequest`).
    if !program.splits_url && known.protocol != Some(b"HTTP/2.0") {
        put(slot::PATH, known.url);
    } else if let Some(url) = known.url
        && (program.uses(slot::PATH) || program.uses(slot::QUERY))
    {
        let at = memchr::memchr(b'?', url).unwrap_or(url.len());
        let (path, query) = url.split_at_checked(at).unwrap_or((url, &[]));
        put(slot::PATH, Some(path));
        put(slot::QUERY, Some(query));
    }
}

fn addresses<'a>(program: &Program, task: &Task<'a>, found: &mut Captured<'_, 'a>) {
    for (slot, which) in [(slot::HOST_IP, Address::ClientIp), (slot::PORT, Address::ClientPort)] {
        if program.uses(slot)
            && let Some(address) = task.structs.address(which)
        {
            // Numbers and what stands between them, whoever has sent it: `VTCP_name`, and `vpx_proto1`
            // after `getaddrinfo` has read it with `AI_NUMERICHOST`.
            found.put_plain(slot, address);
        }
    }
}

/// The first of each header counts.
fn request<'a>(program: &Program, task: &Task<'a>, found: &mut Captured<'_, 'a>) {
    task.structs.received(&program.names, &mut |slot, value| {
        let value = if slot == slot::AUTH { basic(value) } else { Some(value) };
        if let Some(value) = value {
            put_first(found, slot, value);
        }
    });
    for slot in &program.forwarded {
        if let Some(address) = task.structs.address(Address::ClientIp) {
            put_first(found, *slot, address);
        }
    }
}

fn put_first<'a>(found: &mut Captured<'_, 'a>, slot: u16, value: &'a [u8]) {
    if found.get(slot).bytes.is_none() {
        found.put(slot, trim(value), false);
    }
}

/// The last of each header counts.
fn response<'a>(program: &Program, task: &Task<'a>, found: &mut Captured<'_, 'a>) {
    for watch in &program.response {
        if let Some(value) = last(task.structs, &watch.name) {
            found.put(watch.slot, value, false);
        }
    }
}
