//! The order in which the sources are asked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::http::{Http, HttpSettings, HttpSetupError, Proxy, Variables};
use super::super::options::Options;
use super::cache::Cache;
use super::container::Container;
use super::environment::Environment;
use super::file::File;
use super::imds::Imds;
use super::sts::{AssumeRole, Role, WebIdentity};
use super::types::Provider;

/// What the operator chose; all of it is optional.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `credentials=`: this file and no other source.
    pub file: Option<PathBuf>,
    /// `profile=`: the section in that file or in the shared one; `AWS_PROFILE`, then `default`.
    pub profile: Option<String>,
    /// `role_arn=`: a role on top of what is found.
    pub role: Option<Role>,
}

/// The cache over the providers, in the order in which they are asked. `options` says how STS is
/// reached: region, proxy, authorities.
///
/// # Errors
/// When a certificate file or the proxy's URL cannot be used.
pub fn chain(
    sources: &Sources,
    variables: &Arc<dyn Variables>,
    options: &Options,
) -> Result<Cache, HttpSetupError> {
    let base = Cache::new(providers(sources, variables, options)?);
    let Some(role) = sources.role.clone() else { return Ok(base) };
    let sts = Http::new(&options.http(), &**variables)?;
    let role = AssumeRole::new(base, role, Arc::clone(variables), sts, &options.region);
    Ok(Cache::new(vec![Box::new(role)]))
}

fn providers(
    sources: &Sources,
    variables: &Arc<dyn Variables>,
    options: &Options,
) -> Result<Vec<Box<dyn Provider>>, HttpSetupError> {
    let chosen = sources.profile.clone();
    if let Some(path) = &sources.file {
        let profile = chosen.unwrap_or_else(|| "default".to_owned());
        return Ok(vec![Box::new(File::explicit(path, profile))]);
    }
    let chosen = chosen.or_else(|| variables.get("AWS_PROFILE"));
    let mut providers: Vec<Box<dyn Provider>> =
        vec![Box::new(Environment::new(Arc::clone(variables)))];
    let named = variables.get("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let home = || variables.get("HOME").map(|home| PathBuf::from(home).join(".aws/credentials"));
    let path_named = named.is_some();
    if let Some(path) = named.or_else(home) {
        let profile_named = chosen.is_some();
        let profile = chosen.unwrap_or_else(|| "default".to_owned());
        providers.push(Box::new(File::shared(path, profile, path_named, profile_named)));
    }
    let sts = Http::new(&options.http(), &**variables)?;
    providers.push(Box::new(WebIdentity::new(Arc::clone(variables), sts, &options.region)));
    // Metadata is the machine's own: no proxy leads there.
    let direct = HttpSettings {
        proxy: Proxy::None,
        connect_timeout: Duration::from_secs(1),
        ..HttpSettings::default()
    };
    let direct = Http::new(&direct, &**variables)?;
    providers.push(Box::new(Container::new(Arc::clone(variables), direct.clone())));
    providers.push(Box::new(Imds::new(Arc::clone(variables), direct)));
    Ok(providers)
}
