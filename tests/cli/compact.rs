//! `s3log compact`: every line is there once, before, between and after, whatever ends the command.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::cut_off::CutOff;
use crate::common::logs::{Logs, Ran, START};
use crate::common::s3_server::BUCKET;
use vmod_s3log::block::Codec;
use vmod_s3log::seal::{Recipients, Sealing};

/// Where the objects of the usual blocks are.
pub(crate) const FOLDER: &str = "varnish/compact/access/dt=2026-11-22/";
const UNTIL: &str = "2026-11-22T14:00:00Z";

/// The format of the lines that the tests write, and what makes columns of them.
pub(crate) const FORMAT: &str = "%{host}x access boot %{boot}x time %{sec}t line %{line}x";
pub(crate) const PARQUET: [&str; 4] = ["--to", "parquet", "--format", FORMAT];

/// Compacts all that the tests write.
pub(crate) fn compact(logs: &Logs, more: &[&str]) -> Ran {
    logs.s3log(&[&["compact", "access", "--until", UNTIL], more].concat())
}

/// All keys in the bucket that begin with `prefix`, sorted.
pub(crate) fn keys(logs: &Logs, prefix: &str) -> BTreeSet<String> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let key = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            // The server's own notes beside objects.
            if path.is_dir() {
                walk(&path, root, found);
            } else if !key.starts_with('.') {
                found.insert(key);
            }
        }
    }
    let root = logs.server.root().join(BUCKET);
    let mut found = BTreeSet::new();
    walk(&root, &root, &mut found);
    found.into_iter().filter(|key| key.starts_with(prefix)).collect()
}

/// The objects with lines.
pub(crate) fn parts(logs: &Logs) -> Vec<String> {
    keys(logs, FOLDER).into_iter().filter(|key| key.contains("/part-")).collect()
}

fn blocks(logs: &Logs) -> usize {
    keys(logs, "varnish/2026/").len()
}

fn cat(logs: &Logs) -> String {
    let ran = logs.s3log(&["cat", "access"]);
    assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
    ran.out
}

/// The lines of blocks that were compacted together are together, so only their order may differ.
fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines
}

fn assert_complete(logs: &Logs) {
    for mode in [&["verify", "access"][..], &["verify", "access", "--deep"]] {
        let ran = logs.s3log(mode);
        assert_eq!(ran.code, 0, "{ran:?}");
        let all = format!("complete: {} blocks, ", logs.blocks.len());
        assert!(ran.out.contains(&all), "no {all:?} in {}", ran.out);
    }
}

