//! A line whose values come from the structs of an answered request against the one from its log: both
//! are of one request, as Varnish keeps it and as Varnish logs it.

use proptest::prelude::*;
use proptest::sample::select;
use vmod_s3log::record::task::{Address, Handling, Message, Moment, Part, unmasked};
use vmod_s3log::record::{
    Acct, Dialect, Names, Options, Program, Settled, Side, Structs, TagTable, Task,
};

const FORMAT: &str = concat!(
    "%h %l %u %t %r %s %b %m %U %q %H %v %D %O %{remote}p %{Referer}i %{User-Agent}i ",
    "%{user-agent:first}i %{X-Forwarded-For}i %{Host}i %{a}C %{Cookie}i %{end:%T}t %{usec}t ",
    "%{X-Twice}i %{Varnish:handling}x %{Varnish:hitmiss}x %{s3log:incomplete}x",
);

/// Values that the log alone has, beside those of [`FORMAT`].
const LOGGED: &str = concat!(
    " %{VCL_Log:key}x %{Via}i %{X-Twice:last}i %{Connection}i %{Content-Length}i ",
    "%{Varnish:time_firstbyte}x %{VSL:ReqHeader:X-Twice}x %{VSL:RespStatus}x %{VSL:VCL_call}x ",
    "%{X-Kind:first}o %{VSL:RespHeader}x %{VSL:ReqUnset}x %{VSL:ReqURL}x",
);

const ANSWER: &str = " %{Age}o %{X-Kind}o %{X-Kind:last}o %{X-Gone}o %{X-Away}o";

/// One request.
#[derive(Debug, Clone)]
struct Request {
    first: [String; 3],
    received: Vec<String>,
    /// Those that Varnish has in the end.
    answer: Vec<String>,
    log: Vec<u8>,
    /// Whether the structs may be asked at once.
    known: bool,
    /// The client's `Host` headers, if its URL has a host, which `received` has in their place.
    unset: Option<Vec<String>>,
    /// Whether VCL made an answer in place of another one.
    synthetic: bool,
    /// Whether it is known when the answer was ready.
    ready: bool,
}

impl Structs for Request {
    fn settled(&self) -> Option<Settled<'_>> {
        let [method, url, protocol] = &self.first;
        self.known.then_some(Settled {
            method: Some(method.as_bytes()),
            url: Some(url.as_bytes()),
            protocol: Some(protocol.as_bytes()),
            plain_url: self.unset.is_none(),
            status: 206,
            synthetic: self.synthetic,
            // Doubles have them exactly.
            start: 1_700_000_000.125,
            end: 1_700_000_000.375,
            ready: (self.ready && !self.synthetic).then_some(1_700_000_000.187_5),
        })
    }
    fn received<'s>(&'s self, names: &Names, visit: &mut dyn FnMut(u16, &'s [u8])) {
        names.visit(self.received.iter().map(String::as_bytes), visit);
    }
    fn line(&self, _: Message, part: Part) -> Option<&[u8]> {
        let [method, url, protocol] = &self.first;
        Some(match part {
            Part::Method => method.as_bytes(),
            Part::Url => url.as_bytes(),
            Part::Protocol => protocol.as_bytes(),
        })
    }
    fn header(&self, message: Message, index: usize) -> Option<&[u8]> {
        let lines = if message == Message::Response { &self.answer } else { &self.received };
        lines.get(index).map(String::as_bytes)
    }
    fn status(&self) -> Option<u16> {
        Some(206)
    }
    fn response_is_final(&self) -> bool {
        true
    }
    fn address(&self, which: Address) -> Option<&[u8]> {
        Some(if which == Address::ClientPort { b"51234" } else { b"192.0.2.7" })
    }
    fn moment(&self, _: Moment) -> Option<f64> {
        None
    }
    fn handling(&self) -> Option<Handling> {
        Some(if self.synthetic { Handling::Synth } else { Handling::Hit })
    }
}

