//! Our strftime against the C library's.

use std::process::Command;

use super::support::{Log, apache, csa, line, task};
use crate::record::Side;
use crate::record::time::{Layout, parse};
use jiff::tz::TimeZone;
use proptest::prelude::*;

fn ours(format: &str, seconds: i64, zone: Option<&TimeZone>) -> String {
    let mut out = Vec::new();
    Layout::compile(format, zone.cloned()).expect(format).write(seconds, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

const FORMAT: &str = "%a %A %b %B %C %d %D %e %F %g %G %h %H %I %j %k %l %m %M %p %P %r %R %s \
                      %S %T %u %U %V %w %W %x %X %y %Y %z %Z %% %c %-d %^a";

#[test]
fn every_conversion_prints_what_date_prints() {
    for (name, zone) in [
        ("UTC", None),
        ("Europe/Berlin", Some("Europe/Berlin")),
        ("America/St_Johns", Some("America/St_Johns")),
    ] {
        let Ok(tz) = TimeZone::get(name) else { continue };
        for seconds in [
            0,
            86_399,
            951_782_400,
            1_078_012_800,
            1_700_000_000,
            1_711_846_799,
            1_711_846_800,
            1_729_990_799,
            1_729_990_800,
            1_735_689_599,
            4_102_444_800,
        ] {
            let output = Command::new("date")
                .args(["-d", &format!("@{seconds}"), &format!("+{FORMAT}")])
                .env("TZ", name)
                .env("LC_ALL", "C")
                .output();
            let Ok(output) = output else { return };
            let want = String::from_utf8(output.stdout).expect("UTF-8");
            let got = ours(FORMAT, seconds, zone.map(|_| &tz));
            assert_eq!(got, want.trim_end_matches('\n'), "{seconds} in {name}");
        }
    }
}

#[test]
fn a_second_that_is_kept_is_written_again_and_no_other() {
    const LONG: &str = "%Y-%m-%dT%H:%M:%S%z %Y-%m-%dT%H:%M:%S%z %Y-%m-%dT%H:%M:%S%z %A %B";
    let formats = ["[%d/%b/%Y:%H:%M:%S %z]", "%T", "%Y-%m-%d", "%s", "", LONG];
    let zones = ["UTC", "Europe/Berlin", "America/St_Johns"];
    let zones: Vec<_> = zones.iter().filter_map(|name| TimeZone::get(name).ok()).collect();
    let layouts: Vec<_> = (zones.iter())
        .flat_map(|zone| formats.map(|format| (zone, format)))
        .map(|(zone, format)| (zone, format, Layout::compile(format, Some(zone.clone())).unwrap()))
        .collect();
    for step in 0..2_000 {
        let seconds = 1_729_990_795 + step / 40 % 9;
        for (zone, format, layout) in layouts.iter().skip(step as usize % 3).step_by(2) {
            let mut out = b"before ".to_vec();
            layout.write(seconds, &mut out);
            let time = jiff::Timestamp::from_second(seconds).unwrap().to_zoned((*zone).clone());
            assert_eq!(out, format!("before {}", time.strftime(*format)).into_bytes());
        }
    }
}

#[test]
fn days_are_right_in_every_month_of_four_centuries() {
    for day in (0..146_097 * 2).step_by(13) {
        let seconds = (day - 146_097) * 86_400;
        let time = jiff::Timestamp::from_second(seconds).expect("in range");
        let want = time.strftime("%Y-%m-%d %j %a").to_string();
        assert_eq!(ours("%Y-%m-%d %j %a", seconds, None), want);
    }
}

#[test]
fn a_timestamp_is_read_as_strtod_reads_it() {
    for (text, number) in [
        ("0", 0.0),
        ("12.5", 12.5),
        ("1700000000.000001", 1_700_000_000.000_001),
        ("1700000000.123456", 1_700_000_000.123_456),
        ("9999999999.999999", 9_999_999_999.999_999),
        ("12345678901234567890.000001", 12_345_678_901_234_567_890.0),
    ] {
        assert_eq!(parse(text.as_bytes()), Some(number), "{text}");
    }
    for text in ["", ".", ".5", "x", "1.2.3", "1x", "-", "+1", "nan", "inf"] {
        assert_eq!(parse(text.as_bytes()), None, "{text}");
    }
}

/// What a format prints of a task that began so many microseconds after 1970.
fn began(format: &str, micros: u64, options: &crate::record::Options) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let start = format!("Start: {seconds}.{fraction:06} 0.000000 0.000000");
    let log = Log::new().rec("Begin", "req 1 rxreq").rec("Timestamp", start);
    line(format, options, &task(&log, Side::Client))
}

const FRACTIONS: &str = "%{sec}t %{msec}t %{msec_frac}t %{usec}t %{usec_frac}t";

fn fractions(micros: u64) -> String {
    let (ms, seconds) = (micros / 1_000, micros / 1_000_000);
    format!("{seconds} {ms} {:03} {micros} {:06}", ms % 1_000, micros % 1_000_000)
}

#[test]
fn the_microseconds_of_a_second_are_those_of_its_timestamp() {
    for micros in 1_700_000_000_000_001..=1_700_000_000_001_000 {
        assert_eq!(began(FRACTIONS, micros, &apache()), fractions(micros));
    }
    let json = r#"{"ms":%{msec_frac}t,"us":%{usec_frac}t}"#;
    assert_eq!(began(json, 1_700_000_000_000_001, &apache()), r#"{"ms":0,"us":1}"#);
}

#[test]
fn varnishncsa_cuts_the_microseconds_of_a_second() {
    assert_eq!(began("%{usec_frac}t", 1_700_000_000_000_001, &csa()), "000000");
    assert_eq!(began("%{usec_frac}t", 1_700_000_000_123_456, &csa()), "123456");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // Until 2096: from then on a double does not tell two microseconds from each other.
    #[test]
    fn each_unit_of_a_time_says_the_same(micros in 0..4_000_000_000_000_000_u64) {
        prop_assert_eq!(began(FRACTIONS, micros, &apache()), fractions(micros));
    }
}
