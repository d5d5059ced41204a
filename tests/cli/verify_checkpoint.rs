//! What `s3log verify --checkpoint` misses: every way to take away the end of a chain that an earlier run saw.

use std::fs;

use vmod_s3log::block::{BootId, Digest, Meta, Naming, RouteId};
use vmod_s3log::seal::Signer;

use crate::common::logs::{Logs, PATH, Ran, START, Written, pairs};
use crate::verify::{findings, found};

/// Runs `verify --checkpoint` with these arguments.
fn checked(logs: &Logs, arguments: &[&str]) -> Ran {
    let file = logs.path("checkpoint").display().to_string();
    logs.s3log(&[&["verify", "access", "--checkpoint", &file], arguments].concat())
}

/// What the runs so far remember.
fn remembered(logs: &Logs) -> String {
    fs::read_to_string(logs.path("checkpoint")).unwrap()
}

/// The key pair of docs/chain.md.
const PUBLIC: &str = "RWQSIXy0zqvOt8P4RUUcS7jjVdDk+YgY1ixPoBS/7fHCYkSWkHWHq8/H";

fn signer() -> Signer {
    let page = include_str!("../../docs/chain.md");
    let line = page.lines().map(str::trim).find(|line| line.starts_with("RWQAAEIy")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("untrusted comment: of docs/chain.md\n{line}\n")).unwrap();
    Signer::read(file.path()).unwrap()
}

/// Stores an object of another stream that has the identity and the hash of `block`.
fn decoy(logs: &Logs, block: &Written) {
    let key = block.key.replace("-edge-1-access-", "-edge-1-x-access-");
    let bytes = b"anything";
    let mut meta = block.meta.clone();
    "x-access".clone_into(&mut meta.stream);
    meta.bytes = bytes.len() as u64;
    meta.signature = None;
    logs.put(&key, bytes, &pairs(&meta));
}

#[test]
fn a_block_of_another_stream_does_not_stand_for_the_end_of_a_chain() {
    let mut logs = Logs::start();
    logs.signer = Some(signer());
    for _ in 0..4 {
        logs.block("access", "edge-1", 1, 5);
    }
    let public = ["--public-key", PUBLIC];
    assert_eq!(checked(&logs, &public).code, 0);
    let before = remembered(&logs);
    for block in &logs.blocks[2..] {
        logs.delete(&block.key);
    }
    decoy(&logs, &logs.blocks[3]);
    for mode in [&public[..], &["--public-key", PUBLIC, "--download"], &[]] {
        let ran = checked(&logs, mode);
        found(&ran, "MISSING", &["edge-1 blocks 3 to 4: an earlier run saw this block"]);
        assert_eq!(findings(&ran), 1, "{}", ran.out);
    }
    assert_eq!(remembered(&logs), before);
}

/// Stores a block as one does who has no key: another boot and other lines, chained to the block before.
fn forged(logs: &Logs, like: &Meta, boot: BootId, number: u64, previous: Option<Digest>) -> Meta {
    let bytes = logs.get(&logs.of("edge-2")[0].key).0;
    let mut meta = like.clone();
    (meta.boot, meta.number, meta.previous) = (boot, number, previous);
    (meta.sha256, meta.bytes) = (Digest::of(&bytes), bytes.len() as u64);
    meta.first += 1_000_000_000 * number;
    meta.last = meta.first;
    let naming = Naming::new(PATH, Naming::DEFAULT_TIMESTAMP).unwrap();
    logs.put(&naming.key(&meta, ""), &bytes, &pairs(&meta));
    meta
}

