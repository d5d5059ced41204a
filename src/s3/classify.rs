//! What a status and an S3 error code mean, whichever gateway sends them.
//!
//! The code decides before the status does: gateways disagree about statuses. An error without a
//! code does not come from S3.
//!
//! Sources: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>,
//! <https://developers.cloudflare.com/r2/api/error-codes/>, and MinIO's `cmd/api-errors.go` for the
//! names that begin with `XMinio`.

use super::outcome::Outcome;

/// The outcome of a status that is not 2xx with the error document's code, which is empty when
/// there was none; `None` for 412, which HEAD has to settle.
#[must_use]
pub(super) fn classify(status: u16, code: &str, message: &str) -> Option<Outcome> {
    if status == 412 {
        return None;
    }
    if let Some(outcome) = by_code(code, message) {
        return Some(outcome);
    }
    Some(match (status, code) {
        (407, _) => Outcome::ProxyRefused,
        (408 | 409 | 425 | 429, _) => Outcome::Busy,
        (402 | 507, _) => Outcome::Account,
        (501, "") => Outcome::NotS3,
        (501, _) => Outcome::Unsupported,
        (500..=599, _) => Outcome::Busy,
        // Without a code it may be a firewall, and then again a gateway that says no more.
        (401 | 403, _) => Outcome::Refused,
        (300..=499, "") => Outcome::NotS3,
        (300..=399, _) => Outcome::WrongRegion,
        (404, _) => Outcome::NoBucket,
        (405, _) => Outcome::Unsupported,
        (400..=499, _) => Outcome::Rejected,
        // 1xx never ends an exchange, and 6xx does not exist.
        _ => Outcome::Broken,
    })
}

/// Whether a refusal may be for an object that is there already. Where a bucket lets nothing be overwritten,
/// many gateways answer 409; those whose policies or retention forbid it answer 403 as they do to one
/// who may not write at all; MinIO answers 400 `InvalidRequest`, and 405 before it knew object lock.
/// `outcome` is [`classify`]'s for `status` and `code`.
#[must_use]
pub(super) fn may_be_there(outcome: Outcome, status: u16, code: &str) -> bool {
    match outcome {
        // Codes that are known and not this one are about the credentials.
        Outcome::Refused => {
            status == 403 && (code == "AccessDenied" || by_code(code, "").is_none())
        }
        Outcome::Busy => status == 409,
        Outcome::Unsupported => {
            matches!(status, 400 | 403 | 405 | 409)
                && matches!(code, "InvalidRequest" | "MethodNotAllowed" | "InvalidObjectState")
        }
        Outcome::Rejected => true,
        _ => false,
    }
}

/// Whether a code says that the same request may succeed later, whatever is there now.
#[must_use]
pub(super) fn asks_to_wait(code: &str) -> bool {
    by_code(code, "") == Some(Outcome::Busy)
}

/// The outcome of a status without a body, which is all that HEAD has.
#[must_use]
pub(super) fn classify_head(status: u16) -> Outcome {
    match status {
        300..=399 => Outcome::WrongRegion,
        401 | 403 => Outcome::Refused,
        404 => Outcome::NoObject,
        407 => Outcome::ProxyRefused,
        408 | 409 | 425 | 429 | 500 | 502..=599 => Outcome::Busy,
        400..=499 | 501 => Outcome::Rejected,
        _ => Outcome::Broken,
    }
}

