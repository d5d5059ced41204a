use super::{KEY, REGION, alter, make, place, reopen, rest};
use crate::ring::header::FrameKind;

/// Bytes of the file from a position of the first lap.
fn at(position: usize) -> usize {
    REGION + position
}

#[test]
fn records_and_commit_survive_the_process() {
    let (_dir, path) = place();
    let mut opened = make(&path, 1024);
    for record in [&b"one"[..], b"two", b"three"] {
        opened.ring.push(record).unwrap();
    }
    opened.reader.next().unwrap();
    opened.reader.commit(b"payload").unwrap();
    opened.reader.next().unwrap();
    drop(opened);
    let mut again = reopen(&path, 1024);
    assert_eq!((again.recovered.records, again.recovered.torn), (2, 0));
    assert_eq!(again.recovered.payload.as_deref(), Some(&b"payload"[..]));
    assert_eq!(rest(&mut again.reader), [&b"two"[..], b"three"]);
}

#[test]
fn a_commit_without_progress_changes_only_the_payload() {
    let (_dir, path) = place();
    let mut opened = make(&path, 1024);
    opened.ring.push(b"one").unwrap();
    opened.reader.commit(b"first").unwrap();
    opened.reader.commit_synced(b"second").unwrap();
    opened.ring.sync().unwrap();
    drop(opened);
    let mut again = reopen(&path, 1024);
    assert_eq!(again.recovered.payload.as_deref(), Some(&b"second"[..]));
    assert_eq!(rest(&mut again.reader), [b"one"]);
}

#[test]
fn a_torn_record_is_skipped_and_the_next_good_one_is_found() {
    let (_dir, path) = place();
    let opened = make(&path, 1024);
    for record in [&b"one"[..], b"a torn record", b"three"] {
        opened.ring.push(record).unwrap();
    }
    drop(opened);
    // The producer died before it published: payload there, header zero.
    alter(&path, |bytes| bytes[at(16)..at(24)].fill(0));
    let mut again = reopen(&path, 1024);
    let recovered = &again.recovered;
    assert_eq!((recovered.records, recovered.torn, recovered.skipped_bytes), (2, 1, 24));
    assert_eq!(rest(&mut again.reader), [&b"one"[..], b"three"]);
    again.ring.push(b"four").unwrap();
    assert_eq!(again.reader.next(), Some(&b"four"[..]));
}

#[test]
fn a_torn_tail_is_skipped_and_new_records_go_behind_it() {
    let (_dir, path) = place();
    let opened = make(&path, 1024);
    opened.ring.push(b"one").unwrap();
    opened.ring.push(b"torn at the tail").unwrap();
    drop(opened);
    alter(&path, |bytes| {
        bytes[at(16)..at(24)].fill(0);
        bytes[at(34)..at(40)].fill(0);
    });
    let mut again = reopen(&path, 1024);
    let recovered = &again.recovered;
    assert_eq!((recovered.records, recovered.torn, recovered.skipped_bytes), (1, 1, 24));
    again.ring.push(b"next").unwrap();
    assert_eq!(rest(&mut again.reader), [&b"one"[..], b"next"]);
    again.reader.commit(b"").unwrap();
    drop(again);
    assert_eq!(reopen(&path, 1024).recovered.torn, 0);
}

#[test]
fn a_zeroed_page_in_the_middle_costs_only_its_own_records() {
    let (_dir, path) = place();
    let opened = make(&path, 1 << 20);
    let line = |n: u32| format!("record number {n:06} {}\n", "x".repeat(n as usize % 200));
    for n in 0..2000 {
        opened.ring.push(line(n).as_bytes()).unwrap();
    }
    drop(opened);
    let page = at(20 * 4096);
    alter(&path, |bytes| bytes[page..page + 4096].fill(0));
    let mut again = reopen(&path, 1 << 20);
    let records = rest(&mut again.reader);
    let numbers: Vec<u32> = records
        .iter()
        .map(|record| String::from_utf8_lossy(&record[14..20]).parse().unwrap())
        .collect();
    assert!(records.iter().zip(&numbers).all(|(record, n)| *record == line(*n).as_bytes()));
    let jumps: Vec<_> = numbers.windows(2).filter(|w| w[1] != w[0] + 1).collect();
    assert_eq!(jumps.len(), 1, "{jumps:?}");
    let missing = 2000 - records.len();
    assert!((20..60).contains(&missing), "{missing}");
    assert_eq!((again.recovered.torn, again.recovered.records), (1, records.len() as u64));
    assert!((4096..5000).contains(&again.recovered.skipped_bytes));
    assert!(!again.reader.damaged());
}

