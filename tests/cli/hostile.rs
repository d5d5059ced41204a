//! `s3log` against a gateway and a bucket that mean it ill: listings that break off or never end,
//! keys and messages that would speak to the terminal, metadata of absurd numbers, bodies that come
//! by the byte, and objects that are gone when they are asked for.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::answering::{Answering, Asked, Reply, http};
use crate::common::logs::{Logs, Ran};
use crate::common::moods::tag;
use crate::node::left_behind;
use vmod_s3log::block::Codec;

type Pairs = Vec<(String, String)>;

/// Objects as a gateway holds them, by key.
#[derive(Clone, Default)]
struct Objects(BTreeMap<String, (Vec<u8>, Pairs)>);

impl Objects {
    /// Those of a bucket of real blocks.
    fn of(logs: &Logs) -> Self {
        Self(logs.blocks.iter().map(|block| (block.key.clone(), logs.get(&block.key))).collect())
    }

    fn set(&mut self, key: &str, name: &str, value: &str) {
        let pairs = &mut self.0.get_mut(key).unwrap().1;
        pairs.retain(|(known, _)| known != name);
        pairs.push((name.to_owned(), value.to_owned()));
    }

    fn get(&self, asked: &Asked) -> Reply {
        match self.0.get(&asked.key) {
            Some((bytes, pairs)) => Reply::Now(object(bytes, pairs)),
            None => Reply::Now(no_such_key()),
        }
    }

    /// The contents of a listing.
    fn contents(&self) -> String {
        self.0.iter().map(|(key, (bytes, _))| entry(key, bytes.len() as u64)).collect()
    }

    /// The listing as a gateway gives it that means well.
    fn listing(&self) -> Vec<u8> {
        page(&format!("<IsTruncated>false</IsTruncated>{}", self.contents()))
    }
}

fn object(bytes: &[u8], pairs: &Pairs) -> Vec<u8> {
    let names: Vec<String> = pairs.iter().map(|(name, _)| format!("x-amz-meta-{name}")).collect();
    let headers: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(pairs.iter().map(|(_, value)| &**value)).collect();
    http("200 OK", &headers, bytes)
}

fn no_such_key() -> Vec<u8> {
    http("404 Not Found", &[], b"<Error><Code>NoSuchKey</Code></Error>")
}

fn entry(key: &str, size: u64) -> String {
    let key = key.replace('&', "&amp;").replace('<', "&lt;").replace('\r', "&#13;");
    format!("<Contents><Key>{key}</Key><Size>{size}</Size></Contents>")
}

fn page(inner: &str) -> Vec<u8> {
    let body = format!("<?xml version=\"1.0\"?><ListBucketResult>{inner}</ListBucketResult>");
    http("200 OK", &[], body.as_bytes())
}

/// Asks a gateway.
fn ask(logs: &Logs, gateway: &Answering, arguments: &[&str]) -> Ran {
    let endpoint = gateway.endpoint();
    logs.s3log(&[arguments, &["access", "--endpoint", &endpoint]].concat())
}

/// What is printed may move no cursor, begin no line and turn no text around.
fn is_harmless(text: &str) -> bool {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    !text.chars().any(|c| (c.is_control() && c != '\n') || turns(c))
}

const READERS: [&[&str]; 5] =
    [&["ls"], &["ls", "--unsorted"], &["cat"], &["tail"], &["verify", "--deep"]];

