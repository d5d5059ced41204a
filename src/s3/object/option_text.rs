//! The texts that an operator writes for these options, and the sentence when one is wrong.

use std::str::FromStr;
use std::time::Duration;

use super::error::OptionError;
use super::gateway::Gateway;
use super::gateways::GATEWAYS;
use super::options::{Checksum, LockMode, ObjectLock, SecondsOrDate};
use crate::s3::endpoint::Addressing;
use crate::s3::wire::date;
use crate::units;

fn takes(option: &'static str, takes: impl Into<String>, value: &str) -> OptionError {
    OptionError::Takes { option, takes: takes.into(), value: value.to_owned() }
}

impl FromStr for Gateway {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match GATEWAYS.iter().find(|traits| traits.name == text) {
            Some(traits) => Ok(traits.gateway),
            None => {
                let names: Vec<_> = GATEWAYS.iter().map(|traits| traits.name).collect();
                Err(takes("gateway", names.join(", "), text))
            }
        }
    }
}

impl FromStr for Addressing {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "path" => Ok(Self::Path),
            "virtual" => Ok(Self::Virtual),
            _ => Err(takes("addressing", "path or virtual", text)),
        }
    }
}

impl FromStr for Checksum {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "crc32c" => Ok(Self::Crc32c),
            "crc64nvme" => Ok(Self::Crc64Nvme),
            "sha256" => Ok(Self::Sha256),
            _ => Err(takes("checksum", "none, crc32c, crc64nvme or sha256", text)),
        }
    }
}

impl FromStr for ObjectLock {
    type Err = OptionError;

    /// `compliance:30d`, `governance:1y`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            takes(
                "object_lock",
                "compliance:<duration> or governance:<duration>, like compliance:30d",
                text,
            )
        };
        let (mode, span) = text.split_once(':').ok_or_else(wrong)?;
        let mode = match mode {
            "compliance" => LockMode::Compliance,
            "governance" => LockMode::Governance,
            _ => return Err(wrong()),
        };
        let duration = duration(span).filter(|d| !d.is_zero()).ok_or_else(wrong)?;
        Ok(Self { mode, duration })
    }
}

impl FromStr for SecondsOrDate {
    type Err = OptionError;

    /// `720h`, `30d`, or an RFC 3339 date.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(span) = duration(text.trim_start_matches('+')).filter(|d| !d.is_zero()) {
            return Ok(Self::Seconds(span.as_secs()));
        }
        match date::rfc3339(text) {
            Some(_) => Ok(Self::Date(text.to_owned())),
            None => Err(takes(
                "object_ttl",
                "a duration like 30d or a date like 2030-01-01T00:00:00Z",
                text,
            )),
        }
    }
}

/// A duration with its unit, in whole seconds.
fn duration(text: &str) -> Option<Duration> {
    let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
    let value = units::duration(text).filter(|_| has_unit)?;
    Some(Duration::from_secs(value.as_secs()))
}

/// One of the canned ACLs.
///
/// # Errors
/// The sentence with all seven.
pub fn acl(text: &str) -> Result<String, OptionError> {
    one_of(
        text,
        &[
            "private",
            "public-read",
            "public-read-write",
            "aws-exec-read",
            "authenticated-read",
            "bucket-owner-read",
            "bucket-owner-full-control",
        ],
        "acl",
        "private, public-read, public-read-write, aws-exec-read, authenticated-read, \
         bucket-owner-read or bucket-owner-full-control",
    )
}

/// Fastly's `redundancy`: a storage class in lower case. Gateways have classes of their own, so
/// any word of letters, digits and underscores is one.
///
/// # Errors
/// The sentence with AWS's classes.
pub fn storage_class(text: &str) -> Result<String, OptionError> {
    let word = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if word {
        return Ok(text.to_ascii_uppercase());
    }
    Err(takes(
        "redundancy",
        "standard, standard_ia, intelligent_tiering, onezone_ia, glacier, glacier_ir, \
         deep_archive, reduced_redundancy or a class of the gateway's",
        text,
    ))
}

/// The server's own encryption.
///
/// # Errors
/// The sentence with the three, or why a key of the customer's is not taken.
pub fn server_side_encryption(text: &str) -> Result<String, OptionError> {
    let word = text.to_ascii_lowercase().replace(['_', ' '], "-");
    if ["c", "sse-c", "customer", "customer-key"].contains(&word.as_str()) {
        return Err(takes(
            "server_side_encryption",
            "AES256, aws:kms or aws:kms:dsse, and not SSE-C, whose key would have to go with every \
             request and be on every reader: encrypt_to encrypts blocks before they leave this \
             machine",
            text,
        ));
    }
    one_of(
        text,
        &["AES256", "aws:kms", "aws:kms:dsse"],
        "server_side_encryption",
        "AES256, aws:kms or aws:kms:dsse",
    )
}

fn one_of(
    text: &str,
    words: &[&str],
    option: &'static str,
    all: &'static str,
) -> Result<String, OptionError> {
    match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
        Some(word) => Ok((*word).to_owned()),
        None => Err(takes(option, all, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_what_it_says() {
        assert_eq!("storj".parse(), Ok(Gateway::Storj));
        assert_eq!("virtual".parse(), Ok(Addressing::Virtual));
        assert_eq!("crc64nvme".parse(), Ok(Checksum::Crc64Nvme));
        assert_eq!(acl("Bucket-Owner-Read").as_deref(), Ok("bucket-owner-read"));
        assert_eq!(storage_class("glacier_ir").as_deref(), Ok("GLACIER_IR"));
        assert_eq!(server_side_encryption("aes256").as_deref(), Ok("AES256"));
        let lock: ObjectLock = "compliance:30d".parse().unwrap();
        assert_eq!((lock.mode, lock.duration.as_secs()), (LockMode::Compliance, 2_592_000));
        assert_eq!("+720h".parse(), Ok(SecondsOrDate::Seconds(2_592_000)));
        let date = "2030-01-01T00:00:00Z";
        assert_eq!(date.parse(), Ok(SecondsOrDate::Date(date.into())));
    }

    #[test]
    fn a_key_of_the_customer_s_is_refused_with_what_to_use_instead() {
        for text in ["SSE-C", "sse_c", "C", "customer"] {
            let said = server_side_encryption(text).unwrap_err().to_string();
            assert!(said.contains("SSE-C") && said.contains("encrypt_to"), "{said}");
        }
    }

    #[test]
    fn each_wrong_word_is_answered_with_the_option_and_what_it_takes() {
        let said = [
            "x".parse::<Gateway>().unwrap_err().to_string(),
            "host".parse::<Addressing>().unwrap_err().to_string(),
            "md5".parse::<Checksum>().unwrap_err().to_string(),
            acl("everyone").unwrap_err().to_string(),
            storage_class("a b").unwrap_err().to_string(),
            server_side_encryption("").unwrap_err().to_string(),
            "compliance".parse::<ObjectLock>().unwrap_err().to_string(),
            "governance:0d".parse::<ObjectLock>().unwrap_err().to_string(),
            "compliance:99999999999999999999y".parse::<ObjectLock>().unwrap_err().to_string(),
            "soon".parse::<SecondsOrDate>().unwrap_err().to_string(),
            "é".parse::<SecondsOrDate>().unwrap_err().to_string(),
        ];
        for sentence in said {
            assert!(sentence.contains(" takes "), "{sentence}");
        }
    }
}
