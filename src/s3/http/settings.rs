//! How connections are made, as plain values.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::regular_file;

/// How connections are made.
#[derive(Debug, Clone, Default)]
pub(in crate::s3) struct HttpSettings {
    /// Longest time for name, connection, proxy and TLS together.
    pub(in crate::s3) connect_timeout: Duration,
    /// PEM file of the only authorities that are trusted; the system's when `None`.
    pub(in crate::s3) ca_file: Option<PathBuf>,
    /// PEM files of a client certificate's chain and of its key.
    pub(in crate::s3) client_certificate: Option<(PathBuf, PathBuf)>,
    /// The HTTP proxy. Loopback endpoints never use one.
    pub(in crate::s3) proxy: Proxy,
}

/// What changes when a file is written, replaced, removed or made; `None` for one that is not there.
pub(super) type Stamps = Vec<Option<[u64; 5]>>;

impl HttpSettings {
    /// The files that are read.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let shown = self.client_certificate.iter().flat_map(|(chain, key)| [chain, key]);
        self.ca_file.iter().chain(shown).map(PathBuf::as_path)
    }

    /// Their stamps.
    pub(super) fn stamps(&self) -> Stamps {
        self.files().map(|path| regular_file::stamp(path).ok()).collect()
    }
}

/// Which proxy leads out.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Proxy {
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, minus `NO_PROXY`, as curl reads them.
    #[default]
    Environment,
    /// Straight out.
    None,
    /// `http://[user:password@]host:port`, whatever `NO_PROXY` says.
    Url(String),
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment => f.write_str("Environment"),
            Self::None => f.write_str("None"),
            // It may hold a password.
            Self::Url(url) => {
                let host = url.rsplit_once('@').map_or(url.as_str(), |(_, host)| host);
                f.debug_tuple("Url").field(&host).finish()
            }
        }
    }
}
