//! What is done to compacted objects and their manifests after the blocks are gone: each is found.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::compact::{FOLDER, PARQUET, compact, keys, parts};
use crate::common::cut_off::CutOff;
use crate::common::logs::{Logs, Ran, START, pairs};
use vmod_s3log::block::{ChunkEncoder, Codec, Digest};
use vmod_s3log::seal::{Recipients, Sealing, Signer};

/// Two manifests: twelve blocks in several objects, and two blocks of another hour. No block is left.
fn compacted() -> Logs {
    compacted_to(&["--to", "zstd"])
}

fn compacted_to(form: &[&str]) -> Logs {
    let mut logs = Logs::usual();
    for _ in 0..2 {
        logs.now += 3600;
        logs.block("access", "edge-1", 2, 5);
    }
    let ran = compact(&logs, &[form, &["--delete", "--max-bytes", "200B"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(keys(&logs, "varnish/2026/").len(), 0);
    logs
}

fn manifest(number: u32) -> String {
    format!("{FOLDER}manifest-{number:04}.json")
}

/// Replaces a text in a manifest, once or everywhere, and its hash in its metadata.
fn edit(logs: &Logs, number: u32, change: impl FnOnce(String) -> String) {
    let key = manifest(number);
    let (bytes, mut metadata) = logs.get(&key);
    let before = String::from_utf8(bytes).unwrap();
    let text = change(before.clone());
    assert_ne!(text, before, "nothing was changed");
    for (name, value) in &mut metadata {
        if name == "sha256" {
            *value = Digest::of(text.as_bytes()).to_string();
        }
    }
    logs.put(&key, text.as_bytes(), &metadata);
}

fn flip(logs: &Logs, key: &str) {
    let (mut bytes, metadata) = logs.get(key);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    logs.put(key, &bytes, &metadata);
}

fn swap(logs: &Logs, one: &str, two: &str) {
    let (first, second) = (logs.get(one), logs.get(two));
    logs.put(one, &second.0, &second.1);
    logs.put(two, &first.0, &first.1);
}

fn words(ran: &Ran) -> Vec<&str> {
    let finding = |line: &&str| line.starts_with(|c: char| c.is_ascii_uppercase());
    let lines = ran.out.lines().filter(finding).filter(|line| !line.starts_with("NOT COMPLETE"));
    lines.filter_map(|line| line.split_whitespace().next()).collect()
}

type Act = Box<dyn Fn(&Logs)>;

/// What is done, the mode that finds it, and the word for it.
fn manipulations() -> Vec<(&'static str, Act, &'static str, &'static str)> {
    let first = |logs: &Logs| parts(logs)[0].clone();
    let act = |act: fn(&Logs)| -> Act { Box::new(act) };
    let at = move |act: fn(&Logs, &str)| -> Act { Box::new(move |logs| act(logs, &first(logs))) };
    vec![
        ("an object is deleted", at(|logs, key| logs.delete(key)), "heads", "MISSING"),
        ("a byte of an object is flipped", at(flip), "--download", "ALTERED"),
        (
            "an object is cut",
            at(|logs, key| {
                let (bytes, metadata) = logs.get(key);
                logs.put(key, &bytes[..bytes.len() - 9], &metadata);
            }),
            "heads",
            "CUT",
        ),
        (
            "two objects are swapped",
            act(|logs| swap(logs, &parts(logs)[0], &parts(logs)[1])),
            "heads",
            "",
        ),
        (
            "an object is replaced with lines of somebody else",
            at(|logs, key| {
                let (_, mut metadata) = logs.get(key);
                let bytes = b"forged\n";
                for (name, value) in &mut metadata {
                    if name == "sha256" {
                        *value = Digest::of(bytes).to_string();
                    }
                }
                logs.put(key, bytes, &metadata);
            }),
            "heads",
            "CUT",
        ),
        (
            "the first manifest is deleted",
            act(|logs| logs.delete(&manifest(1))),
            "heads",
            "MISSING",
        ),
        (
            "a manifest in the middle is deleted",
            act(|logs| logs.delete(&manifest(2))),
            "heads",
            "MISSING",
        ),
        (
            "a byte of a manifest is flipped",
            act(|logs| flip(logs, &manifest(1))),
            "heads",
            "ALTERED",
        ),
        (
            "two manifests are swapped",
            act(|logs| swap(logs, &manifest(1), &manifest(2))),
            "heads",
            "ALTERED",
        ),
        (
            "a manifest's number of records is changed",
            act(|logs| {
                edit(logs, 1, |text| text.replacen("\"records\":\"5\"", "\"records\":\"6\"", 1))
            }),
            "heads",
            "ALTERED",
        ),
        (
            "records are moved from one block to another",
            act(|logs| {
                edit(logs, 1, |text| {
                    let six = text.replacen("\"records\":\"5\"", "\"records\":\"6\"", 1);
                    let (head, tail) = six.split_at(six.find("\"records\":\"5\"").unwrap());
                    format!("{head}{}", tail.replacen("\"records\":\"5\"", "\"records\":\"4\"", 1))
                });
            }),
            "heads",
            "ALTERED",
        ),
        (
            "a block's number is changed",
            act(|logs| {
                edit(logs, 1, |text| text.replacen("\"number\":\"3\"", "\"number\":\"9\"", 1))
            }),
            "heads",
            "",
        ),
        (
            "a block's predecessor is changed",
            act(|logs| {
                edit(logs, 1, |text| {
                    let at = text.find("\"previous\":\"").unwrap() + 12;
                    format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..])
                });
            }),
            "heads",
            "ALTERED",
        ),
        (
            "the hash of a block's lines is changed in the newest manifest",
            act(|logs| {
                edit(logs, 3, |text| {
                    let at = text.find("\"lines\":\"").unwrap() + 9;
                    format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..])
                });
            }),
            "--deep",
            "ALTERED",
        ),
        (
            "a manifest names an object twice",
            act(|logs| {
                let (bytes, metadata) = logs.get(&manifest(3));
                let text = String::from_utf8(bytes).unwrap();
                let text = text.replacen("\"number\":3", "\"number\":4", 1);
                logs.put(&manifest(4), text.as_bytes(), &metadata);
            }),
            "heads",
            "DOUBLED",
        ),
        (
            "a block is put back that is another one",
            act(|logs| {
                let block = &logs.of("edge-1")[1];
                let other = logs.of("edge-1")[2].clone();
                let metadata = crate::common::logs::pairs(&other.meta);
                logs.put(&block.key, other.lines.as_bytes(), &metadata);
            }),
            "heads",
            "ALTERED",
        ),
        (
            "a foreign object is put among them",
            act(|logs| logs.put(&format!("{FOLDER}notes.txt"), b"?", &[])),
            "heads",
            "FOREIGN",
        ),
    ]
}

