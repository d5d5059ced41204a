//! The failure table against a gateway that plays scripts: a test a row, and the ways in which an
//! exchange can go wrong.

use std::io::{Read, Write as _};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::common::answering::{Answering, Reply, http};
use crate::common::clock::Shifted;
use crate::common::fake::{Fake, Play, error, reply};
use crate::common::moods::tag;
use crate::common::s3_objects::{Finished, Fixed, client, object, put, upload};
use crate::common::stream::DEAD;
use vmod_s3log::clock::{Clock, System};
use vmod_s3log::s3::backoff::CAP;
use vmod_s3log::s3::credentials::{Cache, Credentials};
use vmod_s3log::s3::{
    Action, Addressing, Answer, Backoff, Bucket, Checksum, Client, Endpoint, Gateway,
    ObjectOptions, Options, Outcome, Proxy, PutObject, PutOnce,
};

const SECRET: &str = "a-secret-that-nobody-may-see";
const KEYS: (&str, &str) = ("AKIAEXAMPLE", SECRET);

/// What no exchange here takes, on the slowest of machines.
const PATIENCE: Duration = Duration::from_secs(120);
/// Of who is to time out: connecting, which is another failure, does not take it.
const HASTE: Duration = Duration::from_secs(2);

fn connect(fake: &Fake) -> Client {
    with_timeout(fake, PATIENCE)
}

fn with_timeout(fake: &Fake, timeout: Duration) -> Client {
    let options = Options { timeout, proxy: Proxy::None, ..Options::default() };
    client(&fake.endpoint(), KEYS, options, System::new())
}

/// The answer to one PUT of a few bytes.
fn answer(play: Play) -> Answer {
    let fake = Fake::start(vec![play]);
    let answer = put(&connect(&fake), "a/k", b"block");
    assert!(!format!("{answer} {answer:?}").contains(SECRET), "{answer:?}");
    fake.requests();
    answer
}

fn said(status: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    answer(Play::Say(reply(status, headers, body)))
}

fn head_of(hash_of: &[u8], len: usize) -> Play {
    let hash = object("k", hash_of, |object| object.metadata[0].1.clone());
    // A HEAD's Content-Length is the object's; no body follows.
    Play::Say(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nx-amz-meta-SHA256: {hash}\r\n\
         Connection: close\r\n\r\n"
    ))
}

#[test]
fn status_200_with_the_md5_of_the_body_is_stored() {
    let stored = answer(Play::Store);
    assert_eq!((stored.outcome, stored.action()), (Outcome::Stored, Action::Done));
}

#[test]
fn the_request_has_a_plain_body_its_length_its_hash_and_no_expectation() {
    let fake = Fake::start(vec![Play::Store]);
    put(&connect(&fake), "a/k", b"block");
    let request = fake.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = format!("{}\r\n", head.to_ascii_lowercase());
    assert!(head.starts_with("put /logs/a/k http/1.1\r\n"), "{head}");
    assert_eq!(body, "block");
    for line in [
        "content-length: 5",
        "if-none-match: *",
        "content-type: application/octet-stream",
        "x-amz-content-sha256: 496aca80e4d8f29fb8e8cd816c3afb48d3f103970b3a2ee1600c08ca67326dee",
        "x-amz-meta-records: 3",
        "x-amz-meta-host: =?utf-8?b?a8okc2ugigjvea==?=",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} is not in {head}");
    }
    for absent in
        ["expect", "transfer-encoding", "aws-chunked", "x-amz-checksum", "accept-encoding"]
    {
        assert!(!head.contains(absent), "{absent} in {head}");
    }
}

#[test]
fn a_refused_connection_is_retried() {
    let refused = put(&client(DEAD, KEYS, Options::default(), System::new()), "k", b"x");
    assert_eq!(refused.outcome, Outcome::Unreachable, "{refused}");
    assert_eq!(refused.action(), Action::Retry { after: None });
}

#[test]
fn a_name_that_does_not_resolve_is_retried() {
    let endpoint = "http://nobody-has-this-name.localhost:1";
    let unknown = put(&client(endpoint, KEYS, Options::default(), System::new()), "k", b"x");
    assert_eq!(unknown.outcome, Outcome::Unreachable, "{unknown:?}");
}

#[test]
fn a_gateway_that_speaks_no_tls_on_its_https_port_is_retried_as_such() {
    let fake = Fake::start(vec![Play::Greet(reply("400 Bad Request", &[], ""))]);
    let endpoint = fake.endpoint().replace("http://", "https://");
    let answer = put(&client(&endpoint, KEYS, Options::default(), System::new()), "k", b"x");
    assert!(matches!(answer.outcome, Outcome::Tls | Outcome::Broken), "{answer:?}");
    assert_eq!(answer.action(), Action::Retry { after: None });
}

#[test]
fn each_busy_status_is_retried() {
    for status in [
        "408 Request Timeout",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Slow Down",
        "504 Gateway Timeout",
    ] {
        let busy = said(status, &[], &error("SlowDown", "Please reduce your request rate."));
        assert_eq!(busy.outcome, Outcome::Busy, "{busy}");
        assert_eq!(busy.action(), Action::Retry { after: None }, "{busy}");
        assert_eq!(busy.request_id, "REQ-1");
    }
}

#[test]
fn retry_after_in_seconds_and_as_a_date_is_obeyed() {
    let seconds = said("503 Slow Down", &[("Retry-After", "17")], "");
    assert_eq!(seconds.action(), Action::Retry { after: Some(Duration::from_secs(17)) });
    // Compared with the gateway's own Date, so that neither clock matters.
    let date = said(
        "503 Slow Down",
        &[
            ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT"),
        ],
        "",
    );
    assert_eq!(date.action(), Action::Retry { after: Some(Duration::from_secs(60)) });
}

#[test]
fn status_401_and_403_read_the_credentials_again() {
    for (status, code) in [
        ("401 Unauthorized", "Unauthorized"),
        ("403 Forbidden", "AccessDenied"),
        ("403 Forbidden", "InvalidAccessKeyId"),
        ("400 Bad Request", "ExpiredToken"),
    ] {
        let refused = said(status, &[], &error(code, "no"));
        assert_eq!(refused.action(), Action::RetryCredentials, "{refused}");
        assert_eq!(refused.code, code);
    }
}

#[test]
fn a_403_from_a_gateway_with_another_clock_is_retried_with_that_clock() {
    let later = "Sun, 06 Nov 2044 08:49:37 GMT";
    let fake = Fake::start(vec![
        Play::Say(reply("403 Forbidden", &[("Date", later)], &error("RequestTimeTooSkewed", "x"))),
        Play::Say(reply("403 Forbidden", &[("Date", later)], &error("AccessDenied", "x"))),
    ]);
    let client = connect(&fake);
    assert_eq!(put(&client, "k", b"x").outcome, Outcome::ClockCorrected);
    // Once more is not a clock: it does not turn into an endless loop of corrections.
    assert_eq!(put(&client, "k", b"x").outcome, Outcome::Refused);
    assert!(fake.requests()[1].to_ascii_lowercase().contains("x-amz-date: 20441106t0849"));
}

