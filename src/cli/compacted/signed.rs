//! Who vouches for a manifest: anyone who can write to the bucket can put one there.

use super::load::Loaded;
use super::manifest::comment;
use crate::block::Signature;
use crate::seal::{BadSignature, Verifier, check};

/// Why no key vouches for a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum NotSigned {
    /// It has no signature.
    #[error(
        "the manifest is not signed: anyone who can write to the bucket could have made it; see s3log \
         compact --sign-key"
    )]
    Not,
    /// It has one that does not hold.
    #[error(transparent)]
    Bad(#[from] BadSignature),
}

impl Loaded {
    /// Whether one of `keys` has signed it. Without keys nobody is asked for, and of one that cannot be used
    /// that is what is wrong.
    ///
    /// # Errors
    /// No signature, or one that does not hold.
    pub(in crate::cli) fn signed(&self, keys: &[Verifier]) -> Result<(), NotSigned> {
        let Ok(manifest) = &self.manifest else { return Ok(()) };
        if keys.is_empty() {
            return Ok(());
        }
        let get = |wanted: &str| {
            let mut pairs = self.metadata.iter();
            pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        };
        let (signature, global) =
            get("signature").zip(get("global-signature")).ok_or(NotSigned::Not)?;
        let comment = comment(&manifest.stream, &manifest.day, manifest.number);
        check(keys, &Signature { signature, global }, &self.text, &comment)?;
        Ok(())
    }
}