#[test]
fn a_kill_between_commit_and_release_repeats_and_loses_nothing() {
    let (_dir, path) = place();
    let mut opened = make(&path, 64);
    for record in [b"a", b"b", b"c", b"d"] {
        opened.ring.push(record).unwrap();
    }
    opened.reader.next().unwrap();
    opened.reader.next().unwrap();
    opened.reader.accept();
    opened.reader.record(b"two are out").unwrap();
    drop(opened);
    let mut again = reopen(&path, 64);
    assert_eq!((again.recovered.records, again.recovered.torn), (2, 0));
    assert_eq!(again.recovered.payload.as_deref(), Some(&b"two are out"[..]));
    assert_eq!(&std::fs::read(&path).unwrap()[at(0)..at(32)], [0; 32]);
    again.ring.push(b"e").unwrap();
    again.ring.push(b"f").unwrap();
    assert_eq!(rest(&mut again.reader), [b"c", b"d", b"e", b"f"]);
}

#[test]
fn a_synced_commit_holds_whichever_pages_reach_the_disk_after_it() {
    let (_dir, path) = place();
    let mut opened = make(&path, 1 << 15);
    let record = |n: u32| format!("{n:05}{}", "x".repeat(n as usize % 97)).into_bytes();
    let mut n = 0;
    while opened.ring.push(&record(n)).is_ok() {
        n += 1;
    }
    for _ in 0..n / 2 {
        opened.reader.next().unwrap();
    }
    let before = std::fs::read(&path).unwrap();
    opened.reader.accept();
    opened.reader.commit_synced(b"half").unwrap();
    drop(opened);
    let after = std::fs::read(&path).unwrap();
    for pages in 0..1_u32 << 8 {
        alter(&path, |bytes| {
            bytes.copy_from_slice(&after);
            for page in (0..8).filter(|page| pages >> page & 1 == 1) {
                let page = at(page * 4096)..at((page + 1) * 4096);
                bytes[page.clone()].copy_from_slice(&before[page]);
            }
        });
        let mut again = reopen(&path, 1 << 15);
        assert_eq!(again.recovered.payload.as_deref(), Some(&b"half"[..]));
        assert_eq!(again.recovered.torn, 0);
        assert_eq!(rest(&mut again.reader), (n / 2..n).map(record).collect::<Vec<_>>());
    }
}

#[test]
fn a_kill_inside_a_commit_leaves_the_commit_before() {
    let (_dir, path) = place();
    let mut opened = make(&path, 64);
    for record in [b"a", b"b"] {
        opened.ring.push(record).unwrap();
        opened.reader.next().unwrap();
        opened.reader.commit(record).unwrap();
    }
    drop(opened);
    // Generations 1 (slot 1), 2 (slot 0), 3 (slot 1): the next is 4, in slot 0.
    let whole = std::fs::read(&path).unwrap();
    for torn in 0..32 {
        alter(&path, |bytes| {
            bytes.copy_from_slice(&whole);
            bytes[512..520].fill(0);
            bytes[520..520 + torn * 8].fill(0xab);
        });
        let again = reopen(&path, 64);
        assert_eq!(again.recovered.payload.as_deref(), Some(&b"b"[..]));
        assert_eq!((again.recovered.records, again.recovered.torn), (0, 0));
    }
}

#[test]
fn a_record_of_an_earlier_lap_is_not_taken_for_a_new_one() {
    let (_dir, path) = place();
    let mut opened = make(&path, 64);
    for record in [b"a", b"b", b"c", b"d"] {
        opened.ring.push(record).unwrap();
    }
    let old = std::fs::read(&path).unwrap();
    assert_eq!(rest(&mut opened.reader).len(), 4);
    opened.reader.commit(b"").unwrap();
    opened.ring.push(b"e").unwrap();
    drop(opened);
    // As if the disk had kept the old bytes of what was erased since.
    alter(&path, |bytes| bytes[at(16)..at(64)].copy_from_slice(&old[at(16)..at(64)]));
    let mut again = reopen(&path, 64);
    assert_eq!((again.recovered.records, again.recovered.torn), (1, 0));
    assert_eq!(rest(&mut again.reader), [b"e"]);
}

#[test]
fn a_ring_inside_a_record_is_not_recovered_from_a_torn_one() {
    let (_dir, path) = place();
    let opened = make(&path, 4096);
    // A client that knew the format, but neither key nor position, sends these bytes.
    let mut forged = Vec::new();
    for guess in 0..100 {
        let key = crate::ring::header::Key(guess);
        let header = key.seal(8 + 16 * guess, FrameKind::Record, 8, crc32c::crc32c(b"invented"));
        forged.extend_from_slice(&header.to_ne_bytes());
        forged.extend_from_slice(b"invented");
    }
    opened.ring.push(&forged).unwrap();
    opened.ring.push(b"true").unwrap();
    drop(opened);
    alter(&path, |bytes| bytes[at(0)..at(8)].fill(0));
    let mut again = reopen(&path, 4096);
    assert_eq!(rest(&mut again.reader), [b"true"]);
    assert_eq!(again.recovered.torn, 1);
}

