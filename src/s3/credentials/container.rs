//! The container's role, from the endpoint that ECS or EKS puts beside it.
//!
//! | variable | meaning |
//! |---|---|
//! | `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` | a path at `http://169.254.170.2` (ECS) |
//! | `AWS_CONTAINER_CREDENTIALS_FULL_URI` | a whole URL (EKS, Greengrass, others) |
//! | `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` | its content goes into `Authorization`; read each time |
//! | `AWS_CONTAINER_AUTHORIZATION_TOKEN` | the same, as it is |
//!
//! A whole URL with `http` is taken for loopback and the two link-local addresses of ECS and EKS
//! only: the answer is a secret.
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::super::endpoint::Endpoint;
use super::super::http::{Http, Variables};
use super::environment::Hidden;
use super::file::{stamp, unreadable};
use super::types::{Credentials, CredentialsError, Provider, Stamp};
use super::web::{Document, Lent, Place};
use crate::regular_file;

const ECS: &str = "http://169.254.170.2";
/// Where clear text may go besides loopback: ECS, EKS, EKS over IPv6.
const LINK_LOCAL: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
const TIMEOUT: Duration = Duration::from_secs(2);

/// ECS's and EKS's credentials endpoint.
#[derive(Debug)]
pub struct Container {
    variables: Hidden,
    http: Http,
}

impl Container {
    pub(super) fn new(variables: Arc<dyn Variables>, http: Http) -> Self {
        Self { variables: Hidden(variables), http }
    }

    fn token_file(&self) -> Option<String> {
        self.variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    }

    fn url(&self, place: &Place<'_>) -> Result<Option<String>, CredentialsError> {
        if let Some(path) = self.variables.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            return Ok(Some(format!("{ECS}/{}", path.trim_start_matches('/'))));
        }
        let Some(url) = self.variables.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") else {
            return Ok(None);
        };
        // Only the address is judged; path and query are AWS's own.
        let address = url.split_once("://").map_or(url.as_str(), |(scheme, rest)| {
            let host = rest.find(['/', '?']).unwrap_or(rest.len());
            url.get(..scheme.len() + 3 + host).unwrap_or(&url)
        });
        let endpoint = Endpoint::parse(address, true).map_err(|e| place.broken(e.to_string()))?;
        if Endpoint::parse(address, false).is_err() && !LINK_LOCAL.contains(&endpoint.host()) {
            let reason = "AWS_CONTAINER_CREDENTIALS_FULL_URI takes https, or http to loopback";
            return Err(place.broken(reason));
        }
        Ok(Some(url))
    }
}

impl Provider for Container {
    fn name(&self) -> String {
        "container endpoint".to_owned()
    }

    fn load(&self, now: Duration) -> Result<Option<Credentials>, CredentialsError> {
        let name = self.name();
        let place = Place { name: &name, http: &self.http, timeout: TIMEOUT };
        let Some(url) = self.url(&place)? else { return Ok(None) };
        let token = match self.token_file() {
            Some(path) => {
                let bytes = regular_file::read(Path::new(&path), regular_file::KEYS_MAX)
                    .map_err(|e| unreadable(self.name(), &format!("token file {path}: "), &e))?;
                Some(Zeroizing::new(String::from_utf8_lossy(&bytes).trim().to_owned()))
            }
            None => self.variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Zeroizing::new),
        };
        let token = token.unwrap_or_default();
        if token.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(place.broken("the authorization token holds a line break"));
        }
        let headers = [("authorization", token.as_str()), ("accept", "application/json")];
        let headers = if token.is_empty() { headers.get(1..) } else { headers.get(..) };
        let answer = place.send("GET", &url, headers.unwrap_or_default(), None)?;
        let lent = Lent::new(now, &answer);
        let body = place.accept(answer, &token)?;
        let document =
            Document::json(&body).ok_or_else(|| place.down("its document is not JSON"))?;
        place.credentials(&document, lent).map(Some)
    }

    fn stamp(&self) -> Option<Stamp> {
        self.token_file().map(|path| stamp(Path::new(&path)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::http::{HttpSettings, ProcessEnvironment};
    use super::*;

    struct Uri(&'static str);

    impl Variables for Uri {
        fn get(&self, name: &str) -> Option<String> {
            (name == "AWS_CONTAINER_CREDENTIALS_FULL_URI").then(|| self.0.to_owned())
        }
    }

    #[test]
    fn the_agent_of_eks_pod_identity_is_taken_at_both_of_its_addresses() {
        for (uri, taken) in [
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://169.254.170.2/v2/credentials", true),
            ("http://169.254.170.24/v1/credentials", false),
            ("http://[fd00:ec2::24]/v1/credentials", false),
        ] {
            let http = Http::new(&HttpSettings::default(), &ProcessEnvironment).unwrap();
            let container = Container::new(Arc::new(Uri(uri)), http.clone());
            let place = Place { name: "test", http: &http, timeout: TIMEOUT };
            let url = container.url(&place);
            assert_eq!(url.is_ok_and(|url| url.as_deref() == Some(uri)), taken, "{uri}");
        }
    }
}
