//! What a finished task hands over: its log buffer, its counters, and its structs.
//!
//! The log buffer says what happened in which order and is read by varnishncsa's rules. It may
//! be cut (`vsl_reclen`), flushed in mid transaction (`vsl_buffer`) or masked (`vsl_mask`); then
//! [`Structs`] answers in its place.

use super::text;

/// Which side of the cache a task is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A client request (`req`).
    Client,
    /// A fetch from a backend (`bereq`).
    Backend,
}

/// The counters of `ReqAcct`/`BereqAcct`, which Varnish logs only after the task has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acct {
    /// `req_hdrbytes` or `bereq_hdrbytes`.
    pub request_header: u64,
    /// `req_bodybytes` or `bereq_bodybytes`.
    pub request_body: u64,
    /// `resp_hdrbytes` or `beresp_hdrbytes`.
    pub response_header: u64,
    /// `resp_bodybytes` or `beresp_bodybytes`.
    pub response_body: u64,
}

impl Acct {
    /// Field 1 to 6 of the record's text, as vsl(7) numbers them.
    #[must_use]
    pub fn field(&self, number: u8) -> Option<u64> {
        match number {
            1 => Some(self.request_header),
            2 => Some(self.request_body),
            3 => Some(self.request_header.saturating_add(self.request_body)),
            4 => Some(self.response_header),
            5 => Some(self.response_body),
            6 => Some(self.response_header.saturating_add(self.response_body)),
            _ => None,
        }
    }
}

/// One of the message heads that Varnish keeps in structs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The request as received: `req->http0`; on the backend side `bereq0`.
    Received,
    /// The request as it stands now: `req->http`; on the backend side `bereq`.
    Request,
    /// The response as it stood when `.log()` was called or, later, if it still stands.
    Response,
}

/// A part of a message's first line, in the order of `http->hd[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `HTTP_HDR_METHOD`.
    Method,
    /// `HTTP_HDR_URL`, query included.
    Url,
    /// `HTTP_HDR_PROTO`.
    Protocol,
}

/// An end of the connection, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// `client.ip`, after the PROXY header; the backend's address on the backend side.
    ClientIp,
    /// The client's port.
    ClientPort,
    /// `server.ip`.
    ServerIp,
    /// The port of `server.ip`.
    ServerPort,
}

/// A point in a task's life, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// When the task began: the `Start` timestamp (`t_first`).
    Start,
    /// When it was over: the `Resp` or `BerespBody` timestamp (`t_prev`).
    End,
    /// When the answer's first byte could be sent: the `Process` timestamp.
    FirstByte,
}

/// What became of the client's connection (Apache's `%X`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// `X`: gone before the answer was complete.
    Aborted,
    /// `+`: may serve another request.
    KeptAlive,
    /// `-`: closed after the answer.
    Closed,
}

/// How a request was answered (`%{Varnish:handling}x`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// From the cache.
    Hit,
    /// A hit-for-miss object was found.
    HitMiss,
    /// A hit-for-pass object was found.
    HitPass,
    /// Fetched, and perhaps stored.
    Miss,
    /// Fetched around the cache.
    Pass,
    /// Handed through byte by byte.
    Pipe,
    /// Made by VCL.
    Synth,
}

/// The headers that a format prints of a request, found in one pass over all that it has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Names {
    /// What the names begin with, in either case: nearly all other headers are passed over by it.
    beginnings: u64,
    /// Each name, and where its value goes.
    names: Vec<(Vec<u8>, u16)>,
}

impl Names {
    /// Adds `name`, whose values are those of `slot`.
    pub(super) fn add(&mut self, name: &[u8], slot: u16) {
        if let [first, rest @ ..] = name {
            self.beginnings |= Self::bit(*first, *rest.first().unwrap_or(&b':'));
            self.names.push((name.to_vec(), slot));
        }
    }

    /// Calls `visit` with the slot and the value, leading spaces kept, of each of `lines`, `Name: value`,
    /// that has one of the names.
    #[inline]
    pub fn visit<'l>(
        &self,
        lines: impl Iterator<Item = &'l [u8]>,
        visit: &mut dyn FnMut(u16, &'l [u8]),
    ) {
        for line in lines {
            let [first, second, ..] = line else { continue };
            if self.beginnings & Self::bit(*first, *second) == 0 {
                continue;
            }
            for (name, slot) in &self.names {
                if let Some(value) = text::header(line, name) {
                    visit(*slot, value);
                }
            }
        }
    }

