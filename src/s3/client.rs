//! One bucket at one gateway: signed requests, one attempt each, every answer classified.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use super::credentials::{Cache, Credentials, ProcessEnvironment};
use super::endpoint::Bucket;
use super::http::{Fault as HttpFault, Http, HttpSetupError, Pace, Patience, Request, Response};
use super::object::{self, Exact, Fault, Gateway, HeaderError, OptionError, PutObject};
use super::options::Options;
use super::outcome::{Action, Answer, Outcome, classify};
use super::retry::Store;
use super::sign::{self, EMPTY_SHA256, Service};
use super::wire::encode;
use super::wire::{date, xml};
use crate::clock::Clock;

/// Most bytes of an error's body that are read.
const ERROR_BODY: u64 = 64 * 1024;
/// A clock that is further off than this is corrected; gateways allow 15 minutes.
const SKEW: i64 = 4 * 60;
/// No `Date` was seen yet.
const UNKNOWN: i64 = i64::MIN;

/// Why a client cannot be made from these options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// A file or a proxy that no connection can be made with.
    #[error(transparent)]
    Http(#[from] HttpSetupError),
    /// An option that does not suit the gateway or another option.
    #[error(transparent)]
    Option(#[from] OptionError),
}

impl SetupError {
    /// Whether a file is at fault, which may be usable at another time.
    #[must_use]
    pub fn blames_file(&self) -> bool {
        matches!(self, Self::Http(HttpSetupError::Pem { .. }))
    }
}

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
    /// The same as the last answer's `Date` has it, to the second; [`UNKNOWN`] before one.
    seen_offset: AtomicI64,
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

/// A request before it is signed.
pub(super) struct Call<'a, 'b> {
    pub(super) method: &'static str,
    pub(super) key: Option<&'a str>,
    pub(super) query: Option<&'a str>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) payload_sha256: &'a str,
    pub(super) body: Option<&'b mut (dyn Read + 'b)>,
    pub(super) deadline: Duration,
    pub(super) patience: Patience,
}

impl Call<'_, '_> {
    pub(super) fn get(method: &'static str, deadline: Duration) -> Self {
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
        options.object.check(gateway)?;
        let http = Http::new(&options.http(), &ProcessEnvironment)?;
        http.check(&bucket.url(None, None))?;
        Ok(Self {
            bucket,
            options,
            credentials,
            clock,
            http,
            gateway,
            pace: Pace::new(gateway.pace()),
            offset: AtomicI64::new(0),
            seen_offset: AtomicI64::new(UNKNOWN),
            ask_first: AtomicBool::new(false),
        })
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// What tells the time.
    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
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

    /// The proxy that leads to the gateway, as `host:port`.
    #[must_use]
    pub fn proxy(&self) -> Option<&str> {
        self.http.proxy(&self.bucket.url(None, None))
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

    /// Seconds by which the gateway's clock was ahead of ours in its last answer, to the second of
    /// its `Date` header; `None` before an answer that had one.
    #[must_use]
    pub fn seen_offset(&self) -> Option<i64> {
        // A number of its own, as above.
        Some(self.seen_offset.load(Ordering::Relaxed)).filter(|offset| *offset != UNKNOWN)
    }

    /// One attempt to store `object`. Blocks for at most the options' deadline, and once more for
    /// the HEAD that settles a 412.
    #[must_use]
    pub fn put(&self, object: &PutObject<'_>) -> Answer {
        let sums = match object::complete(object, &self.options.object) {
            Ok(sums) => sums,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Answer::local(Outcome::Damaged, error.to_string());
            }
            Err(error) => return Answer::local(Outcome::Unreadable, error.to_string()),
        };
        let headers = match object::headers(object, &self.options.object, &sums, self.now()) {
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
                    if answer.outcome == Outcome::Broken {
                        // Only a hint for the next request: nothing is published by it. Not for
                        // ever: a proxy's answer to the question may be what breaks it.
                        self.ask_first.store(body.is_cut(), Ordering::Relaxed);
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

    pub(super) fn send(&self, call: Call<'_, '_>) -> Result<(Response, Credentials), Answer> {
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
            Ok(response) => {
                if let Some(date) = response.header("date").and_then(date::http) {
                    let seconds =
                        |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
                    let offset = seconds(date) - seconds(self.clock.unix());
                    self.seen_offset.store(offset, Ordering::Relaxed);
                }
                Ok((response, credentials))
            }
            Err(error) => Err(Answer::local(error.fault.into(), credentials.redact(&error.text))),
        }
    }

    /// Reads what a response says. A 412 is a conflict until it is settled.
    pub(super) fn answer(&self, response: Response, credentials: &Credentials) -> Answer {
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
        let redact = |text: &str| self.http.redact(&credentials.redact(text));
        let add = |message: &mut String, text: &str| {
            message.push_str(if message.is_empty() { "" } else { ", " });
            message.push_str(text);
        };
        let mut message = redact(&body.message);
        if outcome == Outcome::WrongRegion {
            let region = region.unwrap_or(body.region);
            for (what, value) in [("region", region), ("location", location.unwrap_or_default())] {
                if !value.is_empty() {
                    add(&mut message, &format!("{what} {}", redact(&value)));
                }
            }
        }
        if status >= 300
            && status != 412
            && let Some(proxy) = self.proxy()
        {
            add(&mut message, &format!("through the proxy {proxy}"));
        }
        Answer {
            outcome,
            status: Some(status),
            code: redact(&body.code),
            message,
            request_id: redact(if request_id.is_empty() { &body.request_id } else { &request_id }),
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

    /// The gateway's Unix time as far as it is known.
    fn now(&self) -> Duration {
        let offset = self.clock_offset();
        let magnitude = Duration::from_secs(offset.unsigned_abs());
        let unix = self.clock.unix();
        if offset < 0 { unix.saturating_sub(magnitude) } else { unix.saturating_add(magnitude) }
    }
}

impl From<HttpFault> for Outcome {
    fn from(fault: HttpFault) -> Self {
        match fault {
            HttpFault::Unreachable => Self::Unreachable,
            HttpFault::Proxy => Self::Proxy,
            HttpFault::ProxyRefused => Self::ProxyRefused,
            HttpFault::Tls => Self::Tls,
            HttpFault::TimedOut => Self::TimedOut,
            HttpFault::Broken => Self::Broken,
            HttpFault::Unsendable => Self::Unsendable,
        }
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
