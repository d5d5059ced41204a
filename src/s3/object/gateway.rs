//! What is special about a provider: which options it takes, and how fast it may be asked.
//!
//! | gateway | by host | differs |
//! |---|---|---|
//! | `aws` | `*.amazonaws.com`, `*.amazonaws.com.cn` | no `object_ttl` (a lifecycle rule does that) |
//! | `storj` | `*.storjshare.io` | no ACL, encryption or checksum headers; at most 50 requests a second from one client; listings by folder |
//! | `generic` | any other | no `object_ttl` |
//!
//! Storj's own limits: 100 requests a second a project, and listing only by prefixes that end in
//! `/`, in no order. Source: <https://storj.dev/dcs/api/s3/s3-compatibility>.

use std::time::Duration;

/// A kind of gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// Amazon's own S3.
    Aws,
    /// Storj's gateway.
    Storj,
    /// SeaweedFS, Garage, Ceph, MinIO, R2, ...
    Generic,
}

impl Gateway {
    /// The kind that a host belongs to.
    #[must_use]
    pub fn of(host: &str) -> Self {
        let under = |domain: &str| {
            host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if under("amazonaws.com") || under("amazonaws.com.cn") {
            Self::Aws
        } else if under("storjshare.io") {
            Self::Storj
        } else {
            Self::Generic
        }
    }

    /// The least time between two requests of one client; zero for no limit.
    #[must_use]
    pub fn pace(self) -> Duration {
        match self {
            // Half of the project's limit: there are other hosts.
            Self::Storj => Duration::from_millis(20),
            Self::Aws | Self::Generic => Duration::ZERO,
        }
    }

    /// Whether a listing's prefix must end in `/`.
    pub(in crate::s3) fn lists_folders_only(self) -> bool {
        self == Self::Storj
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_host_and_only_from_whole_labels() {
        for (host, kind) in [
            ("s3.eu-west-1.amazonaws.com", Gateway::Aws),
            ("s3.cn-north-1.amazonaws.com.cn", Gateway::Aws),
            ("gateway.storjshare.io", Gateway::Storj),
            ("gateway.eu1.storjshare.io", Gateway::Storj),
            ("notstorjshare.io", Gateway::Generic),
            ("amazonaws.com.example.org", Gateway::Generic),
            ("127.0.0.1", Gateway::Generic),
        ] {
            assert_eq!(Gateway::of(host), kind, "{host}");
        }
    }
}
