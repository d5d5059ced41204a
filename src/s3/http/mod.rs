//! One HTTP/1.1 exchange, bounded in bytes and time. Knows nothing of S3.
//!
//! Limits: 64 KiB of response headers; the body is bounded by the caller; a response's body gets
//! 10 s after its headers; a gateway that reads no more of a body, or has it and does not answer, gets what
//! [`Patience`] says; everything together gets the request's deadline. Redirects are
//! returned, never followed: a redirect to another region must be seen, and a signature is good
//! for one host only.

mod error;
mod forward;
mod heads;
mod host;
mod pace;
mod proxy;
mod redact;
mod secure;
mod settings;
mod tls;
mod trust;
mod variables;

use std::io::{self, Read};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use rustls::ClientConfig;
use ureq::config::Config;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, AsSendBody, SendBody};

use forward::{Connections, Forward, Names};
use proxy::{Proxies, Route, Via};

pub use error::HttpSetupError;
pub(super) use error::{Fault, TransportError};
pub(super) use host::{address, is_loopback};
pub(super) use pace::Pace;
pub(super) use redact::redact;
pub(super) use settings::HttpSettings;
pub use settings::Proxy;
use settings::Stamps;
pub use variables::{ProcessEnvironment, Variables};

/// Longest time for a response's body after its headers.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long a gateway may take to answer `Expect: 100-continue` before the body is sent anyway.
const CONTINUE_TIME: Duration = Duration::from_secs(2);

/// How often it is looked whether the files of certificates have changed.
const LOOK: Duration = Duration::from_secs(1);

/// A keep-alive agent for one endpoint; shared by all threads.
#[derive(Clone)]
pub(super) struct Http {
    ways: Arc<Mutex<Ways>>,
    proxies: Proxies,
    forward: Forward,
    settings: Arc<HttpSettings>,
}

/// How connections are made at present.
struct Ways {
    /// Replaced after a panic, which may have left its pool of connections poisoned.
    agent: Agent,
    /// TLS where a file says who is trusted.
    by_file: Option<Arc<ClientConfig>>,
    files: Files,
}

/// What is known of the files of certificates.
struct Files {
    stamps: Stamps,
    looked: Instant,
    /// They could not be used: what they held before is.
    failed: bool,
    /// Why, until somebody is told.
    notice: Option<String>,
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

/// How long a response's body may take, and a gateway that makes no progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// 10 s: its bytes do not matter. So long is waited for a gateway that reads no more of the request's
    /// body, and for its answer to the whole.
    Short(Duration),
    /// What the request's deadline leaves.
    Deadline,
    /// The deadline for each read: the caller takes the bytes at his own pace. What
    /// [`Response::read`] reads has 10 s.
    EachRead,
}

/// What came back.
pub(super) struct Response {
    pub(super) status: u16,
    headers: ureq::http::HeaderMap,
    body: ureq::Body,
    patience: Patience,
}

impl Http {
    /// `variables` are asked for proxies, if the settings leave it to them.
    pub(super) fn new(
        settings: &HttpSettings,
        variables: &dyn Variables,
    ) -> Result<Self, HttpSetupError> {
        let proxies = Proxies::new(&settings.proxy, variables)?;
        let forward = Forward::new(proxies.forwards_to());
        // Before they are read: a change in between is seen the next time.
        let stamps = settings.stamps();
        let tls = tls::config(settings)?;
        let config = config(settings, tls.client);
        let agent = agent(settings, config, &forward, tls.by_file.clone());
        let files = Files { stamps, looked: Instant::now(), failed: false, notice: None };
        let ways = Arc::new(Mutex::new(Ways { agent, by_file: tls.by_file, files }));
        Ok(Self { ways, proxies, forward, settings: Arc::new(settings.clone()) })
    }

    /// The proxy that leads to `url`, as `host:port`.
    pub(super) fn proxy(&self, url: &str) -> Option<&str> {
        self.proxies.route(url).via().map(|via| via.shown.as_str())
    }

