//! What a start makes of a directory that a crash, a power cut or a person has left, and what the
//! spool does when the file system refuses.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;

use crate::common::sim::Sim;
use vmod_s3log::block::{BootId, ChunkEncoder, Codec, Decoder, Drops, Meta};
use vmod_s3log::pipeline::ledger::Ledger;
use vmod_s3log::ring::{Backing, Capacity, Ring};
use vmod_s3log::spool::{
    ChunkStats, Files, OnSpoolFull, Options, Payload, Recovered, Spool, SpoolError, SyncPolicy,
};

pub(crate) fn options() -> Options {
    Options::new("access", "node-1", BootId::new(1_800_000_000, 1))
}

/// Whether room is what the spool lacks: its own limit, or the disk's.
fn is_full(error: &SpoolError) -> bool {
    match error {
        SpoolError::Full { .. } => true,
        SpoolError::Io { source, .. } => source.kind() == ErrorKind::StorageFull,
        _ => false,
    }
}

pub(crate) fn open_with(
    sim: &Arc<Sim>,
    options: Options,
    last: Option<&[u8]>,
) -> (Spool, Recovered) {
    sim.restart();
    Spool::open(Arc::clone(sim) as Arc<dyn Files>, options, last).unwrap()
}

pub(crate) fn open(sim: &Arc<Sim>, last: Option<&Payload>) -> (Spool, Recovered) {
    open_with(sim, options(), last.map(Payload::as_bytes))
}

fn chunk(lines: &[&str]) -> (Vec<u8>, ChunkStats) {
    let raw: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut bytes = Vec::new();
    ChunkEncoder::new(Codec::default()).unwrap().encode(raw.as_bytes(), &mut bytes).unwrap();
    let stats = ChunkStats {
        records: lines.len() as u64,
        raw_bytes: raw.len() as u64,
        first: 1_800_000_000_000_000_000,
        last: 1_800_000_001_000_000_000,
        cut: 0,
    };
    (bytes, stats)
}

pub(crate) fn append(spool: &mut Spool, lines: &[&str]) -> Payload {
    let (bytes, stats) = chunk(lines);
    spool.append(&bytes, stats).unwrap()
}

pub(crate) fn seal(spool: &mut Spool) -> (Meta, Payload) {
    let (sealed, payload) = spool.seal(&Drops::default()).unwrap().unwrap();
    (sealed.meta, payload)
}

pub(crate) fn text(spool: &Spool, number: u64) -> String {
    let block = spool.store().open_block(number).unwrap();
    let mut text = String::new();
    Decoder::new(block.content, block.meta.codec).unwrap().read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn overwrite(sim: &Sim, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = sim.contents(name).unwrap();
    change(&mut bytes);
    sim.create(name, &bytes).unwrap();
}

/// Two sealed blocks and an open one of two chunks.
pub(crate) fn three(sim: &Arc<Sim>) -> Payload {
    let (mut spool, _) = open(sim, None);
    append(&mut spool, &["a", "b"]);
    seal(&mut spool);
    append(&mut spool, &["c"]);
    seal(&mut spool);
    append(&mut spool, &["d", "e"]);
    append(&mut spool, &["f"])
}

#[test]
fn a_clean_start_finds_what_was_there_and_changes_nothing() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    let before = sim.names("");
    sim.take_log();
    let (spool, recovered) = open(&sim, Some(&last));
    // What a start before this one may have undone does not come back.
    assert_eq!(sim.take_log(), ["sync 0000000003.data", "sync the directory"]);
    assert_eq!(sim.names(""), before);
    assert_eq!(recovered.payload, last);
    assert_eq!((recovered.counts.sealed.blocks, recovered.counts.sealed.records), (2, 3));
    assert_eq!((recovered.open_records, spool.open_number()), (3, 3));
    assert_eq!(spool.open_since(), Some(1_800_000_000_000_000_000));
    assert_eq!(recovered.counts.oldest, Some(1_800_000_000_000_000_000));
    assert_eq!((text(&spool, 1), text(&spool, 2)), ("a\nb\n".into(), "c\n".into()));
}

