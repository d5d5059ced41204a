//! What `gateway = "storj"` lets through at the load is what Storj stores, and what it refuses there
//! is what Storj would answer with an error for ever.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use vmod_s3log::block::Meta;
use vmod_s3log::clock::System;
use vmod_s3log::s3::object::{LockMode, ObjectLock, SecondsOrDate};
use vmod_s3log::s3::{Gateway, ObjectOptions, Options, Outcome};

use crate::common::moods::{Act, Moods};
use crate::common::profiles::Profile;
use crate::common::s3_objects::{client, object, put};
use crate::common::s3_server::BUCKET;

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// The metadata of a block of these names.
fn own(signed: bool) -> Vec<(String, String)> {
    let pairs = Meta::long("access", "edge-1.cgn.example", signed).to_pairs();
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn checked(options: &ObjectOptions, own: &[(String, String)]) -> Result<(), String> {
    options.check(Gateway::Storj).map_err(|error| error.to_string())?;
    options.check_time(now()).map_err(|error| error.to_string())?;
    let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    options.check_room(Gateway::Storj, own).map_err(|error| error.to_string())
}

/// One PUT of a block with these options to a gateway of this kind.
fn stored(options: ObjectOptions, own: &[(String, String)], profile: Profile) -> Outcome {
    let moods = Moods::start();
    moods.bucket(BUCKET, Act::Like(profile));
    let options = Options { object: options, ..Options::default() };
    let client = client_like(&moods, options);
    object("k", b"block", |object| {
        let object = vmod_s3log::s3::PutObject { metadata: own, ..*object };
        client.put(&object).outcome
    })
}

fn client_like(moods: &Moods, options: Options) -> vmod_s3log::s3::Client {
    // Checked here by itself, so that what is refused can be sent as well.
    let object = ObjectOptions { object_ttl: None, ..options.object.clone() };
    assert!(object.check(Gateway::Generic).is_ok());
    let options = Options { gateway: Some(Gateway::Generic), ..options };
    client(&moods.endpoint(), ("AK", "SK"), options, System::new())
}

#[test]
fn what_the_load_refuses_for_storj_would_never_be_stored_there() {
    let plain = ObjectOptions::default;
    let pairs = |name: &str, value: String| vec![(name.to_owned(), value)];
    let tags = |count, len| (0..count).map(|n| (format!("tag{n}"), "x".repeat(len))).collect();
    for (options, signed) in [
        (ObjectOptions { storage_class: Some("GLACIER".into()), ..plain() }, false),
        (ObjectOptions { storage_class: Some("REDUCED_REDUNDANCY".into()), ..plain() }, false),
        (ObjectOptions { tags: pairs("a", "b&c".into()), ..plain() }, false),
        (ObjectOptions { tags: pairs("a&b", "c".into()), ..plain() }, false),
        (ObjectOptions { metadata: pairs("a", "x".repeat(1400)), ..plain() }, false),
        (ObjectOptions { tags: tags(10, 200), ..plain() }, false),
        (ObjectOptions { metadata: pairs("a", "x".repeat(1000)), ..plain() }, true),
    ] {
        let own = own(signed);
        assert!(checked(&options, &own).is_err(), "{options:?}");
        let outcome = stored(options.clone(), &own, Profile::Storj);
        assert_ne!(outcome, Outcome::Stored, "{options:?}");
    }
    let lock = ObjectLock { mode: LockMode::Governance, duration: Duration::from_secs(60) };
    let ttl = SecondsOrDate::Seconds(60);
    let past = SecondsOrDate::Date("2020-01-01T00:00:00Z".into());
    for options in [
        ObjectOptions { object_lock: Some(lock), object_ttl: Some(ttl), ..plain() },
        ObjectOptions { object_ttl: Some(past), ..plain() },
    ] {
        assert!(checked(&options, &own(false)).is_err(), "{options:?}");
    }
}

#[test]
fn an_expiry_is_sent_in_forms_that_storj_takes() {
    let date = "2090-01-01T00:00:00Z";
    for (ttl, sent) in [
        (SecondsOrDate::Seconds(2_592_000), "+2592000s"),
        (SecondsOrDate::Date(date.to_owned()), date),
    ] {
        let moods = Moods::start();
        moods.bucket(BUCKET, Act::Like(Profile::Storj));
        let object = ObjectOptions { object_ttl: Some(ttl), ..ObjectOptions::default() };
        let options = Options { object, gateway: Some(Gateway::Storj), ..Options::default() };
        let client = client(&moods.endpoint(), ("AK", "SK"), options, System::new());
        assert_eq!(put(&client, "k", b"block").outcome, Outcome::Stored);
        assert_eq!(moods.seen(BUCKET)[0].headers["x-amz-meta-object-expires"], sent);
    }
}

#[test]
fn minio_takes_what_storj_does_not_and_the_other_way_round() {
    let with = |value: &str| {
        let tags = vec![("team".to_owned(), value.to_owned())];
        ObjectOptions { tags, ..ObjectOptions::default() }
    };
    for (options, storj, minio) in
        [(with("edge"), true, true), (with("a&b"), false, true), (with("käse"), true, false)]
    {
        for (profile, expected) in [(Profile::Storj, storj), (Profile::Minio, minio)] {
            let outcome = stored(options.clone(), &own(false), profile);
            assert_eq!(outcome == Outcome::Stored, expected, "{profile:?} {:?}", options.tags);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn what_the_load_lets_through_for_storj_is_stored_there(
        class in prop::option::of("STANDARD|STANDARD|STANDARD|GLACIER"),
        tags in prop::collection::vec(("[a-z]{1,8}", "[a-z é]{0,40}|a&b"), 0..6),
        metadata in prop::collection::vec(("[a-z]{1,12}[0-9]{3}", "[a-zé]{0,200}"), 0..12),
        content_type in "[a-z]{1,20}/[a-z]{1,40}",
        signed: bool,
    ) {
        let options = ObjectOptions {
            storage_class: class, tags, metadata, content_type, ..ObjectOptions::default()
        };
        let own = own(signed);
        if checked(&options, &own).is_ok() {
            prop_assert_eq!(stored(options, &own, Profile::Storj), Outcome::Stored);
        }
    }
}
