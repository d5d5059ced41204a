//! Whether the options of an object suit each other and the gateway, before anything is sent.

use std::time::Duration;

use super::error::OptionError;
use super::gateway::Gateway;
use super::options::{Checksum, ContentMd5, ObjectOptions, SecondsOrDate};
use super::traits::{Does, Tags, Traits};
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
    /// Whether these options make sense together and here.
    ///
    /// # Errors
    /// One sentence that names the option and what to do.
    pub fn check(&self, gateway: Gateway) -> Result<(), OptionError> {
        self.check_forms()?;
        self.check_each(gateway.traits())?;
        let storj = gateway == Gateway::Storj;
        refuse(self.object_ttl.is_some() && gateway == Gateway::Aws, "object_ttl", TTL_AT_AWS)?;
        refuse(self.object_ttl.is_some() && !storj, "object_ttl", TTL_ELSEWHERE)
    }

    /// Whether they still make sense at Unix time `now`.
    ///
    /// # Errors
    /// The same.
    pub fn check_time(&self, now: Duration) -> Result<(), OptionError> {
        refuse(
            self.has_expired(now),
            "object_ttl",
            "is a date in the past: write a later one, or a duration like 30d",
        )
    }

    /// What no gateway takes.
    fn check_forms(&self) -> Result<(), OptionError> {
        let encryption = self.server_side_encryption.as_deref();
        refuse(
            self.kms_key_id.is_some() && !encryption.is_some_and(|e| e.starts_with("aws:kms")),
            "kms_key_id",
            "needs server_side_encryption = \"aws:kms\"",
        )?;
        refuse(self.tags.len() > MOST_TAGS, "tags", "takes at most 10 of them")?;
        refuse(
            self.tags.iter().any(|(name, value)| {
                name.is_empty() || name.chars().count() > 128 || value.chars().count() > 256
            }),
            "tags",
            "takes names of 1 to 128 and values of at most 256 characters",
        )?;
        refuse(
            self.metadata.iter().any(|(name, value)| {
                !headers::valid_name(name) || encode::header_value(value).is_none()
            }),
            "metadata",
            "takes names of letters, digits, dots, dashes and underscores, and values without control \
             characters",
        )?;
        let printable = |text: &str| text.bytes().all(|b| (b' '..=b'~').contains(&b));
        refuse(
            !printable(&self.content_type),
            "content_type",
            "takes printable characters, like application/gzip",
        )?;
        refuse(
            !self.kms_key_id.as_deref().is_none_or(printable),
            "kms_key_id",
            "takes a key's id or ARN",
        )?;
        refuse(
            self.object_lock.is_some() && self.object_ttl.is_some(),
            "object_ttl",
            "and object_lock exclude each other",
        )?;
        refuse(
            self.object_lock.is_some()
                && self.content_md5 == ContentMd5::Never
                && self.checksum == Checksum::None,
            "object_lock",
            "needs content_md5 or checksum: remove content_md5 = false",
        )
    }

    /// What this gateway does not take.
    fn check_each(&self, traits: &Traits) -> Result<(), OptionError> {
        let checksum = Some(self.checksum).filter(|sum| *sum != Checksum::None);
        let checksum = checksum.map(|sum| sum.text().to_owned());
        for (option, value, accepted) in [
            ("acl", &self.acl, traits.acl),
            ("redundancy", &self.storage_class, traits.redundancy),
            ("checksum", &checksum, traits.checksum),
            ("server_side_encryption", &self.server_side_encryption, traits.server_side_encryption),
        ] {
            if let Some(value) = value.as_deref().filter(|value| !accepted.take(value)) {
                return Err(not_at(traits, option, &accepted.text(), value));
            }
        }
        let tag = self.tags.iter().flat_map(|(name, value)| [name, value]);
        if let Some(text) = tag.into_iter().find(|text| !traits.tags.take(text)) {
            let accepted = match traits.tags {
                Tags::Nothing => "none".to_owned(),
                other => format!("tags {}", other.text()),
            };
            return Err(not_at(traits, "tags", &accepted, text));
        }
        match &self.object_lock {
            Some(lock) if traits.object_lock == Does::No => {
                Err(not_at(traits, "object_lock", "none", lock.mode.text()))
            }
            _ => Ok(()),
        }
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
            _ => (plain, MOST_METADATA),
        };
        if taken <= most {
            return Ok(());
        }
        // What was not given cannot be shortened.
        let option = match (self.metadata.is_empty(), self.tags.is_empty()) {
            (false, _) => "metadata",
            (true, false) => "tags",
            (true, true) => "hostname",
        };
        Err(OptionError::NoRoom { option, taken, most })
    }
}

/// Why `object_ttl` is refused where it would mean nothing.
const TTL_AT_AWS: &str = "is Storj's: write a lifecycle rule for the bucket instead";
/// The same where nobody knows what to write instead.
const TTL_ELSEWHERE: &str = "is Storj's: remove it, or set gateway = \"storj\"";

fn refuse(wrong: bool, option: &'static str, reason: &'static str) -> Result<(), OptionError> {
    if wrong { Err(OptionError::Unsuitable { option, reason }) } else { Ok(()) }
}

/// The error for a value that a gateway does not take.
pub(in crate::s3) fn not_at(
    traits: &Traits,
    option: &'static str,
    accepted: &str,
    value: &str,
) -> OptionError {
    let name = traits.name;
    let takes = match accepted {
        "none" => format!("no value with gateway = \"{name}\": remove it"),
        accepted => format!("{accepted} with gateway = \"{name}\""),
    };
    OptionError::Takes { option, takes, value: value.to_owned() }
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
            (Gateway::Aws, &kms, "kms_key_id"),
            (Gateway::Aws, &expiring, "object_ttl"),
            (Gateway::Generic, &expiring, "gateway = \"storj\""),
            (Gateway::Generic, &tags, "tags"),
        ] {
            let error = options.check(gateway).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        // Time alone has made it wrong.
        assert_eq!(past.check(Gateway::Storj), Ok(()));
        let error = past.check_time(NOW).unwrap_err().to_string();
        assert!(error.contains("object_ttl is a date in the past"), "{error}");
        assert_eq!(past.check_time(NOW - Duration::from_secs(2)), Ok(()));
        for options in [&acl, &sse, &sum] {
            assert_eq!(options.check(Gateway::Aws), Ok(()));
            assert_eq!(options.check(Gateway::Generic), Ok(()));
        }
        assert_eq!(expiring.check(Gateway::Storj), Ok(()));
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