#[test]
fn the_order_of_operations_is_that_of_the_documentation() {
    let sim = Arc::new(Sim::new());
    let (bytes, _) = chunk(&["a"]);
    let mut small = options();
    small.spool_max = 3 * bytes.len() as u64;
    let (mut spool, _) = open_with(&sim, small, None);
    let opened = ["create format.new", "rename format.new format", "sync the directory"];
    assert_eq!(sim.take_log(), opened);
    append(&mut spool, &["a"]);
    assert_eq!(sim.take_log(), ["create 0000000001.data"]);
    append(&mut spool, &["b"]);
    assert_eq!(sim.take_log(), ["append 0000000001.data"]);
    seal(&mut spool);
    assert_eq!(
        sim.take_log(),
        [
            "sync 0000000001.data",
            "create 0000000001.new",
            "sync 0000000001.new",
            "rename 0000000001.new 0000000001.json",
            "sync the directory"
        ]
    );
    spool.store().uploaded(1).unwrap();
    let uploaded = ["rename 0000000001.json 0000000001.done", "remove 0000000001.data"];
    assert_eq!(sim.take_log(), uploaded);
    for line in ["c", "d", "e"] {
        append(&mut spool, &[line]);
        seal(&mut spool);
    }
    sim.take_log();
    append(&mut spool, &["f"]);
    assert_eq!(
        sim.take_log(),
        [
            "rename 0000000002.json 0000000001-0000000002.dropped",
            "remove 0000000002.data",
            "create 0000000005.data"
        ]
    );
    seal(&mut spool);
    let log = sim.take_log();
    let retired =
        ["rename 0000000001-0000000002.dropped 0000000002.done", "remove 0000000001.done"];
    assert_eq!(log[..2], retired, "the count is committed, and the newest that is gone stays");
    spool.store().quarantine(3, "refused").unwrap();
    assert_eq!(
        sim.take_log(),
        [
            "create quarantine/0000000003.reason",
            "rename 0000000003.json quarantine/0000000003.json",
            "rename 0000000003.data quarantine/0000000003.data"
        ]
    );
}

#[test]
fn without_sync_a_seal_is_two_operations() {
    let sim = Arc::new(Sim::new());
    let mut lazy = options();
    lazy.sync = SyncPolicy::None;
    let (mut spool, _) = open_with(&sim, lazy, None);
    append(&mut spool, &["a"]);
    sim.take_log();
    seal(&mut spool);
    let log = ["create 0000000001.new", "rename 0000000001.new 0000000001.json"];
    assert_eq!(sim.take_log(), log);
}

#[test]
fn blocks_are_claimed_oldest_first_and_once() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    let (spool, _) = open(&sim, Some(&last));
    let store = spool.store();
    assert_eq!(
        (store.claim(Duration::ZERO), store.claim(Duration::ZERO), store.claim(Duration::ZERO)),
        (Some(1), Some(2), None)
    );
    store.release(1);
    assert_eq!(store.claim(Duration::ZERO), Some(1));
    store.uploaded(2).unwrap();
    store.uploaded(1).unwrap();
    assert_eq!(store.counts().uploaded.records, 3);
    assert_eq!(sim.names(""), ["0000000002.done", "0000000003.data", "format"]);
}

#[test]
fn a_torn_sidecar_is_set_aside_and_made_anew_from_the_members() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    overwrite(&sim, "0000000001.json", |bytes| bytes.truncate(100));
    let (spool, recovered) = open(&sim, Some(&last));
    assert_eq!(recovered.rebuilt, [1]);
    assert_eq!(recovered.set_aside, ["foreign/0000000001.json"]);
    assert_eq!(recovered.counts.sealed.records, 3);
    assert_eq!(text(&spool, 1), "a\nb\n");
    let (first, second) =
        (spool.store().open_block(1).unwrap().meta, spool.store().open_block(2).unwrap().meta);
    assert_eq!(second.previous, Some(first.sha256), "the chain holds");
}

#[test]
fn a_torn_sidecar_of_a_block_that_the_ring_calls_open_leaves_it_open() {
    let sim = Arc::new(Sim::new());
    let (mut spool, _) = open(&sim, None);
    let last = append(&mut spool, &["a"]);
    seal(&mut spool);
    overwrite(&sim, "0000000001.json", |bytes| bytes.fill(0));
    let (mut spool, recovered) = open(&sim, Some(&last));
    assert_eq!((recovered.open_records, recovered.counts.sealed.blocks), (1, 0));
    append(&mut spool, &["b"]);
    assert_eq!(seal(&mut spool).0.records, 2);
    assert_eq!(text(&spool, 1), "a\nb\n");
}

#[test]
fn a_foreign_file_is_set_aside_under_a_free_name_and_nothing_else_is_touched() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    for (name, bytes) in [("notes.txt", "mine"), ("1.data", "x"), ("ring", "r"), ("lock", "l")] {
        sim.create(name, bytes.as_bytes()).unwrap();
    }
    sim.create("foreign/notes.txt", b"older").unwrap();
    let (_, recovered) = open(&sim, Some(&last));
    assert_eq!(recovered.set_aside, ["foreign/1.data", "foreign/notes.txt.1"]);
    assert_eq!(sim.contents("foreign/notes.txt").unwrap(), b"older");
    assert_eq!(sim.contents("foreign/notes.txt.1").unwrap(), b"mine");
    assert!(sim.contents("ring").is_some() && sim.contents("lock").is_some());
    assert_eq!(recovered.counts.sealed.blocks, 2);
}

