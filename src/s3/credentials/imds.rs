//! The instance's own role, from EC2's metadata service, version 2 only.
//!
//! | step | request | answer |
//! |---|---|---|
//! | 1 | `PUT /latest/api/token` with a time to live | a session token |
//! | 2 | `GET /latest/meta-data/iam/security-credentials/` | the role's name |
//! | 3 | `GET .../security-credentials/{role}` | JSON with the credentials |
//!
//! Source: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zeroize::Zeroizing;

use super::super::http::{Http, Variables};
use super::super::wire::encode;
use super::environment::Hidden;
use super::types::{Credentials, CredentialsError, Provider};
use super::web::{Document, Lent, Place};

const ENDPOINT: &str = "http://169.254.169.254";
/// A machine without the service must not make anybody wait.
const TIMEOUT: Duration = Duration::from_secs(1);
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// EC2's instance metadata. `AWS_EC2_METADATA_DISABLED=true` turns it off,
/// `AWS_EC2_METADATA_SERVICE_ENDPOINT` moves it.
#[derive(Debug)]
pub struct Imds {
    variables: Hidden,
    http: Http,
    /// It has answered: from now on silence means that it is down, not that it is not there.
    known: AtomicBool,
}

impl Imds {
    pub(super) fn new(variables: Arc<dyn Variables>, http: Http) -> Self {
        Self { variables: Hidden(variables), http, known: AtomicBool::new(false) }
    }
}

impl Provider for Imds {
    fn name(&self) -> String {
        "instance metadata".to_owned()
    }

    fn load(&self, now: Duration) -> Result<Option<Credentials>, CredentialsError> {
        let disabled = self.variables.get("AWS_EC2_METADATA_DISABLED");
        if disabled.is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let base = self
            .variables
            .get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
            .unwrap_or_else(|| ENDPOINT.to_owned());
        let base = base.trim_end_matches('/');
        let name = self.name();
        let place = Place { name: &name, http: &self.http, timeout: TIMEOUT };
        let ttl = [("x-aws-ec2-metadata-token-ttl-seconds", "21600")];
        let url = format!("{base}/latest/api/token");
        // A flag of its own: nothing else is published by it.
        let known = self.known.load(Ordering::Relaxed);
        let token = match place.send("PUT", &url, &ttl, Some(b"")) {
            // Other clouds have a service at this address, too, and it knows no such token.
            Ok(answer) if !known && matches!(answer.status, 400 | 403 | 404 | 405) => {
                return Ok(None);
            }
            Ok(answer) => place.accept(answer, "")?,
            Err(_) if !known => return Ok(None),
            Err(error) => return Err(error),
        };
        let token = Zeroizing::new(String::from_utf8_lossy(&token).trim().to_owned());
        self.known.store(true, Ordering::Relaxed);
        let headers = [("x-aws-ec2-metadata-token", token.as_str())];
        let get = |path: &str| place.send("GET", &format!("{base}{path}"), &headers, None);
        let roles = get(ROLES)?;
        if roles.status == 404 {
            // An instance without a role.
            return Ok(None);
        }
        let roles = place.accept(roles, &token)?;
        let roles = String::from_utf8_lossy(&roles);
        let Some(role) = roles.lines().next().map(str::trim).filter(|role| !role.is_empty()) else {
            return Ok(None);
        };
        let answer = get(&format!("{ROLES}{}", encode::path(role)))?;
        let lent = Lent::new(now, &answer);
        let body = place.accept(answer, &token)?;
        let document =
            Document::json(&body).ok_or_else(|| place.down("its document is not JSON"))?;
        if !document.code.is_empty() && document.code != "Success" {
            return Err(place.down(format!("it says {}", document.code.escape_debug())));
        }
        place.credentials(&document, lent).map(Some)
    }
}
