//! `s3log verify` against every manipulation: each is found and named, and what was not touched
//! passes.

use crate::common::logs::{Logs, Ran, pairs};
use vmod_s3log::block::{Digest, RouteId};
use vmod_s3log::seal::{Recipients, Sealing};

/// A finding has this word and all of these texts in its lines.
pub(crate) fn found(ran: &Ran, word: &str, texts: &[&str]) {
    assert_eq!(ran.code, 1, "{ran:?}");
    let mut findings = Vec::new();
    for line in ran.out.lines() {
        if line.starts_with(' ') {
            let last: &mut String = findings.last_mut().unwrap();
            last.push_str(line);
        } else {
            findings.push(line.to_owned());
        }
    }
    let hit = findings.iter().any(|finding| {
        finding.starts_with(word) && texts.iter().all(|text| finding.contains(text))
    });
    assert!(hit, "no {word} with {texts:?} in\n{}", ran.out);
}

/// How many findings there are.
pub(crate) fn findings(ran: &Ran) -> usize {
    let capital = |line: &&str| line.starts_with(|c: char| c.is_ascii_uppercase());
    ran.out.lines().filter(capital).filter(|line| !line.starts_with("NOT COMPLETE")).count()
}

#[test]
fn a_bucket_that_nobody_touched_passes_in_every_mode() {
    let logs = Logs::usual();
    logs.settings(&["access"]);
    for mode in
        [&["verify", "access"][..], &["verify", "--download"], &["verify", "--deep", "access"]]
    {
        let ran = logs.s3log(mode);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.err, "");
        if mode.contains(&"access") {
            assert!(ran.out.contains("complete: 12 blocks, 60 records, 2 hosts; "), "{}", ran.out);
            assert!(
                ran.out.contains("edge-1: blocks 1 to 6 (6), 2 boots, 30 records"),
                "{}",
                ran.out
            );
        }
    }
}

#[test]
fn a_block_that_was_deleted_is_missing_and_one_between_boots_is_a_gap() {
    let logs = Logs::usual();
    let blocks = logs.of("edge-1");
    logs.delete(&blocks[1].key);
    let ran = logs.s3log(&["verify", "access"]);
    found(&ran, "MISSING", &["edge-1 block 2: ", &blocks[0].key, &blocks[2].key]);
    assert_eq!(findings(&ran), 1, "{}", ran.out);

    let logs = Logs::usual();
    let blocks = logs.of("edge-2");
    for block in &blocks[2..4] {
        logs.delete(&block.key);
    }
    let ran = logs.s3log(&["verify", "access"]);
    let (one, two) = (blocks[0].meta.boot.to_string(), blocks[5].meta.boot.to_string());
    found(&ran, "GAP", &["edge-2 blocks 3 to 4: ", &one, &two]);
    assert_eq!(findings(&ran), 1, "{}", ran.out);
}

#[test]
fn the_first_block_is_missed_unless_old_blocks_may_expire() {
    let logs = Logs::usual();
    logs.delete(&logs.of("edge-1")[0].key);
    let ran = logs.s3log(&["verify", "access"]);
    found(&ran, "MISSING", &["edge-1 block 1: ", "does not start with block 1"]);
    assert_eq!(logs.s3log(&["verify", "access", "--allow-expired"]).code, 0);
}

#[test]
fn the_last_block_is_missed_by_whoever_has_a_checkpoint() {
    let mut logs = Logs::usual();
    let file = logs.path("checkpoint");
    let arguments = ["verify", "access", "--checkpoint", file.to_str().unwrap()];
    assert_eq!(logs.s3log(&arguments).code, 0);
    let more = logs.block("access", "edge-1", 2, 5);
    assert_eq!(logs.s3log(&arguments).code, 0, "a chain that has grown is fine");
    let before = std::fs::read(&file).unwrap();
    logs.delete(&more.key);
    assert_eq!(logs.s3log(&["verify", "access"]).code, 0, "nothing follows it");
    found(
        &logs.s3log(&arguments),
        "MISSING",
        &["edge-1 block 7: ", "an earlier run saw this block"],
    );
    assert_eq!(std::fs::read(&file).unwrap(), before, "a run with findings remembers nothing");
    logs.delete(&logs.of("edge-1")[5].key);
    found(&logs.s3log(&arguments), "MISSING", &["edge-1 blocks 6 to 7: "]);
    for block in &logs.of("edge-1")[..5] {
        logs.delete(&block.key);
    }
    found(&logs.s3log(&arguments), "MISSING", &["edge-1 block 7: "]);
}

