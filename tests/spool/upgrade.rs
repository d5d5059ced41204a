//! A spool that an earlier release left is taken up to its last record, and one of a newer release
//! is refused.
//!
//! `tests/fixtures/spool-0.1` is the spool of a process of 0.1.0 that was killed: two streams, each
//! with sealed blocks, a chunk in the open block and records in the ring; `encrypted` has its
//! sealed blocks encrypted to the key beside it. The rings are gzipped, since they are mostly zeroes.
//! It was made by `make_the_fixture`, run with the code of that release; it is never made again.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::s3_server::{BUCKET, S3Server};
use crate::common::stream::{DEAD, Process, lines as common_lines, wait_for};
use vmod_s3log::block::Decoder;
use vmod_s3log::pipeline::{Folder, Move, folders};
use vmod_s3log::seal::Identities;

/// Set to the directory to write to.
const MAKE: &str = "S3LOG_MAKE_SPOOL_FIXTURE";
/// One stream each: its name and its compression.
const STREAMS: [(&str, &str); 2] = [("plain", "gzip"), ("encrypted", "zstd")];
/// Lines of the four parts: two sealed blocks, the open block with the chunk, the ring.
const SEALED: usize = 40;
const CHUNKED: usize = 600;
const IN_RING: usize = 25;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spool-0.1")
}

/// A line long enough that the ring is half full, and a chunk made, after [`CHUNKED`] of them.
fn long() -> String {
    format!("chunk {}", "x".repeat(1000))
}

/// What was pushed, in its order.
fn pushed() -> Vec<String> {
    let lines = |name: String, count| (0..count).map(move |n| format!("{name} {n}"));
    lines("one".into(), SEALED)
        .chain(lines("two".into(), SEALED))
        .chain(lines(long(), CHUNKED))
        .chain(lines("ring".into(), IN_RING))
        .collect()
}

/// Writes the fixture and is killed, by itself.
#[test]
#[ignore = "makes tests/fixtures; only with S3LOG_MAKE_SPOOL_FIXTURE, for a release that changes a format"]
fn make_the_fixture() {
    let to = PathBuf::from(std::env::var(MAKE).unwrap());
    fs::create_dir_all(&to).unwrap();
    let identity = age::x25519::Identity::generate();
    let secret = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
    fs::write(to.join("identity"), secret + "\n").unwrap();
    let recipient = identity.to_public().to_string();
    for (stream, compression) in STREAMS {
        let process = Process::new();
        let mut settings = vec![("compression", compression)];
        if stream == "encrypted" {
            settings.push(("encrypt_to", &recipient));
        }
        let mut short = settings.clone();
        short.push(("period", "100ms"));
        let holder = process.attach(DEAD, &short);
        holder.push("one", 0..SEALED);
        holder.wait_stat("blocks_sealed", 1);
        holder.push("two", 0..SEALED);
        holder.wait_stat("blocks_sealed", 2);
        let long_period = process.attach(DEAD, &settings);
        drop(holder);
        let lines = long();
        long_period.push(&lines, 0..CHUNKED);
        long_period.wait_stat("spooled_records", (2 * SEALED + 1) as u64);
        // The chunk is committed: the ring is half empty, and nothing more of it is read for an hour.
        long_period.push("ring", 0..IN_RING);
        // As a kill leaves it: nothing below this copies what is in memory only.
        let from = process.spool().join("access");
        let place = to.join(stream);
        fs::create_dir_all(&place).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() || name == "lock" {
                continue;
            }
            let bytes = fs::read(entry.path()).unwrap();
            if name == "ring" {
                let file = fs::File::create(place.join("ring.gz")).unwrap();
                let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::best());
                gzip.write_all(&bytes).unwrap();
                gzip.finish().unwrap();
            } else {
                fs::write(place.join(name), bytes).unwrap();
            }
        }
    }
}

/// Puts the fixture's stream where the process looks for its spool.
fn lay(process: &Process, stream: &str) -> PathBuf {
    let place = process.spool().join("access");
    fs::create_dir_all(&place).unwrap();
    for entry in fs::read_dir(fixture().join(stream)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name == "ring.gz" {
            let mut ring = Vec::new();
            flate2::read::GzDecoder::new(fs::File::open(entry.path()).unwrap())
                .read_to_end(&mut ring)
                .unwrap();
            fs::write(place.join("ring"), ring).unwrap();
        } else {
            fs::copy(entry.path(), place.join(name)).unwrap();
        }
    }
    place
}

