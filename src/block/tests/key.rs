use proptest::prelude::*;

use crate::block::key::KEY_MAX;
use crate::block::names::NAME_MAX;
use crate::block::{BootId, Digest, Drops, KeyParts, Kind, Meta, NameError, Naming, sanitise};

fn meta(host: &str, stream: &str, first: u64) -> Meta {
    Meta {
        format: 1,
        stream: stream.into(),
        host: host.into(),
        boot: BootId::new(0x6b03_0180, 0xbeef),
        number: 42,
        records: 1,
        raw_bytes: 1,
        bytes: 1,
        first,
        last: first,
        dropped: Drops::default(),
        cut: 0,
        codec: Kind::Gzip,
        sha256: Digest::of(b""),
        previous: None,
        route: None,
        signature: None,
    }
}

const TIME: u64 = 1_795_365_296_789_000_000;

#[test]
fn a_key_is_path_timestamp_host_stream_boot_and_number() {
    let naming = Naming::new("varnish/%Y/%m/%d/", Naming::DEFAULT_TIMESTAMP).unwrap();
    let mut meta = meta("web-1", "access", TIME);
    assert_eq!(
        naming.key(&meta, ""),
        "varnish/2026/11/22/2026-11-22T16-34-56Z-web-1-access-6b030180beef-0000000042.log.gz"
    );
    meta.codec = Kind::Zstd;
    assert_eq!(
        Naming::default().key(&meta, ".age"),
        "2026-11-22T16-34-56Z-web-1-access-6b030180beef-0000000042.log.zst.age"
    );
    meta.codec = Kind::Snappy;
    let key = Naming::default().key(&meta, "");
    assert!(key.ends_with("-0000000042.log.sz"), "{key}");
    assert_eq!(KeyParts::parse(&key).unwrap().codec, Kind::Snappy);
}

#[test]
fn date_agrees_on_what_strftime_gives() {
    let format = "%Y/%m/%d/%H/%M/%S %j %U %u %y %e %b %A %s %%";
    let Ok(output) = std::process::Command::new("date")
        .env("LC_ALL", "C")
        .args(["-u", "-d", &format!("@{}", TIME / 1_000_000_000), &format!("+{format}")])
        .output()
    else {
        return;
    };
    if !output.status.success() {
        return;
    }
    let expected = String::from_utf8(output.stdout).unwrap();
    let key = Naming::new(format, "").unwrap().key(&meta("h", "s", TIME), "");
    assert_eq!(key.split_once("-h-s-").unwrap().0, expected.trim_end());
}

#[test]
fn a_bad_directive_is_refused_with_the_option_it_stands_in() {
    for bad in ["%", "logs/%!", "%Y/%\u{e9}"] {
        let error = Naming::new(bad, Naming::DEFAULT_TIMESTAMP).unwrap_err();
        assert!(matches!(error, NameError::Directive { option: "path", .. }), "{bad}: {error}");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("path = \"{bad}\" is not a valid strftime format: ")),
            "{text}"
        );
        let error = Naming::new("", bad).unwrap_err();
        assert!(matches!(error, NameError::Directive { option: "timestamp_format", .. }));
    }
    for bad in ["a\nb", "%n", "a\0"] {
        let error = Naming::new(bad, "%Y").unwrap_err();
        assert_eq!(error.to_string(), "path holds a control character; expected printable text");
    }
}

#[test]
fn the_longest_key_that_is_accepted_is_one_that_s3_takes() {
    let limit = (0..KEY_MAX).rev().find(|n| Naming::new(&"p".repeat(*n), "%A-%B").is_ok()).unwrap();
    let error = Naming::new(&"p".repeat(limit + 1), "%A-%B").unwrap_err();
    assert!(matches!(error, NameError::Long { .. }), "{error}");
    let naming = Naming::new(&"p".repeat(limit), "%A-%B").unwrap();
    let mut meta = meta(&"h".repeat(300), &"s".repeat(300), 0);
    meta.number = u64::MAX;
    meta.codec = Kind::Zstd;
    for day in 0..366 {
        meta.first = day * 86_400_000_000_000;
        assert!(naming.key(&meta, ".age").len() <= KEY_MAX);
    }
    meta.first = u64::MAX;
    assert!(naming.key(&meta, ".age").len() <= KEY_MAX);
}

