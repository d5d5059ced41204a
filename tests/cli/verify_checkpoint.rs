//! What `s3log verify --checkpoint` misses: every way to take away the end of a chain that an earlier run saw.

use std::fs;

use vmod_s3log::seal::Signer;

use crate::common::logs::{Logs, Ran, Written, pairs};
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
