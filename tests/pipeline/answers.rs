//! Every answer that a gateway, or something in front of it, was seen to give: what becomes of the
//! blocks while it gives it, and once it has stopped.
//!
//! Each row is a stream of its own with three blocks, all in one process and at one server. The
//! streams' clock runs fast: a wait of 30 s takes well under a second.

use std::io::{Cursor, Read as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::moods::{Act, Moods, Say, tag};
use crate::common::stream::{Process, Told, wait_for};
use vmod_s3log::block::Decoder;
use vmod_s3log::clock::{Clock, System};
use vmod_s3log::pipeline::{Attachment, Environment};
use vmod_s3log::priority::Priority;
use vmod_s3log::settings::Settings;

/// What becomes of the three blocks while the answer is given. Afterwards all that were kept are
/// stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// All are stored without anybody's help.
    Stored,
    /// All are kept and tried again.
    Kept,
    /// All are in quarantine.
    Quarantined,
    /// So many are stored, the others are kept.
    Some(u64),
}

struct Row {
    name: &'static str,
    act: Act,
    fate: Fate,
    /// Part of a message that the operator is shown.
    says: &'static str,
}

const fn row(name: &'static str, act: Act, fate: Fate, says: &'static str) -> Row {
    Row { name, act, fate, says }
}

const HTML: &str = "<html><head><title>Request blocked</title></head><body>No.</body></html>";
const GET_OBJECT: &str = "allow s3:GetObject";
const NOT_S3: &str = "this is not an answer of S3";

/// An S3 error document.
macro_rules! s3 {
    ($code:literal, $message:literal) => {
        concat!("<Error><Code>", $code, "</Code><Message>", $message, "</Message></Error>")
    };
    ($code:literal, $message:literal, $more:literal) => {
        concat!(
            "<Error><Code>",
            $code,
            "</Code><Message>",
            $message,
            "</Message>",
            $more,
            "</Error>"
        )
    };
}

/// 400 with an S3 error document.
macro_rules! bad {
    ($code:literal, $message:literal) => {
        Act::Say(Say::new("400 Bad Request", s3!($code, $message)))
    };
}

const DENIED: Say = Say::new("403 Forbidden", s3!("AccessDenied", "Access Denied"));
const EXISTS: Say =
    Say::new("409 Conflict", s3!("FileAlreadyExists", "The object you specified already exists."));

