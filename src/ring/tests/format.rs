//! The file's bytes, held against values that a separate program computed from the byte table.

use super::{KEY, REGION, make, place};
use crate::ring::header::FrameKind;

#[cfg(target_endian = "little")]
#[test]
fn header_commits_and_frames_are_these_bytes() {
    let (_dir, path) = place();
    let mut opened =
        crate::ring::open::fresh(&path, crate::ring::Capacity::tiny(1024), KEY, b"block 7")
            .unwrap();
    opened.ring.push(b"GET /\n").unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let hex = |at: usize, len: usize| {
        bytes[at..at + len].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(bytes.len(), 4096 + 1024 + 4096);
    assert_eq!(
        hex(0, 40),
        "53334c52494e470a02000000001000000004000000000000efcdab8967452301d6f4d62600000000"
    );
    assert_eq!(hex(256, 8), "1000000000000000");
    assert_eq!(hex(384, 8), "0000000000000000");
    assert_eq!(hex(512, 32), "00".repeat(32));
    assert_eq!(hex(768, 256), "00".repeat(256));
    assert_eq!(
        hex(REGION + 1024, 32),
        "010000000000000000000000000000000700000033756cab626c6f636b203700"
    );
    assert_eq!(hex(REGION, 16), "0600a28924080d51474554202f0a0000");

    opened.reader.next().unwrap();
    opened.reader.commit(b"").unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let hex = |at: usize, len: usize| {
        bytes[at..at + len].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(hex(512, 24), "0200000000000000100000000000000000000000bc37aee3");
    assert_eq!(hex(384, 8), "1000000000000000");
    assert_eq!(hex(REGION, 16), "00".repeat(16));
    assert_eq!(
        KEY.seal(1008, FrameKind::Pad, 0, 0).to_le_bytes(),
        0x16d5_e7c6_e724_0000_u64.to_le_bytes()
    );
}

#[test]
fn a_header_holds_only_at_its_position_with_its_key() {
    let header = KEY.seal(4096, FrameKind::Record, 200, 0xdead_beef);
    let opened = KEY.open(4096, header).unwrap();
    assert_eq!((opened.kind, opened.len, opened.crc), (FrameKind::Record, 200, 0xdead_beef));
    let holds = |key: crate::ring::header::Key, position| {
        key.open(position, header).is_some_and(|h| h.len == 200 && h.crc == 0xdead_beef)
    };
    assert!((1..1000).all(|lap| !holds(KEY, 4096 + lap * 1024)));
    assert!((1..1000).all(|other| !holds(crate::ring::header::Key(KEY.0 ^ other), 4096)));
    assert_eq!(KEY.open(4096, 0), None);
}

#[test]
fn a_header_never_promises_more_than_the_longest_record() {
    // Any word: what opens is bounded, and nearly nothing opens.
    let mut opened = 0;
    for word in 0..200_000_u64 {
        let word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if let Some(header) = KEY.open(64, word) {
            assert!(header.len <= crate::ring::header::MAX_PAYLOAD);
            opened += 1;
        }
    }
    assert!(opened < 100, "{opened} of 200,000 random words opened");
}

#[test]
fn a_payload_full_of_plausible_words_does_not_make_recovery_crawl() {
    // Each word says "a record of 65,000 bytes", and a client can send 8192 of them. Every one
    // that opens costs recovery a CRC of that length.
    for tag in (0..1 << 13).step_by(61) {
        let word = u64::from(65_000_u32 | 1 << 17 | tag << 19);
        let opened = (0..8192).filter(|n| KEY.open(n * 8, word).is_some()).count();
        assert!(opened < 12, "{opened} of 8192 opened with tag {tag}");
    }
}

#[test]
fn neither_debug_print_shows_the_key() {
    let (_dir, path) = place();
    let opened = make(&path, 64);
    let printed = format!("{opened:?} {:x?}", opened);
    assert!(!printed.contains(&format!("{}", KEY.0)) && !printed.contains("123456789abcdef"));
}
