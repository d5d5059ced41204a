//! What is stored, and the headers it is stored with.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::options::{Checksum, ObjectOptions, SecondsOrDate};
use super::wire::encode;

/// Longest key that S3 takes, in bytes of UTF-8.
pub const LONGEST_KEY: usize = 1024;
/// Most bytes of metadata names and values together that S3 takes.
pub const MOST_METADATA: usize = 2048;

/// A block on its way out.
pub struct PutObject<'a> {
    /// The object's key, not empty, at most [`LONGEST_KEY`] bytes.
    pub key: &'a str,
    /// Bytes of the body.
    pub len: u64,
    /// The body's SHA-256: signed, checked by the server, and compared after a 412.
    pub sha256: [u8; 32],
    /// Sums that were made while the body was written. One that the options ask for and that is
    /// missing here is made by reading the body once more.
    pub sums: Sums,
    /// Names (without `x-amz-meta-`) and values.
    pub metadata: &'a [(String, String)],
    /// The name in `metadata` that holds the SHA-256 in hexadecimal; HEAD looks at it after a 412.
    pub sha256_name: &'a str,
    /// Opens the body afresh for each attempt.
    pub open: &'a dyn Fn() -> std::io::Result<Box<dyn Read>>,
}

/// Sums of a body besides its SHA-256.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// For `Content-MD5`.
    pub md5: Option<[u8; 16]>,
    /// For `x-amz-checksum-crc32c`.
    pub crc32c: Option<u32>,
    /// For `x-amz-checksum-crc64nvme`.
    pub crc64nvme: Option<u64>,
}

impl fmt::Debug for PutObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutObject")
            .field("key", &self.key)
            .field("len", &self.len)
            .field("sha256", &encode::hex(&self.sha256))
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

/// Why an object cannot be sent as it is; the block is set aside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Key too long or empty.
    #[error("the key has {0} bytes and S3 takes 1 to 1024: shorten path or host")]
    Key(usize),
    /// A metadata name that no header has.
    #[error("metadata name {0:?} takes letters, digits, dots, dashes and underscores")]
    Name(String),
    /// A value with control characters.
    #[error("metadata {0:?} has a value with control characters")]
    Value(String),
    /// Too much metadata.
    #[error("the metadata has {0} bytes and S3 takes 2048")]
    TooMuch(usize),
    /// The block's own metadata would fit; with what the settings add it does not.
    #[error("the metadata has {0} bytes with that of the settings, and S3 takes 2048")]
    TooMuchAdded(usize),
}

/// Whether a metadata name can be a header's.
pub(super) fn valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The headers of a PUT besides `host` and the signature's own, names in lower case.
///
/// # Errors
/// When key or metadata are not what S3 takes.
pub fn headers(
    object: &PutObject<'_>,
    options: &ObjectOptions,
    sums: &Sums,
    now: Duration,
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
    if !options.tags.is_empty() {
        let tags: Vec<String> = options
            .tags
            .iter()
            .map(|(name, value)| format!("{}={}", encode::query(name), encode::query(value)))
            .collect();
        add("x-amz-tagging", tags.join("&"));
    }
    if let Some(lock) = &options.object_lock {
        add("x-amz-object-lock-mode", lock.mode.text().to_owned());
        add("x-amz-object-lock-retain-until-date", lock.until(now));
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