#[test]
fn a_file_whose_number_none_can_follow_is_foreign() {
    let highest = u64::MAX;
    let names: Vec<String> = ["data", "done", "held", "hold", "json", "sealed"]
        .iter()
        .map(|end| format!("{highest}.{end}"))
        .chain([format!("{highest}-0000000001.dropped"), format!("0000000001-{highest}.lost")])
        .collect();
    for with_ring in [true, false] {
        for name in &names {
            let sim = Arc::new(Sim::new());
            let last = three(&sim);
            sim.place(name, b"x");
            let (mut spool, found) = open(&sim, Some(&last).filter(|_| with_ring));
            assert_eq!(found.set_aside, [format!("foreign/{name}")]);
            append(&mut spool, &["g"]);
            let number = if with_ring { 3 } else { 4 };
            assert_eq!((seal(&mut spool).0.number, spool.open_number()), (number, number + 1));
        }
    }
}

#[test]
fn a_spool_of_a_newer_or_an_older_release_is_refused_and_left_as_it_is() {
    for (version, name) in [("2", "newer"), ("0", "older")] {
        let sim = Arc::new(Sim::new());
        let last = three(&sim);
        sim.create("format", format!("s3log spool {version}\n").as_bytes()).unwrap();
        sim.restart();
        let files = Arc::clone(&sim) as Arc<dyn Files>;
        let error = Spool::open(files, options(), Some(last.as_bytes())).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the spool's format has format {version} and this release reads format 1: run the \
                 release that wrote it, or drain it with that release's s3log"
            ),
            "{name}"
        );
        assert_eq!(sim.operations(), 0);
    }
}

#[test]
fn a_sidecar_or_a_payload_of_a_newer_release_is_refused() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    let mut newer = last.as_bytes().to_vec();
    newer[0] = 3;
    let files = || Arc::clone(&sim) as Arc<dyn Files>;
    let error = Spool::open(files(), options(), Some(&newer)).unwrap_err();
    assert!(matches!(error, SpoolError::Version { found: 3, .. }), "{error}");
    overwrite(&sim, "0000000002.json", |bytes| {
        let line = String::from_utf8(bytes.clone()).unwrap();
        let line = line.lines().next().unwrap().replacen("\"format\":1", "\"format\":2", 1);
        let check = crc32c::crc32c(line.as_bytes());
        *bytes = format!("{line}\n\"crc32c:{check:08x}\"\n").into_bytes();
    });
    let error = Spool::open(files(), options(), Some(last.as_bytes())).unwrap_err();
    assert!(error.to_string().contains("0000000002.json has format 2"), "{error}");
}

#[test]
fn a_sealed_block_without_its_data_is_counted_as_lost_once() {
    let sim = Arc::new(Sim::new());
    let mut last = three(&sim);
    sim.remove("0000000001.data").unwrap();
    for _ in 0..2 {
        // The second time as if the first start was killed before it committed.
        let (spool, recovered) = open(&sim, Some(&last));
        assert_eq!(recovered.counts.lost.records, 2);
        assert_eq!(spool.pending_drops(), Drops { lost: 2, ..Drops::default() });
        assert_eq!(recovered.counts.sealed.blocks, 1);
    }
    let (_, recovered) = open(&sim, Some(&last));
    last = recovered.payload;
    let (mut spool, recovered) = open(&sim, Some(&last));
    assert_eq!(recovered.counts.lost.records, 0);
    append(&mut spool, &["g"]);
    let (meta, _) = seal(&mut spool);
    assert_eq!(meta.dropped, Drops { lost: 2, ..Drops::default() });
    assert!(!sim.names("").iter().any(|name| name.ends_with(".lost")), "{:?}", sim.names(""));
}

#[test]
fn a_sealed_block_of_another_length_goes_to_quarantine() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    overwrite(&sim, "0000000002.data", |bytes| bytes.truncate(3));
    let (_, recovered) = open(&sim, Some(&last));
    assert_eq!((recovered.counts.sealed.blocks, recovered.counts.quarantined.blocks), (1, 1));
    let reason = sim.contents("quarantine/0000000002.reason").unwrap();
    let reason = String::from_utf8(reason).unwrap();
    let length = reason.strip_prefix("the file has 3 bytes and was sealed with ");
    assert!(length.is_some_and(|length| length.parse::<u64>().is_ok()), "{reason}");
    assert_eq!(sim.contents("quarantine/0000000002.data").unwrap().len(), 3);
}

