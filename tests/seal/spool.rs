//! Encryption at the seal: under a kill at any operation, after a lost ring, when settings change;
//! and what is left in clear in the directory.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::s3_server::{BUCKET, S3Server};
use crate::common::sim::Sim;
use crate::common::stream::{Process, expected, wait_for};
use age::secrecy::ExposeSecret as _;
use vmod_s3log::block::{BootId, ChunkEncoder, Codec, Decoder, Digest, Drops, Kind};
use vmod_s3log::seal::{Identities, Recipients, Sealing};
use vmod_s3log::spool::{ChunkStats, Files, Options, Payload, Recovered, Spool, Tally};

const MARKER: &str = "unmistakable";

struct Key {
    public: String,
    identities: Identities,
}

impl Key {
    fn new() -> Self {
        let secret = age::x25519::Identity::generate();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), secret.to_string().expose_secret()).unwrap();
        let identities = Identities::read(file.path()).unwrap();
        Self { public: secret.to_public().to_string(), identities }
    }

    /// The lines of a block; `None` when it is for somebody else.
    fn lines(&self, sealed: &[u8]) -> Option<String> {
        let mut text = String::new();
        let clear = self.identities.open(sealed).ok()?;
        Decoder::sniff(clear).unwrap().read_to_string(&mut text).unwrap();
        Some(text)
    }
}

fn has_marker(bytes: &[u8]) -> bool {
    bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes())
}

/// A start of a process whose blocks are not compressed, so that a marker can be found.
fn open(sim: &Arc<Sim>, key: &Key, last: Option<&Payload>) -> Option<(Spool, Recovered)> {
    let mut options = Options::new("access", "node", BootId::new(1_800_000_000, 1));
    options.codec = Kind::None;
    let recipients = Recipients::read(&key.public).unwrap();
    options.sealing = Some(Sealing::Age(recipients));
    let files = Arc::clone(sim) as Arc<dyn Files>;
    Spool::open(files, options, last.map(Payload::as_bytes)).ok()
}

fn line() -> (String, ChunkStats) {
    let line = format!("{MARKER}\n");
    let raw_bytes = line.len() as u64;
    (line, ChunkStats { records: 1, raw_bytes, first: 5, last: 6, cut: 0 })
}

/// The one block of the store, opened; and no file but `ring` may have the marker.
fn check(sim: &Sim, key: &Key, spool: &Spool) {
    let store = spool.store();
    let [number] = store.sealed()[..] else { panic!("not one block: {:?}", sim.names("")) };
    let mut block = store.open_block(number).unwrap();
    assert!(block.key.ends_with(".log.age"), "{}", block.key);
    let mut bytes = Vec::new();
    block.content.read_to_end(&mut bytes).unwrap();
    assert_eq!(Digest::of(&bytes), block.meta.sha256);
    assert_eq!(bytes.len() as u64, block.meta.bytes);
    assert_eq!(key.lines(&bytes).unwrap(), line().0);
    for name in sim.names("") {
        let bytes = sim.contents(&name).unwrap_or_default();
        assert!(!has_marker(&bytes), "{name} has it in clear: {:?}", sim.names(""));
    }
    assert_eq!(sim.names("foreign"), Vec::<String>::new());
}

#[test]
fn a_kill_at_any_operation_of_a_seal_ends_in_one_encrypted_block_and_nothing_in_clear() {
    let key = Key::new();
    let mut operations = 0;
    loop {
        let sim = Arc::new(Sim::new());
        let (mut spool, _) = open(&sim, &key, None).unwrap();
        let (line, stats) = line();
        let payload = spool.append(line.as_bytes(), stats).unwrap();
        assert!(has_marker(&sim.contents("0000000001.data").unwrap()));
        sim.stop_in(operations);
        let _ = spool.seal(&Drops::default());
        let stopped = sim.stopped();
        drop(spool);
        sim.restart();
        let (mut spool, _) = open(&sim, &key, Some(&payload)).unwrap();
        let _ = spool.seal(&Drops::default()).unwrap();
        check(&sim, &key, &spool);
        if !stopped {
            assert!(operations >= 6, "a seal has {operations} operations only");
            return;
        }
        operations += 1;
    }
}

