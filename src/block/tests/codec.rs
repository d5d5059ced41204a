use std::io::{Read, Write};
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::lines;
use crate::block::{ChunkEncoder, Codec, Decoder, Kind, members};

const ALL: [Codec; 8] = [
    Codec::Gzip(0),
    Codec::Gzip(3),
    Codec::Gzip(9),
    Codec::Zstd(1),
    Codec::Zstd(3),
    Codec::Snappy,
    Codec::Zstd(19),
    Codec::None,
];

#[test]
fn every_codec_and_level_reads_back_from_its_own_text() {
    let gzip = (0..=9).map(Codec::Gzip);
    let zstd = (1..=19).map(Codec::Zstd);
    for codec in gzip.chain(zstd).chain([Codec::Snappy, Codec::None]) {
        assert_eq!(codec.to_string().parse(), Ok(codec));
    }
    assert_eq!("gzip".parse(), Ok(Codec::Gzip(3)));
    assert_eq!("zstd".parse(), Ok(Codec::Zstd(3)));
    assert_eq!(Codec::default(), Codec::Gzip(3));
}

#[test]
fn a_codec_that_is_none_is_refused_with_what_the_option_takes() {
    for text in [
        "", "gz", "GZIP", "gzip:", "gzip:10", "gzip:+3", "gzip:03", "gzip:-1", "gzip:3:3",
        "zstd:0", "zstd:20", "zstd:256", "none:1", "snappy:1", "Snappy", " gzip",
    ] {
        let error = text.parse::<Codec>().unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "\"{text}\" is not a codec; expected gzip, gzip:0 to gzip:9, zstd, zstd:1 to zstd:19, snappy or none"
            )
        );
    }
}

#[test]
fn a_block_of_no_bytes_has_no_lines() {
    for kind in Kind::ALL {
        let mut text = String::new();
        Decoder::new(&[][..], kind).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "");
    }
}

#[test]
fn a_decoder_needs_no_more_than_the_first_bytes_to_know_the_codec() {
    for codec in ALL {
        let mut block = Vec::new();
        let mut encoder = ChunkEncoder::new(codec).unwrap();
        encoder.encode(b"one\n", &mut block).unwrap();
        encoder.encode(b"two\n", &mut block).unwrap();
        let mut text = String::new();
        Decoder::sniff(&block[..]).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n", "{codec}");
    }
}

#[test]
fn an_encoder_makes_the_same_of_a_chunk_whatever_it_has_made_before() {
    let chunk = lines(100);
    for codec in ALL {
        let encode = |encoder: &mut ChunkEncoder, text: &str| {
            let mut member = Vec::new();
            encoder.encode(text.as_bytes(), &mut member).unwrap();
            member
        };
        let fresh = encode(&mut ChunkEncoder::new(codec).unwrap(), &chunk);
        let mut used = ChunkEncoder::new(codec).unwrap();
        for before in [&lines(3000), "", "one\n"] {
            encode(&mut used, before);
            assert_eq!(encode(&mut used, &chunk), fresh, "{codec}");
        }
    }
}

#[test]
fn a_kept_output_vector_stops_growing() {
    let chunk = lines(3000);
    for codec in ALL {
        let mut encoder = ChunkEncoder::new(codec).unwrap();
        let mut out = Vec::new();
        encoder.encode(chunk.as_bytes(), &mut out).unwrap();
        let capacity = out.capacity();
        for _ in 0..3 {
            out.clear();
            encoder.encode(chunk.as_bytes(), &mut out).unwrap();
            assert_eq!(out.capacity(), capacity, "{codec}");
        }
    }
}

#[test]
fn the_largest_window_of_our_levels_is_decoded() {
    // More than the 8 MiB window of level 19, so that the frame asks for all of it.
    let text = lines(200_000);
    assert!(text.len() > 16 << 20);
    let mut encoder = ChunkEncoder::new(Codec::Zstd(19)).unwrap();
    let mut block = Vec::new();
    // Level 19 is slow: most of it is one line again and again.
    let cheap = lines(1).repeat(150_000);
    encoder.encode(&[cheap.as_bytes(), &text.as_bytes()[..1 << 20]].concat(), &mut block).unwrap();
    let mut back = Vec::new();
    Decoder::new(&block[..], Kind::Zstd).unwrap().read_to_end(&mut back).unwrap();
    assert_eq!(back.len(), cheap.len() + (1 << 20));
}

#[test]
fn a_frame_that_asks_for_more_memory_than_any_of_ours_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(lines(10).as_bytes()).unwrap();
    let block = encoder.finish().unwrap();
    let mut back = Vec::new();
    let error = Decoder::new(&block[..], Kind::Zstd).unwrap().read_to_end(&mut back).unwrap_err();
    assert!(error.to_string().contains("too much memory"), "{error}");
}

/// Reads or writes with a wrapper of Google's library; ends with 77 where it is not installed.
fn pysnappy(with: &str) -> String {
    format!(
        "import sys
try:
    from pysnappy.framing import Compressor, Decompressor
except ImportError:
    sys.exit(77)
coder = {with}(sys.stdin.buffer.read())
sys.stdout.buffer.write(coder)"
    )
}

