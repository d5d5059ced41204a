//! Whom blocks are encrypted to.

use std::fmt;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use age::x25519::Recipient;

use super::{is_secret, key_lines};
use crate::regular_file;

/// Most recipients of a stream.
pub(crate) const RECIPIENTS_MAX: usize = 64;

/// Characters of a wrong key that a sentence shows.
const SHOWN: usize = 16;

/// Why a text does not name recipients. The sentence says what is taken.
#[derive(Debug, thiserror::Error)]
pub enum RecipientError {
    /// Nothing but separators, or a file with nothing but comments.
    #[error("{place} names no recipient; expected {TAKES}")]
    None {
        /// The text or the file.
        place: String,
    },
    /// Neither a key nor a path.
    #[error("{shown:?}{place} is not an age recipient ({why}); expected {TAKES}")]
    Wrong {
        /// The key, shortened.
        shown: String,
        /// Where it stands, if in a file.
        place: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The key that opens blocks; not shown.
    #[error(
        "a secret key was given{place}, which does not belong on this machine; expected the public \
         key that age-keygen -y prints for it, \"age1...\""
    )]
    Secret {
        /// Where it stands, if in a file.
        place: String,
    },
    /// More than `RECIPIENTS_MAX`.
    #[error("{0} recipients are too many; expected at most {RECIPIENTS_MAX}")]
    Many(usize),
    /// The file of recipients.
    #[error("{path} cannot be read: {source}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
}

const TAKES: &str = "age recipients, \"age1...\", separated by commas or spaces, or the absolute \
                     path of a file with one a line";

/// The public keys that a stream's blocks are encrypted to: whoever has the secret key of any of
/// them can read the blocks, and nobody else.
#[derive(Clone)]
pub struct Recipients {
    keys: Vec<Recipient>,
}

/// Whatever their order.
impl PartialEq for Recipients {
    fn eq(&self, other: &Self) -> bool {
        // No key is there twice.
        self.keys.len() == other.keys.len() && self.keys.iter().all(|key| other.keys.contains(key))
    }
}

impl Eq for Recipients {}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(ToString::to_string)).finish()
    }
}

impl Recipients {
    /// Reads keys separated by commas or white space, or the file at an absolute path with one key
    /// a line, empty lines and lines that begin with `#` left out. A key that is there twice counts
    /// once.
    ///
    /// # Errors
    /// The first key that is not one, none at all, too many, or the file.
    pub fn read(text: &str) -> Result<Self, RecipientError> {
        let text = text.trim();
        let mut keys = Vec::new();
        let mut add = |key: &str, place: String| {
            let key = parse(key, place)?;
            if !keys.contains(&key) {
                keys.push(key);
            }
            Ok(())
        };
        if text.starts_with('/') {
            let file = regular_file::read_text(Path::new(text), regular_file::KEYS_MAX)
                .map_err(|source| RecipientError::File { path: text.to_owned(), source })?;
            for (number, line) in key_lines(&file) {
                add(line, format!(" in line {number} of {text}"))?;
            }
        } else {
            let separated = text.split(|c: char| c == ',' || c.is_whitespace());
            for key in separated.filter(|key| !key.is_empty()) {
                add(key, String::new())?;
            }
        }
        match keys.len() {
            0 => Err(RecipientError::None { place: format!("{text:?}") }),
            1..=RECIPIENTS_MAX => Ok(Self { keys }),
            many => Err(RecipientError::Many(many)),
        }
    }

    /// The keys as they are written, `age1...`.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.keys.iter().map(ToString::to_string).collect()
    }

    /// How many keys there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.keys.len()
    }

    /// Encrypts `source` to all keys, with a file key of its own.
    ///
    /// # Errors
    /// Those of `source` and `sink`.
    pub fn encrypt(&self, source: &mut dyn Read, sink: &mut dyn Write) -> io::Result<()> {
        let keys = self.keys.iter().map(|key| key as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(keys).map_err(io::Error::other)?;
        let mut output = encryptor.wrap_output(sink)?;
        io::copy(source, &mut output)?;
        // Without its last chunk the file would be taken for a cut one.
        output.finish().map(drop)
    }
}

fn parse(text: &str, place: String) -> Result<Recipient, RecipientError> {
    if is_secret(text) {
        return Err(RecipientError::Secret { place });
    }
    let wrong = |why| {
        let mut shown: String = text.chars().take(SHOWN).collect();
        if shown.len() < text.len() {
            shown.push_str("...");
        }
        RecipientError::Wrong { shown, place, why }
    };
    if text.starts_with("ssh-") {
        return Err(wrong("ssh keys are not supported"));
    }
    let key: Recipient = match text.parse() {
        Ok(key) => key,
        Err(_) if !text.starts_with("age1") => return Err(wrong("it does not begin with age1")),
        Err(_) => return Err(wrong("mistyped, cut, or of another kind than X25519")),
    };
    // With a point of low order every secret is zero; the crate then panics, and so it is better
    // tried here than when a block is sealed.
    let once = catch_unwind(AssertUnwindSafe(|| {
        age::Encryptor::with_recipients(std::iter::once(&key as &dyn age::Recipient)).is_ok()
    }));
    if once.unwrap_or(false) { Ok(key) } else { Err(wrong("nobody can have its secret key")) }
}
