//! Where the bucket is: an endpoint, a bucket and the way the two make a URL.
//!
//! Non-goals: no S3 access points, no dual-stack or accelerate names; a caller who wants one
//! writes it as the endpoint.

use std::fmt;
use std::net::Ipv6Addr;

use super::http;
use super::wire::encode;

/// Why an endpoint or a bucket name was not taken; the text is the sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No scheme, or one that is not HTTP.
    #[error("endpoint {0:?} takes http:// or https:// and a host, like https://s3.example.com")]
    Scheme(String),
    /// No host, or one with characters that no host has.
    #[error("endpoint {0:?} has no valid host: write a name, an IPv4 address or an [IPv6] address")]
    Host(String),
    /// A port outside 1 to 65535.
    #[error("endpoint {0:?} has no valid port: write a number from 1 to 65535")]
    Port(String),
    /// `user:password@host`.
    #[error("the endpoint carries a user name: credentials never stand in the endpoint")]
    UserInfo,
    /// A query string or a fragment, or a path with characters that need escaping.
    #[error("endpoint {0:?} takes a scheme, a host, a port and at most a plain path")]
    Path(String),
    /// Plain HTTP over a network, unasked.
    #[error(
        "endpoint {0:?} would send log lines unencrypted: use https://, or set allow_http = true"
    )]
    PlainHttp(String),
    /// A bucket name that S3 does not have.
    #[error("bucket {0:?} takes 1 to 255 letters, digits, dots, dashes and underscores")]
    Bucket(String),
    /// `bucket.1.2.3.4` is no host.
    #[error("addressing \"virtual\" needs a host name, and endpoint {0:?} is an address")]
    VirtualAddress(String),
    /// No wildcard certificate covers a name with one more dot.
    #[error(
        "bucket {0:?} has a dot, and no gateway's certificate covers {0}.<host>: write addressing = \
         \"path\""
    )]
    VirtualDot(String),
    /// An access point or a bucket as AWS's policies write it.
    #[error("bucket {0:?} is an ARN: write the bucket's name, which is its last part")]
    Arn(String),
}

/// Clear text or TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`, port 80.
    Http,
    /// `https`, port 443.
    Https,
}

impl Scheme {
    fn text(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A gateway's address: `scheme://host[:port][/base]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    /// Lower case; an IPv6 address stands in its brackets.
    host: String,
    port: u16,
    /// Empty, or a path with a leading and without a trailing slash.
    base: String,
}

impl Endpoint {
    /// Reads `scheme://host[:port][/base]`. Plain HTTP to anything but loopback takes `allow_http`.
    ///
    /// # Errors
    /// A sentence that quotes the endpoint and says what it takes; an endpoint with a user name is
    /// not quoted.
    pub fn parse(text: &str, allow_http: bool) -> Result<Self, EndpointError> {
        let trimmed = text.trim();
        if trimmed.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let quoted = || trimmed.to_owned();
        let (scheme, rest) =
            trimmed.split_once("://").ok_or_else(|| EndpointError::Scheme(quoted()))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(EndpointError::Scheme(quoted())),
        };
        let (authority, base) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let (host, port) = split_port(authority).ok_or_else(|| EndpointError::Host(quoted()))?;
        let port = match port {
            None => scheme.port(),
            Some(digits) => digits
                .parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| EndpointError::Port(quoted()))?,
        };
        let host = host.to_ascii_lowercase();
        if !valid_host(&host) {
            return Err(EndpointError::Host(quoted()));
        }
        let base = base.trim_end_matches('/');
        if encode::path(base) != base {
            return Err(EndpointError::Path(quoted()));
        }
        let endpoint = Self { scheme, host, port, base: base.to_owned() };
        if scheme == Scheme::Http && !allow_http && !endpoint.is_loopback() {
            return Err(EndpointError::PlainHttp(quoted()));
        }
        Ok(endpoint)
    }

    /// Clear text or TLS.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own when none was written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What comes before the bucket in the path: empty, or with a leading and without a trailing slash.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The `Host` header: the port only where it is not the scheme's own, as HTTP clients send it.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.scheme.port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether nothing leaves the machine on the way there.
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        http::is_loopback(&self.host)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.text(), self.host)?;
        if self.port != self.scheme.port() {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.base)
    }
}

/// `host[:port]` in two; `None` when the brackets of an IPv6 address do not match.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if authority.starts_with('[') {
        let (host, rest) = authority.split_at(authority.find(']')? + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

fn valid_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|a| a.parse::<Ipv6Addr>().is_ok());
    }
    // RFC 1123, and the underscore that private networks like.
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// Where the bucket's name stands in the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing {
    /// `https://host/bucket/key`: what every gateway takes.
    #[default]
    Path,
    /// `https://bucket.host/key`: what AWS asks of new buckets.
    Virtual,
}

/// A bucket at an endpoint: makes URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    endpoint: Endpoint,
    name: String,
    addressing: Addressing,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.endpoint, self.name)
    }
}

