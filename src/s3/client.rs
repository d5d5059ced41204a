//! One bucket at one gateway: signed requests, one attempt each, every answer classified.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use super::body::{self, Exact, Fault};
use super::credentials::{Cache, Credentials};
use super::encode;
use super::endpoint::Bucket;
use super::gateway::Gateway;
use super::http::{Http, Patience, Request, Response};
use super::options::Options;
use super::outcome::{Action, Answer, Outcome, classify};
use super::pace::Pace;
use super::put::{self, HeaderError, PutObject};
use super::retry::Store;
use super::sign::{self, EMPTY_SHA256, Service};
use super::tls::SetupError;
use super::{date, xml};
use crate::clock::Clock;

/// Most bytes of an error's body that are read.
const ERROR_BODY: u64 = 64 * 1024;
/// Most bytes of a page of a listing: 1,000 keys of 1,024 bytes, each escaped three times over.
const PAGE_BODY: u64 = 8 * 1024 * 1024;
/// A clock that is further off than this is corrected; gateways allow 15 minutes.
const SKEW: i64 = 4 * 60;

/// A bucket to talk to. Shared by all threads of a stream; connections are kept alive.
pub struct Client {
    bucket: Bucket,
    options: Options,
    credentials: Arc<Cache>,
    clock: Arc<dyn Clock>,
    http: Http,
    gateway: Gateway,
    pace: Pace,
    /// Seconds to add to our clock to have the gateway's.
    offset: AtomicI64,
    /// The gateway cut a body short: ask before the next one is sent. A gateway that refuses a
    /// request may close before the body is through, and its answer is lost with the connection.
    ask_first: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("bucket", &self.bucket)
            .field("options", &self.options)
            .field("clock_offset", &self.clock_offset())
            .finish_non_exhaustive()
    }
}

/// What HEAD says about an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Bytes.
    pub len: Option<u64>,
    /// The entity tag with its quotes.
    pub etag: Option<String>,
    /// Names (without `x-amz-meta-`, lower case) and values as sent.
    pub metadata: Vec<(String, String)>,
}

/// An object's body as it comes.
pub struct Get {
    /// Bytes, when the gateway says so.
    pub len: Option<u64>,
    /// The bytes. A read fails when none come for the client's `timeout`.
    pub body: Box<dyn Read + Send>,
}

impl fmt::Debug for Get {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A request before it is signed.
struct Call<'a, 'b> {
    method: &'static str,
    key: Option<&'a str>,
    query: Option<&'a str>,
    headers: Vec<(String, String)>,
    payload_sha256: &'a str,
    body: Option<&'b mut (dyn Read + 'b)>,
    deadline: Duration,
    patience: Patience,
}

impl Call<'_, '_> {
    fn get(method: &'static str, deadline: Duration) -> Self {
        Self {
            method,
            key: None,
            query: None,
            headers: Vec::new(),
            payload_sha256: EMPTY_SHA256,
            body: None,
            deadline,
            patience: Patience::Deadline,
        }
    }
}

