//! Signatures against the program `minisign`: it checks what we sign by the recipe of
//! `docs/chain.md`, and `s3log verify --public-key` finds what was forged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::logs::{Logs, Ran, pairs, run};
use crate::common::s3_server::{ACCESS_KEY, BUCKET, SECRET_KEY};
use vmod_s3log::block::{ChunkEncoder, Digest};
use vmod_s3log::seal::Signer;

/// A key pair without a password, as `minisign -G -W` makes it; `None`, said aloud, where minisign
/// is not installed.
fn keys(folder: &Path, name: &str) -> Option<(PathBuf, PathBuf)> {
    let (secret, public) = (folder.join(format!("{name}.sec")), folder.join(format!("{name}.pub")));
    let mut command = Command::new("minisign");
    command.args(["-G", "-W", "-f", "-s"]).arg(&secret).arg("-p").arg(&public);
    match command.output() {
        Ok(made) => assert!(made.status.success(), "{made:?}"),
        Err(_) => {
            eprintln!("left out: minisign is not installed; on Debian: apt install minisign");
            return None;
        }
    }
    Some((secret, public))
}

/// A bucket of twelve blocks signed with a key, and the file of its public key.
fn signed() -> Option<(Logs, String)> {
    let mut logs = Logs::start();
    let (secret, public) = keys(logs.directory.path(), "edge")?;
    logs.signer = Some(Signer::read(&secret).unwrap());
    for boot in [1, 2] {
        for _ in 0..3 {
            for host in ["edge-1", "edge-2"] {
                logs.block("access", host, boot, 5);
            }
        }
    }
    Some((logs, public.display().to_string()))
}

/// The shell commands of the page.
fn recipe() -> &'static str {
    let page = include_str!("../../docs/chain.md");
    let (_, rest) = page.split_once("```sh\n").unwrap();
    rest.split_once("```").unwrap().0
}

fn by_hand(logs: &Logs, key: &str, public: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(public, folder.path().join("edge.pub")).unwrap();
    let url = format!("{}/{BUCKET}/{key}", logs.server.endpoint());
    run(Command::new("bash")
        .args(["-euc", recipe()])
        .current_dir(folder.path())
        .env("URL", url)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY))
}

fn findings(ran: &Ran, word: &str) -> Vec<String> {
    ran.out.lines().filter(|line| line.starts_with(word)).map(str::to_owned).collect()
}

#[test]
fn minisign_checks_a_block_by_the_recipe_of_the_page_and_refuses_one_that_was_changed() {
    let Some((logs, public)) = signed() else { return };
    for block in &logs.blocks[..3] {
        let ran = by_hand(&logs, &block.key, &public);
        assert_eq!(ran.code, 0, "{ran:?}");
        let host = &block.meta.host;
        let comment = format!(
            "Trusted comment: s3log access {host} {} {}",
            block.meta.boot, block.meta.number
        );
        assert!(ran.out.contains("Signature and comment signature verified"), "{ran:?}");
        assert!(ran.out.contains(&comment), "{ran:?}");
        assert!(ran.out.contains("block: OK"), "{ran:?}");
    }
    // Metadata changed: the signature does not hold.
    let block = &logs.blocks[1];
    let (bytes, mut metadata) = logs.get(&block.key);
    metadata.iter_mut().find(|(name, _)| name == "records").unwrap().1 = "6".to_owned();
    logs.put(&block.key, &bytes, &metadata);
    let ran = by_hand(&logs, &block.key, &public);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("Signature verification failed"), "{ran:?}");
}

