//! Any bytes in any place: no panic, one line, valid JSON, every byte back.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::collection::vec;
use proptest::prelude::*;
use vmod_s3log::record::{
    Acct, Dialect, Escape, MessageType, Options, Program, Side, Structs, TagTable, Task, escape,
    task::unmasked, vsl::Records,
};

use crate::unjson::unjson;

/// Everything a client may choose, in one place.
struct Values {
    value: Vec<u8>,
}

impl Structs for Values {
    fn value(&self, _key: &[u8]) -> Option<&[u8]> {
        Some(&self.value)
    }
}

fn task<'a>(log: &'a [u8], structs: &'a dyn Structs) -> Task<'a> {
    Task {
        side: Side::Client,
        log,
        overhead: 3,
        reclen: 255,
        mask: &unmasked,
        vxid: 7,
        esi_level: 0,
        restarts: 0,
        acct: Some(Acct::default()),
        structs,
    }
}

fn records(texts: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut log = Vec::new();
    for (tag, text) in texts {
        let word = u32::from(*tag) << 24 | 1 << 16 | (text.len() as u32 + 1);
        log.extend_from_slice(&word.to_ne_bytes());
        log.extend_from_slice(&[0; 8]);
        log.extend_from_slice(text);
        log.push(0);
        log.resize(log.len().next_multiple_of(4), 0);
    }
    log
}

fn options() -> impl Strategy<Value = Options> {
    (
        prop_oneof![Just(Dialect::Apache), Just(Dialect::Varnishncsa)],
        prop_oneof![
            Just(None),
            Just(Some(Escape::Clf)),
            Just(Some(Escape::Json)),
            Just(Some(Escape::Tsv)),
            Just(Some(Escape::None)),
        ],
        prop_oneof![
            Just(MessageType::Blank),
            Just(MessageType::Classic),
            Just(MessageType::Loggly),
            Just(MessageType::Logplex),
        ],
        prop_oneof![256..2_000usize, Just(16_384usize)],
        any::<bool>(),
    )
        .prop_map(|(dialect, escape, message, max_line, heal)| Options {
            dialect,
            escape,
            message,
            max_line,
            heal,
            ..Options::default()
        })
}

fn one_line(line: &[u8], max_line: usize) {
    assert_eq!(line.last(), Some(&b'\n'));
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert!(line.len() <= max_line, "{} of {max_line}", line.len());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_of_any_bytes_reads_back(value in vec(any::<u8>(), 0..400)) {
        let mut out = b"\"".to_vec();
        escape::json(&value, &mut out);
        out.push(b'"');
        let decoded: String = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(unjson(&decoded), value);
    }

    #[test]
    fn json_of_any_text_reads_back(value in "\\PC{0,80}|[\u{e000}-\u{f8ff}]{0,9}") {
        let mut out = b"\"".to_vec();
        escape::json(value.as_bytes(), &mut out);
        out.push(b'"');
        let decoded: String = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(unjson(&decoded), value.as_bytes());
    }

    #[test]
    fn every_escape_keeps_any_value_on_its_line(
        value in vec(any::<u8>(), 0..3_000),
        mut options in options(),
        escape in prop_oneof![
            Just(Escape::Clf), Just(Escape::Json), Just(Escape::Tsv), Just(Escape::None),
        ],
    ) {
        options.escape = Some(escape);
        let json = escape == Escape::Json;
        let format = if json { r#"{"a":"%{k}x","b":%{k}x,"c":%T}"# } else { "%{k}x|%{k}x" };
        let program = Program::compile(format, &options, &TagTable::varnish_7()).unwrap();
        let values = Values { value };
        let mut line = Vec::new();
        let rendered = program.render(&task(&[], &values), &mut line);
        one_line(&line, options.max_line);
        if json && options.message == MessageType::Blank {
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            if !rendered.truncated {
                let text = read["a"].as_str().unwrap();
                prop_assert_eq!(unjson(text), values.value);
            }
        }
    }

    #[test]
    fn any_header_and_url_survive_the_walk(
        url in vec(1..=255u8, 0..200),
        header in vec(1..=255u8, 0..200),
        more in vec((any::<u8>(), vec(any::<u8>(), 0..60)), 0..20),
    ) {
        let tags = TagTable::varnish_7();
        let number = |name| tags.find(name).unwrap().number;
        let mut agent = b"User-Agent: ".to_vec();
        agent.extend_from_slice(&header);
        let mut texts = vec![
            (number("Begin"), b"req 1 rxreq".to_vec()),
            (number("ReqMethod"), b"GET".to_vec()),
            (number("ReqURL"), url),
            (number("ReqHeader"), agent),
        ];
        texts.extend(more);
        let log = records(&texts);
        let format = r#"{"r":"%r","u":"%U","q":"%q","a":"%{User-Agent}i","s":%s,"t":"%t","d":%D,
            "h":%{Varnish:handling}x,"c":%{x}C,"auth":"%u","raw":"%{VSL:Debug}x"}"#;
        for dialect in [Dialect::Apache, Dialect::Varnishncsa] {
            let options = Options { dialect, ..Options::default() };
            let program = Program::compile(format, &options, &tags).unwrap();
            let values = Values { value: Vec::new() };
            let mut line = Vec::new();
            program.render(&task(&log, &values), &mut line);
            one_line(&line, options.max_line);
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert!(read.is_object());
        }
    }

    #[test]
    fn any_words_are_walked_to_an_end(log in vec(any::<u8>(), 0..600), overhead in 0..20usize) {
        let count = Records::new(&log, overhead).count();
        prop_assert!(count <= log.len() / 4);
    }

    #[test]
    fn any_log_renders_in_every_setting(
        log in vec(any::<u8>(), 0..600),
        overhead in 0..5usize,
        reclen in 0..300usize,
        options in options(),
        backend in any::<bool>(),
    ) {
        let tags = TagTable::varnish_7();
        let format = "%h %r %s %t %{%c}t %D %{X}i %{X:last}o %{a}C %u %b %I %O %X %p \
            %{Varnish:time_firstbyte}x %{VCL_Log:k}x %{VSL:Timestamp[2]}x";
        let options = Options { escape: options.escape.filter(|e| *e != Escape::Json), ..options };
        let Ok(program) = Program::compile(format, &options, &tags) else { return Ok(()) };
        let values = Values { value: Vec::new() };
        let task = Task {
            overhead,
            reclen,
            side: if backend { Side::Backend } else { Side::Client },
            ..task(&log, &values)
        };
        let mut line = Vec::new();
        program.render(&task, &mut line);
        one_line(&line, options.max_line);
    }

    #[test]
    fn any_format_compiles_or_says_why(format in "\\PC{0,60}", options in options()) {
        compiles_or_says_why(&format, &options)?;
    }

    #[test]
    fn any_specifiers_compile_or_say_why(
        parts in vec(
            prop_oneof![
                "%[a-zA-Z%<>]", "%\\{[a-zA-Z:_%\\[\\]0-9{}-]{0,12}\\}[a-zA-Z]", "[ \"{},:\\\\n]{0,3}",
                Just("%{VSL:Req".to_owned()), Just("%{Varnish:default_format}x".to_owned()),
            ],
            0..12,
        ),
        options in options(),
    ) {
        compiles_or_says_why(&parts.concat(), &options)?;
    }
}

