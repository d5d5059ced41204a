//! Roles by STS: with a web identity's token, or on top of other credentials.
//!
//! Both are a form in a POST, so that no token stands in a URL.
//! Source: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>
//! and `API_AssumeRole.html` beside it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::super::http::Variables;
use super::super::sign::{self, Service};
use super::super::wire::encode;
use super::cache::Cache;
use super::environment::Hidden;
use super::file::{stamp, unreadable};
use super::services::Services;
use super::types::{Credentials, CredentialsError, Provider, Stamp};
use super::web::{Document, Lent, SKEW};
use crate::regular_file;

const TIMEOUT: Duration = Duration::from_secs(10);
const FORM: &str = "application/x-www-form-urlencoded";
/// What the sessions are called when nobody chose a name.
pub(super) const SESSION: &str = "s3log";

/// Where STS is: `AWS_ENDPOINT_URL_STS`, or the region's own at AWS.
fn address(variables: &Hidden, region: &str) -> String {
    variables
        .get("AWS_ENDPOINT_URL_STS")
        .unwrap_or_else(|| format!("https://sts.{region}.{}", domain(region)))
}

/// The domain of the partition that a region belongs to; GovCloud's is everybody's.
/// Source: `partitions.json` of AWS's SDKs.
pub(super) fn domain(region: &str) -> &'static str {
    const PARTITIONS: [(&str, &str); 6] = [
        ("cn-", "amazonaws.com.cn"),
        ("eusc-", "amazonaws.eu"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("us-isof-", "csp.hci.ic.gov"),
    ];
    let found = PARTITIONS.iter().find(|(prefix, _)| region.starts_with(prefix));
    found.map_or("amazonaws.com", |(_, domain)| domain)
}

fn form(fields: &[(&str, &str)]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(
        fields.iter().map(|(name, value)| name.len() + 2 + 3 * value.len()).sum(),
    ));
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(&Zeroizing::new(encode::query(value)));
    }
    out
}

/// AWS's Security Token Service.
#[derive(Debug, Clone)]
pub(super) struct Sts {
    variables: Hidden,
    services: Services,
    region: String,
}

impl Sts {
    pub(super) fn new(variables: Arc<dyn Variables>, services: Services, region: &str) -> Self {
        Self { variables: Hidden(variables), services, region: region.to_owned() }
    }

    /// `role` for who holds the token in the file at `path`.
    pub(super) fn web_identity(
        &self,
        role: &Role,
        path: &Path,
        now: Duration,
    ) -> Result<Credentials, CredentialsError> {
        let bytes = regular_file::read(path, regular_file::KEYS_MAX).map_err(|e| {
            unreadable(WEB_IDENTITY.to_owned(), &format!("token file {}: ", path.display()), &e)
        })?;
        let token = Zeroizing::new(String::from_utf8_lossy(&bytes).trim().to_owned());
        let body = form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", &role.arn),
            ("RoleSessionName", role.session()),
            ("WebIdentityToken", &token),
        ]);
        let url = address(&self.variables, &self.region);
        let (place, endpoint) = self.services.place(WEB_IDENTITY, &url, TIMEOUT)?;
        let headers = [("content-type", FORM)];
        let answer =
            place.send("POST", &format!("{endpoint}/"), &headers, Some(body.as_bytes()))?;
        let lent = Lent::new(now, &answer);
        let document = Document::xml(&place.accept(answer, &token)?);
        place.credentials(&document, lent)
    }

    /// `role` on top of `base`; `refused` hears of it when `base` was not taken.
    pub(super) fn assume(
        &self,
        base: &Credentials,
        role: &Role,
        now: Duration,
        refused: &dyn Fn(),
    ) -> Result<Credentials, CredentialsError> {
        let name = format!("role {} on top of {}", role.arn, base.source());
        let url = address(&self.variables, &self.region);
        let (place, endpoint) = self.services.place(&name, &url, TIMEOUT)?;
        let body = form(&[
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", &role.arn),
            ("RoleSessionName", role.session()),
            ("ExternalId", role.external_id.as_deref().unwrap_or_default()),
        ]);
        let url = format!("{endpoint}/");
        let authority = endpoint.authority();
        let length = body.len().to_string();
        let headers =
            [("host", authority.as_str()), ("content-type", FORM), ("content-length", &length)];
        let hash = encode::hex(&Sha256::digest(body.as_bytes()));
        let request =
            sign::Request { method: "POST", url: &url, headers: &headers, payload_sha256: &hash };
        let ask = |now: Duration| {
            let signed = sign::sign(&request, base, &self.region, Service::Other("sts"), now)
                .map_err(|e| place.broken(base.redact(&e.to_string())))?;
            let mut all = vec![("content-type", FORM)];
            all.extend(signed.iter().map(|(name, value)| (*name, value.as_str())));
            place.send("POST", &url, &all, Some(body.as_bytes()))
        };
        let mut answer = ask(now)?;
        // Refused because the clocks disagree: once more with the server's.
        if let (400 | 401 | 403, Some(theirs)) = (answer.status, answer.date)
            && theirs.abs_diff(now) > SKEW
        {
            answer = ask(theirs)?;
        }
        if matches!(answer.status, 401 | 403) {
            refused();
        }
        let lent = Lent::new(now, &answer);
        // The message is the server's: it may repeat what it was sent.
        let body = place.accept(answer, "").map_err(|error| error.without_secrets_of(base))?;
        let found = place.credentials(&Document::xml(&body), lent)?;
        Ok(found.ending(base.source_ending().cloned()))
    }
}

