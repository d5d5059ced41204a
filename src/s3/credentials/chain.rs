//! The order in which the sources are asked.

use std::path::PathBuf;
use std::sync::Arc;

use super::environment::{Environment, Variables};
use super::file::File;
use super::types::Provider;

/// What the operator chose; all of it is optional.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `credentials=`: this file and no other source.
    pub file: Option<PathBuf>,
    /// `profile=`: the section in that file or in the shared one; `AWS_PROFILE`, then `default`.
    pub profile: Option<String>,
}

/// The providers in the order in which they are asked; the first that is configured decides.
#[must_use]
pub fn chain(sources: &Sources, variables: &Arc<dyn Variables>) -> Vec<Box<dyn Provider>> {
    let chosen = sources.profile.clone();
    if let Some(path) = &sources.file {
        let profile = chosen.unwrap_or_else(|| "default".to_owned());
        return vec![Box::new(File::explicit(path, profile))];
    }
    let chosen = chosen.or_else(|| variables.get("AWS_PROFILE"));
    let mut providers: Vec<Box<dyn Provider>> =
        vec![Box::new(Environment::new(Arc::clone(variables)))];
    let shared = variables
        .get("AWS_SHARED_CREDENTIALS_FILE")
        .map(PathBuf::from)
        .or_else(|| variables.get("HOME").map(|home| PathBuf::from(home).join(".aws/credentials")));
    if let Some(path) = shared {
        let required = chosen.is_some();
        let profile = chosen.unwrap_or_else(|| "default".to_owned());
        providers.push(Box::new(File::shared(path, profile, required)));
    }
    providers
}