/// Only a start counts damaged blocks: what cannot be written whole is not left where it would be one.
#[test]
fn a_disk_that_runs_full_in_the_middle_of_an_encrypted_block_leaves_it_open_and_damages_none() {
    let key = Key::new();
    let (line, one) = line();
    // Several pieces of an encrypted block.
    let lines = line.repeat(20_000);
    let stats = ChunkStats { records: 20_000, raw_bytes: one.raw_bytes * 20_000, ..one };
    for operation in 0.. {
        let sim = Arc::new(Sim::new());
        let (mut spool, _) = open(&sim, &key, None).unwrap();
        spool.append(lines.as_bytes(), stats).unwrap();
        let names = sim.names("");
        sim.fail_in(operation, 1, io::ErrorKind::StorageFull);
        if spool.seal(&Drops::default()).is_ok() {
            assert!(operation >= 8, "a seal has {operation} operations only");
            return;
        }
        let counts = spool.store().counts();
        assert_eq!((counts.damaged, counts.sealed), (Tally::default(), Tally::default()));
        assert_eq!((spool.open_records(), sim.names("")), (20_000, names), "{operation}");
        spool.seal(&Drops::default()).unwrap().unwrap();
        let mut bytes = Vec::new();
        spool.store().open_block(1).unwrap().content.read_to_end(&mut bytes).unwrap();
        assert!(key.lines(&bytes).unwrap() == lines, "{operation}");
    }
}

/// A ring that was lost leaves an open block that nothing tells of.
#[test]
fn a_block_without_its_ring_is_encrypted_at_the_start_whenever_that_is_killed() {
    let key = Key::new();
    let mut operations = 0;
    loop {
        let sim = Arc::new(Sim::new());
        let (mut spool, _) = open(&sim, &key, None).unwrap();
        let (line, stats) = line();
        spool.append(line.as_bytes(), stats).unwrap();
        drop(spool);
        sim.restart();
        sim.stop_in(operations);
        let first = open(&sim, &key, None);
        let stopped = sim.stopped();
        drop(first);
        sim.restart();
        let (spool, _) = open(&sim, &key, None).unwrap();
        check(&sim, &key, &spool);
        if !stopped {
            assert!(operations >= 4, "a start has {operations} operations only");
            return;
        }
        operations += 1;
    }
}

/// Without syncs a power cut may take the description of a block and keep the rest: nothing else has what is
/// in it, and so it was deleted where the ring still said that it was open.
#[test]
fn an_encrypted_block_without_its_description_is_set_aside_and_counted() {
    let key = Key::new();
    for is_torn in [false, true] {
        // What the ring says: from before the seal, from after it, and nothing.
        for (ring, lost, number) in [(0, 2, 1), (1, 1, 2), (2, 1, 2)] {
            let sim = Arc::new(Sim::new());
            let (mut spool, _) = open(&sim, &key, None).unwrap();
            let (line, stats) = line();
            spool.append(line.as_bytes(), stats).unwrap();
            let before = spool.append(line.as_bytes(), stats).unwrap();
            let (_, after) = spool.seal(&Drops::default()).unwrap().unwrap();
            drop(spool);
            assert!(sim.contents("0000000001.data").is_none());
            let sealed = sim.contents("0000000001.sealed").unwrap();
            if is_torn {
                sim.place("0000000001.json", b"{");
            } else {
                sim.remove("0000000001.json").unwrap();
            }
            let last = [Some(&before), Some(&after), None][ring];
            let (mut spool, found) = open(&sim, &key, last).unwrap();
            assert_eq!(sim.contents("foreign/0000000001.sealed").unwrap(), sealed, "{ring}");
            assert_eq!(found.counts.lost.records, lost, "{ring}");
            spool.append(line.as_bytes(), stats).unwrap();
            let (next, last) = spool.seal(&Drops::default()).unwrap().unwrap();
            assert_eq!((next.number, next.meta.dropped.lost), (number, lost), "{ring}");
            drop(spool);
            let (_, found) = open(&sim, &key, Some(&last)).unwrap();
            assert_eq!((found.counts.lost.records, found.counts.sealed.blocks), (0, 1));
        }
    }
}

