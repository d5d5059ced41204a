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

use super::option_text::OptionError;
use super::options::{Checksum, ObjectOptions};
use super::put;
use super::wire::encode;

/// Most tags that S3 takes for one object.
const MOST_TAGS: usize = 10;

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
    pub(super) fn lists_folders_only(self) -> bool {
        self == Self::Storj
    }

    /// Whether these options make sense together and here.
    ///
    /// # Errors
    /// One sentence that names the option and what to do.
    pub fn check(self, options: &ObjectOptions) -> Result<(), OptionError> {
        let refuse = |wrong: bool, sentence: &'static str| {
            if wrong { Err(OptionError::Unsuitable(sentence)) } else { Ok(()) }
        };
        let encryption = options.server_side_encryption.as_deref();
        refuse(
            options.kms_key_id.is_some() && !encryption.is_some_and(|e| e.starts_with("aws:kms")),
            "kms_key_id needs server_side_encryption = \"aws:kms\"",
        )?;
        refuse(options.tags.len() > MOST_TAGS, "tags takes at most 10 of them")?;
        refuse(
            options.tags.iter().any(|(name, value)| {
                name.is_empty() || name.chars().count() > 128 || value.chars().count() > 256
            }),
            "tags takes names of 1 to 128 and values of at most 256 characters",
        )?;
        refuse(
            options.metadata.iter().any(|(name, value)| {
                !put::valid_name(name) || encode::header_value(value).is_none()
            }),
            "metadata takes names of letters, digits, dots, dashes and underscores, and values \
             without control characters",
        )?;
        let printable = |text: &str| text.bytes().all(|b| (b' '..=b'~').contains(&b));
        refuse(
            !printable(&options.content_type),
            "content_type takes printable characters, like application/gzip",
        )?;
        refuse(
            !options.kms_key_id.as_deref().is_none_or(printable),
            "kms_key_id takes a key's id or ARN",
        )?;
        refuse(
            options.object_lock.is_some() && options.object_ttl.is_some(),
            "object_ttl and object_lock exclude each other",
        )?;
        match self {
            Self::Storj => {
                refuse(options.acl.is_some(), "acl is not known to Storj: remove it")?;
                refuse(
                    encryption.is_some(),
                    "server_side_encryption is not known to Storj, which encrypts everything: \
                     remove it",
                )?;
                refuse(
                    options.checksum != Checksum::None,
                    "checksum is not known to Storj, which verifies the signed SHA-256: remove it",
                )
            }
            Self::Aws => refuse(
                options.object_ttl.is_some(),
                "object_ttl is Storj's: write a lifecycle rule for the bucket instead",
            ),
            Self::Generic => refuse(
                options.object_ttl.is_some(),
                "object_ttl is Storj's: remove it, or set gateway = \"storj\"",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{LockMode, ObjectLock, SecondsOrDate};
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
    fn each_option_that_a_gateway_does_not_take_is_refused_by_name() {
        let plain = ObjectOptions::default;
        let lock = ObjectLock { mode: LockMode::Governance, duration: Duration::from_secs(1) };
        let ttl = Some(SecondsOrDate::Seconds(60));
        let acl = ObjectOptions { acl: Some("private".into()), ..plain() };
        let sse = ObjectOptions { server_side_encryption: Some("AES256".into()), ..plain() };
        let sum = ObjectOptions { checksum: Checksum::Crc32c, ..plain() };
        let kms = ObjectOptions { kms_key_id: Some("k".into()), ..plain() };
        let expiring = ObjectOptions { object_ttl: ttl.clone(), ..plain() };
        let both = ObjectOptions { object_ttl: ttl, object_lock: Some(lock), ..plain() };
        let tags = ObjectOptions { tags: vec![("a".into(), "b".into()); 11], ..plain() };
        let odd = ObjectOptions { metadata: vec![("a b".into(), String::new())], ..plain() };
        let line = ObjectOptions { content_type: "a\nb".into(), ..plain() };
        for (gateway, options, name) in [
            (Gateway::Generic, &odd, "metadata"),
            (Gateway::Generic, &line, "content_type"),
            (Gateway::Storj, &acl, "acl"),
            (Gateway::Storj, &sse, "server_side_encryption"),
            (Gateway::Storj, &sum, "checksum"),
            (Gateway::Storj, &both, "object_lock"),
            (Gateway::Aws, &kms, "kms_key_id"),
            (Gateway::Aws, &expiring, "object_ttl"),
            (Gateway::Generic, &expiring, "gateway = \"storj\""),
            (Gateway::Generic, &tags, "tags"),
        ] {
            let error = gateway.check(options).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        for options in [&acl, &sse, &sum] {
            assert_eq!(Gateway::Aws.check(options), Ok(()));
            assert_eq!(Gateway::Generic.check(options), Ok(()));
        }
        assert_eq!(Gateway::Storj.check(&expiring), Ok(()));
    }
}
