use std::io::{self, Read};

use super::lines;
use crate::block::{ChunkEncoder, Codec, Kind, Member, members};

fn walk(block: &[u8], kind: Kind) -> (Vec<Member>, Option<String>) {
    let mut found = Vec::new();
    let stopped = members(block, kind, |member| found.push(member)).unwrap();
    (found, stopped)
}

#[test]
fn each_member_is_reported_with_its_lengths_and_lines() {
    for codec in [Codec::Gzip(3), Codec::Zstd(3), Codec::Snappy] {
        let mut encoder = ChunkEncoder::new(codec).unwrap();
        let (mut block, mut expected) = (Vec::new(), Vec::new());
        for count in [3, 0, 1000] {
            let chunk = lines(count);
            let before = block.len();
            encoder.encode(chunk.as_bytes(), &mut block).unwrap();
            let stored = (block.len() - before) as u64;
            expected.push(Member { stored, raw: chunk.len() as u64, lines: count });
        }
        assert_eq!(walk(&block, codec.kind()), (expected.clone(), None));
        for cut in 1..40 {
            let (found, stopped) = walk(&block[..block.len() - cut], codec.kind());
            assert_eq!(found, expected[..2]);
            assert!(stopped.is_some());
        }
        block.extend_from_slice(&[0; 4096]);
        let (found, stopped) = walk(&block, codec.kind());
        assert_eq!(found, expected, "{codec}");
        assert!(stopped.is_some());
    }
}

#[test]
fn of_plain_lines_the_whole_ones_are_reported() {
    let (found, stopped) = walk(b"one\ntwo\nthr", Kind::None);
    let stored = [4, 4];
    assert_eq!(found.iter().map(|member| member.stored).collect::<Vec<_>>(), stored);
    assert_eq!(stopped.as_deref(), Some("a line without its newline"));
}

#[test]
fn a_source_that_fails_is_an_error_and_not_a_bad_member() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is broken"))
        }
    }
    for codec in [Codec::Gzip(3), Codec::Zstd(3), Codec::Snappy, Codec::None] {
        let mut block = Vec::new();
        ChunkEncoder::new(codec).unwrap().encode(lines(100).as_bytes(), &mut block).unwrap();
        let half = block[..block.len() / 2].chain(Broken);
        let error = members(half, codec.kind(), |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "the disk is broken", "{codec}");
    }
}

#[test]
fn of_a_torn_snappy_stream_what_reaches_to_the_end_of_a_line_is_reported() {
    let mut encoder = ChunkEncoder::new(Codec::Snappy).unwrap();
    let mut block = Vec::new();
    // A frame is at most 65,536 bytes of lines.
    let frame = "0123456789abcde\n".repeat(4096);
    encoder.encode(frame.repeat(3).as_bytes(), &mut block).unwrap();
    let one = (block.len() as u64 - 10) / 3;
    let (found, stopped) = walk(&block[..block.len() - 1], Kind::Snappy);
    assert_eq!(found, [Member { stored: 10 + 2 * one, raw: 2 << 16, lines: 8192 }]);
    assert!(stopped.is_some());
    // Cut between two frames it is a shorter one: the format has no mark at its end.
    let (found, stopped) = walk(&block[..10 + one as usize], Kind::Snappy);
    assert_eq!(found, [Member { stored: 10 + one, raw: 1 << 16, lines: 4096 }]);
    assert_eq!(stopped, None);
    block.clear();
    encoder.encode(format!("x{frame}").as_bytes(), &mut block).unwrap();
    let (found, stopped) = walk(&block[..block.len() - 1], Kind::Snappy);
    assert_eq!((found.len(), stopped.is_some()), (0, true));
}

#[test]
fn a_zstd_frame_without_a_check_value_is_no_member() {
    let mut ours = Vec::new();
    ChunkEncoder::new(Codec::Zstd(1)).unwrap().encode(b"a line\n", &mut ours).unwrap();
    let mut found = 0;
    assert_eq!(members(&ours[..], Kind::Zstd, |_| found += 1).unwrap(), None);
    assert_eq!(found, 1);
    // The standard encoder's, which has none unless it is asked for one.
    let theirs = zstd::encode_all(&b"a line\n"[..], 1).unwrap();
    let bad = members(&[&ours[..], &theirs].concat()[..], Kind::Zstd, |_| found += 1).unwrap();
    assert_eq!((found, bad.as_deref()), (2, Some("a frame without a check value")));
}