#[test]
fn a_wrong_date_does_not_end_credentials_that_expire() {
    let year = Duration::from_secs(365 * 86_400);
    let dates = ["Sun, 06 Nov 2044 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"];
    for date in dates {
        let refused = reply("403 Forbidden", &[("Date", date)], &error("AccessDenied", "x"));
        let fake = Fake::start(vec![Play::Say(refused), Play::Store]);
        let endpoint = Endpoint::parse(&fake.endpoint(), false).unwrap();
        let bucket = Bucket::new(endpoint, "logs", Addressing::Path).unwrap();
        let soon = System::new().unix() + Duration::from_secs(3600);
        let fixed = Fixed(Credentials::new("AK", SECRET, Some("token"), Some(soon), "test"));
        let cache = Arc::new(Cache::new(vec![Box::new(fixed)]));
        let client =
            Client::new(bucket, Options::default(), cache, Arc::new(System::new())).unwrap();
        assert_eq!(put(&client, "k", b"x").outcome, Outcome::ClockCorrected);
        assert!(client.clock_offset().unsigned_abs() > year.as_secs());
        assert_eq!(put(&client, "k", b"x").outcome, Outcome::Stored, "{date}");
    }
}

/// `Date` as `clock` has it.
fn date_of(clock: &dyn Clock) -> String {
    let now = jiff::Timestamp::from_second(clock.unix().as_secs() as i64).unwrap();
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A client whose key ends at `expires`, and whose clock is `shift` seconds off.
fn expiring(fake: &Fake, expires: Duration, shift: i64) -> Client {
    let endpoint = Endpoint::parse(&fake.endpoint(), false).unwrap();
    let bucket = Bucket::new(endpoint, "logs", Addressing::Path).unwrap();
    let fixed = Fixed(Credentials::new("AK", SECRET, Some("token"), Some(expires), "test"));
    let cache = Arc::new(Cache::new(vec![Box::new(fixed)]));
    Client::new(bucket, Options::default(), cache, Arc::new(Shifted::by(shift))).unwrap()
}

#[test]
fn a_clock_that_is_ahead_does_not_end_credentials_before_the_gateway_was_asked() {
    let date = date_of(&System::new());
    let skewed = error("RequestTimeTooSkewed", "x");
    let skewed = Play::Say(reply("403 Forbidden", &[("Date", &date)], &skewed));
    let stored = reply("200 OK", &[("Date", &date), ("ETag", &tag(b"x"))], "");
    let stored = || Play::Say(stored.clone());
    let in_an_hour = System::new().unix() + Duration::from_secs(3600);
    let fake = Fake::start(vec![skewed, stored(), stored()]);
    let client = expiring(&fake, in_an_hour, 7200);
    let outcomes = [(); 3].map(|()| put(&client, "k", b"x").outcome);
    assert_eq!(outcomes, [Outcome::ClockCorrected, Outcome::Stored, Outcome::Stored]);
    // A gateway that takes any date.
    let fake = Fake::start(vec![stored(), stored()]);
    let client = expiring(&fake, in_an_hour, 7200);
    assert_eq!([(); 2].map(|()| put(&client, "k", b"x").outcome), [Outcome::Stored; 2]);
}

#[test]
fn credentials_that_have_expired_by_the_gateway_s_clock_too_are_not_sent_again() {
    let date = date_of(&System::new());
    let expired = error("ExpiredToken", "x");
    let expired = Play::Say(reply("400 Bad Request", &[("Date", &date)], &expired));
    let fake = Fake::start(vec![expired, Play::Store]);
    let client = expiring(&fake, System::new().unix() - Duration::from_secs(60), 0);
    let answers = [(); 2].map(|()| put(&client, "k", b"x"));
    let outcomes = answers.each_ref().map(|answer| answer.outcome);
    assert_eq!(outcomes, [Outcome::Refused, Outcome::NoCredentials], "{answers:?}");
    for answer in answers {
        assert!(answer.to_string().contains("at their source"), "{answer}");
    }
}

#[test]
fn a_clock_that_was_corrected_has_what_was_lent_by_it_read_again() {
    /// Lends for an hour by the clock of who asks, and counts.
    #[derive(Debug)]
    struct Lender(Arc<Mutex<Vec<Duration>>>);
    impl vmod_s3log::s3::credentials::Provider for Lender {
        fn name(&self) -> String {
            "test".to_owned()
        }
        fn load(
            &self,
            now: Duration,
        ) -> Result<Option<Credentials>, vmod_s3log::s3::credentials::CredentialsError> {
            self.0.lock().unwrap().push(now);
            let end = now + Duration::from_secs(3600);
            Ok(Some(Credentials::new("AK", SECRET, Some("token"), Some(end), "test")))
        }
    }
    let date = date_of(&System::new());
    let skewed = error("RequestTimeTooSkewed", "x");
    let skewed = Play::Say(reply("403 Forbidden", &[("Date", &date)], &skewed));
    let fake = Fake::start(vec![skewed, Play::Store]);
    let endpoint = Endpoint::parse(&fake.endpoint(), false).unwrap();
    let bucket = Bucket::new(endpoint, "logs", Addressing::Path).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let cache = Arc::new(Cache::new(vec![Box::new(Lender(Arc::clone(&asked)))]));
    let clock = Arc::new(Shifted::by(7200));
    let client = Client::new(bucket, Options::default(), cache, clock).unwrap();
    let outcomes = [(); 2].map(|()| put(&client, "k", b"x").outcome);
    assert_eq!(outcomes, [Outcome::ClockCorrected, Outcome::Stored]);
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0] - asked[1] > Duration::from_secs(5400), "{asked:?}");
}

#[test]
fn a_wrong_date_does_not_end_objects_that_expire() {
    let later = "Sun, 06 Nov 2044 08:49:37 GMT";
    let refused = reply("403 Forbidden", &[("Date", later)], &error("AccessDenied", "x"));
    let fake = Fake::start(vec![Play::Say(refused), Play::Store]);
    let options = Options {
        proxy: Proxy::None,
        gateway: Some(Gateway::Storj),
        object: ObjectOptions {
            object_ttl: Some("2028-01-01T00:00:00Z".parse().unwrap()),
            ..ObjectOptions::default()
        },
        ..Options::default()
    };
    let client = client(&fake.endpoint(), KEYS, options, Noon);
    assert_eq!(put(&client, "k", b"x").outcome, Outcome::ClockCorrected);
    let stored = put(&client, "k", b"x");
    assert_eq!(stored.outcome, Outcome::Stored, "{stored}");
}

