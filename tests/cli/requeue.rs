//! `s3log requeue --from --dry-run`: it says what the command does then, whatever state the blocks are in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::common::logs::{Ran, run};
use crate::common::stream::{DEAD, Process};
use vmod_s3log::block::{ChunkEncoder, Codec};
use vmod_s3log::pipeline::Folder;
use vmod_s3log::spool::SealedBlocks;

const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

type Settings<'a> = &'a [(&'static str, &'a str)];

const PLAIN: Settings<'_> = &[];
const ENCRYPTED: Settings<'_> = &[("encrypt_to", KEY)];

/// Adds a block of ten lines to the route `path`.
fn block(process: &Process, path: &str, settings: Settings<'_>) {
    let own = [("path", path), ("exit_timeout", "100ms")];
    let holder = process.attach(DEAD, &[&own, settings].concat());
    holder.push(path, 0..10);
    drop(holder);
    process.wait_closed();
}

/// A stream with `blocks` of the route `a/`, in the folder `access`, and one of the route `b/`.
fn two_routes(blocks: usize, [a, b]: [Settings<'_>; 2]) -> (Process, PathBuf) {
    let mut process = Process::new();
    // Neither is taken up with the other.
    process.environment.grace = Duration::from_secs(3600);
    for _ in 0..blocks {
        block(&process, "a/", a);
    }
    block(&process, "b/", b);
    let from = process.spool().join("access");
    (process, from)
}

fn move_away(from: &Path, more: &[&str]) -> Ran {
    let route = Folder::read(from.to_owned()).route().unwrap().to_string();
    let spool = from.parent().unwrap().to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3log"));
    command.args(["requeue", "access", "--spool", spool, "--from", &route]).args(more);
    run(command.env_remove("S3LOG_CONFIG"))
}

/// What a dry run says, and then the command: the numbers, the problems by block, and the exit code.
fn both(from: &Path) -> [(Value, i32); 2] {
    let say = |more: &[&str]| {
        let ran = move_away(from, more);
        let mut said: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
        assert_eq!(said["dry_run"].take(), more.contains(&"--dry-run"));
        said["failed"].as_array_mut().unwrap().sort_by_key(|one| one["block"].to_string());
        (said, ran.code)
    };
    [say(&["--json", "--dry-run"]), say(&["--json"])]
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn flip(path: &Path) {
    change(path, |bytes| bytes[10] ^= 1);
}

fn cut(path: &Path) {
    change(path, |bytes| bytes.truncate(bytes.len() - 3));
}

/// Every name of the folder with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn a_dry_run_of_requeue_says_what_becomes_of_damaged_blocks() {
    let (_process, from) = two_routes(13, [PLAIN; 2]);
    let file = |number: u32, end: &str| from.join(format!("{number:010}.{end}"));
    let aside = |number: u32| {
        for end in ["json", "data"] {
            let to = from.join(format!("quarantine/{number:010}.{end}"));
            fs::rename(file(number, end), to).unwrap();
        }
        fs::write(from.join(format!("quarantine/{number:010}.reason")), "413\n").unwrap();
    };
    // Block 1 is whole. These are not what their descriptions say.
    flip(&file(2, "data"));
    cut(&file(3, "data"));
    fs::remove_file(file(4, "data")).unwrap();
    // These have no description: one with whole members, one with a torn one behind them, one with nothing.
    fs::write(file(5, "json"), "torn").unwrap();
    fs::remove_file(file(6, "json")).unwrap();
    fs::remove_file(file(7, "json")).unwrap();
    let mut more = Vec::new();
    ChunkEncoder::new(Codec::default()).unwrap().encode(b"torn\n", &mut more).unwrap();
    change(&file(7, "data"), |bytes| bytes.extend(&more[..more.len() - 3]));
    fs::remove_file(file(8, "json")).unwrap();
    fs::write(file(8, "data"), [0; 100]).unwrap();
    // In quarantine: whole, changed, cut.
    (9..12).for_each(aside);
    flip(&from.join("quarantine/0000000010.data"));
    cut(&from.join("quarantine/0000000011.data"));
    // It waits for a key, and the route has none.
    fs::write(file(20, "held"), "line one\nline two\n").unwrap();
    // Another process has sent one, and the gateway has refused it another one.
    fs::create_dir(from.join("ship")).unwrap();
    let shipper = SealedBlocks::of_another(&from).unwrap();
    shipper.follow(Duration::ZERO, Duration::from_secs(1_800_000_000)).unwrap();
    shipper.uploaded(12).unwrap();
    shipper.quarantine(13, "403 AccessDenied").unwrap();

    let before = contents(&from);
    let ran = move_away(&from, &["--dry-run"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("6 blocks with 60 records, "), "{ran:?}");
    let stays = format!("block 2 would stay in {}: the spool's 0000000002.data", from.display());
    assert!(ran.out.contains(&stays), "{ran:?}");
    assert!(contents(&from) == before, "it changes nothing");
    let [dry, real] = both(&from);
    assert_eq!(dry, real);
    assert_eq!(
        (&dry.0["blocks"], &dry.0["records"], &dry.0["left"]),
        (&6.into(), &60.into(), &5.into())
    );
}

#[test]
fn a_dry_run_of_requeue_says_what_becomes_of_blocks_that_cannot_be_read() {
    let (_process, from) = two_routes(4, [PLAIN; 2]);
    // Root, too, cannot read these as files.
    let hide = |name: &str| {
        let _ = fs::remove_file(from.join(name));
        fs::create_dir(from.join(name)).unwrap();
    };
    hide("0000000001.json");
    fs::remove_file(from.join("0000000002.json")).unwrap();
    hide("0000000002.data");
    fs::write(from.join("0000000020.held"), "line one\n").unwrap();
    hide("0000000020.hold");
    hide("0000000021.held");
    let [dry, real] = both(&from);
    assert_eq!(dry, real);
    assert_eq!((&dry.0["blocks"], &dry.0["left"], dry.1), (&2.into(), &4.into(), 1));
}

#[test]
fn a_dry_run_of_requeue_says_what_becomes_of_damaged_blocks_that_are_encrypted() {
    let (process, from) = two_routes(4, [ENCRYPTED; 2]);
    let file = |number: u32, end: &str| from.join(format!("{number:010}.{end}"));
    flip(&file(2, "sealed"));
    // Nobody can read it, and so nobody can describe it.
    fs::remove_file(file(3, "json")).unwrap();
    // It waits for a key, which is here.
    fs::write(file(7, "held"), "line one\nline two\n").unwrap();
    let [mut dry, mut real] = both(&from);
    // What is encrypted first has fewer bytes until then.
    assert_ne!(dry.0["stored_bytes"].take(), real.0["stored_bytes"].take());
    assert_eq!(dry, real);
    assert_eq!(
        (&dry.0["blocks"], &dry.0["records"], &dry.0["left"]),
        (&3.into(), &22.into(), &1.into())
    );
    drop(process);
}

#[test]
fn a_dry_run_of_requeue_says_what_becomes_of_damaged_blocks_that_came_from_another_route() {
    for [before, now] in [[PLAIN, PLAIN], [ENCRYPTED, ENCRYPTED], [PLAIN, ENCRYPTED]] {
        moved_on(before, now);
    }
}

/// Three blocks go from a route with the settings `before` to one with the settings `now`, where one of them is
/// damaged, and from there to another one.
fn moved_on(before: Settings<'_>, now: Settings<'_>) {
    let (process, first) = two_routes(3, [before, now]);
    let ran = move_away(&first, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    block(&process, "a/", now);
    let folders = fs::read_dir(process.spool()).unwrap().map(|entry| entry.unwrap().path());
    let from = folders.into_iter().find(|path| *path != first).unwrap();
    let moved = fs::read_dir(from.join("moved")).unwrap().map(|entry| entry.unwrap().path());
    let mut moved: Vec<_> =
        moved.filter(|path| path.extension().is_some_and(|end| end == "data")).collect();
    moved.sort();
    flip(&moved[1]);
    let [mut dry, mut real] = both(&from);
    // What is encrypted first has fewer bytes until then.
    for said in [&mut dry, &mut real] {
        said.0["stored_bytes"].take();
    }
    assert_eq!(dry, real);
    assert_eq!((&dry.0["blocks"], &dry.0["left"]), (&3.into(), &1.into()));
}
