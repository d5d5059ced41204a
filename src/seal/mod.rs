//! Blocks that only the holder of a key can read: age files for X25519 recipients, or OpenPGP
//! messages.
//!
//! [`Recipients`] is what the edge has, public keys only; it turns a block into an age file when
//! the spool seals it. [`Identities`] is what the command has, and turns it back. The same for an
//! OpenPGP certificate are [`openpgp`] and [`gpg`].
//!
//! The format is <https://age-encryption.org/v1>, binary, so any `age` reads it. The recipients'
//! header is 200 bytes and some 100 for each; the content grows by 16 bytes in 64 KiB.
//!
//! [`Signer`] and [`Verifier`] are about who wrote a block, whether it is encrypted or not.
//!
//! Non-goals: passphrases, ssh keys, plugins, ASCII armour.
//!
//! Limits: 64 recipients; files of keys up to 64 KiB; a header up to 64 KiB when it is read.
//! Memory: two buffers of 64 KiB, whatever the block's size.

pub mod gpg;
mod identities;
mod minisign;
pub mod openpgp;
mod recipients;

use std::io::{self, Read, Write};

pub use identities::{Identities, IdentityError};
pub(crate) use minisign::signed_by;
pub use minisign::{BadSignature, KeyError, KeyId, Signer, Verifier, check};
pub use openpgp::{Certificate, CertificateError};
pub use recipients::{RecipientError, Recipients};

/// What is added to a block's key.
pub(crate) const SUFFIX: &str = ".age";

/// How a stream's blocks are encrypted when they are sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealing {
    /// To age recipients.
    Age(Recipients),
    /// To an OpenPGP certificate.
    OpenPgp(openpgp::Certificate),
}

impl Sealing {
    /// What the keys of encrypted blocks may end in.
    pub(crate) const SUFFIXES: [&str; 2] = [SUFFIX, openpgp::SUFFIX];

    /// What it adds to a block's key, such as `.age`.
    #[must_use]
    pub(crate) const fn suffix(&self) -> &'static str {
        match self {
            Self::Age(_) => SUFFIX,
            Self::OpenPgp(_) => openpgp::SUFFIX,
        }
    }

    /// Encrypts the block that is read from `source`, in bounded memory.
    ///
    /// # Errors
    /// Those of `source` and `sink`.
    pub fn encrypt(&self, source: &mut dyn Read, sink: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Age(recipients) => recipients.encrypt(source, sink),
            Self::OpenPgp(certificate) => certificate.encrypt(source, sink),
        }
    }
}

/// What every secret key of age begins with.
const SECRET: &str = "AGE-SECRET-KEY-";

/// Whether `text` has or resembles a secret key, which is never shown.
fn is_secret(text: &str) -> bool {
    text.get(..SECRET.len()).is_some_and(|start| start.eq_ignore_ascii_case(SECRET))
}

/// The lines of a file of keys that are not empty and no comments, with their numbers from 1.
fn key_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests;
