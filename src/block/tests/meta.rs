use std::collections::HashMap;

use proptest::prelude::*;

use crate::block::names::NAME_MAX;
use crate::block::{BootId, Digest, Drops, Kind, Meta, MetaError, RouteId};

fn worst() -> Meta {
    let most = u64::MAX;
    Meta {
        format: 1,
        stream: "s".repeat(NAME_MAX + 50),
        host: "\u{1f300}".repeat(NAME_MAX),
        boot: BootId([0xff; 6]),
        number: most,
        records: most,
        raw_bytes: most,
        bytes: most,
        first: most,
        last: most,
        dropped: Drops { ring: most, spool: most, panic: most, lost: most },
        cut: most,
        codec: Kind::Gzip,
        sha256: Digest([0xff; 32]),
        previous: Some(Digest([0xff; 32])),
        route: Some(RouteId::new([0xff; 8])),
        signature: None,
    }
}

#[test]
fn the_longest_metadata_is_under_half_of_what_s3_allows() {
    // S3 counts the bytes of names and values; the prefix is counted here to be safe.
    let pairs = worst().to_pairs();
    let bytes: usize = pairs.iter().map(|(n, v)| "x-amz-meta-".len() + n.len() + v.len()).sum();
    assert!(bytes < 1024 + 16 * "x-amz-meta-".len(), "{bytes}");
    let without: usize = pairs.iter().map(|(n, v)| n.len() + v.len()).sum();
    assert!(without < 1024, "{without}");
    for (name, value) in pairs {
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        assert!(value.bytes().all(|b| b.is_ascii_graphic()), "{value}");
    }
}

#[test]
fn the_pairs_and_the_json_of_a_block_are_these() {
    let meta = Meta {
        format: 1,
        stream: "access".into(),
        host: "web-1".into(),
        boot: BootId::new(1_795_363_200, 0xbeef),
        number: 7,
        records: 3,
        raw_bytes: 300,
        bytes: 120,
        first: 1_795_363_200_000_000_001,
        last: 1_795_363_200_000_000_002,
        dropped: Drops { ring: 1, spool: 2, panic: 3, lost: 4 },
        cut: 5,
        codec: Kind::Zstd,
        sha256: Digest::of(b"abc"),
        previous: None,
        route: Some("5f0e4c2ab1d38e67".parse().unwrap()),
        signature: None,
    };
    let pairs: Vec<String> = meta.to_pairs().iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(
        pairs.join(" "),
        "format=1 stream=access host=web-1 boot=6b031180beef number=7 records=3 raw-bytes=300 \
         bytes=120 first=1795363200000000001 last=1795363200000000002 dropped=1,2,3,4 cut=5 \
         codec=zstd sha256=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad \
         route=5f0e4c2ab1d38e67"
    );
    assert_eq!(
        serde_json::to_string(&meta).unwrap(),
        r#"{"format":1,"stream":"access","host":"web-1","boot":"6b031180beef","number":7,"records":3,"raw_bytes":300,"bytes":120,"first":1795363200000000001,"last":1795363200000000002,"dropped":{"ring":1,"spool":2,"panic":3,"lost":4},"cut":5,"codec":"zstd","sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","route":"5f0e4c2ab1d38e67"}"#
    );
}

#[test]
fn metadata_of_a_later_release_says_so_and_a_stripped_one_names_what_is_missing() {
    let mut pairs: HashMap<_, _> = worst().to_pairs().into_iter().collect();
    pairs.insert("format", "2".into());
    let read = Meta::from_pairs(|name| pairs.get(name).map(String::as_str));
    assert_eq!(read, Err(MetaError::Newer(2)));
    pairs.insert("format", "1".into());
    pairs.remove("sha256");
    let read = Meta::from_pairs(|name| pairs.get(name).map(String::as_str));
    assert_eq!(read, Err(MetaError::Missing("sha256")));
    assert_eq!(read.unwrap_err().to_string(), "the metadata has no \"sha256\"");
}

proptest! {
    #[test]
    fn any_block_reads_back_from_its_pairs_and_its_json(
        numbers in prop::array::uniform12(any::<u64>()),
        stream in "[A-Za-z0-9._-]{1,128}",
        boot in any::<[u8; 6]>(),
        previous in prop::option::of(any::<[u8; 32]>()),
    ) {
        let [number, records, raw_bytes, bytes, first, last, ring, spool, panic, lost, cut, _] =
            numbers;
        let meta = Meta {
            format: 1,
            host: stream.chars().rev().collect(),
            stream,
            boot: BootId(boot),
            number,
            records,
            raw_bytes,
            bytes,
            first,
            last,
            dropped: Drops { ring, spool, panic, lost },
            cut,
            codec: Kind::None,
            sha256: Digest::of(&boot),
            previous: previous.map(Digest),
            route: previous.map(|bytes| RouteId::new(bytes[..8].try_into().unwrap())),
            signature: None,
        };
        let pairs: HashMap<_, _> = meta.to_pairs().into_iter().collect();
        let read = Meta::from_pairs(|name| pairs.get(name).map(String::as_str));
        prop_assert_eq!(read.as_ref(), Ok(&meta));
        let json = serde_json::to_vec(&meta).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Meta>(&json).unwrap(), meta);
    }

    #[test]
    fn no_values_of_somebody_else_do_harm(value in ".{0,80}") {
        for name in ["boot", "number", "dropped", "codec", "sha256", "previous", "route", "format"] {
            let mut pairs: HashMap<_, _> = worst().to_pairs().into_iter().collect();
            pairs.insert(name, value.clone());
            let _ = Meta::from_pairs(|name| pairs.get(name).map(String::as_str));
        }
    }
}
