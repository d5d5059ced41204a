//! Signatures of blocks, in the format of minisign (<https://jedisct1.github.io/minisign/>).
//!
//! What is signed is a text of some 700 bytes, a block's statement (`docs/chain.md`), so a block of
//! any size costs the same: two Ed25519 signatures. Both are deterministic (RFC 8032): a block that
//! is sealed again has the same metadata.
//!
//! | file | its second line, in base64 | bytes |
//! |---|---|---|
//! | secret key | `Ed`, KDF (0 0: none), `B2`, salt 32, limits 8 + 8, id 8, seed 32, public key 32, check 32 | 158 |
//! | public key | `Ed`, id 8, public key 32 | 42 |
//! | signature | `ED`, id 8, Ed25519 of the BLAKE2b-512 of the text | 74 |
//!
//! A signature file's third line is `trusted comment: ` and a text, its fourth the Ed25519 of the
//! 64 bytes of the signature with that text behind it.
//!
//! Non-goals: keys under a password, which nobody could type at a node's start, and minisign's
//! older signatures without a hash (`Ed`).

use std::fmt;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use blake2::{Blake2b512, Digest as _};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::block::Signature;
use crate::regular_file;

const SECRET_LEN: usize = 158;
const PUBLIC_LEN: usize = 42;
const SIGNATURE_LEN: usize = 74;

/// Of keys.
const ALGORITHM: [u8; 2] = *b"Ed";
/// Of signatures of a hash.
const HASHED: [u8; 2] = *b"ED";

/// Why a file or a text is no key. Nothing of what is in it is shown.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file.
    #[error("{path} cannot be read: {source}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A password protects it.
    #[error(
        "{path} is protected by a password, which Varnish cannot enter; use a key made with minisign \
         -G -W"
    )]
    Password {
        /// Its path.
        path: String,
    },
    /// A public key where a secret one is wanted, or the other way round.
    #[error("{path} is a {is} minisign key; expected the {wanted} key")]
    Other {
        /// Its path.
        path: String,
        /// What it is.
        is: &'static str,
        /// What is wanted.
        wanted: &'static str,
    },
    /// Something else, or damaged.
    #[error("{path} is not a valid {wanted} minisign key; expected {takes}")]
    Wrong {
        /// Its path.
        path: String,
        /// What is wanted.
        wanted: &'static str,
        /// What to give.
        takes: &'static str,
    },
}

/// A key's id, as minisign shows it: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key that signs; cleared from memory when dropped, and never shown.
#[derive(Clone)]
pub struct Signer {
    id: KeyId,
    key: SigningKey,
}

impl PartialEq for Signer {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.key.verifying_key() == other.key.verifying_key()
    }
}

impl Eq for Signer {}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads a secret key file, as `minisign -G -W` makes it.
    ///
    /// # Errors
    /// The file cannot be read, is none, is damaged, or a password protects it.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let shown = || path.display().to_string();
        let text = regular_file::read_text(path, regular_file::KEYS_MAX)
            .map_err(|source| KeyError::File { path: shown(), source })?;
        let wrong = || KeyError::Wrong {
            path: shown(),
            wanted: "secret",
            takes: "the file that minisign -G -W writes with -s",
        };
        let bytes = Zeroizing::new(second_line(&text).ok_or_else(wrong)?);
        if bytes.len() == PUBLIC_LEN {
            return Err(KeyError::Other { path: shown(), is: "public", wanted: "secret" });
        }
        let mut read = Reader(&bytes);
        let mut parts = || {
            let (algorithm, kdf) = (read.take::<2>()?, read.take::<2>()?);
            read.take::<50>()?;
            let id = KeyId(read.take()?);
            let pair = Zeroizing::new(read.take::<64>()?);
            read.take::<32>()?;
            Some((algorithm, kdf, id, pair))
        };
        let (algorithm, kdf, id, pair) =
            parts().filter(|_| bytes.len() == SECRET_LEN).ok_or_else(wrong)?;
        if algorithm != ALGORITHM {
            return Err(wrong());
        }
        if kdf != [0; 2] {
            return Err(KeyError::Password { path: shown() });
        }
        // Whether both halves belong together; minisign leaves the check value out of such a key.
        let key = SigningKey::from_keypair_bytes(&pair).map_err(|_| wrong())?;
        Ok(Self { id, key })
    }

    /// Its id, which is that of its public key.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What checks its signatures.
    pub(crate) fn verifier(&self) -> Verifier {
        Verifier { id: self.id, key: self.key.verifying_key() }
    }

    /// Signs a block's `statement`, and with it the trusted `comment`.
    #[must_use]
    pub fn sign(&self, statement: &str, comment: &str) -> Signature {
        let signature = self.key.sign(&Blake2b512::digest(statement)).to_bytes();
        let global = self.key.sign(&[&signature, comment.as_bytes()].concat()).to_bytes();
        let line = [&HASHED[..], &self.id.0, &signature].concat();
        Signature { signature: BASE64.encode(line), global: BASE64.encode(global) }
    }
}

