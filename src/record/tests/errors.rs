//! What a format's author reads when it is wrong.

use super::support::{apache, csa, tags};
use crate::record::{Options, Program};

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
    ] {
        let got = error(format);
        assert!(got.contains(want), "{format:?} said: {got}");
        assert!(!got.contains('\n'), "{got}");
    }
}

#[test]
fn a_vcl_expression_is_told_the_call_that_does_it() {
    let got = error("%{client.as.number}V");
    assert!(got.contains(".set(\"key\", client.as.number)"), "{got}");
    assert!(got.contains("%{key}x"), "{got}");
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
