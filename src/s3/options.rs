//! What an operator can choose about the requests, as plain values.

use std::path::PathBuf;
use std::time::Duration;

use super::http::{HttpSettings, Proxy};
use super::object::{Gateway, ObjectOptions};

/// How the client talks to the gateway.
#[derive(Debug, Clone)]
pub struct Options {
    /// The region in the signature. `us-east-1` by default, which most gateways take.
    pub region: String,
    /// Longest time for name, connection, proxy and TLS together. 5 s by default.
    pub connect_timeout: Duration,
    /// Fixed part of the longest time for a whole request. 30 s by default.
    pub timeout: Duration,
    /// The slowest body that is waited for, in bytes a second: a request gets `timeout` and the
    /// body's length over this rate. 64 KiB/s by default; 0 counts as 1.
    pub floor_rate: u64,
    /// PEM file of the only authorities that are trusted; the system's when `None`.
    pub ca_file: Option<PathBuf>,
    /// PEM files of a client certificate's chain and of its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// The HTTP proxy. Loopback endpoints never use one.
    pub proxy: Proxy,
    /// The kind of gateway; `None` goes by the host's name.
    pub gateway: Option<Gateway>,
    /// The account that must own the bucket; the gateway refuses every request when another does.
    pub expected_bucket_owner: Option<String>,
    /// What every object is stored with.
    pub object: ObjectOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            floor_rate: 64 * 1024,
            ca_file: None,
            client_certificate: None,
            proxy: Proxy::Environment,
            gateway: None,
            expected_bucket_owner: None,
            object: ObjectOptions::default(),
        }
    }
}

impl Options {
    /// The longest time for a request with a body of `len` bytes.
    #[must_use]
    pub(crate) fn deadline(&self, len: u64) -> Duration {
        self.timeout.saturating_add(Duration::from_secs(len / self.floor_rate.max(1)))
    }

    /// The part that is about connections.
    pub(super) fn http(&self) -> HttpSettings {
        HttpSettings {
            connect_timeout: self.connect_timeout,
            ca_file: self.ca_file.clone(),
            client_certificate: self.client_certificate.clone(),
            proxy: self.proxy.clone(),
        }
    }
}