impl Bucket {
    /// A bucket by name.
    ///
    /// # Errors
    /// When the name has characters that no bucket has, or `Virtual` meets an IP address.
    pub fn new(
        endpoint: Endpoint,
        name: &str,
        addressing: Addressing,
    ) -> Result<Self, EndpointError> {
        // S3's own rules are narrower (3 to 63, lower case), but older buckets and other servers
        // have more, and the server says so itself.
        let valid = (1..=255).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
            && name.bytes().any(|b| b != b'.');
        if name.starts_with("arn:") {
            return Err(EndpointError::Arn(name.to_owned()));
        }
        if !valid {
            return Err(EndpointError::Bucket(name.to_owned()));
        }
        let tls = endpoint.scheme == Scheme::Https;
        if addressing == Addressing::Virtual && tls && name.contains('.') {
            return Err(EndpointError::VirtualDot(name.to_owned()));
        }
        if addressing == Addressing::Virtual && http::address(&endpoint.host).is_some() {
            return Err(EndpointError::VirtualAddress(endpoint.to_string()));
        }
        Ok(Self { endpoint, name: name.to_owned(), addressing })
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The gateway.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.addressing {
            Addressing::Path => self.endpoint.authority(),
            Addressing::Virtual => format!("{}.{}", self.name, self.endpoint.authority()),
        }
    }

    /// The URL of an object, or of the bucket with an already encoded query.
    #[must_use]
    pub fn url(&self, key: Option<&str>, query: Option<&str>) -> String {
        let mut url = format!(
            "{}://{}{}/",
            self.endpoint.scheme.text(),
            self.authority(),
            self.endpoint.base
        );
        if self.addressing == Addressing::Path {
            url.push_str(&self.name);
            url.push('/');
        }
        if let Some(key) = key {
            url.push_str(&encode::path(key));
        }
        if let Some(query) = query {
            url.push('?');
            url.push_str(query);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::parse(text, false)
    }

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_perhaps_a_port_and_a_path() {
        for (text, shown) in [
            ("https://Gateway.Example:8443", "https://gateway.example:8443"),
            ("https://s3.example.com/", "https://s3.example.com"),
            ("https://s3.example.com:443", "https://s3.example.com"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("http://localhost", "http://localhost"),
            ("http://s3.localhost:8333", "http://s3.localhost:8333"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]"),
            ("https://h/base/path/", "https://h/base/path"),
        ] {
            assert_eq!(parse(text).map(|e| e.to_string()), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_wrong_endpoint_is_answered_with_what_it_takes() {
        for text in ["", "s3.example.com", "ftp://h", "//h", "https:/h"] {
            assert!(matches!(parse(text), Err(EndpointError::Scheme(_))), "{text}");
        }
        for text in ["https://", "https://a b", "https://[::1", "https://[::1]x", "https://a..b"] {
            assert!(matches!(parse(text), Err(EndpointError::Host(_))), "{text}");
        }
        for text in ["https://h:0", "https://h:65536", "https://h:", "https://h:x"] {
            assert!(matches!(parse(text), Err(EndpointError::Port(_))), "{text}");
        }
        assert!(matches!(parse("https://h/a?b"), Err(EndpointError::Path(_))));
        assert_eq!(
            parse("s3.example.com").unwrap_err().to_string(),
            "endpoint \"s3.example.com\" takes http:// or https:// and a host, \
             like https://s3.example.com"
        );
    }

    #[test]
    fn a_user_name_in_the_endpoint_is_refused_and_not_repeated() {
        let error = parse("https://AK:hunter2@h").unwrap_err();
        assert_eq!(error, EndpointError::UserInfo);
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn clear_text_leaves_the_machine_only_when_asked_for() {
        assert!(matches!(parse("http://s3.example.com"), Err(EndpointError::PlainHttp(_))));
        assert!(matches!(parse("http://10.0.0.1"), Err(EndpointError::PlainHttp(_))));
        assert!(Endpoint::parse("http://10.0.0.1", true).is_ok());
        assert!(parse("http://127.1.2.3").is_ok());
    }

    #[test]
    fn path_style_puts_the_bucket_into_the_path_and_virtual_host_style_into_the_host() {
        let endpoint = parse("https://h.example:8443").unwrap();
        let path = Bucket::new(endpoint.clone(), "logs", Addressing::Path).unwrap();
        assert_eq!(path.url(Some("a b"), None), "https://h.example:8443/logs/a%20b");
        assert_eq!(path.url(None, Some("list-type=2")), "https://h.example:8443/logs/?list-type=2");
        assert_eq!(path.authority(), "h.example:8443");
        let host = Bucket::new(endpoint, "logs", Addressing::Virtual).unwrap();
        assert_eq!(host.url(Some("a"), None), "https://logs.h.example:8443/a");
        let six = parse("https://[2001:db8::1]:9").unwrap();
        let six = Bucket::new(six, "logs", Addressing::Path).unwrap();
        assert_eq!(six.url(Some("k"), None), "https://[2001:db8::1]:9/logs/k");
    }

    #[test]
    fn a_bucket_name_cannot_smuggle_a_path_and_an_address_has_no_virtual_hosts() {
        let endpoint = parse("https://127.0.0.1").unwrap();
        for name in ["", "a/b", "a b", "..", "a?b"] {
            let refused = Bucket::new(endpoint.clone(), name, Addressing::Path);
            assert!(matches!(refused, Err(EndpointError::Bucket(_))), "{name}");
        }
        let refused = Bucket::new(endpoint.clone(), "logs", Addressing::Virtual);
        assert!(matches!(refused, Err(EndpointError::VirtualAddress(_))));
        let refused = Bucket::new(endpoint, "arn:aws:s3:::logs", Addressing::Path);
        assert!(matches!(refused, Err(EndpointError::Arn(_))));
        let endpoint = parse("https://s3.example.com").unwrap();
        let refused = Bucket::new(endpoint.clone(), "logs.edge", Addressing::Virtual);
        assert!(matches!(refused, Err(EndpointError::VirtualDot(_))));
        assert!(Bucket::new(endpoint, "logs.edge", Addressing::Path).is_ok());
    }
}
