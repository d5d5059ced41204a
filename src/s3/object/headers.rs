//! The headers that an object is stored with.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::HeaderError;
use super::options::{Checksum, ObjectOptions, SecondsOrDate};
use super::{LONGEST_KEY, MOST_METADATA, PutObject, Sums};
use crate::s3::wire::encode;

/// Whether a metadata name can be a header's.
pub(super) fn valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The headers of a PUT besides `host` and the signature's own, names in lower case. It is `now` by the
/// gateway's clock, as far as it is known, and `earliest` by the earlier one of its and ours: a clock that
/// is wrong must not end what has an end.
///
/// # Errors
/// When key or metadata are not what S3 takes.
pub(in crate::s3) fn headers(
    object: &PutObject<'_>,
    options: &ObjectOptions,
    sums: &Sums,
    (now, earliest): (Duration, Duration),
) -> Result<Vec<(String, String)>, HeaderError> {
    if object.key.is_empty() || object.key.len() > LONGEST_KEY {
        return Err(HeaderError::Key(object.key.len()));
    }
    let mut headers: Vec<(String, String)> = Vec::with_capacity(16);
    let mut add = |name: &str, value: String| headers.push((name.to_owned(), value));
    add("content-length", object.len.to_string());
    if !options.content_type.is_empty() {
        add("content-type", options.content_type.clone());
    }
    if options.if_none_match {
        add("if-none-match", "*".to_owned());
    }
    if let Some(md5) = sums.md5.filter(|_| options.wants_md5()) {
        add("content-md5", STANDARD.encode(md5));
    }
    match options.checksum {
        Checksum::None => (),
        Checksum::Sha256 => add("x-amz-checksum-sha256", STANDARD.encode(object.sha256)),
        Checksum::Crc32c => {
            if let Some(sum) = sums.crc32c {
                add("x-amz-checksum-crc32c", STANDARD.encode(sum.to_be_bytes()));
            }
        }
        Checksum::Crc64Nvme => {
            if let Some(sum) = sums.crc64nvme {
                add("x-amz-checksum-crc64nvme", STANDARD.encode(sum.to_be_bytes()));
            }
        }
    }
    if let Some(acl) = &options.acl {
        add("x-amz-acl", acl.clone());
    }
    if let Some(class) = &options.storage_class {
        add("x-amz-storage-class", class.to_ascii_uppercase());
    }
    if let Some(encryption) = &options.server_side_encryption {
        add("x-amz-server-side-encryption", encryption.clone());
    }
    if let Some(key) = &options.kms_key_id {
        add("x-amz-server-side-encryption-aws-kms-key-id", key.clone());
    }
    if let Some(tags) = tagging(&options.tags) {
        add("x-amz-tagging", tags);
    }
    if let Some(lock) = &options.object_lock {
        add("x-amz-object-lock-mode", lock.mode.text().to_owned());
        add("x-amz-object-lock-retain-until-date", lock.until(now));
    }
    if options.has_expired(earliest) {
        return Err(HeaderError::Expired);
    }
    if let Some(ttl) = &options.object_ttl {
        // Storj's own header: <https://storj.dev/dcs/api/s3/object-ttl>.
        let value = match ttl {
            SecondsOrDate::Seconds(seconds) => format!("+{seconds}s"),
            SecondsOrDate::Date(date) => date.clone(),
        };
        add("x-amz-meta-object-expires", value);
    }
    let own = metadata(object.metadata, &mut headers)?;
    if own > MOST_METADATA {
        return Err(HeaderError::TooMuch(own));
    }
    let all = own + metadata(&options.metadata, &mut headers)?;
    if all > MOST_METADATA {
        return Err(HeaderError::TooMuchAdded(all));
    }
    Ok(headers)
}

/// Tags as the header carries them; `None` when there are none.
pub(super) fn tagging(tags: &[(String, String)]) -> Option<String> {
    let one = |(name, value): &(String, String)| {
        format!("{}={}", encode::query(name), encode::query(value))
    };
    (!tags.is_empty()).then(|| tags.iter().map(one).collect::<Vec<_>>().join("&"))
}

/// Adds the headers of `pairs`; returns their bytes as S3 counts them.
fn metadata(
    pairs: &[(String, String)],
    headers: &mut Vec<(String, String)>,
) -> Result<usize, HeaderError> {
    let mut bytes = 0;
    for (name, value) in pairs {
        if !valid_name(name) {
            return Err(HeaderError::Name(name.clone()));
        }
        let value = encode::header_value(value).ok_or_else(|| HeaderError::Value(name.clone()))?;
        bytes += name.len() + value.len();
        headers.push((format!("x-amz-meta-{}", name.to_ascii_lowercase()), value));
    }
    Ok(bytes)
}
