//! What one request came to, and what is done about it: the failure table as one `match`.

use std::fmt;
use std::time::Duration;

/// Everything that one PUT can come to. Closed: a new member is a new row in [`decide`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Stored,
    /// 412, and HEAD shows our hash and length: an earlier attempt got through.
    AlreadyStored,
    /// No connection: name, route, refusal.
    Unreachable,
    /// No connection to the proxy, or it has none to the gateway.
    Proxy,
    /// The proxy wants other credentials, or does not let through.
    ProxyRefused,
    /// A connection, but no trust: certificate, protocol version, client certificate.
    Tls,
    /// No answer in time.
    TimedOut,
    /// The connection ended early, or what came back is not HTTP.
    Broken,
    /// 408, 409, 429 and 5xx but 501: the gateway asks to come back later.
    Busy,
    /// 401 or 403 because the clocks disagreed; the offset is learnt now.
    ClockCorrected,
    /// 401 or 403: key, signature, policy, clock, expired token.
    Refused,
    /// No usable credentials on this side.
    NoCredentials,
    /// 404: no such bucket, or no S3 at this address.
    NoBucket,
    /// 404 for an object: what GET and HEAD say; a PUT that hears it raced with a deletion.
    NoObject,
    /// 3xx, or 400 that names another region: wrong region or endpoint.
    WrongRegion,
    /// 402, 405, 501 and the 400s that only other settings can mend.
    Unsupported,
    /// 412, and HEAD does not tell whose object it is.
    Unsettled,
    /// 412, and HEAD shows another object under our key.
    Conflict,
    /// 413: larger than the gateway takes.
    TooLarge,
    /// 400 and every other 4xx: the same request will never be taken.
    Rejected,
    /// The block cannot be read now: file handles, I/O error.
    Unreadable,
    /// The settings or the credentials hold what no request can carry.
    Unsendable,
    /// The block is shorter than it was when it was sealed, or its key or metadata are too long.
    Damaged,
}

/// What the caller does next. Nothing here deletes a block unsent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The object is there: the block's file can go.
    Done,
    /// Try again after the backoff, or after `after` when the server named a time.
    Retry {
        /// The server's `Retry-After`.
        after: Option<Duration>,
    },
    /// Read the credentials again; keep the block and try at the backoff's cap; say so.
    RetryCredentials,
    /// Keep the block and try at the backoff's cap; say so: the operator can still mend it.
    RetryConfiguration,
    /// Set the block aside, never delete it; say so: trying again cannot help.
    Quarantine,
}

/// The failure table.
#[must_use]
pub fn decide(outcome: Outcome, retry_after: Option<Duration>) -> Action {
    match outcome {
        Outcome::Stored | Outcome::AlreadyStored => Action::Done,
        Outcome::Unreachable
        | Outcome::Proxy
        | Outcome::Tls
        | Outcome::TimedOut
        | Outcome::Broken
        | Outcome::Busy
        | Outcome::NoObject
        | Outcome::ClockCorrected
        | Outcome::Unreadable => Action::Retry { after: retry_after },
        Outcome::Refused | Outcome::NoCredentials | Outcome::Unsettled => Action::RetryCredentials,
        Outcome::NoBucket
        | Outcome::WrongRegion
        | Outcome::Unsupported
        | Outcome::Unsendable
        | Outcome::ProxyRefused => Action::RetryConfiguration,
        Outcome::Conflict | Outcome::TooLarge | Outcome::Rejected | Outcome::Damaged => {
            Action::Quarantine
        }
    }
}

impl Outcome {
    /// The sentence for the operator: what happened and what to do.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::AlreadyStored => "stored by an earlier attempt",
            Self::Unreachable => "the gateway cannot be reached; check endpoint, DNS and firewall",
            Self::Proxy => "the proxy cannot be reached, or does not reach the gateway",
            Self::ProxyRefused => {
                "the proxy does not let this through; check its user, its password and its rules"
            }
            Self::Tls => "no trusted connection; check the certificate, ca_file and the clock",
            Self::TimedOut => "no answer in time",
            Self::Broken => "the connection ended early",
            Self::Busy => "the gateway asks to come back later",
            Self::ClockCorrected => {
                "this machine's clock is off; the gateway's is used from now on"
            }
            Self::Refused => {
                "the gateway refuses the credentials; check the key, its policy and the clock"
            }
            Self::NoCredentials => "there are no usable credentials",
            Self::NoBucket => "there is no such bucket here; create it, or mend bucket or endpoint",
            Self::NoObject => "there is no such object",
            Self::WrongRegion => "the bucket is elsewhere; mend region or endpoint",
            Self::Unsupported => {
                "the gateway does not take this kind of request; remove the option it names"
            }
            Self::Unsettled => {
                "the object is there and HEAD does not tell whose it is; allow s3:GetObject on the \
                 path"
            }
            Self::Conflict => "another object has this key; the block is set aside",
            Self::TooLarge => {
                "larger than the gateway takes; lower max_bytes; the block is set aside"
            }
            Self::Rejected => "the gateway will never take this request; the block is set aside",
            Self::Unreadable => "the block cannot be read now",
            Self::Unsendable => "no request can carry these settings; mend options or credentials",
            Self::Damaged => {
                "the block is not what it was when it was sealed; the block is set aside"
            }
        }
    }
}