/// The bucket's lines, block by block in the order of their keys.
fn lines(server: &S3Server, identities: Option<&Identities>) -> Vec<String> {
    let root = server.root().join(BUCKET);
    let mut keys: Vec<_> =
        fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    keys.retain(|path| path.to_str().unwrap().contains(".log"));
    keys.sort();
    let mut text = String::new();
    for path in keys {
        let mut bytes = fs::read(path).unwrap();
        if let Some(identities) = identities {
            let mut clear = Vec::new();
            identities.open(&bytes[..]).unwrap().read_to_end(&mut clear).unwrap();
            bytes = clear;
        }
        Decoder::sniff(&bytes[..]).unwrap().read_to_string(&mut text).unwrap();
    }
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_spool_of_0_1_is_taken_up_to_its_last_record() {
    for (stream, compression) in STREAMS {
        let process = Process::new();
        lay(&process, stream);
        let server = S3Server::start();
        let file = fixture().join("identity");
        let identity: age::x25519::Identity =
            fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let recipient = identity.to_public().to_string();
        let mut settings = vec![("compression", compression)];
        let mut identities = None;
        if stream == "encrypted" {
            settings.push(("encrypt_to", &recipient));
            identities = Some(Identities::read(&file).unwrap());
        }
        let holder = process.attach(&server.endpoint(), &settings);
        holder.push("now", 0..1);
        drop(holder);
        process.wait_closed();
        let mut wanted = pushed();
        wanted.push("now 0".to_owned());
        let found = lines(&server, identities.as_ref());
        assert!(found == wanted, "{stream}: {} lines, {} wanted", found.len(), wanted.len());

        // And the old blocks and the new ones are one chain.
        let verified = Command::new(env!("CARGO_BIN_EXE_s3log"))
            .args(["verify", "--download", "--json", "--bucket", BUCKET, "access"])
            .args(["--endpoint", &server.endpoint(), "--credentials"])
            .arg(process.directory.path().join("credentials"))
            .output()
            .unwrap();
        assert!(verified.status.success(), "{stream}: {verified:?}");
    }
}

#[test]
fn an_old_spool_goes_to_the_route_that_it_was_made_for_also_where_another_is_loaded_first() {
    let process = Process::new();
    lay(&process, "plain");
    let (own_server, other_server) = (S3Server::start(), S3Server::start());
    let other = process.attach(&other_server.endpoint(), &[("path", "other/")]);
    other.push("other", 0..1);
    let says = |text: &String| text.contains("and they wait") && text.contains("--from unknown");
    wait_for("the message", || process.messages().iter().any(says));
    let own = process.attach(&own_server.endpoint(), &[]);
    own.push("now", 0..1);
    drop((own, other));
    process.wait_closed();
    let mut wanted = pushed();
    wanted.push("now 0".to_owned());
    let found = lines(&own_server, None);
    assert!(found == wanted, "{} lines, {} wanted", found.len(), wanted.len());
    assert_eq!(common_lines(&other_server), ["other 0"]);
}

#[test]
fn an_old_spool_that_no_route_was_made_for_waits_and_can_be_moved() {
    for (stream, _) in STREAMS {
        let process = Process::new();
        let old = Folder::read(lay(&process, stream));
        let server = S3Server::start();
        // The old blocks of one of the two are encrypted.
        let other: &[_] = if stream == "plain" { &[("path", "other/")] } else { &[] };
        let other = [other, &[("period", "100ms")]].concat();
        let other = process.attach(&server.endpoint(), &other);
        let waits = |text: &String| text.contains("and they wait");
        wait_for("the message", || process.messages().iter().any(waits));
        let folders = folders(&process.spool(), "access").unwrap();
        let to = folders.iter().find(|folder| folder.path != old.path).unwrap();
        let work = Move { from: &old, to, change_signer: false };
        let moved = work.carry_out(&process.environment);
        if stream == "plain" {
            assert_eq!(moved.unwrap().moved.records, pushed().len() as u64);
            other.wait_stat("uploaded_records", pushed().len() as u64);
            let (mut found, mut wanted) = (common_lines(&server), pushed());
            found.sort();
            wanted.sort();
            assert!(found == wanted, "{} lines, {} wanted", found.len(), wanted.len());
        } else {
            assert!(moved.unwrap_err().contains("were logged to be encrypted"));
        }
    }
}

/// The names and contents below a directory; the lock is everybody's who looks.
fn contents(at: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.file_name().unwrap() != "lock" {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn a_spool_of_a_newer_release_is_refused_with_a_sentence_and_left_as_it_is() {
    type Newer = fn(&Path);
    let newer: [(Newer, &str); 2] = [
        (
            |place| fs::write(place.join("format"), "s3log spool 2\n").unwrap(),
            "s3log: stream access: the spool's format has format 2 and this release reads format \
             1: run the release that wrote it, or drain it with that release's s3log",
        ),
        (
            |place| {
                let mut ring = fs::read(place.join("ring")).unwrap();
                ring[8..12].copy_from_slice(&3_u32.to_ne_bytes());
                fs::write(place.join("ring"), ring).unwrap();
            },
            "has format 3 and this release reads up to 2: run the release that wrote it, or drain \
             it with that release's s3log",
        ),
    ];
    for (make_newer, sentence) in newer {
        let process = Process::new();
        let place = lay(&process, "plain");
        make_newer(&place);
        let before = contents(&place);
        let message = process.refused(DEAD, &[]);
        assert!(message.starts_with("s3log: stream access: the "), "{message}");
        assert!(message.contains(sentence), "{message}");
        assert!(contents(&place) == before, "the spool was changed");
    }
}
