//! What one request came to, and what is done about it: the failure table as one `match`.

use std::time::Duration;

/// Everything that one PUT can come to. Closed: a new member is a new row in `decide`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 200, and what came with it shows that the gateway has the block as it is here.
    Stored,
    /// 412 or another refusal, and HEAD shows our object: an earlier attempt got through.
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
    /// 408, 409, 429, most of 5xx, and codes that say the same: come back later.
    Busy,
    /// The gateway received other bytes than were sent.
    Corrupted,
    /// The gateway does not take a header that was sent, or wants one more; the next attempt is
    /// made so.
    Adapted,
    /// 401 or 403 because the clocks disagreed; the offset is learnt now.
    ClockCorrected,
    /// 2xx, and the gateway does not have the block as it is here.
    Unconfirmed,
    /// An answer without the marks of S3: a proxy, a firewall, a login page, another server.
    NotS3,
    /// Key, signature, policy, clock, expired token.
    Refused,
    /// No usable credentials on this side.
    NoCredentials,
    /// The account or the bucket takes nothing at present: quota, payment, suspension.
    Account,
    /// No such bucket.
    NoBucket,
    /// 404 for an object: what GET and HEAD say; a PUT that hears it raced with a deletion.
    NoObject,
    /// Wrong region or endpoint.
    WrongRegion,
    /// Something that only other settings can correct.
    Unsupported,
    /// Whether the block is there cannot be determined: HEAD is not allowed.
    Unsettled,
    /// 412 or 409, and another object is under our key.
    Conflict,
    /// The block itself is what the gateway never takes: body, key or metadata are too long.
    Unfit,
    /// Any other error of S3.
    Rejected,
    /// The block cannot be read now: file handles, I/O error.
    Unreadable,
    /// The settings or the credentials hold what no request can carry.
    Unsendable,
    /// The block is not what it was when it was sealed, or its key or metadata are too long.
    Damaged,
}

impl Outcome {
    /// Whether any other block would fare the same: it is about the way there, the credentials or
    /// the bucket.
    #[must_use]
    pub(crate) fn is_everyones(self) -> bool {
        matches!(self, Self::NoCredentials | Self::NoBucket | Self::WrongRegion | Self::Unsendable)
            || self.is_no_connection()
    }

    /// Whether the gateway, or the way to it, was tried and has not answered. The other outcomes without a
    /// status are this side's.
    #[must_use]
    pub(crate) fn is_silence(self) -> bool {
        matches!(self, Self::TimedOut | Self::Broken) || self.is_no_connection()
    }

    /// Whether there was no connection to the gateway that could carry a request.
    const fn is_no_connection(self) -> bool {
        matches!(self, Self::Unreachable | Self::Proxy | Self::ProxyRefused | Self::Tls)
    }
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
    /// Keep the block and try at the backoff's cap; say so: the operator can still correct it.
    RetryConfiguration,
    /// Set the block aside once it has been tried often enough, never delete it; say so.
    Quarantine,
}

/// The failure table.
#[must_use]
pub(crate) fn decide(outcome: Outcome, retry_after: Option<Duration>) -> Action {
    match outcome {
        Outcome::Stored | Outcome::AlreadyStored => Action::Done,
        Outcome::Unreachable
        | Outcome::Proxy
        | Outcome::Tls
        | Outcome::TimedOut
        | Outcome::Broken
        | Outcome::Busy
        | Outcome::Corrupted
        | Outcome::Adapted
        | Outcome::NoObject
        | Outcome::ClockCorrected
        | Outcome::Unreadable => Action::Retry { after: retry_after },
        Outcome::Refused | Outcome::NoCredentials | Outcome::Unsettled => Action::RetryCredentials,
        Outcome::Unconfirmed
        | Outcome::NotS3
        | Outcome::Account
        | Outcome::NoBucket
        | Outcome::WrongRegion
        | Outcome::Unsupported
        | Outcome::Rejected
        | Outcome::Unsendable
        | Outcome::ProxyRefused => Action::RetryConfiguration,
        Outcome::Conflict | Outcome::Unfit | Outcome::Damaged => Action::Quarantine,
    }
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
    /// The longest that the gateway took no more of a PUT's body, or did not answer it.
    pub silence: Duration,
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
            silence: Duration::ZERO,
        }
    }

    /// The same with `more` at the end of its message.
    #[must_use]
    pub(super) fn and(mut self, more: &str) -> Self {
        if !self.message.is_empty() {
            self.message.push_str(", ");
        }
        self.message.push_str(more);
        self
    }

    /// What the failure table says.
    #[must_use]
    pub fn action(&self) -> Action {
        decide(self.outcome, self.retry_after)
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
    fn what_never_went_out_is_no_attempt_that_the_gateway_left_unanswered() {
        use Outcome::{
            Broken, Damaged, NoCredentials, TimedOut, Unreachable, Unreadable, Unsendable,
        };
        assert!([Unreachable, TimedOut, Broken].iter().all(|outcome| outcome.is_silence()));
        let own = [NoCredentials, Unsendable, Unreadable, Damaged];
        assert!(own.iter().all(|outcome| !outcome.is_silence()));
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
