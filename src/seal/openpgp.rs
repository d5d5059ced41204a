//! Blocks for the holder of an OpenPGP key, as Fastly's `public_key` takes it.
//!
//! A block becomes a binary OpenPGP message (RFC 9580): the session key for one public key, and the
//! block as it is, not compressed again, encrypted with an MDC (SEIPD version 1), which every
//! `gpg --decrypt` since 2003 reads. A certificate that announces version 2 gets that.
//!
//! Of a certificate its newest encryption key that is valid now is taken, as GnuPG does. It is
//! looked at when the VCL is loaded: a key that expires later is used on, also by a cache process that
//! starts after that, for a log line that cannot be written is worse.
//!
//! Non-goals: several certificates, signatures, trust, key servers, designated revokers.
//!
//! Memory: a few buffers of 64 KiB, whatever the block's size.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use pgp::composed::{
    Deserializable as _, MessageBuilder, SignedPublicKey, SignedPublicSubKey, SignedSecretKey,
};
use pgp::crypto::aead::{AeadAlgorithm, ChunkSize};
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, KeyVersion, Tag};
use rand_core::OsRng;

use crate::regular_file;

/// What is added to a block's key.
pub(crate) const SUFFIX: &str = ".pgp";

/// Bytes of a partial packet, a power of two.
const PARTIAL: u32 = 64 * 1024;

/// At how many times in the past a certificate is looked at: one may have hundreds of signatures, and each
/// look verifies them.
const MOST_ENDS: usize = 32;

const TAKES: &str = "one armoured OpenPGP certificate, as gpg --armor --export prints it, or the \
                     absolute path of a file with it";

/// Why a text is no certificate that blocks can be encrypted to. The sentence says what is taken.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file.
    #[error("{path} cannot be read: {source}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Something else, or damaged.
    #[error("it is not a certificate, or it is damaged ({why}); expected {TAKES}")]
    Wrong {
        /// The parser's words.
        why: String,
    },
    /// The key that opens blocks.
    #[error("a secret key was given, which does not belong on this machine; expected {TAKES}")]
    Secret,
    /// Whose?
    #[error("there is more than one certificate; expected {TAKES}")]
    Several,
    /// Nobody vouches for what it says.
    #[error("certificate {0} has no signature of its own that holds: it is damaged or forged")]
    Unsigned(String),
    /// It was taken back.
    #[error("certificate {0} is revoked: export the key that is used now")]
    Revoked(String),
    /// Its time is over.
    #[error(
        "certificate {0} has expired on {1}: extend it with gpg --quick-set-expire, export it again"
    )]
    Expired(String, String),
    /// No key for encryption.
    #[error("certificate {0} has no key for encryption that can be used{1}")]
    NoKey(String, String),
    /// A key of a kind that cannot be used.
    #[error("certificate {0} has an encryption key that cannot be used: {1}")]
    Unusable(String, String),
}

/// Whom blocks are encrypted to: the encryption key of a certificate.
#[derive(Clone)]
pub struct Certificate {
    /// As it was given, armoured.
    text: Arc<str>,
    /// Of the certificate.
    fingerprint: String,
    key: Arc<Key>,
    cipher: SymmetricKeyAlgorithm,
    /// Whether its owner reads SEIPD version 2.
    modern: bool,
}

enum Key {
    Primary(Box<SignedPublicKey>),
    Sub(Box<SignedPublicSubKey>),
}

