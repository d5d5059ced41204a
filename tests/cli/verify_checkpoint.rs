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
        let (one, two) = (BootId::new(START + forger.0, 7), BootId::new(START + forger.1, 7));
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
