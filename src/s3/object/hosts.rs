//! Which kind of gateway a host belongs to, and which region its name has.

use super::gateway::Gateway;
use super::gateways::{GATEWAYS, UNKNOWN};
use super::traits::{Region, Traits};

impl Gateway {
    /// The kind that a host belongs to.
    #[must_use]
    pub fn of(host: &str) -> Self {
        let found = GATEWAYS.iter().find(|traits| traits.domain_of(host).is_some());
        found.map_or(Self::Generic, |traits| traits.gateway)
    }

    /// Its row.
    #[must_use]
    pub fn traits(self) -> &'static Traits {
        GATEWAYS.iter().find(|traits| traits.gateway == self).unwrap_or(&UNKNOWN)
    }

    /// The region that a host's name has.
    #[must_use]
    pub fn region_of(host: &str) -> Option<&str> {
        let traits = Self::of(host).traits();
        let domain = traits.domain_of(host).filter(|_| traits.region == Region::Host)?;
        let labels = host.strip_suffix(domain)?.trim_end_matches('.');
        match traits.gateway {
            Self::Aws => {
                let labels = labels.split('.');
                labels.map(|label| label.strip_prefix("s3-").unwrap_or(label)).rfind(|l| is_aws(l))
            }
            _ => labels.strip_prefix("s3.")?.split('.').next(),
        }
    }
}

impl Traits {
    /// The domain that `host` is under, by whole labels.
    fn domain_of(&self, host: &str) -> Option<&'static str> {
        let under = |domain: &&&str| {
            host.strip_suffix(**domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.domains.iter().find(under).copied()
    }
}

/// Whether a label has the form of one of AWS's regions, as `us-gov-west-1`.
fn is_aws(label: &str) -> bool {
    let parts: Vec<_> = label.split('-').collect();
    (3..=4).contains(&parts.len())
        && parts.first().is_some_and(|part| part.len() == 2 || *part == "eusc")
        && parts.last().is_some_and(|part| part.parse::<u8>().is_ok())
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
            ("0123abcd.eu.r2.cloudflarestorage.com", Gateway::R2),
            ("s3.us-west-004.backblazeb2.com", Gateway::B2),
            ("s3.eu-central-1.wasabisys.com", Gateway::Wasabi),
            ("storage.googleapis.com", Gateway::Gcs),
            ("s3.gra.io.cloud.ovh.net", Gateway::Ovh),
            ("notstorjshare.io", Gateway::Generic),
            ("amazonaws.com.example.org", Gateway::Generic),
            ("127.0.0.1", Gateway::Generic),
        ] {
            assert_eq!(Gateway::of(host), kind, "{host}");
        }
    }

    #[test]
    fn the_region_is_the_label_of_the_host_that_has_its_form_or_its_place() {
        for (host, region) in [
            ("s3.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("s3-us-west-2.amazonaws.com", Some("us-west-2")),
            ("s3.dualstack.us-gov-east-1.amazonaws.com", Some("us-gov-east-1")),
            ("s3.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("s3-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("vpce-1a2b-5.s3.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
            ("s3.us-west-004.backblazeb2.com", Some("us-west-004")),
            ("s3.ap-northeast-1.wasabisys.com", Some("ap-northeast-1")),
            ("s3.wasabisys.com", None),
            ("s3.gra.io.cloud.ovh.net", Some("gra")),
            ("s3.eu-west-par.io.cloud.ovh.net", Some("eu-west-par")),
            ("storage.googleapis.com", None),
            ("s3.amazonaws.com", None),
            ("s3.eu-west-1.example.org", None),
        ] {
            assert_eq!(Gateway::region_of(host), region, "{host}");
        }
    }

    #[test]
    fn each_kind_has_one_row_and_one_name() {
        for (at, traits) in GATEWAYS.iter().enumerate() {
            assert_eq!(GATEWAYS.iter().position(|row| row.gateway == traits.gateway), Some(at));
            assert_eq!(traits.name.parse(), Ok(traits.gateway));
        }
    }
}
