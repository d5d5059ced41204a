//! The client against a server that was not written here: `s3s-fs`, in this process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a test")]

mod common;

use std::collections::BTreeSet;
use std::io::Read;

use common::clock::Shifted;
use common::s3_objects::{client, put};
use common::s3_server::{ACCESS_KEY, S3Server, SECRET_KEY};
use vmod_s3log::clock::System;
use vmod_s3log::s3::{Action, Checksum, Client, ObjectOptions, Options, Outcome};

const KEYS: (&str, &str) = (ACCESS_KEY, SECRET_KEY);

fn connect(server: &S3Server) -> Client {
    client(&server.endpoint(), KEYS, Options::default(), System::new())
}

fn read(client: &Client, key: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.get(key).unwrap().body.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_was_put_is_listed_looked_at_and_read_back() {
    let server = S3Server::start();
    let client = connect(&server);
    let body: Vec<u8> =
        (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let answer = put(&client, "varnish/2026/a.log.gz", &body);
    assert_eq!(answer.outcome, Outcome::Stored, "{answer}");
    let head = client.head("varnish/2026/a.log.gz").unwrap();
    assert_eq!(head.len, Some(body.len() as u64));
    assert!(head.metadata.contains(&("records".into(), "3".into())), "{head:?}");
    assert_eq!(read(&client, "varnish/2026/a.log.gz"), body);
    assert_eq!(put(&client, "other/b", b"").outcome, Outcome::Stored);
    let page = client.list("varnish/", None).unwrap();
    assert_eq!(page.entries.len(), 1);
    assert_eq!(page.entries[0].size, body.len() as u64);
    assert_eq!(page.next, None);
}

#[test]
fn keys_with_any_printable_character_come_back_as_they_went() {
    let server = S3Server::start();
    let client = connect(&server);
    let keys = [
        "a b+c",
        "10:30:00.000-host",
        "percent%20and%",
        "ümlaut/日本語",
        "q?x=1&y=2#frag",
        "plus+tilde~star*quote'paren()",
        "$dollar@at!bang,comma;semi=eq",
        "[brackets]{braces}|pipe^caret`tick\"quote<lt>gt",
    ];
    for key in keys {
        let answer = put(&client, key, key.as_bytes());
        assert_eq!(answer.outcome, Outcome::Stored, "{key}: {answer}");
        assert_eq!(read(&client, key), key.as_bytes(), "{key}");
    }
    let listed: BTreeSet<String> =
        client.list("", None).unwrap().entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(listed, keys.iter().map(|key| (*key).to_owned()).collect());
}

#[test]
fn the_same_block_put_twice_is_there_already_and_another_block_under_its_key_is_a_conflict() {
    let server = S3Server::start();
    let client = connect(&server);
    assert_eq!(put(&client, "k", b"one").outcome, Outcome::Stored);
    let again = put(&client, "k", b"one");
    assert_eq!((again.outcome, again.action()), (Outcome::AlreadyStored, Action::Done));
    let other = put(&client, "k", b"two");
    assert_eq!((other.outcome, other.action()), (Outcome::Conflict, Action::Quarantine));
    assert_eq!(read(&client, "k"), b"one");
}

#[test]
fn a_wrong_secret_and_an_unknown_key_are_refused_by_name() {
    let server = S3Server::start();
    for (keys, code) in
        [((ACCESS_KEY, "wrong-secret"), "SignatureDoesNotMatch"), (("AKIAUNKNOWN", SECRET_KEY), "")]
    {
        let client = client(&server.endpoint(), keys, Options::default(), System::new());
        let answer = put(&client, "k", b"x");
        assert_eq!(answer.action(), Action::RetryCredentials, "{answer}");
        assert_eq!(answer.status, Some(403), "{answer}");
        assert!(answer.code.contains(code), "{answer}");
        assert!(!answer.to_string().contains("wrong-secret"), "{answer}");
    }
}

#[test]
fn a_clock_that_is_off_by_hours_is_corrected_by_the_first_refusal() {
    let server = S3Server::start();
    for shift in [-7200, 7200] {
        let client = client(&server.endpoint(), KEYS, Options::default(), Shifted::by(shift));
        let first = put(&client, "k", b"x");
        assert_eq!(first.outcome, Outcome::ClockCorrected, "{first}");
        assert!((client.clock_offset() + shift).abs() <= 2, "{}", client.clock_offset());
        let second = put(&client, "k", b"x");
        assert_eq!(second.action(), Action::Done, "{second}");
    }
}

#[test]
fn every_checksum_is_one_that_the_server_computes_too() {
    let server = S3Server::start();
    let checksums = [Checksum::Crc32c, Checksum::Crc64Nvme, Checksum::Sha256];
    for (number, checksum) in checksums.into_iter().enumerate() {
        let object = ObjectOptions { checksum, content_md5: true, ..ObjectOptions::default() };
        let options = Options { object, ..Options::default() };
        let client = client(&server.endpoint(), KEYS, options, System::new());
        let answer = put(&client, &format!("k{number}"), &vec![7; 200_000]);
        assert_eq!(answer.outcome, Outcome::Stored, "{checksum:?}: {answer}");
    }
}

#[test]
fn a_body_that_is_not_what_was_hashed_is_never_stored() {
    let server = S3Server::start();
    let client = connect(&server);
    let answer = common::s3_objects::object("k", b"the block as it was sealed", |object| {
        let open = || -> std::io::Result<Box<dyn Read>> {
            Ok(Box::new(&b"the block as it was SEALED"[..]))
        };
        client.put(&vmod_s3log::s3::PutObject { open: &open, metadata: object.metadata, ..*object })
    });
    assert_ne!(answer.action(), Action::Done, "{answer}");
    assert!(client.head("k").is_err());
}
