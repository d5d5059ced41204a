//! What the benchmarks of the record path share: formats, and a hit as Varnish logs it.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::fmt::Write as _;

use vmod_s3log::record::task::{Address, unmasked};
use vmod_s3log::record::{Acct, Names, Settled, Side, Structs, TagTable, Task};

/// The combined format.
pub(crate) const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;
/// One JSON object of sixteen fields.
pub(crate) const JSON: &str = concat!(
    r#"{"time":"%{%Y-%m-%dT%H:%M:%SZ}t","ip":"%h","method":"%m","host":"%v","path":"%U","#,
    r#""query":"%q","proto":"%H","status":%>s,"in":%I,"out":%O,"body":%B,"us":%D,"#,
    r#""handling":"%{Varnish:handling}x","referer":"%{Referer}i","agent":"%{User-Agent}i","#,
    r#""type":"%{Content-Type}o"}"#
);

/// A hit as Varnish 7.7.0 logs it: 45 records.
const RECORDS: &[(&str, &str)] = &[
    ("Begin", "req 32769 rxreq"),
    ("Timestamp", "Start: 1700000000.123456 0.000000 0.000000"),
    ("Timestamp", "Req: 1700000000.123456 0.000000 0.000000"),
    ("VCL_use", "boot"),
    ("ReqStart", "192.0.2.77 51234 a0"),
    ("ReqMethod", "GET"),
    ("ReqURL", "/assets/app/main-2f1c9b.js?v=20231114&lang=en"),
    ("ReqProtocol", "HTTP/1.1"),
    ("ReqHeader", "Host: www.example.com"),
    (
        "ReqHeader",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
    ),
    ("ReqHeader", "Accept: */*"),
    ("ReqHeader", "Accept-Language: en-US,en;q=0.5"),
    ("ReqHeader", "Accept-Encoding: gzip, deflate, br"),
    ("ReqHeader", "Referer: https://www.example.com/account/overview"),
    ("ReqHeader", "Connection: keep-alive"),
    ("ReqHeader", "Cookie: sid=6b1d0f2a9c; theme=dark"),
    ("ReqHeader", "Sec-Fetch-Dest: script"),
    ("ReqHeader", "X-Forwarded-For: 192.0.2.77"),
    ("ReqHeader", "Via: 1.1 edge1 (Varnish/7.7)"),
    ("VCL_call", "RECV"),
    ("ReqUnset", "Cookie: sid=6b1d0f2a9c; theme=dark"),
    ("VCL_return", "hash"),
    ("ReqUnset", "Accept-Encoding: gzip, deflate, br"),
    ("ReqHeader", "Accept-Encoding: gzip"),
    ("VCL_call", "HASH"),
    ("VCL_return", "lookup"),
    ("Hit", "32770 119.512345 10.000000 0.000000"),
    ("VCL_call", "HIT"),
    ("VCL_return", "deliver"),
    ("RespProtocol", "HTTP/1.1"),
    ("RespStatus", "200"),
    ("RespReason", "OK"),
    ("RespHeader", "Content-Type: application/javascript"),
    ("RespHeader", "Content-Length: 48213"),
    ("RespHeader", "Date: Tue, 14 Nov 2023 22:13:00 GMT"),
    ("RespHeader", "ETag: \"5f1c9b-bc55\""),
    ("RespHeader", "X-Varnish: 32771 32770"),
    ("RespHeader", "Age: 20"),
    ("RespHeader", "Via: 1.1 edge1 (Varnish/7.7)"),
    ("VCL_call", "DELIVER"),
    ("VCL_return", "deliver"),
    ("Timestamp", "Process: 1700000000.123544 0.000088 0.000088"),
    ("Filters", ""),
    ("RespHeader", "Connection: keep-alive"),
    ("Timestamp", "Resp: 1700000000.123612 0.000156 0.000068"),
];

/// Its bytes between `wlb` and `wlp`.
pub(crate) fn log(tags: &TagTable) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, text) in RECORDS {
        let number = u32::from(tags.find(tag).expect("a tag").number);
        let length = text.len() as u32 + 1;
        for word in [number << 24 | 1 << 16 | length, 32_771, 1 << 30] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// The task whose log that is.
pub(crate) fn task<'a>(log: &'a [u8], structs: &'a dyn Structs) -> Task<'a> {
    Task {
        side: Side::Client,
        log,
        overhead: 3,
        reclen: 255,
        // As the module gives it.
        mask: &unmasked,
        vxid: 32_771,
        esi_level: 0,
        restarts: 0,
        acct: Some(Acct {
            request_header: 412,
            request_body: 0,
            response_header: 301,
            response_body: 48_213,
        }),
        structs,
    }
}

/// The structs of that request, answered.
pub(crate) struct Answered(Vec<Vec<u8>>);

impl Answered {
    pub(crate) fn new() -> Self {
        let first = RECORDS.iter().take_while(|(tag, _)| *tag != "VCL_call");
        let lines = first.filter(|(tag, _)| *tag == "ReqHeader");
        Self(lines.map(|(_, line)| line.as_bytes().to_vec()).collect())
    }
}

impl Structs for Answered {
    fn settled(&self) -> Option<Settled<'_>> {
        Some(Settled {
            method: Some(b"GET"),
            url: Some(b"/assets/app/main-2f1c9b.js?v=20231114&lang=en"),
            protocol: Some(b"HTTP/1.1"),
            plain_url: true,
            status: 200,
            synthetic: false,
            start: 1_700_000_000.123_456,
            end: 1_700_000_000.123_612,
            ready: Some(1_700_000_000.123_544),
        })
    }
    fn received<'s>(&'s self, names: &Names, visit: &mut dyn FnMut(u16, &'s [u8])) {
        names.visit(self.0.iter().map(Vec::as_slice), visit);
    }
    fn address(&self, which: Address) -> Option<&[u8]> {
        Some(if which == Address::ClientPort { b"51234" } else { b"192.0.2.77" })
    }
}

/// `size` bytes of combined-format lines with the variety of a real site: paths, referrers, agents,
/// sizes, clients. The last line may be cut.
pub(crate) fn site_lines(size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let paths = ["/", "/index.html", "/css/site.css", "/img/logo.png", "/api/v1/items", "/search"];
    let agents = [
        "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Version/18.6",
        "curl/8.14.1",
    ];
    let statuses = [200, 200, 200, 200, 200, 304, 301, 404, 500];
    let mut text = String::with_capacity(size + 512);
    let mut second = 0;
    while text.len() < size {
        second += u32::from(random.u8(..) < 40);
        let path = random.choice(paths).unwrap_or_default();
        let agent = random.choice(agents).unwrap_or_default();
        let status = random.choice(statuses).unwrap_or_default();
        // To a String, which does not fail.
        let _ = writeln!(
            text,
            "{}.{}.{}.{} - - [22/Nov/2026:16:{:02}:{:02} +0000] \"GET http://www.example.com{path}?id={:x} HTTP/1.1\" {status} {} \"https://www.example.com/page/{}\" \"{agent}\"",
            random.u8(1..224),
            random.u8(..),
            random.u8(..),
            random.u8(1..),
            second / 60 % 60,
            second % 60,
            random.u32(..),
            random.u32(..200_000),
            random.u16(..5000),
        );
    }
    text.truncate(size);
    text.into_bytes()
}
