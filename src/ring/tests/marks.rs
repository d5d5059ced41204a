//! Records that were cut before they were pushed.

use super::{REGION, alter, make, place, reopen};
use crate::ring::frame::{self, Found};
use crate::ring::header::FrameKind;
use crate::ring::sync::Ordering;
use crate::ring::{Reader, Record, Ring};

fn cut(bytes: &[u8]) -> Record<'_> {
    Record { bytes, cut: true }
}

fn rest(reader: &mut Reader) -> Vec<(Vec<u8>, bool)> {
    let mut records = Vec::new();
    while let Some(record) = reader.next_record() {
        records.push((record.bytes.to_vec(), record.cut));
    }
    records
}

/// What a release reads that knows no marks: frame after frame, pads skipped.
fn read_without_marks(ring: &Ring, mut at: u64) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    // SAFETY: nobody pushes meanwhile.
    #[allow(unsafe_code)]
    while let Found::Frame(frame) = unsafe { frame::read(&ring.memory, ring.key, at, at + 1024) } {
        if frame.kind == FrameKind::Record {
            records.push(frame.payload.to_vec());
        }
        at += frame.size;
    }
    records
}

#[test]
fn that_a_record_was_cut_survives_a_rewind_and_the_process() {
    let (_dir, path) = place();
    let mut opened = make(&path, 1024);
    opened.ring.push(b"one").unwrap();
    opened.ring.push(cut(b"tw")).unwrap();
    opened.ring.push(b"three").unwrap();
    let all = [(b"one".to_vec(), false), (b"tw".to_vec(), true), (b"three".to_vec(), false)];
    assert_eq!(rest(&mut opened.reader), all);
    opened.reader.rewind();
    assert_eq!(opened.reader.next(), Some(&b"one"[..]));
    opened.reader.commit(b"one is in the block").unwrap();
    drop(opened);
    let mut again = reopen(&path, 1024);
    assert_eq!((again.recovered.records, again.recovered.torn), (2, 0));
    assert_eq!(rest(&mut again.reader), all[1..]);
}

#[test]
fn a_pad_at_the_regions_end_marks_nothing() {
    let (_dir, path) = place();
    let mut opened = make(&path, 64);
    // 24 and 32 bytes: 8 are left, which a pad of no bytes fills.
    opened.ring.push(b"0123456789").unwrap();
    opened.ring.push(b"01234567890123456789").unwrap();
    assert_eq!(rest(&mut opened.reader).len(), 2);
    opened.reader.commit(b"").unwrap();
    opened.ring.push(b"behind it").unwrap();
    assert_eq!(rest(&mut opened.reader), [(b"behind it".to_vec(), false)]);
    opened.reader.commit(b"").unwrap();
    opened.ring.push(cut(b"01234567890123")).unwrap();
    assert_eq!(rest(&mut opened.reader), [(b"01234567890123".to_vec(), true)]);
}

#[test]
fn a_mark_is_read_with_its_record_and_never_for_another() {
    let (_dir, path) = place();
    let mut opened = make(&path, 1024);
    opened.ring.push(cut(b"torn")).unwrap();
    opened.ring.push(b"whole").unwrap();
    let at = opened.reader.cursor();
    // The producer is between the two stores: the mark is published, the record is not.
    let header = opened.ring.memory.header(8).swap(0, Ordering::Relaxed);
    let counted = opened.ring.memory.published().fetch_sub(24, Ordering::Relaxed);
    assert_eq!(opened.reader.next_record(), None);
    assert_eq!(opened.reader.cursor(), at);
    opened.ring.memory.header(8).store(header, Ordering::Relaxed);
    opened.ring.memory.published().store(counted, Ordering::Relaxed);
    assert_eq!(opened.reader.next_record(), Some(cut(b"torn")));
    drop(opened);
    // It died there.
    alter(&path, |bytes| bytes[REGION + 8..REGION + 16].fill(0));
    let mut again = reopen(&path, 1024);
    assert_eq!((again.recovered.records, again.recovered.torn), (1, 1));
    assert_eq!(rest(&mut again.reader), [(b"whole".to_vec(), false)]);
}

#[test]
fn a_mark_that_has_lost_its_record_does_not_mark_the_next_one() {
    let (_dir, path) = place();
    let opened = make(&path, 1024);
    opened.ring.push(b"one").unwrap();
    opened.ring.push(cut(b"lost")).unwrap();
    drop(opened);
    // A power cut has kept the mark, and neither its record nor the tail, on pages of their own.
    alter(&path, |bytes| {
        bytes[REGION + 24..REGION + 40].fill(0);
        bytes[256..264].fill(0);
    });
    for _ in 0..2 {
        let mut again = reopen(&path, 1024);
        let recovered = &again.recovered;
        assert_eq!((recovered.records, recovered.torn, recovered.skipped_bytes), (1, 1, 8));
        assert_eq!(rest(&mut again.reader), [(b"one".to_vec(), false)]);
    }
    let mut again = reopen(&path, 1024);
    again.ring.push(b"next").unwrap();
    assert_eq!(rest(&mut again.reader), [(b"one".to_vec(), false), (b"next".to_vec(), false)]);
}

#[test]
fn a_mark_before_damage_does_not_mark_what_comes_behind_it() {
    let (_dir, path) = place();
    let mut opened = make(&path, 1024);
    opened.ring.push(cut(b"zeroed")).unwrap();
    opened.ring.push(b"whole").unwrap();
    for at in [8, 16] {
        opened.ring.memory.header(at).store(0, Ordering::Relaxed);
    }
    assert_eq!(rest(&mut opened.reader), [(b"whole".to_vec(), false)]);
    drop(opened);
    let mut again = reopen(&path, 1024);
    assert_eq!(rest(&mut again.reader), [(b"whole".to_vec(), false)]);
}

#[test]
fn a_release_that_knows_no_marks_reads_every_record() {
    let (_dir, path) = place();
    let opened = make(&path, 1024);
    opened.ring.push(b"one").unwrap();
    opened.ring.push(cut(b"tw")).unwrap();
    opened.ring.push(cut(b"thre")).unwrap();
    assert_eq!(read_without_marks(&opened.ring, 0), [&b"one"[..], b"tw", b"thre"]);
}

/// The values come from a separate program that has the byte table alone.
#[cfg(target_endian = "little")]
#[test]
fn a_mark_and_its_record_are_these_bytes() {
    let (_dir, path) = place();
    let opened = make(&path, 1024);
    opened.ring.push(b"GET /\n").unwrap();
    opened.ring.push(cut(b"GET /[cut]\n")).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let hex: String =
        bytes[REGION + 16..REGION + 48].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "00001c12be22d52b0b00ba614d9f4c98474554202f5b6375745d0a0000000000");
}