impl Key {
    fn fingerprint(&self) -> String {
        match self {
            Self::Primary(key) => key.fingerprint().to_string(),
            Self::Sub(key) => key.fingerprint().to_string(),
        }
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.key.fingerprint() == other.key.fingerprint()
            && (self.cipher, self.modern) == (other.cipher, other.modern)
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("fingerprint", &self.fingerprint)
            .field("key", &self.key.fingerprint())
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads a certificate, or the file at an absolute path; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// It is none, is not valid now, or has no key for encryption.
    pub fn read(given: &str, now: u64) -> Result<Self, CertificateError> {
        match Self::read_again(given, now, None)? {
            (_, Some(over)) => Err(over),
            (certificate, None) => Ok(certificate),
        }
    }

    /// The same for one that was in use before: one whose time is over is taken as it was in its last
    /// second, and beside it is what [`Certificate::read`] says of it now. With the fingerprint of the `key`
    /// that was in use, it is taken as it was when that one was the newest, if there was such a time.
    ///
    /// # Errors
    /// It is none, or was never valid.
    pub fn read_again(
        given: &str,
        now: u64,
        key: Option<&str>,
    ) -> Result<(Self, Option<CertificateError>), CertificateError> {
        let given = given.trim();
        let file;
        let text = if given.starts_with('/') {
            let failed = |source| CertificateError::File { path: given.to_owned(), source };
            file = regular_file::read_text(Path::new(given), regular_file::KEYS_MAX)
                .map_err(failed)?;
            &*file
        } else {
            given
        };
        if text.contains("PRIVATE KEY BLOCK") || SignedSecretKey::from_string(text).is_ok() {
            return Err(CertificateError::Secret);
        }
        let wrong = |error: pgp::errors::Error| CertificateError::Wrong { why: one_line(&error) };
        let (mut all, _) = SignedPublicKey::from_string_many(text).map_err(wrong)?;
        let none = || CertificateError::Wrong { why: "there is none in it".to_owned() };
        let certificate = all.next().ok_or_else(none)?.map_err(wrong)?;
        if all.next().is_some() {
            return Err(CertificateError::Several);
        }
        let ends = ends(&certificate, now);
        let before = |wanted: &dyn Fn(&Self) -> bool| {
            let then = |end: &u64| Self::choose(&certificate, text, end.saturating_sub(1)).ok();
            ends.iter().filter_map(then).find(wanted)
        };
        let is_key = |one: &Self| key.is_none_or(|key| one.key_fingerprint() == key);
        let (chosen, over) = match Self::choose(&certificate, text, now) {
            Ok(chosen) if is_key(&chosen) => (chosen, None),
            Ok(chosen) => (before(&is_key).unwrap_or(chosen), None),
            Err(over) => match before(&is_key).or_else(|| before(&|_| true)) {
                Some(chosen) => (chosen, Some(over)),
                None => return Err(over),
            },
        };
        // What only shows when it is done is better found now than when a block is sealed.
        chosen.encrypt(&mut io::empty(), &mut io::sink()).map_err(|error| {
            CertificateError::Unusable(chosen.fingerprint.clone(), error.to_string())
        })?;
        Ok((chosen, over))
    }

    /// The fingerprint of the key that blocks are encrypted to.
    #[must_use]
    pub(crate) fn key_fingerprint(&self) -> String {
        self.key.fingerprint()
    }

    /// The armoured certificate, whether it was given or read from a file.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn choose(
        certificate: &SignedPublicKey,
        text: &str,
        now: u64,
    ) -> Result<Self, CertificateError> {
        let fingerprint = certificate.fingerprint().to_string();
        let name = || fingerprint.clone();
        let own =
            own_signature(certificate, now).ok_or_else(|| CertificateError::Unsigned(name()))?;
        let primary = &certificate.primary_key;
        let revoked = |signature: &Signature| {
            signature.typ() == Some(SignatureType::KeyRevocation)
                && signature.verify_key(primary).is_ok()
        };
        if certificate.details.revocation_signatures.iter().any(revoked) {
            return Err(CertificateError::Revoked(name()));
        }
        if let Some(end) = end(primary, own).filter(|end| *end <= now) {
            return Err(CertificateError::Expired(name(), show(end)));
        }
        let preferred = own.preferred_symmetric_algs();
        let strongest = [
            SymmetricKeyAlgorithm::AES256,
            SymmetricKeyAlgorithm::AES192,
            SymmetricKeyAlgorithm::AES128,
        ];
        let cipher = strongest.into_iter().find(|cipher| preferred.contains(cipher));
        let cipher = cipher.unwrap_or(SymmetricKeyAlgorithm::AES128);
        let modern = own.features().is_some_and(|features| features.seipd_v2());
        let (subkey, why) = newest_subkey(certificate, now);
        let key = match subkey {
            Some(subkey) => Key::Sub(Box::new(subkey)),
            None if primary.algorithm().can_encrypt() && encrypts(own) => {
                Key::Primary(Box::new(certificate.clone()))
            }
            None => return Err(CertificateError::NoKey(name(), why)),
        };
        Ok(Self { text: text.into(), fingerprint, key: Arc::new(key), cipher, modern })
    }

    /// Encrypts `source`, with a session key of its own.
    ///
    /// # Errors
    /// Those of `source` and `sink`.
    pub fn encrypt(&self, source: &mut dyn Read, sink: &mut dyn Write) -> io::Result<()> {
        let message = MessageBuilder::from_reader("", source);
        let written = if self.modern {
            let mut message =
                message.seipd_v2(OsRng, self.cipher, AeadAlgorithm::Ocb, ChunkSize::C64KiB);
            match &*self.key {
                Key::Primary(key) => message.encrypt_to_key(OsRng, &key.primary_key).map(drop),
                Key::Sub(key) => message.encrypt_to_key(OsRng, &key.key).map(drop),
            }
            .and_then(|()| message.partial_chunk_size(PARTIAL).map(drop))
            .and_then(|()| message.to_writer(OsRng, sink))
        } else {
            let mut message = message.seipd_v1(OsRng, self.cipher);
            match &*self.key {
                Key::Primary(key) => message.encrypt_to_key(OsRng, &key.primary_key).map(drop),
                Key::Sub(key) => message.encrypt_to_key(OsRng, &key.key).map(drop),
            }
            .and_then(|()| message.partial_chunk_size(PARTIAL).map(drop))
            .and_then(|()| message.to_writer(OsRng, sink))
        };
        written.map_err(|error| match error {
            pgp::errors::Error::IO { source, .. } => source,
            other => io::Error::other(one_line(&other)),
        })
    }
}