#[test]
fn a_torn_tail_of_the_open_block_costs_only_the_torn_member() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    let whole = sim.contents("0000000003.data").unwrap();
    for damage in [0, 1, 2] {
        overwrite(&sim, "0000000003.data", |bytes| {
            bytes.clone_from(&whole);
            let at = bytes.len() - 5;
            match damage {
                0 => bytes.truncate(at),
                1 => bytes[at..].fill(0),
                _ => bytes.extend_from_slice(&[0; 4096]),
            }
        });
        let lost = u64::from(damage < 2);
        for _ in 0..2 {
            let (spool, recovered) = open(&sim, Some(&last));
            assert_eq!((recovered.open_records, recovered.counts.lost.records), (3 - lost, lost));
            assert_eq!(spool.pending_drops().lost, lost);
        }
        let aside = sim.contents("foreign/0000000003.data");
        assert_eq!(aside.is_some(), damage < 2);
        if damage < 2 {
            sim.remove("foreign/0000000003.data").unwrap();
        }
    }
    let (mut spool, _) = open(&sim, Some(&last));
    seal(&mut spool);
    assert_eq!(text(&spool, 3), "d\ne\nf\n");
}

#[test]
fn a_zeroed_first_page_of_the_open_block_loses_it_and_the_stream_goes_on() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    overwrite(&sim, "0000000003.data", |bytes| bytes.fill(0));
    let (mut spool, recovered) = open(&sim, Some(&last));
    assert_eq!((recovered.open_records, recovered.counts.lost.records), (0, 3));
    assert_eq!(recovered.set_aside, ["foreign/0000000003.data"]);
    append(&mut spool, &["g"]);
    let (meta, _) = seal(&mut spool);
    assert_eq!((meta.number, meta.records, meta.dropped.lost), (3, 1, 3));
    assert_eq!(text(&spool, 3), "g\n");
}

#[test]
fn a_block_of_which_nothing_is_left_counts_as_one_record_and_no_other_has_its_number() {
    for with_ring in [true, false] {
        for number in [2, 3] {
            let sim = Arc::new(Sim::new());
            let last = three(&sim);
            let _ = sim.remove(&format!("{number:010}.json"));
            let name = format!("{number:010}.data");
            overwrite(&sim, &name, |bytes| bytes.fill(0));
            let (mut spool, found) = open(&sim, Some(&last).filter(|_| with_ring));
            // What the ring tells of the open block is better known.
            let lost = if with_ring && number == 3 { 3 } else { 1 };
            assert_eq!(found.counts.lost.records, lost, "{number}");
            assert_eq!(found.set_aside, [format!("foreign/{name}")]);
            append(&mut spool, &["g"]);
            let (meta, _) = seal(&mut spool);
            assert_eq!(meta.dropped.lost, lost);
            assert_eq!(meta.number, if with_ring { 3 } else { 4 });
        }
    }
}

#[test]
fn a_new_ring_beside_an_old_spool_keeps_the_members_of_the_open_block() {
    let sim = Arc::new(Sim::new());
    three(&sim);
    overwrite(&sim, "0000000003.data", |bytes| bytes.extend_from_slice(b"\x1f\x8btorn"));
    for payload in [None, Some(&[1; 232][..])] {
        let (spool, recovered) = open_with(&sim, options(), payload);
        assert_eq!(recovered.counts.sealed.records, 6);
        assert_eq!(text(&spool, 3), "d\ne\nf\n");
        assert_eq!(spool.open_number(), 4);
        assert_eq!(recovered.stale_payload, payload.is_some());
        let store = spool.store();
        let metas: Vec<Meta> =
            store.sealed().iter().map(|n| store.open_block(*n).unwrap().meta).collect();
        assert_eq!(metas[2].previous, Some(metas[1].sha256));
    }
}

#[test]
fn the_chain_and_the_numbers_go_on_after_everything_was_uploaded_and_the_ring_was_lost() {
    let sim = Arc::new(Sim::new());
    let (mut spool, _) = open(&sim, None);
    append(&mut spool, &["a"]);
    let (first, _) = seal(&mut spool);
    spool.store().uploaded(1).unwrap();
    let (mut spool, _) = open(&sim, None);
    append(&mut spool, &["b"]);
    let (second, _) = seal(&mut spool);
    assert_eq!((second.number, second.previous), (2, Some(first.sha256)));
}