impl Client {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// When a certificate file or the proxy's URL cannot be used, or an option does not suit the
    /// gateway.
    pub fn new(
        bucket: Bucket,
        options: Options,
        credentials: Arc<Cache>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let gateway = options.gateway.unwrap_or_else(|| Gateway::of(bucket.endpoint().host()));
        gateway.check(&options.object)?;
        let http = Http::new(&options, bucket.endpoint().is_loopback())?;
        Ok(Self {
            bucket,
            options,
            credentials,
            clock,
            http,
            gateway,
            pace: Pace::new(gateway.pace()),
            offset: AtomicI64::new(0),
            ask_first: AtomicBool::new(false),
        })
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The kind of gateway.
    #[must_use]
    pub fn gateway(&self) -> Gateway {
        self.gateway
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Where the credentials come from.
    #[must_use]
    pub fn credentials(&self) -> &Cache {
        &self.credentials
    }

    /// Seconds by which the gateway's clock is ahead of ours, as far as it mattered; 0 at first.
    #[must_use]
    pub fn clock_offset(&self) -> i64 {
        // A number of its own: nothing else is read by it.
        self.offset.load(Ordering::Relaxed)
    }

    /// One attempt to store `object`. Blocks for at most the options' deadline, and once more for
    /// the HEAD that settles a 412.
    #[must_use]
    pub fn put(&self, object: &PutObject<'_>) -> Answer {
        let sums = match body::complete(object, &self.options.object) {
            Ok(sums) => sums,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Answer::local(Outcome::Damaged, error.to_string());
            }
            Err(error) => return Answer::local(Outcome::Unreadable, error.to_string()),
        };
        let headers = match put::headers(object, &self.options.object, &sums, self.now()) {
            Ok(headers) => headers,
            Err(error @ HeaderError::TooMuchAdded(_)) => {
                return Answer::local(Outcome::Unsendable, error.to_string());
            }
            Err(error) => return Answer::local(Outcome::Damaged, error.to_string()),
        };
        let mut body = match (object.open)() {
            Ok(body) => Exact::new(body, object.len),
            Err(error) => return Answer::local(Outcome::Unreadable, error.to_string()),
        };
        let hash = encode::hex(&object.sha256);
        let sent = self.send(Call {
            method: "PUT",
            key: Some(object.key),
            query: None,
            headers,
            payload_sha256: &hash,
            body: Some(&mut body),
            deadline: self.options.deadline(object.len),
            patience: Patience::Short,
        });
        let answer = match sent {
            Ok((response, credentials)) => self.answer(response, &credentials),
            Err(answer) => match body.fault() {
                Some(Fault::Short(left)) => Answer::local(
                    Outcome::Damaged,
                    format!("its file is {left} bytes shorter than the block"),
                ),
                Some(Fault::Io(text)) => Answer::local(Outcome::Unreadable, text),
                None => {
                    if answer.outcome == Outcome::Broken && body.is_cut() {
                        // Only a hint for the next request: nothing is published by it.
                        self.ask_first.store(true, Ordering::Relaxed);
                    }
                    answer
                }
            },
        };
        if answer.outcome == Outcome::Stored {
            self.ask_first.store(false, Ordering::Relaxed);
        }
        if answer.status == Some(412) { self.settle(object, &hash, answer) } else { answer }
    }

    /// Whose object is it that is there already?
    fn settle(&self, object: &PutObject<'_>, hash: &str, answer: Answer) -> Answer {
        let outcome = match self.head(object.key) {
            Ok(head) => {
                let theirs = head
                    .metadata
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(object.sha256_name))
                    .map(|(_, value)| value.as_str());
                let same_hash = theirs.is_some_and(|theirs| theirs.eq_ignore_ascii_case(hash));
                if same_hash && head.len.is_none_or(|len| len == object.len) {
                    Outcome::AlreadyStored
                } else {
                    Outcome::Conflict
                }
            }
            // Gone again, or not visible yet: the next PUT will tell.
            Err(head) if head.outcome == Outcome::NoObject => Outcome::Busy,
            Err(head) => match head.action() {
                Action::Retry { .. } => return head,
                // A HEAD has no body that would tell an expired token from a bad request: none of
                // its refusals is a reason to set the block aside.
                Action::RetryCredentials
                | Action::RetryConfiguration
                | Action::Quarantine
                | Action::Done => Outcome::Unsettled,
            },
        };
        Answer { outcome, ..answer }
    }

    /// What is known about the object at `key`.
    ///
    /// # Errors
    /// The answer of an attempt that did not work; [`Outcome::NoObject`] also when the bucket is
    /// missing: HEAD has no body to tell the two apart.
    pub fn head(&self, key: &str) -> Result<Head, Answer> {
        let call = Call { key: Some(key), ..Call::get("HEAD", self.options.timeout) };
        let (response, credentials) = self.send(call)?;
        if classify(response.status, "") != Some(Outcome::Stored) {
            return Err(of_object(self.answer(response, &credentials)));
        }
        Ok(Head {
            len: response.header("content-length").and_then(|len| len.parse().ok()),
            etag: response.header("etag").map(str::to_owned),
            metadata: response.metadata(),
        })
    }

    /// The object at `key`.
    ///
    /// # Errors
    /// The answer of an attempt that did not work.
    pub fn get(&self, key: &str) -> Result<Get, Answer> {
        let patience = Patience::EachRead;
        let call = Call { key: Some(key), patience, ..Call::get("GET", self.options.timeout) };
        let (response, credentials) = self.send(call)?;
        if classify(response.status, "") != Some(Outcome::Stored) {
            return Err(of_object(self.answer(response, &credentials)));
        }
        let len = response.header("content-length").and_then(|len| len.parse().ok());
        Ok(Get { len, body: Box::new(response.into_reader()) })
    }

    /// A page of the keys that begin with `prefix`; `next` of the last page goes on. Keys come in
    /// the gateway's order, which need not be sorted, and a page may be empty and not the last.
    /// Storj lists folders only: there the folder is listed and the rest is left out here.
    ///
    /// # Errors
    /// The answer of an attempt that did not work.
    pub fn list(&self, prefix: &str, next: Option<&str>) -> Result<xml::Page, Answer> {
        // SigV4 wants the parameters in order.
        let mut query = String::new();
        if let Some(next) = next {
            query.push_str("continuation-token=");
            query.push_str(&encode::query(next));
            query.push('&');
        }
        // No encoding-type=url: there are servers that say they did and did not.
        query.push_str("list-type=2&prefix=");
        let folder = prefix.rfind('/').and_then(|slash| prefix.get(..=slash)).unwrap_or_default();
        let asked = if self.gateway.lists_folders_only() { folder } else { prefix };
        query.push_str(&encode::query(asked));
        let call = Call { query: Some(&query), ..Call::get("GET", self.options.timeout) };
        let (response, credentials) = self.send(call)?;
        if classify(response.status, "") != Some(Outcome::Stored) {
            return Err(self.answer(response, &credentials));
        }
        let (bytes, whole) = response.read(PAGE_BODY);
        if !whole {
            return Err(Answer::local(Outcome::Broken, "the listing was cut short"));
        }
        let mut page = xml::page(&bytes).ok_or_else(|| {
            Answer::local(Outcome::Broken, "the listing is not a ListBucketResult")
        })?;
        page.entries.retain(|entry| entry.key.starts_with(prefix));
        Ok(page)
    }

