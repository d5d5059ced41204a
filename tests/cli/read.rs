//! `s3log ls`, `cat` and `tail` against a bucket of real blocks.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::common::cut_off::CutOff;
use crate::common::logs::{Logs, Ran, START, run};
use crate::common::s3_server::BUCKET;
use vmod_s3log::block::{Codec, RouteId};

#[test]
fn cat_gives_every_line_in_the_order_of_time_whatever_the_compression() {
    let mut logs = Logs::start();
    for codec in [Codec::Gzip(3), Codec::Zstd(3), Codec::Snappy, Codec::None] {
        logs.codec = codec;
        for host in ["edge-2", "edge-1"] {
            logs.block("access", host, 1, 7);
        }
    }
    let ran = logs.s3log(&["cat", "access"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out, logs.lines());
    for jobs in ["1", "64"] {
        assert_eq!(logs.s3log(&["cat", "access", "--jobs", jobs]).out, logs.lines());
    }
}

#[test]
fn what_was_logged_is_read_after_the_date_of_object_ttl() {
    let logs = Logs::usual();
    let passed = ["--set", "gateway=storj", "--set", "object_ttl=2020-01-01T00:00:00Z"];
    for command in ["cat", "ls", "verify"] {
        let ran = logs.s3log(&[&[command, "access"][..], &passed].concat());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{command}: {ran:?}");
    }
    // Who asks whether the settings are good is told.
    let ran = logs.s3log(&[&["check", "access"][..], &passed].concat());
    assert!(ran.code != 0 && ran.err.contains("object_ttl is a date in the past"), "{ran:?}");
}

#[test]
fn cat_gives_what_zcat_gives_of_the_objects() {
    let logs = Logs::usual();
    let mut zcat =
        Command::new("zcat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = zcat.stdin.take().unwrap();
    for block in &logs.blocks {
        input.write_all(&logs.get(&block.key).0).unwrap();
    }
    drop(input);
    let theirs = zcat.wait_with_output().unwrap().stdout;
    assert_eq!(logs.s3log(&["cat", "access"]).out.as_bytes(), theirs);
    let program =
        "import gzip,sys,os\nfor f in sys.argv[1:]: sys.stdout.write(gzip.open(f,'rt').read())";
    let root = logs.server.root().join(BUCKET);
    let files = logs.blocks.iter().map(|block| root.join(&block.key));
    let python = Command::new("python3").args(["-c", program]).args(files).output().unwrap();
    assert_eq!(python.stdout, theirs);
}

#[test]
fn a_range_takes_the_blocks_that_reach_into_it_and_leaves_the_others() {
    let logs = Logs::usual();
    // Each block's records are from its start to five seconds later; they are ten seconds apart.
    let from = |at: usize| logs.blocks[at..].iter().map(|b| b.lines.as_str()).collect::<String>();
    let cat = |arguments: &[&str]| {
        let ran = logs.s3log(&[&["cat", "access"], arguments].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.out
    };
    // 10:01:00 is when block 6 begins; :54 is inside block 5, :57 is after its last record.
    assert_eq!(cat(&["--since", "2026-11-22T10:01:00Z"]), from(6));
    assert_eq!(cat(&["--since", "2026-11-22T10:00:54Z"]), from(5));
    assert_eq!(cat(&["--since", "2026-11-22T10:00:57Z"]), from(6));
    assert_eq!(cat(&["--until", "2026-11-22T10:00:09Z"]), logs.blocks[0].lines);
    let host = cat(&["--host", "edge-2", "--since", "2026-11-22T10:01:00Z"]);
    let theirs: String = logs.of("edge-2")[3..].iter().map(|block| block.lines.as_str()).collect();
    assert_eq!(host, theirs);
    assert_eq!(cat(&["--since", "2030-01-01"]), "");
    let ran = logs.s3log(&["cat", "access", "--since", "yesterday"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("an age such as 90s, 10m, 2h or 7d"), "{}", ran.err);
}

#[test]
fn a_range_takes_the_blocks_of_each_route_of_a_host_that_reach_into_it() {
    let mut logs = Logs::start();
    let routes = ["1", "2", "3"].map(|digit| digit.repeat(16).parse::<RouteId>().unwrap());
    // From :00 to :05, from :02 to :07, and from :03 to :08.
    for (route, second) in routes.into_iter().zip([0, 2, 3]) {
        logs.route = Some(route);
        logs.now = START + second;
        logs.block("access", "edge-1", 1, 2);
    }
    let from = |at: usize| logs.blocks[at..].iter().map(|b| b.lines.as_str()).collect::<String>();
    let arguments = ["cat", "access", "--since"];
    for compacted in [false, true] {
        if compacted {
            let until = ["compact", "access", "--delete", "--until", "2026-11-22T14:00:00Z"];
            assert_eq!(logs.s3log(&until).code, 0);
        }
        for (second, at) in [(4, 0), (6, 1), (8, 2), (9, 3)] {
            let since = format!("2026-11-22T10:00:0{second}Z");
            let ran = logs.s3log(&[&arguments[..], &[&since]].concat());
            assert_eq!((ran.code, ran.out), (0, from(at)), "since {since}, compacted {compacted}");
        }
    }
}

#[test]
fn several_streams_are_one_and_all_of_the_file_when_none_is_named() {
    let mut logs = Logs::start();
    logs.block("access", "edge-1", 1, 2);
    logs.block("errors", "edge-1", 1, 2);
    logs.block("access", "edge-1", 1, 2);
    assert_eq!(logs.s3log(&["cat"]).out, logs.lines());
    assert_eq!(logs.s3log(&["cat", "errors", "access"]).out, logs.lines());
    assert_eq!(logs.s3log(&["cat", "errors", "access", "errors"]).out, logs.lines());
    assert_eq!(logs.s3log(&["cat", "errors"]).out, logs.blocks[1].lines);
}

#[test]
fn a_stream_whose_name_ends_like_another_is_not_taken_for_it() {
    let mut logs = Logs::start();
    logs.settings(&["access", "web-access"]);
    logs.block("web-access", "edge", 1, 2);
    let own = logs.block("access", "edge", 1, 2);
    assert_eq!(logs.s3log(&["cat", "access"]).out, own.lines);
    assert_eq!(logs.s3log(&["verify", "access"]).code, 0);
    // The newest block, with more lines than are asked for, is another's.
    logs.block("web-access", "edge", 1, 20);
    let last = own.lines.lines().last().unwrap();
    assert_eq!(logs.s3log(&["tail", "access", "-n", "1"]).out, format!("{last}\n"));
    assert_eq!(logs.s3log(&["tail", "access"]).out, own.lines);
}

/// The keys of the rows of `ls --json`, sorted.
fn listed(ran: &Ran) -> Vec<String> {
    let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let mut keys: Vec<String> =
        ran.out.lines().map(|line| row(line)["key"].as_str().unwrap().to_owned()).collect();
    keys.sort();
    keys
}

#[test]
fn ls_shows_no_block_of_a_stream_whose_name_ends_alike() {
    let mut logs = Logs::start();
    logs.settings(&["access", "web-access"]);
    let theirs = [(); 2].map(|()| logs.block("web-access", "edge", 1, 2).key);
    for form in [&[][..], &["--unsorted"], &["--long"], &["--unsorted", "--long"]] {
        let ran = logs.s3log(&[&["ls", "--json", "access"], form].concat());
        assert_eq!((ran.code, &*ran.out), (1, ""), "{form:?}: {ran:?}");
        assert!(ran.err.contains("stream access: no blocks found"), "{ran:?}");
    }
    // A host whose name with the stream's is that of the other stream, and one of both streams.
    let own = ["edge-web", "edge"].map(|host| logs.block("access", host, 2, 2).key);
    for form in [&[][..], &["--unsorted"], &["--long"], &["--since", "2026-11-22"]] {
        for (stream, keys) in [("access", &own), ("web-access", &theirs)] {
            let ran = logs.s3log(&[&["ls", "--json", stream], form].concat());
            let mut keys = keys.to_vec();
            keys.sort();
            assert_eq!((ran.code, listed(&ran)), (0, keys), "{stream} {form:?}: {ran:?}");
        }
    }
}

/// The block under `key`, with metadata that says to be of another stream whose keys have the same shape.
fn of_another(logs: &Logs, key: &str) -> (Vec<u8>, Vec<(String, String)>) {
    let (bytes, mut metadata) = logs.get(key);
    for (name, value) in &mut metadata {
        if name == "stream" {
            "1-access".clone_into(value);
        }
    }
    (bytes, metadata)
}

#[test]
fn ls_shows_the_blocks_beside_one_that_says_to_be_of_another_stream_and_those_that_it_may_not_ask()
{
    let mut logs = Logs::start();
    let own = [(); 3].map(|()| logs.block("access", "edge-1", 1, 2).key);
    let (bytes, metadata) = of_another(&logs, &own[1]);
    logs.put(&own[1], &bytes, &metadata);
    let beside = vec![own[0].clone(), own[2].clone()];
    let ran = logs.s3log(&["ls", "--json", "access"]);
    assert_eq!((ran.code, listed(&ran)), (0, beside), "{ran:?}");

    // The blocks and the compacted objects may be listed, and nothing be read.
    let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let gate = CutOff::answering(2, logs.server.address(), refused);
    let ran = logs.s3log(&["ls", "--json", "access", "--endpoint", &gate.endpoint()]);
    assert_eq!((ran.code, listed(&ran), gate.count()), (0, own.to_vec(), 2), "{ran:?}");
}

#[test]
fn ls_shows_blocks_however_many_that_say_to_be_of_another_stream_are_beside_them() {
    let mut logs = Logs::start();
    let own = [(); 2].map(|()| logs.block("access", "edge-1", 1, 2).key);
    let (bytes, metadata) = of_another(&logs, &own[0]);
    // The first page of a listing, and in each order the first, the middle and the last one.
    let times = (0..1_000).map(|n| format!("T09-{:02}-{:02}Z", n / 60, n % 60));
    let others = times.chain(["T10-00-05Z".to_owned(), "T11-00-00Z".to_owned()]);
    for (number, time) in (1_000..).zip(others) {
        let key = own[0].replace("T10-00-00Z", &time);
        logs.put(&key.replace("-0000000001.", &format!("-{number:010}.")), &bytes, &metadata);
    }
    for form in [&[][..], &["--unsorted"]] {
        let ran = logs.s3log(&[&["ls", "--json", "access"], form].concat());
        assert_eq!((ran.code, listed(&ran)), (0, own.to_vec()), "{form:?}: {}", ran.err);
    }
    let due = ["compact", "access", "--dry-run", "--until", "2026-11-22T14:00:00Z"];
    let ran = logs.s3log(&due);
    assert!(ran.out.contains("access 2026-11-22T10:00:00Z: 2 blocks, "), "{ran:?}");
}

#[test]
fn cat_ends_quietly_when_its_reader_goes() {
    let mut logs = Logs::start();
    for _ in 0..3 {
        logs.block("access", "edge-1", 1, 20_000);
    }
    let mut child = logs
        .command(&["cat", "access"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.ends_with("line 0\n"));
    assert!(child.wait().unwrap().success());
    let mut err = String::new();
    child.stderr.unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(err, "");
}

#[test]
fn cat_as_json_tells_where_each_line_is_from() {
    let logs = Logs::usual();
    let ran = logs.s3log(&["cat", "access", "--json", "--host", "edge-2"]);
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 30);
    assert_eq!(lines[5]["block"], 2);
    assert_eq!(lines[5]["host"], "edge-2");
    let text: String =
        lines.iter().map(|line| format!("{}\n", line["line"].as_str().unwrap())).collect();
    assert_eq!(text, logs.of("edge-2").iter().map(|b| b.lines.as_str()).collect::<String>());
}

#[test]
fn a_block_that_is_damaged_is_named_after_the_lines_before_it() {
    let logs = Logs::usual();
    let (mut bytes, metadata) = logs.get(&logs.blocks[2].key);
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    logs.put(&logs.blocks[2].key, &bytes, &metadata);
    let ran = logs.s3log(&["cat", "access"]);
    assert_eq!(ran.code, 1);
    let whole = format!("{}{}", logs.blocks[0].lines, logs.blocks[1].lines);
    assert!(ran.out.starts_with(&whole), "{}", ran.out);
    assert!(ran.err.starts_with(&format!("s3log: {}: ", logs.blocks[2].key)), "{}", ran.err);
}

#[test]
fn ls_shows_each_block_and_the_sum() {
    let logs = Logs::usual();
    let ran = logs.s3log(&["ls", "access"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 14, "{}", ran.out);
    assert!(lines[1].starts_with("2026-11-22T10:00:00Z  edge-1       1  "), "{}", ran.out);
    assert!(lines[1].ends_with(&logs.blocks[0].key));
    assert!(lines[13].starts_with("12 blocks, "), "{}", ran.out);
    let long = logs.s3log(&["ls", "--long", "access", "--host", "edge-1"]);
    assert!(long.out.contains("6 blocks, "), "{}", long.out);
    assert!(long.out.contains(", 30 records, "), "{}", long.out);
    assert!(!long.out.contains('\x1b'), "no colours but on a terminal");

    let json = logs.s3log(&["ls", "--long", "--json", "access"]);
    let rows: Vec<serde_json::Value> =
        json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (row, block) in rows.iter().zip(&logs.blocks) {
        assert_eq!(row["key"], block.key);
        assert_eq!(row["records"], block.meta.records);
        assert_eq!(row["raw_bytes"], block.lines.len());
        assert_eq!(row["stored_bytes"], block.meta.bytes);
        assert_eq!(row["sha256"], block.meta.sha256.to_string());
        assert_eq!(row["boot"], block.meta.boot.to_string());
    }
    assert_eq!(logs.s3log(&["ls", "errors"]).out, "0 blocks, 0 B stored\n");
}

#[test]
fn ls_unsorted_gives_the_same_rows() {
    let logs = Logs::usual();
    let rows = |arguments: &[&str]| {
        let ran = logs.s3log(&[&["ls", "access", "--long"], arguments].concat());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        let mut rows: Vec<String> = ran.out.lines().map(ToOwned::to_owned).collect();
        rows.sort();
        rows
    };
    for range in [
        &[][..],
        &["--host", "edge-2"],
        &["--since", "2026-11-22T10:00:54Z"],
        &["--until", "2026-11-22T10:00:09Z", "--json"],
    ] {
        assert_eq!(rows(&[range, &["--unsorted"]].concat()), rows(range));
    }
}

#[test]
fn tail_gives_the_last_lines_across_blocks() {
    let logs = Logs::usual();
    let all = logs.lines();
    let lines: Vec<&str> = all.lines().collect();
    for count in [1, 5, 7, 10, 60, 1000] {
        let ran = logs.s3log(&["tail", "access", "-n", &count.to_string()]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let expected = &lines[lines.len().saturating_sub(count)..];
        assert_eq!(ran.out.lines().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn tail_follows_and_shows_a_new_block() {
    let mut logs = Logs::start();
    logs.now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    logs.block("access", "edge-1", 1, 3);
    let mut child =
        logs.command(&["tail", "-f", "access", "-n", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.ends_with("line 2\n"), "{line}");
    for host in ["edge-2", "edge-1"] {
        let block = logs.block("access", host, 1, 2);
        let stored = Instant::now();
        for expected in block.lines.lines() {
            line.clear();
            out.read_line(&mut line).unwrap();
            assert_eq!(line.trim_end(), expected);
        }
        let took = stored.elapsed();
        println!("a new block was shown after {took:?}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let logs = Logs::usual();
    let with = |variables: &[(&str, &str)], arguments: &[&str]| {
        run(logs.command(arguments).envs(variables.iter().copied()))
    };
    let nowhere = ("S3LOG_PATH", "nowhere/%Y/");
    assert_eq!(with(&[], &["cat", "access"]).out, logs.lines());
    assert_eq!(with(&[nowhere], &["cat", "access"]).out, "");
    let path = ["cat", "access", "--path", "varnish/%Y/%m/%d/"];
    assert_eq!(with(&[nowhere], &path).out, logs.lines());
    let set = ["cat", "access", "--set", "path=varnish/%Y/%m/%d/"];
    assert_eq!(with(&[nowhere], &set).out, logs.lines());
    let period = with(&[("S3LOG_PERIOD", "never")], &["cat", "access"]);
    assert_eq!(period.code, 2);
    assert!(period.err.starts_with("s3log: stream access: period is \"never\"; expected"));
}

#[test]
fn errors_say_what_and_where_and_what_to_do() {
    let logs = Logs::usual();
    let error = |arguments: &[&str]| {
        let ran = logs.s3log(arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        ran.err
    };
    let err = error(&["cat", "acces"]);
    assert!(err.starts_with("s3log: stream acces: config "), "{err}");
    assert!(err.ends_with("has no table [acces]\n"), "{err}");
    let err = error(&["ls", "access", "--set", "bukket=x"]);
    assert!(err.starts_with("s3log: --set bukket: unknown setting; the settings are "), "{err}");
    let ran = run(logs.command(&["ls"]).env_remove("S3LOG_CONFIG"));
    assert_eq!(ran.code, 2);
    assert!(ran.err.starts_with("s3log: no stream given"), "{}", ran.err);
    let ran = run(logs.command(&["cat", "access"]).env_remove("S3LOG_CONFIG"));
    assert_eq!(ran.code, 2);
    let said = "s3log: stream access: endpoint is missing; expected https://host, optionally with a port: give \
                --endpoint, or a settings file with --config\n";
    assert_eq!(ran.err, said);
}