#[test]
fn another_codec_after_a_restart_starts_another_block() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    let mut zstd = options();
    zstd.codec = vmod_s3log::block::Kind::Zstd;
    let (spool, recovered) = open_with(&sim, zstd, Some(last.as_bytes()));
    assert_eq!((recovered.counts.sealed.blocks, recovered.open_records), (3, 0));
    assert_eq!((text(&spool, 3), spool.open_number()), ("d\ne\nf\n".into(), 4));
    // Killed before the new payload was committed.
    let (spool, recovered) = open(&sim, Some(&last));
    assert_eq!((recovered.counts.sealed.blocks, spool.open_number()), (3, 4));
    assert!(!recovered.stale_payload);
}

#[test]
fn another_codec_on_a_full_disk_starts_and_seals_later() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    sim.restart();
    // Both syncs, the copy that makes the first one good, and its second try.
    sim.fail_in(0, 4, ErrorKind::StorageFull);
    let mut zstd = options();
    zstd.codec = vmod_s3log::block::Kind::Zstd;
    let files = Arc::clone(&sim) as Arc<dyn Files>;
    let (mut spool, recovered) = Spool::open(files, zstd, Some(last.as_bytes())).unwrap();
    assert_eq!((recovered.counts.sealed.blocks, recovered.open_records), (2, 3));
    let (_, stats) = chunk(&["g"]);
    let mut member = Vec::new();
    ChunkEncoder::new(Codec::Zstd(3)).unwrap().encode(b"g\n", &mut member).unwrap();
    spool.append(&member, stats).unwrap();
    seal(&mut spool);
    assert_eq!((text(&spool, 3), text(&spool, 4)), ("d\ne\nf\n".into(), "g\n".into()));
}

#[test]
fn a_torn_open_block_that_a_full_disk_has_no_room_to_mend_keeps_no_other_back_and_is_sent_later() {
    for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        let sim = Arc::new(Sim::new());
        let last = three(&sim);
        overwrite(&sim, "0000000003.data", |bytes| bytes.truncate(bytes.len() - 5));
        sim.restart();
        sim.fail_in(0, 1, kind);
        let files = Arc::clone(&sim) as Arc<dyn Files>;
        let (mut spool, found) = Spool::open(files, options(), Some(last.as_bytes())).unwrap();
        assert_eq!((found.counts.sealed.blocks, found.open_records), (2, 0), "{kind}");
        assert_eq!((found.not_mended, found.counts.lost.records), (vec![3], 1));
        append(&mut spool, &["g"]);
        let (meta, payload) = seal(&mut spool);
        assert_eq!((meta.number, meta.dropped.lost), (4, 1));
        // There is room again.
        let (spool, found) = open(&sim, Some(&payload));
        assert_eq!((found.rebuilt, found.not_mended), (vec![3], vec![]));
        assert_eq!((spool.store().sealed(), text(&spool, 3)), (vec![1, 2, 3, 4], "d\ne\n".into()));
        assert_eq!(found.counts.lost.records, 0, "it was counted");
    }
    // What may be to be encrypted is left to a start that knows it from the mark.
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    overwrite(&sim, "0000000003.data", |bytes| bytes.truncate(bytes.len() - 5));
    sim.place("secret", &[]);
    sim.restart();
    sim.fail_in(0, 1, ErrorKind::StorageFull);
    let files = Arc::clone(&sim) as Arc<dyn Files>;
    let (_, found) = Spool::open(files, options(), Some(last.as_bytes())).unwrap();
    assert_eq!(found.not_mended, [3]);
    let (_, found) = open(&sim, Some(&found.payload));
    assert_eq!((found.counts.sealed.blocks, found.counts.held.records), (2, 2));
}

#[test]
fn a_block_whose_description_a_full_disk_has_no_room_for_keeps_no_other_back_and_is_sent_later() {
    let mut left = 0;
    for operation in 0..5 {
        let sim = Arc::new(Sim::new());
        let last = three(&sim);
        overwrite(&sim, "0000000002.json", |bytes| bytes.truncate(9));
        sim.restart();
        sim.fail_in(operation, 1, ErrorKind::StorageFull);
        let files = Arc::clone(&sim) as Arc<dyn Files>;
        let (spool, found) = Spool::open(files, options(), Some(last.as_bytes())).unwrap();
        assert_eq!((spool.open_number(), found.open_records), (3, 3), "{operation}");
        assert!(spool.store().sealed().contains(&1));
        left += found.not_mended.len();
        let (spool, found) = open(&sim, Some(&last));
        assert_eq!((spool.store().sealed(), found.not_mended), (vec![1, 2], vec![]));
        assert_eq!(text(&spool, 2), "c\n");
    }
    assert!(left > 1, "{left}");
}

