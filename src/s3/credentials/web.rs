//! Small HTTP requests for credentials, and what their documents have in common.

use std::time::Duration;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::super::http::{Http, Patience, Request, redact};
use super::super::wire::{date, xml};
use super::types::{Credentials, CredentialsError};

/// A server's clock that is further off than this is another one; STS takes signatures for five minutes.
pub(super) const SKEW: Duration = Duration::from_secs(4 * 60);
/// Largest document that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// A document or an error page.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The server's Unix time, when it tells.
    pub(super) date: Option<Duration>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// When something was lent: `now` by our clock, and by the lender's where he tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lent {
    now: Duration,
    date: Option<Duration>,
}

impl Lent {
    pub(super) fn new(now: Duration, answer: &Answer) -> Self {
        Self { now, date: answer.date }
    }

    /// When what ends at `end` by the lender's clock ends by ours: what is lent for an hour is good for an
    /// hour. A date past the end is wrong itself.
    pub(super) fn ours(self, end: Duration) -> Duration {
        match self.date {
            Some(date) if date < end && date.abs_diff(self.now) > SKEW => {
                self.now.saturating_add(end.saturating_sub(date))
            }
            _ => end,
        }
    }
}

/// Who is asked, for the errors.
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    pub(super) http: &'a Http,
    pub(super) timeout: Duration,
}

impl Place<'_> {
    pub(super) fn broken(&self, reason: impl Into<String>) -> CredentialsError {
        CredentialsError::Broken { place: self.name.to_owned(), reason: reason.into() }
    }

    pub(super) fn down(&self, reason: impl Into<String>) -> CredentialsError {
        CredentialsError::Down { place: self.name.to_owned(), reason: reason.into() }
    }

    /// One request; no answer at all is [`CredentialsError::Down`].
    pub(super) fn send(
        &self,
        method: &'static str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, CredentialsError> {
        let length = body.map_or(0, <[u8]>::len).to_string();
        let mut all = headers.to_vec();
        let mut reader = body;
        if body.is_some() {
            all.push(("content-length", &length));
        }
        let response = self
            .http
            .send(Request {
                method,
                url,
                headers: &all,
                body: reader.as_mut().map(|reader| reader as &mut dyn std::io::Read),
                deadline: self.timeout,
                ask_first: false,
                patience: Patience::Deadline,
            })
            .map_err(|error| self.down(error.text))?;
        let status = response.status;
        let date = response.header("date").and_then(date::http);
        let (body, whole) = response.read(LARGEST);
        let body = Zeroizing::new(body);
        if !whole {
            return Err(self.down("its answer was cut short"));
        }
        Ok(Answer { status, date, body })
    }

    /// The body of a 2xx; any other status is an error with what the document says, without
    /// `secret`.
    pub(super) fn accept(
        &self,
        answer: Answer,
        secret: &str,
    ) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
        let status = answer.status;
        if (200..300).contains(&status) {
            return Ok(answer.body);
        }
        let said = xml::error(&answer.body);
        let said =
            if said.code.is_empty() { json_error(&answer.body).unwrap_or(said) } else { said };
        let redact = |text| self.http.redact(&redact(text, secret));
        let (code, message) = (redact(&said.code), redact(&said.message));
        let reason = format!("status {status} {code} {message}");
        let reason = reason.trim_end();
        if matches!(status, 408 | 429 | 500..=599) {
            Err(self.down(reason))
        } else {
            Err(self.broken(reason))
        }
    }

    /// Credentials out of the four texts that every document has.
    pub(super) fn credentials(
        &self,
        document: &Document,
        lent: Lent,
    ) -> Result<Credentials, CredentialsError> {
        for (name, value) in
            [("AccessKeyId", &document.access), ("SecretAccessKey", &document.secret)]
        {
            if value.is_empty() {
                return Err(self.broken(format!("its document has no {name}")));
            }
        }
        let expires = match document.expiration.as_str() {
            "" => None,
            text => Some(
                date::rfc3339(text)
                    .map(|end| lent.ours(end))
                    .ok_or_else(|| self.broken("its document has no valid Expiration"))?,
            ),
        };
        let token = Some(document.token.as_str()).filter(|token| !token.is_empty());
        Ok(Credentials::new(
            document.access.as_str(),
            document.secret.as_str(),
            token,
            expires,
            self.name,
        ))
    }
}

/// The error documents of the portal of IAM Identity Center and of EKS's agent.
fn json_error(body: &[u8]) -> Option<xml::ErrorBody> {
    let text: serde_json::Value = serde_json::from_slice(body).ok()?;
    let get = |names: [&str; 3]| {
        let found = names.iter().find_map(|name| text.get(name)?.as_str());
        found.unwrap_or_default().to_owned()
    };
    let code = get(["__type", "code", "Code"]);
    Some(xml::ErrorBody { code, message: get(["message", "Message", "error"]), ..<_>::default() })
}

/// Temporary credentials as STS, ECS, EKS and EC2 hand them out; empty where one says nothing.
#[derive(Default, Zeroize, ZeroizeOnDrop, serde::Deserialize)]
pub(super) struct Document {
    #[serde(rename = "AccessKeyId", default)]
    access: String,
    #[serde(rename = "SecretAccessKey", default)]
    secret: String,
    #[serde(rename = "Token", default)]
    token: String,
    #[serde(rename = "Expiration", default)]
    expiration: String,
    /// EC2 says `Success` here, or what went wrong.
    #[serde(rename = "Code", default)]
    pub(super) code: String,
}

impl Document {
    /// The JSON of ECS, EKS and EC2; `None` when it is none.
    pub(super) fn json(bytes: &[u8]) -> Option<Self> {
        // The error would quote what it found there.
        serde_json::from_slice(bytes).ok()
    }

    /// The XML of STS.
    pub(super) fn xml(bytes: &[u8]) -> Self {
        let [access, secret, token, expiration] =
            xml::texts(bytes, ["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"]);
        Self { access, secret, token, expiration, code: String::new() }
    }
}