#[test]
fn each_manipulation_of_objects_and_manifests_is_found() {
    manipulated(&["--to", "zstd"]);
}

#[test]
fn each_manipulation_of_parquet_objects_is_found() {
    manipulated(&PARQUET);
}

fn manipulated(form: &[&str]) {
    let logs = compacted_to(form);
    for mode in [&["verify", "access"][..], &["verify", "access", "--deep"]] {
        let ran = logs.s3log(mode);
        assert_eq!(ran.code, 0, "untouched: {ran:?}");
        assert!(ran.out.contains("(14 blocks in these only)"), "{}", ran.out);
    }
    let all = keys(&logs, "");
    let stored: Vec<_> = all.iter().map(|key| (key, logs.get(key))).collect();
    for (what, act, mode, word) in manipulations() {
        act(&logs);
        let words_of = match mode {
            "heads" => vec!["verify", "access"],
            mode => vec!["verify", "access", mode],
        };
        let ran = logs.s3log(&words_of);
        assert_eq!(ran.code, 1, "{what}: {ran:?}");
        let found = words(&ran);
        let right = found.contains(&word) || word.is_empty() && !found.is_empty();
        assert!(right, "{what}: no {word} in\n{}", ran.out);
        for key in keys(&logs, "").difference(&all) {
            logs.delete(key);
        }
        for (key, (bytes, metadata)) in &stored {
            logs.put(key, bytes, metadata);
        }
    }
    assert_eq!(logs.s3log(&["verify", "access", "--deep"]).code, 0, "all was put back");
}