#[test]
fn a_block_under_another_number_is_doubled() {
    let logs = Logs::usual();
    let blocks = logs.of("edge-1");
    let copy = blocks[2].key.replace("-0000000003.", "-0000000007.");
    let (bytes, metadata) = logs.get(&blocks[2].key);
    logs.put(&copy, &bytes, &metadata);
    let ran = logs.s3log(&["verify", "access"]);
    found(
        &ran,
        "DOUBLED",
        &["edge-1 block 7: the object contains block 3 of", &copy, &blocks[2].key],
    );
    assert_eq!(findings(&ran), 1, "{}", ran.out);

    // The same number under another time.
    let logs = Logs::usual();
    let blocks = logs.of("edge-1");
    let copy = blocks[2].key.replace("T10-", "T11-");
    let (bytes, metadata) = logs.get(&blocks[2].key);
    logs.put(&copy, &bytes, &metadata);
    let ran = logs.s3log(&["verify", "access"]);
    found(&ran, "DOUBLED", &["edge-1 block 3: the block is stored twice", &copy, &blocks[2].key]);
}

#[test]
fn two_blocks_in_each_others_place_are_swapped() {
    // With their metadata: seen from the heads.
    let logs = Logs::usual();
    let blocks = logs.of("edge-1");
    let (two, five) = (logs.get(&blocks[1].key), logs.get(&blocks[4].key));
    logs.put(&blocks[1].key, &five.0, &five.1);
    logs.put(&blocks[4].key, &two.0, &two.1);
    let ran = logs.s3log(&["verify", "access"]);
    found(
        &ran,
        "SWAPPED",
        &["edge-1 block 2: the object contains block 5", &blocks[1].key, &blocks[4].key],
    );
    assert_eq!(findings(&ran), 1, "{}", ran.out);

    // Contents only: seen by who reads them.
    let logs = Logs::usual();
    let blocks = logs.of("edge-1");
    let (two, five) = (logs.get(&blocks[1].key), logs.get(&blocks[4].key));
    logs.put(&blocks[1].key, &five.0, &two.1);
    logs.put(&blocks[4].key, &two.0, &five.1);
    let ran = logs.s3log(&["verify", "access", "--download"]);
    found(&ran, "SWAPPED", &["edge-1 block 2: the contents of", &blocks[1].key, &blocks[4].key]);
    assert_eq!(findings(&ran), 1, "{}", ran.out);
}

#[test]
fn a_flipped_byte_is_found_by_who_reads_it() {
    let logs = Logs::usual();
    let block = &logs.of("edge-2")[3];
    let (mut bytes, metadata) = logs.get(&block.key);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    logs.put(&block.key, &bytes, &metadata);
    assert_eq!(logs.s3log(&["verify", "access"]).code, 0, "the heads are as they were");
    for mode in ["--download", "--deep"] {
        let ran = logs.s3log(&["verify", "access", mode]);
        found(&ran, "ALTERED", &["edge-2 block 4: the content is not what was sealed", &block.key]);
        assert_eq!(findings(&ran), 1, "{}", ran.out);
    }
}

#[test]
fn a_block_that_lost_its_end_is_cut_in_every_mode() {
    let logs = Logs::usual();
    let block = &logs.of("edge-2")[3];
    let (bytes, metadata) = logs.get(&block.key);
    logs.put(&block.key, &bytes[..bytes.len() - 7], &metadata);
    let size = bytes.len().to_string();
    for mode in [&["verify", "access"][..], &["verify", "access", "--deep"]] {
        let ran = logs.s3log(mode);
        found(&ran, "CUT", &["edge-2 block 4: the last 7 of", &size, &block.key]);
        assert_eq!(findings(&ran), 1, "{}", ran.out);
    }
}

#[test]
fn an_older_block_in_the_place_of_a_newer_one_is_found() {
    // With its metadata.
    let logs = Logs::usual();
    let blocks = logs.of("edge-1");
    let (bytes, metadata) = logs.get(&blocks[1].key);
    logs.put(&blocks[4].key, &bytes, &metadata);
    let ran = logs.s3log(&["verify", "access"]);
    found(
        &ran,
        "DOUBLED",
        &["edge-1 block 5: the object contains block 2", &blocks[4].key, &blocks[1].key],
    );
    found(&ran, "MISSING", &["edge-1 block 5: "]);

    // Under the metadata of the newer one.
    let newer = logs.get(&logs.of("edge-2")[4].key).1;
    let older = logs.get(&logs.of("edge-2")[1].key).0;
    logs.put(&logs.of("edge-2")[4].key, &older, &newer);
    let ran = logs.s3log(&["verify", "access", "--download"]);
    found(
        &ran,
        "ALTERED",
        &["edge-2 block 5: the content was replaced with that of another block"],
    );
}

