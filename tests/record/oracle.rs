//! Lines against varnishncsa itself: the same log, written to a file, read by both.
//!
//! Each transaction is made of records a Varnish could have logged, with values that a client
//! or VCL may choose freely. Without a varnishncsa from 7.7 on, whose rules the module follows and
//! whose files these are, the tests say so and pass; `e2e oracle` compares with older ones.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use vmod_s3log::record::task::{NoStructs, unmasked};
use vmod_s3log::record::{Acct, Dialect, Escape, Options, Program, Side, TagTable, Task};

/// What `varnishlog -w` begins its files with (`lib/libvarnishapi/vsl.c`).
const FILE_ID: &[u8] = b"VSL2";

/// Every specifier that both know.
const FORMAT: &str = concat!(
    r#"%b %D %H %h %I %{Referer}i %{X-Twice}i %{host}i %l %m %{Age}o %{Server}o %O %q %r %s %t "#,
    r#"%{%Y-%m-%dT%H:%M:%S%z %Z %j %a %e}t %{sec}t %{msec}t %{usec}t %{msec_frac}t %{usec_frac}t "#,
    r#"%T %{s}T %{ms}T %{us}T %u %U %{Varnish:time_firstbyte}x %{Varnish:hitmiss}x "#,
    r#"%{Varnish:handling}x %{Varnish:side}x %{Varnish:vxid}x %{VCL_Log:key}x %{VCL_Log:a b}x "#,
    r#"%{VSL:Timestamp:Process[2]}x %{VSL:Hit}x %{VSL:Hit[2]}x %{VSL:ReqStart[3]}x "#,
    r#"%{VSL:ReqHeader:X-Twice}x %{VSL:ReqAcct}x %{VSL:ReqAcct[4]}x %{VSL:BereqAcct[6]}x "#,
    r#"%{VSL:VCL_Log:key}x %{VSL:VCL_Log[1]}x "%{User-Agent}i" \"%{X}o\" \t\\ "#,
    r#"%{VSL:End}x %{VSL:RespStatus}x %{Varnish:default_format}x"#
);

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % below
    }

    fn pick<'t>(&mut self, list: &[&'t str]) -> &'t str {
        list[self.next(list.len())]
    }

    /// Text without NUL: plain, odd, or any bytes.
    fn value(&mut self, utf8: bool) -> Vec<u8> {
        let odd = [
            "",
            " ",
            "-",
            "a b c",
            "  padded  ",
            "q\"uo\\te",
            "tab\there",
            "caf\u{e9}",
            "http://x/",
            "Basic YTpi",
            "basic  YTpi",
            "Basic !!",
            "Basic YQ",
            "Basic YQ==",
            "bearer x",
            "x:y:z",
            "key: value",
            "a b: c",
            "line\nbreak",
            "\r",
            "0",
            "\u{1f980}",
            "%h %%",
            "?",
            "a?b?c",
        ];
        match self.next(4) {
            0 => self.pick(&odd).as_bytes().to_vec(),
            1 if !utf8 => (0..self.next(40)).map(|_| self.next(255) as u8 + 1).collect(),
            2 => "x".repeat(self.next(300)).into_bytes(),
            _ => format!("v{}", self.next(1_000)).into_bytes(),
        }
    }
}

struct Transaction {
    side: Side,
    log: Vec<u8>,
    vxid: u64,
    acct: Option<Acct>,
}

