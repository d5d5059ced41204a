//! Whether each block has the name that its metadata gives it, and what is no block of the stream.

use vmod_s3log::block::{Codec, RouteId};
use vmod_s3log::seal::{Recipients, Sealing};

use crate::common::logs::{Logs, START};
use crate::verify::{findings, found};

/// A stream of four blocks, encrypted or not.
fn sealed(codec: Codec, encrypted: bool, route: Option<RouteId>) -> Logs {
    let mut logs = Logs::start();
    (logs.codec, logs.route) = (codec, route);
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    let recipients = Recipients::read(&recipient).unwrap();
    logs.sealing = encrypted.then_some(Sealing::Age(recipients));
    (0..4).for_each(|_| drop(logs.block("access", "edge-1", 1, 5)));
    logs
}

/// Moves an object with its metadata.
fn moved(logs: &Logs, key: &str, to: &str) {
    let (bytes, metadata) = logs.get(key);
    logs.delete(key);
    logs.put(to, &bytes, &metadata);
}

/// The settings with another value of one argument.
fn set(logs: &Logs, name: &str, value: &str) {
    let file = logs.path("s3log.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let prefix = format!("{name} = ");
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with(&prefix))
        .map(|line| format!("{line}\n"))
        .map(|line| if line.starts_with('[') { format!("{line}{prefix}'{value}'\n") } else { line })
        .collect();
    std::fs::write(&file, text).unwrap();
}

#[test]
fn a_block_in_another_folder_is_altered() {
    // The day before, the day after, another year, and folders of no day.
    for folder in ["2026/11/21", "2026/11/23", "2020/01/01", "old", "2026/11/22/old"] {
        for at in [3, 5] {
            for route in [None, Some(RouteId::new([7; 8]))] {
                let mut logs = Logs::start();
                logs.route = route;
                (0..6).for_each(|_| drop(logs.block("access", "edge-1", 1, 5)));
                let block = &logs.of("edge-1")[at];
                let to = block.key.replace("2026/11/22/", &format!("{folder}/"));
                moved(&logs, &block.key, &to);
                let ran = logs.s3log(&["verify", "access"]);
                // The first and the last of a folder may be of other settings.
                if at == 3 || (folder == "2020/01/01" && route.is_some()) {
                    let number =
                        format!("edge-1 block {}: the object is in varnish/{folder}/", at + 1);
                    found(&ran, "ALTERED", &[&number, "varnish/2026/11/22/", &to]);
                    assert_eq!(findings(&ran), 1, "{folder}: {}", ran.out);
                } else {
                    assert_eq!(ran.code, 0, "{folder}: {ran:?}");
                    assert!(
                        ran.out.contains("note      access 1 block is not where"),
                        "{folder}: {}",
                        ran.out
                    );
                    assert!(ran.out.contains(&to), "{folder}: {}", ran.out);
                }
            }
        }
    }
}

#[test]
fn blocks_of_other_settings_are_noted_and_not_altered() {
    for (name, value) in [
        ("path", "varnish/%Y/%m/%d/%H/"),
        ("path", "varnish/"),
        ("path", "varnish/%Y-%m-%d/"),
        ("timestamp_format", "%Y%m%dT%H%M%SZ"),
    ] {
        let logs = Logs::usual();
        set(&logs, name, value);
        let ran = logs.s3log(&["verify", "access"]);
        assert_eq!(ran.code, 0, "{name} {value}: {ran:?}");
        let note = "note      access 12 blocks are not where the settings put them";
        assert!(ran.out.contains(note), "{name} {value}: {}", ran.out);
    }
    // Written in the folders of Greenwich, on both sides of another midnight.
    for (zone, midnight) in [("Asia/Tokyo", 5 * 3_600), ("America/New_York", 19 * 3_600)] {
        let mut logs = Logs::start();
        for time in [0, midnight - 30, midnight + 16 * 3_600] {
            logs.now = START + time;
            (0..6).for_each(|_| drop(logs.block("access", "edge-1", 1, 1)));
        }
        set(&logs, "path_timezone", zone);
        let ran = logs.s3log(&["verify", "access"]);
        assert_eq!(ran.code, 0, "{zone}: {ran:?}");
        assert!(ran.out.contains("note      access 3 blocks are not where"), "{zone}: {}", ran.out);
    }
}

