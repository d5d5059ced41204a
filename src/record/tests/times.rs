//! Our strftime against the C library's.

use std::process::Command;

use crate::record::time::{Layout, parse};
use jiff::tz::TimeZone;

fn ours(format: &str, seconds: i64, zone: Option<&TimeZone>) -> String {
    let mut out = Vec::new();
    Layout::compile(format).expect(format).write(seconds, zone, &mut out);
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
fn clf_time_in_one_go_is_clf_time_piece_by_piece() {
    use crate::record::time::CLF;
    assert_eq!(ours(CLF, 1_700_000_000, None), "[14/Nov/2023:22:13:20 +0000]");
    for name in ["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu"] {
        let Ok(zone) = TimeZone::get(name) else { continue };
        for seconds in (0..2_000_000_000).step_by(7_654_321) {
            let piecewise = ours("[%d/%b/%Y:%T %z]", seconds, Some(&zone));
            assert_eq!(ours(CLF, seconds, Some(&zone)), piecewise);
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
    for text in ["0", "1700000000.123456", "1700000000.000001", "9999999999.999999", "12.5"] {
        assert_eq!(parse(text.as_bytes()), Some(text.parse::<f64>().unwrap()), "{text}");
    }
    for text in ["", ".", "x", "1.2.3", "1x", "-", "nan", "inf"] {
        assert_eq!(parse(text.as_bytes()), None, "{text}");
    }
}