#[test]
fn records_behind_a_stale_tail_are_found() {
    let (_dir, path) = place();
    let opened = make(&path, 1024);
    for record in [&b"one"[..], b"two"] {
        opened.ring.push(record).unwrap();
    }
    drop(opened);
    for tail in [0_u64, 8, 17, 1 << 40, u64::MAX] {
        alter(&path, |bytes| bytes[256..264].copy_from_slice(&tail.to_ne_bytes()));
        let mut again = reopen(&path, 1024);
        assert_eq!(rest(&mut again.reader), [b"one", b"two"]);
        assert_eq!(again.recovered.torn, 0);
    }
}

#[test]
fn recovering_twice_gives_the_same_as_once() {
    let (_dir, path) = place();
    let opened = make(&path, 4096);
    for n in 0..60_u8 {
        opened.ring.push(&vec![n; 20 + usize::from(n)]).unwrap_or_default();
    }
    drop(opened);
    alter(&path, |bytes| {
        bytes[at(512)..at(600)].fill(0);
        bytes[at(1024)..at(1032)].fill(0x55);
        bytes[at(3000)..at(4096)].fill(0xee);
    });
    let mut first = reopen(&path, 4096);
    let once = (first.recovered.clone(), rest(&mut first.reader));
    drop(first);
    let bytes = std::fs::read(&path).unwrap();
    let mut second = reopen(&path, 4096);
    assert_eq!((second.recovered.clone(), rest(&mut second.reader)), once);
    drop(second);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(once.0.torn, 3);
}

#[test]
fn a_recovery_that_is_killed_after_any_store_changes_no_answer() {
    let (_dir, path) = place();
    let opened = make(&path, 1024);
    for n in 0..12_u8 {
        opened.ring.push(&[n; 40]).unwrap();
    }
    drop(opened);
    alter(&path, |bytes| bytes[at(48)..at(200)].fill(0x11));
    let before = std::fs::read(&path).unwrap();
    let mut whole = reopen(&path, 1024);
    let wanted = (whole.recovered.clone(), rest(&mut whole.reader));
    drop(whole);
    let after = std::fs::read(&path).unwrap();
    let changed: Vec<usize> =
        (0..before.len()).step_by(8).filter(|i| before[*i..i + 8] != after[*i..i + 8]).collect();
    assert!(!changed.is_empty());
    for done in 0..=changed.len() {
        alter(&path, |bytes| {
            bytes.copy_from_slice(&before);
            for word in &changed[..done] {
                bytes[*word..word + 8].copy_from_slice(&after[*word..word + 8]);
            }
        });
        let mut again = reopen(&path, 1024);
        assert_eq!((again.recovered.clone(), rest(&mut again.reader)), wanted, "after {done}");
    }
}

#[test]
fn a_gap_as_large_as_the_largest_ring_of_a_test_is_read_over() {
    let (_dir, path) = place();
    let opened = make(&path, 1 << 20);
    opened.ring.push(b"first").unwrap();
    drop(opened);
    // Everything was claimed and nothing more was published.
    alter(&path, |bytes| bytes[256..264].copy_from_slice(&(1_u64 << 20).to_ne_bytes()));
    let mut again = reopen(&path, 1 << 20);
    assert_eq!((again.recovered.torn, again.recovered.skipped_bytes), (1, (1 << 20) - 16));
    assert_eq!(rest(&mut again.reader), [b"first"]);
    assert_eq!(again.reader.pending_bytes(), 0);
    again.reader.commit(b"").unwrap();
    again.ring.push(b"second").unwrap();
    assert_eq!(rest(&mut again.reader), [b"second"]);
    let key = again.ring.key;
    assert!(key == KEY, "recovery keeps the key");
}

#[test]
fn accepted_records_come_again_after_a_kill_and_not_after_a_rewind() {
    let (_dir, path) = place();
    let mut opened = make(&path, 256);
    for record in [b"a", b"b", b"c", b"d"] {
        opened.ring.push(record).unwrap();
    }
    opened.reader.next().unwrap();
    opened.reader.next().unwrap();
    opened.reader.accept();
    assert_eq!((opened.reader.accepted_bytes(), opened.ring.usage().used), (32, 64));
    assert_eq!(opened.reader.next(), Some(&b"c"[..]));
    opened.reader.rewind();
    assert_eq!(opened.reader.next(), Some(&b"c"[..]));
    let killed = std::fs::read(&path).unwrap();
    // A commit takes what was accepted, and c stays read.
    opened.reader.commit_synced(b"a and b").unwrap();
    assert_eq!((opened.reader.accepted_bytes(), opened.ring.usage().used), (0, 32));
    assert_eq!(opened.reader.next(), Some(&b"d"[..]));
    drop(opened);
    let mut again = reopen(&path, 256);
    assert_eq!(again.recovered.payload.as_deref(), Some(&b"a and b"[..]));
    assert_eq!(rest(&mut again.reader), [b"c", b"d"]);
    drop(again);
    std::fs::write(&path, killed).unwrap();
    assert_eq!(rest(&mut reopen(&path, 256).reader), [b"a", b"b", b"c", b"d"]);
}
