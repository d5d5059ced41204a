//! One request and one fetch as Varnish 7.7 logs them, for showing what a format prints.
//!
//! `docs/formats.md` describes the request, and prints what each variable gives for it.

use super::task::{Acct, Address, Connection, Moment, Side, Structs, Task, unmasked};
use super::{Program, TagTable};

/// The request: a hit, made a 304 by VCL, after 250 ms.
pub(super) const CLIENT: &[(&str, &str)] = &[
    ("Begin", "req 1 rxreq"),
    ("Timestamp", "Start: 1700000000.123456 0.000000 0.000000"),
    ("Timestamp", "Req: 1700000000.123456 0.000000 0.000000"),
    ("VCL_use", "boot"),
    ("ReqStart", "192.0.2.7 51234 a0"),
    ("ReqMethod", "GET"),
    ("ReqURL", "/path/x?a=1&b=2"),
    ("ReqProtocol", "HTTP/1.1"),
    ("ReqHeader", "Host: www.example.com"),
    ("ReqHeader", "User-Agent: curl/8.0 \"quoted\""),
    ("ReqHeader", "Referer: http://ref.example/"),
    ("ReqHeader", "Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l"),
    ("ReqHeader", "Cookie: sid=abc; theme=dark"),
    ("ReqHeader", "X-Twice: one"),
    ("ReqHeader", "X-Twice: two"),
    ("ReqHeader", "X-Empty:"),
    ("ReqHeader", "X-Forwarded-For: 192.0.2.7"),
    ("VCL_call", "RECV"),
    ("ReqHeader", "X-Late: set by VCL"),
    ("ReqURL", "/rewritten"),
    ("VCL_return", "hash"),
    ("VCL_call", "HASH"),
    ("VCL_return", "lookup"),
    ("Hit", "32770 119.5 10.0 0.0"),
    ("VCL_call", "HIT"),
    ("VCL_return", "deliver"),
    ("RespProtocol", "HTTP/1.1"),
    ("RespStatus", "200"),
    ("RespReason", "OK"),
    ("RespHeader", "Content-Type: text/html"),
    ("RespHeader", "Server: origin"),
    ("RespHeader", "X-Varnish: 5 3"),
    ("RespHeader", "Age: 3"),
    ("RespHeader", "Via: 1.1 cache (Varnish/7.7)"),
    ("VCL_call", "DELIVER"),
    ("VCL_Log", "tenant: blue"),
    ("RespUnset", "Server: origin"),
    ("RespHeader", "Content-Type: text/plain"),
    ("VCL_return", "deliver"),
    ("Timestamp", "Process: 1700000000.124000 0.000544 0.000544"),
    ("RespStatus", "304"),
    ("RespReason", "Not Modified"),
    ("Filters", ""),
    ("Timestamp", "Resp: 1700000000.373456 0.250000 0.249456"),
];

/// The fetch: VCL makes a 404 of a 200.
pub(super) const BACKEND: &[(&str, &str)] = &[
    ("Begin", "bereq 2 fetch"),
    ("VCL_use", "boot"),
    ("Timestamp", "Start: 1700000000.500000 0.000000 0.000000"),
    ("BereqMethod", "GET"),
    ("BereqURL", "/a?q"),
    ("BereqProtocol", "HTTP/1.1"),
    ("BereqHeader", "Host: www.example.com"),
    ("BereqHeader", "X-Twice: one"),
    ("VCL_call", "BACKEND_FETCH"),
    ("BereqUnset", "X-Twice: one"),
    ("BereqHeader", "X-Twice: two"),
    ("BereqURL", "/b?r"),
    ("VCL_return", "fetch"),
    ("BackendOpen", "25 boot.origin 198.51.100.9 8080 127.0.0.1 40000 connect"),
    ("Timestamp", "Bereq: 1700000000.510000 0.010000 0.010000"),
    ("BerespProtocol", "HTTP/1.1"),
    ("BerespStatus", "200"),
    ("BerespHeader", "Content-Type: text/html"),
    ("Timestamp", "Beresp: 1700000000.600000 0.100000 0.090000"),
    ("VCL_call", "BACKEND_RESPONSE"),
    ("BerespStatus", "404"),
    ("BerespHeader", "Content-Type: text/plain"),
    ("VCL_return", "deliver"),
    ("Timestamp", "BerespBody: 1700000001.700000 1.200000 1.100000"),
    ("Length", "11"),
];

/// The bytes that either has.
pub(super) const ACCT: Acct =
    Acct { request_header: 100, request_body: 20, response_header: 300, response_body: 4000 };

/// Its number.
pub(super) const VXID: u64 = 32_771;

/// `vsl_reclen`'s default.
pub(super) const RECLEN: usize = 255;

/// Appends a record as `VSLbt` does: cut to `reclen` bytes, NUL included.
pub(super) fn append(log: &mut Vec<u8>, tag: u8, text: &[u8], reclen: usize) {
    let length = (text.len() + 1).min(reclen);
    let word = u32::from(tag) << 24 | 1 << 16 | length as u32;
    log.extend_from_slice(&word.to_ne_bytes());
    log.extend_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0x40]);
    log.extend(text.iter().take(length.saturating_sub(1)));
    log.push(0);
    while !log.len().is_multiple_of(4) {
        log.push(0xaa);
    }
}

/// The ends of either's connection.
pub(super) fn address(which: Address) -> &'static [u8] {
    match which {
        Address::ClientIp => b"192.0.2.7",
        Address::ClientPort => b"51234",
        Address::ServerIp => b"203.0.113.1",
        Address::ServerPort => b"443",
    }
}

/// What the log does not have, and what VCL has set.
struct Known<'v> {
    values: &'v [(&'v str, &'v str)],
}

impl Structs for Known<'_> {
    fn address(&self, which: Address) -> Option<&[u8]> {
        Some(address(which))
    }

    fn moment(&self, _which: Moment) -> Option<f64> {
        None
    }

    fn connection(&self) -> Option<Connection> {
        Some(Connection::KeptAlive)
    }

    fn value(&self, key: &[u8]) -> Option<&[u8]> {
        let found = self.values.iter().find(|(known, _)| known.as_bytes() == key);
        found.map(|(_, value)| value.as_bytes())
    }
}

impl Program {
    /// The line of the example, with its newline; `values` are what VCL has set. The program must be
    /// compiled for [`TagTable::varnish_7`].
    #[must_use]
    pub fn example(&self, side: Side, values: &[(&str, &str)]) -> Vec<u8> {
        let tags = TagTable::varnish_7();
        let records = match side {
            Side::Client => CLIENT,
            Side::Backend => BACKEND,
        };
        let mut log = Vec::new();
        for (tag, text) in records {
            if let Ok(info) = tags.find(tag) {
                append(&mut log, info.number, text.as_bytes(), RECLEN);
            }
        }
        let task = Task {
            side,
            log: &log,
            overhead: 3,
            reclen: RECLEN,
            mask: &unmasked,
            vxid: VXID,
            esi_level: 0,
            restarts: 0,
            acct: Some(ACCT),
            structs: &Known { values },
        };
        let mut line = Vec::new();
        self.render(&task, &mut line);
        line
    }
}
