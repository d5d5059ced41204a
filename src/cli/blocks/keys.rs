//! What opens encrypted blocks.

use std::io::{self, Read};
use std::path::PathBuf;

use crate::cli::Error;
use crate::seal::{self, Identities, gpg, openpgp};

/// The file of secret keys, when there is one.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Keys {
    /// File of age identities, as age-keygen writes it, to decrypt .age blocks. The program gpg
    /// decrypts .pgp blocks with its own keys.
    #[arg(long, env = "S3LOG_IDENTITY", value_name = "FILE")]
    identity: Option<PathBuf>,
}

/// Opens blocks, whatever they are encrypted with.
#[derive(Debug, Default)]
pub(in crate::cli) struct Opener {
    identities: Option<Identities>,
}

impl Keys {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read or has no key.
    pub(in crate::cli) fn read(&self) -> Result<Opener, Error> {
        let identities = self.identity.as_deref().map(Identities::read).transpose();
        let identities =
            identities.map_err(|error| Error::Usage(format!("--identity: {error}")))?;
        Ok(Opener { identities })
    }
}

impl Opener {
    /// The members of a block, `seal` being what its key says of its encryption.
    ///
    /// # Errors
    /// Those of `source`, and [`io::ErrorKind::PermissionDenied`] when there is no key for it.
    pub(in crate::cli) fn open(
        &self,
        seal: &str,
        source: impl Read + Send + 'static,
    ) -> io::Result<Box<dyn Read>> {
        let refused = |text: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        match (seal, &self.identities) {
            ("", _) => Ok(Box::new(source)),
            (seal::SUFFIX, Some(identities)) => Ok(Box::new(identities.open(source)?)),
            (seal::SUFFIX, None) => refused(
                "the block is encrypted; give the file with your age key: --identity FILE"
                    .to_owned(),
            ),
            (openpgp::SUFFIX, _) => Ok(Box::new(gpg::open(source)?)),
            (other, _) => refused(format!(
                "the block is encrypted as {other}, which this command cannot decrypt"
            )),
        }
    }
}
