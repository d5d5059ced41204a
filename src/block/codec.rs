//! How the bytes of a block are compressed, as the option `codec` says it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::snappy;

/// What a block's members are made with.
///
/// As text: `gzip` (level 3), `gzip:0` to `gzip:9`, `zstd` (level 3), `zstd:1` to `zstd:19`,
/// `snappy`, `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 1952 members; the level is 0 (stored) to 9.
    Gzip(u8),
    /// RFC 8878 frames with a content checksum; the level is 1 to 19.
    Zstd(u8),
    /// Snappy's framing format, which has no levels.
    Snappy,
    /// The lines as they are.
    None,
}

/// The format of a block without the effort that was put into it: all that a reader needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Snappy's framing format,
    /// <https://github.com/google/snappy/blob/main/framing_format.txt>.
    Snappy,
    /// Plain lines.
    None,
}

/// How many members a block has when it is uploaded, as the option `members` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Members {
    /// One for each chunk, as they were appended.
    #[default]
    Many,
    /// One, for readers that stop after the first.
    One,
}

/// Why an option's text is not a [`Codec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not a codec; expected gzip, gzip:0 to gzip:9, zstd, zstd:1 to zstd:19, snappy or none"
)]
pub struct CodecError {
    text: String,
}

impl Codec {
    /// Level of `gzip` and of `zstd` when none is given.
    pub(crate) const DEFAULT_LEVEL: u8 = 3;

    /// This codec if it is of `kind`, else that kind's with its default level.
    #[must_use]
    pub(crate) fn or_default(self, kind: Kind) -> Self {
        match kind {
            kind if kind == self.kind() => self,
            Kind::Gzip => Self::Gzip(Self::DEFAULT_LEVEL),
            Kind::Zstd => Self::Zstd(Self::DEFAULT_LEVEL),
            Kind::Snappy => Self::Snappy,
            Kind::None => Self::None,
        }
    }

    /// The format that a reader of the block sees.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Gzip(_) => Kind::Gzip,
            Self::Zstd(_) => Kind::Zstd,
            Self::Snappy => Kind::Snappy,
            Self::None => Kind::None,
        }
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self::Gzip(Self::DEFAULT_LEVEL)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gzip(level) => write!(f, "gzip:{level}"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
            Self::Snappy => f.write_str("snappy"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for Codec {
    type Err = CodecError;

    fn from_str(text: &str) -> Result<Self, CodecError> {
        let error = || CodecError { text: text.chars().take(64).collect() };
        let (name, level) = match text.split_once(':') {
            Some((name, digits)) => {
                // `parse` alone would take "+3" and "003".
                let level = digits.parse::<u8>().map_err(|_| error())?;
                if level.to_string() != digits {
                    return Err(error());
                }
                (name, Some(level))
            }
            None => (text, None),
        };
        match (name, level) {
            ("gzip", None) => Ok(Self::Gzip(Self::DEFAULT_LEVEL)),
            ("gzip", Some(level @ 0..=9)) => Ok(Self::Gzip(level)),
            ("zstd", None) => Ok(Self::Zstd(Self::DEFAULT_LEVEL)),
            ("zstd", Some(level @ 1..=19)) => Ok(Self::Zstd(level)),
            ("snappy", None) => Ok(Self::Snappy),
            ("none", None) => Ok(Self::None),
            _ => Err(error()),
        }
    }
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Gzip, Self::Zstd, Self::Snappy, Self::None];

    /// End of an object's name: `.log.gz`, `.log.zst`, `.log.sz` or `.log`.
    #[must_use]
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".log.gz",
            Self::Zstd => ".log.zst",
            Self::Snappy => ".log.sz",
            Self::None => ".log",
        }
    }

    /// Name in metadata: `gzip`, `zstd`, `snappy` or `none`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
            Self::None => "none",
        }
    }

    /// The reverse of [`Kind::name`].
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What a content that begins so is. A log line cannot begin like a member by chance: none
    /// of the magic numbers is UTF-8.
    #[must_use]
    pub fn sniff(start: &[u8]) -> Self {
        if start.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else if start.starts_with(snappy::MAGIC) {
            Self::Snappy
        } else {
            Self::None
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