/// `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`: a role for who holds the token (EKS).
#[derive(Debug)]
pub struct WebIdentity {
    sts: Sts,
}

/// What messages call it.
const WEB_IDENTITY: &str = "web identity";

impl WebIdentity {
    pub(super) fn new(sts: Sts) -> Self {
        Self { sts }
    }

    fn token_file(&self) -> Option<String> {
        self.sts.variables.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    }
}

impl Provider for WebIdentity {
    fn name(&self) -> String {
        WEB_IDENTITY.to_owned()
    }

    fn load(&self, now: Duration) -> Result<Option<Credentials>, CredentialsError> {
        let Some(path) = self.token_file() else { return Ok(None) };
        let get = |name| self.sts.variables.get(name);
        let Some(arn) = get("AWS_ROLE_ARN") else {
            let reason = "AWS_WEB_IDENTITY_TOKEN_FILE needs AWS_ROLE_ARN too".to_owned();
            return Err(CredentialsError::Broken { place: self.name(), reason });
        };
        let role = Role { arn, external_id: None, session_name: get("AWS_ROLE_SESSION_NAME") };
        self.sts.web_identity(&role, Path::new(&path), now).map(Some)
    }

    fn stamp(&self) -> Option<Stamp> {
        self.token_file().map(|path| stamp(Path::new(&path)))
    }
}

/// A role to take on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Role {
    /// `role_arn`.
    pub arn: String,
    /// `external_id`, when the role asks for one.
    pub external_id: Option<String>,
    /// What the session is called in the account's trail; `s3log` by default.
    pub session_name: Option<String>,
}

impl Role {
    fn session(&self) -> &str {
        self.session_name.as_deref().unwrap_or(SESSION)
    }
}

/// `role_arn`: a role on top of whatever the chain below it found.
#[derive(Debug)]
pub struct AssumeRole {
    base: Cache,
    role: Role,
    sts: Sts,
}

impl AssumeRole {
    pub(super) fn new(base: Cache, role: Role, sts: Sts) -> Self {
        Self { base, role, sts }
    }
}

impl Provider for AssumeRole {
    fn name(&self) -> String {
        format!("role {}", self.role.arn)
    }

    fn load(&self, now: Duration) -> Result<Option<Credentials>, CredentialsError> {
        let base = self.base.get(now)?;
        self.sts.assume(&base, &self.role, now, &|| self.base.refused()).map(Some)
    }

    fn stamp(&self) -> Option<Stamp> {
        Some(self.base.stamp())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::http::Variables;
    use super::*;

    struct Nothing;

    impl Variables for Nothing {
        fn get(&self, _: &str) -> Option<String> {
            None
        }
    }

    #[test]
    fn sts_is_asked_in_the_region_s_own_partition() {
        let none = Hidden(Arc::new(Nothing));
        for (region, url) in [
            ("eu-west-1", "https://sts.eu-west-1.amazonaws.com"),
            ("us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com"),
            ("us-gov-east-1", "https://sts.us-gov-east-1.amazonaws.com"),
            ("cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn"),
            ("cn-northwest-1", "https://sts.cn-northwest-1.amazonaws.com.cn"),
            ("eusc-de-east-1", "https://sts.eusc-de-east-1.amazonaws.eu"),
            ("us-iso-east-1", "https://sts.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "https://sts.us-isob-east-1.sc2s.sgov.gov"),
            ("eu-isoe-west-1", "https://sts.eu-isoe-west-1.cloud.adc-e.uk"),
            ("us-isof-south-1", "https://sts.us-isof-south-1.csp.hci.ic.gov"),
        ] {
            assert_eq!(address(&none, region), url);
        }
    }
}
