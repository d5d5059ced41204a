//! Lines too long, and the prefixes before them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::support::{Known, Log, apache, client, compile, full, line, task};
use crate::record::limit::MARK;
use crate::record::line::SLACK;
use crate::record::{Escape, MessageType, Options, Side, Task};

fn known(value: &[u8]) -> Known {
    Known {
        values: vec![(b"long".to_vec(), value.to_vec()), (b"short".to_vec(), b"kept".to_vec())],
        ..Known::default()
    }
}

#[test]
fn a_long_text_line_ends_with_the_mark() {
    let log = client();
    for escape in [Escape::Clf, Escape::Tsv, Escape::None] {
        let known = known(&"é\u{1}\\".repeat(5_000).into_bytes());
        let task = Task { structs: &known, ..task(&log, Side::Client) };
        for max_line in 300..320 {
            let options = Options { max_line, escape: Some(escape), ..apache() };
            let (line, rendered) = full("%{short}x %{long}x", &options, &task);
            assert!(rendered.truncated);
            assert!(line.len() < max_line && line.len() + 8 > max_line, "{}", line.len());
            assert!(line.ends_with(MARK));
            let body = line.strip_suffix(MARK).unwrap();
            assert!(std::str::from_utf8(body).is_ok(), "cut inside a character");
            if escape == Escape::Clf {
                let text = String::from_utf8(body.to_vec()).unwrap();
                let left = text.replace(r"\xc3", "").replace(r"\xa9", "").replace(r"\x01", "");
                assert_eq!(left.replace(r"\\", ""), "kept ", "cut inside an escape");
            }
        }
    }
}

#[test]
fn a_long_json_line_loses_its_longest_values_and_stays_json() {
    let log = client();
    let known = known(&"\u{1}é\"\\".repeat(3_000).into_bytes());
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    let format = r#"{"a":"%{short}x","b":"%{long}x","c":%{long}x,"s":%>s,"r":"%r"}"#;
    for max_line in (300..400).chain([1_000, 16_384, 65_000]) {
        let options = Options { max_line, ..apache() };
        let (line, rendered) = full(format, &options, &task);
        assert!(rendered.truncated || max_line == 65_000);
        assert!(line.len() < max_line, "{} of {max_line}", line.len());
        let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(value["a"], "kept");
        assert_eq!(value["s"], 304);
        if rendered.truncated {
            assert!(value["b"].as_str().unwrap().ends_with("[cut]"));
            assert_eq!(value["b"], value["c"], "the room is shared");
        }
    }
}

#[test]
fn a_line_of_exactly_max_line_is_not_cut() {
    let log = client();
    for (length, cut) in [(255, false), (256, true)] {
        let known = known(&vec![b'x'; length]);
        let task = Task { structs: &known, ..task(&log, Side::Client) };
        let options = Options { max_line: 256, ..apache() };
        let (line, rendered) = full("%{long}x", &options, &task);
        assert_eq!((rendered.truncated, line.len()), (cut, 255));
    }
}

#[test]
fn syslog_prefixes_are_those_of_their_rfcs() {
    let log = client();
    let task = task(&log, Side::Client);
    let with = |message| {
        let options = Options { message, tag: "web".into(), ..apache() };
        line("%m", &options, &task)
    };
    assert_eq!(with(MessageType::Blank), "GET");
    assert_eq!(with(MessageType::Classic), "<134>Nov 14 22:13:20 edge1 web[42]: GET");
    assert_eq!(
        with(MessageType::Loggly),
        "<134>1 2023-11-14T22:13:20.373456Z edge1 web 42 - - GET"
    );
    let got = with(MessageType::Logplex);
    let (count, rest) = got.split_once(' ').unwrap();
    assert_eq!(rest, "<134>1 2023-11-14T22:13:20.373456+00:00 edge1 web 42 - GET");
    assert_eq!(count.parse::<usize>().unwrap(), rest.len() + 1);
}

#[test]
fn a_prefix_has_no_spaces_where_a_field_ends() {
    let log = client();
    let options = Options {
        message: MessageType::Loggly,
        hostname: "my host\n".into(),
        tag: String::new(),
        ..apache()
    };
    let got = line("%m", &options, &task(&log, Side::Client));
    assert_eq!(got, "<134>1 2023-11-14T22:13:20.373456Z my-host- - 42 - - GET");
}

