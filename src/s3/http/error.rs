//! Why no connection can be made ready, and why an exchange brought no answer.

use ureq::Timeout;

/// What is said of a server with `openssl req -x509`'s certificate: a public authority makes none such.
const CA_AS_SERVER: &str = "the server's certificate is one of an authority (CA:TRUE), which is trusted \
    only when it is itself in ca_file; put it there, or make it again with openssl req -x509 ... \
    -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:<host>";
/// The same for a certificate without the names that count: `openssl req` makes one by default.
const NO_NAMES: &str = "the server's certificate has no subjectAltName, and its common name does not \
    count; make it again with -addext subjectAltName=DNS:<host>, or IP:<address>";

/// Why these settings make no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpSetupError {
    /// A certificate or key file that cannot be used.
    #[error("{option} {path}: {reason}")]
    Pem {
        /// The option's name.
        option: &'static str,
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// An invalid proxy URL in this option or variable. Not quoted: it may hold a password.
    #[error("{0} takes http://host:port or http://user:password@host:port")]
    Proxy(&'static str),
}

/// What an exchange without an answer failed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::s3) enum Fault {
    /// No connection: name, route, refusal.
    Unreachable,
    /// No connection to the proxy, or it has none to the host.
    Proxy,
    /// The proxy wants other credentials, or does not let through.
    ProxyRefused,
    /// A connection, but no trust.
    Tls,
    /// No answer in time.
    TimedOut,
    /// The connection ended early, or what came back is not HTTP.
    Broken,
    /// The request is not one that HTTP can carry.
    Unsendable,
}

/// Why nothing came back.
#[derive(Debug)]
pub(in crate::s3) struct TransportError {
    pub(in crate::s3) fault: Fault,
    pub(in crate::s3) text: String,
}

impl From<ureq::Error> for TransportError {
    fn from(error: ureq::Error) -> Self {
        use std::io::ErrorKind;
        use ureq::Error;
        let fault = match &error {
            Error::HostNotFound
            | Error::ConnectionFailed
            | Error::Timeout(Timeout::Resolve | Timeout::Connect) => Fault::Unreachable,
            Error::ConnectProxyFailed(reason) => match refused(reason) {
                true => Fault::ProxyRefused,
                false => Fault::Proxy,
            },
            Error::InvalidProxyUrl => Fault::Proxy,
            Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) | Error::TlsRequired => Fault::Tls,
            Error::Timeout(_) => Fault::TimedOut,
            Error::Io(io) => match io.kind() {
                ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
                | ErrorKind::AddrNotAvailable => Fault::Unreachable,
                ErrorKind::TimedOut | ErrorKind::WouldBlock => Fault::TimedOut,
                // rustls reports a failed handshake so.
                ErrorKind::InvalidData => Fault::Tls,
                // The resolver's errors have no kind of their own.
                _ if io.to_string().contains("lookup address") => Fault::Unreachable,
                _ => Fault::Broken,
            },
            _ => Fault::Broken,
        };
        let mut text = error.to_string();
        if text.contains("CaUsedAsEndEntity") {
            text = CA_AS_SERVER.to_owned();
        } else if text.contains("is not valid for any names") {
            text = NO_NAMES.to_owned();
        }
        Self { fault, text }
    }
}

/// Whether a proxy said no to a tunnel, and would say so again: no user, not to this port, never.
fn refused(reason: &str) -> bool {
    let status = reason.rsplit(['/', ' ']).next().unwrap_or_default();
    matches!(status, "401" | "403" | "405" | "407" | "501")
}
