//! What verification found, and where exactly.

use std::fmt;

use serde::Serialize;

use crate::printable::printable;

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FindingKind {
    /// Blocks whose numbers are not there.
    Missing,
    /// The same, where one boot ends and another begins.
    Gap,
    /// A block that is there twice.
    Doubled,
    /// A block whose content, metadata or key was changed.
    Altered,
    /// A block that lost its end.
    Cut,
    /// Two blocks in each other's place.
    Swapped,
    /// A block whose signature does not hold, or is another's.
    Forged,
    /// A block without a signature, where there should be one.
    Unsigned,
    /// An object that is not a block of this stream.
    Foreign,
    /// A stream without a block.
    Empty,
    /// A block that could not be asked for.
    Unchecked,
    /// Worth knowing, and not wrong.
    Note,
}

impl FindingKind {
    /// Whether it makes the stream incomplete.
    pub(super) fn counts(self) -> bool {
        !matches!(self, Self::Note | Self::Unchecked | Self::Empty)
    }

    /// The word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Missing => "MISSING",
            Self::Gap => "GAP",
            Self::Doubled => "DOUBLED",
            Self::Altered => "ALTERED",
            Self::Cut => "CUT",
            Self::Swapped => "SWAPPED",
            Self::Forged => "FORGED",
            Self::Unsigned => "UNSIGNED",
            Self::Foreign => "FOREIGN",
            Self::Empty => "EMPTY",
            Self::Unchecked => "UNCHECKED",
            Self::Note => "note",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) kind: FindingKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    /// The first and the last number it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) numbers: Option<(u64, u64)>,
    /// The objects it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) keys: Vec<String>,
    /// A sentence.
    pub(super) detail: String,
}

impl Finding {
    pub(super) fn new(kind: FindingKind, detail: impl Into<String>) -> Self {
        Self { kind, host: None, numbers: None, keys: Vec::new(), detail: detail.into() }
    }

    pub(super) fn at(mut self, host: &str, first: u64, last: u64) -> Self {
        self.host = Some(host.to_owned());
        self.numbers = Some((first, last));
        self
    }

    pub(super) fn key(mut self, key: &str) -> Self {
        self.keys.push(key.to_owned());
        self
    }

    /// Findings are shown by host and number; those of no host come last.
    pub(super) fn place(&self) -> (bool, Option<&str>, Option<(u64, u64)>) {
        (self.host.is_none(), self.host.as_deref(), self.numbers)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{} ", printable(host))?;
        }
        match self.numbers {
            Some((first, last)) if first == last => write!(f, "block {first}: ")?,
            Some((first, last)) => write!(f, "blocks {first} to {last}: ")?,
            None => {}
        }
        f.write_str(&printable(&self.detail))?;
        for key in &self.keys {
            write!(f, "\n            {}", printable(key))?;
        }
        Ok(())
    }
}
