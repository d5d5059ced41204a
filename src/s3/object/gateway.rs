//! What is special about a provider: which options it takes, and how fast it may be asked.
//!
//! | gateway | by host | differs |
//! |---|---|---|
//! | `aws` | `*.amazonaws.com`, `*.amazonaws.com.cn` | no `object_ttl` (a lifecycle rule does that) |
//! | `storj` | `*.storjshare.io` | no ACL, encryption or checksum headers, one class, no `&` in tags, less metadata; a client takes at most half of the project's limit, by what its requests count; listings by folder |
//! | `generic` | any other | no `object_ttl` |
//!
//! Storj's own limits: 100 requests a second a project, of which a PUT counts 3 to 6 (seen on a
//! network of our own with satellite v1.162 and gateway v1.11.0), and listing only by prefixes that end
//! in `/`, in no order. Source: <https://storj.dev/dcs/api/s3/s3-compatibility>.

use std::time::Duration;

/// Largest object that Storj stores without a segment, in bytes.
const STORJ_INLINE: u64 = 4 << 10;
/// Bytes of one of Storj's segments.
const STORJ_SEGMENT: u64 = 64 << 20;

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

    /// The region that a host's name says.
    #[must_use]
    pub fn region_of(host: &str) -> Option<&str> {
        if Self::of(host) != Self::Aws {
            return None;
        }
        let labels = host.split('.').map(|label| label.strip_prefix("s3-").unwrap_or(label));
        // As in eu-west-1: what ends in a number and is not a bucket.
        labels.filter(|label| !label.starts_with("s3")).rfind(|label| {
            let parts: Vec<_> = label.split('-').collect();
            (3..=4).contains(&parts.len())
                && parts.first().is_some_and(|part| part.len() == 2 || *part == "eusc")
                && parts.last().is_some_and(|part| part.parse::<u8>().is_ok())
        })
    }

    /// The least time between two requests of one client that cost 1; zero for no limit.
    #[must_use]
    pub fn pace(self) -> Duration {
        match self {
            // Half of the project's limit: there are other hosts.
            Self::Storj => Duration::from_millis(20),
            Self::Aws | Self::Generic => Duration::ZERO,
        }
    }

    /// What a PUT of `len` bytes counts towards the gateway's limit, where a GET or HEAD counts 1.
    #[must_use]
    pub fn put_cost(self, len: u64) -> u32 {
        match self {
            // Seen: what is stored inline, then a segment of 64 MiB, then two of them.
            Self::Storj if len <= STORJ_INLINE => 3,
            Self::Storj => {
                let segments = u32::try_from(len.div_ceil(STORJ_SEGMENT)).unwrap_or(u32::MAX);
                segments.saturating_mul(2).saturating_add(2)
            }
            Self::Aws | Self::Generic => 1,
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

    #[test]
    fn the_region_is_the_label_of_awss_host_that_has_the_form_of_one() {
        for (host, region) in [
            ("s3.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("s3-us-west-2.amazonaws.com", Some("us-west-2")),
            ("s3.dualstack.us-gov-east-1.amazonaws.com", Some("us-gov-east-1")),
            ("s3.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("s3-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("vpce-1a2b-5.s3.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
            ("s3.amazonaws.com", None),
            ("s3.eu-west-1.example.org", None),
        ] {
            assert_eq!(Gateway::region_of(host), region, "{host}");
        }
    }

    #[test]
    fn a_put_to_storj_counts_three_inline_four_with_a_segment_and_six_with_two() {
        for (len, cost) in [(300, 3), (4 << 20, 4), (64 << 20, 4), ((64 << 20) + 1, 6)] {
            assert_eq!(Gateway::Storj.put_cost(len), cost, "{len}");
            assert_eq!(Gateway::Aws.put_cost(len), 1);
        }
    }
}
