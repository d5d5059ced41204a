//! Who can read encrypted blocks.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use age::x25519::Identity;
use zeroize::Zeroizing;

use super::{is_secret, key_lines};

/// Longest file of secret keys, bytes.
const FILE_MAX: u64 = 64 * 1024;

/// Longest header of an age file, bytes: some 400 recipients.
const HEADER_MAX: u64 = 64 * 1024;

/// Why a file of secret keys cannot be used. Nothing of what is in it is shown.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file.
    #[error("{path} cannot be read: {source}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A passphrase protects it.
    #[error(
        "{path} is itself encrypted; decrypt it on the fly, in bash with --identity <(age -d {path})"
    )]
    Encrypted {
        /// Its path.
        path: String,
    },
    /// A line that is neither a key nor a comment.
    #[error(
        "line {line} of {path} is not an age secret key; expected a file as age-keygen writes it"
    )]
    Wrong {
        /// Its path.
        path: String,
        /// The line's number, from 1.
        line: usize,
    },
    /// Nothing but comments.
    #[error("{path} has no secret key; expected a file as age-keygen writes it")]
    None {
        /// Its path.
        path: String,
    },
}

/// The secret keys of an identity file, as `age-keygen` writes it.
pub struct Identities {
    keys: Vec<Identity>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities").field("count", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Identities {
    /// Reads an identity file.
    ///
    /// # Errors
    /// The file cannot be read, is encrypted, or has a line that is no key, or none that is.
    pub fn read(path: &Path) -> Result<Self, IdentityError> {
        let shown = || path.display().to_string();
        let text = read_file_or_pipe(path).map_err(|source| {
            // An encrypted file is not UTF-8.
            if source.kind() == io::ErrorKind::InvalidData {
                IdentityError::Encrypted { path: shown() }
            } else {
                IdentityError::File { path: shown(), source }
            }
        })?;
        let mut keys = Vec::new();
        for (line, key) in key_lines(&text) {
            if line == 1
                && (key.starts_with("age-encryption.org/") || key.starts_with("-----BEGIN AGE"))
            {
                return Err(IdentityError::Encrypted { path: shown() });
            }
            let parsed = if is_secret(key) { key.parse().ok() } else { None };
            keys.push(parsed.ok_or_else(|| IdentityError::Wrong { path: shown(), line })?);
        }
        if keys.is_empty() {
            return Err(IdentityError::None { path: shown() });
        }
        Ok(Self { keys })
    }

    /// The content of an age file. What it gives was authenticated, 64 KiB at a time; a cut file
    /// ends in an error.
    ///
    /// # Errors
    /// Those of `source`; a header that is none; [`io::ErrorKind::PermissionDenied`]: none of the keys
    /// fits.
    pub fn open<R: Read>(&self, source: R) -> io::Result<impl Read + use<R>> {
        let left = Rc::new(Cell::new(HEADER_MAX));
        let limited = Limited { inner: source, left: Rc::clone(&left) };
        let opened = age::Decryptor::new(limited).and_then(|decryptor| {
            decryptor.decrypt(self.keys.iter().map(|key| key as &dyn age::Identity))
        });
        // The header is read; the content may have any length.
        left.set(u64::MAX);
        opened.map_err(|error| match error {
            age::DecryptError::Io(error) => error,
            age::DecryptError::NoMatchingKeys => {
                let text = "the block is encrypted to other keys than those in the identity file";
                io::Error::new(io::ErrorKind::PermissionDenied, text)
            }
            other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
        })
    }
}

/// The text of a small file, cleared from memory when dropped. Somebody at a terminal names it, and
/// it may be a pipe: that is how keys that are themselves encrypted are given.
fn read_file_or_pipe(path: &Path) -> io::Result<Zeroizing<String>> {
    // At its full size from the start: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(FILE_MAX as usize + 1));
    File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file has more than 64 KiB"));
    }
    Ok(text)
}

/// Ends after `left` bytes: a header is held in memory, and an object may be made by anybody.
struct Limited<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let read = self.inner.read(out.get_mut(..most).unwrap_or_default())?;
        if left != u64::MAX {
            self.left.set(left - read as u64);
        }
        Ok(read)
    }
}