fn compiles_or_says_why(format: &str, options: &Options) -> Result<(), TestCaseError> {
    match Program::compile(format, options, &TagTable::varnish_7()) {
        Ok(program) => {
            let values = Values { value: b"\xff\n\"".to_vec() };
            let mut line = Vec::new();
            program.render(&task(&[], &values), &mut line);
            one_line(&line, options.max_line);
            if program.escape() == Escape::Json && options.message == MessageType::Blank {
                let read = serde_json::from_slice::<serde_json::Value>(&line);
                prop_assert!(read.is_ok(), "{:?}", String::from_utf8_lossy(&line));
            }
        }
        Err(error) => {
            let text = error.to_string();
            prop_assert!(!text.is_empty() && !text.contains('\n'), "{}", text);
        }
    }
    Ok(())
}

/// Python's reader is the one that most consumers of these lines use.
#[test]
fn pythons_json_reads_every_byte_back() {
    let script = r#"
import json, sys
count = 0
for line in sys.stdin.buffer:
    row = json.loads(line.decode("utf-8"))
    back = b"".join(
        bytes([ord(c) & 0xFF]) if 0xEF80 <= ord(c) <= 0xEFFF else c.encode("utf-8")
        for c in row["v"]
    )
    assert back == bytes.fromhex(row["hex"]), row
    count += 1
print(count)
"#;
    let child = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("python3 is not installed: nothing read");
        return;
    };
    let mut lines = Vec::new();
    let mut count = 0;
    let mut add = |value: &[u8]| {
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        lines.extend_from_slice(b"{\"v\":\"");
        escape::json(value, &mut lines);
        lines.extend_from_slice(format!("\",\"hex\":\"{hex}\"}}\n").as_bytes());
        count += 1;
    };
    for byte in 1..=255u8 {
        add(&[byte]);
        add(&[b'a', byte, b'b', 0xc3, 0xa9, byte]);
        for second in 1..=255u8 {
            add(&[byte, second]);
        }
    }
    add(&(1..=255).collect::<Vec<u8>>());
    add("\u{ef80} \u{efff} \u{e000}".as_bytes());
    child.stdin.take().unwrap().write_all(&lines).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), count.to_string());
}