    fn send(&self, call: Call<'_, '_>) -> Result<(Response, Credentials), Answer> {
        let credentials = self
            .credentials
            .get(self.now())
            .map_err(|error| Answer::local(Outcome::NoCredentials, error.to_string()))?;
        let url = self.bucket.url(call.key, call.query);
        let authority = self.bucket.authority();
        let mut headers: Vec<(&str, &str)> = vec![("host", &authority)];
        headers.extend(call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let signed = sign::sign(
            &sign::Request {
                method: call.method,
                url: &url,
                headers: &headers,
                payload_sha256: call.payload_sha256,
            },
            &credentials,
            &self.options.region,
            Service::S3,
            self.now(),
        )
        .map_err(|error| {
            Answer::local(Outcome::Unsendable, credentials.redact(&error.to_string()))
        })?;
        headers.extend(signed.iter().map(|(name, value)| (*name, value.as_str())));
        self.pace.wait(&*self.clock);
        let ask_first = call.body.is_some() && self.ask_first.load(Ordering::Relaxed);
        let response = self.http.send(Request {
            method: call.method,
            url: &url,
            headers: &headers,
            body: call.body,
            deadline: call.deadline,
            ask_first,
            patience: call.patience,
        });
        match response {
            Ok(response) => Ok((response, credentials)),
            Err(error) => Err(Answer::local(error.outcome, credentials.redact(&error.text))),
        }
    }

    /// Reads what a response says. A 412 is a conflict until it is settled.
    fn answer(&self, response: Response, credentials: &Credentials) -> Answer {
        let status = response.status;
        let header = |name: &str| response.header(name).map(str::to_owned);
        let retry_after = header("retry-after");
        let date = header("date").and_then(|text| date::http(&text));
        let request_id = header("x-amz-request-id").unwrap_or_default();
        let location = header("location");
        let region = header("x-amz-bucket-region");
        let (bytes, _) = response.read(ERROR_BODY);
        let body = if status < 300 { xml::ErrorBody::default() } else { xml::error(&bytes) };
        let mut outcome = classify(status, &body.code).unwrap_or(Outcome::Conflict);
        if outcome == Outcome::Refused && date.is_some_and(|date| self.learn_clock(date)) {
            outcome = Outcome::ClockCorrected;
        }
        let mut message = credentials.redact(&body.message);
        if outcome == Outcome::WrongRegion {
            let region = region.unwrap_or(body.region);
            for (what, value) in [("region", region), ("location", location.unwrap_or_default())] {
                if !value.is_empty() {
                    let gap = if message.is_empty() { "" } else { ", " };
                    message.push_str(&format!("{gap}{what} {}", credentials.redact(&value)));
                }
            }
        }
        Answer {
            outcome,
            status: Some(status),
            code: credentials.redact(&body.code),
            message,
            request_id: if request_id.is_empty() { body.request_id } else { request_id },
            retry_after: retry_after.and_then(|text| {
                date::retry_after(&text, date.unwrap_or_else(|| self.clock.unix()))
            }),
        }
    }

    /// Takes over the gateway's clock when ours is off; `true` when that changed anything.
    fn learn_clock(&self, date: Duration) -> bool {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        if (seconds(date) - seconds(self.now())).abs() < SKEW {
            return false;
        }
        let offset = seconds(date) - seconds(self.clock.unix());
        // Each thread learns the same from the same gateway: the last one wins.
        self.offset.store(offset, Ordering::Relaxed);
        true
    }

    /// Our own Unix time.
    pub(super) fn unix(&self) -> Duration {
        self.clock.unix()
    }

    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    /// The gateway's Unix time as far as it is known.
    fn now(&self) -> Duration {
        let offset = self.clock_offset();
        let magnitude = Duration::from_secs(offset.unsigned_abs());
        let unix = self.clock.unix();
        if offset < 0 { unix.saturating_sub(magnitude) } else { unix.saturating_add(magnitude) }
    }
}

/// A 404 without a code, asked for an object: it is the object that is missing.
fn of_object(answer: Answer) -> Answer {
    match answer.outcome {
        Outcome::NoBucket if answer.code.is_empty() => {
            Answer { outcome: Outcome::NoObject, ..answer }
        }
        _ => answer,
    }
}

impl Store for Client {
    fn put(&self, object: &PutObject<'_>) -> Answer {
        Self::put(self, object)
    }

    fn reread_credentials(&self) {
        self.credentials.refused();
    }
}
