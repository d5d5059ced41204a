//! The client against a server that was not written here: `s3s-fs`, in this process.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::Read;

use crate::common::clock::Shifted;
use crate::common::proxy::Proxy;
use crate::common::s3_objects::{Finished, Fixed, client, object, put, upload};
use crate::common::s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
use std::sync::Arc;
use vmod_s3log::clock::System;
use vmod_s3log::s3::credentials::{Cache, Credentials};
use vmod_s3log::s3::object::ContentMd5;
use vmod_s3log::s3::{self, Addressing, Bucket, Endpoint};
use vmod_s3log::s3::{
    Action, Backoff, Checksum, Client, ObjectOptions, Options, Outcome, PutObject,
};

const KEYS: (&str, &str) = (ACCESS_KEY, SECRET_KEY);

fn connect(server: &S3Server) -> Client {
    client_with(server, KEYS)
}

fn client_with(server: &S3Server, keys: (&str, &str)) -> Client {
    client(&server.endpoint(), keys, Options::default(), System::new())
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
fn what_is_deleted_is_gone_and_may_be_deleted_again() {
    let server = S3Server::start();
    let client = connect(&server);
    for key in ["a", "b"] {
        assert_eq!(put(&client, key, b"line\n").outcome, Outcome::Stored);
    }
    for _ in 0..2 {
        assert_eq!(client.delete("a"), Ok(()));
        assert_eq!(client.head("a").unwrap_err().outcome, Outcome::NoObject);
        assert_eq!(read(&client, "b"), b"line\n");
    }
    let strange = client_with(&server, (ACCESS_KEY, "another secret"));
    assert_eq!(strange.delete("b").unwrap_err().outcome, Outcome::Refused);
    assert_eq!(read(&client, "b"), b"line\n");
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
        let object =
            ObjectOptions { checksum, content_md5: ContentMd5::Always, ..ObjectOptions::default() };
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
    let answer = object("k", b"the block as it was sealed", |object| {
        let open = || -> std::io::Result<Box<dyn Read>> {
            Ok(Box::new(&b"the block as it was SEALED"[..]))
        };
        client.put(&PutObject { open: &open, metadata: object.metadata, ..*object })
    });
    assert_ne!(answer.action(), Action::Done, "{answer}");
    assert!(client.head("k").is_err());
}

#[test]
fn ten_blocks_and_a_look_at_each_go_over_one_connection() {
    let server = S3Server::start();
    let client = connect(&server);
    for number in 0..10 {
        let key = format!("k{number}");
        assert_eq!(put(&client, &key, b"x").outcome, Outcome::Stored);
        assert_eq!(client.head(&key).unwrap().len, Some(1));
        assert_eq!(client.head("not-there").unwrap_err().outcome, Outcome::NoObject);
        assert_eq!(client.get("not-there").unwrap_err().outcome, Outcome::NoObject);
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn two_threads_upload_at_the_same_time_with_one_client() {
    let server = S3Server::start();
    let client = connect(&server);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let client = &client;
            scope.spawn(move || {
                for number in 0..5 {
                    let answer = put(client, &format!("{thread}/{number}"), &vec![thread; 300_000]);
                    assert_eq!(answer.outcome, Outcome::Stored, "{answer}");
                }
            });
        }
    });
    assert_eq!(client.list("", None).unwrap().entries.len(), 10);
}

/// A body that ends the server when half of it was read.
struct Killer {
    body: std::io::Cursor<Vec<u8>>,
    server: Option<S3Server>,
}

impl Read for Killer {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.body.position() > self.body.get_ref().len() as u64 / 2 {
            self.server.take();
        }
        self.body.read(buffer)
    }
}

#[test]
fn a_server_that_dies_while_it_receives_and_comes_back_has_the_block_in_the_end() {
    let first = S3Server::start_to_return();
    let (place, endpoint) = (first.place(), first.endpoint());
    let server = RefCell::new(Some(first));
    let client = client(&endpoint, KEYS, Options::default(), System::new());
    let body = vec![3u8; 4_000_000];
    let waits = Cell::new(0);
    let finished = object("k", &body, |object| {
        let open = || -> std::io::Result<Box<dyn Read>> {
            // Only the first attempt has a server to kill.
            let server = if waits.get() == 0 { server.take() } else { None };
            Ok(Box::new(Killer { body: std::io::Cursor::new(body.clone()), server }))
        };
        let object = PutObject { open: &open, metadata: object.metadata, ..*object };
        let mut wait = |_| {
            waits.set(waits.get() + 1);
            if waits.get() == 3 {
                server.replace(Some(S3Server::restart(&place)));
            }
            waits.get() < 10
        };
        let backoff = Backoff::new(fastrand::Rng::with_seed(3));
        upload(&client, &object, &System::new(), backoff, &mut wait, &mut |failure, action, _| {
            assert!(matches!(action, Action::Retry { .. }), "{failure}");
        })
    });
    let Finished::Stored { attempts, .. } = finished else { panic!("{finished:?}") };
    assert_eq!(attempts, 4);
    assert_eq!(read(&client, "k"), body);
}

#[test]
fn virtual_hosts_are_reached_through_a_proxy_that_resolves_them() {
    let server = S3Server::start_virtual("s3.test");
    let proxy = Proxy::start(server.address());
    let endpoint = Endpoint::parse("http://s3.test", true).unwrap();
    let bucket = Bucket::new(endpoint, BUCKET, Addressing::Virtual).unwrap();
    let fixed = Fixed(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"));
    let cache = Arc::new(Cache::new(vec![Box::new(fixed)]));
    let options = Options { proxy: s3::Proxy::Url(proxy.url()), ..Options::default() };
    let client = Client::new(bucket, options, cache, Arc::new(System::new())).unwrap();
    let answer = put(&client, "a b/c", b"x");
    assert_eq!(answer.outcome, Outcome::Stored, "{answer}");
    assert_eq!(read(&client, "a b/c"), b"x");
    assert_eq!(client.list("a b/", None).unwrap().entries.len(), 1);
    assert_eq!(proxy.asked()[0], "logs.s3.test:80");
    assert!(server.root().join("logs/a b/c").is_file());
}