#[test]
fn a_block_set_aside_for_a_key_whose_directory_cannot_be_synced_is_open_and_set_aside_by_the_next_try()
 {
    let sim = Arc::new(Sim::new());
    let (mut spool, _) = open(&sim, None);
    append(&mut spool, &["a"]);
    // After the description, its sync and its name, the sync of the members and their new name.
    sim.fail_in(5, 2, ErrorKind::Other);
    spool.hold().unwrap_err();
    assert_eq!((spool.open_records(), sim.contents("0000000001.hold")), (1, None));
    // A power cut must not bring the other name back for what is appended to it.
    sim.take_log();
    append(&mut spool, &["b"]);
    assert_eq!(sim.take_log(), ["sync the directory", "append 0000000001.data"]);
    let payload = spool.hold().unwrap().unwrap();
    assert_eq!((spool.open_records(), spool.store().counts().held.records), (0, 2));
    let (_, found) = open(&sim, Some(&payload));
    assert_eq!((found.counts.held.records, found.counts.lost.records), (2, 0));
}

#[test]
fn records_in_hand_stay_in_the_ring_while_a_block_of_another_codec_is_sealed_before_them() {
    for operation in 0..12 {
        let sim = Arc::new(Sim::new());
        let last = three(&sim);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ring");
        let opened = Ring::open(Backing::File(&path), Capacity::MIN).unwrap();
        let (ring, mut reader) = (opened.ring, opened.reader);
        reader.commit(last.as_bytes()).unwrap();
        sim.restart();
        // The start cannot seal it.
        sim.fail_in(0, 1, ErrorKind::StorageFull);
        let other =
            Options { codec: vmod_s3log::block::Kind::Zstd, sync: SyncPolicy::None, ..options() };
        let files = Arc::clone(&sim) as Arc<dyn Files>;
        let (spool, found) = Spool::open(files, other, Some(last.as_bytes())).unwrap();
        assert_eq!(found.open_records, 3);
        ring.push(b"g\n").unwrap();
        assert!(reader.next().is_some());
        let mut ledger = Ledger::new(reader, spool);
        let (_, stats) = chunk(&["g"]);
        let mut member = Vec::new();
        ChunkEncoder::new(Codec::Zstd(3)).unwrap().encode(b"g\n", &mut member).unwrap();
        sim.restart();
        sim.fail_in(operation, 1, ErrorKind::StorageFull);
        let appended = ledger.append(&member, stats).is_ok();
        drop((ledger, ring));
        let left = Ring::open(Backing::File(&path), Capacity::MIN).unwrap().recovered.records;
        assert_eq!(left, u64::from(!appended), "operation {operation}");
    }
}

#[test]
fn what_a_failed_append_has_left_is_off_the_disk_before_another_chunk_takes_its_place() {
    let sim = Arc::new(Sim::new());
    let (mut spool, _) = open(&sim, None);
    append(&mut spool, &["a"]);
    let (bytes, stats) = chunk(&["b", "c"]);
    sim.take_log();
    sim.fail_in(0, 1, ErrorKind::StorageFull);
    spool.append(&bytes, stats).unwrap_err();
    append(&mut spool, &["d"]);
    let (data, length) = ("0000000001.data", spool.open_len());
    let written = format!("append {data}");
    let log = sim.take_log();
    assert!(log[1].starts_with("truncate"), "{log:?}");
    assert_eq!([&log[0], &log[2], &log[3]], [&written, &format!("sync {data}"), &written]);
    // The kernel takes what it could not write for written: into another file.
    spool.distrust();
    sim.fail_in(1, 1, ErrorKind::Other);
    append(&mut spool, &["e"]);
    assert_eq!(
        sim.take_log(),
        [
            &format!("truncate {data} {length}"),
            &format!("sync {data}"),
            "create 0000000001.new",
            "append 0000000001.new",
            "sync 0000000001.new",
            "rename 0000000001.new 0000000001.data",
            "sync the directory",
            &written,
        ]
    );
    assert_eq!(spool.open_records(), 3);
}

#[test]
fn a_block_begun_in_one_boot_keeps_its_name_in_the_next() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    let next = Options::new("access", "node-1", BootId::new(1_800_000_099, 2));
    let (mut spool, _) = open_with(&sim, next, Some(last.as_bytes()));
    assert_eq!(seal(&mut spool).0.boot, BootId::new(1_800_000_000, 1));
    append(&mut spool, &["g"]);
    assert_eq!(seal(&mut spool).0.boot, BootId::new(1_800_000_099, 2));
}