fn record(tags: &TagTable, tag: &str, vxid: u64, side: Side, text: &[u8]) -> Vec<u8> {
    let length = (text.len() + 1).min(255);
    let number = u32::from(tags.find(tag).expect(tag).number);
    let marker = if side == Side::Client { 1u32 << 30 } else { 1 << 31 };
    let mut bytes = Vec::new();
    for word in [number << 24 | 1 << 16 | length as u32, vxid as u32, marker] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(&text[..length - 1]);
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn transaction(tags: &TagTable, random: &mut Random, vxid: u64, utf8: bool) -> Transaction {
    let side = if random.next(3) == 0 { Side::Backend } else { Side::Client };
    let client = side == Side::Client;
    let prefix = if client { ("Req", "Resp") } else { ("Bereq", "Beresp") };
    let mut log = Vec::new();
    let mut put = |tag: &str, text: &[u8]| log.extend(record(tags, tag, vxid, side, text));
    put("Begin", if client { b"req 1 rxreq" } else { b"bereq 1 fetch" });
    let start =
        1_600_000_000.0 + random.next(200_000_000) as f64 + random.next(1_000_000) as f64 / 1e6;
    put("Timestamp", format!("Start: {start:.6} 0.000000 0.000000").as_bytes());
    let count = 5 + random.next(40);
    for _ in 0..count {
        let name = random.pick(&[
            "Host",
            "host",
            "Referer",
            "User-Agent",
            "X-Twice",
            "x-twice",
            "Authorization",
            "Age",
            "Server",
            "X",
            "Cookie",
            "User-Agent-X",
            "Hos",
        ]);
        let mut header = format!("{name}:{}", random.pick(&[" ", "", "   "])).into_bytes();
        header.extend(random.value(utf8));
        let (request, response) = prefix;
        match random.next(19) {
            0 => put(&format!("{request}Method"), random.pick(&["GET", "POST", "P\"T"]).as_bytes()),
            1 => {
                let mut url = b"/".to_vec();
                url.extend(random.value(utf8));
                put(&format!("{request}URL"), &url);
            }
            2 => put(
                &format!("{request}Protocol"),
                random.pick(&["HTTP/1.1", "HTTP/2.0"]).as_bytes(),
            ),
            3..=5 => put(&format!("{request}Header"), &header),
            6 => put(&format!("{request}Unset"), &header),
            7 => put(&format!("{response}Status"), random.pick(&["200", "304", "503"]).as_bytes()),
            8 | 9 => put(&format!("{response}Header"), &header),
            10 => put(&format!("{response}Unset"), &header),
            11 => put(
                "VCL_call",
                random
                    .pick(&[
                        "RECV",
                        "HIT",
                        "MISS",
                        "PASS",
                        "SYNTH",
                        "DELIVER",
                        "BACKEND_RESPONSE",
                        "hash",
                    ])
                    .as_bytes(),
            ),
            12 => put("VCL_return", random.pick(&["pipe", "deliver", "hash"]).as_bytes()),
            13 => {
                let mut text =
                    random.pick(&["key:", "key: ", "a b:", "Key:", ""]).as_bytes().to_vec();
                text.extend(random.value(utf8));
                put("VCL_Log", &text);
            }
            14 => put(random.pick(&["HitMiss", "HitPass", "Hit"]), b"32770 118.5 10.0 0.0"),
            15 => {
                let label = random.pick(&[
                    "Resp",
                    "Process",
                    "Pipe",
                    "PipeSess",
                    "Beresp",
                    "BerespBody",
                    "Req",
                ]);
                let at = start + random.next(3_000_000) as f64 / 1e6;
                let text = format!("{label}: {at:.6} {:.6} 0.000001", at - start);
                put("Timestamp", text.as_bytes());
            }
            16 if client => put("ReqStart", b"192.0.2.7 51234 a0"),
            16 => put("BackendOpen", b"25 boot.b 198.51.100.9 80 127.0.0.1 4000 connect"),
            17 if random.next(4) == 0 => put("PipeAcct", b"70 80 900 1000"),
            17 => put("Debug", b"not for us"),
            _ => put("Filters", &random.value(utf8)),
        }
    }
    let mut number = || random.next(100_000) as u64;
    let acct = Acct {
        request_header: number(),
        request_body: number(),
        response_header: number(),
        response_body: number(),
    };
    let acct = if client && number() % 7 == 0 { None } else { Some(acct) };
    Transaction { side, log, vxid, acct }
}

fn varnishncsa() -> Option<PathBuf> {
    let local = concat!(env!("CARGO_MANIFEST_DIR"), "/.deps/varnish/bin/varnishncsa");
    [local, "/usr/bin/varnishncsa"].into_iter().map(PathBuf::from).find(|path| {
        let said = Command::new(path).arg("-V").output().map(|output| output.stderr);
        let said = String::from_utf8(said.unwrap_or_default()).unwrap_or_default();
        let number = said.split_once("(varnish-").and_then(|(_, rest)| rest.split_once(' '));
        let mut parts = number.unwrap_or_default().0.split('.').map_while(|part| part.parse().ok());
        parts.next().zip(parts.next()) >= Some((7_u32, 7_u32))
    })
}

/// The lines of varnishncsa and of the program, one pair a transaction.
fn both(format: &str, json: bool, count: u64, seed: u64) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let Some(program) = varnishncsa() else {
        println!("no varnishncsa from 7.7 on is installed: nothing compared");
        return None;
    };
    let tags = TagTable::varnish_7();
    let mut random = Random(seed);
    let mut file = FILE_ID.to_vec();
    let options = Options {
        dialect: Dialect::Varnishncsa,
        escape: Some(if json { Escape::Json } else { Escape::Clf }),
        heal: false,
        max_line: 65_000,
        ..Options::default()
    };
    let ours = Program::compile(format, &options, &tags).unwrap_or_else(|error| panic!("{error}"));
    let mut lines = Vec::new();
    for number in 0..count {
        let one = transaction(&tags, &mut random, 1_000 + number, json);
        file.extend_from_slice(&one.log);
        if let Some(acct) = one.acct {
            let text: Vec<String> =
                (1..=6).filter_map(|n| acct.field(n)).map(|n| n.to_string()).collect();
            let tag = if one.side == Side::Client { "ReqAcct" } else { "BereqAcct" };
            file.extend(record(&tags, tag, one.vxid, one.side, text.join(" ").as_bytes()));
        }
        file.extend(record(&tags, "End", one.vxid, one.side, b""));
        let task = Task {
            side: one.side,
            log: &one.log,
            overhead: 3,
            reclen: 255,
            mask: &unmasked,
            vxid: one.vxid,
            esi_level: 0,
            restarts: 0,
            acct: one.acct,
            structs: &NoStructs,
        };
        let mut line = Vec::new();
        ours.render(&task, &mut line);
        lines.push(line);
    }
    let mut log = tempfile::NamedTempFile::new().expect("a file");
    log.write_all(&file).expect("written");
    let mut command = Command::new(program);
    command.args(["-c", "-b", "-g", "vxid", "-F", format, "-r"]).arg(log.path());
    if json {
        command.arg("-j");
    }
    let output = command.output().expect("varnishncsa runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Vec<Vec<u8>> =
        output.stdout.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    assert_eq!(theirs.len(), lines.len(), "one line a transaction");
    Some(theirs.into_iter().zip(lines).collect())
}

#[test]
fn lines_equal_those_of_varnishncsa_byte_for_byte() {
    let Some(pairs) = both(FORMAT, false, 5_000, 0x9e37_79b9_7f4a_7c15) else { return };
    let compared = pairs.len();
    for (at, (theirs, ours)) in pairs.into_iter().enumerate() {
        assert_eq!(
            String::from_utf8_lossy(&ours),
            String::from_utf8_lossy(&theirs),
            "transaction {at} (ours left)"
        );
    }
    println!("{compared} lines compared, 0 differ");
}

/// varnishncsa resolves its zone from `TZ`, and so does a program when it is compiled.
#[test]
fn local_time_equals_that_of_varnishncsa_in_other_zones() {
    let this = std::env::current_exe().expect("this test");
    for zone in ["UTC", "Europe/Berlin", "America/St_Johns", "EST5EDT", "Asia/Kathmandu"] {
        let ran = Command::new(&this)
            .args(["--exact", "oracle::lines_equal_those_of_varnishncsa_byte_for_byte"])
            .env("TZ", zone)
            .output()
            .expect("the test runs");
        let output = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && output.contains("1 passed"), "{zone}: {output}");
    }
}

#[test]
fn json_says_what_varnishncsa_j_says() {
    let format = concat!(
        r#"{"b":"%b","D":%D,"H":"%H","h":"%h","I":"%I","ref":"%{Referer}i","age":"%{Age}o","m":"%m","#,
        r#""q":"%q","r":"%r","s":"%s","O":%O,"t":"%t","u":"%u","U":"%U","x":"%{Varnish:handling}x","#,
        r#""vxid":%{Varnish:vxid}x,"log":"%{VCL_Log:key}x","hit":"%{VSL:Hit[2]}x"}"#
    );
    let Some(pairs) = both(format, true, 3_000, 0x1234_5678_9abc_def1) else { return };
    for (theirs, ours) in pairs {
        let ours: serde_json::Value = serde_json::from_slice(&ours).expect("ours is JSON");
        // varnishncsa's cut may fall into a character; only then is its line no JSON.
        let Ok(theirs) = serde_json::from_slice::<serde_json::Value>(&theirs) else { continue };
        assert_eq!(ours, theirs);
    }
}
