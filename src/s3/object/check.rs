//! Whether the options of an object suit each other and the gateway, before anything is sent.

use std::time::Duration;

use super::error::OptionError;
use super::gateway::Gateway;
use super::options::{Checksum, ContentMd5, ObjectOptions, SecondsOrDate};
use super::{MOST_METADATA, headers};
use crate::s3::wire::{date, encode};

/// Most tags that S3 takes for one object.
const MOST_TAGS: usize = 10;

/// Bytes that Storj has for the metadata of an object, everything counted: it was seen to refuse
/// from 1,900 on, with 500 before it does with 400.
const STORJ_METADATA: usize = 1900;
/// What Storj's encryption and encoding add to a name and its value, as far as was seen.
const STORJ_PAIR: usize = 16;

impl ObjectOptions {
    /// Whether these options make sense together, here, and at Unix time `now`.
    ///
    /// # Errors
    /// One sentence that names the option and what to do.
    pub fn check(&self, gateway: Gateway, now: Duration) -> Result<(), OptionError> {
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
        refuse(
            self.object_lock.is_some()
                && self.content_md5 == ContentMd5::Never
                && self.checksum == Checksum::None,
            "object_lock needs content_md5 or checksum: remove content_md5 = false",
        )?;
        match gateway {
            Gateway::Storj => self.check_storj(now),
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

    fn check_storj(&self, now: Duration) -> Result<(), OptionError> {
        refuse(self.acl.is_some(), "acl is not known to Storj: remove it")?;
        refuse(
            self.server_side_encryption.is_some(),
            "server_side_encryption is not known to Storj, which encrypts everything: remove it",
        )?;
        refuse(
            self.checksum != Checksum::None,
            "checksum is not known to Storj, which verifies the signed SHA-256: remove it",
        )?;
        refuse(
            self.storage_class
                .as_deref()
                .is_some_and(|class| !class.eq_ignore_ascii_case("STANDARD")),
            "redundancy: Storj has one class, standard: remove it",
        )?;
        refuse(
            self.tags.iter().any(|(name, value)| name.contains('&') || value.contains('&')),
            "tags: Storj takes none with an ampersand (&)",
        )?;
        refuse(
            self.has_expired(now),
            "object_ttl is a date in the past: write a later one, or a duration like 30d",
        )
    }

    /// Whether an object would be gone before it is stored.
    pub(super) fn has_expired(&self, now: Duration) -> bool {
        match &self.object_ttl {
            Some(SecondsOrDate::Date(text)) => date::rfc3339(text).is_some_and(|end| end <= now),
            Some(SecondsOrDate::Seconds(_)) | None => false,
        }
    }

    /// Whether the metadata of these options has room beside `own`, which each block brings.
    ///
    /// # Errors
    /// One sentence with the bytes there are and the bytes that are taken.
    pub fn check_room<'a>(
        &self,
        gateway: Gateway,
        own: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), OptionError> {
        let value = |text: &str| encode::header_value(text).unwrap_or_default().len();
        let ours = self.metadata.iter().map(|(name, text)| (name.len(), value(text)));
        let pairs: Vec<_> = own.map(|(name, text)| (name.len(), text.len())).chain(ours).collect();
        let plain: usize = pairs.iter().map(|(name, value)| name + value).sum();
        let (taken, most) = match gateway {
            Gateway::Aws | Gateway::Generic => (plain, MOST_METADATA),
            Gateway::Storj => {
                // Storj keeps these with the metadata.
                let kind = "content-type".len() + self.content_type.len() + STORJ_PAIR;
                let tags = match headers::tagging(&self.tags) {
                    Some(text) => "s3:tags".len() + text.len() + STORJ_PAIR,
                    None => 0,
                };
                let ttl = usize::from(self.object_ttl.is_some()) * 2 * STORJ_PAIR;
                (plain + pairs.len() * STORJ_PAIR + kind + tags + ttl, STORJ_METADATA)
            }
        };
        if taken <= most {
            return Ok(());
        }
        Err(OptionError::NoRoom { taken, most })
    }
}

fn refuse(wrong: bool, sentence: &'static str) -> Result<(), OptionError> {
    if wrong { Err(OptionError::Unsuitable(sentence)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::options::{LockMode, ObjectLock};
    use super::*;

    /// 2027-01-15T08:00:00Z.
    const NOW: Duration = Duration::from_secs(1_800_000_000);

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
        let class = ObjectOptions { storage_class: Some("GLACIER".into()), ..plain() };
        let ampersand = ObjectOptions { tags: vec![("a".into(), "b & c".into())], ..plain() };
        let past = Some(SecondsOrDate::Date("2027-01-15T07:59:59Z".into()));
        let past = ObjectOptions { object_ttl: past, ..plain() };
        let line = ObjectOptions { content_type: "a\nb".into(), ..plain() };
        for (gateway, options, name) in [
            (Gateway::Generic, &odd, "metadata"),
            (Gateway::Generic, &line, "content_type"),
            (Gateway::Storj, &acl, "acl"),
            (Gateway::Storj, &sse, "server_side_encryption"),
            (Gateway::Storj, &sum, "checksum"),
            (Gateway::Storj, &both, "object_lock"),
            (Gateway::Storj, &class, "redundancy"),
            (Gateway::Storj, &ampersand, "tags"),
            (Gateway::Storj, &past, "object_ttl is a date in the past"),
            (Gateway::Aws, &kms, "kms_key_id"),
            (Gateway::Aws, &expiring, "object_ttl"),
            (Gateway::Generic, &expiring, "gateway = \"storj\""),
            (Gateway::Generic, &tags, "tags"),
        ] {
            let error = options.check(gateway, NOW).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        for options in [&acl, &sse, &sum] {
            assert_eq!(options.check(Gateway::Aws, NOW), Ok(()));
            assert_eq!(options.check(Gateway::Generic, NOW), Ok(()));
        }
        assert_eq!(expiring.check(Gateway::Storj, NOW), Ok(()));
    }

    #[test]
    fn metadata_has_the_room_that_is_left_beside_the_block_s_own() {
        let with = |bytes| {
            let metadata = vec![("site".to_owned(), "x".repeat(bytes))];
            ObjectOptions { metadata, ..ObjectOptions::default() }
        };
        let hash = "0".repeat(64);
        let own = || [("sha256", hash.as_str()), ("previous", hash.as_str())].into_iter();
        assert_eq!(with(2048 - 142 - 4).check_room(Gateway::Generic, own()), Ok(()));
        let error = with(2048 - 142 - 3).check_room(Gateway::Aws, own()).unwrap_err().to_string();
        assert!(error.contains("2049 bytes") && error.contains("2048"), "{error}");
        assert_eq!(with(1600).check_room(Gateway::Storj, own()), Ok(()));
        assert!(with(1700).check_room(Gateway::Storj, own()).is_err());
    }
}