/// A public key that signatures are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    id: KeyId,
    key: VerifyingKey,
}

/// What is wrong with a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// It cannot be read.
    #[error("the signature cannot be read")]
    Unreadable,
    /// None of the keys has made it.
    #[error("the block is signed with another key, {0}")]
    OtherKey(KeyId),
    /// It is not the signature of what it stands beside.
    #[error("invalid signature by key {0}: the metadata is not what was signed")]
    Wrong(KeyId),
}

impl Verifier {
    /// Reads a public key: the file that minisign made, or its second line itself.
    ///
    /// # Errors
    /// Neither of the two.
    pub fn read(given: &str) -> Result<Self, KeyError> {
        if let Some(key) = BASE64.decode(given).ok().and_then(|bytes| Self::parse(&bytes)) {
            return Ok(key);
        }
        let shown = || given.to_owned();
        let text = regular_file::read_text(Path::new(given), regular_file::KEYS_MAX)
            .map_err(|source| KeyError::File { path: shown(), source })?;
        let bytes = second_line(&text).map(Zeroizing::new);
        if bytes.as_ref().is_some_and(|bytes| bytes.len() == SECRET_LEN) {
            return Err(KeyError::Other { path: shown(), is: "secret", wanted: "public" });
        }
        bytes.and_then(|bytes| Self::parse(&bytes)).ok_or_else(|| KeyError::Wrong {
            path: shown(),
            wanted: "public",
            takes: "the file that minisign -G writes with -p, or the text of its second line",
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut read = Reader(bytes);
        let (algorithm, id, key) = (read.take::<2>()?, KeyId(read.take()?), read.take::<32>()?);
        let right = algorithm == ALGORITHM && bytes.len() == PUBLIC_LEN;
        let key = VerifyingKey::from_bytes(&key).ok().filter(|_| right)?;
        Some(Self { id, key })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }
}

/// Whose key `signature` says that it was made with; `None` when it is none.
#[must_use]
pub(crate) fn signed_by(signature: &Signature) -> Option<KeyId> {
    parts(signature).map(|(id, ..)| id)
}

/// Checks a signature with whichever of `keys` made it; that key's id.
///
/// # Errors
/// It does not hold, or is by nobody of them.
pub fn check(
    keys: &[Verifier],
    signature: &Signature,
    statement: &str,
    comment: &str,
) -> Result<KeyId, BadSignature> {
    let (id, bytes, global) = parts(signature).ok_or(BadSignature::Unreadable)?;
    let mut known = keys.iter().filter(|key| key.id == id).peekable();
    if known.peek().is_none() {
        return Err(BadSignature::OtherKey(id));
    }
    let hash = Blake2b512::digest(statement);
    let commented = [&bytes, comment.as_bytes()].concat();
    let holds = |key: &Verifier, text: &[u8], signature: &[u8; 64]| {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        key.key.verify_strict(text, &signature).is_ok()
    };
    let by = known.any(|key| holds(key, &hash, &bytes) && holds(key, &commented, &global));
    if by { Ok(id) } else { Err(BadSignature::Wrong(id)) }
}

fn parts(signature: &Signature) -> Option<(KeyId, [u8; 64], [u8; 64])> {
    let line = BASE64.decode(&signature.signature).ok()?;
    let global = BASE64.decode(&signature.global).ok()?.try_into().ok()?;
    let mut read = Reader(&line);
    let (algorithm, id, bytes) = (read.take::<2>()?, KeyId(read.take()?), read.take()?);
    (algorithm == HASHED && line.len() == SIGNATURE_LEN).then_some((id, bytes, global))
}

/// The bytes of a key file's line of base64.
fn second_line(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.lines().nth(1)?.trim()).ok()
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
}