/// The certificate's newest signature of its own that holds: what it says of itself. Of version 6 that
/// is said directly, of version 4 usually with a name.
fn own_signature(certificate: &SignedPublicKey, now: u64) -> Option<&Signature> {
    let primary = &certificate.primary_key;
    let direct = certificate.details.direct_signatures.iter().filter(|signature| {
        signature.typ() == Some(SignatureType::Key) && signature.verify_key(primary).is_ok()
    });
    let direct = newest(direct, now);
    if primary.version() == KeyVersion::V6 {
        return direct;
    }
    let of_names = certificate.details.users.iter().flat_map(|user| {
        let holds = move |signature: &&Signature| {
            signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        };
        let taken_back = user.signatures.iter().any(|signature| {
            signature.typ() == Some(SignatureType::CertRevocation) && holds(&signature)
        });
        let all = user.signatures.iter().filter(|signature| signature.is_certification());
        all.filter(holds).filter(move |_| !taken_back)
    });
    newest(of_names.chain(direct), now)
}

/// The newest subkey that blocks may be encrypted to; or why there is none.
fn newest_subkey(certificate: &SignedPublicKey, now: u64) -> (Option<SignedPublicSubKey>, String) {
    let primary = &certificate.primary_key;
    let mut why = String::new();
    let mut best: Option<&SignedPublicSubKey> = None;
    for subkey in &certificate.public_subkeys {
        if !subkey.algorithm().can_encrypt() {
            continue;
        }
        let holds: Vec<&Signature> = subkey
            .signatures
            .iter()
            .filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok())
            .collect();
        let of = |typ| holds.iter().copied().filter(move |known| known.typ() == Some(typ));
        let Some(binding) = newest(of(SignatureType::SubkeyBinding), now) else { continue };
        if !encrypts(binding) {
            continue;
        }
        if of(SignatureType::SubkeyRevocation).next().is_some() {
            why = format!(": {} is revoked", subkey.fingerprint());
            continue;
        }
        if let Some(end) = end(&subkey.key, binding).filter(|end| *end <= now) {
            why = format!(": {} has expired on {}", subkey.fingerprint(), show(end));
            continue;
        }
        let newer = |best: &&SignedPublicSubKey| {
            best.key.created_at().as_secs() > subkey.key.created_at().as_secs()
        };
        if !best.as_ref().is_some_and(newer) {
            best = Some(subkey);
        }
    }
    (best.cloned(), why)
}

/// When something of the certificate was over, the latest first. Only times to look at, so that nothing is
/// verified here.
fn ends(certificate: &SignedPublicKey, now: u64) -> Vec<u64> {
    let of_primary = certificate.details.direct_signatures.iter();
    let of_primary =
        of_primary.chain(certificate.details.users.iter().flat_map(|user| &user.signatures));
    let primary = &certificate.primary_key;
    let of_primary = of_primary.flat_map(|signature| [end(primary, signature), over(signature)]);
    let of_subkeys = certificate.public_subkeys.iter().flat_map(|subkey| {
        let both = |signature| [end(&subkey.key, signature), over(signature)];
        subkey.signatures.iter().flat_map(both)
    });
    let mut ends: Vec<u64> =
        of_primary.chain(of_subkeys).flatten().filter(|end| *end <= now).collect();
    ends.sort_unstable_by(|one, two| two.cmp(one));
    ends.dedup();
    ends.truncate(MOST_ENDS);
    ends
}

/// When a signature is no longer in force, in seconds since 1970.
fn over(signature: &Signature) -> Option<u64> {
    let lasts = signature.signature_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
    (lasts > 0).then(|| made(signature) + lasts)
}

/// When a signature was made, in seconds since 1970.
fn made(signature: &Signature) -> u64 {
    signature.created().map_or(0, |at| at.as_secs().into())
}

/// The newest of signatures that are in force at `now`.
fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>, now: u64) -> Option<&'a Signature> {
    signatures
        .filter(|signature| over(signature).is_none_or(|end| end > now))
        .max_by_key(|signature| made(signature))
}

/// When a key expires, in seconds since 1970.
fn end(key: &impl KeyDetails, signature: &Signature) -> Option<u64> {
    let lasts = signature.key_expiration_time().map(|time| u64::from(time.as_secs()));
    lasts.filter(|lasts| *lasts > 0).map(|lasts| u64::from(key.created_at().as_secs()) + lasts)
}

/// Whether a key may be used for encryption; an old one does not say what for.
fn encrypts(signature: &Signature) -> bool {
    let flags = signature.key_flags();
    let other = flags.certify() || flags.sign() || flags.authentication();
    flags.encrypt_comms() || flags.encrypt_storage() || !other
}

fn show(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|at| Timestamp::from_second(at).ok());
    time.map_or_else(String::new, |time| time.strftime("%Y-%m-%d").to_string())
}

fn one_line(error: &pgp::errors::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