#[test]
fn names_keep_only_what_no_tool_trips_over() {
    assert_eq!(sanitise("web-1.example_com"), "web-1.example_com");
    assert_eq!(sanitise("a/b c:\u{e9}"), "a_b_c___");
    assert_eq!(sanitise(""), "_");
    assert_eq!(sanitise(&"x".repeat(500)).len(), NAME_MAX);
}

#[test]
fn a_boot_id_is_the_time_and_a_random_part() {
    let boot = BootId::new(0x1_6b03_0180, 0x00ff);
    assert_eq!(boot.to_string(), "6b03018000ff");
    assert_eq!("6b03018000ff".parse(), Ok(boot));
    for bad in ["", "6b03018000f", "6B03018000FF", "6b03018000fg", "+b03018000ff"] {
        assert!(bad.parse::<BootId>().is_err());
    }
}

#[test]
fn keys_of_one_boot_sort_by_number() {
    let naming = Naming::new("", "").unwrap();
    let mut meta = meta("h", "s", TIME);
    let mut keys: Vec<String> = [1, 9, 10, 99, 12345, 9_999_999_999]
        .map(|number| {
            meta.number = number;
            naming.key(&meta, "")
        })
        .to_vec();
    let sorted = keys.clone();
    keys.sort();
    assert_eq!(keys, sorted);
}

#[test]
fn other_objects_are_no_blocks() {
    for key in [
        "",
        "readme.txt",
        "a.log.gz",
        "x-1.log.gz",
        "t-h-s-6b030180beef-42.log.gz",
        "t-h-s-6b030180beef-00000000042.log.gz",
        "t-h-s-6b030180beef-+000000042.log",
        "t-h-s-6b030180beef-0000000042.log.xz",
        "t-h-s-6b030180bee-0000000042.log",
        "t-h-s-6b030180beef-99999999999999999999999.log",
    ] {
        assert_eq!(KeyParts::parse(key), None, "{key}");
    }
}

proptest! {
    #[test]
    fn a_key_gives_its_parts_back(
        host in "[A-Za-z0-9._-]{1,20}",
        stream in "[A-Za-z0-9._-]{1,20}",
        first in any::<u64>(),
        number in any::<u64>(),
        random in any::<u16>(),
        seal in prop::sample::select(&["", ".age", ".pgp"][..]),
        codec in prop::sample::select(&[Kind::Gzip, Kind::Zstd, Kind::None][..]),
    ) {
        let naming = Naming::new("logs/%Y/%m/", Naming::DEFAULT_TIMESTAMP).unwrap();
        let mut meta = meta(&host, &stream, first);
        meta.number = number;
        meta.boot = BootId::new(first, random);
        meta.codec = codec;
        let key = naming.key(&meta, seal);
        let parts = KeyParts::parse(&key).unwrap();
        prop_assert_eq!((parts.boot, parts.number), (meta.boot, number));
        prop_assert_eq!((parts.codec, parts.seal), (codec, seal));
        prop_assert_eq!(parts.host(&naming, &stream), Some(host.as_str()));
        prop_assert_eq!(naming.time(&parts), Some(first / 1_000_000_000));
        prop_assert!(parts.before_stream(&stream).unwrap().ends_with(&host));
    }

    #[test]
    fn no_key_and_no_format_of_somebody_else_does_harm(key in ".{0,60}", path in ".{0,20}") {
        let _ = KeyParts::parse(&key);
        let _ = Naming::new(&path, &key).map(|naming| naming.key(&meta("h", "s", TIME), ""));
    }
}
