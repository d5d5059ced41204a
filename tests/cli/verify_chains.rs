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

/// Two varnishd of one route on one host, each with a spool of its own: as many blocks of either as `before` says,
/// the first varnishd's first, and then one of the one that each of `beside` names.
fn side_by_side(before: [usize; 2], beside: &[usize], restart: bool) -> (Logs, [Vec<Written>; 2]) {
    let mut logs = Logs::start();
    logs.route = Some(RouteId::new([7; 8]));
    let mut blocks = [Vec::new(), Vec::new()];
    let alone = [vec![0; before[0]], vec![1; before[1]]].concat();
    for (boot, &of) in alone.iter().map(|of| (1, of)).chain(beside.iter().map(|of| (2, of))) {
        logs.spool = u8::try_from(of).unwrap();
        // Only the second one starts again.
        let boot = if of == 0 {
            1
        } else if restart {
            boot + 1
        } else {
            2
        };
        blocks[of].push(logs.block("access", "edge-1", boot, 5));
    }
    (logs, blocks)
}

#[test]
fn two_varnishd_of_one_route_are_no_gap_of_one_another() {
    let mut cases = Vec::new();
    // Which of both has come further, which is the first of the range, and which ends first, after a pause.
    for before in [[2, 9], [9, 2], [4, 4], [4, 5], [5, 4]] {
        for beside in [[0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0]] {
            cases.extend([false, true].map(|restart| (before, beside, restart)));
        }
        cases
            .extend([[0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0]].map(|beside| (before, beside, false)));
    }
    for (before, beside, restart) in cases {
        let case = format!("{before:?} {beside:?} {restart}");
        let (logs, blocks) = side_by_side(before, &beside, restart);
        assert_eq!(logs.s3log(&["verify", "access"]).code, 0, "{case}");
        let [asked, time] = since(&logs.blocks[before[0] + before[1]]);
        let ran = logs.s3log(&["verify", "access", &asked, &time]);
        assert_eq!(ran.code, 0, "{case}: {}", ran.out);
        delete(&logs, &logs.blocks[..before[0] + before[1]]);
        let ran = logs.s3log(&["verify", "access", "--allow-expired"]);
        assert_eq!(ran.code, 0, "{case}: {}", ran.out);
        // What is gone between blocks of one of them is seen.
        for (blocks, before) in blocks.iter().zip(before) {
            let gone = &blocks[before + 1];
            let (bytes, metadata) = logs.get(&gone.key);
            logs.delete(&gone.key);
            let ran = logs.s3log(&["verify", "access", "--allow-expired"]);
            assert_eq!((ran.code, findings(&ran)), (1, 1), "{case}: {}", ran.out);
            if !restart {
                found(&ran, "MISSING", &[&format!("edge-1 block {}: ", gone.meta.number)]);
            }
            logs.put(&gone.key, &bytes, &metadata);
        }
    }
}

#[test]
fn a_gap_at_a_restart_beside_another_varnishd_is_seen() {
    for gone in [1, 2] {
        let (logs, [_, blocks]) = side_by_side([4, 4], &[0, 1, 0, 1, 0, 1, 0], true);
        delete(&logs, &logs.blocks[..4]);
        // The last of a boot, or the first of the next one.
        logs.delete(&blocks[2 + gone].key);
        let ran = logs.s3log(&["verify", "access", "--allow-expired"]);
        found(&ran, "GAP", &[&format!("edge-1 block {}: ", 3 + gone)]);
        assert_eq!(findings(&ran), 1, "{}", ran.out);
    }
}

#[test]
fn a_gap_behind_the_block_that_a_restart_went_on_with_is_seen() {
    // It has the boot in which it was begun, and records of the next one.
    for (gone, word) in [(2, "MISSING"), (3, "GAP"), (4, "GAP"), (5, "MISSING")] {
        let (logs, [mut blocks]) = chains([&[1, 1, 1, 2, 2, 2, 2]]);
        let boots = [3, 0].map(|at| blocks[at].meta.boot.to_string());
        let (bytes, mut metadata) = logs.get(&blocks[3].key);
        logs.delete(&blocks[3].key);
        blocks[3].key = blocks[3].key.replace(&boots[0], &boots[1]);
        metadata
            .iter_mut()
            .filter(|pair| pair.1 == boots[0])
            .for_each(|pair| pair.1.clone_from(&boots[1]));
        logs.put(&blocks[3].key, &bytes, &metadata);
        delete(&logs, &blocks[..1]);
        let [asked, time] = since(&blocks[1]);
        let modes = [&["--allow-expired"][..], &[&asked, &time]];
        modes.iter().for_each(|mode| {
            assert_eq!(logs.s3log(&[&["verify", "access"], *mode].concat()).code, 0);
        });
        logs.delete(&blocks[gone].key);
        for mode in modes {
            let ran = logs.s3log(&[&["verify", "access"], mode].concat());
            found(&ran, word, &[&format!("edge-1 block {}: ", gone + 1)]);
            assert_eq!(findings(&ran), 1, "{}", ran.out);
        }
    }
}
