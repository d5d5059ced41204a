//! The key that opens encrypted blocks.

use std::path::PathBuf;

use super::Error;
use crate::seal::Identities;

/// The file of secret keys, when there is one.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Keys {
    /// A file of age identities, as age-keygen writes it, that opens encrypted blocks (.age).
    #[arg(long, env = "S3LOG_IDENTITY", value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl Keys {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read or has no key.
    pub(super) fn read(&self) -> Result<Option<Identities>, Error> {
        let identities = self.identity.as_deref().map(Identities::read).transpose();
        identities.map_err(|error| Error::Usage(format!("--identity: {error}")))
    }
}