#[test]
fn a_stream_without_a_block_of_its_own_is_empty() {
    let mut logs = Logs::start();
    logs.settings(&["access", "web-access"]);
    logs.block("web-access", "edge", 1, 2);
    for range in [&[][..], &["--allow-expired"]] {
        let ran = logs.s3log(&[&["verify", "access"], range].concat());
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.out.contains("EMPTY     access no blocks found in "), "{}", ran.out);
        assert!(ran.out.contains("access 1 block of other streams"), "{}", ran.out);
    }
    let ran = logs.s3log(&["cat", "access"]);
    assert_eq!((ran.code, &*ran.out), (1, ""), "{ran:?}");
    assert!(ran.err.contains("stream access: no blocks found in "), "{}", ran.err);
    // A range may be without a block of any stream, and asks nothing of the stream.
    let ran = logs.s3log(&["cat", "access", "--host", "edge-web"]);
    assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
    let both = logs.s3log(&["cat", "web-access", "access"]);
    assert_eq!((both.code, &*both.out), (1, &*logs.lines()), "{both:?}");

    logs.block("access", "edge", 1, 2);
    for command in [&["cat", "access"][..], &["verify", "access", "--json"]] {
        let ran = logs.s3log(command);
        assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
    }
    // A block of the stream that is damaged is a finding, and not an empty stream.
    let block = logs.of("edge")[1].clone();
    logs.put(&block.key, b"anything", &[]);
    let ran = logs.s3log(&["verify", "access"]);
    found(&ran, "FOREIGN", &[&block.key]);
    assert_eq!(findings(&ran), 1, "{}", ran.out);
}

#[test]
fn a_block_that_lost_or_got_a_suffix_of_encryption_is_altered() {
    let route = Some(RouteId::new([7; 8]));
    let none = Codec::None;
    for (codec, encrypted, route) in [
        (Codec::default(), true, None),
        (Codec::default(), false, None),
        (Codec::default(), true, route),
        (Codec::default(), false, route),
        (none, true, None),
    ] {
        for suffix in [".age", ".pgp"] {
            let logs = sealed(codec, encrypted, route);
            let key = &logs.blocks[2].key;
            for mode in ["--download", "--deep"] {
                assert_eq!(logs.s3log(&["verify", "access", mode]).code, 0);
            }
            let plain = key.strip_suffix(".age");
            let to = plain.map_or_else(|| format!("{key}{suffix}"), str::to_owned);
            moved(&logs, key, &to);
            for mode in [&["--download"][..], &["--deep"], &[]] {
                let ran = logs.s3log(&[&["verify", "access"], mode].concat());
                if route.is_none() && mode.is_empty() && codec != none {
                    // Nothing but the bytes tells.
                    assert_eq!(ran.code, 0, "{ran:?}");
                    continue;
                }
                found(&ran, "ALTERED", &["edge-1 block 3: ", &to]);
            }
        }
    }
}

/// Where a block's folder is with these settings: what `date` prints for its first record, in seconds since 1970.
fn folder(format: &str, zone: &str, seconds: u64) -> String {
    let mut date = std::process::Command::new("date");
    date.env("TZ", zone).args(["-d", &format!("@{seconds}"), &format!("+{format}")]);
    String::from_utf8(date.output().unwrap().stdout).unwrap().trim().to_owned()
}

/// Blocks in folders of settings that were: one of each day from the first record of `start` on, `hours` apart.
fn earlier(path: &str, zone: &str, route: Option<RouteId>, blocks: u64, hours: u64) -> Logs {
    let mut logs = Logs::start();
    logs.route = route;
    for at in 0..blocks {
        logs.now = START + at * hours * 3_600;
        let block = logs.block("access", "edge-1", 1, 1);
        let seconds = block.meta.first / 1_000_000_000;
        let now = folder("varnish/%Y/%m/%d/", "UTC", seconds);
        moved(&logs, &block.key, &block.key.replace(&now, &folder(path, zone, seconds)));
    }
    logs
}

#[test]
fn folders_that_come_again_tell_nothing_of_a_block_of_another_zone() {
    for path in ["varnish/%m/%d/", "varnish/%d/", "varnish/%H/", "varnish/%a/", "varnish/%Y/%I/"] {
        for route in [None, Some(RouteId::new([7; 8]))] {
            // Written by the clock of Tokyo, over more than a year.
            let logs = earlier(path, "Asia/Tokyo", route, 85, 5 * 24 - 5);
            set(&logs, "path", path);
            let ran = logs.s3log(&["verify", "access"]);
            assert_eq!(ran.code, 0, "{path}: {}", ran.out);
            assert!(ran.out.contains("are not where the settings put them"), "{path}: {}", ran.out);
        }
    }
}

#[test]
fn a_date_in_another_order_is_no_other_date() {
    for (path, blocks, hours) in [("varnish/%Y/%d/%m/", 130, 23), ("varnish/%Y/%m/%H/", 90, 7)] {
        for route in [None, Some(RouteId::new([7; 8]))] {
            let mut logs = earlier(path, "UTC", route, blocks, hours);
            let ran = logs.s3log(&["verify", "access"]);
            assert_eq!(ran.code, 0, "{path}: {}", ran.out);
            assert!(ran.out.contains("are not where the settings put them"), "{path}: {}", ran.out);
            // And with as many where the settings put them, of the route that has them.
            logs.route = route.map(|_| RouteId::new([8; 8]));
            for day in 1..=blocks {
                logs.now += 23 * 3_600 + day;
                logs.block("access", "edge-1", 1, 1);
            }
            let ran = logs.s3log(&["verify", "access"]);
            assert_eq!(ran.code, 0, "{path}: {}", ran.out);
        }
    }
}