#[test]
fn an_object_that_no_manifest_names_is_noted_and_not_read() {
    let logs = compacted();
    let before = logs.s3log(&["cat", "access"]).out;
    let left = format!("{FOLDER}hour=10/part-0001-0123456789abcdef.log.zst");
    let (bytes, metadata) = logs.get(&parts(&logs)[0]);
    logs.put(&left, &bytes, &metadata);
    let ran = logs.s3log(&["verify", "access"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("1 compacted object that no manifest names"), "{}", ran.out);
    assert_eq!(logs.s3log(&["cat", "access"]).out, before);
}

#[test]
fn cat_says_that_a_manifest_is_missing_or_cannot_be_used() {
    let logs = compacted();
    logs.delete(&manifest(2));
    let ran = logs.s3log(&["cat", "access"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("manifest 2 of"), "{}", ran.err);
    logs.put(&manifest(2), b"{}", &[]);
    let ran = logs.s3log(&["cat", "access"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("the manifest cannot be used"), "{}", ran.err);
}

#[test]
fn the_oldest_objects_and_manifests_may_expire_as_the_oldest_blocks_may() {
    let logs = compacted();
    let (text, _) = logs.get(&manifest(1));
    let text = String::from_utf8(text).unwrap();
    let mut left = parts(&logs);
    left.retain(|part| !text.contains(part.as_str()));
    for part in parts(&logs).iter().filter(|part| !left.contains(part)) {
        logs.delete(part);
    }
    logs.delete(&manifest(1));
    let ran = logs.s3log(&["verify", "access"]);
    assert!(ran.code == 1 && ran.out.contains("manifest 1 of"), "{ran:?}");
    let ran = logs.s3log(&["verify", "access", "--deep", "--allow-expired"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = logs.s3log(&["cat", "access"]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 10), "{ran:?}");
}

#[test]
fn blocks_are_not_deleted_when_an_object_is_not_what_was_written() {
    let logs = Logs::usual();
    assert_eq!(compact(&logs, &[]).code, 0);
    flip(&logs, &parts(&logs)[0]);
    let ran = compact(&logs, &["--delete"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("12 blocks are kept"), "{}", ran.err);
    assert_eq!(keys(&logs, "varnish/2026/").len(), 12);
}

/// A pair of keys that minisign makes: the files with the secret one and the public one.
fn pair(logs: &Logs, name: &str) -> (String, String) {
    let [secret, public] = ["sec", "pub"].map(|ending| logs.path(&format!("{name}.{ending}")));
    let [secret, public] = [secret, public].map(|path| path.to_str().unwrap().to_owned());
    let made =
        Command::new("minisign").args(["-G", "-W", "-s", &secret, "-p", &public]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    (secret, public)
}

/// What a block's lines and metadata become in a planted manifest.
struct Planted<'a> {
    lines: &'a dyn Fn(&str) -> String,
    metadata: &'a dyn Fn(&mut BTreeMap<String, String>),
}

/// Other lines of the same length, and the block's own metadata.
const OTHER_LINES: Planted<'_> =
    Planted { lines: &|lines| lines.replace(" line ", " fake "), metadata: &|_| {} };

/// What somebody does who may put objects under new keys and no more: an object with lines, and a manifest that names
/// the blocks that are there and has the hashes of these lines.
fn plant(logs: &Logs, planted: &Planted<'_>) {
    let forged: Vec<String> =
        logs.blocks.iter().map(|block| (planted.lines)(&block.lines)).collect();
    let mut object = Vec::new();
    let mut encoder = ChunkEncoder::new(Codec::Gzip(3)).unwrap();
    encoder.encode(forged.concat().as_bytes(), &mut object).unwrap();
    let sha256 = Digest::of(&object).to_string();
    let key = format!("{FOLDER}hour=10/part-0001-{}.log.gz", &sha256[..16]);
    let blocks = logs.blocks.iter().zip(&forged).map(|(block, forged)| {
        let mut metadata: BTreeMap<_, _> = pairs(&block.meta).into_iter().collect();
        (planted.metadata)(&mut metadata);
        let lines = Digest::of(forged.as_bytes()).to_string();
        serde_json::json!({ "key": block.key, "lines": lines, "metadata": metadata })
    });
    let records: u64 = logs.blocks.iter().map(|block| block.meta.records).sum();
    let manifest_of = serde_json::json!({
        "format": 1, "stream": "access", "day": "2026-11-22", "number": 1,
        "since": START * 1_000_000_000, "until": (START + 3_600) * 1_000_000_000,
        "parts": [{
            "key": key, "sha256": sha256, "bytes": object.len(), "records": records,
            "raw-bytes": logs.lines().len(), "blocks": blocks.collect::<Vec<_>>(),
        }],
    });
    let text = manifest_of.to_string();
    logs.put(&key, &object, &[("sha256".to_owned(), sha256)]);
    let sha256 = Digest::of(text.as_bytes()).to_string();
    logs.put(&manifest(1), text.as_bytes(), &[("sha256".to_owned(), sha256)]);
}

#[test]
fn no_block_is_deleted_on_the_word_of_a_manifest_that_others_have_put_there() {
    for signed in [false, true] {
        let mut logs = Logs::start();
        let (secret, public) = pair(&logs, "key");
        let keys_of = ["--public-key", &public, "--sign-key", &secret];
        if signed {
            logs.signer = Some(Signer::read(Path::new(&secret)).unwrap());
        }
        (0..4).for_each(|_| drop(logs.block("access", "edge-1", 1, 5)));
        plant(&logs, &OTHER_LINES);
        let ran = logs.s3log(&["verify", "access", "--download"]);
        assert_eq!(ran.code, 0, "the object is what the manifest says: {ran:?}");
        let arguments = [&["--delete"][..], if signed { &keys_of } else { &[] }].concat();
        let ran = compact(&logs, &arguments);
        assert_eq!((ran.code, keys(&logs, "varnish/2026/").len()), (1, 4), "{ran:?}");
        let why =
            if signed { "the manifest is not signed" } else { "not the lines that the manifest" };
        assert!(ran.err.contains(why), "{ran:?}");
    }
}

#[test]
fn no_block_is_deleted_whose_metadata_is_not_that_of_a_manifest_that_others_have_put_there() {
    let mut logs = Logs::start();
    let (secret, _) = pair(&logs, "key");
    logs.signer = Some(Signer::read(Path::new(&secret)).unwrap());
    logs.block("access", "edge-1", 1, 5);
    logs.block("access", "edge-1", 2, 5);
    let stored: BTreeMap<String, _> =
        logs.blocks.iter().map(|block| (block.key.clone(), logs.get(&block.key))).collect();
    let lines: &dyn Fn(&str) -> String = &str::to_owned;
    let own: BTreeMap<_, _> = pairs(&logs.blocks[1].meta).into_iter().collect();
    let (zero, late) = ("0".repeat(64), ((START + 3_000) * 1_000_000_000).to_string());
    for (name, value) in [
        ("signature", None),
        ("global-signature", None),
        ("previous", None),
        ("previous", Some(&*zero)),
        ("host", Some("edge-9")),
        ("boot", Some("000000000001")),
        ("number", Some("9")),
        ("first", Some("1")),
        ("last", Some(&*late)),
        ("dropped", Some("9,9,9,9")),
        ("cut", Some("9")),
        ("codec", Some("zstd")),
        ("note", Some("one that the block has not")),
    ] {
        assert!(name == "note" || own.contains_key(name), "{name}: {own:?}");
        let changed = |metadata: &mut BTreeMap<String, String>| {
            metadata.remove(name);
            metadata.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        };
        plant(&logs, &Planted { lines, metadata: &changed });
        let ran = compact(&logs, &["--delete"]);
        // The first block of the chain has none before it.
        let kept = if (name, value) == ("previous", None) { 1 } else { 2 };
        assert_eq!((ran.code, keys(&logs, "varnish/2026/").len()), (1, kept), "{name}: {ran:?}");
        let why = "not deleted: its metadata is not what the manifest says";
        assert_eq!(ran.err.matches(why).count(), kept, "{name}: {ran:?}");
        keys(&logs, FOLDER).iter().for_each(|key| logs.delete(key));
        for block in &logs.blocks {
            logs.put(&block.key, &stored[&block.key].0, &stored[&block.key].1);
        }
    }
    plant(&logs, &Planted { lines, metadata: &|_| {} });
    let ran = compact(&logs, &["--delete"]);
    assert_eq!((ran.code, keys(&logs, "varnish/2026/").len()), (0, 0), "{ran:?}");
    assert_eq!(logs.s3log(&["cat", "access"]).out, logs.lines());
}

#[test]
fn no_block_is_deleted_on_the_word_of_a_manifest_of_another_time_that_others_have_put_there() {
    let mut logs = Logs::start();
    (0..2).for_each(|_| drop(logs.block("access", "edge-1", 1, 5)));
    plant(&logs, &Planted { lines: &str::to_owned, metadata: &|_| {} });
    // All of it as of the day before, so that it is due, and who asks for today does not look there.
    let before = |text: &str| {
        let today = |hour: u64| ((START + hour * 3_600) * 1_000_000_000).to_string();
        let yesterday = |hour: u64| ((START + hour * 3_600 - 86_400) * 1_000_000_000).to_string();
        text.replace("dt=2026-11-22", "dt=2026-11-21")
            .replace("\"day\":\"2026-11-22\"", "\"day\":\"2026-11-21\"")
            .replace(&format!("\"since\":{}", today(0)), &format!("\"since\":{}", yesterday(0)))
            .replace(&format!("\"until\":{}", today(1)), &format!("\"until\":{}", yesterday(1)))
    };
    let part = parts(&logs)[0].clone();
    let (object, metadata) = logs.get(&part);
    logs.put(&before(&part), &object, &metadata);
    let text = before(std::str::from_utf8(&logs.get(&manifest(1)).0).unwrap());
    let sha256 = Digest::of(text.as_bytes()).to_string();
    logs.put(&before(&manifest(1)), text.as_bytes(), &[("sha256".to_owned(), sha256)]);
    keys(&logs, FOLDER).iter().for_each(|key| logs.delete(key));

    let ran = logs.s3log(&["compact", "access", "--delete", "--until", "2026-11-22T10:00:00Z"]);
    assert_eq!((ran.code, keys(&logs, "varnish/2026/").len()), (1, 2), "{ran:?}");
    assert!(ran.err.contains("which is of another time; 2 blocks are kept"), "{ran:?}");
}

/// Signs the first manifest as it is.
fn sign(logs: &Logs, secret: &str) {
    let (bytes, mut metadata) = logs.get(&manifest(1));
    let signer = Signer::read(Path::new(secret)).unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    let made = signer.sign(text, "s3log access manifest 2026-11-22 1");
    metadata.push(("signature".to_owned(), made.signature));
    metadata.push(("global-signature".to_owned(), made.global));
    logs.put(&manifest(1), &bytes, &metadata);
}

#[test]
fn the_key_of_a_node_vouches_for_no_lines_of_a_manifest() {
    for (planted, code, left) in
        [(OTHER_LINES, 1, 4), (Planted { lines: &str::to_owned, metadata: &|_| {} }, 0, 0)]
    {
        let mut logs = Logs::start();
        let (node, of_node) = pair(&logs, "node");
        let (own, of_own) = pair(&logs, "own");
        logs.signer = Some(Signer::read(Path::new(&node)).unwrap());
        for host in ["edge-1", "edge-2"] {
            (0..2).for_each(|_| drop(logs.block("access", host, 1, 5)));
        }
        plant(&logs, &planted);
        sign(&logs, &node);
        let keys_of = ["--public-key", &of_node, "--public-key", &of_own, "--sign-key", &own];
        let ran = compact(&logs, &[&keys_of[..], &["--delete"]].concat());
        assert_eq!((ran.code, keys(&logs, "varnish/2026/").len()), (code, left), "{ran:?}");
        assert_eq!(ran.err.contains("not the lines that the manifest names"), left > 0, "{ran:?}");
    }
}

#[test]
fn a_manifest_that_no_key_vouches_for_is_neither_written_nor_gone_by() {
    let mut logs = Logs::start();
    let (secret, public) = pair(&logs, "key");
    let (_, other) = pair(&logs, "other");
    logs.signer = Some(Signer::read(Path::new(&secret)).unwrap());
    (0..2).for_each(|_| drop(logs.block("access", "edge-1", 1, 5)));
    let ran = compact(&logs, &["--public-key", &public]);
    assert!(ran.code == 2 && ran.err.contains("give --sign-key"), "{ran:?}");
    let ran = compact(&logs, &["--public-key", &other, "--sign-key", &secret]);
    assert!(ran.code == 2 && ran.err.contains("--public-key of the key that signs"), "{ran:?}");
    assert_eq!(keys(&logs, FOLDER).len(), 0);
    let ran = compact(&logs, &["--public-key", &public, "--dry-run"]);
    assert_eq!(ran.code, 0, "nothing is written: {ran:?}");

    // The run that wrote it was ended before it deleted: whoever asks for signatures asks for this one as well.
    let keys_of = ["--public-key", &public, "--sign-key", &secret];
    assert_eq!(compact(&logs, &[]).code, 0);
    let ran = compact(&logs, &[&keys_of[..], &["--delete"]].concat());
    assert_eq!((ran.code, keys(&logs, "varnish/2026/").len()), (1, 2), "{ran:?}");
    assert!(ran.err.contains("manifest-0001.json: the manifest is not signed"), "{ran:?}");
    let (text, metadata) = logs.get(&manifest(1));
    logs.delete(&manifest(1));
    assert_eq!(compact(&logs, &keys_of).code, 0);
    let (signed, of_signed) = logs.get(&manifest(1));
    let ran = compact(&logs, &[&keys_of[..], &["--delete"]].concat());
    assert_eq!((ran.code, keys(&logs, "varnish/2026/").len()), (0, 0), "{ran:?}");

    // Of blocks that are gone already only what is asked for is said.
    assert_ne!(metadata, of_signed);
    assert_eq!(text, signed);
}

/// Compacts both streams up to the end of the second day.
fn compact_all(logs: &Logs, more: &[&str]) -> Ran {
    logs.s3log(&[&["compact", "--delete", "--until", "2026-11-24T00:00:00Z"], more].concat())
}

/// A manifest of the first day, and then blocks of that day, of the day after and of another stream.
fn of_two_days(signer: &str) -> Logs {
    let mut logs = Logs::start();
    logs.signer = Some(Signer::read(Path::new(signer)).unwrap());
    logs.block("access", "edge-1", 1, 5);
    assert_eq!(compact(&logs, &["--delete"]).code, 0);
    logs.now = START + 1_800;
    logs.block("access", "edge-1", 1, 5);
    logs.now = START + 86_400;
    logs.block("access", "edge-1", 1, 5);
    logs.block("errors", "edge-1", 1, 5);
    logs
}

#[test]
fn a_manifest_that_cannot_be_gone_by_keeps_its_day_and_nothing_else_from_being_compacted() {
    type Change = fn(&Logs, &str);
    let cases: [(&str, bool, Change); 4] = [
        ("the manifest is not signed", true, |_, _| ()),
        ("the block is signed with another key", true, |logs, other| sign(logs, other)),
        ("the manifest cannot be used", true, |logs, _| logs.put(&manifest(1), b"{}", &[])),
        ("the manifest cannot be used", false, |logs, _| logs.put(&manifest(1), b"{}", &[])),
    ];
    for (why, asked, change) in cases {
        let directory = Logs::start();
        let (secret, public) = pair(&directory, "key");
        let (other, _) = pair(&directory, "other");
        let logs = of_two_days(&secret);
        change(&logs, &other);
        let keys_of = ["--public-key", &public, "--sign-key", &secret];
        let keys_of = if asked { &keys_of[..] } else { &[] };
        let ran = compact_all(&logs, keys_of);
        assert_eq!(ran.code, 1, "{why}: {ran:?}");
        let said = format!("{}: {why}", manifest(1));
        assert!(ran.err.contains(&said), "{why}: {ran:?}");
        assert!(ran.err.contains("; nothing of its day is compacted"), "{why}: {ran:?}");
        let kept: Vec<String> = keys(&logs, "varnish/2026/").into_iter().collect();
        assert_eq!(kept, [logs.blocks[1].key.clone()], "{why}: {ran:?}");
        assert!(ran.out.contains("errors 2026-11-23T10:00:00Z: 1 block"), "{why}: {ran:?}");
        assert!(ran.out.contains("; 2 deleted"), "{why}: {ran:?}");
    }
}

#[test]
fn a_manifest_of_a_run_that_did_not_sign_is_gone_by_once_minisign_has_signed_it() {
    let pairs = Logs::start();
    let (secret, public) = pair(&pairs, "key");
    let logs = of_two_days(&secret);
    let keys_of = ["--public-key", &public, "--sign-key", &secret];
    assert_eq!(compact_all(&logs, &keys_of).code, 1);

    // What docs/compaction.md says.
    let file = logs.path("manifest.json");
    let (text, mut metadata) = logs.get(&manifest(1));
    std::fs::write(&file, &text).unwrap();
    let comment = "s3log access manifest 2026-11-22 1";
    let made = Command::new("minisign")
        .args(["-S", "-H", "-s", &secret, "-t", comment, "-m"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let made = std::fs::read_to_string(logs.path("manifest.json.minisig")).unwrap();
    let line = |number: usize| made.lines().nth(number - 1).unwrap().to_owned();
    metadata.push(("signature".to_owned(), line(2)));
    metadata.push(("global-signature".to_owned(), line(4)));
    logs.put(&manifest(1), &text, &metadata);

    let ran = compact_all(&logs, &keys_of);
    assert_eq!((ran.code, &*ran.err, keys(&logs, "varnish/2026/").len()), (0, "", 0), "{ran:?}");
    let ran = logs.s3log(&["verify", "--deep", "--public-key", &public]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(logs.s3log(&["cat", "access"]).out.lines().count(), 15);
}

#[test]
fn blocks_whose_object_cannot_be_read_are_kept_unless_their_run_or_the_key_of_compact_vouches_for_it()
 {
    let key = age::x25519::Identity::generate();
    let recipient = key.to_public().to_string();
    let mut logs = Logs::usual();
    assert_eq!(compact(&logs, &["--encrypt-to", &recipient]).code, 0);
    let ran = compact(&logs, &["--encrypt-to", &recipient, "--delete"]);
    assert_eq!((ran.code, keys(&logs, "varnish/2026/").len()), (1, 12), "{ran:?}");
    assert!(ran.err.contains("--identity FILE; 12 blocks are kept"), "{ran:?}");
    let file = logs.path("identity");
    let secret = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let identity = ["--encrypt-to", &recipient, "--delete", "--identity", file.to_str().unwrap()];
    let ran = compact(&logs, &identity);
    assert_eq!((ran.code, keys(&logs, "varnish/2026/").len()), (0, 0), "{ran:?}");

    logs = Logs::usual();
    let ran = compact(&logs, &["--encrypt-to", &recipient, "--delete"]);
    assert_eq!((ran.code, keys(&logs, "varnish/2026/").len()), (0, 0), "{ran:?}");

    logs = Logs::start();
    let (secret, public) = pair(&logs, "key");
    logs.signer = Some(Signer::read(Path::new(&secret)).unwrap());
    logs.sealing = Some(Sealing::Age(Recipients::read(&recipient).unwrap()));
    (0..2).for_each(|_| drop(logs.block("access", "edge-1", 1, 5)));
    let file = logs.path("identity");
    let own = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
    std::fs::write(&file, format!("{own}\n")).unwrap();
    let to = age::x25519::Identity::generate().to_public().to_string();
    let arguments = ["--encrypt-to", &to, "--public-key", &public, "--sign-key", &secret];
    let identity = ["--identity", file.to_str().unwrap()];
    assert_eq!(compact(&logs, &[&arguments[..], &identity].concat()).code, 0);
    // Another one signs from here on.
    let (new, of_new) = pair(&logs, "new");
    let rotated = ["--public-key", &public, "--public-key", &of_new, "--sign-key", &new];
    let ran = compact(&logs, &[&["--encrypt-to", &to, "--delete"], &rotated[..]].concat());
    assert_eq!((ran.code, keys(&logs, "varnish/2026/").len()), (1, 2), "{ran:?}");
    assert!(ran.err.contains("--identity FILE; 2 blocks are kept"), "{ran:?}");
    let ran = compact(&logs, &[&arguments[..], &["--delete"]].concat());
    assert_eq!((ran.code, keys(&logs, "varnish/2026/").len()), (0, 0), "{ran:?}");
}

#[test]
fn a_signed_manifest_is_what_minisign_verifies_and_a_forged_one_is_found() {
    let mut logs = Logs::start();
    let (secret, public) = pair(&logs, "key");
    let (secret, public) = (Path::new(&secret), Path::new(&public));
    logs.signer = Some(Signer::read(secret).unwrap());
    for _ in 0..4 {
        logs.block("access", "edge-1", 1, 5);
    }
    let key = public.to_str().unwrap();
    let ran =
        compact(&logs, &["--delete", "--public-key", key, "--sign-key", secret.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let verify = ["verify", "access", "--public-key", key];
    let ran = logs.s3log(&verify);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("every block is signed"), "{}", ran.out);

    let (text, metadata) = logs.get(&manifest(1));
    let value = |wanted: &str| {
        let found = metadata.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone()).unwrap()
    };
    let file = logs.path("manifest.json");
    std::fs::write(&file, &text).unwrap();
    let signature = format!(
        "untrusted comment: s3log\n{}\ntrusted comment: s3log access manifest 2026-11-22 1\n{}\n",
        value("signature"),
        value("global-signature")
    );
    std::fs::write(logs.path("manifest.json.minisig"), signature).unwrap();
    let checked =
        Command::new("minisign").arg("-Vm").arg(&file).arg("-p").arg(public).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");

    // A lower count of records everywhere, with right hashes: only the signature tells.
    edit(&logs, 1, |text| text.replacen("\"lines\":\"", "\"lines\": \"", 1));
    let ran = logs.s3log(&verify);
    assert_eq!((ran.code, words(&ran)), (1, vec!["FORGED"]), "{ran:?}");
    let bare: Vec<_> =
        metadata.iter().filter(|(name, _)| !name.contains("signature")).cloned().collect();
    logs.put(&manifest(1), &text, &bare);
    let ran = logs.s3log(&verify);
    assert_eq!((ran.code, words(&ran)), (1, vec!["UNSIGNED"]), "{ran:?}");
}

/// What `verify --deep` says when the gateway answers so from request `most` on.
fn verified_through(logs: &Logs, most: u64, answer: &'static [u8]) -> (Ran, u64) {
    let gate = CutOff::answering(most, logs.server.address(), answer);
    let endpoint = gate.endpoint();
    let ran = logs.s3log(&["verify", "access", "--deep", "--jobs", "1", "--endpoint", &endpoint]);
    (ran, gate.count())
}

#[test]
fn a_gateway_that_fails_in_the_middle_of_a_parquet_object_has_not_altered_it() {
    let logs = Logs::usual();
    assert_eq!(compact(&logs, &[&PARQUET[..], &["--delete"]].concat()).code, 0);
    let (ran, all) = verified_through(&logs, u64::MAX, b"");
    assert_eq!(ran.code, 0, "{ran:?}");
    let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let busy = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n";
    let gone =
        b"HTTP/1.1 404 Not Found\r\nContent-Type: application/xml\r\nContent-Length: 37\r\n\r\n\
                 <Error><Code>NoSuchKey</Code></Error>";
    // The last requests are for the end of the object, and for its row group.
    for (before, answer, code, word) in [
        (2, &refused[..], 2, "UNCHECKED"),
        (1, refused, 2, "UNCHECKED"),
        (1, busy, 2, "UNCHECKED"),
        (1, b"", 2, "UNCHECKED"),
        (2, gone, 1, "MISSING"),
        (1, gone, 1, "MISSING"),
    ] {
        let (ran, through) = verified_through(&logs, all - before, answer);
        let told = String::from_utf8_lossy(answer);
        assert_eq!(through, all - before, "{told}: {ran:?}");
        assert_eq!((ran.code, words(&ran)[0]), (code, word), "{told}: {ran:?}");
    }
}

#[test]
fn a_parquet_object_of_a_newer_release_is_unchecked_and_not_altered() {
    let logs = Logs::usual();
    assert_eq!(compact(&logs, &[&PARQUET[..], &["--delete"]].concat()).code, 0);
    let key = parts(&logs)[0].clone();
    let (mut bytes, mut metadata) = logs.get(&key);
    let version = b"{\"version\":1,";
    let at = bytes.windows(version.len()).position(|piece| piece == version).unwrap();
    bytes[at + version.len() - 2] = b'9';
    let (before, now) = (metadata.clone(), Digest::of(&bytes).to_string());
    let was = before.iter().find(|(name, _)| name == "sha256").unwrap().1.as_str();
    metadata.iter_mut().filter(|(name, _)| name == "sha256").for_each(|it| it.1.clone_from(&now));
    logs.delete(&key);
    logs.put(&key.replace(&was[..16], &now[..16]), &bytes, &metadata);
    edit(&logs, 1, |text| text.replace(was, &now).replace(&was[..16], &now[..16]));
    let ran = logs.s3log(&["verify", "access", "--deep"]);
    assert_eq!((ran.code, words(&ran)[0]), (2, "UNCHECKED"), "{ran:?}");
    assert!(ran.out.contains("layout 9") && ran.out.contains("use a newer s3log"), "{ran:?}");
}
