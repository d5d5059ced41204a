//! One bucket at one gateway: signed requests, one attempt each, every answer classified.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use super::classify::{classify, classify_head};
use super::credentials::{Cache, Credentials, ProcessEnvironment};
use super::endpoint::{Bucket, Scheme};
use super::http::{Fault as HttpFault, Http, HttpSetupError, Pace, Patience, Request, Response};
use super::learnt::{self, Learnt};
use super::object::{ContentMd5, Does, Gateway, OptionError};
use super::options::Options;
use super::outcome::{Answer, Outcome};
use super::sign::{self, EMPTY_SHA256, Service};
use super::wire::{date, xml};
use crate::clock::Clock;

/// Most bytes of an error's body that are read.
pub(super) const ERROR_BODY: u64 = 64 * 1024;

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
    pub(super) clock: Arc<dyn Clock>,
    http: Http,
    gateway: Gateway,
    pace: Pace,
    learnt: Learnt,
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
    /// Whether the body waits for the gateway to ask for it.
    pub(super) ask_first: bool,
    /// What it counts towards the gateway's limit.
    pub(super) cost: u32,
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
            ask_first: false,
            cost: 1,
        }
    }
}

/// What a request was signed with: its answer is judged by it, whatever others have learnt meanwhile.
pub(super) struct Signed {
    credentials: Credentials,
    /// The offset of the clock, in seconds.
    offset: i64,
}

/// What an answer's headers say besides the object.
pub(super) struct Heading {
    pub(super) status: u16,
    pub(super) date: Option<Duration>,
    pub(super) retry_after: String,
    pub(super) request_id: String,
    location: String,
    region: String,
}

