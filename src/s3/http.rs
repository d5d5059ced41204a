//! One HTTP/1.1 exchange, bounded in bytes and time. Knows nothing of S3.
//!
//! Limits: 64 KiB of response headers; the body is bounded by the caller; a response's body gets
//! 10 s after its headers; everything together gets the request's deadline. Redirects are
//! returned, never followed: a redirect to another region must be seen, and a signature is good
//! for one host only.

use std::io::Read;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::{Agent, AsSendBody, SendBody, Timeout};

use super::options::{Options, Proxy};
use super::outcome::Outcome;
use super::tls::{self, SetupError};

/// Longest time for a response's body after its headers.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long a gateway may take to answer `Expect: 100-continue` before the body is sent anyway.
const CONTINUE_TIME: Duration = Duration::from_secs(2);

/// A keep-alive agent for one endpoint; shared by all threads.
#[derive(Clone)]
pub(super) struct Http {
    /// Replaced after a panic, which may have left its pool of connections poisoned.
    agent: Arc<Mutex<Agent>>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The agent's own would print all of its settings, a proxy's among them.
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

/// What is sent.
pub(super) struct Request<'a, 'b> {
    pub(super) method: &'static str,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The body; its length stands in `content-length`.
    pub(super) body: Option<&'b mut (dyn Read + 'b)>,
    pub(super) deadline: Duration,
    /// Send the headers, and the body when the gateway says so.
    pub(super) ask_first: bool,
    pub(super) patience: Patience,
}

/// How long a response's body may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// 10 s: its bytes do not matter.
    Short,
    /// What the request's deadline leaves.
    Deadline,
    /// The deadline for each read: the caller takes the bytes at his own pace.
    EachRead,
}

/// What came back.
pub(super) struct Response {
    pub(super) status: u16,
    headers: ureq::http::HeaderMap,
    body: ureq::Body,
}

/// Why nothing came back.
#[derive(Debug)]
pub(super) struct TransportError {
    pub(super) outcome: Outcome,
    pub(super) text: String,
}

impl Http {
    pub(super) fn new(options: &Options, loopback: bool) -> Result<Self, SetupError> {
        let proxy = match &options.proxy {
            _ if loopback => None,
            Proxy::None => None,
            Proxy::Environment => ureq::Proxy::try_from_env(),
            Proxy::Url(url) => Some(ureq::Proxy::new(url).map_err(|_| SetupError::Proxy)?),
        };
        let config = Agent::config_builder()
            .tls_config(tls::config(options)?)
            .proxy(proxy)
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("vmod-s3log/", env!("CARGO_PKG_VERSION")))
            .accept("")
            .accept_encoding("")
            // A block is read and written in pieces of this size: flat memory for any block.
            .output_buffer_size(64 * 1024)
            .input_buffer_size(64 * 1024)
            .max_response_header_size(64 * 1024)
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            .timeout_await_100(Some(CONTINUE_TIME))
            .build();
        Ok(Self { agent: Arc::new(Mutex::new(config.new_agent())) })
    }

    fn agent(&self) -> Agent {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn send(&self, request: Request<'_, '_>) -> Result<Response, TransportError> {
        let mut builder = ureq::http::Request::builder().method(request.method).uri(request.url);
        for (name, value) in request.headers {
            builder = builder.header(*name, *value);
        }
        if request.ask_first {
            builder = builder.header("expect", "100-continue");
        }
        let times = (request.deadline, request.patience);
        match request.body {
            Some(reader) => self.run(builder.body(SendBody::from_reader(reader)), times),
            None => self.run(builder.body(()), times),
        }
    }

    fn run(
        &self,
        built: Result<ureq::http::Request<impl AsSendBody>, ureq::http::Error>,
        (deadline, patience): (Duration, Patience),
    ) -> Result<Response, TransportError> {
        let built = built.map_err(|error| TransportError {
            outcome: Outcome::Unsendable,
            text: error.to_string(),
        })?;
        let agent = self.agent();
        let config = agent.configure_request(built);
        let config = match patience {
            Patience::Short => {
                config.timeout_global(Some(deadline)).timeout_recv_body(Some(BODY_TIME))
            }
            Patience::Deadline => config.timeout_global(Some(deadline)),
            Patience::EachRead => config
                .timeout_send_request(Some(deadline))
                .timeout_recv_response(Some(deadline))
                .timeout_per_read(Some(deadline)),
        };
        let request = config.build();
        // The client asserts and spawns threads; a panic of its must not end an upload for good.
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| agent.run(request)));
        let Ok(ran) = ran else {
            let fresh = agent.config().clone().new_agent();
            *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
            let text = "the HTTP client panicked".to_owned();
            return Err(TransportError { outcome: Outcome::Broken, text });
        };
        let response = ran.map_err(TransportError::from)?;
        let (parts, body) = response.into_parts();
        Ok(Response { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

impl Response {
    /// A header as text; `None` when it is missing or not ASCII.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The `x-amz-meta-` headers without that prefix.
    pub(super) fn metadata(&self) -> Vec<(String, String)> {
        let pair = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            let name = name.as_str().strip_prefix("x-amz-meta-")?;
            Some((name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        };
        self.headers.iter().filter_map(pair).collect()
    }

    /// At most `limit` bytes of the body and whether that was all of it. What a broken connection
    /// leaves is returned too: the status has been said already.
    pub(super) fn read(self, limit: u64) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        let mut reader = self.body.into_reader();
        let whole = match reader.by_ref().take(limit).read_to_end(&mut bytes) {
            // One read more lets the connection notice its end and go back to the pool.
            Ok(_) => matches!(reader.read(&mut [0; 1]), Ok(0)),
            Err(_) => false,
        };
        (bytes, whole)
    }

    /// The body as it comes.
    pub(super) fn into_reader(self) -> impl Read + Send + 'static {
        self.body.into_reader()
    }
}

impl From<ureq::Error> for TransportError {
    fn from(error: ureq::Error) -> Self {
        use std::io::ErrorKind;
        use ureq::Error;
        let outcome = match &error {
            Error::HostNotFound
            | Error::ConnectionFailed
            | Error::ConnectProxyFailed(_)
            | Error::InvalidProxyUrl
            | Error::Timeout(Timeout::Resolve | Timeout::Connect) => Outcome::Unreachable,
            Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) | Error::TlsRequired => Outcome::Tls,
            Error::Timeout(_) => Outcome::TimedOut,
            Error::Io(io) => match io.kind() {
                ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
                | ErrorKind::AddrNotAvailable => Outcome::Unreachable,
                ErrorKind::TimedOut | ErrorKind::WouldBlock => Outcome::TimedOut,
                // rustls reports a failed handshake so.
                ErrorKind::InvalidData => Outcome::Tls,
                // The resolver's errors have no kind of their own.
                _ if io.to_string().contains("lookup address") => Outcome::Unreachable,
                _ => Outcome::Broken,
            },
            _ => Outcome::Broken,
        };
        Self { outcome, text: error.to_string() }
    }
}