#[test]
fn a_listing_that_breaks_off_or_never_ends_is_an_error_and_not_a_smaller_bucket() {
    let logs = Logs::usual();
    let objects = Objects::of(&logs);
    let contents = objects.contents();
    // Each gets what was asked for, and how many pages were given already.
    type Answer = Box<dyn Fn(&str, usize) -> Vec<u8> + Send + Sync>;
    let cases: [(&str, Answer); 6] = [
        ("continues, but the gateway does not say where", {
            let contents = contents.clone();
            Box::new(move |_, _| page(&format!("<IsTruncated>true</IsTruncated>{contents}")))
        }),
        ("continues, but the gateway does not say where", {
            // Version 1 of the API, which takes no notice of list-type=2.
            let contents = contents.clone();
            Box::new(move |_, _| {
                page(&format!(
                    "<Marker></Marker><NextMarker>k</NextMarker><IsTruncated>true</IsTruncated>\
                     {contents}"
                ))
            })
        }),
        ("does not say whether the listing is complete", {
            let contents = contents.clone();
            Box::new(move |_, _| page(&contents))
        }),
        ("repeats itself", {
            let contents = contents.clone();
            Box::new(move |_, _| {
                page(&format!(
                    "<IsTruncated>true</IsTruncated>\
                     <NextContinuationToken>again</NextContinuationToken>{contents}"
                ))
            })
        }),
        ("repeats itself|empty pages in a row", {
            let contents = contents.clone();
            Box::new(move |_, given| {
                page(&format!(
                    "<IsTruncated>true</IsTruncated>\
                     <NextContinuationToken>t{given}</NextContinuationToken>{contents}"
                ))
            })
        }),
        ("empty pages in a row", {
            Box::new(move |_, given| {
                page(&format!(
                    "<IsTruncated>true</IsTruncated>\
                     <NextContinuationToken>t{given}</NextContinuationToken>"
                ))
            })
        }),
    ];
    for (text, answer) in cases {
        let given = std::sync::atomic::AtomicUsize::new(0);
        let objects = objects.clone();
        let gateway = Answering::start(move |asked| {
            if asked.key.is_empty() {
                let count = given.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                Reply::Now(answer(&asked.query, count))
            } else {
                objects.get(asked)
            }
        });
        for command in READERS {
            let ran = ask(&logs, &gateway, command);
            let expected = if command[0] == "verify" { 2 } else { 1 };
            assert_eq!(ran.code, expected, "{command:?}: {text}: {ran:?}");
            // A page of other folders is an empty one to who asked for today's.
            let said = text.split('|').any(|text| ran.err.contains(text));
            assert!(said, "{command:?}: no {text:?} in {}", ran.err);
            assert!(!ran.out.contains("complete: "), "{command:?}: {}", ran.out);
        }
    }
}