const ROWS: &[Row] = &[
    // What needs nobody's help.
    row(
        "friendly",
        Act::Stores(Say::new("200 OK", "").with(&[("ETag", "{etag}")])),
        Fate::Stored,
        "",
    ),
    row(
        "etag-without-quotes",
        Act::Stores(Say::new("200 OK", "").with(&[("ETag", "abc")])),
        Fate::Stored,
        "",
    ),
    row("etag-missing-and-head-confirms", Act::Stores(Say::new("200 OK", "")), Fate::Stored, ""),
    row(
        "kms-etag-is-no-md5",
        Act::Stores(Say::new("200 OK", "").with(&[
            ("ETag", "\"0123456789abcdef0123456789abcdef\""),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-request-id", "R"),
        ])),
        Fate::Stored,
        "",
    ),
    row("3000-header-lines", Act::ManyHeaders(3000), Fate::Stored, ""),
    row("answers-twice", Act::Twice, Fate::Stored, ""),
    row(
        "501-if-none-match",
        Act::With(
            "if-none-match",
            Say::new(
                "501 Not Implemented",
                s3!(
                    "NotImplemented",
                    "A header you provided implies functionality that is not implemented",
                    "<Header>If-None-Match</Header>"
                ),
            ),
        ),
        Fate::Stored,
        "if_none_match = false",
    ),
    row(
        "501-that-names-no-header",
        Act::With(
            "if-none-match",
            Say::new(
                "501 Not Implemented",
                s3!(
                    "NotImplemented",
                    "A header you provided implies functionality that is not implemented"
                ),
            ),
        ),
        Fate::Stored,
        "if_none_match = false",
    ),
    row(
        "default-retention-wants-md5",
        Act::Without(
            &["content-md5", "x-amz-checksum-sha256", "x-amz-checksum-crc32c"],
            Say::new(
                "400 Bad Request",
                s3!(
                    "InvalidRequest",
                    "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
                ),
            ),
        ),
        Fate::Stored,
        "",
    ),
    row("417-after-a-cut-body", Act::ExpectationFailed, Fate::Stored, ""),
    row("412-and-head-without-metadata", Act::Stripped, Fate::Stored, ""),
    row("wrong-date-an-hour-ahead", Act::WrongDate(3600), Fate::Stored, ""),
    row("wrong-date-a-year-ahead", Act::WrongDate(365 * 86_400), Fate::Stored, ""),
    row("wrong-date-a-year-ago", Act::WrongDate(-365 * 86_400), Fate::Stored, ""),
    // What is never believed.
    row("200-html", Act::Say(Say::new("200 OK", HTML)), Fate::Kept, NOT_S3),
    row(
        "200-html-with-etag",
        Act::Say(Say::new("200 OK", HTML).with(&[("ETag", "\"5f3c-264\"")])),
        Fate::Kept,
        NOT_S3,
    ),
    row(
        "200-error-document",
        Act::Say(Say::new("200 OK", s3!("InternalError", "We encountered an internal error."))),
        Fate::Kept,
        "InternalError",
    ),
    row(
        "200-wrong-etag",
        Act::Say(Say::new("200 OK", "").with(&[("ETag", "\"0123456789abcdef0123456789abcdef\"")])),
        Fate::Kept,
        "does not have the block",
    ),
    row("200-no-etag", Act::Say(Say::new("200 OK", "")), Fate::Kept, "does not have the block"),
    row("202-html", Act::Say(Say::new("202 Accepted", HTML)), Fate::Kept, NOT_S3),
    row("204", Act::Say(Say::new("204 No Content", "")), Fate::Kept, NOT_S3),
    row("200-before-the-body", Act::After(0, Say::new("200 OK", "")), Fate::Kept, ""),
    row(
        "200-after-10-bytes",
        Act::After(10, Say::new("200 OK", "").with(&[("ETag", "\"x\"")])),
        Fate::Kept,
        "",
    ),
    row("stored-with-a-flipped-bit", Act::Flips, Fate::Quarantined, "another object"),
    // Settings, which an operator can still correct.
    row(
        "r2-wrong-key",
        bad!("InvalidArgument", "Credential access key has length 7, should be 32"),
        Fate::Kept,
        "check the key",
    ),
    row(
        "r2-region",
        bad!(
            "InvalidRegionName",
            "The region name 'us-east-1' is not valid. Must be one of: wnam, enam, weur, eeur, apac, auto"
        ),
        Fate::Kept,
        "correct region",
    ),
    row(
        "kms-disabled",
        bad!("KMS.DisabledException", "arn:aws:kms:... is disabled."),
        Fate::Kept,
        "kms_key_id",
    ),
    row(
        "acl-not-supported",
        bad!("AccessControlListNotSupported", "The bucket does not allow ACLs"),
        Fate::Kept,
        "remove acl",
    ),
    row(
        "storage-class",
        bad!("InvalidStorageClass", "The storage class you specified is not valid"),
        Fate::Kept,
        "redundancy",
    ),
    row(
        "tags-refused",
        bad!("InvalidArgument", "Unsupported header 'x-amz-tagging' received for this API call."),
        Fate::Kept,
        "tags",
    ),
    row(
        "lock-not-enabled",
        bad!("InvalidRequest", "Bucket is missing Object Lock Configuration"),
        Fate::Kept,
        "remove object_lock",
    ),
    row(
        "empty-part-in-the-key",
        bad!("XMinioInvalidObjectName", "Object name contains unsupported characters."),
        Fate::Kept,
        "write path without",
    ),
    row(
        "dots-in-the-key",
        bad!("XMinioInvalidResourceName", "Resource name contains bad components such as .."),
        Fate::Kept,
        "write path without",
    ),
    row("invalid-tag", bad!("InvalidTag", "The tag value is not valid"), Fate::Kept, "tags"),
    row("400-html", Act::Say(Say::new("400 Bad Request", HTML)), Fate::Kept, NOT_S3),
    row("400-empty", Act::Say(Say::new("400 Bad Request", "")), Fate::Kept, NOT_S3),
    row(
        "400-plain-http-to-tls-port",
        Act::Say(Say::new(
            "400 Bad Request",
            "<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>",
        )),
        Fate::Kept,
        "https://",
    ),
    row("403-html", Act::Say(Say::new("403 Forbidden", HTML)), Fate::Kept, NOT_S3),
    row("405-html", Act::Say(Say::new("405 Not Allowed", HTML)), Fate::Kept, NOT_S3),
    row("410-gone", Act::Say(Say::new("410 Gone", "gone")), Fate::Kept, NOT_S3),
    row(
        "413-html",
        Act::Say(Say::new("413 Request Entity Too Large", HTML)),
        Fate::Kept,
        "max_bytes",
    ),
    row(
        "431-html",
        Act::Say(Say::new("431 Request Header Fields Too Large", HTML)),
        Fate::Kept,
        NOT_S3,
    ),
    row(
        "451-html",
        Act::Say(Say::new("451 Unavailable For Legal Reasons", HTML)),
        Fate::Kept,
        NOT_S3,
    ),
    row("460-empty", Act::Say(Say::new("460 Client Closed", "")), Fate::Kept, NOT_S3),
    row("499-empty", Act::Say(Say::new("499 Client Closed", "")), Fate::Kept, NOT_S3),
    row("418-teapot", Act::Say(Say::new("418 I'm a teapot", "")), Fate::Kept, NOT_S3),
    row(
        "account-problem",
        bad!("AccountProblem", "There is a problem with your account"),
        Fate::Kept,
        "account",
    ),
    row(
        "quota-403",
        Act::Say(Say::new("403 Forbidden", s3!("QuotaExceeded", "Quota exceeded"))),
        Fate::Kept,
        "quota",
    ),
    row(
        "quota-400",
        bad!("XMinioAdminBucketQuotaExceeded", "Bucket quota exceeded"),
        Fate::Kept,
        "quota",
    ),
    row(
        "507",
        Act::Say(Say::new(
            "507 Insufficient Storage",
            s3!(
                "XMinioStorageFull",
                "Storage backend has reached its minimum free drive threshold."
            ),
        )),
        Fate::Kept,
        "quota",
    ),
    row(
        "unknown-code",
        bad!("NobodyKnowsThisOne", "what is that"),
        Fate::Kept,
        "NobodyKnowsThisOne",
    ),
    row("access-denied", Act::Say(DENIED), Fate::Kept, "s3:PutObject"),
    row("access-denied-to-put", Act::ToPut(DENIED), Fate::Kept, "s3:PutObject"),
    row(
        "no-bucket",
        Act::Say(Say::new("404 Not Found", s3!("NoSuchBucket", "no"))),
        Fate::Kept,
        "no such bucket",
    ),
    row(
        "301",
        Act::Say(Say::new(
            "301 Moved Permanently",
            s3!("PermanentRedirect", "go", "<Region>eu-west-1</Region>"),
        )),
        Fate::Kept,
        "eu-west-1",
    ),
    row(
        "302-login",
        Act::Say(Say::new("302 Found", HTML).with(&[("Location", "https://portal.example/login")])),
        Fate::Kept,
        "portal.example",
    ),
    row("304", Act::Say(Say::new("304 Not Modified", "")), Fate::Kept, NOT_S3),
    row(
        "501-other",
        Act::Say(Say::new(
            "501 Not Implemented",
            s3!("NotImplemented", "no", "<Header>x-amz-tagging</Header>"),
        )),
        Fate::Kept,
        "x-amz-tagging",
    ),
    // What the next attempt cures.
    row("slowdown-400", bad!("SlowDown", "x"), Fate::Kept, "come back later"),
    row("unavailable-400", bad!("ServiceUnavailable", "x"), Fate::Kept, "come back later"),
    row(
        "flipped-on-the-way-sha256",
        bad!("XAmzContentSHA256Mismatch", "bytes flipped on the way"),
        Fate::Kept,
        "on the way",
    ),
    row(
        "flipped-on-the-way-md5",
        bad!("BadDigest", "The Content-MD5 you specified did not match"),
        Fate::Kept,
        "on the way",
    ),
    row(
        "503",
        Act::Say(Say::new("503 Slow Down", s3!("SlowDown", "x"))),
        Fate::Kept,
        "come back later",
    ),
    row(
        "500",
        Act::Say(Say::new("500 Internal Server Error", s3!("InternalError", "x"))),
        Fate::Kept,
        "",
    ),
    // One that may only write, whose first answers were lost.
    row(
        "write-only-after-a-lost-answer",
        Act::WriteOnly(Say::new("403 Forbidden", "")),
        Fate::Kept,
        GET_OBJECT,
    ),
    // A bucket that lets nothing be overwritten, whose first answers were lost.
    row("exists-after-a-lost-answer", Act::WriteOnce(EXISTS), Fate::Stored, ""),
    row(
        "409-without-a-code-after-a-lost-answer",
        Act::WriteOnce(Say::new("409 Conflict", "")),
        Fate::Stored,
        "",
    ),
    row("denied-after-a-lost-answer", Act::WriteOnce(DENIED), Fate::Stored, ""),
    row(
        "worm-after-a-lost-answer",
        Act::WriteOnce(Say::new(
            "400 Bad Request",
            s3!("InvalidRequest", "Object is WORM protected and cannot be overwritten"),
        )),
        Fate::Stored,
        "",
    ),
    // That another object is there does not say that nothing else was denied.
    row("denied-and-another-object", Act::Taken(DENIED), Fate::Kept, "another object"),
    // Two keys that will not settle; the third block goes on.
    row(
        "two-keys-403",
        Act::FirstKeys(2, Say::new("403 Forbidden", s3!("AccessDenied", "no"))),
        Fate::Some(1),
        "s3:PutObject",
    ),
    row(
        "two-keys-500",
        Act::FirstKeys(2, Say::new("500 Internal Server Error", s3!("InternalError", "no"))),
        Fate::Some(1),
        "",
    ),
    row(
        "two-keys-retry-after",
        Act::FirstKeys(
            2,
            Say::new("503 Slow Down", s3!("SlowDown", "no")).with(&[("Retry-After", "300")]),
        ),
        Fate::Some(1),
        "",
    ),
    // What is the block's own fault for good.
    row(
        "too-large",
        bad!("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"),
        Fate::Quarantined,
        "max_bytes",
    ),
    row("key-too-long", bad!("KeyTooLongError", "Your key is too long"), Fate::Quarantined, "path"),
    row(
        "metadata-too-large",
        bad!("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size"),
        Fate::Quarantined,
        "metadata",
    ),
    row(
        "412-another-object",
        Act::Taken(Say::new("412 Precondition Failed", "")),
        Fate::Quarantined,
        "another object",
    ),
    row("409-another-object", Act::Taken(EXISTS), Fate::Quarantined, "another object"),
];