#[test]
fn two_uploads_under_way_that_are_refused_for_the_clock_both_go_on_with_the_gateway_s() {
    let (heard, first_is_over) = mpsc::channel();
    let (arrived, both) = (Mutex::new(0), Barrier::new(2));
    let first_is_over = Mutex::new(first_is_over);
    let later = System::new().unix() + Duration::from_secs(3600);
    let later = jiff::Timestamp::from_second(later.as_secs() as i64).unwrap();
    let later = later.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let server = Answering::start(move |_| {
        let number = {
            let mut arrived = arrived.lock().unwrap();
            *arrived += 1;
            *arrived
        };
        both.wait();
        if number == 2 {
            first_is_over.lock().unwrap().recv().unwrap();
        }
        let body = error("RequestTimeTooSkewed", "x");
        Reply::Now(http("403 Forbidden", &[("Date", &later)], body.as_bytes()))
    });
    let client = client(&server.endpoint(), KEYS, Options::default(), System::new());
    let outcomes = std::thread::scope(|scope| {
        let put = |key| {
            let (client, heard) = (&client, heard.clone());
            scope.spawn(move || {
                let outcome = put(client, key, b"x").outcome;
                let _ = heard.send(());
                outcome
            })
        };
        [put("a"), put("b")].map(|put| put.join().unwrap())
    });
    assert_eq!(outcomes, [Outcome::ClockCorrected; 2]);
    assert!((3590..=3610).contains(&client.clock_offset()), "{}", client.clock_offset());
}

#[test]
fn a_block_whose_body_was_cut_asks_before_it_is_sent_although_others_were_stored_since() {
    let refusal = reply("413 Payload Too Large", &[], "");
    let fake = Fake::start(vec![
        Play::SayIfAsked(refusal.clone()),
        Play::Store,
        Play::SayIfAsked(refusal),
    ]);
    let client = with_timeout(&fake, Duration::from_secs(60));
    let large = vec![b'x'; 16 << 20];
    assert_eq!(put(&client, "large", &large).outcome, Outcome::Broken);
    assert_eq!(put(&client, "small", b"x").outcome, Outcome::Stored);
    let heard = put(&client, "large", &large);
    assert_eq!((heard.outcome, heard.status), (Outcome::NotS3, Some(413)), "{heard}");
}

#[test]
fn a_501_for_another_reason_does_not_bring_back_the_condition_that_the_gateway_does_not_know() {
    let nameless = || {
        let text = "A header you provided implies functionality that is not implemented";
        Play::Say(reply("501 Not Implemented", &[], &error("NotImplemented", text)))
    };
    let fake = Fake::start(vec![nameless(), Play::Store, nameless(), Play::Store]);
    let client = connect(&fake);
    let outcomes = [(); 4].map(|()| put(&client, "k", b"x").outcome);
    let expected = [Outcome::Adapted, Outcome::Stored, Outcome::Unsupported, Outcome::Stored];
    assert_eq!(outcomes, expected);
    let conditional: Vec<_> =
        fake.requests().iter().map(|request| request.contains("if-none-match")).collect();
    assert_eq!(conditional, [true, false, false, false]);
}

#[test]
fn a_missing_bucket_and_a_wrong_region_are_kept_for_the_operator_to_mend() {
    let missing = said("404 Not Found", &[], &error("NoSuchBucket", "no such bucket"));
    assert_eq!(missing.outcome, Outcome::NoBucket);
    assert_eq!(missing.action(), Action::RetryConfiguration);
    let moved = said(
        "301 Moved Permanently",
        &[("x-amz-bucket-region", "eu-west-1"), ("Location", "http://127.0.0.1:1/elsewhere")],
        &error("PermanentRedirect", "use the other endpoint"),
    );
    assert_eq!(moved.outcome, Outcome::WrongRegion);
    assert_eq!(moved.action(), Action::RetryConfiguration);
    assert!(moved.to_string().contains("eu-west-1"), "{moved}");
    assert!(moved.to_string().contains("elsewhere"), "{moved}");
}

#[test]
fn only_what_is_the_block_s_own_fault_is_set_aside_and_only_at_the_third_time() {
    let unknown = said("400 Bad Request", &[], &error("NobodyKnowsThisOne", "no"));
    let kept = (Outcome::Rejected, Action::RetryConfiguration);
    assert_eq!((unknown.outcome, unknown.action()), kept);
    let page = said("413 Payload Too Large", &[], "");
    assert_eq!((page.outcome, page.action()), (Outcome::NotS3, Action::RetryConfiguration));
    let large = || Play::Say(reply("400 Bad Request", &[], &error("EntityTooLarge", "no")));
    let fake = Fake::start(vec![large(), large(), large()]);
    let client = connect(&fake);
    let kept = Mutex::new(0);
    let finished = object("k", b"block", |object| {
        let backoff = Backoff::new(fastrand::Rng::with_seed(1));
        let notice = &mut |_: &_, _, _| *kept.lock().unwrap() += 1;
        upload(&client, object, &Shifted::default(), backoff, &mut |_| true, notice)
    });
    let Finished::Condemned(failure) = finished else { panic!("{finished:?}") };
    assert_eq!((failure.attempts, failure.answer.outcome), (3, Outcome::Unfit));
    assert_eq!(*kept.lock().unwrap(), 2);
}

