//! The order in which the sources are asked.

use std::sync::Arc;
use std::time::Duration;

use super::super::endpoint::Endpoint;
use super::super::http::{Http, HttpSettings, HttpSetupError, Proxy, Variables};
use super::super::options::Options;
use super::cache::Cache;
use super::container::Container;
use super::environment::FromEnvironment;
use super::imds::Imds;
use super::profile::Profile;
use super::services::Services;
use super::shared::SharedFiles;
use super::sources::Sources;
use super::sts::{AssumeRole, Sts, WebIdentity};
use super::types::Provider;

/// The cache over the providers, in the order in which they are asked, for a bucket at `gateway`.
/// `options` says how STS is reached: region and proxy, and what holds for an STS of the gateway's own.
///
/// # Errors
/// When a certificate file or the proxy's URL cannot be used.
pub fn chain(
    sources: &Sources,
    variables: &Arc<dyn Variables>,
    gateway: &Endpoint,
    options: &Options,
) -> Result<Cache, HttpSetupError> {
    let services = Services::new(gateway, options, &**variables)?;
    let sts = Sts::new(Arc::clone(variables), services.clone(), &options.region);
    let base = Cache::new(providers(sources, variables, services, &sts)?);
    let Some(role) = sources.role.clone() else { return Ok(base) };
    Ok(Cache::new(vec![Box::new(AssumeRole::new(base, role, sts))]))
}

fn providers(
    sources: &Sources,
    variables: &Arc<dyn Variables>,
    services: Services,
    sts: &Sts,
) -> Result<Vec<Box<dyn Provider>>, HttpSetupError> {
    // Metadata is the machine's own: no proxy leads there.
    let direct = HttpSettings {
        proxy: Proxy::None,
        connect_timeout: Duration::from_secs(1),
        ..HttpSettings::default()
    };
    let direct = Http::new(&direct, &**variables)?;
    let files = SharedFiles::new(sources, &**variables);
    let profile = Profile::new(files, variables, sts.clone(), services, &direct);
    if sources.file.is_some() {
        return Ok(vec![Box::new(profile)]);
    }
    Ok(vec![
        Box::new(FromEnvironment::new(Arc::clone(variables))),
        Box::new(profile),
        Box::new(WebIdentity::new(sts.clone())),
        Box::new(Container::new(Arc::clone(variables), direct.clone())),
        Box::new(Imds::new(Arc::clone(variables), direct)),
    ])
}