/// A clock a hundred times as fast as the machine's.
pub(crate) struct Fast(pub(crate) System);

const SPEED: u32 = 100;

impl Clock for Fast {
    fn unix(&self) -> Duration {
        self.0.unix()
    }
    fn monotonic(&self) -> Duration {
        self.0.monotonic() * SPEED
    }
    fn sleep(&self, duration: Duration) {
        self.0.sleep(duration / SPEED);
    }
}

struct Stream<'a> {
    row: &'a Row,
    attachment: Attachment,
    told: Arc<Told>,
}

impl Stream<'_> {
    fn stat(&self, name: &str) -> u64 {
        self.attachment
            .pipeline()
            .stats()
            .snapshot()
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap()
            .1
    }

    /// Whether the row has come to where it shows what becomes of it.
    fn shown(&self) -> bool {
        let (stored, aside) = (self.stat("blocks_uploaded"), self.stat("blocks_quarantined"));
        match self.row.fate {
            Fate::Stored => stored == BLOCKS,
            Fate::Quarantined => aside == BLOCKS,
            Fate::Kept => stored + aside > 0 || self.stat("upload_retries") >= 2 * BLOCKS,
            Fate::Some(some) => {
                aside > 0 || stored > some || (stored == some && self.stat("upload_retries") >= 6)
            }
        }
    }
}

