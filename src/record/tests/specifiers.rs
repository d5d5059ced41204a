//! Every specifier in both dialects, over logs as Varnish writes them.

use super::support::{
    ACCT, Known, Log, apache, backend, client, compile, csa, csa_json, full, line, tags, task,
};
use crate::record::task::Connection;
use crate::record::{Escape, Options, Program, Side, Task};

/// format, dialect apache, dialect varnishncsa
const CLIENT: &[(&str, &str, &str)] = &[
    ("%%", "%", "%"),
    ("%a", "192.0.2.7", "192.0.2.7"),
    ("%h", "192.0.2.7", "192.0.2.7"),
    ("%A", "203.0.113.1", "203.0.113.1"),
    ("%b", "4000", "4000"),
    ("%B", "4000", "4000"),
    ("%{sid}C", "abc", "abc"),
    ("%{theme}C", "dark", "dark"),
    ("%{nope}C", "-", "-"),
    ("%D", "250000", "250000"),
    ("%{X}e", "-", "-"),
    ("%f", "/path/x", "/path/x"),
    ("%H", "HTTP/1.1", "HTTP/1.1"),
    ("%{User-Agent}i", r#"curl/8.0 \"quoted\""#, r#"curl/8.0 \"quoted\""#),
    ("%{user-agent}i", r#"curl/8.0 \"quoted\""#, r#"curl/8.0 \"quoted\""#),
    ("%{X-Twice}i", "one", "one"),
    ("%{X-Twice:first}i", "one", "one"),
    ("%{X-Twice:last}i", "two", "two"),
    ("[%{X-Empty}i]", "[]", "[]"),
    ("%{X-Late}i", "-", "-"),
    ("%{X-Absent}i", "-", "-"),
    ("%I", "120", "120"),
    ("%k", "0", "0"),
    ("%l", "-", "-"),
    ("%m", "GET", "GET"),
    ("%{note}n", "-", "-"),
    ("%{Content-Type}o", "text/plain", "text/plain"),
    ("%{Content-Type:first}o", "text/html", "text/html"),
    ("%{Server}o", "-", "-"),
    ("%{Age}o", "3", "3"),
    ("%O", "4300", "4300"),
    ("%p", "443", "443"),
    ("%{canonical}p", "443", "443"),
    ("%{local}p", "443", "443"),
    ("%{remote}p", "51234", "51234"),
    ("%P", "-", "-"),
    ("%{tid}P", "-", "-"),
    ("%q", "?a=1&b=2", "?a=1&b=2"),
    ("%r", "GET /path/x?a=1&b=2 HTTP/1.1", "GET http://www.example.com/path/x?a=1&b=2 HTTP/1.1"),
    ("%R", "-", "-"),
    ("%s", "304", "304"),
    ("%>s", "304", "304"),
    ("%<s", "304", "304"),
    ("%t", "[14/Nov/2023:22:13:20 +0000]", "[14/Nov/2023:22:13:20 +0000]"),
    ("%{%Y-%m-%dT%T}t", "2023-11-14T22:13:20", "2023-11-14T22:13:20"),
    ("%{begin:%s}t", "1700000000", "1700000000"),
    ("%{sec}t", "1700000000", "1700000000"),
    ("%{msec}t", "1700000000123", "1700000000123"),
    ("%{end:msec}t", "1700000000373", "1700000000373"),
    ("%{usec}t", "1700000000123456", "1700000000123456"),
    ("%{end:sec}t", "1700000000", "1700000000"),
    ("%T", "0", "0"),
    ("%{s}T", "0", "0"),
    ("%{ms}T", "250", "250"),
    ("%{us}T", "250000", "250000"),
    ("%u", "aladdin", "aladdin"),
    ("%U", "/path/x", "/path/x"),
    ("%v", "www.example.com", "www.example.com"),
    ("%V", "www.example.com", "www.example.com"),
    ("%X", "+", "+"),
    ("%{Varnish:time_firstbyte}x", "0.000544", "0.000544"),
    ("%{s3log:elapsed}x", "0.250000", "0.250000"),
    ("%{s3log:reason}x", "Not Modified", "Not Modified"),
    ("%{Varnish:hitmiss}x", "hit", "hit"),
    ("%{Varnish:handling}x", "hit", "hit"),
    ("%{Varnish:side}x", "c", "c"),
    ("%{s3log:sample}x", "1", "1"),
    ("%{s3log:incomplete}x", "0", "0"),
    ("%{Varnish:vxid}x", "32771", "32771"),
    ("%{VCL_Log:tenant}x", "blue", "blue"),
    ("[%{VCL_Log:Tenant}x]", "[]", "[]"),
    ("%{VSL:Timestamp:Resp[2]}x", "0.250000", "0.250000"),
    ("%{VSL:timestamp:resp[2]}x", "0.250000", "0.250000"),
    (
        "%{VSL:Timestamp:Process}x",
        "1700000000.124000 0.000544 0.000544",
        "1700000000.124000 0.000544 0.000544",
    ),
    ("%{VSL:ReqStart[3]}x", "a0", "a0"),
    ("%{VSL:ReqStart[4]}x", "-", "-"),
    ("%{VSL:VCL_use}x", "boot", "boot"),
    ("%{VSL:Hit[1]}x", "32770", "32770"),
    ("%{VSL:ReqHeader:x-twice}x", "one", "one"),
    ("%{VSL:ReqAcct}x", "100 20 120 300 4000 4300", "100 20 120 300 4000 4300"),
    ("%{VSL:ReqAcct[5]}x", "4000", "4000"),
    ("%{VSL:ReqAcct[7]}x", "-", "-"),
    ("%{VSL:BereqAcct[5]}x", "-", "-"),
    ("%{tenant}x", "green", "green"),
    ("%{unset}x", "-", "-"),
    (r"a\tb", "a\tb", "a\tb"),
    (r#"\"%m\""#, r#""GET""#, r#""GET""#),
    (r"\\", r"\", r"\"),
    (r"\q", r"\q", "q"),
];

fn known() -> Known {
    Known {
        connection: Some(Connection::KeptAlive),
        values: vec![(b"tenant".to_vec(), b"green".to_vec())],
        ..Known::default()
    }
}

#[test]
fn every_specifier_of_a_client_request_prints_its_value() {
    let (log, known) = (client(), known());
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    for (format, want_apache, want_csa) in CLIENT {
        assert_eq!(line(format, &apache(), &task), *want_apache, "{format} in apache");
        assert_eq!(line(format, &csa(), &task), *want_csa, "{format} in varnishncsa");
        let healing = Options { heal: true, ..csa() };
        assert_eq!(line(format, &healing, &task), *want_csa, "{format} healing");
    }
}

#[test]
fn a_fraction_is_cut_from_the_double_as_varnishncsa_does() {
    let log = client();
    let task = task(&log, Side::Client);
    // 0.123456 is 0.12345600128... in the double, 0.250000 below it is 0.24999999...
    assert_eq!(line("%{msec_frac}t %{usec_frac}t", &csa(), &task), "123 123456");
    let log = Log::new()
        .rec("Begin", "req 1 rxreq")
        .rec("Timestamp", "Start: 1700000000.001001 0.000000 0.000000")
        .rec("Timestamp", "Resp: 1700000000.001004 0.000003 0.000003");
    let task = super::support::task(&log, Side::Client);
    let elapsed = (1_700_000_000.001_004_f64 - 1_700_000_000.001_001_f64) * 1e6;
    assert_eq!(line("%D", &csa(), &task), (elapsed as i64).to_string());
    assert_eq!(line("%D", &apache(), &task), "3");
}

#[test]
fn a_backend_task_logs_what_varnishncsa_b_does() {
    let log = backend();
    let task = task(&log, Side::Backend);
    for (format, want) in [
        ("%h", "198.51.100.9"),
        ("%m", "GET"),
        ("%U", "/b"),
        ("%q", "?r"),
        ("%r", "GET http://www.example.com/b?r HTTP/1.1"),
        ("%s", "200"),
        ("%b", "4000"),
        ("%I", "120"),
        ("%O", "4300"),
        ("%{X-Twice}i", "two"),
        ("%{X-Twice:first}i", "one"),
        ("%{Content-Type}o", "text/html"),
        ("%{Content-Type:last}o", "text/html"),
        ("%{Varnish:side}x", "b"),
        ("%{Varnish:hitmiss}x", "-"),
        ("%{Varnish:handling}x", "-"),
        ("%{Varnish:time_firstbyte}x", "0.100000"),
        ("%{ms}T", "1200"),
        ("%{s3log:elapsed}x", "1.200000"),
        ("%{s3log:reason}x", "-"),
        ("%T", "1"),
        ("%{VSL:BereqAcct[1]}x", "100"),
        ("%{VSL:ReqAcct[1]}x", "-"),
    ] {
        assert_eq!(line(format, &csa(), &task), want, "{format}");
    }
}

#[test]
fn an_absent_value_has_the_text_of_its_dialect() {
    let log = Log::new().rec("Begin", "req 1 rxreq");
    let task = Task { acct: None, ..task(&log, Side::Client) };
    for (format, want_apache, want_csa) in [
        ("%h", "-", "-"),
        ("%m", "-", "-"),
        ("%s", "-", "-"),
        ("%b", "-", "-"),
        ("%B", "-", "-"),
        ("%I", "-", "-"),
        ("%O", "-", "-"),
        ("%H", "-", "HTTP/1.0"),
        ("[%q]", "[]", "[]"),
        ("%U", "-", "-"),
        ("%u", "-", "-"),
        ("%t", "-", "-"),
        ("%D", "-", "-"),
        ("%v", "-", "-"),
        ("%A", "-", "-"),
        ("%X", "-", "-"),
        ("%r", "-", "- http://localhost HTTP/1.0"),
        ("%{Varnish:time_firstbyte}x", "-", "-"),
        ("%{s3log:elapsed}x", "-", "-"),
        ("%{s3log:reason}x", "-", "-"),
        ("%{Varnish:handling}x", "-", "-"),
        ("%{VSL:Hit}x", "-", "-"),
        ("[%{VCL_Log:k}x]", "[]", "[]"),
    ] {
        assert_eq!(line(format, &apache(), &task), want_apache, "{format} in apache");
        assert_eq!(line(format, &csa(), &task), want_csa, "{format} in varnishncsa");
    }
}

/// `log_request_time` of Apache's mod_log_config: an edge alone is `%t` of it.
#[test]
fn an_edge_alone_is_the_common_log_formats_time_of_it_in_apache() {
    let log = client();
    let task = task(&log, Side::Client);
    let want = "[14/Nov/2023:22:13:20 +0000]";
    for format in ["%{begin}t", "%{end}t", "%{begin:}t", "%{end:}t"] {
        assert_eq!(line(format, &apache(), &task), want, "{format}");
    }
    // varnishncsa passes them to strftime.
    assert_eq!(line("%{end}t", &csa(), &task), "end");
}

/// A VCL of a build before must load at a launch.
#[test]
fn a_time_without_a_conversion_that_a_build_before_has_taken_prints_itself_and_is_told() {
    let log = client();
    let task = task(&log, Side::Client);
    let again = |format: &str| Program::compile_again(format, &apache(), &tags());
    for (format, want) in [
        ("%m %{secs}t", "GET secs"),
        ("%{end:[UTC]}t %m", "[UTC] GET"),
        (r#"{"a":"%{x}t","b":"%m"}"#, r#"{"a":"x","b":"GET"}"#),
    ] {
        let refused = Program::compile(format, &apache(), &tags()).unwrap_err();
        let (program, told) = again(format).unwrap();
        assert_eq!(told, Some(refused), "{format}");
        let mut line = Vec::new();
        program.render(&task, &mut line);
        assert_eq!(String::from_utf8(line).unwrap().trim_end(), want, "{format}");
    }
    assert!(again("%m %{%T}t").unwrap().1.is_none());
    // What no build takes is refused as ever, with everything that is wrong.
    let refused = again("%{secs}t %y").unwrap_err();
    assert_eq!(refused, Program::compile("%{secs}t %y", &apache(), &tags()).unwrap_err());
}

#[test]
fn no_bytes_of_body_are_a_dash_in_apache_and_a_zero_in_varnishncsa() {
    let log = client();
    let acct = crate::record::Acct { response_body: 0, ..ACCT };
    let task = Task { acct: Some(acct), ..task(&log, Side::Client) };
    assert_eq!(line("%b %B", &apache(), &task), "- 0");
    assert_eq!(line("%b", &csa(), &task), "0");
    assert_eq!(line(r#"{"b":%b,"s":"%b"}"#, &apache(), &task), r#"{"b":0,"s":"-"}"#);
}

#[test]
fn the_default_format_is_varnishncsas() {
    let log = client();
    let task = task(&log, Side::Client);
    let want = concat!(
        r#"192.0.2.7 - aladdin [14/Nov/2023:22:13:20 +0000] "GET http://www.example.com"#,
        r#"/path/x?a=1&b=2 HTTP/1.1" 304 4000 "http://ref.example/" "curl/8.0 \"quoted\"""#
    );
    assert_eq!(line("%{Varnish:default_format}x", &csa(), &task), want);
}

#[test]
fn handling_follows_the_calls_of_vcl() {
    type Records = &'static [(&'static str, &'static str)];
    let cases: &[(Records, &str, &str)] = &[
        (&[("VCL_call", "HIT")], "hit", "hit"),
        (&[("VCL_call", "MISS")], "miss", "miss"),
        (&[("HitMiss", "1 2.0"), ("VCL_call", "MISS")], "miss", "hitmiss"),
        (&[("HitPass", "1 2.0"), ("VCL_call", "PASS")], "miss", "hitpass"),
        (&[("VCL_call", "PASS")], "miss", "pass"),
        (&[("VCL_call", "HIT"), ("VCL_call", "SYNTH")], "miss", "synth"),
        (&[("VCL_return", "pipe")], "miss", "pipe"),
        (&[("VCL_call", "HIT"), ("VCL_call", "RECV")], "-", "-"),
    ];
    for (records, hitmiss, handling) in cases {
        let mut log = Log::new().rec("Begin", "req 1 rxreq");
        for (tag, text) in *records {
            log.push(tag, text.as_bytes());
        }
        let task = task(&log, Side::Client);
        let got = line("%{Varnish:hitmiss}x %{Varnish:handling}x", &csa(), &task);
        assert_eq!(got, format!("{hitmiss} {handling}"), "{records:?}");
    }
}

#[test]
fn a_piped_request_counts_by_its_pipe_record() {
    let log = Log::new().rec("Begin", "req 1 rxreq").rec("PipeAcct", "70 80 900 1000");
    let task = Task { acct: None, ..task(&log, Side::Client) };
    assert_eq!(line("%I %O %b", &csa(), &task), "900 1000 -");
}

#[test]
fn a_header_taken_away_before_recv_stays_a_dash() {
    let log = Log::new()
        .rec("Begin", "req 1 rxreq")
        .rec("ReqUnset", "X-Twice: one")
        .rec("ReqHeader", "X-Twice: two");
    let task = task(&log, Side::Client);
    assert_eq!(line("%{X-Twice}i", &csa(), &task), "-");
}

#[test]
fn json_prints_numbers_bare_and_null_for_what_is_absent() {
    let (log, known) = (client(), known());
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    let format = r#"{"status":%>s,"bytes":%B,"us":%D,"ua":%{User-Agent}i,"none":%{Nope}i,
        "empty":"%{Nope}i", "vxid":%{Varnish:vxid}x, "t":%{tenant}x,"l":%l,"h":%h,
        "ms":%{msec_frac}t}"#;
    let want = concat!(
        r#"{"status":304,"bytes":4000,"us":250000,"ua":"curl/8.0 \"quoted\"","none":null,"#,
        r#""empty":"", "vxid":32771, "t":"green","l":null,"h":"192.0.2.7","ms":123}"#
    );
    assert_eq!(line(format, &apache(), &task), want);
}

#[test]
fn what_is_absent_is_the_empty_string_in_json_and_what_is_always_a_dash_remains_one() {
    let log = Log::new().rec("Begin", "req 1 rxreq");
    let task = Task { acct: None, ..task(&log, Side::Client) };
    let format = concat!(
        r#"{"a":"%{Varnish:handling}x","b":"%{Varnish:hitmiss}x","c":"%X","d":"%l","#,
        r#""e":%{Varnish:handling}x,"f":%X,"g":%l}"#
    );
    let want = r#"{"a":"","b":"","c":"","d":"-","e":null,"f":null,"g":null}"#;
    assert_eq!(line(format, &apache(), &task), want);
    let want = r#"{"a":"-","b":"-","c":"-","d":"-","e":null,"f":null,"g":null}"#;
    assert_eq!(line(format, &csa_json(), &task), want);
}

#[test]
fn json_of_varnishncsa_has_its_own_words_for_absent_values() {
    let log = Log::new().rec("Begin", "req 1 rxreq");
    let task = Task { acct: None, ..task(&log, Side::Client) };
    let format = r#"{"s":"%s","h":"%h","b":"%b","u":"%u","r":"%{Referer}i"}"#;
    assert_eq!(line(format, &csa_json(), &task), r#"{"s":"0","h":"","b":"0","u":"-","r":""}"#);
    // A count is a number without quotes, too; what is text there has no JSON of varnishncsa's.
    let bare = r#"{"s":%s,"b":%b,"I":%I,"first":%{Varnish:time_firstbyte}x,"r":%{Referer}i}"#;
    let want = r#"{"s":0,"b":0,"I":0,"first":0,"r":null}"#;
    assert_eq!(line(bare, &csa_json(), &task), want);
    let want = r#"{"s":null,"b":null,"I":null,"first":null,"r":null}"#;
    assert_eq!(line(bare, &apache(), &task), want);
}

#[test]
fn a_backslash_in_a_json_format_is_jsons_own() {
    let log = client();
    let task = task(&log, Side::Client);
    assert_eq!(line(r#"{"a":"\"%m\" \\"}"#, &apache(), &task), r#"{"a":"\"GET\" \\"}"#);
}

#[test]
fn raw_tags_print_in_json_only() {
    let log = client().rec("Debug", "x");
    let task = task(&log, Side::Client);
    let got = line(r#"{"d":"%{VSL:Debug}x"}"#, &apache(), &task);
    assert_eq!(got, r#"{"d":"x\u0000"}"#);
}

#[test]
fn a_whole_url_in_the_host_header_is_not_prefixed_twice() {
    let log = Log::new()
        .rec("Begin", "req 1 rxreq")
        .rec("ReqMethod", "GET")
        .rec("ReqURL", "/")
        .rec("ReqHeader", "Host: http://h");
    let task = task(&log, Side::Client);
    assert_eq!(line("%r", &csa(), &task), "GET http://h/ HTTP/1.0");
    assert_eq!(line("%r", &apache(), &task), "GET /");
}

#[test]
fn two_word_headers_are_read_as_told() {
    let log = client();
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < log.bytes.len() {
        let word = u32::from_ne_bytes(log.bytes[at..at + 4].try_into().unwrap());
        let text = ((word & 0xffff) as usize).div_ceil(4) * 4;
        bytes.extend_from_slice(&log.bytes[at..at + 8]);
        bytes.extend_from_slice(&log.bytes[at + 12..at + 12 + text]);
        at += 12 + text;
    }
    let task = Task { overhead: 2, log: &bytes, ..task(&log, Side::Client) };
    assert_eq!(line("%m %U %s", &csa(), &task), "GET /path/x 304");
}

#[test]
fn a_program_says_how_it_escapes() {
    assert_eq!(compile(" {}", &apache()).escape(), Escape::Json);
    assert_eq!(compile("%h", &apache()).escape(), Escape::Clf);
    let (got, rendered) = full("", &apache(), &task(&client(), Side::Client));
    assert!(got.is_empty() && !rendered.truncated && !rendered.incomplete);
}

#[test]
fn the_sample_says_how_many_transactions_a_line_stands_for() {
    let options = Options { sample: "1/250".parse().unwrap(), ..apache() };
    let log = client();
    let format = r#"{"weight":%{s3log:sample}x,"text":"%{s3log:sample}x of %m"}"#;
    let got = line(format, &options, &task(&log, Side::Client));
    assert_eq!(got, "{\"weight\":250,\"text\":\"250 of GET\"}");
}

#[test]
fn what_stands_around_a_times_conversions_is_jsons_own() {
    let log = client();
    let task = task(&log, Side::Client);
    let format =
        r#"{"date":"%{%d\/%m\/%Y}t","%{%Y}t":"at \"%{%H\"\\%M}t","bare":%{\"%F\u0009%T}t}"#;
    let got = line(format, &apache(), &task);
    let read: serde_json::Value = serde_json::from_str(&got).expect(&got);
    let want = serde_json::json!({
        "date": "14/11/2023", "2023": "at \"22\"\\13", "bare": "\"2023-11-14\t22:13:20",
    });
    assert_eq!(read, want, "{got}");
    // No line is JSON there, and so nothing in it has to be.
    assert_eq!(line("%{%H\"%M%t}t", &apache(), &task), "22\"13\t");
}

#[test]
fn vinyl_caches_name_of_a_value_is_the_same_as_varnishs() {
    let log = client();
    let task = task(&log, Side::Client);
    for key in ["time_firstbyte", "hitmiss", "handling", "side", "vxid", "default_format"] {
        let [varnish, vinyl] = ["Varnish", "Vinyl"].map(|name| format!("%{{{name}:{key}}}x"));
        assert_ne!(line(&vinyl, &apache(), &task), "-", "{vinyl}");
        assert_eq!(line(&vinyl, &apache(), &task), line(&varnish, &apache(), &task));
    }
}
