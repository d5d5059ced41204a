//! The escapers against other people's readers.

#[path = "../../../tests/record/unjson.rs"]
mod unjson;

use super::support::{Known, apache, client, csa, full, task};
use crate::record::{Escape, Options, Side, Task, escape};

fn all_bytes() -> Vec<u8> {
    (0..=255).collect()
}

#[test]
fn clf_of_varnishncsa_is_vsb_quote() {
    let mut out = Vec::new();
    escape::clf(b"a\"\\\n\r\t\x08\x0b\x00\x1f ~\x7f\x80\xff", false, &mut out);
    assert_eq!(out, br#"a\"\\\n\r\t\x08\x0b\x00\x1f ~\x7f\x80\xff"#);
}

#[test]
fn clf_of_apache_has_two_letters_more() {
    let mut out = Vec::new();
    escape::clf(b"\x08\x0b\x0c", true, &mut out);
    assert_eq!(out, br"\b\v\x0c");
}

#[test]
fn clf_is_printable_ascii_for_every_byte_at_every_place() {
    for byte in 0..=255u8 {
        for at in 0..20 {
            let mut value = vec![b'a'; 20];
            value[at] = byte;
            let mut out = Vec::new();
            escape::clf(&value, true, &mut out);
            assert!(out.iter().all(|b| (0x20..=0x7e).contains(b)), "{byte} at {at}");
            let plain = (0x20..=0x7e).contains(&byte) && byte != b'"' && byte != b'\\';
            assert_eq!(out == value, plain, "{byte} at {at}");
        }
    }
}

#[test]
fn json_round_trips_every_byte_at_every_place() {
    for byte in 0..=255u8 {
        for at in 0..20 {
            let mut value = vec![b'a'; 20];
            value[at] = byte;
            round_trip(&value);
        }
    }
    round_trip(&all_bytes());
    round_trip("\u{ef80}\u{efff}\u{ee00}\u{e000}\u{f000}".as_bytes());
    round_trip(b"\xee\xbe");
    round_trip(b"\xee\xbe\x80\xee");
}

fn round_trip(value: &[u8]) {
    let mut out = b"\"".to_vec();
    escape::json(value, &mut out);
    out.push(b'"');
    let text = std::str::from_utf8(&out).expect("UTF-8");
    let decoded: String = serde_json::from_str(text).expect(text);
    assert_eq!(unjson::unjson(&decoded), value);
}

#[test]
fn valid_utf8_stays_readable_in_json() {
    let mut out = Vec::new();
    escape::json("naïve – 日本語 🦀".as_bytes(), &mut out);
    assert_eq!(out, "naïve – 日本語 🦀".as_bytes());
}

#[test]
fn tsv_keeps_columns_and_rows_apart() {
    let mut out = Vec::new();
    escape::tsv(&all_bytes(), &mut out);
    assert!(!out.contains(&b'\t') && !out.contains(&b'\n') && !out.contains(&0));
    let mut out = Vec::new();
    escape::tsv(b"a\tb\\\n\xc3\xa9", &mut out);
    assert_eq!(out, b"a\\tb\\\\\\n\xc3\xa9");
}

#[test]
fn none_keeps_everything_but_line_breaks() {
    let mut out = Vec::new();
    escape::none(b"a\tb\"\\\n\r\xff", &mut out);
    assert_eq!(out, b"a\tb\"\\\\n\\r\xff");
}

#[test]
fn only_exact_numbers_and_words_stand_bare() {
    let words = ["true", "false", "null"];
    let longest = ["123456789012345", "-123456789012345", "1.23456789012345", "-12345678901234.5"];
    for good in ["0", "-1", "200", "0.5"].into_iter().chain(longest).chain(words) {
        assert!(escape::bare(good.as_bytes()), "{good}");
        serde_json::from_str::<serde_json::Value>(good).expect(good);
    }
    let longer =
        ["1234567890123456", "-1234567890123456", "1.234567890123456", "123456789012345.6"];
    for bad in
        ["", "-", "00", "007", "1.", ".5", "1e9", "0x1", "1 ", "NaN"].into_iter().chain(longer)
    {
        assert!(!escape::bare(bad.as_bytes()), "{bad}");
    }
}

#[test]
fn no_mode_lets_a_value_start_a_record() {
    let known = Known { values: vec![(b"k".to_vec(), b"a\nb\r\nc".to_vec())], ..Known::default() };
    let log = client();
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    for escape in [Escape::Clf, Escape::Json, Escape::Tsv, Escape::None] {
        for options in [apache(), csa()] {
            let options = Options { escape: Some(escape), ..options };
            // full() asserts that there is one newline.
            let format = if escape == Escape::Json { r#""%{k}x""# } else { "%{k}x" };
            full(format, &options, &task);
        }
    }
}