#[test]
fn a_full_or_broken_disk_leaves_the_block_as_it_was_and_says_so() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::ReadOnlyFilesystem] {
        // How long the fault lasts: the write alone, the healing too, the next call too.
        for count in 1..6 {
            let sim = Arc::new(Sim::new());
            let (mut spool, _) = open(&sim, None);
            append(&mut spool, &["a"]);
            let length = spool.open_len();
            sim.fail_in(0, count, kind);
            let (bytes, stats) = chunk(&["b", "c"]);
            let mut failures = 0;
            let last = loop {
                match spool.append(&bytes, stats) {
                    Ok(payload) => break payload,
                    Err(error) => {
                        assert_eq!(is_full(&error), kind == ErrorKind::StorageFull, "{error}");
                        assert!(error.to_string().contains("0000000001.data"), "{error}");
                        assert_eq!((spool.open_len(), spool.open_records()), (length, 1));
                        failures += 1;
                    }
                }
            };
            assert!((1..=count).contains(&failures));
            let (mut spool, recovered) = open(&sim, Some(&last));
            assert_eq!((recovered.open_records, recovered.uncommitted_bytes), (3, 0));
            seal(&mut spool);
            assert_eq!(text(&spool, 1), "a\nb\nc\n");
        }
    }
}

#[test]
fn a_seal_that_fails_anywhere_leaves_the_block_open_and_works_later() {
    for after in 0..4 {
        for count in 1..4 {
            let sim = Arc::new(Sim::new());
            let (mut spool, _) = open(&sim, None);
            let last = append(&mut spool, &["a"]);
            sim.fail_in(after, count, ErrorKind::StorageFull);
            let error = spool.seal(&Drops { ring: 5, ..Drops::default() }).unwrap_err();
            assert!(is_full(&error), "{error}");
            assert_eq!(spool.open_records(), 1);
            assert!(spool.store().sealed().is_empty());
            let (_, recovered) = open(&sim, Some(&last));
            assert_eq!(recovered.open_records, 1, "killed after {after}");
            // The next failure is over: the same spool seals, with the drops told again.
            while spool.seal(&Drops { ring: 5, ..Drops::default() }).is_err() {}
            let meta = spool.store().open_block(1).unwrap().meta;
            assert_eq!((meta.records, meta.dropped.ring), (1, 5));
        }
    }
}

#[test]
fn a_directory_that_cannot_be_synced_is_told_with_the_sealed_block() {
    let sim = Arc::new(Sim::new());
    let (mut spool, _) = open(&sim, None);
    for (number, failures) in [(1, 1), (2, 2)] {
        append(&mut spool, &["a"]);
        sim.fail_in(4, failures, ErrorKind::Other);
        let (sealed, _) = spool.seal(&Drops::default()).unwrap().unwrap();
        assert_eq!(sealed.unsynced.is_some(), failures > 1);
        assert_eq!(sealed.number, number);
    }
    assert_eq!(spool.store().sealed(), [1, 2]);
    // And tried again.
    sim.take_log();
    append(&mut spool, &["b"]);
    assert_eq!(sim.take_log(), ["sync the directory", "create 0000000003.data"]);
}

#[test]
fn drop_oldest_makes_room_and_the_next_block_tells_of_it() {
    let sim = Arc::new(Sim::new());
    let (bytes, _) = chunk(&["a"]);
    let mut small = options();
    small.spool_max = bytes.len() as u64 * 3;
    let (mut spool, _) = open_with(&sim, small, None);
    for line in ["a", "b", "c"] {
        append(&mut spool, &[line]);
        seal(&mut spool);
    }
    let store = spool.store();
    assert_eq!(store.claim(Duration::ZERO), Some(1), "being uploaded, so it stays");
    append(&mut spool, &["d"]);
    assert_eq!(store.sealed(), [1, 3]);
    let dropped = store.counts().dropped;
    assert_eq!((dropped.blocks, dropped.records), (1, 1));
    assert_eq!(seal(&mut spool).0.dropped, Drops { spool: 1, ..Drops::default() });
}

#[test]
fn drop_newest_refuses_and_the_caller_counts() {
    let sim = Arc::new(Sim::new());
    let (bytes, stats) = chunk(&["a"]);
    let mut small = options();
    small.spool_max = bytes.len() as u64 * 2;
    small.on_full = OnSpoolFull::DropNewest;
    let (mut spool, _) = open_with(&sim, small, None);
    for line in ["a", "b"] {
        append(&mut spool, &[line]);
        seal(&mut spool);
    }
    let error = spool.append(&bytes, stats).unwrap_err();
    assert!(is_full(&error));
    assert_eq!(
        error.to_string(),
        "the spool is full: 48 of 48 bytes are waiting for upload or in quarantine, and 24 more do not fit"
            .replace("48", &small_max(&bytes))
            .replace("24", &bytes.len().to_string())
    );
    spool.count_drops(&Drops { spool: 1, ..Drops::default() });
    spool.store().uploaded(1).unwrap();
    append(&mut spool, &["d"]);
    assert_eq!(seal(&mut spool).0.dropped.spool, 1);
}