const BLOCKS: u64 = 3;

fn attach<'a>(process: &Process, moods: &Moods, row: &'a Row) -> Stream<'a> {
    moods.bucket(row.name, row.act);
    let more = [("bucket", row.name), ("max_bytes", "4KB"), ("compression", "none")];
    let arguments = process.arguments_of(row.name, &moods.endpoint(), &more);
    let told = Arc::new(Told::default());
    let environment = Environment {
        clock: Arc::new(Fast(System::new())),
        events: Arc::clone(&told) as _,
        ..process.environment.clone()
    };
    let settings = Settings::read(&arguments).unwrap();
    let attachment = process.registry.attach(settings, &environment).unwrap();
    Stream { row, attachment, told }
}

/// Pushes a line that fills a block, and waits until the packer has sealed it.
fn fill(stream: &Stream<'_>, number: u64) -> String {
    let line = format!("{} {number} {}", stream.row.name, "x".repeat(5000));
    stream.attachment.push(format!("{line}\n").as_bytes().into(), Priority::Normal);
    wait_for("a block", || stream.stat("blocks_sealed") > number);
    line
}

#[test]
fn each_answer_has_the_fate_of_its_row_and_every_line_is_in_the_bucket_once_it_is_friendly() {
    let (moods, process) = (Moods::start(), Process::new());
    let only = std::env::var("S3LOG_ROW").ok();
    let rows = ROWS.iter().filter(|row| only.as_deref().is_none_or(|only| row.name == only));
    let streams: Vec<_> = rows.map(|row| attach(&process, &moods, row)).collect();
    let mut lines = Vec::new();
    for stream in &streams {
        lines.push((0..BLOCKS).map(|number| fill(stream, number)).collect::<Vec<_>>());
    }
    // A guard, as all limits here: what was not shown until then is told of below.
    let end = Instant::now() + Duration::from_secs(300);
    while Instant::now() < end && !streams.iter().all(Stream::shown) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut wrong = Vec::new();
    for stream in &streams {
        let Row { name, fate, says, .. } = stream.row;
        let (stored, aside) = (stream.stat("blocks_uploaded"), stream.stat("blocks_quarantined"));
        let expected = match fate {
            Fate::Stored => (BLOCKS, 0),
            Fate::Kept => (0, 0),
            Fate::Quarantined => (0, BLOCKS),
            Fate::Some(some) => (*some, 0),
        };
        let told = stream.told.all();
        if !stream.shown() || (stored, aside) != expected {
            wrong.push(format!(
                "{name}: {fate:?}, and {stored} are uploaded, {aside} in quarantine: {told:#?}"
            ));
        } else if *fate == Fate::Quarantined
            && !told.iter().any(|text| text.contains(says) && text.ends_with("quarantine"))
        {
            wrong.push(format!("{name}: nobody is told that it is in quarantine: {told:#?}"));
        } else if !told.iter().any(|text| text.contains(says)) && !says.is_empty() {
            wrong.push(format!("{name}: nobody is told {says:?}: {told:#?}"));
        }
        moods.befriend(name);
    }
    let end = Instant::now() + Duration::from_secs(300);
    for (stream, lines) in streams.iter().zip(&lines) {
        let name = stream.row.name;
        if stream.row.fate == Fate::Quarantined {
            continue;
        }
        while Instant::now() < end && stream.stat("blocks_uploaded") < BLOCKS {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut found = String::new();
        for object in moods.objects(name).into_values() {
            let mut decoder = Decoder::sniff(Cursor::new(object)).unwrap();
            decoder.read_to_string(&mut found).unwrap();
        }
        let mut found: Vec<_> = found.lines().collect();
        found.sort_unstable();
        // A block with a flipped bit is in the bucket for ever: nothing is overwritten.
        if found != *lines && !matches!(stream.row.act, Act::Flips) {
            wrong.push(format!("{name}: {} of {} lines arrived", found.len(), lines.len()));
        }
    }
    for stream in &streams {
        process.registry.detach(&stream.attachment);
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_gateway_that_does_not_say_that_it_has_encrypted_blocks_is_told_of_once() {
    use crate::common::answering::{Answering, Reply, http};
    let gateway =
        Answering::start(|asked| Reply::Now(http("200 OK", &[("ETag", &tag(&asked.body))], b"")));
    let process = Process::new();
    let more =
        [("server_side_encryption", "AES256"), ("max_bytes", "1KB"), ("compression", "none")];
    let holder = process.attach(&gateway.endpoint(), &more);
    for number in 1..=3 {
        holder.push(&"x".repeat(2000), 0..1);
        holder.wait_stat("blocks_uploaded", number);
    }
    let told = process.told.all();
    let told: Vec<_> =
        told.iter().filter(|text| text.contains("does not say that it enc")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("warning: "), "{told:?}");
}