#[test]
fn each_line_is_read_once_beside_the_blocks_and_without_them() {
    let forms = [
        &["--to", "zstd"][..],
        &["--to", "gzip"],
        &["--to", "gzip:9"],
        &["--to", "zstd:1"],
        &PARQUET,
    ];
    for form in forms {
        let logs = Logs::usual();
        let before = cat(&logs);
        let file = logs.path("checkpoint");
        let checkpoint = ["verify", "access", "--checkpoint", file.to_str().unwrap()];
        assert_eq!(logs.s3log(&checkpoint).code, 0);
        let ran = compact(&logs, form);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.contains("12 blocks of 2 hosts, 60 records"), "{}", ran.out);
        assert_eq!(blocks(&logs), 12, "nobody has said --delete");
        assert_eq!(cat(&logs), before);
        assert_complete(&logs);

        // What any reader of the format gives of the object: it is a single member.
        let [part] = &parts(&logs)[..] else { panic!("one object: {:?}", parts(&logs)) };
        let file = logs.server.root().join(BUCKET).join(part);
        let program = if form[1].starts_with("gzip") { "zcat" } else { "zstdcat" };
        if form == PARQUET {
            assert!(part.ends_with(".parquet"), "{part}; e2e/compact.py reads such ones");
        } else {
            let lines = Command::new(program).arg(file).output().unwrap();
            assert_eq!(String::from_utf8(lines.stdout).unwrap(), before);
        }

        let ran = compact(&logs, &[form, &["--delete"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.contains("; 12 deleted"), "{}", ran.out);
        assert_eq!(blocks(&logs), 0);
        assert_eq!(cat(&logs), before);
        assert_complete(&logs);
        assert_eq!(logs.s3log(&checkpoint).code, 0, "the chains end where they ended");
        assert_eq!(parts(&logs).len(), 1, "nothing is compacted twice");
    }
}

#[test]
fn hosts_times_and_forms_are_told_apart_in_a_compacted_object() {
    for form in [&[][..], &PARQUET] {
        told_apart(form);
    }
}

fn told_apart(form: &[&str]) {
    let logs = Logs::usual();
    let before = [
        &["cat", "access", "--host", "edge-2"][..],
        &["cat", "access", "--json"],
        &["cat", "access", "--since", "2026-11-22T10:01:00Z", "--until", "2026-11-22T10:01:20Z"],
        &["tail", "access", "-n", "7"],
    ];
    let told = before.map(|arguments| logs.s3log(arguments));
    assert_eq!(compact(&logs, &[form, &["--delete"]].concat()).code, 0);
    for (arguments, told) in before.iter().zip(&told) {
        let ran = logs.s3log(arguments);
        assert_eq!((ran.code, &ran.out), (0, &told.out), "{arguments:?}");
        assert!(!ran.out.is_empty());
    }
    let ran = logs.s3log(&["ls", "access", "--long"]);
    let [_, row, sum] = &ran.out.lines().collect::<Vec<_>>()[..] else { panic!("{ran:?}") };
    for text in ["2026-11-22T10:00:00Z", "2 hosts", "x12", "60", FOLDER] {
        assert!(row.contains(text), "no {text} in {row}");
    }
    assert!(sum.starts_with("0 blocks, 1 compacted object of 12 blocks, "), "{sum}");
}

/// Compacts through `gate`, and kills the command when it asks for more than the gate lets through; whether
/// it was killed.
fn killed(logs: &Logs, gate: &CutOff, arguments: &[&str]) -> bool {
    let endpoint = gate.endpoint();
    let given = ["compact", "access", "--until", UNTIL, "--endpoint", &endpoint];
    let mut child = logs
        .command(&[&given[..], arguments].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return false;
        }
        if gate.is_reached() {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_kill_between_two_requests_loses_and_doubles_nothing() {
    // What gzip has of so few lines is still in its encoder, so that an object has one block, or all.
    killed_between_requests(&["--to", "gzip", "--max-bytes", "1B"]);
}

#[test]
fn a_kill_between_two_requests_of_parquet_loses_and_doubles_nothing() {
    killed_between_requests(&[&PARQUET[..], &["--max-bytes", "200B"]].concat());
}

/// As few blocks as there can be of several objects: there is a run for each request, and each block has requests.
fn few() -> Logs {
    Logs::of_boots(&[1])
}

fn killed_between_requests(form: &[&str]) {
    let lines = few().lines();
    let all = sorted(&lines);
    let mut most = 0;
    loop {
        let logs = few();
        let gate = CutOff::after(most, logs.server.address());
        let arguments = [&["--delete", "--jobs", "1"][..], form].concat();
        let killed = killed(&logs, &gate, &arguments);
        assert_eq!(sorted(&cat(&logs)), all, "after {most} requests");
        let ran = logs.s3log(&["verify", "access", "--deep"]);
        assert_eq!(ran.code, 0, "after {most} requests: {ran:?}");
        let again = compact(&logs, &arguments);
        assert_eq!(again.code, 0, "{again:?}");
        assert_eq!(sorted(&cat(&logs)), all, "after {most} requests and once more");
        let ran = logs.s3log(&["verify", "access", "--deep"]);
        assert_eq!(ran.code, 0, "after {most} requests and once more: {ran:?}");
        assert_eq!(blocks(&logs), 0, "after {most} requests");
        if !killed {
            assert!(parts(&logs).len() > 2, "{:?}", parts(&logs));
            assert!(gate.count() > 40, "{} requests", gate.count());
            return;
        }
        most += 1;
    }
}

/// A command behind a gate, once the gate is reached, or the command has ended before: whether it is reached.
fn held(logs: &Logs, gate: &CutOff, arguments: &[&str]) -> (Child, bool) {
    let mut child = logs
        .command(&[arguments, &["--endpoint", &gate.endpoint()]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !gate.is_reached() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    (child, gate.is_reached())
}

#[test]
fn blocks_that_are_compacted_and_deleted_while_cat_reads_them_are_read_from_the_objects() {
    let lines = Logs::usual().lines();
    let all = sorted(&lines);
    for (form, step) in [(&["--to", "gzip"][..], 2), (&PARQUET, 5)] {
        let mut most = 0;
        loop {
            let logs = Logs::usual();
            let gate = CutOff::after(most, logs.server.address());
            let (child, reached) = held(&logs, &gate, &["cat", "access", "--jobs", "2"]);
            if reached {
                let ran = compact(&logs, &[form, &["--delete", "--max-bytes", "500B"]].concat());
                assert_eq!((ran.code, blocks(&logs)), (0, 0), "{ran:?}");
                gate.open();
            }
            let ran = Ran::of(&child.wait_with_output().unwrap());
            assert_eq!((ran.code, &*ran.err), (0, ""), "after {most} requests: {ran:?}");
            assert_eq!(sorted(&ran.out), all, "after {most} requests");
            if !reached {
                assert!(most > 10, "{most} requests");
                break;
            }
            most += step;
        }
    }
}

/// What a command that was given room to compact and delete says in the end: lines, sorted; of `ls --json` how many
/// blocks there are and how many records they have, where the rows tell.
fn answer(ran: &Ran) -> Vec<String> {
    let rows: Result<Vec<serde_json::Value>, _> =
        ran.out.lines().map(serde_json::from_str).collect();
    let Ok(rows) = rows else { return sorted(&ran.out).into_iter().map(str::to_owned).collect() };
    let sum = |name: &str, each: u64| -> u64 {
        rows.iter().map(|row| row[name].as_u64().unwrap_or(each)).sum()
    };
    vec![format!("{} blocks", sum("blocks", 1)), format!("{} records", sum("records", 0))]
}

#[test]
fn metadata_of_blocks_that_are_compacted_and_deleted_meanwhile_are_those_of_the_manifest() {
    let since = ["--since", "2026-11-22T10:01:12Z"];
    for arguments in [
        &["ls", "access", "--long", "--json"][..],
        &[&["ls", "access", "--long", "--json"][..], &since].concat(),
        &[&["cat", "access"][..], &since].concat(),
        &["tail", "access", "-n", "7"],
    ] {
        let told = answer(&Logs::usual().s3log(arguments));
        assert!(told.len() > 1, "{told:?}");
        let mut most = 0;
        loop {
            let logs = Logs::usual();
            let gate = CutOff::after(most, logs.server.address());
            let (child, reached) = held(&logs, &gate, arguments);
            if reached {
                let ran = compact(&logs, &["--delete", "--max-bytes", "500B"]);
                assert_eq!((ran.code, blocks(&logs)), (0, 0), "{ran:?}");
                gate.open();
            }
            let ran = Ran::of(&child.wait_with_output().unwrap());
            assert_eq!((ran.code, &*ran.err), (0, ""), "{arguments:?} after {most}: {ran:?}");
            assert_eq!(answer(&ran), told, "{arguments:?} after {most} requests: {}", ran.out);
            if !reached {
                assert!(most > 2, "{most} requests");
                break;
            }
            most += 1;
        }
    }
}

/// 17 blocks in each of three hours, one line each: more than are asked for their metadata at a time.
fn three_hours() -> Logs {
    let mut logs = Logs::start();
    for hour in 0..3 {
        logs.now = START + hour * 3_600;
        (0..17).for_each(|_| drop(logs.block("access", "edge-1", 1, 1)));
    }
    logs
}

/// What a command says when all blocks are compacted and deleted, by a manifest an hour, before it asks for the first
/// block's metadata; and what it has asked for.
fn meanwhile(arguments: &[&str]) -> (Ran, Vec<String>) {
    let logs = three_hours();
    let gate = CutOff::before("HEAD", logs.server.address());
    let (child, reached) = held(&logs, &gate, arguments);
    assert!(reached, "{arguments:?} asks for no metadata");
    for until in ["2026-11-22T11:00:00Z", "2026-11-22T12:00:00Z", UNTIL] {
        let ran = logs.s3log(&["compact", "access", "--delete", "--until", until]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!((blocks(&logs), keys(&logs, &format!("{FOLDER}manifest-")).len()), (0, 3));
    gate.open();
    (Ran::of(&child.wait_with_output().unwrap()), gate.asked())
}

#[test]
fn a_manifest_is_fetched_once_however_many_blocks_are_deleted_meanwhile() {
    let since = ["--since", "2026-11-22T10:01:02Z"];
    let ls = ["ls", "access", "--long", "--json"];
    for arguments in [&["tail", "access", "-n", "40"][..], &[&ls[..], &since].concat()] {
        let told = answer(&three_hours().s3log(arguments));
        let (ran, asked) = meanwhile(arguments);
        assert_eq!((ran.code, &*ran.err), (0, ""), "{arguments:?}: {ran:?}");
        assert_eq!(answer(&ran), told, "{arguments:?}");
        for number in 1..=3 {
            let get = format!("GET /{BUCKET}/{FOLDER}manifest-000{number}.json");
            // A key has an `=`, which a target may have as it is or not.
            let times =
                asked.iter().filter(|line| line.replace("%3D", "=").starts_with(&get)).count();
            assert_eq!(times, 1, "{arguments:?}: {get} in {asked:#?}");
        }
        let mut parts: Vec<_> = asked.iter().filter(|line| line.contains("/part-")).collect();
        parts.sort();
        assert!(parts.windows(2).all(|two| two[0] != two[1]), "{arguments:?}: {parts:#?}");
    }
}

#[test]
fn no_manifest_is_fetched_for_an_unsorted_listing() {
    let arguments =
        ["ls", "access", "--unsorted", "--long", "--json", "--since", "2026-11-22T10:01:02Z"];
    let (ran, asked) = meanwhile(&arguments);
    assert_eq!((ran.code, &*ran.out), (1, ""), "{ran:?}");
    assert!(ran.err.lines().count() > 30, "{}", ran.err);
    assert!(ran.err.lines().all(|line| line.ends_with("no longer in the bucket; skipped")));
    assert!(!asked.iter().any(|line| line.contains("manifest-")), "{asked:#?}");
}

#[test]
fn a_block_that_comes_late_is_compacted_by_the_next_run() {
    let mut logs = Logs::usual();
    assert_eq!(compact(&logs, &["--delete"]).code, 0);
    let now = logs.now;
    logs.now = START + 35;
    logs.block("access", "edge-3", 1, 4);
    logs.now = now;
    assert_complete(&logs);
    let ran = compact(&logs, &["--delete"]);
    assert!(ran.out.contains("1 block of 1 host, 4 records"), "{ran:?}");
    assert_eq!(sorted(&cat(&logs)), sorted(&logs.lines()));
    assert_eq!(blocks(&logs), 0);
    assert_complete(&logs);
    let manifests = |key: &&String| key.contains("/manifest-");
    assert_eq!(keys(&logs, FOLDER).iter().filter(manifests).count(), 2);
}

#[test]
fn each_stretch_of_time_has_objects_of_its_own_and_one_that_is_not_closed_has_none() {
    let mut logs = Logs::usual();
    for hours in [1, 3, 5] {
        logs.now = START + hours * 3600;
        logs.block("access", "edge-1", 2, 3);
    }
    let dry = compact(&logs, &["--dry-run"]);
    assert!(dry.out.contains("access 2026-11-22T13:00:00Z: 1 block"), "{dry:?}");
    assert!(dry.out.contains("14 blocks, "), "{dry:?}");
    assert_eq!(keys(&logs, FOLDER).len(), 0, "nothing is written");
    let ran = compact(&logs, &["--delete"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let folders: Vec<String> =
        parts(&logs).iter().map(|key| key[FOLDER.len()..][..8].into()).collect();
    assert_eq!(folders, ["hour=10/", "hour=11/", "hour=13/"]);
    assert_eq!(blocks(&logs), 1);
    assert_eq!(sorted(&cat(&logs)), sorted(&logs.lines()));
    assert_complete(&logs);
}

#[test]
fn a_block_that_does_not_pass_the_checks_stays_as_it_is_and_is_named() {
    let logs = Logs::usual();
    let victims = [&logs.of("edge-1")[2], &logs.of("edge-2")[4]].map(|block| block.key.clone());
    let (mut bytes, metadata) = logs.get(&victims[0]);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    logs.put(&victims[0], &bytes, &metadata);
    let (bytes, mut metadata) = logs.get(&victims[1]);
    for (name, value) in &mut metadata {
        if name == "records" {
            "9".clone_into(value);
        }
    }
    logs.put(&victims[1], &bytes, &metadata);
    let ran = compact(&logs, &["--delete"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("10 blocks of 2 hosts, 50 records"), "{ran:?}");
    for victim in &victims {
        assert!(ran.err.contains(victim), "{ran:?}");
        assert!(keys(&logs, victim).contains(victim), "{victim} stays");
    }
    let ran = logs.s3log(&["verify", "access", "--deep"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("NOT COMPLETE: 2 findings in 12 blocks"), "{}", ran.out);
}

#[test]
fn encrypted_lines_are_written_unencrypted_only_when_that_is_asked_for() {
    let key = age::x25519::Identity::generate();
    let secret = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
    let recipient = key.to_public().to_string();
    for (words, seal) in [(&["--encrypt-to", &recipient][..], ".age"), (&["--unencrypted"], "")] {
        let mut logs = Logs::start();
        logs.sealing = Some(Sealing::Age(Recipients::read(&recipient).unwrap()));
        for _ in 0..3 {
            logs.block("access", "edge-1", 1, 5);
        }
        let file = logs.path("identity");
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        let identity = ["--identity", file.to_str().unwrap()];

        let ran = compact(&logs, &identity);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("--encrypt-to KEYS, or --unencrypted"), "{ran:?}");
        let ran = compact(&logs, words);
        assert_eq!(ran.code, 1, "without a key nothing can be read: {ran:?}");
        assert_eq!(keys(&logs, FOLDER).len(), 0);

        let ran = compact(&logs, &[&identity[..], words, &["--delete"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(blocks(&logs), 0);
        let ending = format!(".log.zst{seal}");
        assert!(parts(&logs).iter().all(|key| key.ends_with(&ending)), "{:?}", parts(&logs));
        let ran = logs.s3log(&[&["cat", "access"], &identity[..]].concat());
        assert_eq!(ran.out, logs.lines());
        let without = logs.s3log(&["cat", "access"]);
        assert_eq!(without.code == 0, seal.is_empty(), "{without:?}");
        let ran = logs.s3log(&[&["verify", "access", "--deep"], &identity[..]].concat());
        assert!(ran.out.contains("every line is counted"), "{ran:?}");
        let ran = logs.s3log(&["verify", "access", "--deep"]);
        assert_eq!(ran.out.contains("were not counted"), !seal.is_empty(), "{ran:?}");
    }
}

#[test]
fn encrypted_blocks_of_a_stream_whose_name_ends_alike_do_not_end_the_command() {
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    let mut logs = Logs::start();
    logs.settings(&["access", "web-access"]);
    let own = logs.block("access", "edge", 1, 5);
    logs.sealing = Some(Sealing::Age(Recipients::read(&recipient).unwrap()));
    let other = logs.block("web-access", "edge", 1, 5);
    let ran = compact(&logs, &["--dry-run"]);
    assert!(ran.out.contains("access 2026-11-22T10:00:00Z: 1 block, "), "{ran:?}");
    let ran = compact(&logs, &["--delete"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(keys(&logs, "varnish/2026/").into_iter().collect::<Vec<_>>(), [other.key]);
    assert_eq!(cat(&logs), own.lines);
    let ran = logs.s3log(&["compact", "web-access", "--until", UNTIL]);
    assert!(ran.code == 2 && ran.err.contains("--encrypt-to KEYS, or --unencrypted"), "{ran:?}");
}

#[test]
fn an_argument_that_cannot_be_used_is_named_with_what_is_accepted() {
    let logs = Logs::start();
    for (arguments, texts) in [
        (["--to", "snappy"], ["snappy", "parquet:1 to parquet:15"]),
        (["--to", "parquet:16"], ["parquet:16", "parquet:1 to parquet:15"]),
        (["--to", "parquet"], ["stream access", "give --format FORMAT"]),
        (["--to=parquet", "--format=%s %y"], ["stream access: format", "%s >>%y<<"]),
        (["--to=parquet", "--format=constant"], ["stream access: format", "no values"]),
        (
            ["--format=%s", "--to=gzip:5"],
            ["--format \"%s\"", "--to gzip:5 keeps lines as they are"],
        ),
        (["--format=%s", "--jobs=2"], ["--to zstd", "give --to parquet, or no --format"]),
        (["--format=%s", "errors"], ["give --to parquet", "or no --format"]),
        (["--every", "5h"], ["5h", "12h or 24h"]),
        (["--max-bytes", "5GB"], ["5GB", "at most 4GB"]),
        (["--until", "2500-01-01"], ["--until", "in the future"]),
        (["--encrypt-to", "age1x"], ["age1x", "expected age recipients"]),
    ] {
        let ran = logs.s3log(&[&["compact", "access"], &arguments[..]].concat());
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(texts.iter().all(|text| ran.err.contains(text)), "{ran:?}");
    }
}

#[test]
fn one_format_is_not_taken_for_several_streams() {
    let logs = Logs::usual();
    for streams in [&[][..], &["access", "errors"]] {
        let ran = logs.s3log(&[&["compact"], streams, &PARQUET].concat());
        assert_eq!((ran.code, keys(&logs, FOLDER).len()), (2, 0), "{ran:?}");
        let texts = [FORMAT, "there are 2 (access, errors)", "in the settings file"];
        assert!(texts.iter().all(|text| ran.err.contains(text)), "{ran:?}");
    }
    assert_eq!(compact(&logs, &PARQUET).code, 0);
}

/// Peak resident memory of a process while it runs, bytes.
fn peak(command: &mut Command) -> u64 {
    let (code, peak) = watched(command);
    assert_eq!(code, Some(0));
    peak
}

/// A process's exit code and its [`peak`].
fn watched(command: &mut Command) -> (Option<i32>, u64) {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().unwrap());
        peak = peak.max(now << 10);
        std::thread::sleep(Duration::from_millis(2));
    }
    (child.wait().unwrap().code(), peak)
}

#[test]
fn memory_does_not_grow_with_the_size_of_a_block_or_an_object() {
    /// What src/cli/compact/mod.rs says.
    const MOST: u64 = 256 << 20;
    let mut logs = Logs::start();
    // Lines that do not compress: blocks larger than what is held of one in memory.
    let mut random = fastrand::Rng::with_seed(7);
    let mut chunk = |_| -> String {
        let line = |_| (0..100).map(|_| random.alphanumeric()).chain(['\n']).collect::<String>();
        (0..10_000).map(line).collect()
    };
    logs.codec = Codec::Gzip(1);
    let chunks: Vec<String> = (0..20).map(&mut chunk).collect();
    for host in ["edge-1", "edge-2", "edge-3", "edge-4"] {
        logs.chunks("access", host, 1, &chunks);
    }
    let temporary = logs.path("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let arguments =
        ["compact", "access", "--until", UNTIL, "--to", "gzip:1", "--jobs", "4", "--temp-dir"];
    let peak = peak(logs.command(&arguments).arg(&temporary));
    let sizes = parts(&logs)
        .into_iter()
        .map(|key| std::fs::metadata(logs.server.root().join(BUCKET).join(key)).unwrap().len());
    let size: u64 = sizes.sum();
    eprintln!("{} MiB in objects, {} MiB resident", size >> 20, peak >> 20);
    assert!(size > 48 << 20, "{size}");
    assert!(peak < MOST, "{peak}");
    // 80 MB of lines in blocks of 15 MiB: held, they would be there four times over.
    assert!(peak < 100 << 20, "{peak}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    assert_eq!(logs.s3log(&["verify", "access", "--deep"]).code, 0);
}

/// The words of the command that an example runs once an hour, without the program.
fn example(text: &str) -> Vec<String> {
    let command = match text.split_once("ExecStart=/usr/bin/s3log ") {
        Some((_, rest)) => rest.split_once("\n#").unwrap().0.replace("\\\n", " "),
        None => {
            let (_, rest) = text.split_once("command: [\"s3log\", ").unwrap();
            rest.split_once(']').unwrap().0.replace([',', '"'], " ")
        }
    };
    command.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_commands_of_the_examples_make_lines_and_as_they_say_columns() {
    for text in [
        include_str!("../../examples/s3log-compact.service"),
        include_str!("../../examples/s3log-compact.yaml"),
    ] {
        assert!(
            text.contains("--to parquet,") || text.contains("\"--to\", \"parquet\","),
            "{text}"
        );
        for (more, ending) in [(&[][..], ".log.zst"), (&["--to", "parquet"], ".parquet")] {
            let logs = Logs::usual();
            logs.settings(&["access"]);
            let settings = logs.path("s3log.toml");
            let table = std::fs::read_to_string(&settings).unwrap();
            let table =
                table.replacen("[access]\n", &format!("[access]\nformat = '{FORMAT}'\n"), 1);
            std::fs::write(&settings, table).unwrap();
            let here = |word: String| match &*word {
                // The blocks are older than that.
                "2d" => "2026-11-22T00:00:00Z".to_owned(),
                "/etc/s3log/compact.toml" => settings.to_str().unwrap().to_owned(),
                "${CREDENTIALS_DIRECTORY}/credentials" => {
                    logs.path("credentials").to_str().unwrap().to_owned()
                }
                "/work" => logs.directory.path().to_str().unwrap().to_owned(),
                _ => word,
            };
            let words: Vec<String> = example(text).into_iter().map(here).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ran = logs.s3log(&[&words[..], more].concat());
            assert_eq!((ran.code, blocks(&logs)), (0, 0), "{words:?}: {ran:?}");
            let [part] = &parts(&logs)[..] else { panic!("{:?}", parts(&logs)) };
            assert!(part.ends_with(ending), "{part}");
        }
    }
}

#[test]
fn lines_that_are_not_of_the_format_are_counted_and_kept() {
    let mut logs = Logs::usual();
    let odd = ["edge-1 access boot x time y line z\n", "\n", "{\"a\":1}\n"];
    logs.chunks("access", "edge-1", 2, odd);
    let before = cat(&logs);
    let ran = compact(&logs, &[&PARQUET[..], &["--delete"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("; 3 lines not of the format, in s3log_raw"), "{}", ran.out);
    let (manifest, _) = logs.get(&format!("{FOLDER}manifest-0001.json"));
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["parts"][0]["unparsed"], 3);
    assert_eq!(cat(&logs), before);
    let ran = logs.s3log(&["verify", "access", "--deep"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_block_with_more_lines_or_longer_ones_than_any_of_ours_stays_as_it_is_and_is_named() {
    for (form, endless) in [(&["--to", "zstd"][..], false), (&PARQUET, false), (&PARQUET, true)] {
        let mut logs = Logs::usual();
        // 96 MiB without a newline that are some KB as they are stored.
        let text = "x".repeat(96 << 20);
        let (victim, mut meta) = logs.chunks(
            "access",
            "edge-1",
            2,
            [
                &*text, "
",
            ],
        );
        drop(text);
        let (bytes, _) = logs.get(&victim);
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        if !endless {
            meta.raw_bytes = 100;
            logs.put(&victim, &bytes, &crate::common::logs::pairs(&meta));
        }
        let arguments = ["compact", "access", "--until", UNTIL, "--delete"];
        let errors = std::fs::File::create(logs.path("errors")).unwrap();
        let (code, peak) = watched(logs.command(&[&arguments[..], form].concat()).stderr(errors));
        let said = std::fs::read_to_string(logs.path("errors")).unwrap();
        assert_eq!(code, Some(1), "{said}");
        let why =
            if endless { "a line has more than 1048576 bytes" } else { "but the block has more" };
        assert!(said.contains(&victim) && said.contains(why), "{said}");
        assert!(keys(&logs, &victim).contains(&victim), "it stays");
        assert!(peak < 96 << 20, "{} MiB", peak >> 20);
    }
}

#[test]
fn encrypted_blocks_become_parquet_only_when_they_may_be_unencrypted() {
    let key = age::x25519::Identity::generate();
    let secret = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
    let recipient = key.to_public().to_string();
    let mut logs = Logs::start();
    logs.sealing = Some(Sealing::Age(Recipients::read(&recipient).unwrap()));
    logs.block("access", "edge-1", 1, 5);
    let file = logs.path("identity");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let identity = [&PARQUET[..], &["--identity", file.to_str().unwrap()]].concat();
    let ran = compact(&logs, &identity);
    assert!(ran.code == 2 && ran.err.contains("--unencrypted"), "{ran:?}");
    let ran = compact(&logs, &[&identity[..], &["--encrypt-to", &recipient]].concat());
    assert!(ran.code == 2 && ran.err.contains("no query engine could read it"), "{ran:?}");
    let ran = compact(&logs, &[&identity[..], &["--unencrypted", "--delete"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(cat(&logs), logs.lines());
}

#[test]
fn memory_does_not_grow_with_the_size_of_a_parquet_object() {
    let mut logs = Logs::start();
    let mut random = fastrand::Rng::with_seed(7);
    let mut chunk = |number: u64| -> String {
        let mut line = |n: u64| {
            let text: String = (0..60).map(|_| random.alphanumeric()).collect();
            format!("edge access boot {number} time {} line {text}\n", START + n % 3_000)
        };
        (0..10_000).map(&mut line).collect()
    };
    logs.codec = Codec::Gzip(1);
    let chunks: Vec<String> = (0..16).map(&mut chunk).collect();
    for host in ["edge-1", "edge-2", "edge-3", "edge-4"] {
        logs.chunks("access", host, 1, &chunks);
    }
    let arguments = ["compact", "access", "--until", UNTIL, "--jobs", "4"];
    let written = peak(&mut logs.command(&[&arguments[..], &PARQUET].concat()));
    let size = |key| std::fs::metadata(logs.server.root().join(BUCKET).join(key)).unwrap().len();
    let sizes: u64 = parts(&logs).into_iter().map(size).sum();
    // How many objects are read at a time is up to the machine where several may be.
    let read = peak(&mut logs.command(&["cat", "access", "--jobs", "1"]));
    let verified = peak(&mut logs.command(&["verify", "access", "--deep", "--jobs", "1"]));
    let [written, read, verified] = [written, read, verified].map(|bytes| bytes >> 20);
    eprintln!("{} MiB in objects; resident {written}, {read} and {verified} MiB", sizes >> 20);
    assert!(sizes > 25 << 20, "{sizes}");
    // What src/cli/compact/mod.rs says, and a row group of 24 MiB for readers.
    assert!(written < 256 && read < 128 && verified < 128, "{written}, {read}, {verified}");

    // Of one block, only the row groups that have lines of it are fetched.
    let asked = |arguments: &[&str]| {
        let gate = CutOff::after(u64::MAX, logs.server.address());
        let ran =
            logs.s3log(&[&["cat", "access", "--endpoint", &gate.endpoint()], arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        (ran.out, gate.count())
    };
    let (all, of_all) = asked(&[]);
    let (one, of_one) = asked(&["--host", "edge-3"]);
    assert!(all.len() == 4 * one.len() && one == chunks.concat(), "{} bytes", one.len());
    eprintln!("{of_all} requests for all lines, {of_one} for those of a block");
    assert!(of_one + 2 <= of_all, "{of_one} requests of {of_all}");
}
