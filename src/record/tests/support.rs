//! A task built by hand: the records a Varnish would have written, in its own layout.

use crate::record::example;
use crate::record::task::{
    Address, Connection, Handling, Message, Moment, NoStructs, Part, unmasked,
};
use crate::record::{
    Dialect, Escape, Options, Program, Rendered, Side, Structs, TagTable, Task, Zone,
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
        Self { bytes: Vec::new(), reclen: example::RECLEN }
    }

    /// Adds a record as `VSLbt` does: cut to `reclen` bytes, NUL included.
    pub(crate) fn rec(mut self, tag: &str, text: impl AsRef<[u8]>) -> Self {
        self.push(tag, text.as_ref());
        self
    }

    pub(crate) fn push(&mut self, tag: &str, text: &[u8]) {
        example::append(&mut self.bytes, tag_number(tag), text, self.reclen);
    }
}

fn log_of(records: &[(&str, &str)]) -> Log {
    records.iter().fold(Log::new(), |log, (tag, text)| log.rec(tag, text))
}

/// A client request as Varnish 7.7.0 logs it.
pub(crate) fn client() -> Log {
    log_of(example::CLIENT)
}

/// A fetch as Varnish 7.7.0 logs it.
pub(crate) fn backend() -> Log {
    log_of(example::BACKEND)
}

pub(in crate::record) use example::ACCT;

pub(crate) fn task(log: &Log, side: Side) -> Task<'_> {
    Task {
        side,
        log: &log.bytes,
        overhead: 3,
        reclen: log.reclen,
        mask: &unmasked,
        vxid: example::VXID,
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
    /// What VCL made of it, if anything.
    pub(crate) url_of_vcl: Option<Vec<u8>>,
    pub(crate) received: Vec<Vec<u8>>,
    pub(crate) request: Vec<Vec<u8>>,
    pub(crate) response: Vec<Vec<u8>>,
    pub(crate) status: Option<u16>,
    pub(crate) reason: Option<Vec<u8>>,
    pub(crate) handling: Option<Handling>,
    pub(crate) connection: Option<Connection>,
    pub(crate) times: Option<(f64, f64, f64)>,
    pub(crate) values: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Structs for Known {
    fn line(&self, message: Message, part: Part) -> Option<&[u8]> {
        match part {
            Part::Url if message == Message::Request && self.url_of_vcl.is_some() => {
                self.url_of_vcl.as_deref()
            }
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
    fn reason(&self) -> Option<&[u8]> {
        self.reason.as_deref()
    }
    fn address(&self, which: Address) -> Option<&[u8]> {
        Some(example::address(which))
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
