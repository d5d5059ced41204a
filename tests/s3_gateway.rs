//! The client against a gateway that runs elsewhere: the same checks for each of them.
//!
//! Ignored unless asked for, and then configured by the environment:
//!
//! | variable | value |
//! |---|---|
//! | `S3LOG_GATEWAY` | the endpoint, such as `http://127.0.0.1:8333` |
//! | `S3LOG_BUCKET` | a bucket that is there |
//! | `S3LOG_CA_FILE` | optional: the authority of an https endpoint |
//! | `S3LOG_ADDRESSING` | optional: `virtual` |
//! | `S3LOG_PROXY` | optional: an HTTP proxy |
//! | `S3LOG_CLIENT_CERTIFICATE`, `S3LOG_CLIENT_KEY` | optional: PEM files |
//! | `S3LOG_LOCK_BUCKET` | optional: a bucket with object lock |
//! | `AWS_ACCESS_KEY_ID`, ... | a key that may write, read and list |
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

mod common;

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use common::clock::Shifted;
use common::s3_objects::{Fixed, put};
use vmod_s3log::clock::{Clock, System};
use vmod_s3log::s3::credentials::{Cache, Credentials, ProcessEnvironment, Sources, chain};
use vmod_s3log::s3::{
    Action, Addressing, Bucket, Checksum, Client, Endpoint, ObjectOptions, Options, Outcome, Proxy,
};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn connect(
    object: ObjectOptions,
    credentials: Cache,
    bucket: &str,
    clock: impl Clock + 'static,
) -> Client {
    let endpoint = Endpoint::parse(&variable("S3LOG_GATEWAY").unwrap(), true).unwrap();
    let addressing = match variable("S3LOG_ADDRESSING").as_deref() {
        Some("virtual") => Addressing::Virtual,
        _ => Addressing::Path,
    };
    let options = Options {
        object,
        ca_file: variable("S3LOG_CA_FILE").map(Into::into),
        client_certificate: variable("S3LOG_CLIENT_CERTIFICATE")
            .zip(variable("S3LOG_CLIENT_KEY"))
            .map(|(chain, key)| (chain.into(), key.into())),
        proxy: variable("S3LOG_PROXY").map_or(Proxy::Environment, Proxy::Url),
        ..Options::default()
    };
    let bucket = Bucket::new(endpoint, bucket, addressing).unwrap();
    Client::new(bucket, options, Arc::new(credentials), Arc::new(clock)).unwrap()
}

fn from_environment() -> Cache {
    chain(&Sources::default(), &(Arc::new(ProcessEnvironment) as Arc<_>), &Options::default())
        .unwrap()
}

#[test]
#[ignore = "needs a gateway: see the top of the file"]
fn the_gateway_takes_what_the_client_sends() {
    let name = variable("S3LOG_BUCKET").unwrap();
    let plain = ObjectOptions::default;
    let client = connect(plain(), from_environment(), &name, System::new());
    let prefix = format!("check-{}/", System::new().unix().as_nanos());
    let key = |name: &str| format!("{prefix}{name}");

    for (name, size) in [("1k", 1 << 10), ("8m", 8 << 20), ("200m", 200 << 20)] {
        let body: Vec<u8> =
            (0..size).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let start = Instant::now();
        let answer = put(&client, &key(name), &body);
        println!("{name}: {answer} in {:?}", start.elapsed());
        assert_eq!(answer.outcome, Outcome::Stored);
        let mut read = Vec::new();
        client.get(&key(name)).unwrap().body.read_to_end(&mut read).unwrap();
        assert!(read == body, "{name} came back changed");
    }

    let special = [
        "a b+c",
        "10:30:00.000-host",
        "percent%20and%",
        "ümlaut-日本語",
        "q?x=1&y=2#f",
        "tilde~star*quote'paren()",
        "$dollar@at!bang,comma;semi=eq",
        "[x]{y}|z^`\"<lt>gt",
    ];
    for name in special {
        let answer = put(&client, &key(name), name.as_bytes());
        println!("key {name:?}: {answer}");
        assert_eq!(answer.outcome, Outcome::Stored);
        let head = client.head(&key(name)).unwrap();
        println!("  metadata {:?}", head.metadata);
        assert_eq!(head.len, Some(name.len() as u64));
    }
    let mut listed = BTreeSet::new();
    let mut next = None;
    loop {
        let page = client.list(&prefix, next.as_deref()).unwrap();
        listed.extend(page.entries.into_iter().map(|entry| entry.key));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let expected: BTreeSet<String> =
        special.iter().chain(&["1k", "8m", "200m"]).map(|name| key(name)).collect();
    assert_eq!(listed, expected);

    let again = put(&client, &key("a b+c"), b"a b+c");
    println!("the same again: {again}");
    assert_eq!(again.outcome, Outcome::AlreadyStored);
    let other = put(&client, &key("a b+c"), b"other");
    println!("another one: {other}");
    assert_eq!(other.outcome, Outcome::Conflict);

    for checksum in [Checksum::Crc32c, Checksum::Crc64Nvme, Checksum::Sha256] {
        let object = ObjectOptions { checksum, content_md5: true, ..plain() };
        let client = connect(object, from_environment(), &name, System::new());
        let answer = put(&client, &key(&format!("{checksum:?}")), b"with a checksum");
        println!("{checksum:?}: {answer}");
        assert_eq!(answer.outcome, Outcome::Stored);
    }

    let dressed = ObjectOptions {
        tags: vec![("team".into(), "edge & co".into())],
        storage_class: Some("STANDARD_IA".into()),
        acl: Some("private".into()),
        ..plain()
    };
    let dressed = connect(dressed, from_environment(), &name, System::new());
    println!("tags, class, acl: {}", put(&dressed, &key("dressed"), b"x"));
    if let Some(bucket) = variable("S3LOG_LOCK_BUCKET") {
        let locked =
            ObjectOptions { object_lock: Some("governance:1d".parse().unwrap()), ..plain() };
        let locked = connect(locked, from_environment(), &bucket, System::new());
        let answer = put(&locked, &key("locked"), b"x");
        println!("object lock: {answer}");
        assert_eq!(answer.outcome, Outcome::Stored);
    }

    let wrong = Fixed(Credentials::new(
        variable("AWS_ACCESS_KEY_ID").unwrap(),
        "a-wrong-secret",
        None,
        None,
        "test",
    ));
    let wrong = connect(plain(), Cache::new(vec![Box::new(wrong)]), &name, System::new());
    let refused = put(&wrong, &key("refused"), &vec![0; 8 << 20]);
    println!("wrong secret, 8 MiB: {refused}");
    let refused = put(&wrong, &key("refused"), &vec![0; 8 << 20]);
    println!("wrong secret, 8 MiB again: {refused}");
    assert_eq!(refused.action(), Action::RetryCredentials);

    let late = connect(plain(), from_environment(), &name, Shifted::by(-3600));
    let first = put(&late, &key("late"), b"x");
    println!("clock one hour behind: {first}");
    let second = put(&late, &key("late"), b"x");
    println!("and once more: {second}, offset {} s", late.clock_offset());
    assert_eq!(second.action(), Action::Done);

    let missing = connect(plain(), from_environment(), "no-such-bucket-here", System::new());
    println!("missing bucket: {}", put(&missing, &key("k"), b"x"));
}