#[test]
fn a_longer_chain_does_not_hide_that_the_end_was_replaced() {
    let altered = ("ALTERED", "it was replaced");
    // Of the end's boot nothing is left.
    let alone = ("MISSING", "an earlier run saw this block");
    let other = Some(RouteId::new([7; 8]));
    for (boots, forger, route, (word, text)) in [
        ([2, 2, 2, 2], (9, 9), None, altered),
        ([2, 2, 2, 2], (1, 2), None, altered),
        ([2, 2, 3, 3], (1, 3), other, altered),
        ([2, 2, 3, 3], (9, 9), other, altered),
        ([2, 2, 2, 3], (9, 9), None, alone),
    ] {
        let mut logs = Logs::start();
        for boot in boots {
            logs.block("access", "edge-1", boot, 5);
            logs.block("access", "edge-2", boot, 5);
        }
        assert_eq!(checked(&logs, &[]).code, 0);
        let before = remembered(&logs);
        let blocks = logs.of("edge-1");
        logs.delete(&blocks[3].key);
        let mut like = blocks[3].meta.clone();
        like.route = route;
        let [one, two] = [forger.0, forger.1].map(|boot| BootId::new(logs.began(boot), 7));
        let four = forged(&logs, &like, one, 4, Some(blocks[2].meta.sha256));
        forged(&logs, &like, two, 5, Some(four.sha256));
        assert_eq!(logs.s3log(&["verify", "access"]).code, 0, "every link holds");
        for arguments in [&[][..], &["--allow-expired"]] {
            let ran = checked(&logs, arguments);
            found(&ran, word, &["edge-1 block 4: ", text]);
            assert_eq!(findings(&ran), 1, "{boots:?} {forger:?}: {}", ran.out);
            assert_eq!(remembered(&logs), before);
        }
    }
}

#[test]
fn a_chain_that_goes_on_behind_an_expired_end_is_linked_to_it() {
    let start = || {
        let mut logs = Logs::start();
        for _ in 0..3 {
            logs.block("access", "edge-1", 2, 5);
        }
        logs.block("access", "edge-2", 2, 5);
        assert_eq!(checked(&logs, &[]).code, 0);
        logs
    };
    let mut logs = start();
    logs.block("access", "edge-1", 2, 5);
    let blocks = logs.of("edge-1");
    blocks[..3].iter().for_each(|block| logs.delete(&block.key));
    let ran = checked(&logs, &[]);
    found(&ran, "MISSING", &["edge-1 blocks 1 to 3: ", "does not start with block 1"]);
    assert_eq!(findings(&ran), 1, "{}", ran.out);
    let ran = checked(&logs, &["--allow-expired"]);
    assert_eq!(ran.code, 0, "{ran:?}");

    let logs = start();
    let blocks = logs.of("edge-1");
    blocks.iter().for_each(|block| logs.delete(&block.key));
    let meta = &blocks[2].meta;
    forged(&logs, meta, meta.boot, 4, Some(Digest::of(b"another")));
    let ran = checked(&logs, &["--allow-expired"]);
    found(&ran, "ALTERED", &["edge-1 block 4: ", "does not follow block 3"]);
}

#[test]
fn a_chain_that_was_forged_from_the_start_lacks_the_end() {
    let mut logs = Logs::start();
    for _ in 0..3 {
        logs.block("access", "edge-1", 2, 5);
        logs.block("access", "edge-2", 2, 5);
    }
    assert_eq!(checked(&logs, &[]).code, 0);
    let blocks = logs.of("edge-1");
    blocks.iter().for_each(|block| logs.delete(&block.key));
    let mut previous = None;
    for number in 1..=4 {
        let boot = BootId::new(START + 9, 7);
        previous = Some(forged(&logs, &blocks[0].meta, boot, number, previous).sha256);
    }
    assert_eq!(logs.s3log(&["verify", "access"]).code, 0, "every link holds");
    for arguments in [&[][..], &["--allow-expired"]] {
        let ran = checked(&logs, arguments);
        found(&ran, "MISSING", &["edge-1 block 3: an earlier run saw this block"]);
    }
}