#[test]
fn changed_metadata_is_found() {
    let change = |name: &str, value: Option<String>| {
        let logs = Logs::usual();
        let block = logs.of("edge-1")[2].clone();
        let (bytes, mut metadata) = logs.get(&block.key);
        metadata.retain(|(known, _)| known != name);
        metadata.extend(value.map(|value| (name.to_owned(), value)));
        logs.put(&block.key, &bytes, &metadata);
        (logs, block)
    };
    let heads = |logs: &Logs| logs.s3log(&["verify", "access"]);
    let zeroes = "0".repeat(64);

    let (logs, block) = change("records", Some("4".to_owned()));
    assert_eq!(heads(&logs).code, 0, "records are not part of the chain");
    let ran = logs.s3log(&["verify", "access", "--deep"]);
    found(&ran, "ALTERED", &["edge-1 block 3: the metadata says 4 records", &block.key]);

    let (logs, block) = change("previous", Some(zeroes.clone()));
    found(&heads(&logs), "ALTERED", &["edge-1 block 3: the preceding block", &block.key]);
    let (logs, block) = change("previous", None);
    found(
        &heads(&logs),
        "ALTERED",
        &["edge-1 block 3: the block names no predecessor", &block.key],
    );
    let (logs, _) = change("sha256", Some(zeroes));
    found(&heads(&logs), "ALTERED", &["edge-1 block 4: the preceding block"]);
    let ran = logs.s3log(&["verify", "access", "--download"]);
    found(&ran, "ALTERED", &["edge-1 block 3: the content is not what was sealed"]);
    let (logs, _) = change("number", Some("9".to_owned()));
    found(&heads(&logs), "ALTERED", &["edge-1 block 3: the object contains block 9"]);
    let (logs, _) = change("first", Some("5".to_owned()));
    found(&heads(&logs), "ALTERED", &["edge-1 block 3: key and metadata disagree on the time"]);
    let (logs, block) = change("records", Some("many".to_owned()));
    found(&heads(&logs), "FOREIGN", &["\"records\" cannot be read", &block.key]);
    let (logs, block) = change("stream", Some("other".to_owned()));
    found(&heads(&logs), "FOREIGN", &["a block of stream other", &block.key]);
    let (logs, block) = change("bytes", Some("10".to_owned()));
    found(&heads(&logs), "ALTERED", &["edge-1 block 3: the object has", &block.key]);
}

#[test]
fn foreign_objects_are_named_and_other_streams_are_not_foreign() {
    let mut logs = Logs::usual();
    logs.block("errors", "edge-1", 1, 3);
    assert_eq!(logs.s3log(&["verify"]).code, 0);
    logs.put("varnish/2026/11/22/readme.txt", b"hello", &[]);
    let like = logs.of("edge-1")[0].key.replace("-0000000001.", "-0000000099.");
    logs.put(&like, b"not a block", &[]);
    let ran = logs.s3log(&["verify", "access"]);
    found(&ran, "FOREIGN", &["varnish/2026/11/22/readme.txt"]);
    found(&ran, "FOREIGN", &["the metadata has no \"format\"", &like]);
    assert_eq!(findings(&ran), 2, "{}", ran.out);
    assert!(ran.out.contains("1 block of other streams"), "{}", ran.out);
}

#[test]
fn a_block_that_was_forged_breaks_the_link_after_it() {
    let logs = Logs::usual();
    let block = logs.of("edge-1")[2].clone();
    let mut forged = block.meta.clone();
    let bytes = logs.get(&logs.of("edge-2")[2].key).0;
    forged.sha256 = Digest::of(&bytes);
    forged.bytes = bytes.len() as u64;
    logs.put(&block.key, &bytes, &pairs(&forged));
    let ran = logs.s3log(&["verify", "access"]);
    found(
        &ran,
        "ALTERED",
        &["edge-1 block 4: the preceding block", "block 3 was replaced", &block.key],
    );
}

#[test]
fn findings_of_several_kinds_are_all_told_as_json() {
    let logs = Logs::usual();
    logs.delete(&logs.of("edge-1")[1].key);
    logs.delete(&logs.of("edge-2")[4].key);
    let ran = logs.s3log(&["verify", "access", "--json"]);
    assert_eq!(ran.code, 1);
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<_> = lines.iter().filter_map(|line| line.get("finding")).collect();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["kind"], "missing");
    assert_eq!(found[0]["numbers"], serde_json::json!([2, 2]));
    let sum = &lines.last().unwrap()["sum"];
    assert_eq!((&sum["findings"], &sum["complete"]), (&2.into(), &false.into()));
}