#[test]
fn a_long_logplex_line_counts_what_is_left_of_it() {
    let log = client();
    let known = known(&[b'x'; 9_000]);
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    let options = Options { message: MessageType::Logplex, max_line: 400, ..apache() };
    let (line, rendered) = full("%{long}x", &options, &task);
    assert!(rendered.truncated && line.len() < 400);
    let text = String::from_utf8(line).unwrap();
    let (count, rest) = text.split_once(' ').unwrap();
    assert_eq!(count.parse::<usize>().unwrap(), rest.len() + 1);
}

/// A piece of a value, whose escapes are of all lengths.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"a".to_vec()),
        Just("é".into()),
        Just("\u{ef80}".into()),
        Just("😀".into()),
        Just(b"\"".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\x01".to_vec()),
        Just(b"\xff".to_vec()),
        Just(b"\x80\x80\x80\x80".to_vec()),
        Just(b"\xf0\x9f".to_vec()),
    ];
    let length = prop_oneof![0..40usize, 240..1_200usize];
    (vec(piece, 1..6), length).prop_map(|(pieces, length)| {
        let mut all = pieces.concat().repeat(length);
        all.truncate(length);
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_cut_takes_away_need_not_have_been_there(
        values in vec(bytes(), 3),
        (escape, format) in prop_oneof![
            Just((Escape::Clf, r#"%{a}x "%{b}x" %{c}x %r end"#)),
            Just((Escape::Tsv, r#"%{a}x "%{b}x" %{c}x %r end"#)),
            Just((Escape::None, r#"%{a}x "%{b}x" %{c}x %r end"#)),
            Just((Escape::Json, r#"{"a":"%{a}x","b":%{b}x,"c":"is %{c}x","r":"%r","s":%>s}"#)),
            Just((Escape::Json, r#"{"a":%{a}x,"a2":%{a}x,"r":"%r","b":"%{b}x","c":"%{c}x"}"#)),
        ],
        message in prop_oneof![Just(MessageType::Blank), Just(MessageType::Logplex)],
        max_line in 256..1_500usize,
        url in bytes(),
    ) {
        let url: Vec<u8> = url.into_iter().filter(|byte| *byte != 0).collect();
        let mut log = Log { reclen: 4_096, ..Log::new() };
        log.push("ReqMethod", b"GET");
        log.push("ReqURL", &url);
        log.push("ReqProtocol", b"HTTP/1.1");
        let names = [b"a", b"b", b"c"];
        let values = names.iter().zip(values).map(|(name, value)| (name.to_vec(), value));
        let known = Known { values: values.collect(), ..Known::default() };
        let task = Task { structs: &known, ..task(&log, Side::Client) };
        let options = Options { max_line, message, escape: Some(escape), ..apache() };
        let program = compile(format, &options);
        let (mut whole, mut out) = (b"before".to_vec(), b"before".to_vec());
        let first = program.render_within(usize::MAX / 4, &task, &mut whole);
        let second = program.render(&task, &mut out);
        prop_assert_eq!(first, second);
        prop_assert!(whole == out, "{}\n{}", whole.escape_ascii(), out.escape_ascii());
    }
}

#[test]
fn a_header_of_100_kb_is_not_copied_into_the_line() {
    let log = client();
    for byte in [b'x', 0xff, b'\n'] {
        let known = known(&vec![byte; 100_000]);
        let task = Task { structs: &known, ..task(&log, Side::Client) };
        for escape in [Escape::Clf, Escape::Tsv, Escape::None] {
            let options = Options { max_line: 1_000, escape: Some(escape), ..apache() };
            // A vector that has to grow gets another capacity.
            let mut out = Vec::with_capacity(1_000 + SLACK);
            let format = "%{long}x %{short}x %{long}x %{long}x";
            assert!(compile(format, &options).render(&task, &mut out).truncated);
            assert_eq!(out.capacity(), 1_000 + SLACK, "{escape:?}");
        }
        // The shares of 1, 2 and 3 strings.
        let most = 1_000 + 500 + 334 + 3 * SLACK;
        let mut out = Vec::with_capacity(most);
        let format = r#"{"a":"%{long}x","b":%{long}x,"c":"%{short}x","d":%{long}x}"#;
        let options = Options { max_line: 1_000, ..apache() };
        assert!(compile(format, &options).render(&task, &mut out).truncated);
        assert_eq!(out.capacity(), most);
    }
    let mut out = Vec::with_capacity(1_000 + SLACK);
    let options = Options { max_line: 1_000, ..apache() };
    assert!(compile("%s", &options).render_line(&[b'x'; 100_000], 0.0, &mut out).truncated);
    assert_eq!(out.capacity(), 1_000 + SLACK);
}