impl Heading {
    pub(super) fn of(response: &Response) -> Self {
        let header = |name: &str| response.header(name).unwrap_or_default().to_owned();
        Self {
            status: response.status,
            date: response.header("date").and_then(date::http),
            retry_after: header("retry-after"),
            request_id: header("x-amz-request-id"),
            location: header("location"),
            region: header("x-amz-bucket-region"),
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
        mut options: Options,
        credentials: Arc<Cache>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let gateway = options.gateway.unwrap_or_else(|| Gateway::of(bucket.endpoint().host()));
        options.object.check(gateway)?;
        if options.object.content_md5 == ContentMd5::Auto && gateway == Gateway::Aws {
            options.object.content_md5 = ContentMd5::Always;
        }
        if gateway.traits().if_none_match == Does::No {
            options.object.if_none_match = false;
        }
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
            learnt: Learnt::new(),
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
        self.learnt.offset()
    }

    /// Seconds by which the gateway's clock was ahead of ours in its last answer, to the second of
    /// its `Date` header; `None` before an answer that had one.
    #[must_use]
    pub(crate) fn seen_offset(&self) -> Option<i64> {
        self.learnt.seen_offset()
    }

    /// That the gateway has stored an object and not confirmed `server_side_encryption`, if so.
    #[must_use]
    pub(crate) fn encryption_doubt(&self) -> Option<String> {
        self.learnt.encryption_doubt()
    }

    /// What an operator should know although the gateway stores; each is told once.
    #[must_use]
    pub(crate) fn notice(&self) -> Option<String> {
        self.learnt.encryption_notice().or_else(|| self.http.notice())
    }

    /// Whether a file that it goes by was changed since it was read: credentials, certificates, a key.
    #[must_use]
    pub(crate) fn is_outdated(&self) -> bool {
        self.credentials.is_outdated() || self.http.is_outdated()
    }

    pub(super) fn send(&self, call: Call<'_, '_>) -> Result<(Response, Signed), Answer> {
        let (unix, offset) = (self.clock.unix(), self.learnt.offset());
        let now = learnt::shifted(unix, offset);
        // By the more generous of the two clocks: an offset that is wrong must not end them.
        let credentials = self
            .credentials
            .get(now.min(unix))
            .or_else(|error| {
                let theirs = self.seen_offset().map(|offset| learnt::shifted(unix, offset));
                self.credentials.lapsed(theirs).ok_or(error)
            })
            .map_err(|error| Answer::local(Outcome::NoCredentials, error.to_string()))?;
        let url = self.bucket.url(call.key, call.query);
        let authority = self.bucket.authority();
        let mut headers: Vec<(&str, &str)> = vec![("host", &authority)];
        headers.extend(call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if let Some(owner) = &self.options.expected_bucket_owner {
            headers.push(("x-amz-expected-bucket-owner", owner));
        }
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
            now,
        )
        .map_err(|error| {
            let text = credentials.redact(&error.to_string());
            match credentials.can_be_sent() {
                true => Answer::local(Outcome::Unsendable, text),
                // Read again until somebody has corrected them.
                false => Answer::local(
                    Outcome::NoCredentials,
                    format!(
                        "those from {} hold a line break or another control character: write them \
                         again",
                        credentials.source()
                    ),
                ),
            }
        })?;
        headers.extend(signed.iter().map(|(name, value)| (*name, value.as_str())));
        self.pace.wait(&*self.clock, call.cost);
        let response = self.http.send(Request {
            method: call.method,
            url: &url,
            headers: &headers,
            body: call.body,
            deadline: call.deadline,
            ask_first: call.ask_first,
            patience: call.patience,
        });
        match response {
            Ok(response) => {
                if let Some(date) = response.header("date").and_then(date::http) {
                    self.learnt.saw(date, self.clock.unix());
                }
                Ok((response, Signed { credentials, offset }))
            }
            Err(error) => Err(Answer::local(error.fault.into(), credentials.redact(&error.text))),
        }
    }

    /// Reads what a response that is no success says. A 412 is a conflict until it is settled.
    pub(super) fn answer(&self, response: Response, signed: &Signed) -> Answer {
        let head = Heading::of(&response);
        let (bytes, _) = response.read(ERROR_BODY);
        let body = xml::error(&bytes);
        let outcome = classify(head.status, &body.code, &body.message).unwrap_or(Outcome::Conflict);
        self.describe(head, outcome, body, &bytes, signed)
    }

    /// The same for HEAD, whose answers have no body.
    pub(super) fn answer_to_head(&self, response: Response, signed: &Signed) -> Answer {
        let head = Heading::of(&response);
        // Lets the connection go on.
        let _ = response.read(ERROR_BODY);
        let outcome = classify_head(head.status);
        self.describe(head, outcome, xml::ErrorBody::default(), &[], signed)
    }

    /// An answer in words, with what it shows of the gateway taken over.
    pub(super) fn describe(
        &self,
        head: Heading,
        mut outcome: Outcome,
        body: xml::ErrorBody,
        bytes: &[u8],
        signed: &Signed,
    ) -> Answer {
        let unix = self.clock.unix();
        let refused = |date| self.learnt.refused(signed.offset, date, unix);
        if outcome == Outcome::Refused && head.date.is_some_and(refused) {
            outcome = Outcome::ClockCorrected;
            // When they end was reckoned by the old one.
            self.credentials.refused();
        }
        let redact = |text: &str| self.http.redact(&signed.credentials.redact(text));
        let mut parts = vec![redact(&body.message)];
        if body.code.is_empty() {
            parts.push(redact(&xml::title(bytes)));
        }
        if !body.header.is_empty() {
            parts.push(format!("header {}", redact(&body.header)));
        }
        if matches!(outcome, Outcome::WrongRegion | Outcome::NotS3) || head.status < 400 {
            let region = if head.region.is_empty() { &body.region } else { &head.region };
            for (what, value) in [("region", region), ("location", &head.location)] {
                if !value.is_empty() {
                    parts.push(format!("{what} {}", redact(value)));
                }
            }
        }
        let endpoint = self.bucket.endpoint();
        let there = head.location.strip_prefix("https://");
        if endpoint.scheme() == Scheme::Http
            && there.is_some_and(|there| there.starts_with(endpoint.host()))
        {
            parts.push("the gateway wants TLS: write https:// in endpoint".to_owned());
        }
        if head.status >= 300
            && head.status != 412
            && let Some(proxy) = self.proxy()
        {
            parts.push(format!("through the proxy {proxy}"));
        }
        parts.retain(|part| !part.is_empty());
        let id = if head.request_id.is_empty() { &body.request_id } else { &head.request_id };
        Answer {
            outcome,
            status: Some(head.status),
            code: redact(&body.code),
            message: parts.join(", "),
            request_id: redact(id),
            retry_after: date::retry_after(&head.retry_after, head.date.unwrap_or(unix)),
            silence: Duration::ZERO,
        }
    }

    /// The gateway's Unix time as far as it is known.
    pub(super) fn now(&self) -> Duration {
        learnt::shifted(self.clock.unix(), self.learnt.offset())
    }

    /// Gives up the connections that are kept: one of them is out of step.
    pub(super) fn reconnect(&self) {
        self.http.reset();
    }

    /// What the gateway's answers have shown of it.
    pub(super) fn learnt(&self) -> &Learnt {
        &self.learnt
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