#[test]
fn a_page_that_comes_twice_at_the_seam_gives_its_blocks_once() {
    let logs = Logs::usual();
    let objects = Objects::of(&logs);
    let keys: Vec<String> = objects.0.keys().cloned().collect();
    // The last key of the first page is the first of the second: a gateway of several nodes.
    let halves = (keys[..7].to_vec(), keys[6..].to_vec());
    let gateway = Answering::start(move |asked| {
        let entries = |keys: &[String]| keys.iter().map(|key| entry(key, 100)).collect::<String>();
        match (asked.key.is_empty(), asked.query.contains("continuation-token")) {
            (true, false) => Reply::Now(page(&format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>b</NextContinuationToken>{}",
                entries(&halves.0)
            ))),
            (true, true) => {
                Reply::Now(page(&format!("<IsTruncated>false</IsTruncated>{}", entries(&halves.1))))
            }
            _ => objects.get(asked),
        }
    });
    assert_eq!(ask(&logs, &gateway, &["cat"]).out, logs.lines());
    let ran = ask(&logs, &gateway, &["verify", "--deep"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_stream_without_a_block_is_not_complete_and_a_reader_says_where_it_looked() {
    let logs = Logs::usual();
    for (command, expected) in [("verify", 2), ("ls", 1), ("cat", 1), ("tail", 1)] {
        let ran = logs.s3log(&[command, "errors"]);
        assert_eq!(ran.code, expected, "{ran:?}");
        let text = format!("no blocks found in {}/logs/varnish/; check", logs.server.endpoint());
        let said = if command == "verify" { &ran.out } else { &ran.err };
        assert!(said.contains(&text), "{command}: no {text:?} in {ran:?}");
        assert!(!ran.out.contains("complete: "), "{ran:?}");
    }
    // A range without a block is an answer to who reads, and proves nothing to who verifies.
    for (command, expected) in [("verify", 2), ("ls", 0), ("cat", 0)] {
        let ran = logs.s3log(&[command, "access", "--since", "2030-01-01"]);
        assert_eq!(ran.code, expected, "{ran:?}");
    }
}

#[test]
fn a_strangers_key_hides_nothing_from_a_terminal() {
    let logs = Logs::usual();
    let mut objects = Objects::of(&logs);
    let missing = logs.of("edge-1")[1].key.clone();
    objects.0.remove(&missing);
    let first = &logs.of("edge-1")[0].key;
    let block = |from: &str| first.replace("edge-1", from).replace(".log", "-x.log");
    let strange = [
        "varnish/2026/11/22/a\u{1b}[1A\u{1b}[2Kb".to_owned(),
        "varnish/2026/11/22/a\ncomplete: 12 blocks".to_owned(),
        "varnish/2026/11/22/a\rcomplete: 12 blocks".to_owned(),
        "varnish/2026/11/22/\u{202e}moc\u{2066}x\u{200f}\u{9b}2J".to_owned(),
        block("edge\u{1b}[2J\u{202e}"),
    ];
    for key in &strange {
        objects.0.insert(key.clone(), (b"x".to_vec(), Vec::new()));
    }
    // A host and a stream in metadata are strangers' words as well.
    let other = &logs.of("edge-2")[2].key;
    objects.set(other, "host", "edge\u{202e}\u{9b}31m");
    let gateway = Answering::start(move |asked| match asked.key.is_empty() {
        true => Reply::Now(objects.listing()),
        false => objects.get(asked),
    });
    let ran = ask(&logs, &gateway, &["verify"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(is_harmless(&ran.out) && is_harmless(&ran.err), "{ran:?}");
    assert!(ran.out.lines().any(|line| line.starts_with("MISSING   access edge-1 block 2: ")));
    assert!(ran.out.contains("a\\u{1b}[1A\\u{1b}[2Kb"), "{}", ran.out);
    assert!(ran.out.contains("a\\ncomplete: 12 blocks"), "{}", ran.out);
    for command in [
        &["ls"][..],
        &["ls", "--long"],
        &["ls", "--json"],
        &["verify", "--json"],
        &["verify", "--deep"],
        &["cat"],
        &["tail"],
    ] {
        let ran = ask(&logs, &gateway, command);
        assert!(is_harmless(&ran.out) && is_harmless(&ran.err), "{command:?}: {ran:?}");
    }
    // JSON's escapes stand for the same text.
    let ran = ask(&logs, &gateway, &["verify", "--json"]);
    let keys: Vec<String> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|line| Some(line["finding"]["keys"][0].as_str()?.to_owned()))
        .collect();
    assert!(keys.contains(&strange[3]), "{keys:?}");
}

#[test]
fn a_gateways_message_speaks_to_no_terminal() {
    let logs = Logs::usual();
    let body = "<Error><Code>Access\u{1b}[2JDenied</Code><Message>a\u{1b}]0;x\u{7}b\u{202e}c\u{9b}\
                31m\u{2028}d</Message></Error>";
    let gateway = Answering::start(move |_| {
        Reply::Now(http(
            "403 Forbidden",
            &[("x-amz-request-id", "r\u{202e}\u{9b}1")],
            body.as_bytes(),
        ))
    });
    for command in ["ls", "cat", "tail", "verify", "check"] {
        let ran = ask(&logs, &gateway, &[command]);
        assert_ne!(ran.code, 0, "{ran:?}");
        assert!(is_harmless(&ran.out) && is_harmless(&ran.err), "{command}: {ran:?}");
        assert!(format!("{}{}", ran.out, ran.err).contains("Denied"), "{command}: {ran:?}");
    }
}

#[test]
fn a_block_whose_content_is_not_what_its_name_says_is_an_error() {
    let logs = Logs::usual();
    let damaged = logs.blocks[2].key.clone();
    let mut objects = Objects::of(&logs);
    objects.0.get_mut(&damaged).unwrap().0[0] ^= 1;
    let gateway = {
        let objects = objects.clone();
        Answering::start(move |asked| match asked.key.is_empty() {
            true => Reply::Now(objects.listing()),
            false => objects.get(asked),
        })
    };
    let before = format!("{}{}", logs.blocks[0].lines, logs.blocks[1].lines);
    for json in [&[][..], &["--json"]] {
        let ran = ask(&logs, &gateway, &[&["cat"], json].concat());
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains(&damaged) && ran.err.contains("gzip"), "{}", ran.err);
        if json.is_empty() {
            assert_eq!(ran.out, before);
        }
    }
    // Compressed content under a name that says it is not.
    let mut objects = Objects::of(&logs);
    let plain = damaged.replace(".log.gz", ".log");
    let moved = objects.0.remove(&damaged).unwrap();
    objects.0.insert(plain.clone(), moved);
    let gateway = Answering::start(move |asked| match asked.key.is_empty() {
        true => Reply::Now(objects.listing()),
        false => objects.get(asked),
    });
    let ran = ask(&logs, &gateway, &["cat"]);
    assert_eq!((ran.code, &ran.out), (1, &before), "{ran:?}");
    assert!(ran.err.contains(&plain) && ran.err.contains("gzip"), "{}", ran.err);
}

#[test]
fn blocks_that_are_gone_when_they_are_asked_for_are_said_and_passed_over() {
    let logs = Logs::usual();
    let objects = Objects::of(&logs);
    let listing = objects.listing();
    let mut left = objects;
    let gone = [&logs.blocks[1], &logs.blocks[7]];
    for block in gone {
        left.0.remove(&block.key);
    }
    let gateway = Answering::start(move |asked| match asked.key.is_empty() {
        true => Reply::Now(listing.clone()),
        false => left.get(asked),
    });
    let expected: String = logs
        .blocks
        .iter()
        .filter(|block| gone.iter().all(|gone| gone.key != block.key))
        .map(|block| block.lines.as_str())
        .collect();
    let said = |ran: &Ran| {
        assert_eq!(ran.code, 1, "{ran:?}");
        for block in gone {
            let text = format!("{}: no longer in the bucket", block.key);
            assert_eq!(ran.err.matches(&text).count(), 1, "no {text:?} in {}", ran.err);
        }
    };
    let ran = ask(&logs, &gateway, &["cat"]);
    said(&ran);
    assert_eq!(ran.out, expected);
    let ran = ask(&logs, &gateway, &["tail", "-n", "1000"]);
    said(&ran);
    assert_eq!(ran.out, expected);
    let ran = ask(&logs, &gateway, &["ls", "--long"]);
    said(&ran);
    assert!(ran.out.contains("10 blocks, "), "{}", ran.out);
    // The range asks for metadata of blocks as well: the newest that began before it may be gone.
    let ran = ask(&logs, &gateway, &["cat", "--since", "2026-11-22T10:01:11Z"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains(&format!("{}: no longer", gone[1].key)), "{}", ran.err);
    let after: String = logs.blocks[8..].iter().map(|block| block.lines.as_str()).collect();
    assert_eq!(ran.out, after);
    // To who verifies they are missing.
    let ran = ask(&logs, &gateway, &["verify"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("MISSING   access edge-2 block 1: "), "{}", ran.out);
    assert!(ran.out.contains("GAP       access edge-2 block 4: "), "{}", ran.out);
    assert!(ran.out.contains("2 findings in 10 blocks"), "{}", ran.out);
}

#[test]
fn sums_of_absurd_metadata_stay_sums() {
    let logs = Logs::usual();
    let mut objects = Objects::of(&logs);
    let most = u64::MAX.to_string();
    for block in &logs.blocks {
        for name in ["records", "raw-bytes", "bytes", "last"] {
            objects.set(&block.key, name, &most);
        }
        objects.set(&block.key, "dropped", &format!("{most},{most},{most},{most}"));
    }
    // A time that no counter of nanoseconds holds.
    let late = logs.blocks[0].key.replace("T10-00-00Z", "T11-00-00Z");
    let late = late.replace("varnish/2026", "varnish/9999").replace("/2026-", "/9999-");
    let object = objects.0[&logs.blocks[0].key].clone();
    objects.0.insert(late, object);
    let gateway = Answering::start(move |asked| match asked.key.is_empty() {
        true => {
            let entries: String = objects.0.keys().map(|key| entry(key, u64::MAX)).collect();
            Reply::Now(page(&format!("<IsTruncated>false</IsTruncated>{entries}")))
        }
        false => objects.get(asked),
    });
    for command in [
        &["ls", "--long"][..],
        &["ls", "--long", "--json"],
        &["ls", "--since", "2026-11-22T10:00:20Z"],
        &["tail", "-n", "3"],
        &["verify"],
        &["verify", "--deep"],
        &["verify", "--json"],
    ] {
        let ran = ask(&logs, &gateway, command);
        assert!(!ran.err.contains("panicked"), "{command:?}: {ran:?}");
        assert!([0, 1].contains(&ran.code), "{command:?}: {ran:?}");
    }
    let ran = ask(&logs, &gateway, &["ls", "--long"]);
    let sum = ran.out.lines().last().unwrap();
    assert!(
        sum.starts_with("13 blocks, 16777215.9 TiB stored, 18,446,744,073,709,551,615"),
        "{sum}"
    );
}

#[test]
fn a_body_that_comes_by_the_byte_ends_although_it_never_stops() {
    let mut logs = Logs::start();
    logs.codec = Codec::None;
    for _ in 0..3 {
        logs.block("access", "edge-1", 1, 5);
    }
    let objects = Objects::of(&logs);
    let slow = logs.blocks[1].key.clone();
    let gateway = Answering::start(move |asked| {
        if asked.key.is_empty() {
            return Reply::Now(objects.listing());
        }
        if asked.key != slow || asked.method != "GET" {
            return objects.get(asked);
        }
        let (_, pairs) = &objects.0[&slow];
        let whole = object(&vec![0; 1 << 20], pairs);
        // The head, and of the body what is always under the time-out of one read.
        let head = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        Reply::Drip(whole[..head].to_vec(), Duration::from_millis(50))
    });
    let ran = ask(&logs, &gateway, &["cat", "--jobs", "1", "--set", "timeout=1s"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains(&logs.blocks[1].key) && ran.err.contains("too slow"), "{}", ran.err);
    let ran = ask(&logs, &gateway, &["verify", "--download", "--set", "timeout=1s"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.out.contains("UNCHECKED"), "{}", ran.out);
}

#[test]
fn a_drain_that_has_run_out_of_time_waits_for_no_request() {
    let logs = Logs::start();
    let lines = left_behind(&logs);
    // Never answers a PUT: only the time-out of the request would end it, after an hour.
    let gateway = Answering::start(|_| Reply::Silence);
    let mut command = logs.command(&["drain", "access", "--timeout", "1s"]);
    command.args(["--set", "timeout=1h", "--endpoint", &gateway.endpoint()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(120) {
            child.kill().unwrap();
            panic!("it still waits: {:?}", Ran::of(&child.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("access: NOT DRAINED: 3 blocks with 11 records"), "{ran:?}");
    assert!(!gateway.asked().is_empty(), "it was under way");
    // Nothing is lost by it.
    assert_eq!(logs.s3log(&["drain", "access"]).code, 0);
    assert_eq!(logs.s3log(&["cat", "access"]).out, lines);
}

#[test]
fn check_fails_when_the_gateway_returns_other_bytes_than_it_was_given() {
    let logs = Logs::start();
    let gateway = Answering::start(|asked| {
        let tag = tag(&asked.body);
        Reply::Now(match &*asked.method {
            "PUT" => http("200 OK", &[("ETag", &tag)], b""),
            _ => http("200 OK", &[], b"something else"),
        })
    });
    let ran = ask(&logs, &gateway, &["check"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.out.contains("FAILED  read         the gateway returned 14 bytes"), "{ran:?}");
}
