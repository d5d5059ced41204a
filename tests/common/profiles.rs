//! What two real gateways were seen to answer to a PUT that differs from S3's, as rules over its
//! headers: Storj's single-tenant gateway v1.11.0 with satellite v1.162, and MinIO of 2026-02, on
//! 2026-11-25.

use std::time::Duration;

use vmod_s3log::s3::wire::date;

use super::moods::Seen;

/// The gateway whose answers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Storj,
    Minio,
}

impl Profile {
    /// The one of this name.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "storj" => Some(Self::Storj),
            "minio" => Some(Self::Minio),
            _ => None,
        }
    }
}

/// Status and code of a refusal; `None` for what is stored.
pub fn refusal(
    profile: Profile,
    seen: &Seen,
    now: Duration,
) -> Option<(&'static str, &'static str)> {
    const BAD: &str = "400 Bad Request";
    const ERROR: &str = "500 Internal Server Error";
    const NOT: &str = "501 Not Implemented";
    let get = |name: &str| seen.headers.get(name).map(String::as_str);
    let storj = profile == Profile::Storj;
    if seen.key.len() > 1024 {
        return Some((BAD, "KeyTooLongError"));
    }
    if seen.key.split('/').any(|part| part == "." || part == "..") {
        return Some((BAD, "XMinioInvalidResourceName"));
    }
    if !storj && seen.key.contains("//") {
        return Some((BAD, "XMinioInvalidObjectName"));
    }
    let (single, together) = metadata(seen);
    match (single, together) {
        (single, together) if storj && (single >= 2040 || together >= 2150) => {
            return Some((BAD, "MetadataTooLarge"));
        }
        (single, together) if storj && (single >= 1920 || together >= 1960) => {
            return Some((ERROR, "InternalError"));
        }
        (single, _) if !storj && single >= 2048 => return Some((BAD, "MetadataTooLarge")),
        _ => {}
    }
    let locked = get("x-amz-object-lock-mode").is_some();
    if let Some(expires) = get("x-amz-meta-object-expires").filter(|_| storj) {
        let seconds = expires.strip_prefix('+').and_then(|text| text.strip_suffix(['s', 'h']));
        let relative = seconds.is_some_and(|digits| digits.parse::<u64>().is_ok());
        match date::rfc3339(expires) {
            _ if relative || expires == "none" => {}
            Some(at) if at <= now => return Some((ERROR, "InternalError")),
            Some(_) => {}
            None => return Some((BAD, "InvalidTTL")),
        }
        if locked {
            return Some((ERROR, "InternalError"));
        }
    }
    if let Some(tags) = get("x-amz-tagging") {
        if tags.split('&').count() > 10 {
            return Some((BAD, "BadRequest"));
        }
        if tags.contains("%26") && storj {
            return Some((BAD, "InvalidTag"));
        }
        if tags.contains("%C3") && !storj {
            return Some((BAD, "InvalidTag"));
        }
    }
    match get("x-amz-storage-class") {
        None | Some("STANDARD") => {}
        Some("REDUCED_REDUNDANCY") if storj => return Some((NOT, "NotImplemented")),
        Some("REDUCED_REDUNDANCY") => {}
        Some(_) => return Some((BAD, "InvalidStorageClass")),
    }
    match get("x-amz-server-side-encryption") {
        None => {}
        Some("AES256") if storj => {}
        Some(_) => return Some((NOT, "NotImplemented")),
    }
    if get("if-none-match").is_some_and(|tag| tag != "*") && storj {
        return Some((NOT, "NotImplemented"));
    }
    None
}

/// The longest value of a metadata header, and all of them as Storj counts them: names, content
/// type and tags, each with what encryption adds.
fn metadata(seen: &Seen) -> (usize, usize) {
    let mut longest = 0;
    let mut all = 0;
    for (name, value) in &seen.headers {
        let counted = match name.strip_prefix("x-amz-meta-") {
            Some(name) => {
                longest = longest.max(value.len());
                name.len()
            }
            None if name == "content-type" || name == "x-amz-tagging" => name.len(),
            None => continue,
        };
        all += counted + value.len() + 16;
    }
    (longest, all)
}
