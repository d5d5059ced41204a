//! Several chains of one host, as a new spool and `spool = "none"` make them: what `s3log verify` takes for expired
//! or out of range, and what it does not.

use vmod_s3log::block::{Digest, RouteId};

use crate::common::logs::{Logs, START, Written};
use crate::verify::{findings, found};

/// Chains of one host, one after the other, a block for each boot that is named.
fn chains<const N: usize>(of: [&[u64]; N]) -> (Logs, [Vec<Written>; N]) {
    let mut logs = Logs::start();
    let written = of.map(|boots| {
        let blocks = boots.iter().map(|boot| logs.block("access", "edge-1", *boot, 5)).collect();
        logs.new_spools();
        blocks
    });
    (logs, written)
}

fn delete(logs: &Logs, blocks: &[Written]) {
    blocks.iter().for_each(|block| logs.delete(&block.key));
}

/// `--since` the first record of this block.
fn since(block: &Written) -> [String; 2] {
    let seconds = block.meta.first / 1_000_000_000;
    let minutes = (seconds - START) / 60;
    ["--since".to_owned(), format!("2026-11-22T10:{minutes:02}:{:02}Z", (seconds - START) % 60)]
}

#[test]
fn the_rest_of_an_older_chain_is_no_gap_behind_a_newer_one() {
    // Behind the newer one's last number, right behind it, and among its numbers.
    for left in [4, 3, 1] {
        let (logs, [old, new]) = chains([&[1, 1, 1, 2, 2, 2], &[3, 3, 4]]);
        let [asked, time] = since(&old[left]);
        let ran = logs.s3log(&["verify", "access", &asked, &time]);
        assert_eq!(ran.code, 0, "{left}: {ran:?}");
        assert!(ran.out.contains("a new chain starts with boot"), "{}", ran.out);
        delete(&logs, &old[..left]);
        let ran = logs.s3log(&["verify", "access", "--allow-expired"]);
        assert_eq!(ran.code, 0, "{left}: {ran:?}");
        let ran = logs.s3log(&["verify", "access"]);
        let missing = if left == 1 { "edge-1 block 1: " } else { "edge-1 blocks 1 to " };
        found(&ran, "MISSING", &[missing, "does not start with block 1", &old[left].key]);
        assert_eq!(findings(&ran), 1, "{}", ran.out);
        let ran = logs.s3log(&["compact", "access"]);
        assert_eq!((ran.code, &*ran.err), (0, ""), "{left}: {ran:?}");
        assert_eq!(logs.s3log(&["cat", "access"]).out.lines().count(), (6 - left + new.len()) * 5);
    }
}

#[test]
fn the_start_of_a_newer_chain_has_not_expired_while_an_older_one_is_there() {
    for (expired, route) in [(0, None), (2, Some(RouteId::new([7; 8])))] {
        let mut logs = Logs::start();
        logs.route = route;
        let mut blocks = Vec::new();
        for boot in [1, 2] {
            blocks.extend((0..6).map(|_| logs.block("access", "edge-1", boot, 5)));
            logs.new_spools();
        }
        delete(&logs, &blocks[..expired]);
        let [asked, time] = since(&blocks[expired]);
        let complete = ["verify", "access", "--allow-expired"];
        let range = ["verify", "access", &asked, &time];
        assert_eq!((logs.s3log(&complete).code, logs.s3log(&range).code), (0, 0));
        delete(&logs, &blocks[6..9]);
        for arguments in [&complete[..], &range] {
            let ran = logs.s3log(arguments);
            found(&ran, "MISSING", &["edge-1 blocks 1 to 3: ", "an older chain", &blocks[9].key]);
            assert_eq!(findings(&ran), 1, "{}", ran.out);
        }
        // With the older one gone as well, nothing tells.
        delete(&logs, &blocks[expired..6]);
        assert_eq!(logs.s3log(&complete).code, 0);
    }
}

#[test]
fn chains_side_by_side_expire_side_by_side() {
    let mut logs = Logs::start();
    let routes = [[7; 8], [8; 8]].map(|id| Some(RouteId::new(id)));
    for _ in 0..6 {
        for route in routes {
            logs.route = route;
            logs.block("access", "edge-1", 1, 5);
        }
    }
    delete(&logs, &logs.blocks[..7]);
    let ran = logs.s3log(&["verify", "access", "--allow-expired"]);
    assert_eq!(ran.code, 0, "{ran:?}");

    // Another retention for each route: one that is whole says nothing of the other.
    let mut logs = Logs::start();
    for route in routes {
        logs.route = route;
        (0..3).for_each(|_| drop(logs.block("access", "edge-1", 1, 5)));
    }
    delete(&logs, &logs.blocks[3..5]);
    assert_eq!(logs.s3log(&["verify", "access", "--allow-expired"]).code, 0);
    assert_eq!(logs.s3log(&["verify", "access"]).code, 1);
}

#[test]
fn a_chain_of_one_moment_is_not_older_than_itself() {
    let (logs, [blocks]) = chains([&[1, 1]]);
    delete(&logs, &blocks[..1]);
    let (bytes, mut metadata) = logs.get(&blocks[1].key);
    metadata.retain(|(name, _)| name != "last");
    metadata.push(("last".to_owned(), blocks[1].meta.first.to_string()));
    logs.put(&blocks[1].key, &bytes, &metadata);
    let ran = logs.s3log(&["verify", "access", "--allow-expired"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_gap_in_an_older_chain_is_its_own() {
    let (logs, [_, old, _]) = chains([&[1; 6], &[2, 2, 2, 3, 3, 3], &[4; 6]]);
    logs.delete(&old[3].key);
    for arguments in [&["verify", "access"][..], &["verify", "access", "--allow-expired"]] {
        let ran = logs.s3log(arguments);
        found(&ran, "GAP", &["edge-1 block 4: ", &old[2].key, &old[4].key]);
        assert_eq!(findings(&ran), 1, "{}", ran.out);
    }
}

#[test]
fn a_first_block_that_names_a_predecessor_has_not_expired() {
    let (logs, [blocks]) = chains([&[1, 1]]);
    let (bytes, mut metadata) = logs.get(&blocks[0].key);
    metadata.push(("previous".to_owned(), Digest::of(b"x").to_string()));
    logs.put(&blocks[0].key, &bytes, &metadata);
    for arguments in [&["verify", "access"][..], &["verify", "access", "--allow-expired"]] {
        let ran = logs.s3log(arguments);
        found(&ran, "ALTERED", &["edge-1 block 1: the first block names a predecessor"]);
    }
}
