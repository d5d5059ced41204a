//! Whom AWS's services are trusted by: STS and IAM Identity Center.
//!
//! `ca_file` and `client_certificate` are about the gateway, and these are other servers: they are trusted
//! by the system's authorities, or by those of `AWS_CA_BUNDLE` alone, as AWS's SDKs do, which do not hand
//! what one client was given to another either. An STS at the gateway's own host and port, as MinIO's
//! and Ceph's are, is the gateway.
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-gen-config.html>.

use std::path::PathBuf;
use std::time::Duration;

use super::super::endpoint::Endpoint;
use super::super::http::{Http, HttpSettings, HttpSetupError, Variables};
use super::super::options::Options;
use super::types::CredentialsError;
use super::web::Place;

/// The file of authorities that AWS's SDKs take.
const BUNDLE: &str = "AWS_CA_BUNDLE";

/// The ways to AWS's services.
#[derive(Debug, Clone)]
pub(super) struct Services {
    gateway: Endpoint,
    to_gateway: Http,
    /// An error only where it leads: who needs no service is not kept from starting.
    to_others: Result<Http, HttpSetupError>,
}

impl Services {
    /// `options` are the stream's, `gateway` is its endpoint.
    ///
    /// # Errors
    /// A file of the options or the proxy's URL cannot be used.
    pub(super) fn new(
        gateway: &Endpoint,
        options: &Options,
        variables: &dyn Variables,
    ) -> Result<Self, HttpSetupError> {
        let settings = options.http();
        let to_gateway = Http::new(&settings, variables)?;
        let bundle = variables.get(BUNDLE).map(PathBuf::from);
        let settings = HttpSettings { ca_file: bundle, client_certificate: None, ..settings };
        let to_others = Http::new(&settings, variables).map_err(|error| match error {
            HttpSetupError::Pem { path, reason, .. } => {
                HttpSetupError::Pem { option: BUNDLE, path, reason }
            }
            error @ HttpSetupError::Proxy(_) => error,
        });
        Ok(Self { gateway: gateway.clone(), to_gateway, to_others })
    }

    /// The service at `url`, called `name` in messages.
    ///
    /// # Errors
    /// `url` is none, or there is no way to it.
    pub(super) fn place<'a>(
        &'a self,
        name: &'a str,
        url: &str,
        timeout: Duration,
    ) -> Result<(Place<'a>, Endpoint), CredentialsError> {
        let broken = |reason: String| CredentialsError::Broken { place: name.to_owned(), reason };
        let endpoint = Endpoint::parse(url, false).map_err(|error| broken(error.to_string()))?;
        let at =
            |endpoint: &Endpoint| (endpoint.scheme(), endpoint.host().to_owned(), endpoint.port());
        let http = match &self.to_others {
            _ if at(&endpoint) == at(&self.gateway) => &self.to_gateway,
            Ok(http) => http,
            Err(error) => return Err(broken(error.to_string())),
        };
        Ok((Place { name, http, timeout }, endpoint))
    }
}
