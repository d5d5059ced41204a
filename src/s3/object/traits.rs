//! What is known of a kind of gateway: the form of a row of the table in `gateways`.

use super::gateway::Gateway;

/// Which values of an option a gateway takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// All that S3 has.
    Any,
    /// These, in lower case.
    Only(&'static [&'static str]),
    /// None: it refuses the header, or ignores it.
    Nothing,
    /// Not verified.
    Unknown,
}

impl Words {
    /// Whether `value` is taken, as far as is known.
    #[must_use]
    pub fn take(self, value: &str) -> bool {
        match self {
            Self::Any | Self::Unknown => true,
            Self::Only(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
            Self::Nothing => false,
        }
    }

    /// What is taken, for a message and for the table.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::Only(words) => words.join(", "),
            Self::Nothing => "none".to_owned(),
            Self::Unknown => "?".to_owned(),
        }
    }
}

/// Whether a gateway does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// It does.
    Yes,
    /// It does not: it refuses the header, or ignores it.
    No,
    /// Not verified.
    Unknown,
}

impl Does {
    fn text(self) -> String {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "?",
        }
        .to_owned()
    }
}

/// Which region is signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// The one that the host's name has.
    Host,
    /// Any: it does not look.
    Any,
    /// One of these; the first is the default.
    Only(&'static [&'static str]),
    /// The one in its own settings, this by default.
    Own(&'static str),
    /// Not verified.
    Unknown,
}

impl Region {
    fn text(self) -> String {
        match self {
            Self::Host => "the host's".to_owned(),
            Self::Any => "any".to_owned(),
            Self::Only(words) => words.join(", "),
            Self::Own(default) => format!("its own, {default} by default"),
            Self::Unknown => "?".to_owned(),
        }
    }
}

/// Which tags a gateway takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    /// All that S3 has.
    Any,
    /// Those without an ampersand.
    NoAmpersand,
    /// Those in ASCII.
    Ascii,
    /// None.
    Nothing,
    /// Not verified.
    Unknown,
}

impl Tags {
    /// Whether a name or a value is taken, as far as is known.
    #[must_use]
    pub fn take(self, text: &str) -> bool {
        match self {
            Self::Any | Self::Unknown => true,
            Self::NoAmpersand => !text.contains('&'),
            Self::Ascii => text.is_ascii(),
            Self::Nothing => false,
        }
    }

    /// What is taken, for a message and for the table.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::NoAmpersand => "without &",
            Self::Ascii => "in ASCII",
            Self::Nothing => "none",
            Self::Unknown => "?",
        }
    }
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// The kind.
    pub gateway: Gateway,
    /// Its name in `gateway`.
    pub name: &'static str,
    /// The domains of its hosts; none for what people run themselves.
    pub domains: &'static [&'static str],
    /// `region`.
    pub region: Region,
    /// Whether it honours `If-None-Match: *`. Where it does not, the header is not sent.
    pub if_none_match: Does,
    /// `tags`.
    pub tags: Tags,
    /// `acl`.
    pub acl: Words,
    /// `redundancy`.
    pub redundancy: Words,
    /// `checksum`.
    pub checksum: Words,
    /// `server_side_encryption`.
    pub server_side_encryption: Words,
    /// `object_lock`.
    pub object_lock: Does,
    /// `expected_bucket_owner`.
    pub expected_bucket_owner: Does,
    /// `addressing`.
    pub addressing: Words,
}

/// What the columns of [`Traits::cells`] are called.
pub const COLUMNS: [&str; 11] = [
    "gateway",
    "region",
    "if_none_match",
    "tags",
    "acl",
    "redundancy",
    "checksum",
    "server_side_encryption",
    "object_lock",
    "expected_bucket_owner",
    "addressing",
];

impl Traits {
    /// The row as texts, in the order of [`COLUMNS`].
    #[must_use]
    pub fn cells(&self) -> [String; COLUMNS.len()] {
        [
            self.name.to_owned(),
            self.region.text(),
            self.if_none_match.text(),
            self.tags.text().to_owned(),
            self.acl.text(),
            self.redundancy.text(),
            self.checksum.text(),
            self.server_side_encryption.text(),
            self.object_lock.text(),
            self.expected_bucket_owner.text(),
            self.addressing.text(),
        ]
    }
}