    /// Whether there is a way to `url`.
    ///
    /// # Errors
    /// What leads there is no proxy.
    pub(super) fn check(&self, url: &str) -> Result<(), HttpSetupError> {
        self.proxies.check(url)
    }

    /// `text` without a proxy's password.
    pub(super) fn redact(&self, text: &str) -> String {
        self.proxies.redact(text)
    }

    /// Leaves every kept connection: the next request makes its own.
    pub(super) fn reset(&self) {
        let mut ways = self.ways();
        let (config, by_file) = (ways.agent.config().clone(), ways.by_file.clone());
        ways.agent = agent(&self.settings, config, &self.forward, by_file);
    }

    fn ways(&self) -> MutexGuard<'_, Ways> {
        // Every update leaves it whole, so a panic elsewhere does not spoil it.
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files of certificates again where they have changed, or could not be used. Who asks for
    /// them waits for their file system, and nobody else does.
    fn renew(&self) {
        if self.settings.files().next().is_none() {
            return;
        }
        let (known, failed) = {
            let mut ways = self.ways();
            if ways.files.looked.elapsed() < LOOK {
                return;
            }
            ways.files.looked = Instant::now();
            (ways.files.stamps.clone(), ways.files.failed)
        };
        let stamps = self.settings.stamps();
        let changed = stamps != known;
        if !changed && !failed {
            return;
        }
        let read = tls::config(&self.settings);
        let mut ways = self.ways();
        ways.files.stamps = stamps;
        ways.files.failed = read.is_err();
        match read {
            Ok(tls) => {
                let config = config(&self.settings, tls.client);
                ways.agent = agent(&self.settings, config, &self.forward, tls.by_file.clone());
                ways.by_file = tls.by_file;
                ways.files.notice = None;
            }
            Err(error) if changed => {
                ways.files.notice = Some(format!("{error}; what was read before is used"));
            }
            Err(_) => {}
        }
    }

    /// Whether a file of certificates was changed since it was looked at.
    pub(super) fn is_outdated(&self) -> bool {
        self.settings.files().next().is_some() && self.ways().files.stamps != self.settings.stamps()
    }

    /// That a file of certificates was changed and cannot be used, once.
    pub(super) fn notice(&self) -> Option<String> {
        self.ways().files.notice.take()
    }

    pub(super) fn send(&self, request: Request<'_, '_>) -> Result<Response, TransportError> {
        self.renew();
        let route = self.proxies.route(request.url);
        let mut builder = ureq::http::Request::builder().method(request.method);
        builder = match &route {
            Route::Straight | Route::Tunnel(_) => builder.uri(request.url),
            Route::Nowhere(name) => {
                let text = HttpSetupError::Proxy(name).to_string();
                return Err(TransportError { fault: Fault::Unsendable, text });
            }
            Route::Forward(_) => builder.uri(self.forward.marked(request.url)),
        };
        for (name, value) in request.headers {
            builder = builder.header(*name, *value);
        }
        if request.ask_first {
            builder = builder.header("expect", "100-continue");
        }
        if let Route::Forward(via) = &route {
            // Proxies close without a word; a connection more is cheaper than a retry.
            builder = builder.header("connection", "close");
            if let Some(authorization) = &via.authorization {
                builder = builder.header("proxy-authorization", authorization.as_str());
            }
        }
        let tunnel = match &route {
            Route::Tunnel(via) => Some(via.proxy.clone()),
            Route::Straight | Route::Forward(_) | Route::Nowhere(_) => None,
        };
        let how = (request.deadline, request.patience, tunnel);
        let sent = match request.body {
            Some(reader) => self.run(builder.body(SendBody::from_reader(reader)), how),
            None => self.run(builder.body(()), how),
        };
        sent.map_err(|error| match route.via() {
            Some(via) => self.by_proxy(error, via),
            None => error,
        })
    }

    /// Says that it was the proxy, where it was.
    fn by_proxy(&self, error: TransportError, via: &Via) -> TransportError {
        let text = self.redact(&error.text);
        match error.fault {
            // The gateway's name and address are the proxy's affair.
            Fault::Unreachable | Fault::Proxy | Fault::ProxyRefused => TransportError {
                fault: match error.fault {
                    Fault::Unreachable => Fault::Proxy,
                    other => other,
                },
                text: format!("proxy {}: {text}", via.shown),
            },
            fault => {
                TransportError { fault, text: format!("{text}, through the proxy {}", via.shown) }
            }
        }
    }

