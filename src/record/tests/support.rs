//! A task built by hand: the records a Varnish would have written, in its own layout.

use crate::record::task::{
    Address, Connection, Handling, Message, Moment, NoStructs, Part, unmasked,
};
use crate::record::{
    Acct, Dialect, Escape, Options, Program, Rendered, Side, Structs, TagTable, Task, Zone,
};

pub(crate) fn tags() -> TagTable {
    TagTable::varnish_7()
}

pub(crate) fn tag_number(name: &str) -> u8 {
    tags().find(name).expect("a tag").number
}

/// A log buffer under construction.
#[derive(Clone, Default)]
pub(crate) struct Log {
    pub(crate) bytes: Vec<u8>,
    pub(crate) reclen: usize,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), reclen: 255 }
    }

    /// Adds a record as `VSLbt` does: cut to `reclen` bytes, NUL included.
    pub(crate) fn rec(mut self, tag: &str, text: impl AsRef<[u8]>) -> Self {
        self.push(tag, text.as_ref());
        self
    }

    pub(crate) fn push(&mut self, tag: &str, text: &[u8]) {
        let length = (text.len() + 1).min(self.reclen);
        let word = u32::from(tag_number(tag)) << 24 | 1 << 16 | length as u32;
        self.bytes.extend_from_slice(&word.to_ne_bytes());
        self.bytes.extend_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0x40]);
        self.bytes.extend_from_slice(&text[..length - 1]);
        self.bytes.push(0);
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0xaa);
        }
    }
}

/// A client request as Varnish 7.7.0 logs it.
pub(crate) fn client() -> Log {
    Log::new()
        .rec("Begin", "req 1 rxreq")
        .rec("Timestamp", "Start: 1700000000.123456 0.000000 0.000000")
        .rec("Timestamp", "Req: 1700000000.123456 0.000000 0.000000")
        .rec("VCL_use", "boot")
        .rec("ReqStart", "192.0.2.7 51234 a0")
        .rec("ReqMethod", "GET")
        .rec("ReqURL", "/path/x?a=1&b=2")
        .rec("ReqProtocol", "HTTP/1.1")
        .rec("ReqHeader", "Host: www.example.com")
        .rec("ReqHeader", "User-Agent: curl/8.0 \"quoted\"")
        .rec("ReqHeader", "Referer: http://ref.example/")
        .rec("ReqHeader", "Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l")
        .rec("ReqHeader", "Cookie: sid=abc; theme=dark")
        .rec("ReqHeader", "X-Twice: one")
        .rec("ReqHeader", "X-Twice: two")
        .rec("ReqHeader", "X-Empty:")
        .rec("ReqHeader", "X-Forwarded-For: 192.0.2.7")
        .rec("VCL_call", "RECV")
        .rec("ReqHeader", "X-Late: set by VCL")
        .rec("ReqURL", "/rewritten")
        .rec("VCL_return", "hash")
        .rec("VCL_call", "HASH")
        .rec("VCL_return", "lookup")
        .rec("Hit", "32770 119.5 10.0 0.0")
        .rec("VCL_call", "HIT")
        .rec("VCL_return", "deliver")
        .rec("RespProtocol", "HTTP/1.1")
        .rec("RespStatus", "200")
        .rec("RespReason", "OK")
        .rec("RespHeader", "Content-Type: text/html")
        .rec("RespHeader", "Server: origin")
        .rec("RespHeader", "X-Varnish: 5 3")
        .rec("RespHeader", "Age: 3")
        .rec("RespHeader", "Via: 1.1 cache (Varnish/7.7)")
        .rec("VCL_call", "DELIVER")
        .rec("VCL_Log", "tenant: blue")
        .rec("RespUnset", "Server: origin")
        .rec("RespHeader", "Content-Type: text/plain")
        .rec("VCL_return", "deliver")
        .rec("Timestamp", "Process: 1700000000.124000 0.000544 0.000544")
        .rec("RespStatus", "304")
        .rec("RespReason", "Not Modified")
        .rec("Filters", "")
        .rec("Timestamp", "Resp: 1700000000.373456 0.250000 0.249456")
}

