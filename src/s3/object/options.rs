//! What every object is stored with, as plain values.

use std::time::Duration;

use jiff::Timestamp;

/// What every object is stored with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectOptions {
    /// `Content-Type`; empty sends none.
    pub content_type: String,
    /// `If-None-Match: *`, so that no object is ever overwritten. On by default.
    pub if_none_match: bool,
    /// `x-amz-checksum-*`, for gateways that know it.
    pub checksum: Checksum,
    /// `Content-MD5`.
    pub content_md5: ContentMd5,
    /// A canned ACL: `private`, `bucket-owner-full-control`, ...
    pub acl: Option<String>,
    /// Fastly's `redundancy`: `standard_ia`, `glacier_ir`, ... in any case.
    pub storage_class: Option<String>,
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub server_side_encryption: Option<String>,
    /// With `aws:kms`: the key's id or ARN.
    pub kms_key_id: Option<String>,
    /// At most ten names and values.
    pub tags: Vec<(String, String)>,
    /// Names (without `x-amz-meta-`) and values, for every object.
    pub metadata: Vec<(String, String)>,
    /// Retention of each object from its upload on.
    pub object_lock: Option<ObjectLock>,
    /// Storj: when the object goes by itself.
    pub object_ttl: Option<SecondsOrDate>,
}

impl Default for ObjectOptions {
    fn default() -> Self {
        Self {
            content_type: "application/octet-stream".to_owned(),
            if_none_match: true,
            checksum: Checksum::None,
            content_md5: ContentMd5::Auto,
            acl: None,
            storage_class: None,
            server_side_encryption: None,
            kms_key_id: None,
            tags: Vec::new(),
            metadata: Vec::new(),
            object_lock: None,
            object_ttl: None,
        }
    }
}

impl ObjectOptions {
    /// Whether `Content-MD5` is sent; S3 demands it, or a checksum, with object lock.
    #[must_use]
    pub(crate) fn wants_md5(&self) -> bool {
        match self.content_md5 {
            ContentMd5::Always => true,
            ContentMd5::Auto => self.object_lock.is_some(),
            ContentMd5::Never => false,
        }
    }
}

/// Whether `Content-MD5` goes with an object, which takes one more pass over its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContentMd5 {
    /// At AWS, with object lock, and where a bucket has asked for it.
    #[default]
    Auto,
    /// With every object.
    Always,
    /// Never.
    Never,
}

/// Which `x-amz-checksum-*` header goes with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// None: what every gateway takes.
    #[default]
    None,
    /// CRC-32C.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-256.
    Sha256,
}

impl Checksum {
    /// What an operator writes.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha256 => "sha256",
        }
    }
}

/// WORM retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectLock {
    /// Who may shorten it.
    pub mode: LockMode,
    /// How long, from the upload on.
    pub duration: Duration,
}

impl ObjectLock {
    /// The end of a retention that begins at Unix time `now`, as S3 writes it.
    #[must_use]
    pub fn until(&self, now: Duration) -> String {
        let end = now.saturating_add(self.duration).as_secs();
        let end = i64::try_from(end).ok().and_then(|end| Timestamp::from_second(end).ok());
        end.unwrap_or(Timestamp::MAX).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// Who may shorten a retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Nobody.
    Compliance,
    /// Who has `s3:BypassGovernanceRetention`.
    Governance,
}

impl LockMode {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Compliance => "COMPLIANCE",
            Self::Governance => "GOVERNANCE",
        }
    }
}

/// A time from now, or a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecondsOrDate {
    /// Seconds from the upload on.
    Seconds(u64),
    /// RFC 3339.
    Date(String),
}
