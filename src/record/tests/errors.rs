//! What a format's author reads when it is wrong.

use super::support::{apache, client, csa, line, tags, task};
use crate::record::{Options, Program, Side};

fn error(format: &str) -> String {
    Program::compile(format, &apache(), &tags()).expect_err(format).to_string()
}

#[test]
fn an_error_shows_the_place() {
    assert_eq!(error("%h %y %s"), "unknown specifier at column 4 of the format: %h >>%y<< %s");
    assert_eq!(
        error("%h %l %u %t \"%r\" %>s %b %J tail that is long"),
        "unknown specifier at column 25 of the format: \
         ... %t \"%r\" %>s %b >>%J<< tail that is lo..."
    );
}

#[test]
fn every_mistake_has_its_sentence() {
    for (format, want) in [
        ("%", "the specifier is not finished"),
        ("x%{Foo", "the specifier is not finished"),
        ("%{Foo}", "the specifier is not finished"),
        ("%>", "the specifier is not finished"),
        ("%>b", "only %>s and %<s know a direction"),
        ("%{foo}z", "unknown specifier"),
        ("%{x}p", "canonical, local or remote"),
        ("%{d}T", "takes s, ms or us"),
        ("%{%Q}t", "strftime knows no \"%Q\""),
        ("%{%n}t", "strftime knows no \"%n\""),
        ("%{%}t", "strftime knows no \"%\""),
        ("%{}i", "not the name of a header"),
        ("%{a:b}i", "may end in :first or :last"),
        ("%{Varnish:foo}x", "Varnish: takes time_firstbyte"),
        ("%{Vinyl:foo}x", "Varnish: takes time_firstbyte"),
        ("%{secs}t", "%{...}t takes a format of strftime, sec, msec, usec, msec_frac or usec_frac"),
        ("%{end:millis}t", "%{...}t takes a format of strftime, sec, "),
        ("%{s3log:foo}x", "s3log: takes reason, elapsed, sample or incomplete"),
        ("%{VSL:}x", "a tag is missing"),
        ("%{VSL:Nope}x", "no such log tag"),
        ("%{VSL:Req}x", "more than one log tag"),
        ("%{VSL:Debug}x", "need escape json"),
        ("%{VSL:ReqStatus}x", "need escape json"),
        ("%{VSL:ReqStart[0]}x", "1 to 255"),
        ("%{VSL:ReqStart[256]}x", "1 to 255"),
        ("%{VSL:ReqStart[]}x", "1 to 255"),
        ("%{VSL:ReqStart]}x", "tag:prefix[number]"),
        ("%{}x", "key of a value"),
        ("a\nb", "split the record"),
        ("a\\nb", "split the record"),
        ("{\"a\":%U%q}", "is not JSON"),
        ("{\"a\":\"%h}", "is not JSON"),
        ("{\"a\" %h}", "is not JSON"),
        ("{\"a\":%he%h}", "is not JSON"),
        ("{\"a\":-%s}", "is not JSON"),
        ("{\"a\":\"\r\n%s\"}", "is not JSON"),
        ("{\"a\":\"\\ud800\"}", "is not JSON"),
        ("{\"a\":\"%{%F%t%T}t\"}", "is not JSON"),
        ("{\"a\":\"%{%F%_t%T}t\"}", "is not JSON"),
        ("{\"a\":\"%{%F\t%T}t\"}", "is not JSON"),
        ("{\"a\":\"%{%H\"%M}t\"}", "is not JSON"),
        ("{\"a\":\"%{%H\\}t\"}", "is not JSON"),
        ("{\"a\":\"%{%d\\%m}t\"}", "is not JSON"),
        ("{\"a\":\"%{\\q%d}t\"}", "is not JSON"),
        ("{\"a\":%{%H\"%M}t}", "is not JSON"),
        ("{\"a\":%{%F%t%T}t}", "is not JSON"),
        ("{\"a\":%{%H\\}t}", "is not JSON"),
        ("{\"a\":%{%F\",\"b\":\"}t}", "is not JSON"),
        ("{%{%F}t:1}", "is not JSON"),
    ] {
        let got = error(format);
        assert!(got.contains(want), "{format:?} said: {got}");
        assert!(!got.contains('\n'), "{got}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place() {
    assert_eq!(
        error("%h %y %s %{x}p"),
        "2 mistakes: (1) unknown specifier at column 4 of the format: %h >>%y<< %s %{x}p; \
         (2) %{...}p takes canonical, local or remote at column 10 of the format: \
         %h %y %s >>%{x}p<<"
    );
    let got = error("{\"a\": %y, \"b\" %{client.ip}V}");
    assert!(got.starts_with("3 mistakes: (1) unknown specifier at column 7"), "{got}");
    assert!(got.contains("write %a instead"), "{got}");
    assert!(got.contains("is not JSON"), "{got}");
    let got = error(&"%y".repeat(30));
    assert!(got.starts_with("30 mistakes: ") && got.ends_with("; and 10 more"), "{got}");
    // What follows an open brace is a part of it, and no more can be told.
    let got = error("%y {\"a\": %{Foo");
    assert!(got.starts_with("2 mistakes: ") && !got.contains("JSON"), "{got}");
}

/// Fastly's own examples, from its documentation's page on log formats.
#[test]
fn a_vcl_expression_is_told_what_stands_here_for_it() {
    for (expression, want) in [
        ("client.ip", "write %a instead"),
        ("req.http.User-Agent", "write %{User-Agent}i instead"),
        ("req.http.Fastly-Client-IP", "write %a instead"),
        ("json.escape(req.http.fastly-orig-host)", "write %v instead"),
        ("req.http.Fastly-SSL", "have the TLS proxy in front send it in a header"),
        ("req.http.Fastly-FF", "Varnish does not have it: leave it out"),
        (
            "req.http.X-Country",
            r#"call .set("x_country", req.http.X-Country) on the stream in vcl_deliver and vcl_synth and write %{x_country}x instead"#,
        ),
        ("resp.http.Content-Type", "write %{Content-Type}o instead"),
        ("json.escape(req.http.host)", "write %{host}i instead"),
        ("json.escape(req.url)", "write %U%q instead"),
        ("json.escape(client.geo.city)", "Varnish does not have it: look the address up in VCL"),
        ("client.as.number", "Varnish does not have it: look the address up in VCL"),
        ("resp.response", "write %{s3log:reason}x instead"),
        (
            r#"if(resp.response, "%22"+json.escape(resp.response)+"%22", "null")"#,
            "write %{s3log:reason}x instead",
        ),
        ("resp.body_bytes_written", "write %B instead"),
        ("time.elapsed.usec", "write %D instead"),
        ("time.elapsed", "write %{s3log:elapsed}x instead"),
        ("req.body_bytes_read", "write %{VSL:ReqAcct[2]}x instead"),
        ("req.header_bytes_read", "write %{VSL:ReqAcct[1]}x instead"),
        ("resp.header_bytes_written", "write %{VSL:ReqAcct[4]}x instead"),
        ("req.url.qs", r#"call .set("qs", regsub(req.url, "^[^?]*\??", ""))"#),
        ("now", "write %{end:%a, %d %b %Y %H:%M:%S GMT}t instead"),
        ("now.sec", "write %{end:sec}t instead"),
        ("time.start", "write %{%a, %d %b %Y %H:%M:%S GMT}t instead"),
        (r#"strftime({"%F"}, now)"#, "write %{end:%F}t instead"),
        ("time.start.msec", "write %{msec}t instead"),
        (r#"strftime(\{"%Y-%m-%dT%H:%M:%S%z"\}, time.start)"#, "write %{%Y-%m-%dT%H:%M:%S%z}t"),
        (r#"strftime({"%F"}, time.end)"#, "write %{end:%F}t instead"),
        ("server.datacenter", "write this node's place into the format itself"),
        ("tls.client.protocol", "have the TLS proxy in front send it in a header"),
        (r#"if(req.is_ssl, "https", "http")"#, "set both values with .set()"),
        ("regsub(req.url, \"a\", \"b\")", r#"call .set("key", regsub(req.url, "a", "b"))"#),
        ("json.escape(req.url) + json.escape(req.url)", r#"call .set("key", json.escape("#),
        ("req.http.", r#"call .set("key", req.http.)"#),
        ("", r#"call .set("key", req.http.host)"#),
    ] {
        let got = error(&format!("%{{{expression}}}V"));
        assert!(got.contains(want), "{expression}: {got}");
    }
}

/// Fastly's reference: its counts of bytes are apart, `time.elapsed` has decimals, and a TIME is written as RFC 1123
/// does, in GMT.
#[test]
fn a_fastly_expression_has_its_value_by_the_equivalent() {
    let log = client();
    let task = task(&log, Side::Client);
    for (expression, value) in [
        ("req.header_bytes_read", "100"),
        ("req.body_bytes_read", "20"),
        ("req.bytes_read", "120"),
        ("resp.header_bytes_written", "300"),
        ("resp.body_bytes_written", "4000"),
        ("resp.bytes_written", "4300"),
        ("time.elapsed", "0.250000"),
        ("time.start", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ("time.end", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ("now", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ("time.now", "Tue, 14 Nov 2023 22:13:20 GMT"),
    ] {
        let format = crate::record::convert(&format!("%{{{expression}}}V"), &apache()).format;
        assert_eq!(line(&format, &apache(), &task), value, "{expression}: {format}");
    }
}

/// What the advice says to write compiles.
#[test]
fn each_specifier_that_is_named_as_an_equivalent_compiles() {
    let mut seen = 0;
    for (_, format) in crate::record::fastly::NAMES {
        Program::compile(format, &apache(), &tags()).expect(format);
        seen += 1;
    }
    assert!(seen > 30);
}

#[test]
fn a_line_break_at_the_end_of_a_format_is_no_mistake() {
    for format in ["%h\n", "%h\r\n", "%h\\n", "%h\n    "] {
        Program::compile(format, &apache(), &tags()).expect(format);
        Program::compile(format, &csa(), &tags()).expect(format);
    }
}

#[test]
fn a_format_that_cannot_fit_is_refused() {
    let options = Options { max_line: 256, ..apache() };
    let long = "x".repeat(300);
    let got = Program::compile(&long, &options, &tags()).expect_err("too long").to_string();
    assert!(got.contains("max_line = 256"), "{got}");
    for max_line in [0, 255, 65_001] {
        let options = Options { max_line, ..apache() };
        let got = Program::compile("", &options, &tags()).expect_err("range").to_string();
        assert!(got.contains("256 to 65000"), "{got}");
    }
}

#[test]
fn the_column_counts_characters() {
    let got = Program::compile("ééé%y", &apache(), &tags()).expect_err("unknown");
    assert_eq!(got.column(), 4);
}