#[test]
fn a_block_of_one_member_is_encrypted_whenever_its_seal_is_killed() {
    let key = Key::new();
    let codec = Codec::Gzip(3);
    let open = |sim: &Arc<Sim>, last: Option<&Payload>| {
        let mut options = Options::new("access", "node", BootId::new(1_800_000_000, 1));
        options.sealing = Some(Sealing::Age(Recipients::read(&key.public).unwrap()));
        options.one_member = Some(codec);
        let files = Arc::clone(sim) as Arc<dyn Files>;
        Spool::open(files, options, last.map(Payload::as_bytes)).unwrap().0
    };
    for operations in 0.. {
        let sim = Arc::new(Sim::new());
        let mut spool = open(&sim, None);
        let mut member = Vec::new();
        ChunkEncoder::new(codec).unwrap().encode(b"x\ny\n", &mut member).unwrap();
        let stats = ChunkStats { records: 2, raw_bytes: 4, first: 5, last: 6, cut: 0 };
        spool.append(&member, stats).unwrap();
        let payload = spool.append(&member, stats).unwrap();
        sim.stop_in(operations);
        let _ = spool.seal(&Drops::default());
        let stopped = sim.stopped();
        drop(spool);
        sim.restart();
        let mut spool = open(&sim, Some(&payload));
        let _ = spool.seal(&Drops::default()).unwrap();
        let mut block = spool.store().open_block(1).unwrap();
        assert!(block.key.ends_with(".log.gz.age"), "{}", block.key);
        let mut bytes = Vec::new();
        block.content.read_to_end(&mut bytes).unwrap();
        // A decoder that stops after the first member.
        let mut text = String::new();
        let clear = key.identities.open(&bytes[..]).unwrap();
        flate2::read::GzDecoder::new(clear).read_to_string(&mut text).unwrap();
        assert_eq!(text, "x\ny\nx\ny\n");
        if !stopped {
            assert!(operations >= 6, "a seal has {operations} operations only");
            break;
        }
    }
}

/// Every object with its bytes, in the order of keys.
fn objects(server: &S3Server) -> Vec<(String, Vec<u8>)> {
    let mut found = files(&server.root().join(BUCKET));
    found.retain(|(path, _)| path.to_str().unwrap().contains(".log"));
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    found.into_iter().map(|(path, bytes)| (name(path), bytes)).collect()
}