#[test]
fn another_implementation_writes_snappy_that_is_read_here() {
    let text = lines(3000);
    let program = pysnappy("Compressor().compress");
    let Some(theirs) = tool("python3", &["-c", &program], text.as_bytes()) else { return };
    let mut back = String::new();
    Decoder::sniff(&theirs[..]).unwrap().read_to_string(&mut back).unwrap();
    assert_eq!(back, text);
}

#[test]
fn a_flipped_bit_in_snappy_is_seen_and_a_cut_tail_leaves_what_was_before_it() {
    let text = lines(3000);
    let mut block = Vec::new();
    ChunkEncoder::new(Codec::Snappy).unwrap().encode(text.as_bytes(), &mut block).unwrap();
    let read = |block: &[u8]| {
        let mut back = Vec::new();
        let read = Decoder::new(block, Kind::Snappy).unwrap().read_to_end(&mut back);
        (read, back)
    };
    for at in (0..block.len()).step_by(7) {
        let mut flipped = block.clone();
        flipped[at] ^= 1 << (at % 8);
        let (seen, back) = read(&flipped);
        assert!(seen.is_err(), "{at}");
        assert!(text.as_bytes().starts_with(&back));
        let (_, back) = read(&block[..at]);
        assert!(text.as_bytes().starts_with(&back));
    }
}

/// Runs a tool of the machine; `None` where it is not installed.
fn tool(program: &str, args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let fed = feeder.join().unwrap();
    // A module of Python's that is not installed.
    if output.status.code() == Some(77) {
        return None;
    }
    fed.unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    Some(output.stdout)
}

#[test]
fn the_ordinary_tools_read_concatenated_members_as_one_file() {
    let python =
        "import gzip,sys; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
    let snappy = pysnappy("Decompressor().decompress");
    let mut used = 0;
    for codec in ALL {
        let mut block = Vec::new();
        let mut encoder = ChunkEncoder::new(codec).unwrap();
        let mut text = String::new();
        for count in [1, 0, 7, 2000, 0] {
            let chunk = lines(count);
            encoder.encode(chunk.as_bytes(), &mut block).unwrap();
            text.push_str(&chunk);
        }
        let tools: &[(&str, &[&str])] = match codec.kind() {
            Kind::Gzip => &[("gzip", &["-dc"]), ("zcat", &[]), ("python3", &["-c", python])],
            Kind::Zstd => &[("zstd", &["-dc"]), ("zstdcat", &[])],
            Kind::Snappy => &[("python3", &["-c", &snappy])],
            Kind::None => &[("cat", &[])],
        };
        for (program, args) in tools {
            if let Some(output) = tool(program, args, &block) {
                assert!(output == text.as_bytes(), "{program} on {codec}");
                used += 1;
            }
        }
    }
    assert!(used > 0, "none of the tools is installed");
}

/// The identifier, and the type of a compressed frame.
const SNAPPY_START: &[u8] = b"\xff\x06\x00\x00sNaPpY\x00";

proptest! {
    #[test]
    fn any_chunks_come_back(
        codec in prop::sample::select(&ALL[..6]),
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..5),
    ) {
        let mut encoder = ChunkEncoder::new(codec).unwrap();
        let mut block = Vec::new();
        for chunk in &chunks {
            encoder.encode(chunk, &mut block).unwrap();
        }
        let mut back = Vec::new();
        Decoder::new(&block[..], codec.kind()).unwrap().read_to_end(&mut back).unwrap();
        prop_assert_eq!(back, chunks.concat());
    }

    #[test]
    fn a_flipped_bit_or_a_cut_tail_never_reads_as_other_lines(
        codec in prop::sample::select(&[Codec::Gzip(3), Codec::Zstd(3)][..]),
        at in any::<prop::sample::Index>(),
        bit in prop::option::of(0..8_u32),
    ) {
        let text = lines(50);
        let mut block = Vec::new();
        ChunkEncoder::new(codec).unwrap().encode(text.as_bytes(), &mut block).unwrap();
        let at = at.index(block.len());
        match bit {
            Some(bit) => block[at] ^= 1 << bit,
            None => block.truncate(at),
        }
        let mut back = Vec::new();
        let read = Decoder::new(&block[..], codec.kind()).unwrap().read_to_end(&mut back);
        // Header bytes that mean nothing (time, operating system) may flip; no bytes are no lines.
        prop_assert!(read.is_err() || back == text.as_bytes() || block.is_empty());
    }

    #[test]
    fn any_bytes_end_in_lines_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for magic in [&[][..], &[0x1f, 0x8b, 8], &[0x28, 0xb5, 0x2f, 0xfd], SNAPPY_START] {
            let input = [magic, &bytes[..]].concat();
            let mut out = Vec::new();
            if let Ok(decoder) = Decoder::sniff(&input[..]) {
                let _ = decoder.take(1 << 20).read_to_end(&mut out);
            }
            for kind in Kind::ALL {
                let _ = members(&input[..], kind, |_| {}).unwrap();
            }
        }
    }
}
