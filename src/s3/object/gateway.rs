//! The kinds of gateways, and how fast each may be asked. What each takes is in `traits`.
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
    /// Cloudflare R2.
    R2,
    /// Backblaze B2.
    B2,
    /// Wasabi.
    Wasabi,
    /// MinIO.
    Minio,
    /// Ceph's Object Gateway.
    Ceph,
    /// Google Cloud Storage by its XML interface.
    Gcs,
    /// OVHcloud Object Storage.
    Ovh,
    /// Garage.
    Garage,
    /// SeaweedFS.
    SeaweedFs,
    /// Any other.
    Generic,
}

impl Gateway {
    /// The least time between two requests of one client that cost 1; zero for no limit.
    #[must_use]
    pub fn pace(self) -> Duration {
        match self {
            // Half of the project's limit: there are other hosts.
            Self::Storj => Duration::from_millis(20),
            _ => Duration::ZERO,
        }
    }

    /// What a PUT of `len` bytes counts towards the gateway's limit, where a GET or HEAD counts 1.
    #[must_use]
    pub(crate) fn put_cost(self, len: u64) -> u32 {
        match self {
            // Seen: what is stored inline, then a segment of 64 MiB, then two of them.
            Self::Storj if len <= STORJ_INLINE => 3,
            Self::Storj => {
                let segments = u32::try_from(len.div_ceil(STORJ_SEGMENT)).unwrap_or(u32::MAX);
                segments.saturating_mul(2).saturating_add(2)
            }
            _ => 1,
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
    fn a_put_to_storj_counts_three_inline_four_with_a_segment_and_six_with_two() {
        for (len, cost) in [(300, 3), (4 << 20, 4), (64 << 20, 4), ((64 << 20) + 1, 6)] {
            assert_eq!(Gateway::Storj.put_cost(len), cost, "{len}");
            assert_eq!(Gateway::Aws.put_cost(len), 1);
        }
    }
}
