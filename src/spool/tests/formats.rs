use proptest::prelude::*;

use crate::block::{BootId, Digest, Drops, Kind, Meta};
use crate::spool::commit::{BadPayload, OpenBlock};
use crate::spool::files::names::{Name, Why, is_not_ours};
use crate::spool::sidecar::{BadSidecar, Sidecar};
use crate::spool::{Payload, ShipperState};

fn state() -> OpenBlock {
    OpenBlock {
        number: 0x0102,
        length: 0x0304,
        records: 0x0506,
        raw_bytes: 0x0708,
        cut: 0x090a,
        first: 0x0b0c,
        last: 0x0d0e,
        boot: BootId([1, 2, 3, 4, 5, 6]),
        kernel: [0xbb; 16],
        reading: 0x15,
        codec: Kind::Gzip,
        sequence: 0x0f10,
        drops: Drops { ring: 0x11, spool: 0x12, panic: 0x13, lost: 0x14 },
        content: Digest([0xcc; 32]),
        previous: Some(Digest([0xdd; 32])),
        secret: true,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_a_payload_are_those_of_its_table() {
    let payload = state().encode();
    assert_eq!(payload.as_bytes().len(), Payload::LENGTH);
    const { assert!(Payload::LENGTH <= 232) };
    let expected = [
        "02030100",
        "CRC.....",
        "0201000000000000",
        "0403000000000000",
        "0605000000000000",
        "0807000000000000",
        "0a09000000000000",
        "0c0b000000000000",
        "0e0d000000000000",
        "010203040506",
        "0000",
        "100f000000000000",
        "1100000000000000",
        "1200000000000000",
        "1300000000000000",
        "1400000000000000",
        &"bb".repeat(16),
        "1500000000000000",
        &"cc".repeat(32),
        &"dd".repeat(32),
    ]
    .concat();
    let bytes = payload.as_bytes();
    let check = crc32c::crc32c(&[&bytes[..4], &bytes[8..]].concat());
    assert_eq!(hex(bytes), expected.replace("CRC.....", &hex(&check.to_le_bytes())));
    // By a bitwise CRC-32C (RFC 3720's polynomial) of a few lines of Python.
    assert_eq!(format!("{check:08x}"), "04f8c7b0");
    assert_eq!(OpenBlock::decode(bytes), Ok(state()));
}

#[test]
fn a_payload_of_another_release_is_told_from_a_damaged_one() {
    let good = state().encode();
    for at in 1..Payload::LENGTH {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] ^= 0x40;
        assert_eq!(OpenBlock::decode(&bytes), Err(BadPayload::Damaged), "byte {at}");
        assert_eq!(OpenBlock::decode(&good.as_bytes()[..at]), Err(BadPayload::Damaged));
    }
    let mut padded = good.as_bytes().to_vec();
    padded.resize(232, 0);
    assert_eq!(OpenBlock::decode(&padded), Ok(state()));
    let mut newer = good.as_bytes().to_vec();
    newer[0] = 3;
    newer.extend_from_slice(&[0; 16]);
    assert_eq!(OpenBlock::decode(&newer), Err(BadPayload::Version(3)));
    assert_eq!(OpenBlock::decode(&[0; 232]), Err(BadPayload::Damaged));
}

#[test]
fn a_payload_of_the_release_before_reads_on_and_wants_no_encryption() {
    // Written by hand from the table of version 1; the check value is a bitwise CRC-32C's. It says
    // nothing of the kernel's start, nor of what is read.
    let before = OpenBlock { kernel: [0; 16], reading: 0, ..state() };
    let mut bytes = before.encode().as_bytes().to_vec();
    bytes[..4].copy_from_slice(&[1, 1, 1, 0]);
    bytes[4..8].copy_from_slice(&0x6cd0_5ad0_u32.to_le_bytes());
    assert_eq!(OpenBlock::decode(&bytes), Ok(OpenBlock { secret: false, ..before }));
    assert_eq!(OpenBlock::decode(state().encode().as_bytes()), Ok(state()));
}

fn sidecar() -> Sidecar {
    Sidecar {
        format: 1,
        key: "logs/x-h-s-010203040506-0000000007.log.gz".into(),
        transformed: false,
        sequence: 3,
        rebuilt: false,
        held: None,
        moved: None,
        wait_until: None,
        meta: Meta {
            format: 1,
            stream: "s".into(),
            host: "h".into(),
            boot: BootId([1, 2, 3, 4, 5, 6]),
            number: 7,
            records: 8,
            raw_bytes: 9,
            bytes: 10,
            first: 11,
            last: 12,
            dropped: Drops { ring: 13, spool: 14, panic: 15, lost: 16 },
            cut: 17,
            codec: Kind::Gzip,
            sha256: Digest([0xcc; 32]),
            previous: Some(Digest([0xdd; 32])),
            route: None,
            signature: None,
        },
    }
}

#[test]
fn the_bytes_of_a_sidecar_are_these() {
    let text = String::from_utf8(sidecar().encode().unwrap()).unwrap();
    let object = format!(
        r#"{{"format":1,"key":"logs/x-h-s-010203040506-0000000007.log.gz","transformed":false,"sequence":3,"rebuilt":false,"meta":{{"format":1,"stream":"s","host":"h","boot":"010203040506","number":7,"records":8,"raw_bytes":9,"bytes":10,"first":11,"last":12,"dropped":{{"ring":13,"spool":14,"panic":15,"lost":16}},"cut":17,"codec":"gzip","sha256":"{}","previous":"{}"}}}}"#,
        "cc".repeat(32),
        "dd".repeat(32)
    );
    assert_eq!(text, format!("{object}\n\"crc32c:52b0a492\"\n"));
    assert_eq!(Sidecar::decode(text.as_bytes()), Ok(sidecar()));
}

#[test]
fn a_torn_sidecar_is_never_taken_for_a_whole_one() {
    let good = sidecar().encode().unwrap();
    for end in 0..good.len() {
        assert_eq!(Sidecar::decode(&good[..end]), Err(BadSidecar::Damaged), "{end}");
        let mut zeroed = good.clone();
        zeroed[end..].fill(0);
        assert_eq!(Sidecar::decode(&zeroed), Err(BadSidecar::Damaged), "{end}");
    }
}

#[test]
fn a_sidecar_of_another_release_says_so_whatever_else_it_holds() {
    let line = r#"{"format":9,"other":[]}"#;
    let bytes = format!("{line}\n\"crc32c:{:08x}\"\n", crc32c::crc32c(line.as_bytes()));
    assert_eq!(Sidecar::decode(bytes.as_bytes()), Err(BadSidecar::Version(9)));
}

#[test]
fn a_name_is_ours_only_as_we_write_it() {
    let names = [
        (Name::Data(1), "0000000001.data"),
        (Name::Sealed(12_345_678_901), "12345678901.sealed"),
        (Name::New(0), "0000000000.new"),
        (Name::Sidecar(1), "0000000001.json"),
        (Name::Done(1), "0000000001.done"),
        (Name::Reason(1), "0000000001.reason"),
        (Name::Held(1), "0000000001.held"),
        (Name::Hold(1), "0000000001.hold"),
        (Name::Gone { sequence: 2, number: 1, why: Why::Dropped }, "0000000002-0000000001.dropped"),
        (Name::Gone { sequence: 2, number: 1, why: Why::Lost }, "0000000002-0000000001.lost"),
    ];
    for (name, text) in names {
        assert_eq!(name.to_string(), text);
        assert_eq!(Name::parse(text), Some(name));
    }
    for text in [
        "1.data",
        "+000000001.data",
        "00000000001.data",
        "0000000001.dat",
        "x.json",
        "",
        "0000000001-0000000001.json",
        "0000000001.dropped",
        "0000000001.data~",
    ] {
        assert_eq!(Name::parse(text), None, "{text}");
    }
    for text in ["lock", "ring", "ring.new", "format", "lost+found", ".nfs0001"] {
        assert!(is_not_ours(text));
    }
}

proptest! {
    #[test]
    fn any_bytes_as_payload_or_sidecar_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = OpenBlock::decode(&bytes);
        let _ = Sidecar::decode(&bytes);
    }
}

#[test]
fn what_a_shipper_of_an_older_or_a_newer_release_says_is_read() {
    let old = r#""pid":7,"since":8,"beat":9,"upload_retries":1,"spool_errors":2,"last_status":200,"last_upload_ms":3"#;
    let read = |more: &str| serde_json::from_str::<ShipperState>(&format!("{{{old}{more}}}"));
    let state = read("").unwrap();
    assert_eq!((state.pid, state.upload_retries, state.last_upload_ms), (7, 1, 3));
    assert_eq!((&*state.answers, state.uploading_blocks), (&[][..], 0));
    assert_eq!(read(r#","later":{"a":[1]}"#).unwrap(), state);
    let newer = read(r#","answers":[1,2,3,4,5,6,7],"uploading_blocks":1"#).unwrap();
    assert_eq!((&newer.answers[..5], newer.uploading_blocks), (&[1, 2, 3, 4, 5][..], 1));
    assert!(serde_json::from_str::<ShipperState>("{}").is_err(), "nonsense");
}
