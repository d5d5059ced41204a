//! The client against a gateway: the same checks for each of them, whoever wrote it.
//!
//! Ignored unless asked for, and then configured by the environment; `e2e/gateways.py` does that
//! for the servers of this project.
//!
//! | variable | value |
//! |---|---|
//! | `S3LOG_GATEWAY` | the endpoint, such as `http://127.0.0.1:8333`; `s3s-fs` for the one in this process; `storj` or `minio` for a fake that answers as these were seen to |
//! | `S3LOG_KIND` | optional: its name in `gateway`; by the host's name |
//! | `S3LOG_BUCKET` | a bucket that is there |
//! | `S3LOG_REGION` | optional: the region |
//! | `S3LOG_SMALL` | optional: the largest object has 8 MiB |
//! | `S3LOG_CREDENTIALS` | optional: a credentials file, instead of the environment |
//! | `S3LOG_CA_FILE` | optional: the authority of an https endpoint |
//! | `S3LOG_ADDRESSING` | optional: `virtual` |
//! | `S3LOG_PROXY` | optional: an HTTP proxy |
//! | `S3LOG_CLIENT_CERTIFICATE`, `S3LOG_CLIENT_KEY` | optional: PEM files |
//! | `S3LOG_DOMAIN` | optional: the domain under which the gateway at a loopback address has virtual hosts |
//! | `S3LOG_LOCK_BUCKET` | optional: a bucket with object lock |
//! | `S3LOG_CONTROL` | optional: whoever reads the output kills and starts the gateway when asked |
//! | `AWS_ACCESS_KEY_ID`, ... | a key that may write, read and list |
//!
//! What the table of gateways says of its kind decides what it is asked for; what it does not do is
//! `not supported`.
//!
//! The output has a line for whoever reads it: `@check {...}` how one went, `@object {...}` what
//! was stored, with its digest; and `@kill`, `@start` and `@read`, each answered by a line on
//! standard input: kill the gateway, start it again, read every object back.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::common::clock::Shifted;
use crate::common::moods::{Act, Moods};
use crate::common::profiles::Profile;
use crate::common::s3_objects::{Finished, Fixed, object, put, upload};
use crate::common::s3_server::{ACCESS_KEY, BUCKET, Place, S3Server, SECRET_KEY};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use vmod_s3log::clock::{Clock, System};
use vmod_s3log::s3::credentials::{Cache, Credentials, ProcessEnvironment, Sources, chain};
use vmod_s3log::s3::object::{ContentMd5, Region, Traits, Words};
use vmod_s3log::s3::{
    Action, Addressing, Backoff, Bucket, Checksum, Client, Endpoint, Gateway, ObjectOptions,
    Options, Outcome, Proxy, PutObject,
};

const SPECIAL: [&str; 8] = [
    "a b+c",
    "10:30:00.000-host",
    "percent%20and%",
    "ümlaut-日本語",
    "q?x=1&y=2#f",
    "tilde~star*quote'paren()",
    "$dollar@at!bang,comma;semi=eq",
    "[x]{y}|z^`\"<lt>gt",
];

/// Detail of what worked; or why this gateway cannot be asked. What fails, panics.
type Checked = Result<String, String>;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Asks whoever reads the output for something, and waits until it is done.
fn ask(what: &str) {
    println!("\n@{what}");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "done", "{what}");
}

/// The gateway, wherever it is.
struct Site {
    endpoint: String,
    bucket: String,
    lock_bucket: Option<String>,
    prefix: String,
    kind: Gateway,
    /// Answers that were written here, by a server that verifies no signature.
    fake: bool,
    /// The one in this process: running, or where it was.
    inside: Option<(Arc<Mutex<Option<S3Server>>>, Place)>,
}