/// The outcome of a status and an S3 error code; `None` for 412, which HEAD has to settle.
///
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.
#[must_use]
pub fn classify(status: u16, code: &str) -> Option<Outcome> {
    Some(match (status, code) {
        (200..=299, _) => Outcome::Stored,
        (300..=399, _) => Outcome::WrongRegion,
        // S3 sends these with status 400, and the request itself is sound.
        (400, "RequestTimeout" | "IncompleteBody") => Outcome::Busy,
        (400, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "RequestExpired") => {
            Outcome::Refused
        }
        (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            Outcome::WrongRegion
        }
        (400, "InvalidBucketName" | "NotImplemented") => Outcome::Unsupported,
        (401 | 403, _) => Outcome::Refused,
        (404, "NoSuchKey") => Outcome::NoObject,
        (404, _) => Outcome::NoBucket,
        (402 | 405 | 501, _) => Outcome::Unsupported,
        (407, _) => Outcome::ProxyRefused,
        (408 | 409 | 425 | 429, _) => Outcome::Busy,
        (412, _) => return None,
        (413, _) | (_, "EntityTooLarge") => Outcome::TooLarge,
        (400..=499, _) => Outcome::Rejected,
        (500..=599, _) => Outcome::Busy,
        // 1xx never ends an exchange, and 6xx does not exist.
        _ => Outcome::Broken,
    })
}

/// One attempt: its outcome and all that the server said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it came to.
    pub outcome: Outcome,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// S3's `Code`; empty when there was none.
    pub code: String,
    /// S3's `Message`, or what the connection died of.
    pub message: String,
    /// S3's request id; empty when there was none.
    pub request_id: String,
    /// The server's `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// An answer without a server in it.
    #[must_use]
    pub fn local(outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            outcome,
            status: None,
            code: String::new(),
            message: message.into(),
            request_id: String::new(),
            retry_after: None,
        }
    }

    /// What the failure table says.
    #[must_use]
    pub fn action(&self) -> Action {
        decide(self.outcome, self.retry_after)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.outcome.advice())?;
        if let Some(status) = self.status {
            write!(f, ": status {status}")?;
        }
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if !self.request_id.is_empty() {
            write!(f, " (request id {})", self.request_id)?;
        }
        Ok(())
    }
}

/// Attempts that did not store a block, as the operator reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method} {key}: attempt {attempts}, {:.1} s: {answer}", elapsed.as_secs_f64())]
pub struct Failure {
    /// `PUT`, `GET`, ...
    pub method: &'static str,
    /// The object's key.
    pub key: String,
    /// Attempts so far, this one among them.
    pub attempts: u32,
    /// Time since the first one began.
    pub elapsed: Duration,
    /// What the last one came to.
    pub answer: Answer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_the_failure_table_is_on_its_row() {
        let action = |status, code| classify(status, code).map(|o| decide(o, None));
        let retry = Some(Action::Retry { after: None });
        assert_eq!(action(200, ""), Some(Action::Done));
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
            (307, "TemporaryRedirect"),
            (400, "AuthorizationHeaderMalformed"),
            (501, "NotImplemented"),
        ] {
            assert_eq!(action(status, code), Some(Action::RetryConfiguration), "{status}");
        }
        for (status, code) in [(400, "InvalidArgument"), (400, "BadDigest"), (413, ""), (418, "")] {
            assert_eq!(action(status, code), Some(Action::Quarantine), "{status}");
        }
        assert_eq!(action(400, "RequestTimeout"), retry);
        assert_eq!(action(412, "PreconditionFailed"), None);
    }

    #[test]
    fn every_status_there_is_has_an_outcome() {
        for status in 0..=999 {
            assert_eq!(classify(status, "").is_none(), status == 412, "{status}");
        }
    }

    #[test]
    fn a_failure_tells_method_key_attempts_time_status_code_message_and_request_id() {
        let failure = Failure {
            method: "PUT",
            key: "a/b".into(),
            attempts: 3,
            elapsed: Duration::from_millis(1540),
            answer: Answer {
                status: Some(503),
                code: "SlowDown".into(),
                request_id: "R1".into(),
                ..Answer::local(Outcome::Busy, "Please reduce your request rate.")
            },
        };
        assert_eq!(
            failure.to_string(),
            "PUT a/b: attempt 3, 1.5 s: the gateway asks to come back later: status 503 SlowDown: \
             Please reduce your request rate. (request id R1)"
        );
    }
}