#[test]
fn reading_needs_none_of_the_keys_that_the_node_has_and_check_does() {
    let mut logs = Logs::start();
    logs.block("access", "edge-1", 1, 3);
    let mut text = std::fs::read_to_string(logs.path("s3log.toml")).unwrap();
    text = text.replacen(
        "hostname",
        "sign_key = '/nowhere.sec'\npublic_key = '/nowhere.asc'\nhostname",
        1,
    );
    std::fs::write(logs.path("s3log.toml"), text).unwrap();
    for command in [&["cat", "access"][..], &["ls", "access"], &["verify", "access", "--deep"]] {
        let ran = logs.s3log(command);
        assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
    }
    for command in ["check", "drain"] {
        let ran = logs.s3log(&[command, "access"]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("public_key: /nowhere.asc cannot be read"), "{ran:?}");
    }
}

#[test]
fn an_encrypted_block_is_verified_but_its_lines_are_not_said_to_be_counted() {
    let mut logs = Logs::start();
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    logs.sealing = Some(Sealing::Age(Recipients::read(&recipient).unwrap()));
    logs.block("access", "edge-1", 1, 3);
    let ran = logs.s3log(&["verify", "access", "--deep"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("without a key were not counted"), "{}", ran.out);
    let ran = logs.s3log(&["cat", "access"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("the block is encrypted; give the file"), "{}", ran.err);
}

#[test]
fn a_range_of_time_or_a_host_is_checked_by_itself() {
    let logs = Logs::usual();
    logs.delete(&logs.of("edge-1")[0].key);
    assert_eq!(logs.s3log(&["verify", "access", "--host", "edge-2"]).code, 0);
    assert_eq!(logs.s3log(&["verify", "access", "--since", "2026-11-22T10:00:30Z"]).code, 0);
    assert_eq!(logs.s3log(&["verify", "access"]).code, 1);
}

#[test]
fn a_gateway_that_cannot_be_asked_is_neither_complete_nor_incomplete() {
    let logs = Logs::usual();
    logs.credentials("wrong");
    let ran = logs.s3log(&["verify", "access"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("the gateway refuses the credentials"), "{}", ran.err);
    assert!(!ran.err.contains("wrong"), "{}", ran.err);
    assert_eq!(logs.s3log(&["verify", "access", "--no-such-flag"]).code, 2);
}

/// Blocks of two routes of one host: one of the first, three of the second.
fn of_two_routes() -> (Logs, [RouteId; 2]) {
    let mut logs = Logs::start();
    let routes = [RouteId::new([0xaa; 8]), RouteId::new([0xbb; 8])];
    for (route, blocks) in routes.into_iter().zip([1, 3]) {
        logs.route = Some(route);
        for _ in 0..blocks {
            logs.block("access", "edge-1", 1, 5);
        }
    }
    (logs, routes)
}

#[test]
fn a_route_that_was_replaced_is_no_gap_and_a_gap_in_it_is_its_own() {
    let (logs, [first, second]) = of_two_routes();
    let ran = logs.s3log(&["verify", "access"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let note = format!("the chain of another route starts, {second} beside {first}");
    assert!(ran.out.contains(&note), "{}", ran.out);
    let chain = format!("edge-1, route {second}: blocks 1 to 3 (3)");
    assert!(ran.out.contains(&chain), "{}", ran.out);
    // Without the routes its second block would seem to follow the other one's first.
    let blocks = logs.of("edge-1");
    logs.delete(&blocks[1].key);
    let ran = logs.s3log(&["verify", "access"]);
    let text = format!("edge-1 block 1: the chain of route {second} does not start with block 1");
    found(&ran, "MISSING", &[&text]);
    assert_eq!(findings(&ran), 1, "{}", ran.out);
    let (logs, _) = of_two_routes();
    let blocks = logs.of("edge-1");
    logs.delete(&blocks[2].key);
    let ran = logs.s3log(&["verify", "access"]);
    found(&ran, "MISSING", &["edge-1 block 2: ", &blocks[1].key, &blocks[3].key]);
    assert_eq!(findings(&ran), 1, "{}", ran.out);
}

#[test]
fn a_checkpoint_remembers_each_route() {
    let (logs, _) = of_two_routes();
    let file = logs.path("checkpoint").display().to_string();
    let verify = || logs.s3log(&["verify", "--checkpoint", &file, "access"]);
    assert_eq!(verify().code, 0);
    let blocks = logs.of("edge-1");
    logs.delete(&blocks[0].key);
    found(&verify(), "MISSING", &["edge-1 block 1: an earlier run saw this block"]);
}