fn small_max(bytes: &[u8]) -> String {
    (bytes.len() * 2).to_string()
}

#[test]
fn a_drop_whose_count_was_not_committed_is_counted_by_the_next_start() {
    let sim = Arc::new(Sim::new());
    let (bytes, stats) = chunk(&["a"]);
    let small = || {
        let mut small = options();
        small.spool_max = bytes.len() as u64 * 2;
        small
    };
    let (mut spool, _) = open_with(&sim, small(), None);
    for line in ["a", "b"] {
        append(&mut spool, &[line]);
        seal(&mut spool);
    }
    let last = spool.payload();
    // The block is dropped, its data removed, and then the disk refuses the chunk.
    sim.fail_in(2, 1, ErrorKind::StorageFull);
    spool.append(&bytes, stats).unwrap_err();
    assert_eq!(spool.store().counts().dropped.blocks, 1);
    // The chunk that goes in later is killed before its commit.
    spool.append(&bytes, stats).unwrap();
    let (spool, recovered) = open_with(&sim, small(), Some(last.as_bytes()));
    assert_eq!(recovered.counts.dropped.records, 1);
    assert_eq!(spool.pending_drops(), Drops { spool: 1, ..Drops::default() });
}

#[test]
fn files_that_a_person_takes_away_while_it_runs_do_not_stop_the_stream() {
    let sim = Arc::new(Sim::new());
    let (bytes, stats) = chunk(&["x", "y"]);
    let mut small = options();
    small.spool_max = bytes.len() as u64 * 3;
    let (mut spool, _) = open_with(&sim, small, None);
    append(&mut spool, &["a", "b"]);
    seal(&mut spool);
    append(&mut spool, &["c", "d"]);
    for name in sim.names("") {
        sim.remove(&name).unwrap();
    }
    spool.append(&bytes, stats).unwrap_err();
    spool.append(&bytes, stats).unwrap();
    assert_eq!(spool.pending_drops().lost, 2);
    assert_eq!(spool.open_records(), 2);
    let store = spool.store();
    assert!(store.open_block(1).is_err());
    store.quarantine(1, "cannot be read").unwrap();
    seal(&mut spool);
    assert_eq!(text(&spool, 2), "x\ny\n");
}

#[test]
fn a_block_that_cannot_be_noted_as_uploaded_is_noted_by_the_next_try() {
    let sim = Arc::new(Sim::new());
    let last = three(&sim);
    let (spool, _) = open(&sim, Some(&last));
    let store = spool.store();
    sim.fail_in(0, 1, ErrorKind::Other);
    store.uploaded(1).unwrap_err();
    assert_eq!(store.sealed(), [1, 2]);
    // The note is made, the data cannot be removed: the block stays done, now and later.
    sim.fail_in(1, 1, ErrorKind::Other);
    store.uploaded(1).unwrap();
    assert_eq!(store.counts().left_behind, 1);
    store.uploaded(2).unwrap();
    let (spool, recovered) = open(&sim, Some(&last));
    assert!(spool.store().sealed().is_empty() && recovered.rebuilt.is_empty());
    assert_eq!(sim.names(""), ["0000000002.done", "0000000003.data", "format"]);
}

/// Each of them has a number of its own, by which a payload tells that it was counted.
#[test]
fn very_many_blocks_without_data_are_lost_under_rising_numbers_and_counted_once() {
    const BLOCKS: u64 = 3000;
    let sim = Arc::new(Sim::new());
    let (mut spool, _) = open(&sim, None);
    for _ in 0..BLOCKS {
        append(&mut spool, &["a"]);
        seal(&mut spool);
    }
    let last = spool.payload();
    drop(spool);
    for number in 1..=BLOCKS {
        sim.remove(&format!("{number:010}.data")).unwrap();
    }
    let (spool, found) = open(&sim, Some(&last));
    assert_eq!((found.counts.lost.records, spool.pending_drops().lost), (BLOCKS, BLOCKS));
    let mut gone = Vec::new();
    sim.list("", &mut |name| {
        if let Some((sequence, number)) = name.strip_suffix(".lost").and_then(|n| n.split_once('-'))
        {
            gone.push((number.parse::<u64>().unwrap(), sequence.parse::<u64>().unwrap()));
        }
    })
    .unwrap();
    gone.sort_unstable();
    assert!(gone.is_sorted_by(|a, b| a.1 < b.1), "two have one number");
    assert_eq!(gone.len() as u64, BLOCKS);
    let (again, found) = open(&sim, Some(&spool.payload()));
    assert_eq!((found.counts.lost.records, again.pending_drops().lost), (0, BLOCKS));
}
