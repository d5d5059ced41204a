//! Whether the options of an object suit each other and the gateway, before anything is sent.

use super::error::OptionError;
use super::gateway::Gateway;
use super::headers;
use super::options::{Checksum, ObjectOptions};
use crate::s3::wire::encode;

/// Most tags that S3 takes for one object.
const MOST_TAGS: usize = 10;

impl ObjectOptions {
    /// Whether these options make sense together and here.
    ///
    /// # Errors
    /// One sentence that names the option and what to do.
    pub fn check(&self, gateway: Gateway) -> Result<(), OptionError> {
        let refuse = |wrong: bool, sentence: &'static str| {
            if wrong { Err(OptionError::Unsuitable(sentence)) } else { Ok(()) }
        };
        let encryption = self.server_side_encryption.as_deref();
        refuse(
            self.kms_key_id.is_some() && !encryption.is_some_and(|e| e.starts_with("aws:kms")),
            "kms_key_id needs server_side_encryption = \"aws:kms\"",
        )?;
        refuse(self.tags.len() > MOST_TAGS, "tags takes at most 10 of them")?;
        refuse(
            self.tags.iter().any(|(name, value)| {
                name.is_empty() || name.chars().count() > 128 || value.chars().count() > 256
            }),
            "tags takes names of 1 to 128 and values of at most 256 characters",
        )?;
        refuse(
            self.metadata.iter().any(|(name, value)| {
                !headers::valid_name(name) || encode::header_value(value).is_none()
            }),
            "metadata takes names of letters, digits, dots, dashes and underscores, and values \
             without control characters",
        )?;
        let printable = |text: &str| text.bytes().all(|b| (b' '..=b'~').contains(&b));
        refuse(
            !printable(&self.content_type),
            "content_type takes printable characters, like application/gzip",
        )?;
        refuse(
            !self.kms_key_id.as_deref().is_none_or(printable),
            "kms_key_id takes a key's id or ARN",
        )?;
        refuse(
            self.object_lock.is_some() && self.object_ttl.is_some(),
            "object_ttl and object_lock exclude each other",
        )?;
        match gateway {
            Gateway::Storj => {
                refuse(self.acl.is_some(), "acl is not known to Storj: remove it")?;
                refuse(
                    encryption.is_some(),
                    "server_side_encryption is not known to Storj, which encrypts everything: \
                     remove it",
                )?;
                refuse(
                    self.checksum != Checksum::None,
                    "checksum is not known to Storj, which verifies the signed SHA-256: remove it",
                )
            }
            Gateway::Aws => refuse(
                self.object_ttl.is_some(),
                "object_ttl is Storj's: write a lifecycle rule for the bucket instead",
            ),
            Gateway::Generic => refuse(
                self.object_ttl.is_some(),
                "object_ttl is Storj's: remove it, or set gateway = \"storj\"",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::options::{LockMode, ObjectLock, SecondsOrDate};
    use super::*;

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
            let error = options.check(gateway).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        for options in [&acl, &sse, &sum] {
            assert_eq!(options.check(Gateway::Aws), Ok(()));
            assert_eq!(options.check(Gateway::Generic), Ok(()));
        }
        assert_eq!(expiring.check(Gateway::Storj), Ok(()));
    }
}