/// A fetch as Varnish 7.7.0 logs it.
pub(crate) fn backend() -> Log {
    Log::new()
        .rec("Begin", "bereq 2 fetch")
        .rec("VCL_use", "boot")
        .rec("Timestamp", "Start: 1700000000.500000 0.000000 0.000000")
        .rec("BereqMethod", "GET")
        .rec("BereqURL", "/a?q")
        .rec("BereqProtocol", "HTTP/1.1")
        .rec("BereqHeader", "Host: www.example.com")
        .rec("BereqHeader", "X-Twice: one")
        .rec("VCL_call", "BACKEND_FETCH")
        .rec("BereqUnset", "X-Twice: one")
        .rec("BereqHeader", "X-Twice: two")
        .rec("BereqURL", "/b?r")
        .rec("VCL_return", "fetch")
        .rec("BackendOpen", "25 boot.origin 198.51.100.9 8080 127.0.0.1 40000 connect")
        .rec("Timestamp", "Bereq: 1700000000.510000 0.010000 0.010000")
        .rec("BerespProtocol", "HTTP/1.1")
        .rec("BerespStatus", "200")
        .rec("BerespHeader", "Content-Type: text/html")
        .rec("Timestamp", "Beresp: 1700000000.600000 0.100000 0.090000")
        .rec("VCL_call", "BACKEND_RESPONSE")
        .rec("BerespStatus", "404")
        .rec("BerespHeader", "Content-Type: text/plain")
        .rec("VCL_return", "deliver")
        .rec("Timestamp", "BerespBody: 1700000001.700000 1.200000 1.100000")
        .rec("Length", "11")
}

pub(crate) const ACCT: Acct =
    Acct { request_header: 100, request_body: 20, response_header: 300, response_body: 4000 };

pub(crate) fn task(log: &Log, side: Side) -> Task<'_> {
    Task {
        side,
        log: &log.bytes,
        overhead: 3,
        reclen: log.reclen,
        mask: &unmasked,
        vxid: 32_771,
        esi_level: 0,
        restarts: 0,
        acct: Some(ACCT),
        structs: &NoStructs,
    }
}

pub(crate) fn apache() -> Options {
    Options { hostname: "edge1".into(), pid: 42, ..Options::default() }
}

pub(crate) fn csa() -> Options {
    Options {
        dialect: Dialect::Varnishncsa,
        zone: Some(Zone::Utc),
        heal: false,
        ..Options::default()
    }
}

pub(crate) fn csa_json() -> Options {
    Options { escape: Some(Escape::Json), ..csa() }
}

pub(crate) fn compile(format: &str, options: &Options) -> Program {
    Program::compile(format, options, &tags()).unwrap_or_else(|error| panic!("{format}: {error}"))
}

/// The line without its newline.
pub(crate) fn line(format: &str, options: &Options, task: &Task<'_>) -> String {
    let (line, _) = full(format, options, task);
    String::from_utf8(line).expect("UTF-8")
}

pub(crate) fn full(format: &str, options: &Options, task: &Task<'_>) -> (Vec<u8>, Rendered) {
    let mut out = b"before".to_vec();
    let rendered = compile(format, options).render(task, &mut out);
    let mut line = out.strip_prefix(b"before").expect("appended").to_vec();
    assert_eq!(line.pop(), Some(b'\n'), "one newline at the end");
    assert!(!line.contains(&b'\n'), "and no other: {:?}", String::from_utf8_lossy(&line));
    (line, rendered)
}

/// Structs for a task whose log is not enough.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) method: Option<Vec<u8>>,
    pub(crate) url: Option<Vec<u8>>,
    pub(crate) received: Vec<Vec<u8>>,
    pub(crate) request: Vec<Vec<u8>>,
    pub(crate) response: Vec<Vec<u8>>,
    pub(crate) status: Option<u16>,
    pub(crate) handling: Option<Handling>,
    pub(crate) connection: Option<Connection>,
    pub(crate) times: Option<(f64, f64, f64)>,
    pub(crate) values: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Structs for Known {
    fn line(&self, _message: Message, part: Part) -> Option<&[u8]> {
        match part {
            Part::Method => self.method.as_deref(),
            Part::Url => self.url.as_deref(),
            Part::Protocol => Some(b"HTTP/1.1"),
        }
    }
    fn header(&self, message: Message, index: usize) -> Option<&[u8]> {
        let list = match message {
            Message::Received => &self.received,
            // Most tests have one request, which VCL left as it was.
            Message::Request if self.request.is_empty() => &self.received,
            Message::Request => &self.request,
            Message::Response => &self.response,
        };
        list.get(index).map(Vec::as_slice)
    }
    fn status(&self) -> Option<u16> {
        self.status
    }
    fn address(&self, which: Address) -> Option<&[u8]> {
        Some(match which {
            Address::ClientIp => b"192.0.2.7",
            Address::ClientPort => b"51234",
            Address::ServerIp => b"203.0.113.1",
            Address::ServerPort => b"443",
        })
    }
    fn moment(&self, which: Moment) -> Option<f64> {
        let (start, end, first) = self.times?;
        Some(match which {
            Moment::Start => start,
            Moment::End => end,
            Moment::FirstByte => first,
        })
    }
    fn connection(&self) -> Option<Connection> {
        self.connection
    }
    fn handling(&self) -> Option<Handling> {
        self.handling
    }
    fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.values.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_slice())
    }
}