fn files(at: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            // What was uploaded in the meantime is gone.
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn the_spool_has_the_lines_in_clear_until_the_seal_and_not_after_it() {
    let process = Process::new();
    let key = Key::new();
    let settings = [("encrypt_to", &*key.public), ("compression", "none"), ("period", "1h")];
    let holder = process.attach(
        crate::common::stream::DEAD,
        &[&settings[..], &[("exit_timeout", "100ms")]].concat(),
    );
    holder.push(MARKER, 0..100);
    let clear = || files(&process.spool()).into_iter().any(|(_, bytes)| has_marker(&bytes));
    assert!(clear(), "in the ring or in the open block");
    let pipeline = Arc::clone(&holder.pipeline);
    drop(holder);
    wait_for("the seal", || pipeline.status().contains("\"blocks_sealed\":1"));
    drop(pipeline);
    process.wait_closed();
    let left: Vec<_> = files(&process.spool()).into_iter().filter(|f| has_marker(&f.1)).collect();
    assert!(left.is_empty(), "in clear: {:?}", left.iter().map(|f| &f.0).collect::<Vec<_>>());
    let sealed = process.spool().join("access/0000000001.sealed");
    assert_eq!(key.lines(&fs::read(sealed).unwrap()).unwrap().lines().count(), 100);
}

#[test]
fn each_line_is_sealed_to_the_keys_of_whoever_wrote_it_whichever_keys_come_and_go() {
    let server = S3Server::start();
    let process = Process::new();
    let (one, two) = (Key::new(), Key::new());
    let attach = |encrypt_to: Option<&Key>, period: &str| {
        let mut all = vec![("compression", "none"), ("period", period)];
        all.extend(encrypt_to.map(|key| ("encrypt_to", &*key.public)));
        process.attach(&server.endpoint(), &all)
    };
    // A quarter of the ring is a chunk, and in the open block at once.
    let clear = attach(None, "1h");
    clear.push(&format!("clear {}", "x".repeat(1_000)), 0..260);
    wait_for("an open block", || {
        let open = process.spool().join("access/0000000001.data");
        open.metadata().is_ok_and(|data| data.len() > 0)
    });
    let first = attach(Some(&one), "100ms");
    first.push("one", 0..10);
    clear.push("clear", 260..261);
    let second = attach(Some(&two), "100ms");
    second.push("two", 0..10);
    first.push("one", 10..20);
    drop(clear);
    drop(first);
    let last = attach(None, "100ms");
    last.push("none", 0..10);
    drop(second);
    drop(last);
    process.wait_closed();
    let objects = objects(&server);
    let all = |key: &Key| -> Vec<String> {
        let readable = objects.iter().filter_map(|(_, bytes)| key.lines(bytes));
        let mut lines: Vec<String> =
            readable.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.sort();
        lines
    };
    assert_eq!(all(&one), expected(&[("one", 0..20)]));
    assert_eq!(all(&two), expected(&[("two", 0..10)]));
    let clear: String = objects
        .iter()
        .filter(|(key, _)| !key.ends_with(".age"))
        .map(|(_, bytes)| String::from_utf8(bytes.clone()).unwrap())
        .collect();
    assert_eq!(clear.lines().filter(|line| line.starts_with("clear ")).count(), 261);
    assert_eq!(clear.lines().filter(|line| line.starts_with("none ")).count(), 10);
    assert_eq!(clear.lines().count(), 271);
}

#[test]
fn what_was_logged_until_a_reload_without_keys_is_sealed_to_the_keys_before() {
    let server = S3Server::start();
    let process = Process::new();
    let key = Key::new();
    let settings = [("compression", "none"), ("period", "1h")];
    let secret = process
        .attach(&server.endpoint(), &[&settings[..], &[("encrypt_to", &*key.public)]].concat());
    // Some in the open block, the last of them in the ring only.
    secret.push(&format!("secret {}", "x".repeat(1_000)), 0..300);
    wait_for("an open block", || {
        let open = process.spool().join("access/0000000001.data");
        open.metadata().is_ok_and(|data| data.len() > 0)
    });
    let clear = process.attach(&server.endpoint(), &settings);
    clear.push("clear", 0..10);
    drop(secret);
    wait_for("the folder of a route that no VCL has to go", || {
        !process.spool().join("access").exists()
    });
    drop(clear);
    process.wait_closed();
    let objects = objects(&server);
    let (sealed, open): (Vec<_>, Vec<_>) =
        objects.iter().partition(|(name, _)| name.ends_with(".age"));
    let lines: String = sealed.iter().map(|(_, bytes)| key.lines(bytes).unwrap()).collect();
    assert_eq!(lines.lines().filter(|line| line.starts_with("secret ")).count(), 300);
    let [(_, bytes)] = open[..] else {
        panic!("{:?}", objects.iter().map(|o| &o.0).collect::<Vec<_>>())
    };
    assert_eq!(String::from_utf8(bytes.clone()).unwrap().lines().count(), 10);
}