#[test]
fn a_bucket_of_signed_blocks_passes_and_the_keys_are_named() {
    let Some((logs, public)) = signed() else { return };
    let text = fs::read_to_string(&public).unwrap();
    let line = text.lines().nth(1).unwrap();
    for key in [public.as_str(), line] {
        for mode in [&["verify", "access"][..], &["verify", "access", "--deep"]] {
            let ran = logs.s3log(&[mode, &["--public-key", key]].concat());
            assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
            assert!(ran.out.contains("every block is signed"), "{ran:?}");
        }
    }
    let ran = logs.s3log(&["verify", "access"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    // The key's number has sixteen digits; minisign before 0.12 leaves out the first zeros.
    let id = format!("{:0>16}", text.split_whitespace().nth(5).unwrap());
    let note = format!("12 blocks signed by key {id}, not checked; check it with --public-key");
    assert!(ran.out.contains(&note), "{ran:?}");
}

#[test]
fn a_chain_that_was_forged_anew_is_found_with_the_key_only() {
    let Some((mut logs, public)) = signed() else { return };
    let honest: Vec<_> = logs.of("edge-1");
    // Who knows the format writes the last three blocks of a host anew, links and all; once
    // without a signature, once with one of his own.
    let (other, _) = keys(logs.directory.path(), "other").unwrap();
    for (signer, word, text) in [
        (None, "UNSIGNED", "the block is not signed"),
        (Some(Signer::read(&other).unwrap()), "FORGED", "the block is signed with another key"),
    ] {
        logs.signer = signer;
        let mut previous = honest[2].meta.sha256;
        for block in &honest[3..] {
            let mut bytes = Vec::new();
            ChunkEncoder::new(logs.codec).unwrap().encode(b"forged line\n", &mut bytes).unwrap();
            let mut meta = block.meta.clone();
            meta.sha256 = Digest::of(&bytes);
            (meta.bytes, meta.raw_bytes, meta.records) = (bytes.len() as u64, 12, 1);
            meta.previous = Some(previous);
            previous = meta.sha256;
            meta.signature = logs.signer.as_ref().map(|signer| {
                meta.signature = None;
                let all = pairs(&meta);
                let get = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
                let statement = vmod_s3log::block::statement(get);
                let comment = vmod_s3log::block::trusted_comment(get);
                signer.sign(&statement, &comment)
            });
            logs.put(&block.key, &bytes, &pairs(&meta));
        }
        let ran = logs.s3log(&["verify", "access", "--download"]);
        assert_eq!(ran.code, 0, "the chain alone cannot tell: {ran:?}");
        let ran = logs.s3log(&["verify", "access", "--public-key", &public]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let found = findings(&ran, word);
        assert_eq!(found.len(), 3, "{ran:?}");
        for (line, number) in found.iter().zip(4..) {
            assert!(line.contains(&format!("edge-1 block {number}: {text}")), "{line}");
        }
    }
}

#[test]
fn a_signature_that_stands_beside_other_metadata_is_named() {
    let Some((logs, public)) = signed() else { return };
    let one = &logs.of("edge-1")[0];
    let (bytes, mut metadata) = logs.get(&one.key);
    metadata.iter_mut().find(|(name, _)| name == "dropped").unwrap().1 = "9,0,0,0".to_owned();
    logs.put(&one.key, &bytes, &metadata);
    let two = &logs.of("edge-2")[1];
    let (bytes, mut metadata) = logs.get(&two.key);
    metadata.retain(|(name, _)| name != "global-signature");
    logs.put(&two.key, &bytes, &metadata);
    let ran = logs.s3log(&["verify", "access", "--public-key", &public]);
    let found = findings(&ran, "FORGED");
    assert_eq!(found.len(), 2, "{ran:?}");
    assert!(found[0].contains("edge-1 block 1: invalid signature by key "), "{found:?}");
    assert!(found[1].contains("edge-2 block 2: the signature cannot be read"), "{found:?}");
}

#[test]
fn a_key_that_cannot_be_used_is_told_without_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some((secret, public)) = keys(folder.path(), "one") else { return };
    let problem = |path: &Path| Signer::read(path).unwrap_err().to_string();
    assert!(problem(Path::new("/nowhere/key")).starts_with("/nowhere/key cannot be read: "));
    let text = problem(&public);
    assert!(text.ends_with("one.pub is a public minisign key; expected the secret key"), "{text}");
    let good = fs::read_to_string(&secret).unwrap();
    let line = good.lines().nth(1).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    // As minisign -G marks a key under a password: "Sc" for scrypt.
    let locked = write("locked", &good.replacen("RWQAAEIy", "RWRTY0Iy", 1));
    let text = problem(&locked);
    assert!(text.contains("is protected by a password"), "{text}");
    let mut swapped = line.to_owned().into_bytes();
    swapped[100] = if swapped[100] == b'A' { b'B' } else { b'A' };
    let damaged = write("damaged", &good.replace(line, std::str::from_utf8(&swapped).unwrap()));
    let text = problem(&damaged);
    assert!(text.contains("is not a valid secret minisign key"), "{text}");
    for text in [problem(&write("empty", "")), problem(&write("text", "a\nb\n"))] {
        assert!(text.contains("is not a valid secret minisign key"), "{text}");
    }
    // Nothing of the key in any of these, nor in Debug.
    let signer = Signer::read(&secret).unwrap();
    let shown = format!("{signer:?} {} {}", problem(&locked), problem(&damaged));
    assert!(!shown.contains(&line[80..]) && !shown.contains(line), "{shown}");
    assert!(shown.starts_with("Signer { id: "), "{shown}");
}
