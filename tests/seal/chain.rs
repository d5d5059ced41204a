//! The chain's format, held by the example of `docs/chain.md`: literal bytes, and signatures that
//! Debian's minisign made.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use crate::common::sim::Sim;
use vmod_s3log::block::{BootId, Digest, Drops, Kind, Meta};
use vmod_s3log::seal::{BadSignature, Signer, Verifier, check};
use vmod_s3log::spool::{ChunkStats, Files, Options, Spool};

const PAGE: &str = include_str!("../../docs/chain.md");

const PUBLIC: &str = "RWQSIXy0zqvOt8P4RUUcS7jjVdDk+YgY1ixPoBS/7fHCYkSWkHWHq8/H";

const FIRST: &str = "format=1\nstream=access\nhost=edge-1\nboot=6b02c5e00001\nnumber=1\nrecords=1\n\
    raw-bytes=6\nbytes=6\nfirst=1795341600000000000\nlast=1795341600000000000\ndropped=0,0,0,0\n\
    cut=0\ncodec=none\n\
    sha256=5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\n\
    route=5f0e4c2ab1d38e67\n";

const SECOND: &str = "format=1\nstream=access\nhost=edge-1\nboot=6b02c5e00001\nnumber=2\nrecords=1\n\
    raw-bytes=6\nbytes=6\nfirst=1795341600000000001\nlast=1795341600000000001\ndropped=0,0,0,0\n\
    cut=0\ncodec=none\n\
    sha256=e258d248fda94c63753607f7c4494ee0fcbe92f1a76bfdac795c9d84101eb317\n\
    previous=5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\n\
    route=5f0e4c2ab1d38e67\n";

const COMMENT: &str = "s3log access edge-1 6b02c5e00001 2";

/// Second and fourth line of what `minisign -S` made of [`SECOND`] and [`COMMENT`].
const SIGNATURE: [&str; 2] = [
    "RUQSIXy0zqvOt2mbpfqyU9YQW/Gd2IEUdXeXkgfye7dzymxcYE5L/Kb3t3l01mYKHXxjoBV1HPikScBpBH9QZ3v3G/cMKJVZqAc=",
    "eDPgpB7306gSB9WJ7m/fTV/1Tv/VUNGDsyGkMLRDCBc/ffU7rNpodfFbg08Nv0hq+rUSTatKHquGMpdpigSmBw==",
];

/// The page's key.
fn signer() -> Signer {
    let line = PAGE.lines().map(str::trim).find(|line| line.starts_with("RWQAAEIy")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("untrusted comment: of docs/chain.md\n{line}\n")).unwrap();
    Signer::read(file.path()).unwrap()
}

/// The two blocks of the page, made by the spool.
fn sealed() -> Vec<Meta> {
    let boot: BootId = "6b02c5e00001".parse().unwrap();
    let mut options = Options::new("access", "edge-1", boot);
    options.codec = Kind::None;
    options.route = Some("5f0e4c2ab1d38e67".parse().unwrap());
    options.signer = Some(signer());
    let files = Arc::new(Sim::new()) as Arc<dyn Files>;
    let (mut spool, _) = Spool::open(files, options, None).unwrap();
    let mut made = Vec::new();
    for (line, at) in [("hello\n", 0), ("world\n", 1)] {
        let time = 1_795_341_600_000_000_000 + at;
        let stats = ChunkStats { records: 1, raw_bytes: 6, first: time, last: time, cut: 0 };
        spool.append(line.as_bytes(), stats).unwrap();
        let (sealed, _) = spool.seal(&Drops::default()).unwrap().unwrap();
        let mut bytes = Vec::new();
        spool.store().open_block(sealed.number).unwrap().content.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, line.as_bytes());
        made.push(sealed.meta);
    }
    made
}

fn statement(meta: &Meta) -> String {
    let pairs = meta.to_pairs();
    let get = |wanted: &str| pairs.iter().find(|(n, _)| *n == wanted).map(|(_, v)| v.as_str());
    vmod_s3log::block::statement(get)
}

#[test]
fn the_blocks_of_the_page_have_the_statements_and_the_signature_of_the_page() {
    let blocks = sealed();
    assert_eq!(statement(&blocks[0]), FIRST);
    assert_eq!(statement(&blocks[1]), SECOND);
    assert_eq!(blocks[1].previous, Some(blocks[0].sha256));
    assert_eq!(blocks[0].sha256, Digest::of(b"hello\n"));
    let signature = blocks[1].signature.as_ref().unwrap();
    assert_eq!([&*signature.signature, &*signature.global], SIGNATURE);
    let key = Verifier::read(PUBLIC).unwrap();
    assert_eq!(key.id().to_string(), "B7CEABCEB47C2112", "as minisign shows it");
    assert_eq!(check(&[key], signature, SECOND, COMMENT), Ok(signer().id()));
}

#[test]
fn the_page_shows_these_very_lines() {
    let lines = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    assert!(PAGE.contains(&lines(FIRST)));
    assert!(PAGE.contains(&lines(SECOND)));
    let file = format!(
        "untrusted comment: s3log\n{}\ntrusted comment: {COMMENT}\n{}\n",
        SIGNATURE[0], SIGNATURE[1]
    );
    assert!(PAGE.contains(&lines(&file)));
    assert!(PAGE.contains(PUBLIC));
}

#[test]
fn no_byte_of_statement_comment_or_signature_can_be_changed() {
    let key = [Verifier::read(PUBLIC).unwrap()];
    let good = sealed().remove(1).signature.unwrap();
    let wrong = Err(BadSignature::Wrong(key[0].id()));
    for at in 0..SECOND.len() {
        let mut other = SECOND.as_bytes().to_vec();
        other[at] ^= 1;
        let other = String::from_utf8(other).unwrap();
        assert_eq!(check(&key, &good, &other, COMMENT), wrong, "statement {at}");
    }
    for at in 0..COMMENT.len() {
        let mut other = COMMENT.as_bytes().to_vec();
        other[at] ^= 1;
        let other = String::from_utf8(other).unwrap();
        assert_eq!(check(&key, &good, SECOND, &other), wrong, "comment {at}");
    }
    let changed = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    for at in 0..good.signature.len() {
        let mut bad = good.clone();
        bad.signature = changed(&good.signature, at);
        assert!(check(&key, &bad, SECOND, COMMENT).is_err(), "signature {at}");
    }
    for at in 0..good.global.len() {
        let mut bad = good.clone();
        bad.global = changed(&good.global, at);
        assert!(check(&key, &bad, SECOND, COMMENT).is_err(), "global {at}");
    }
}