#[test]
fn a_412_is_settled_by_the_hash_and_the_length_that_head_shows() {
    let conflict = || Play::Say(reply("412 Precondition Failed", &[], ""));
    let plain = |status: &str| Play::Say(format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n"));
    for (head, outcome) in [
        (head_of(b"block", 5), Outcome::AlreadyStored),
        (head_of(b"other", 5), Outcome::Conflict),
        (head_of(b"block", 6), Outcome::Conflict),
        (plain("403 Forbidden"), Outcome::Unsettled),
        (plain("400 Bad Request"), Outcome::Unsettled),
        (plain("404 Not Found"), Outcome::Busy),
        (plain("503 Slow Down"), Outcome::Busy),
    ] {
        let fake = Fake::start(vec![conflict(), head]);
        let answer = put(&connect(&fake), "k", b"block");
        assert_eq!(answer.outcome, outcome, "{answer:?}");
        assert!(fake.requests()[1].starts_with("HEAD /logs/k HTTP/1.1\r\n"));
    }
}

#[test]
fn a_refusal_for_what_may_be_there_already_is_settled_by_head() {
    let plain = |status: &str| Play::Say(format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n"));
    let refusals = [
        ("409 Conflict", "", Outcome::Busy, Outcome::Conflict),
        ("409 Conflict", "FileImmutable", Outcome::Busy, Outcome::Conflict),
        // Another request is under way, and what it leaves may be overwritten.
        ("409 Conflict", "OperationAborted", Outcome::Busy, Outcome::Busy),
        ("409 Conflict", "ConditionalRequestConflict", Outcome::Busy, Outcome::Busy),
        ("403 Forbidden", "", Outcome::Refused, Outcome::Refused),
        ("403 Forbidden", "AccessDenied", Outcome::Refused, Outcome::Refused),
        ("403 Forbidden", "RetentionPolicyNotMet", Outcome::Refused, Outcome::Refused),
        ("400 Bad Request", "InvalidRequest", Outcome::Unsupported, Outcome::Unsupported),
        ("400 Bad Request", "NobodyKnowsThisOne", Outcome::Rejected, Outcome::Rejected),
        ("405 Not Allowed", "MethodNotAllowed", Outcome::Unsupported, Outcome::Unsupported),
    ];
    for (status, code, unsettled, if_other) in refusals {
        let body = if code.is_empty() { String::new() } else { error(code, "no") };
        for (head, outcome, other) in [
            (head_of(b"block", 5), Outcome::AlreadyStored, false),
            (head_of(b"other", 5), if_other, true),
            (head_of(b"block", 6), if_other, true),
            (plain("403 Forbidden"), unsettled, false),
            (plain("404 Not Found"), unsettled, false),
            (plain("503 Slow Down"), unsettled, false),
        ] {
            let fake = Fake::start(vec![Play::Say(reply(status, &[], &body)), head.clone()]);
            let answer = put(&connect(&fake), "k", b"block");
            assert_eq!(answer.outcome, outcome, "{status} {code}, {head:?}: {answer}");
            assert_eq!(answer.code, code, "{answer}");
            let says = |text: &str| answer.to_string().contains(text);
            assert_eq!(says("another object has this key"), other, "{answer}");
            let hidden = matches!(&head, Play::Say(text) if text.contains("403"));
            assert_eq!(says("allow s3:GetObject"), hidden && status.starts_with("409"), "{answer}");
            let asked = fake.requests();
            assert!(
                asked[1].starts_with("HEAD /logs/k HTTP/1.1\r\n"),
                "{status} {code}: {asked:?}"
            );
        }
    }
}

#[test]
fn a_refusal_that_is_not_about_the_object_is_not_asked_about() {
    for (status, code) in [
        ("401 Unauthorized", ""),
        ("403 Forbidden", "InvalidAccessKeyId"),
        ("403 Forbidden", "SignatureDoesNotMatch"),
        ("403 Forbidden", "QuotaExceeded"),
        ("400 Bad Request", "ExpiredToken"),
        ("400 Bad Request", "InvalidStorageClass"),
        ("400 Bad Request", "EntityTooLarge"),
        ("400 Bad Request", ""),
        ("404 Not Found", "NoSuchBucket"),
        ("503 Slow Down", "SlowDown"),
    ] {
        let body = if code.is_empty() { String::new() } else { error(code, "no") };
        let server = Answering::start(move |_| Reply::Now(http(status, &[], body.as_bytes())));
        put(&client(&server.endpoint(), KEYS, Options::default(), System::new()), "k", b"block");
        let asked: Vec<_> = server.asked().into_iter().map(|asked| asked.method).collect();
        assert_eq!(asked, ["PUT"], "{status} {code}");
    }
}

#[test]
fn a_412_for_what_head_does_not_find_says_which_setting_it_may_be() {
    let fake = Fake::start(vec![
        Play::Say(reply("412 Precondition Failed", &[], "")),
        Play::Say("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n".to_owned()),
    ]);
    let answer = put(&connect(&fake), "k", b"block");
    assert_eq!(answer.action(), Action::Retry { after: None });
    assert!(answer.to_string().contains("set if_none_match = false"), "{answer}");
}

#[test]
fn where_head_is_not_answered_get_tells_whose_object_it_is() {
    for status in ["405 Method Not Allowed", "501 Not Implemented"] {
        for (get, outcome) in [
            (reply("200 OK", &[], "block"), Outcome::AlreadyStored),
            (reply("200 OK", &[], "other"), Outcome::Conflict),
            (reply("404 Not Found", &[], ""), Outcome::Busy),
            (reply("403 Forbidden", &[], ""), Outcome::Unsettled),
        ] {
            let fake = Fake::start(vec![
                Play::Say(reply("412 Precondition Failed", &[], "")),
                Play::Say(format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n")),
                Play::Say(get.clone()),
            ]);
            let answer = put(&connect(&fake), "k", b"block");
            assert_eq!(answer.outcome, outcome, "{status} {get}: {answer}");
        }
    }
}

#[test]
fn a_redirect_keeps_the_block_and_one_to_tls_says_what_to_write() {
    for (location, says) in [
        (None, "this is not an answer of S3"),
        (Some("https://127.0.0.1/logs/k"), "the gateway wants TLS: write https:// in endpoint"),
        (Some("https://portal.example/login"), "location https://portal.example/login"),
        (Some("/login"), "location /login"),
    ] {
        for status in ["301 Moved", "302 Found", "303 See", "307 Elsewhere", "308 Moved"] {
            let headers: Vec<_> = location.iter().map(|text| ("Location", *text)).collect();
            let answer = said(status, &headers, "<html>");
            assert_eq!(answer.action(), Action::RetryConfiguration, "{status} {answer}");
            assert!(answer.to_string().contains(says), "{status}: {answer}");
        }
    }
}

#[test]
fn a_412_with_a_head_that_leaves_the_metadata_out_is_settled_by_the_tag_or_by_reading_back() {
    let head = |more: &str| {
        let text =
            format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{more}Connection: close\r\n\r\n");
        Play::Say(text)
    };
    let tag = format!("ETag: {}\r\n", tag(b"block"));
    let body = |body| Some(Play::Say(reply("200 OK", &[], body)));
    let other = "ETag: \"0123456789abcdef0123456789abcdef\"\r\n";
    for (head, get, outcome) in [
        (head(&tag), None, Outcome::AlreadyStored),
        (head(""), body("block"), Outcome::AlreadyStored),
        (head(""), body("other"), Outcome::Conflict),
        (head(other), body("block"), Outcome::AlreadyStored),
        (head(other), body("other"), Outcome::Conflict),
        (head(""), Some(Play::Say(reply("403 Forbidden", &[], ""))), Outcome::Unsettled),
    ] {
        let conflict = Play::Say(reply("412 Precondition Failed", &[], ""));
        let fake = Fake::start([Some(conflict), Some(head), get].into_iter().flatten().collect());
        let answer = put(&connect(&fake), "k", b"block");
        assert_eq!(answer.outcome, outcome, "{answer:?}");
    }
}

#[test]
fn a_reset_after_half_the_body_is_retried_and_the_next_attempt_asks_before_it_sends() {
    let refusal = reply("403 Forbidden", &[], &error("AccessDenied", "no"));
    let fake = Fake::start(vec![Play::SayIfAsked(refusal.clone()), Play::SayIfAsked(refusal)]);
    let client = connect(&fake);
    let block = vec![b'x'; 16 << 20];
    let first = put(&client, "k", &block);
    assert_eq!(first.outcome, Outcome::Broken, "{first:?}");
    // The refusal that was lost with the first connection is heard on the second.
    let second = put(&client, "k", &block);
    assert_eq!(second.outcome, Outcome::Refused, "{second:?}");
}

#[test]
fn a_large_block_that_is_there_already_is_found_where_the_gateway_resets_instead_of_saying_so() {
    // As MinIO does from 16 MiB on.
    let block = vec![b'x'; 16 << 20];
    let there = reply("412 Precondition Failed", &[], &error("PreconditionFailed", "no"));
    let fake = Fake::start(vec![
        Play::SayIfAsked(there.clone()),
        Play::SayIfAsked(there),
        head_of(&block, block.len()),
    ]);
    let client = with_timeout(&fake, Duration::from_secs(60));
    let outcomes = [(); 2].map(|()| put(&client, "k", &block).outcome);
    assert_eq!(outcomes, [Outcome::Broken, Outcome::AlreadyStored]);
}

#[test]
fn a_gateway_that_does_not_know_expect_gets_the_body_all_the_same() {
    let fake = Fake::start(vec![Play::Reset(1000), Play::Store, Play::Store]);
    let client = connect(&fake);
    // More than the sockets' buffers hold on both sides, or the body would not be cut.
    let block = vec![b'x'; 16 << 20];
    assert_eq!(put(&client, "k", &block).outcome, Outcome::Broken);
    assert_eq!(put(&client, "k", &block).outcome, Outcome::Stored);
    assert_eq!(put(&client, "k", &block).outcome, Outcome::Stored);
    let asked: Vec<bool> =
        fake.requests().iter().map(|r| r.contains("expect: 100-continue")).collect();
    assert_eq!(asked, [false, true, false]);
}

#[test]
fn an_answer_to_expect_that_breaks_the_exchange_is_not_asked_for_again() {
    let fake = Fake::start(vec![
        Play::Reset(1000),
        Play::SayIfAsked("HTTP/1.1 1OO Continue\r\n\r\n".to_owned()),
        Play::Store,
    ]);
    let client = connect(&fake);
    let block = vec![b'x'; 16 << 20];
    let outcomes = [(); 3].map(|()| put(&client, "k", &block).outcome);
    assert_eq!(outcomes, [Outcome::Broken, Outcome::Broken, Outcome::Stored]);
    let asked: Vec<bool> =
        fake.requests().iter().map(|r| r.contains("expect: 100-continue")).collect();
    assert_eq!(asked, [false, true, false]);
}

/// A client for the first attempt, and one that has patience for those after it.
struct FirstInHaste {
    first: Mutex<Option<Client>>,
    others: Client,
}

impl PutOnce for FirstInHaste {
    fn put(&self, object: &PutObject<'_>) -> Answer {
        let first = self.first.lock().unwrap().take();
        first.as_ref().unwrap_or(&self.others).put(object)
    }

    fn reread_credentials(&self) {
        self.others.credentials().refused();
    }
}

#[test]
fn interim_responses_may_have_header_lines_whether_they_were_asked_for_or_not() {
    // tinyproxy adds one to each.
    let goes_on = "HTTP/1.1 100 Continue\r\nVia: 1.1 proxy\r\n\r\n";
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let stored = reply("200 OK", &[("ETag", &tag(b"block"))], "");
    for before in [goes_on, hints, &format!("{hints}{goes_on}{hints}")] {
        let answer = answer(Play::Say(format!("{before}{stored}")));
        assert_eq!(answer.outcome, Outcome::Stored, "{before}: {answer}");
        // The body goes out when the gateway has said so, and not before the answer.
        let fake = Fake::start(vec![Play::Reset(1000), Play::StoreAfter(before.to_owned())]);
        let client = with_timeout(&fake, Duration::from_secs(60));
        let block = vec![b'x'; 16 << 20];
        let outcomes = [(); 2].map(|()| put(&client, "k", &block).outcome);
        assert_eq!(outcomes, [Outcome::Broken, Outcome::Stored], "{before}");
        assert!(fake.requests()[1].contains("expect: 100-continue"));
    }
}

#[test]
fn an_answer_that_comes_before_the_body_and_reads_no_more_is_heard_by_the_next_attempt() {
    let refusal = reply("403 Forbidden", &[], &error("AccessDenied", "no"));
    let fake = Fake::start(vec![Play::SayUnread(refusal.clone()), Play::SayUnread(refusal)]);
    let options = Options {
        timeout: Duration::from_secs(5),
        floor_rate: u64::MAX,
        proxy: Proxy::None,
        ..Options::default()
    };
    let client = client(&fake.endpoint(), KEYS, options, System::new());
    // More than the sockets' buffers hold on both sides.
    let block = vec![b'x'; 16 << 20];
    let outcomes = [(); 2].map(|()| put(&client, "k", &block).outcome);
    assert_eq!(outcomes, [Outcome::TimedOut, Outcome::Refused]);
}

#[test]
fn an_error_document_that_a_proxy_has_compressed_is_read() {
    let server = Answering::start(|_| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(error("EntityTooLarge", "no").as_bytes()).unwrap();
        let body = gzip.finish().unwrap();
        Reply::Now(http("400 Bad Request", &[("Content-Encoding", "gzip")], &body))
    });
    let client = client(&server.endpoint(), KEYS, Options::default(), System::new());
    let answer = put(&client, "k", b"block");
    assert_eq!((answer.outcome, answer.code.as_str()), (Outcome::Unfit, "EntityTooLarge"));
}

#[test]
fn a_weak_entity_tag_proves_a_block_where_head_may_not() {
    let weak = format!("W/{}", tag(b"block"));
    let fake = Fake::start(vec![
        Play::Say(reply("200 OK", &[("ETag", &weak)], "")),
        Play::Say(reply("403 Forbidden", &[], "")),
    ]);
    assert_eq!(put(&connect(&fake), "k", b"block").outcome, Outcome::Stored);
}

#[test]
fn an_object_that_could_not_be_read_back_whole_is_not_taken_for_another_one() {
    let plain = |more: &str| Play::Say(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{more}"));
    for (get, outcome) in [
        // Without a length its end and a broken connection look alike.
        ("\r\nblo", Outcome::Broken),
        ("Content-Length: 5\r\n\r\nblo", Outcome::Broken),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nblo\r\n", Outcome::Broken),
        ("\r\nblock", Outcome::AlreadyStored),
        (
            "Transfer-Encoding: chunked\r\n\r\n5\r\nblock\r\n0\r\nX: y\r\n\r\n",
            Outcome::AlreadyStored,
        ),
        ("Content-Length: 3\r\n\r\nblo", Outcome::Conflict),
        ("\r\nother", Outcome::Conflict),
    ] {
        let fake = Fake::start(vec![
            Play::Say(reply("412 Precondition Failed", &[], "")),
            plain("Content-Length: 5\r\n\r\n"),
            plain(get),
        ]);
        let answer = put(&connect(&fake), "k", b"block");
        assert_eq!(answer.outcome, outcome, "{get:?}: {answer}");
    }
}

#[test]
fn odd_but_valid_forms_of_http_store_a_block() {
    let etag = tag(b"block");
    for answer in [
        format!("HTTP/1.0 200 OK\r\nETag: {etag}\r\n\r\n"),
        format!(
            "HTTP/1.0 200 OK\r\nETag: {etag}\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"
        ),
        format!("HTTP/1.1 200\r\nETag: {etag}\r\nContent-Length: 0\r\n\r\n"),
        format!(
            "HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"
        ),
        format!("HTTP/1.1 200 OK\nETag: {etag}\nContent-Length: 0\n\n"),
        format!(
            "HTTP/1.1 200 OK\r\nETag: {etag}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: y\r\n\r\n"
        ),
        format!(
            "HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"
        ),
        format!("HTTP/1.1 200 OK\r\nETag: {}\r\nContent-Length: 0\r\n\r\n", etag.to_uppercase()),
    ] {
        let fake = Fake::start(vec![Play::Say(answer.clone())]);
        let stored = put(&connect(&fake), "k", b"block");
        assert_eq!(stored.outcome, Outcome::Stored, "{answer:?}: {stored}");
    }
}

#[test]
fn what_is_not_http_or_breaks_off_keeps_the_block_for_another_attempt() {
    let etag = tag(b"block");
    for answer in [
        "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
        "ICY 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 099 Odd\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n".to_owned(),
        format!(
            "HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: 0\r\nContent-Length: 7\r\n\r\n"
        ),
        format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: -1\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nX Y: z\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: 0\r\n"),
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_owned(),
    ] {
        let fake = Fake::start(vec![Play::Say(answer.clone())]);
        let kept = put(&connect(&fake), "k", b"block");
        assert_eq!(kept.action(), Action::Retry { after: None }, "{answer:?}: {kept}");
    }
}

#[test]
fn an_answer_that_comes_after_our_timeout_is_settled_by_412_and_head() {
    let fake = Fake::start(vec![
        Play::Silence,
        Play::Say(reply("412 Precondition Failed", &[], "")),
        head_of(b"block", 5),
    ]);
    let store = FirstInHaste {
        first: Mutex::new(Some(with_timeout(&fake, HASTE))),
        others: connect(&fake),
    };
    let waits = Mutex::new(0);
    let finished = object("k", b"block", |object| {
        upload(
            &store,
            object,
            &Shifted::default(),
            Backoff::new(fastrand::Rng::with_seed(1)),
            &mut |_| {
                *waits.lock().unwrap() += 1;
                true
            },
            &mut |failure, _, _| assert_eq!(failure.answer.outcome, Outcome::TimedOut),
        )
    });
    assert!(
        matches!(finished, Finished::Stored { attempts: 2, already: true, .. }),
        "{finished:?}"
    );
    assert_eq!(*waits.lock().unwrap(), 1);
}

/// A client whose deadline for a large block is far from the time in which an answer is expected.
fn with_floor_rate(fake: &Fake, floor_rate: u64) -> Client {
    let proxy = Proxy::None;
    let options = Options { timeout: HASTE, floor_rate, proxy, ..Options::default() };
    client(&fake.endpoint(), KEYS, options, System::new())
}

#[test]
fn a_gateway_that_has_the_whole_block_and_never_answers_is_not_waited_for_until_the_deadline() {
    // Who waits for another client keeps the silent connection.
    let fake = Fake::start(vec![Play::Silence, Play::Store]);
    // Deadline: a minute later.
    let client = with_floor_rate(&fake, 1 << 20);
    let silent = put(&client, "k", &vec![b'x'; 64 << 20]);
    assert_eq!(silent.outcome, Outcome::TimedOut, "{silent:?}");
    assert!(silent.message.contains("receive response"), "{silent}");
    // What was waited in vain, for the next attempt to wait longer: at least the wait that there was.
    assert!(silent.silence >= with_floor_rate(&fake, 1 << 20).options().timeout, "{silent:?}");
    assert!(silent.to_string().contains("if it is only slow, raise timeout"), "{silent}");
}

#[test]
fn a_gateway_that_reads_no_more_of_a_block_is_not_waited_for_until_the_deadline() {
    let fake = Fake::start(vec![Play::SayUnread(String::new()), Play::Store]);
    let begin = Instant::now();
    let stalled = object("k", b"block", |object| {
        let open = || -> std::io::Result<Box<dyn Read>> { Ok(Box::new(std::io::repeat(b'x'))) };
        // Deadline: after more than an hour.
        with_floor_rate(&fake, 1 << 20).put(&PutObject { len: 5 << 30, open: &open, ..*object })
    });
    assert_eq!(stalled.outcome, Outcome::TimedOut, "{stalled:?}");
    assert!(stalled.to_string().contains("takes no more of the block"), "{stalled}");
    assert!(begin.elapsed() < Duration::from_secs(1200), "{:?}", begin.elapsed());
}

#[test]
fn a_gateway_that_is_slow_and_honest_is_given_more_time_at_every_other_attempt_after_one_that_ran_out()
 {
    /// Answers after 200 s whoever is still there, and waits for nobody less than 94.
    struct Slow(Mutex<Vec<(u64, Outcome)>>);
    impl PutOnce for Slow {
        fn put(&self, object: &PutObject<'_>) -> Answer {
            let mut seen = self.0.lock().unwrap();
            let patience = object.patience.as_secs().max(94);
            let (outcome, silence) = match (patience, seen.len()) {
                (_, 1) => (Outcome::Busy, 1),
                (200.., _) => (Outcome::Stored, 200),
                _ => (Outcome::TimedOut, patience),
            };
            seen.push((patience, outcome));
            Answer { silence: Duration::from_secs(silence), ..Answer::local(outcome, "") }
        }
        fn reread_credentials(&self) {}
    }
    let slow = Slow(Mutex::new(Vec::new()));
    object("k", b"block", |object| {
        let backoff = Backoff::new(fastrand::Rng::with_seed(1));
        upload(&slow, object, &Shifted::default(), backoff, &mut |_| true, &mut |_, _, _| ())
    });
    use Outcome::{Busy, Stored, TimedOut};
    // A brief one before each long one would find out that it only hung.
    let brief = (94, TimedOut);
    assert_eq!(
        *slow.0.lock().unwrap(),
        [brief, (188, Busy), brief, (188, TimedOut), brief, (376, Stored)]
    );
}

#[test]
fn a_slow_drip_ends_at_the_deadline() {
    let text = reply("200 OK", &[("X-Padding", &"x".repeat(200))], "");
    let fake = Fake::start(vec![Play::Drip(text)]);
    let dripped = put(&with_timeout(&fake, HASTE), "k", b"x");
    assert_eq!(dripped.outcome, Outcome::TimedOut, "{dripped:?}");
}

#[test]
fn an_object_that_comes_slower_than_it_went_is_not_read_back_for_ever() {
    let block = "x".repeat(40 << 10);
    let head = |more: &str| {
        let length = block.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n")
    };
    let fake = Fake::start(vec![
        Play::Say(reply("412 Precondition Failed", &[], "")),
        // Nothing that tells whose it is.
        Play::Say(head("")),
        Play::Slowly(head(""), block.clone(), 1 << 10),
    ]);
    let slow = put(&with_timeout(&fake, HASTE), "k", block.as_bytes());
    assert_eq!(slow.outcome, Outcome::TimedOut, "{slow:?}");
}

#[test]
fn an_error_instead_of_an_object_is_not_read_for_ever() {
    let padding = "x".repeat(150);
    let document = format!("<Error><Message>{padding}</Message><Code>SlowDown</Code></Error>");
    let head = format!(
        "HTTP/1.1 503 Slow Down\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        document.len()
    );
    let fake = Fake::start(vec![Play::Slowly(head, document, 1)]);
    let answer = connect(&fake).get("k").unwrap_err();
    assert_eq!((answer.outcome, answer.code.as_str()), (Outcome::Busy, ""), "{answer:?}");
}

#[test]
fn a_response_that_never_ends_is_cut_at_64_kib() {
    let head = "HTTP/1.1 503 Slow Down\r\n\r\n<Error><Code>SlowDown</Code></Error>";
    let endless = answer(Play::Endless(head.to_owned()));
    assert_eq!((endless.outcome, endless.code.as_str()), (Outcome::Busy, "SlowDown"));
    let headers = answer(Play::Endless("HTTP/1.1 200 OK\r\nX-Long: ".to_owned()));
    assert_eq!(headers.outcome, Outcome::Broken, "{headers:?}");
}

#[test]
fn garbage_instead_of_xml_leaves_the_status_to_decide() {
    let page = said("502 Bad Gateway", &[], "<html><body><h1>502 Bad Gateway</h1>");
    assert_eq!((page.outcome, page.code.as_str()), (Outcome::Busy, ""));
    let noise = said("403 Forbidden", &[], "\u{0}\u{1}<<<&&&");
    assert_eq!(noise.outcome, Outcome::Refused);
}

#[test]
fn garbage_instead_of_http_is_retried() {
    for garbage in ["", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/9 hello\r\n\r\n", "\u{0}\u{1}\u{2}"] {
        let broken = answer(Play::Say(garbage.to_owned()));
        assert_eq!(broken.action(), Action::Retry { after: None }, "{garbage:?}: {broken:?}");
    }
}

#[test]
fn an_error_that_repeats_the_secret_is_shown_without_it() {
    let echo = said("403 Forbidden", &[], &error("AccessDenied", &format!("your {SECRET} is bad")));
    assert!(echo.message.contains("[redacted]"), "{echo}");
}

#[test]
fn a_block_shorter_than_announced_is_quarantined_and_one_that_does_not_open_is_retried() {
    let fake = Fake::start(vec![Play::Say(String::new())]);
    let client = connect(&fake);
    let short = object("k", b"block", |object| {
        let object = PutObject { len: 6, ..*object };
        client.put(&object)
    });
    assert_eq!(short.outcome, Outcome::Damaged, "{short:?}");
    let closed = object("k", b"block", |object| {
        let open = || Err(std::io::Error::other("too many open files"));
        client.put(&PutObject { open: &open, ..*object })
    });
    assert_eq!(closed.action(), Action::Retry { after: None }, "{closed:?}");
}

#[test]
fn ten_minutes_of_503_are_waited_out_by_the_documented_backoff_and_nothing_is_lost() {
    /// 503 until ten minutes of virtual time are over.
    struct Outage<'a>(&'a Shifted);
    impl PutOnce for Outage<'_> {
        fn put(&self, _: &PutObject<'_>) -> Answer {
            let over = self.0.monotonic() >= Duration::from_secs(600);
            Answer::local(if over { Outcome::Stored } else { Outcome::Busy }, "")
        }
        fn reread_credentials(&self) {
            panic!("a 503 is nothing that credentials could mend");
        }
    }
    let clock = Shifted::default();
    let mut waits = Vec::new();
    let finished = object("k", b"block", |object| {
        upload(
            &Outage(&clock),
            object,
            &clock,
            Backoff::new(fastrand::Rng::with_seed(7)),
            &mut |wait| {
                waits.push(wait);
                clock.sleep(wait);
                true
            },
            &mut |_, _, _| (),
        )
    });
    let Finished::Stored { attempts, elapsed, already: false } = finished else {
        panic!("{finished:?}")
    };
    assert_eq!(attempts as usize, waits.len() + 1);
    assert!((600..=630).contains(&elapsed.as_secs()), "{elapsed:?}");
    for (n, wait) in waits.iter().enumerate() {
        let ceiling = CAP.min(Duration::from_millis(100 << n.min(20)));
        assert!(*wait <= ceiling, "wait {n} is {wait:?}");
    }
    // 9 short waits, then 15 s on average.
    assert!((30..=80).contains(&attempts), "{attempts}");
}

#[test]
fn a_stop_during_a_wait_keeps_the_block_and_tells_the_last_failure() {
    let fake = Fake::start(vec![Play::Say(reply("503 Slow Down", &[], ""))]);
    let client = connect(&fake);
    let finished = object("k", b"x", |object| {
        let backoff = Backoff::new(fastrand::Rng::with_seed(1));
        upload(&client, object, &Shifted::default(), backoff, &mut |_| false, &mut |_, _, _| ())
    });
    let Finished::Stopped(failure) = finished else { panic!("{finished:?}") };
    assert_eq!((failure.attempts, failure.answer.outcome), (1, Outcome::Busy));
}

#[test]
fn a_proxy_is_asked_to_connect_and_its_refusal_is_kept_for_the_operator_to_mend() {
    let proxy = Fake::start(vec![Play::Say(reply("407 Proxy Authentication Required", &[], ""))]);
    let options = Options {
        proxy: Proxy::Url(proxy.endpoint().replace("http://", "http://user:hunter2@")),
        ..Options::default()
    };
    assert!(!format!("{options:?}").contains("hunter2"));
    let endpoint = Endpoint::parse("https://gateway.example:8443", false).unwrap();
    let bucket = Bucket::new(endpoint, "logs", Addressing::Path).unwrap();
    let fixed = Fixed(Credentials::new("AK", SECRET, None, None, "test"));
    let cache = Arc::new(Cache::new(vec![Box::new(fixed)]));
    let client = Client::new(bucket, options, cache, Arc::new(System::new())).unwrap();
    let refused = put(&client, "k", b"x");
    assert_eq!(refused.outcome, Outcome::ProxyRefused, "{refused:?}");
    assert_eq!(refused.action(), Action::RetryConfiguration);
    assert!(!format!("{client:?} {refused:?}").contains("hunter2"));
    let asked = proxy.requests().remove(0);
    assert!(asked.starts_with("CONNECT gateway.example:8443 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_ascii_lowercase().contains("proxy-authorization: basic "), "{asked}");
}

#[test]
fn a_proxy_that_answers_by_the_byte_is_given_the_time_for_a_connection() {
    let padding = "x".repeat(3000);
    let answer = format!("HTTP/1.1 200 Connection established\r\nX-Padding: {padding}\r\n\r\n");
    let proxy = Fake::start(vec![Play::Drip(answer)]);
    let options = Options {
        proxy: Proxy::Url(proxy.endpoint()),
        connect_timeout: HASTE,
        timeout: 10 * PATIENCE,
        ..Options::default()
    };
    let endpoint = Endpoint::parse("https://gateway.example:8443", false).unwrap();
    let bucket = Bucket::new(endpoint, "logs", Addressing::Path).unwrap();
    let fixed = Fixed(Credentials::new("AK", SECRET, None, None, "test"));
    let cache = Arc::new(Cache::new(vec![Box::new(fixed)]));
    let client = Client::new(bucket, options, cache, Arc::new(System::new())).unwrap();
    let begin = Instant::now();
    let dripped = put(&client, "k", b"x");
    assert_eq!(dripped.outcome, Outcome::Proxy, "{dripped:?}");
    // All of it takes five minutes.
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
}

#[test]
fn a_proxy_never_leads_to_loopback_and_a_wrong_one_is_refused_without_its_password() {
    let fake = Fake::start(vec![Play::Store]);
    let options = Options { proxy: Proxy::Url("http://127.0.0.1:1".into()), ..Options::default() };
    let direct = put(&client(&fake.endpoint(), KEYS, options, System::new()), "k", b"x");
    assert_eq!(direct.outcome, Outcome::Stored, "{direct:?}");
}

#[test]
fn storj_is_listed_by_folder_and_answers_in_no_order() {
    let page = "<ListBucketResult><IsTruncated>false</IsTruncated>\
                <Contents><Key>a/edge2-9</Key></Contents><Contents><Key>a/edge1-2</Key></Contents>\
                <Contents><Key>a/edge1-1</Key></Contents></ListBucketResult>";
    let fake = Fake::start(vec![Play::Say(reply("200 OK", &[], page))]);
    let options = Options { gateway: Some(Gateway::Storj), ..Options::default() };
    let client = client(&fake.endpoint(), KEYS, options, System::new());
    let listed = client.list("a/edge1", None).unwrap();
    let keys: Vec<_> = listed.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["a/edge1-2", "a/edge1-1"]);
    let asked = fake.requests().remove(0);
    assert!(asked.starts_with("GET /logs/?list-type=2&prefix=a%2F HTTP/1.1\r\n"), "{asked}");
}

#[test]
fn every_option_is_the_header_that_s3_documents() {
    let object = ObjectOptions {
        content_type: "text/plain".into(),
        if_none_match: false,
        checksum: Checksum::Sha256,
        acl: Some("bucket-owner-full-control".into()),
        storage_class: Some("glacier_ir".into()),
        server_side_encryption: Some("aws:kms".into()),
        kms_key_id: Some("key-1".into()),
        tags: vec![("team".into(), "edge & co".into()), ("env".into(), "prod".into())],
        metadata: vec![("Site".into(), "fra".into())],
        object_lock: Some("governance:1d".parse().unwrap()),
        ..ObjectOptions::default()
    };
    let fake = Fake::start(vec![Play::Store]);
    let options = Options { object, ..Options::default() };
    put(&client(&fake.endpoint(), KEYS, options, Noon), "k", b"block");
    let request = fake.requests().remove(0);
    for line in [
        "content-type: text/plain",
        "content-md5: FFEfL1VkZQ0SnKfKvDMyeA==",
        "x-amz-checksum-sha256: ",
        "x-amz-acl: bucket-owner-full-control",
        "x-amz-storage-class: GLACIER_IR",
        "x-amz-server-side-encryption: aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id: key-1",
        "x-amz-tagging: team=edge%20%26%20co&env=prod",
        "x-amz-meta-site: fra",
        "x-amz-object-lock-mode: GOVERNANCE",
        "x-amz-object-lock-retain-until-date: 2027-01-16T08:00:00Z",
        "x-amz-date: 20270115T080000Z",
    ] {
        assert!(request.contains(&format!("\r\n{line}")), "{line} is not in {request}");
    }
    assert!(!request.contains("if-none-match"), "{request}");
}

/// 2027-01-15T08:00:00Z for ever.
struct Noon;

impl Clock for Noon {
    fn unix(&self) -> Duration {
        Duration::from_secs(1_800_000_000)
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    fn sleep(&self, _: Duration) {}
}

#[test]
fn a_token_that_no_header_can_carry_keeps_the_block_and_is_not_shown() {
    let endpoint = Endpoint::parse("http://127.0.0.1:1", false).unwrap();
    let bucket = Bucket::new(endpoint, "logs", Addressing::Path).unwrap();
    let fixed = Fixed(Credentials::new("AK", SECRET, Some("line\nbreak"), None, "test"));
    let cache = Arc::new(Cache::new(vec![Box::new(fixed)]));
    let options = Options::default();
    let client = Client::new(bucket, options, cache, Arc::new(System::new())).unwrap();
    let answer = put(&client, "k", b"x");
    // They are read again: somebody will correct them.
    assert_eq!(answer.action(), Action::RetryCredentials, "{answer:?}");
    assert!(answer.to_string().contains("control character"), "{answer}");
    assert!(!format!("{answer} {answer:?}").contains("line\nbreak"), "{answer}");
}

#[test]
fn a_panic_while_the_body_is_read_is_a_failed_attempt_and_the_next_one_works() {
    let fake = Fake::start(vec![Play::Reset(5), Play::Store]);
    let client = connect(&fake);
    let panicked = object("k", b"block", |object| {
        let open = || -> std::io::Result<Box<dyn Read>> { Ok(Box::new(Panics)) };
        client.put(&PutObject { open: &open, ..*object })
    });
    assert_eq!(panicked.action(), Action::Retry { after: None }, "{panicked:?}");
    assert_eq!(put(&client, "k", b"block").outcome, Outcome::Stored);
}

/// A body that is a bug.
struct Panics;

impl Read for Panics {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        panic!("on purpose")
    }
}

#[test]
fn an_ipv6_literal_is_a_host() {
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else { return };
    let fake = Fake::on(listener, vec![Play::Store]);
    let endpoint = fake.endpoint();
    assert!(endpoint.starts_with("http://[::1]:"), "{endpoint}");
    assert_eq!(put(&connect(&fake), "k", b"x").outcome, Outcome::Stored);
    assert!(fake.requests()[0].contains("host: [::1]:"));
}