impl Site {
    /// `S3LOG_GATEWAY`, or what would stand there.
    fn find(endpoint: String) -> Self {
        let prefix = format!("check-{}/", System::new().unix().as_nanos());
        if let Some(profile) = Profile::of(&endpoint) {
            let fake = Moods::start();
            for bucket in [BUCKET, "locked-logs"] {
                fake.bucket(bucket, Act::Like(profile));
            }
            return Self {
                kind: endpoint.parse().unwrap(),
                endpoint: fake.endpoint(),
                bucket: BUCKET.to_owned(),
                lock_bucket: Some("locked-logs".to_owned()),
                prefix,
                fake: true,
                inside: None,
            };
        }
        if endpoint != "s3s-fs" {
            let host = Endpoint::parse(&endpoint, true).unwrap().host().to_owned();
            let kind = variable("S3LOG_KIND").filter(|kind| !kind.is_empty());
            return Self {
                kind: kind.map_or_else(|| Gateway::of(&host), |kind| kind.parse().unwrap()),
                endpoint,
                bucket: variable("S3LOG_BUCKET").unwrap(),
                lock_bucket: variable("S3LOG_LOCK_BUCKET"),
                prefix,
                fake: false,
                inside: None,
            };
        }
        let server = S3Server::start_to_return();
        let (endpoint, place) = (server.endpoint(), server.place());
        let inside = Some((Arc::new(Mutex::new(Some(server))), place));
        Self {
            endpoint,
            bucket: BUCKET.to_owned(),
            lock_bucket: None,
            prefix,
            kind: Gateway::Generic,
            fake: false,
            inside,
        }
    }

    fn credentials(&self) -> Cache {
        if self.inside.is_some() || self.fake {
            return self.fixed(SECRET_KEY);
        }
        let environment = Arc::new(ProcessEnvironment) as Arc<_>;
        let file = variable("S3LOG_CREDENTIALS").map(Into::into);
        let sources = Sources { file, ..Sources::default() };
        let gateway = Endpoint::parse(&self.endpoint, true).unwrap();
        chain(&sources, &environment, &gateway, &Options::default()).unwrap()
    }

    /// The right key with this secret.
    fn fixed(&self, secret: &str) -> Cache {
        let key = match self.inside.is_some() || self.fake {
            true => ACCESS_KEY.to_owned(),
            false => {
                let found = self.credentials().get(System::new().unix()).unwrap();
                found.access_key().to_owned()
            }
        };
        Cache::new(vec![Box::new(Fixed(Credentials::new(&key, secret, None, None, "test")))])
    }

    fn traits(&self) -> &'static Traits {
        self.kind.traits()
    }

    fn options(&self) -> Options {
        let host = Endpoint::parse(&self.endpoint, true).unwrap().host().to_owned();
        let region = variable("S3LOG_REGION").filter(|region| !region.is_empty());
        let region = region.or_else(|| Gateway::region_of(&host).map(str::to_owned));
        Options {
            region: region.unwrap_or_else(|| match self.traits().region {
                Region::Only([first, ..]) => (*first).to_owned(),
                Region::Own(default) => default.to_owned(),
                _ => "us-east-1".to_owned(),
            }),
            gateway: Some(self.kind),
            ca_file: variable("S3LOG_CA_FILE").map(Into::into),
            client_certificate: variable("S3LOG_CLIENT_CERTIFICATE")
                .zip(variable("S3LOG_CLIENT_KEY"))
                .map(|(chain, key)| (chain.into(), key.into())),
            proxy: variable("S3LOG_PROXY").map_or(Proxy::Environment, Proxy::Url),
            ..Options::default()
        }
    }

    fn connect(
        &self,
        bucket: &str,
        options: Options,
        credentials: Cache,
        clock: impl Clock + 'static,
    ) -> Client {
        let endpoint = Endpoint::parse(&self.endpoint, true).unwrap();
        let addressing = match variable("S3LOG_ADDRESSING").as_deref() {
            Some("virtual") => Addressing::Virtual,
            _ => Addressing::Path,
        };
        let bucket = Bucket::new(endpoint, bucket, addressing).unwrap();
        Client::new(bucket, options, Arc::new(credentials), Arc::new(clock)).unwrap()
    }

    fn client(&self, object: ObjectOptions) -> Client {
        let options = Options { object, ..self.options() };
        self.connect(&self.bucket, options, self.credentials(), System::new())
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Tells that `body` is there, for whoever reads it back; `more` is what else holds of it.
    fn stored(&self, bucket: &str, name: &str, body: &[u8], more: &serde_json::Value) {
        let sha256 = vmod_s3log::s3::wire::encode::hex(&Sha256::digest(body));
        let line = json!({
            "bucket": bucket, "key": self.key(name), "len": body.len(), "sha256": sha256,
            "more": more,
        });
        println!("\n@object {line}");
    }

    /// Stores it, and tells so.
    fn store(&self, client: &Client, name: &str, body: &[u8]) {
        let answer = put(client, &self.key(name), body);
        assert_eq!(answer.outcome, Outcome::Stored, "{answer}");
        self.stored(&self.bucket, name, body, &json!({}));
    }
}