    /// One of 64 for two letters, of which the five low bits are the same in either case.
    #[inline]
    fn bit(first: u8, second: u8) -> u64 {
        1 << ((first << 1 ^ second & 31) & 63)
    }
}

/// What the structs of a client's request say exactly as its log does, once it has been answered.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    /// The method, as received.
    pub method: Option<&'a [u8]>,
    /// The URL, as received, query included.
    pub url: Option<&'a [u8]>,
    /// The protocol, as received.
    pub protocol: Option<&'a [u8]>,
    /// Whether the URL that the client sent had no host in it.
    pub plain_url: bool,
    /// The status sent.
    pub status: u16,
    /// Whether VCL made the answer.
    pub synthetic: bool,
    /// When the task began: the `Start` timestamp, in seconds since 1970.
    pub start: f64,
    /// When it was over: the `Resp` timestamp.
    pub end: f64,
    /// When the answer's first byte could be sent: the only `Process` timestamp.
    pub ready: Option<f64>,
}

/// The task's structs, asked only for what the log buffer does not answer.
///
/// Every method may say that it does not know. Answers borrow from the task: implementations
/// need not allocate.
pub trait Structs {
    /// A part of a message's first line.
    fn line(&self, _message: Message, _part: Part) -> Option<&[u8]> {
        None
    }
    /// The `index`th header of a message as `Name: value`, from 0; `None` ends the list.
    fn header(&self, _message: Message, _index: usize) -> Option<&[u8]> {
        None
    }
    /// What need not be looked for in the log: `None` unless this is a client's request that has been
    /// answered and neither restarted nor reset, and no ESI fragment.
    fn settled(&self) -> Option<Settled<'_>> {
        None
    }
    /// Calls `visit` as [`Names::visit`] does, for the headers of the request as received.
    fn received<'s>(&'s self, _names: &Names, _visit: &mut dyn FnMut(u16, &'s [u8])) {}
    /// Whether Varnish keeps the request's body, for which it may have changed what the request as received
    /// says of its length.
    fn body_is_kept(&self) -> bool {
        false
    }
    /// The status sent, if it is known for certain.
    fn status(&self) -> Option<u16> {
        None
    }
    /// The reason that was sent with [`Self::status`].
    fn reason(&self) -> Option<&[u8]> {
        None
    }
    /// Whether the response's headers are those that were sent, all that the format prints.
    fn response_is_final(&self) -> bool {
        false
    }
    /// An end of the connection.
    fn address(&self, _which: Address) -> Option<&[u8]> {
        None
    }
    /// A point in time.
    fn moment(&self, _which: Moment) -> Option<f64> {
        None
    }
    /// What became of the connection.
    fn connection(&self) -> Option<Connection> {
        None
    }
    /// How the request was answered.
    fn handling(&self) -> Option<Handling> {
        None
    }
    /// What VCL's `.set(key, value)` put into this task.
    fn value(&self, _key: &[u8]) -> Option<&[u8]> {
        None
    }
}

/// A task without structs: only its log is read.
#[derive(Debug, Clone, Copy)]
pub struct NoStructs;

impl Structs for NoStructs {}

/// The mask that hides nothing.
#[must_use]
pub fn unmasked(_tag: u8) -> bool {
    false
}

/// A finished task.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// Client or backend.
    pub side: Side,
    /// The bytes between `vsl->wlb` and `vsl->wlp`.
    pub log: &'a [u8],
    /// Words before a record's text (`VSL_OVERHEAD`): 3, or 2 before Varnish 7.3.
    pub overhead: usize,
    /// `vsl_reclen`: a record this long is taken to be cut.
    pub reclen: usize,
    /// Whether `vsl_mask` hides records of a tag's number. Asked only where a value is missing.
    pub mask: &'a dyn Fn(u8) -> bool,
    /// The transaction's number.
    pub vxid: u64,
    /// 0 for a request of its own, more for an ESI fragment.
    pub esi_level: u32,
    /// How often VCL restarted the request, or retried the fetch.
    pub restarts: u32,
    /// The counters; `None` for a piped request, which has a `PipeAcct` record instead.
    pub acct: Option<Acct>,
    /// The rest.
    pub structs: &'a dyn Structs,
}

impl std::fmt::Debug for Task<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("side", &self.side)
            .field("log", &self.log.len())
            .field("vxid", &self.vxid)
            .finish_non_exhaustive()
    }
}
