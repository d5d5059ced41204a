//! `AWS_ACCESS_KEY_ID` and its companions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::super::http::Variables;
use super::types::{Credentials, CredentialsError, Provider};

/// Variables that no `Debug` prints: there are secrets among them.
#[derive(Clone)]
pub(super) struct Hidden(pub(super) Arc<dyn Variables>);

impl Hidden {
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.0.get(name)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables")
    }
}

/// Static or temporary keys from the environment.
#[derive(Debug, Clone)]
pub struct FromEnvironment {
    variables: Hidden,
}

impl FromEnvironment {
    /// Reads `variables` each time it is asked.
    #[must_use]
    pub fn new(variables: Arc<dyn Variables>) -> Self {
        Self { variables: Hidden(variables) }
    }
}

impl Provider for FromEnvironment {
    fn name(&self) -> String {
        "environment".to_owned()
    }

    fn load(&self, _now: Duration) -> Result<Option<Credentials>, CredentialsError> {
        let get = |name: &str| self.variables.get(name).map(zeroize::Zeroizing::new);
        let half = |missing: &str| CredentialsError::Broken {
            place: self.name(),
            reason: format!("{missing} is not set, and its other half is: set both or none"),
        };
        match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(half("AWS_SECRET_ACCESS_KEY")),
            (None, Some(_)) => Err(half("AWS_ACCESS_KEY_ID")),
            (Some(access), Some(secret)) => Ok(Some(Credentials::new(
                access.as_str(),
                secret.as_str(),
                get("AWS_SESSION_TOKEN").as_ref().map(|token| token.as_str()),
                None,
                self.name(),
            ))),
        }
    }
}
