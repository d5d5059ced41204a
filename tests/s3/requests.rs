//! What the client's requests carry, as a scripted server received them.

use vmod_s3log::clock::System;
use vmod_s3log::s3::object::{ContentMd5, Does, GATEWAYS};
use vmod_s3log::s3::{Checksum, Gateway, ObjectOptions, Options, Outcome};

use crate::common::moods::{Act, Moods, Say, Seen};
use crate::common::s3_objects::{client, put};
use crate::common::s3_server::BUCKET;

/// What a bucket with default retention says to a PUT without a digest.
const WANTS_MD5: Say = Say::new(
    "400 Bad Request",
    "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is \
     required for Put Object requests with Object Lock parameters</Message></Error>",
);

/// The requests of one block, and how the last attempt of up to three ended.
fn sent(options: Options, act: Act) -> (Vec<Seen>, Outcome) {
    let moods = Moods::start();
    moods.bucket(BUCKET, act);
    let client = client(&moods.endpoint(), ("AK", "SK"), options, System::new());
    let mut outcome = Outcome::Broken;
    for _ in 0..3 {
        outcome = put(&client, "k", b"block").outcome;
        if outcome == Outcome::Stored {
            break;
        }
    }
    (moods.seen(BUCKET), outcome)
}

fn with(content_md5: ContentMd5, gateway: Gateway) -> Options {
    let object = ObjectOptions { content_md5, ..ObjectOptions::default() };
    Options { object, gateway: Some(gateway), ..Options::default() }
}

#[test]
fn content_md5_goes_to_aws_by_itself_and_elsewhere_when_it_is_asked_for() {
    const FREE: Act = Act::Stores(Say::new("200 OK", "").with(&[("ETag", "{etag}")]));
    const ASKS: Act =
        Act::Without(&["content-md5", "x-amz-checksum-crc32c", "x-amz-checksum-sha256"], WANTS_MD5);
    use ContentMd5::{Always, Auto, Never};
    for (chosen, gateway, act, carried, outcome) in [
        (Auto, Gateway::Aws, FREE, &[true][..], Outcome::Stored),
        (Auto, Gateway::Generic, FREE, &[false], Outcome::Stored),
        (Auto, Gateway::Generic, ASKS, &[false, true], Outcome::Stored),
        (Always, Gateway::Generic, ASKS, &[true], Outcome::Stored),
        (Never, Gateway::Aws, FREE, &[false], Outcome::Stored),
        (Never, Gateway::Generic, ASKS, &[false; 3], Outcome::Unsupported),
    ] {
        let (seen, ended) = sent(with(chosen, gateway), act);
        // HEAD asks about what is refused.
        let puts = seen.iter().filter(|seen| seen.method == "PUT");
        let found: Vec<_> = puts.map(|seen| seen.headers.contains_key("content-md5")).collect();
        assert_eq!((&found[..], ended), (carried, outcome), "{chosen:?} {gateway:?}");
    }
    let (seen, _) = sent(with(Always, Gateway::Generic), FREE);
    assert_eq!(seen[0].headers["content-md5"], "FFEfL1VkZQ0SnKfKvDMyeA==");
    let options = with(Never, Gateway::Generic);
    let object = ObjectOptions { checksum: Checksum::Crc32c, ..options.object.clone() };
    let (_, ended) = sent(Options { object, ..options }, ASKS);
    assert_eq!(ended, Outcome::Stored);
}

#[test]
fn every_request_names_the_account_that_must_own_the_bucket_and_signs_it() {
    let options =
        Options { expected_bucket_owner: Some("111122223333".into()), ..Options::default() };
    let moods = Moods::start();
    moods.bucket(BUCKET, Act::Stores(Say::new("200 OK", "").with(&[("ETag", "{etag}")])));
    let client = client(&moods.endpoint(), ("AK", "SK"), options, System::new());
    assert_eq!(put(&client, "k", b"block").outcome, Outcome::Stored);
    client.head("k").unwrap();
    client.get("k").unwrap();
    assert_eq!(client.list("", None).unwrap().entries.len(), 1);
    let seen = moods.seen(BUCKET);
    let methods: Vec<_> = seen.iter().map(|seen| seen.method.as_str()).collect();
    assert_eq!(methods, ["PUT", "HEAD", "GET", "GET"]);
    for seen in seen {
        assert_eq!(seen.headers["x-amz-expected-bucket-owner"], "111122223333");
        let signed = &seen.headers["authorization"];
        assert!(signed.contains("x-amz-expected-bucket-owner"), "{signed}");
    }
}

#[test]
fn a_gateway_that_does_not_honour_if_none_match_is_not_sent_it() {
    const FREE: Act = Act::Stores(Say::new("200 OK", "").with(&[("ETag", "{etag}")]));
    let options = |gateway| Options { gateway: Some(gateway), ..Options::default() };
    for traits in GATEWAYS {
        let (seen, ended) = sent(options(traits.gateway), FREE);
        assert_eq!(ended, Outcome::Stored);
        let carried = seen[0].headers.contains_key("if-none-match");
        assert_eq!(carried, traits.if_none_match != Does::No, "{}", traits.name);
    }
}

#[test]
fn a_501_that_names_no_header_is_answered_without_if_none_match_once_and_with_it_again_in_vain() {
    const NAMELESS: Say = Say::new(
        "501 Not Implemented",
        "<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that \
         is not implemented</Message></Error>",
    );
    let carried = |seen: &[Seen]| -> Vec<bool> {
        seen.iter().map(|seen| seen.headers.contains_key("if-none-match")).collect()
    };
    let (seen, ended) = sent(Options::default(), Act::With("if-none-match", NAMELESS));
    assert_eq!((carried(&seen), ended), (vec![true, false], Outcome::Stored));
    // Another header is meant.
    let object = ObjectOptions { tags: vec![("a".into(), "b".into())], ..ObjectOptions::default() };
    let options = Options { object, ..Options::default() };
    let (seen, ended) = sent(options, Act::With("x-amz-tagging", NAMELESS));
    assert_eq!((carried(&seen), ended), (vec![true, false, true], Outcome::Unsupported));
}