/// What a code means by itself, whatever status it came with.
fn by_code(code: &str, message: &str) -> Option<Outcome> {
    let says = |text: &str| message.to_ascii_lowercase().contains(text);
    Some(match code {
        "" => return None,
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "ServiceUnavailable"
        | "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "IncompleteBody"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "TooManyRequests"
        | "TooManyRequestsException"
        | "TransactionInProgressException"
        | "PriorRequestNotComplete"
        | "OperationAborted"
        | "ConditionalRequestConflict"
        | "ClientDisconnected"
        | "TemporaryRedirect"
        | "XMinioServerNotInitialized"
        | "XMinioBackendDown" => Outcome::Busy,
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "ContentSHA256Mismatch"
        | "SignatureMismatchOnBody" => Outcome::Corrupted,
        "ExpiredToken"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "RequestExpired"
        | "InvalidAccessKeyId"
        | "InvalidSecurity"
        | "SignatureDoesNotMatch"
        | "AuthFailure"
        | "MissingSecurityHeader"
        | "MissingAuthenticationToken"
        | "UnauthorizedAccess"
        | "Unauthorized"
        | "RequestTimeTooSkewed"
        | "NotSignedUp"
        | "AccessDenied" => Outcome::Refused,
        // Cloudflare R2's word for a key of the wrong form.
        "InvalidArgument" if says("access key") => Outcome::Refused,
        "QuotaExceeded"
        | "BucketQuotaExceeded"
        | "XMinioAdminBucketQuotaExceeded"
        | "XMinioStorageFull"
        | "InsufficientStorage"
        | "InsufficientCapacity"
        | "StorageLimitExceeded"
        | "CapExceeded"
        | "TooManyBuckets"
        | "AccountProblem"
        | "AllAccessDisabled"
        | "Overdue"
        | "UserDisabled"
        | "InvalidPayer"
        | "PaymentRequired" => Outcome::Account,
        "NoSuchBucket" | "BucketNotFound" => Outcome::NoBucket,
        "NoSuchKey" => Outcome::NoObject,
        "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "InvalidRegionName"
        | "InvalidRegion"
        | "PermanentRedirect"
        | "Redirect" => Outcome::WrongRegion,
        "EntityTooLarge"
        | "MaxMessageLengthExceeded"
        | "KeyTooLong"
        | "KeyTooLongError"
        | "MetadataTooLarge" => Outcome::Unfit,
        "InvalidStorageClass"
        | "AccessControlListNotSupported"
        | "MalformedACLError"
        | "InvalidTag"
        | "InvalidTTL"
        | "InvalidEncryptionAlgorithmError"
        | "InvalidBucketName"
        | "InvalidObjectName"
        | "XMinioInvalidObjectName"
        | "XMinioInvalidResourceName"
        | "InvalidBucketState"
        | "InvalidObjectState"
        | "ObjectLockConfigurationNotFoundError"
        | "MethodNotAllowed"
        | "NotImplemented"
        | "InvalidRequest"
        | "InvalidArgument" => Outcome::Unsupported,
        _ if code.starts_with("KMS.") => Outcome::Unsupported,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::outcome::{Action, decide};
    use super::*;

    #[test]
    fn every_status_of_the_failure_table_is_on_its_row() {
        let action = |status, code| classify(status, code, "").map(|o| decide(o, None));
        let retry = Some(Action::Retry { after: None });
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(action(status, ""), retry, "{status}");
        }
        for status in [401, 403] {
            assert_eq!(action(status, "InvalidAccessKeyId"), Some(Action::RetryCredentials));
        }
        assert_eq!(action(400, "ExpiredToken"), Some(Action::RetryCredentials));
        for (status, code) in [
            (404, "NoSuchBucket"),
            (407, ""),
            (301, "PermanentRedirect"),
            (400, "AuthorizationHeaderMalformed"),
            (400, "InvalidArgument"),
            (400, "NobodyKnowsThisOne"),
            (400, ""),
            (413, ""),
            (418, ""),
            (501, "NotImplemented"),
        ] {
            assert_eq!(action(status, code), Some(Action::RetryConfiguration), "{status} {code}");
        }
        for code in ["EntityTooLarge", "KeyTooLongError", "MetadataTooLarge"] {
            assert_eq!(action(400, code), Some(Action::Quarantine), "{code}");
        }
        for code in ["RequestTimeout", "SlowDown", "BadDigest", "XAmzContentSHA256Mismatch"] {
            assert_eq!(action(400, code), retry, "{code}");
        }
        assert_eq!(action(412, "PreconditionFailed"), None);
    }

    #[test]
    fn no_status_by_itself_puts_a_block_into_quarantine() {
        for status in (0..=199).chain(300..=999) {
            let outcome = classify(status, "", "");
            assert_eq!(outcome.is_none(), status == 412, "{status}");
            for outcome in [outcome.unwrap_or(Outcome::Busy), classify_head(status)] {
                assert_ne!(decide(outcome, None), Action::Quarantine, "{status}");
                assert_ne!(decide(outcome, None), Action::Done, "{status}");
            }
        }
    }
}