fn bytes(count: u32) -> Vec<u8> {
    (0..count).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn sized(site: &Site, name: &str, size: u32) -> Checked {
    if size > 8 << 20 && (site.fake || variable("S3LOG_SMALL").is_some()) {
        return Err("not asked for".to_owned());
    }
    let client = site.client(ObjectOptions::default());
    let body = bytes(size);
    let start = Instant::now();
    site.store(&client, name, &body);
    let took = start.elapsed();
    let mut read = Vec::new();
    client.get(&site.key(name)).unwrap().body.read_to_end(&mut read).unwrap();
    assert!(read == body, "{name} came back changed");
    Ok(format!("{:.2} s", took.as_secs_f64()))
}

fn special(site: &Site) -> Checked {
    let client = site.client(ObjectOptions::default());
    for name in SPECIAL {
        site.store(&client, name, name.as_bytes());
        let head = client.head(&site.key(name)).unwrap();
        assert_eq!(head.len, Some(name.len() as u64));
        assert!(head.metadata.contains(&("records".into(), "3".into())), "{head:?}");
    }
    let mut listed = BTreeSet::new();
    let mut next = None;
    loop {
        let page = client.list(&site.prefix, next.as_deref()).unwrap();
        listed.extend(page.entries.into_iter().map(|entry| entry.key));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    for name in SPECIAL {
        assert!(listed.contains(&site.key(name)), "{name} is not in the listing");
    }
    Ok(format!("{} keys", SPECIAL.len()))
}

fn duplicate(site: &Site) -> Checked {
    let client = site.client(ObjectOptions::default());
    site.store(&client, "twice", b"the block");
    let again = put(&client, &site.key("twice"), b"the block");
    if again.outcome == Outcome::Stored {
        return Err("the gateway ignores If-None-Match, the same is stored again".to_owned());
    }
    assert_eq!((again.outcome, again.action()), (Outcome::AlreadyStored, Action::Done), "{again}");
    Ok("there already".to_owned())
}

fn conflict(site: &Site) -> Checked {
    let client = site.client(ObjectOptions::default());
    let first = put(&client, &site.key("contested"), b"the first");
    assert_eq!(first.outcome, Outcome::Stored, "{first}");
    let other = put(&client, &site.key("contested"), b"another");
    if other.outcome == Outcome::Stored {
        site.stored(&site.bucket, "contested", b"another", &json!({}));
        return Err("the gateway ignores If-None-Match: nothing but the name protects".to_owned());
    }
    site.stored(&site.bucket, "contested", b"the first", &json!({}));
    assert_eq!((other.outcome, other.action()), (Outcome::Conflict, Action::Quarantine), "{other}");
    Ok("the first stays".to_owned())
}

fn checksums(site: &Site) -> Checked {
    for (checksum, word) in [
        (Checksum::Crc32c, "crc32c"),
        (Checksum::Crc64Nvme, "crc64nvme"),
        (Checksum::Sha256, "sha256"),
    ] {
        if !site.traits().checksum.take(word) {
            return Err("ignored or refused, by the table of gateways".to_owned());
        }
        let object =
            ObjectOptions { checksum, content_md5: ContentMd5::Always, ..ObjectOptions::default() };
        site.store(&site.client(object), &format!("{checksum:?}"), b"with a checksum");
    }
    Ok("crc32c, crc64nvme, sha256, MD5".to_owned())
}

fn wrong_secret(site: &Site) -> Checked {
    if site.fake {
        return Err("the fake verifies no signature".to_owned());
    }
    let wrong = site.fixed("a-wrong-secret");
    let client = site.connect(&site.bucket, site.options(), wrong, System::new());
    // A gateway may refuse a large body by breaking the connection; the next attempt is told why.
    let mut answer = put(&client, &site.key("refused"), &vec![0; 8 << 20]);
    if answer.outcome == Outcome::Broken {
        answer = put(&client, &site.key("refused"), &vec![0; 8 << 20]);
    }
    assert_eq!(answer.action(), Action::RetryCredentials, "{answer}");
    assert!(!answer.to_string().contains("a-wrong-secret"), "{answer}");
    Ok(answer.code)
}

fn skewed(site: &Site) -> Checked {
    for (name, shift) in [("behind", -3600), ("ahead", 3600)] {
        let clock = Shifted::by(shift);
        let client = site.connect(&site.bucket, site.options(), site.credentials(), clock);
        let first = put(&client, &site.key(name), name.as_bytes());
        if first.outcome == Outcome::Stored {
            site.stored(&site.bucket, name, name.as_bytes(), &json!({}));
            return Err("the gateway does not look at the clock".to_owned());
        }
        assert_eq!(first.outcome, Outcome::ClockCorrected, "{first}");
        assert!((client.clock_offset() + shift).abs() <= 5, "{}", client.clock_offset());
        site.store(&client, name, name.as_bytes());
    }
    Ok("corrected, both ways".to_owned())
}

fn missing_bucket(site: &Site) -> Checked {
    let client =
        site.connect("no-such-bucket-here", site.options(), site.credentials(), System::new());
    let answer = put(&client, "k", b"x");
    if answer.outcome == Outcome::Stored {
        return Err("the gateway answers 200".to_owned());
    }
    assert_eq!(
        (answer.outcome, answer.action()),
        (Outcome::NoBucket, Action::RetryConfiguration),
        "{answer}"
    );
    Ok(answer.code)
}

fn bad_region(site: &Site) -> Checked {
    let options = Options { region: "mars-north-9".to_owned(), ..site.options() };
    let client = site.connect(&site.bucket, options, site.credentials(), System::new());
    let answer = put(&client, &site.key("region"), b"x");
    if answer.outcome == Outcome::Stored {
        site.stored(&site.bucket, "region", b"x", &json!({}));
        return Err("the gateway takes any region".to_owned());
    }
    assert!(
        matches!(answer.action(), Action::RetryConfiguration | Action::RetryCredentials),
        "{answer}"
    );
    Ok(answer.code)
}

fn private_authority(site: &Site) -> Checked {
    let Some(ca_file) = variable("S3LOG_CA_FILE").filter(|_| site.inside.is_none()) else {
        return Err("no TLS here".to_owned());
    };
    site.store(&site.client(ObjectOptions::default()), "tls", b"with the authority");
    Ok(format!("trusted by {}", ca_file.rsplit('/').next().unwrap_or_default()))
}

fn unknown_authority(site: &Site) -> Checked {
    if variable("S3LOG_CA_FILE").is_none() || site.inside.is_some() {
        return Err("no TLS here".to_owned());
    }
    let options = Options { ca_file: None, ..site.options() };
    let client = site.connect(&site.bucket, options, site.credentials(), System::new());
    let answer = put(&client, &site.key("untrusted"), b"x");
    assert_eq!((answer.outcome, answer.status), (Outcome::Tls, None), "{answer}");
    Ok("refused before a byte of the request".to_owned())
}

fn virtual_host(site: &Site) -> Checked {
    let beside;
    let (domain, address) = if let Some((server, _)) = &site.inside {
        // The same files under another address: with a domain the server takes nothing else.
        beside = server.lock().unwrap().as_ref().unwrap().virtual_beside("s3.test");
        ("s3.test".to_owned(), beside.address())
    } else if let Some(domain) = variable("S3LOG_DOMAIN") {
        let address = site.endpoint.split("://").nth(1).unwrap().parse().unwrap();
        (domain, address)
    } else {
        return Err("S3LOG_DOMAIN is not given".to_owned());
    };
    let proxy = crate::common::proxy::Proxy::start(address);
    let scheme = site.endpoint.split("://").next().unwrap();
    let endpoint = Endpoint::parse(&format!("{scheme}://{domain}"), true).unwrap();
    let bucket = Bucket::new(endpoint, &site.bucket, Addressing::Virtual).unwrap();
    let options = Options { proxy: Proxy::Url(proxy.url()), ..site.options() };
    let credentials = Arc::new(site.credentials());
    let client = Client::new(bucket, options, credentials, Arc::new(System::new())).unwrap();
    site.store(&client, "virtual host", b"by its name");
    let asked = proxy.asked();
    let host = asked.first().unwrap();
    assert!(host.starts_with(&format!("{}.{domain}:", site.bucket)), "{host}");
    Ok(host.clone())
}

fn dressed(site: &Site) -> Checked {
    if site.inside.is_some() {
        return Err("s3s-fs keeps no tags".to_owned());
    }
    let traits = site.traits();
    let tag = ["edge & co", "edge"].into_iter().find(|text| traits.tags.take(text));
    let class = match traits.redundancy {
        Words::Only(words) => words.last().copied(),
        Words::Nothing => None,
        Words::Any | Words::Unknown => Some("STANDARD_IA"),
    };
    let class = class.map(str::to_ascii_uppercase);
    let acl = traits.acl.take("private").then(|| "private".to_owned());
    let object = ObjectOptions {
        tags: tag.map(|text| ("team".into(), text.into())).into_iter().collect(),
        storage_class: class.clone(),
        acl: acl.clone(),
        metadata: vec![("site".into(), "köln".into())],
        content_type: "text/plain".to_owned(),
        ..ObjectOptions::default()
    };
    let answer = put(&site.client(object), &site.key("dressed"), b"dressed");
    assert_eq!(answer.outcome, Outcome::Stored, "{answer}");
    let mut more = json!({ "type": "text/plain", "metadata": { "site": "köln" } });
    if let Some(text) = tag {
        more["tags"] = json!({ "team": text });
    }
    // S3 does not say so of the default one.
    if let Some(class) = class.as_deref().filter(|class| *class != "STANDARD") {
        more["class"] = json!(class);
    }
    site.stored(&site.bucket, "dressed", b"dressed", &more);
    let parts = [("tags", tag.is_some()), ("class", class.is_some()), ("ACL", acl.is_some())];
    let parts = parts.into_iter().filter(|(_, sent)| *sent).map(|(name, _)| name);
    Ok(parts.chain(["metadata", "type"]).collect::<Vec<_>>().join(", "))
}

fn locked(site: &Site) -> Checked {
    let Some(bucket) = site.lock_bucket.clone() else {
        return Err("no bucket with object lock".to_owned());
    };
    let object = ObjectOptions {
        object_lock: Some("governance:1d".parse().unwrap()),
        ..ObjectOptions::default()
    };
    let options = Options { object, ..site.options() };
    let client = site.connect(&bucket, options, site.credentials(), System::new());
    let answer = put(&client, &site.key("locked"), b"locked");
    assert_eq!(answer.outcome, Outcome::Stored, "{answer}");
    site.stored(&bucket, "locked", b"locked", &json!({ "lock": "GOVERNANCE" }));
    Ok("governance:1d".to_owned())
}

/// A body that has the gateway killed when half of it was read.
struct Killer {
    body: Cursor<Vec<u8>>,
    kill: Option<Box<dyn FnOnce()>>,
}

impl Read for Killer {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.body.position() > self.body.get_ref().len() as u64 / 2
            && let Some(kill) = self.kill.take()
        {
            kill();
        }
        self.body.read(buffer)
    }
}

fn killed(site: &Site) -> Checked {
    if site.inside.is_none() && variable("S3LOG_CONTROL").as_deref() != Some("1") {
        return Err("nobody here may kill it".to_owned());
    }
    let client = site.client(ObjectOptions::default());
    let body = bytes(16 << 20);
    let (waits, opened) = (Cell::new(0), Cell::new(0));
    let finished = object(&site.key("killed"), &body, |object| {
        let open = || -> std::io::Result<Box<dyn Read>> {
            opened.set(opened.get() + 1);
            let inside = site.inside.as_ref().map(|(server, _)| Arc::clone(server));
            let kill: Box<dyn FnOnce()> = match inside {
                Some(server) => Box::new(move || drop(server.lock().unwrap().take())),
                None => Box::new(|| ask("kill")),
            };
            // Only the first attempt has a server to kill.
            let kill = (opened.get() == 1).then_some(kill);
            Ok(Box::new(Killer { body: Cursor::new(body.clone()), kill }))
        };
        let object = PutObject { open: &open, metadata: object.metadata, ..*object };
        let mut wait = |pause| {
            waits.set(waits.get() + 1);
            match (&site.inside, waits.get()) {
                (Some((server, place)), 3) => {
                    server.lock().unwrap().replace(S3Server::restart(place));
                }
                (None, 3) => ask("start"),
                (_, 4..) => std::thread::sleep(pause),
                _ => {}
            }
            waits.get() < 20
        };
        let backoff = Backoff::new(fastrand::Rng::with_seed(3));
        upload(&client, &object, &System::new(), backoff, &mut wait, &mut |failure, action, _| {
            println!("\n{failure}");
            assert!(matches!(action, Action::Retry { .. }), "{failure}");
        })
    });
    let Finished::Stored { attempts, .. } = finished else { panic!("{finished:?}") };
    assert!(attempts >= 4, "{attempts} attempts");
    site.stored(&site.bucket, "killed", &body, &json!({}));
    Ok(format!("stored by attempt {attempts}"))
}

/// A check and its name.
type Check = (&'static str, fn(&Site) -> Checked);

/// All of them.
const CHECKS: &[Check] = &[
    ("1 KiB", |site| sized(site, "1 KiB", 1 << 10)),
    ("8 MiB", |site| sized(site, "8 MiB", 8 << 20)),
    ("200 MiB", |site| sized(site, "200 MiB", 200 << 20)),
    ("special characters", special),
    ("the same again", duplicate),
    ("another under the key", conflict),
    ("checksums", checksums),
    ("tags and metadata", dressed),
    ("object lock", locked),
    ("wrong secret", wrong_secret),
    ("clock an hour off", skewed),
    ("missing bucket", missing_bucket),
    ("bad region", bad_region),
    ("TLS, private CA", private_authority),
    ("TLS, CA unknown", unknown_authority),
    ("virtual host", virtual_host),
    ("killed in mid body", killed),
];

/// Runs all checks; which failed, and which are not supported.
fn check(site: &Site) -> (Vec<&'static str>, Vec<&'static str>) {
    let (mut failed, mut lacking) = (Vec::new(), Vec::new());
    for (name, run) in CHECKS {
        let result = catch_unwind(AssertUnwindSafe(|| run(site)));
        let (result, detail) = match result {
            Ok(Ok(detail)) => ("ok", detail),
            Ok(Err(reason)) => {
                lacking.push(*name);
                ("not supported", reason)
            }
            Err(panic) => {
                failed.push(*name);
                let text = panic.downcast_ref::<String>().cloned();
                ("failed", text.unwrap_or_else(|| "see above".to_owned()))
            }
        };
        println!("\n@check {}", json!({ "check": name, "result": result, "detail": detail }));
    }
    (failed, lacking)
}

#[test]
#[ignore = "needs a gateway: see the top of the file"]
fn the_gateway_takes_what_the_client_sends() {
    let site = Site::find(variable("S3LOG_GATEWAY").unwrap());
    let region = site.options().region;
    let place = json!({
        "endpoint": site.endpoint, "prefix": site.prefix, "region": region,
        "kind": site.traits().name,
    });
    println!("\n@site {place}");
    let (failed, _) = check(&site);
    if variable("S3LOG_CONTROL").is_some() {
        ask("read");
    }
    assert_eq!(failed, Vec::<&str>::new());
}

#[test]
fn storj_and_minio_as_they_were_seen_to_answer_take_all_that_the_table_says() {
    // Nobody verifies a signature or the clock there, and nothing of it can be killed.
    let never = [
        "200 MiB",
        "wrong secret",
        "clock an hour off",
        "bad region",
        "TLS, private CA",
        "TLS, CA unknown",
        "virtual host",
        "killed in mid body",
    ];
    for (name, more) in [("storj", &["checksums"][..]), ("minio", &[])] {
        let (failed, lacking) = check(&Site::find(name.to_owned()));
        assert_eq!(failed, Vec::<&str>::new(), "{name}");
        let lacking: BTreeSet<_> = lacking.into_iter().collect();
        assert_eq!(lacking, never.iter().chain(more).copied().collect(), "{name}");
    }
}