#[test]
fn a_chain_that_has_expired_to_its_end_is_forgotten() {
    let mut logs = Logs::start();
    let old: Vec<Written> = (0..3).map(|_| logs.block("access", "edge-old", 1, 5)).collect();
    let new: Vec<Written> = (0..3).map(|_| logs.block("access", "edge-1", 1, 5)).collect();
    assert_eq!(checked(&logs, &[]).code, 0);
    let before = remembered(&logs);
    // Its end is the youngest of all that is gone, or nothing has expired.
    logs.delete(&old[2].key);
    let ran = checked(&logs, &["--allow-expired"]);
    found(&ran, "MISSING", &["edge-old block 3: an earlier run saw this block"]);
    old[..2].iter().for_each(|block| logs.delete(&block.key));
    let ran = checked(&logs, &[]);
    found(&ran, "MISSING", &["edge-old block 3: an earlier run saw this block"]);
    assert_eq!(remembered(&logs), before);
    let ran = checked(&logs, &["--allow-expired"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let note = "note      access edge-old block 3: the chain that an earlier run saw to its end is gone, and all that is \
                there is newer: it is taken for expired";
    assert!(ran.out.contains(note), "{}", ran.out);
    assert!(!remembered(&logs).contains("edge-old"), "{}", remembered(&logs));
    assert!(!checked(&logs, &["--allow-expired"]).out.contains("edge-old"));
    // What is left ends as well, and nothing newer is there.
    new.iter().for_each(|block| logs.delete(&block.key));
    let before = remembered(&logs);
    let ran = checked(&logs, &["--allow-expired"]);
    found(&ran, "MISSING", &["edge-1 block 3: "]);
    assert_eq!(remembered(&logs), before);
}

#[test]
fn a_chain_has_not_expired_while_anything_older_than_its_end_is_there() {
    let mut logs = Logs::start();
    logs.block("access", "edge-1", 1, 5);
    let gone = logs.block("access", "edge-2", 1, 5);
    logs.block("access", "edge-1", 1, 5);
    assert_eq!(checked(&logs, &[]).code, 0);
    logs.delete(&gone.key);
    let ran = checked(&logs, &["--allow-expired"]);
    found(&ran, "MISSING", &["edge-2 block 1: an earlier run saw this block"]);
    logs.delete(&logs.of("edge-1")[0].key);
    assert_eq!(checked(&logs, &["--allow-expired"]).code, 0);
}

#[test]
fn a_route_and_a_spool_that_were_replaced_expire_beside_what_replaced_them() {
    let routes = [[7; 8], [8; 8]].map(|id| Some(RouteId::new(id)));
    for (first, second) in [(routes[0], routes[1]), (None, None), (routes[0], routes[0])] {
        let mut logs = Logs::start();
        logs.route = first;
        let old: Vec<Written> = (0..3).map(|_| logs.block("access", "edge-1", 1, 5)).collect();
        logs.new_spools();
        logs.route = second;
        let new: Vec<Written> =
            [2, 2, 3, 3].iter().map(|boot| logs.block("access", "edge-1", *boot, 5)).collect();
        assert_eq!(checked(&logs, &[]).code, 0);
        old.iter().for_each(|block| logs.delete(&block.key));
        assert_eq!(checked(&logs, &[]).code, 1);
        let ran = checked(&logs, &["--allow-expired"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(
            ran.out.contains("edge-1 block 3: the chain that an earlier run saw"),
            "{}",
            ran.out
        );
        // Restarts later, a whole boot at a time.
        logs.block("access", "edge-1", 4, 5);
        new.iter().for_each(|block| logs.delete(&block.key));
        let ran = checked(&logs, &["--allow-expired"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        logs.delete(&logs.blocks[7].key);
        logs.block("access", "edge-1", 4, 5);
        // The block behind the remembered one goes on with it.
        let ran = checked(&logs, &["--allow-expired"]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

#[test]
fn the_remembered_end_of_a_chain_that_goes_on_has_not_expired_while_anything_older_is_there() {
    // The block behind the end is of the same boot, or of the next one.
    for boot in [2, 3] {
        let mut logs = Logs::start();
        let older = logs.block("access", "edge-2", 1, 5);
        for _ in 0..3 {
            logs.block("access", "edge-1", 2, 5);
        }
        // Begun before the end of the other chain, and complete after it.
        logs.now -= 8;
        logs.block("access", "edge-2", 2, 5);
        assert_eq!(checked(&logs, &[]).code, 0);
        let before = remembered(&logs);
        logs.block("access", "edge-1", boot, 5);
        logs.block("access", "edge-1", boot, 5);
        let gone = logs.of("edge-1");
        gone[..3].iter().for_each(|block| logs.delete(&block.key));
        for _ in 0..2 {
            let ran = checked(&logs, &["--allow-expired"]);
            found(&ran, "MISSING", &["edge-1 block 3: an earlier run saw this block"]);
            assert_eq!(findings(&ran), 1, "{}", ran.out);
            assert_eq!(remembered(&logs), before);
        }
        logs.delete(&older.key);
        let ran = checked(&logs, &["--allow-expired"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_ne!(remembered(&logs), before);
        assert_eq!(checked(&logs, &["--allow-expired"]).code, 0);
    }
}
