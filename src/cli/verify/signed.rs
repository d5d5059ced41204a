//! The signature of one block's metadata.

use crate::block::{Signature, statement, trusted_comment};
use crate::seal::{BadSignature, KeyId, Verifier, check, signed_by};

/// What a block's metadata has of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signed {
    /// None.
    Not,
    /// One that was not checked, and whose it says to be.
    Unchecked(Option<KeyId>),
    /// One that holds.
    Holds,
    /// One that does not.
    Bad(BadSignature),
}

impl Signed {
    /// Looks at a block's metadata, with the keys if there are any.
    pub(super) fn of(metadata: &[(String, String)], keys: &[Verifier]) -> Self {
        let get = |wanted: &str| {
            metadata.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        };
        let signature = match (get("signature"), get("global-signature")) {
            (None, None) => return Self::Not,
            (one, two) => Signature {
                signature: one.unwrap_or_default().to_owned(),
                global: two.unwrap_or_default().to_owned(),
            },
        };
        if keys.is_empty() {
            return Self::Unchecked(signed_by(&signature));
        }
        match check(keys, &signature, &statement(get), &trusted_comment(get)) {
            Ok(_) => Self::Holds,
            Err(bad) => Self::Bad(bad),
        }
    }
}