    fn run(
        &self,
        built: Result<ureq::http::Request<impl AsSendBody>, ureq::http::Error>,
        (deadline, patience, tunnel): (Duration, Patience, Option<ureq::Proxy>),
    ) -> Result<Response, TransportError> {
        let built = built.map_err(|error| TransportError {
            fault: Fault::Unsendable,
            text: error.to_string(),
        })?;
        let agent = self.ways().agent.clone();
        let config = agent.configure_request(built).proxy(tunnel);
        let config = match patience {
            Patience::Short(silence) => config
                .timeout_global(Some(deadline))
                .timeout_per_write(Some(silence))
                .timeout_recv_response(Some(silence))
                .timeout_recv_body(Some(BODY_TIME)),
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
            self.reset();
            let text = "the HTTP client panicked".to_owned();
            return Err(TransportError { fault: Fault::Broken, text });
        };
        let response = ran.map_err(TransportError::from)?;
        let (parts, body) = response.into_parts();
        Ok(Response { status: parts.status.as_u16(), headers: parts.headers, body, patience })
    }
}

fn config(settings: &HttpSettings, tls: TlsConfig) -> Config {
    Agent::config_builder()
        .tls_config(tls)
        // Chosen for each request.
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("vmod-s3log/", env!("CARGO_PKG_VERSION")))
        .accept("")
        .accept_encoding("")
        // A block is read and written in pieces of this size: flat memory for any block.
        .output_buffer_size(64 * 1024)
        .input_buffer_size(64 * 1024)
        .max_response_header_size(64 * 1024)
        .timeout_resolve(Some(settings.connect_timeout))
        .timeout_connect(Some(settings.connect_timeout))
        .timeout_await_100(Some(CONTINUE_TIME))
        .build()
}

fn agent(
    settings: &HttpSettings,
    config: Config,
    forward: &Forward,
    by_file: Option<Arc<ClientConfig>>,
) -> Agent {
    let names = Names { forward: forward.clone(), inner: DefaultResolver::default() };
    let to_proxies = self::config(settings, tls::plain());
    let connections = Connections::new(forward.clone(), by_file, to_proxies);
    Agent::with_parts(config, connections, names)
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
    /// leaves is returned too: the status has been said already. A body in gzip, in which some proxies
    /// send error pages although nobody asked for it, is decoded.
    pub(super) fn read(self, limit: u64) -> (Vec<u8>, bool) {
        let coding = self.header("content-encoding").unwrap_or_default();
        let in_gzip = ["gzip", "x-gzip"].iter().any(|name| coding.eq_ignore_ascii_case(name));
        let mut bytes = Vec::new();
        // The other kinds of patience have an end of their own.
        let each = self.patience == Patience::EachRead;
        let end = each.then(|| Instant::now() + BODY_TIME);
        let mut reader = self.body.into_reader();
        let whole = match read_until(&mut reader.by_ref().take(limit), end, &mut bytes) {
            // One read more lets the connection notice its end and go back to the pool.
            Ok(()) => matches!(reader.read(&mut [0; 1]), Ok(0)),
            Err(_) => false,
        };
        if in_gzip && !bytes.is_empty() {
            let mut text = Vec::new();
            let mut decoder = MultiGzDecoder::new(&*bytes).take(limit + 1);
            let decoded = decoder.read_to_end(&mut text).is_ok();
            let fits = text.len() as u64 <= limit;
            text.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            return (text, whole && decoded && fits);
        }
        (bytes, whole)
    }

    /// The body as it comes.
    pub(super) fn into_reader(self) -> impl Read + Send + 'static {
        self.body.into_reader()
    }
}

/// Reads to the end of `reader`, or until `end`: after that no other read is begun.
fn read_until(reader: &mut impl Read, end: Option<Instant>, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 8 * 1024];
    loop {
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => bytes.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
