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
    /// Fixed part of the longest time for a whole request, and of the time in which a gateway that has
    /// the whole body answers. 30 s by default.
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

/// Most bytes of a body that are on their way when the connection has taken its last one: what Linux buffers
/// at most for a socket, unless somebody has raised it (`net.ipv4.tcp_wmem`).
const ON_THEIR_WAY: u64 = 4 * 1024 * 1024;

impl Options {
    /// The longest time for a request with a body of `len` bytes.
    #[must_use]
    pub(crate) fn deadline(&self, len: u64) -> Duration {
        self.timeout.saturating_add(Duration::from_secs(len / self.floor_rate.max(1)))
    }

    /// How long a gateway is waited for that takes no more of a body of `len` bytes, or has all of it and
    /// does not answer. Some are slow and honest, as one behind a proxy that passes the body on only when
    /// it has it all: those are waited for as long as they have needed, see [`Patience`](super::Patience).
    /// [`Options::deadline`] ends all waits.
    #[must_use]
    pub(crate) fn silence(&self, len: u64, patience: Duration) -> Duration {
        let once = self.deadline(len.min(ON_THEIR_WAY));
        once.max(patience).min(self.deadline(len))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_take_as_long_as_what_is_on_its_way_or_as_it_has_taken_before() {
        let options = Options::default();
        let seconds = |len, patience| options.silence(len, Duration::from_secs(patience)).as_secs();
        assert_eq!(seconds(1, 0), 30);
        assert_eq!(seconds(1, 1000), 30);
        assert_eq!(seconds(1 << 20, 0), options.deadline(1 << 20).as_secs());
        for len in [64 << 20, 5 << 30] {
            assert_eq!(
                [0, 90, 188, 752].map(|times| seconds(len, times)),
                [94, 94, 188, 752],
                "{len}"
            );
        }
        // Whoever answers before the deadline of a large block is heard in the end.
        assert_eq!(options.silence(5 << 30, Duration::MAX), options.deadline(5 << 30));
    }
}
