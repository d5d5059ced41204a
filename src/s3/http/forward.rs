//! Plain `http://` through a proxy: the request line carries the whole URL (RFC 9112, 3.2.2).
//!
//! The HTTP client only knows tunnels (CONNECT), which proxies commonly allow to port 443 alone. So
//! a request that is to be forwarded gets a mark in its path; by it the name that is looked up is
//! the proxy's, and where the mark stands in the request line it is taken out on its way to the
//! socket:
//!
//! | | |
//! |---|---|
//! | asked for | `http://gateway:9000/logs/k` |
//! | given to the client | `http://gateway:9000/`*mark*`http://gateway:9000/logs/k` |
//! | written by it | `PUT /`*mark*`http://gateway:9000/logs/k HTTP/1.1` |
//! | sent to the proxy | `PUT http://gateway:9000/logs/k HTTP/1.1` |
//!
//! The mark is 128 random bits: no body begins with it by chance.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, RustlsConnector,
    TcpConnector, Transport,
};

use super::heads::Heads;
use super::secure::Secure;

/// Longest method before the mark, and the space behind it.
const METHOD: usize = 8;

/// The mark of this client and the proxy that it leads to.
#[derive(Clone)]
pub(super) struct Forward {
    /// `/` and 32 hexadecimal digits.
    mark: Arc<str>,
    proxy: Option<Uri>,
}

impl Forward {
    pub(super) fn new(proxy: Option<Uri>) -> Self {
        let mark = format!("/{:032x}", fastrand::u128(..));
        Self { mark: mark.into(), proxy }
    }

    /// `url` as the client is to be given it.
    pub(super) fn marked(&self, url: &str) -> String {
        let start = url.find("://").map_or(0, |at| at + 3);
        let rest = url.get(start..).unwrap_or_default();
        let end = start + rest.find(['/', '?']).unwrap_or(rest.len());
        format!("{}{}{url}", url.get(..end).unwrap_or_default(), self.mark)
    }

    fn marks(&self, uri: &Uri) -> bool {
        uri.path().starts_with(&*self.mark)
    }
}

/// Looks up the proxy where a request has the mark.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) forward: Forward,
    pub(super) inner: DefaultResolver,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let proxy = self.forward.proxy.as_ref().filter(|_| self.forward.marks(uri));
        self.inner.resolve(proxy.unwrap_or(uri), config, timeout)
    }
}

/// Connects as the HTTP client does by default, with TLS of our own before its own; what has the mark
/// has it taken out.
pub(super) struct Connections {
    forward: Forward,
    inner: Box<dyn Connector<(), Out = Box<dyn Transport>>>,
    to_proxies: ToProxies,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.inner).finish()
    }
}

/// Opens a connection for one that is to lead on.
type ToProxies =
    Arc<dyn Fn(&ConnectionDetails<'_>) -> Result<Box<dyn Transport>, Error> + Send + Sync>;

/// Connections to a proxy that is to tunnel. It is another server than the gateway: what the gateway's
/// options say of trust and of a client certificate is not for it, so `config` has neither.
fn to_proxies(config: Config) -> ToProxies {
    let chain = ().chain(TcpConnector::default()).chain(RustlsConnector::default());
    Arc::new(move |details| {
        let details =
            ConnectionDetails { config: &config, request_level: false, ..the_same(details) };
        let made = chain.connect(&details, None)?.ok_or(Error::ConnectionFailed)?;
        Ok(Box::new(Heads::new(made)))
    })
}

/// A copy, which the type does not give.
fn the_same<'a>(details: &ConnectionDetails<'a>) -> ConnectionDetails<'a> {
    ConnectionDetails {
        uri: details.uri,
        addrs: details.addrs.clone(),
        config: details.config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: details.now,
        timeout: details.timeout,
        current_time: Arc::clone(&details.current_time),
        run_connector: Arc::clone(&details.run_connector),
        register_shutdown: Arc::clone(&details.register_shutdown),
    }
}

impl Connections {
    /// `plain` is the configuration for proxies.
    pub(super) fn new(forward: Forward, by_file: Option<Arc<ClientConfig>>, plain: Config) -> Self {
        let inner =
            ().chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(Secure(by_file))
                .chain(RustlsConnector::default());
        Self { forward, inner: Box::new(Boxed(inner)), to_proxies: to_proxies(plain) }
    }
}

/// A connector of connections whose type nobody has to write.
#[derive(Debug)]
struct Boxed<C>(C);

impl<C: Connector<(), Out: Transport>> Connector<()> for Boxed<C> {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        let made = self.0.connect(details, chained)?;
        Ok(made.map(|made| -> Self::Out { Box::new(made) }))
    }
}

impl Connector for Connections {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        let details = &ConnectionDetails {
            run_connector: Arc::clone(&self.to_proxies) as _,
            ..the_same(details)
        };
        let made = self.inner.connect(details, chained)?;
        Ok(made.map(|inner| -> Self::Out {
            let inner = Heads::new(inner);
            if self.forward.marks(details.uri) {
                Box::new(Forwarded { inner, mark: Arc::clone(&self.forward.mark) })
            } else {
                Box::new(inner)
            }
        }))
    }
}

#[derive(Debug)]
struct Forwarded {
    inner: Heads<Box<dyn Transport>>,
    mark: Arc<str>,
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.inner.buffers().output();
        let amount = without(output.get_mut(..amount).unwrap_or_default(), self.mark.as_bytes());
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// Takes `mark` out of a request line; how long the bytes are then.
fn without(output: &mut [u8], mark: &[u8]) -> usize {
    let target = output.iter().take(METHOD).position(|byte| *byte == b' ').map(|at| at + 1);
    match target {
        Some(at) if output.get(at..).is_some_and(|rest| rest.starts_with(mark)) => {
            output.copy_within(at + mark.len().., at);
            output.len() - mark.len()
        }
        _ => output.len(),
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_put_before_the_whole_url_and_taken_out_of_the_request_line_only() {
        let forward = Forward::new(None);
        for url in ["http://g:9000/logs/k?list-type=2", "http://[::1]/", "http://g/a%20b"] {
            let marked = forward.marked(url);
            let uri: Uri = marked.parse().unwrap();
            assert!(forward.marks(&uri), "{marked}");
            let target = uri.path_and_query().unwrap().as_str();
            let mut line = format!("HEAD {target} HTTP/1.1\r\nhost: g\r\n\r\n").into_bytes();
            let length = without(&mut line, forward.mark.as_bytes());
            let line = String::from_utf8(line[..length].to_vec()).unwrap();
            assert_eq!(line, format!("HEAD {url} HTTP/1.1\r\nhost: g\r\n\r\n"));
        }
        for body in ["", "GET /logs/k HTTP/1.1\r\n", "no request at all"] {
            let mut bytes = body.as_bytes().to_vec();
            let length = without(&mut bytes, forward.mark.as_bytes());
            assert_eq!(&bytes[..length], body.as_bytes());
        }
        assert_ne!(forward.mark, Forward::new(None).mark);
    }
}