/// Writes the records that Varnish 7.7 writes.
fn log_of(request: &Request, vcl: &[String]) -> Vec<u8> {
    let Request { first, received, answer, unset, synthetic, .. } = request;
    let tags = TagTable::varnish_7();
    let mut log = Vec::new();
    let mut put = |tag: &str, text: &str| {
        let number = u32::from(tags.find(tag).unwrap().number);
        log.extend_from_slice(&(number << 24 | 1 << 16 | (text.len() as u32 + 1)).to_ne_bytes());
        log.extend_from_slice(&[0; 8]);
        log.extend_from_slice(text.as_bytes());
        log.push(0);
        log.resize(log.len().next_multiple_of(4), 0);
    };
    put("Begin", "req 1 rxreq");
    put("Timestamp", "Start: 1700000000.125000 0.000000 0.000000");
    if let Some(unset) = unset {
        unset.iter().for_each(|line| put("ReqUnset", line));
        put("ReqHeader", received.last().unwrap());
    }
    put("ReqStart", "192.0.2.7 51234 a0");
    for (tag, text) in ["ReqMethod", "ReqURL", "ReqProtocol"].into_iter().zip(first) {
        put(tag, text);
    }
    received.iter().for_each(|line| put("ReqHeader", line));
    let is = |line: &&String| line.to_lowercase().starts_with("x-forwarded-for:");
    let forwarded: Vec<_> = received.iter().filter(is).collect();
    forwarded.iter().for_each(|line| put("ReqUnset", line));
    let joined = forwarded.iter().filter_map(|line| Some(line.split_once(':')?.1.trim()));
    let joined: Vec<_> = joined.chain(["192.0.2.7"]).collect();
    put("ReqHeader", &format!("X-Forwarded-For: {}", joined.join(", ")));
    put("ReqHeader", "Via: 1.1 edge (Varnish/7.7)");
    put("VCL_call", "RECV");
    put("VCL_Log", "key: of VCL");
    for line in vcl {
        put("ReqURL", "/of-vcl?q");
        put("ReqMethod", "POST");
        put("ReqUnset", line);
        put("ReqHeader", &format!("{line} of VCL"));
    }
    for text in ["HASH", "HIT"] {
        put("VCL_call", text);
    }
    put("RespStatus", "200");
    put("RespHeader", "X-Gone: soon");
    put("RespHeader", "X-Kind: before");
    put("RespUnset", "X-Kind: before");
    if *synthetic {
        put("RespHeader", "X-Away: thrown away");
    } else {
        answer.iter().for_each(|line| put("RespHeader", line));
    }
    put("VCL_call", "DELIVER");
    put("RespUnset", "X-Gone: soon");
    put("Timestamp", "Process: 1700000000.187500 0.062500 0.062500");
    if *synthetic {
        put("RespStatus", "503");
        answer.iter().for_each(|line| put("RespHeader", line));
        put("VCL_call", "SYNTH");
    }
    put("RespStatus", "206");
    put("Timestamp", "Resp: 1700000000.375000 0.250000 0.187500");
    log
}

fn line(format: &str, dialect: Dialect, request: &Request) -> String {
    let options = Options { dialect, ..Options::default() };
    let program = Program::compile(format, &options, &TagTable::varnish_7()).unwrap();
    let task = Task {
        side: Side::Client,
        log: &request.log,
        overhead: 3,
        reclen: 4_096,
        mask: &unmasked,
        vxid: 7,
        esi_level: 0,
        restarts: 0,
        acct: Some(Acct { response_body: 100, ..Acct::default() }),
        structs: request,
    };
    let mut out = Vec::new();
    let rendered = program.render(&task, &mut out);
    assert!(rendered.status == Some(206), "{rendered:?}");
    String::from_utf8_lossy(&out).into_owned()
}

fn headers(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let value =
        prop_oneof!["[ -~]{0,12}", Just("Basic YTpi".to_owned()), Just(" a=b; c".to_owned())];
    let blank = select(&["", " ", "\t "][..]);
    let one = (select(names), blank, value)
        .prop_map(|(name, blank, value)| format!("{name}:{blank}{value}"));
    proptest::collection::vec(one, 0..9)
}

fn request() -> impl Strategy<Value = Request> {
    let names = &[
        "Host",
        "user-agent",
        "User-Agent",
        "User-Agent-X",
        "Referer",
        "X-Forwarded-For",
        "Cookie",
        "Authorization",
        "X-Twice",
        "Connection",
        "Content-Length",
        "Via",
    ];
    let first = ["GET|PURGE", "/[a-z]{0,5}(\\?[ -~]{0,5})?", "HTTP/1.[01]"];
    let answer = headers(&["Age", "X-Kind", "Server"]);
    let host = proptest::option::of("[a-z]{1,5}");
    let rest = (host, any::<bool>(), any::<bool>());
    (first, headers(names), headers(names), answer, rest).prop_map(
        |(first, mut received, vcl, answer, (host, synthetic, ready))| {
            let unset = host.map(|host| {
                let is = |line: &mut String| line.to_lowercase().starts_with("host:");
                let unset = received.extract_if(.., is).collect();
                received.push(format!("Host: {host}"));
                unset
            });
            let log = Vec::new();
            let known = true;
            let mut request =
                Request { first, received, answer, log, known, unset, synthetic, ready };
            request.log = log_of(&request, &vcl);
            request
        },
    )
}

proptest! {
    #[test]
    fn the_structs_of_an_answered_request_give_the_line_that_its_log_gives(
        request in request(),
        csa in any::<bool>(),
    ) {
        let dialect = if csa { Dialect::Varnishncsa } else { Dialect::Apache };
        let logged = Request { known: false, ..request.clone() };
        for more in ["", LOGGED, ANSWER, " %{Varnish:time_firstbyte}x", " %{X-Kind:first}o"] {
            let format = format!("{FORMAT}{more}");
            prop_assert_eq!(line(&format, dialect, &request), line(&format, dialect, &logged));
        }
        // Here the URL need not be split.
        let first = "%r %{User-Agent}i";
        prop_assert_eq!(line(first, dialect, &request), line(first, dialect, &logged));
    }

    #[test]
    fn without_values_that_the_log_alone_has_nobody_looks_into_it(request in request()) {
        let request = Request { unset: None, synthetic: false, ..request };
        let format = format!("{FORMAT}{ANSWER}");
        let mut other = request.clone();
        let strange = Request {
            first: ["PUT".to_owned(), "/strange".to_owned(), "HTTP/0.9".to_owned()],
            received: vec!["User-Agent: strange".to_owned()],
            answer: Vec::new(),
            ..request.clone()
        };
        other.log = log_of(&strange, &[]);
        let both = [&other, &request].map(|request| line(&format, Dialect::Apache, request));
        let [other, request] = both;
        prop_assert_eq!(other, request);
    }
}
