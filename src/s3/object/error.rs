//! Why an option or an object cannot be sent.

/// An invalid value of an option; the text says what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A word that the option does not know.
    #[error("{option} takes {takes}, not {value:?}")]
    Takes {
        /// The option's name.
        option: &'static str,
        /// What it takes.
        takes: String,
        /// What was written.
        value: String,
    },
    /// Good by itself, but not here or not together with another.
    #[error("{option} {reason}")]
    Unsuitable {
        /// The option's name.
        option: &'static str,
        /// Why it is not good here, and what to do.
        reason: &'static str,
    },
    /// Metadata and tags together with what each block brings.
    #[error(
        "metadata and tags take {taken} bytes together with those of a block, and the gateway takes \
         {most}: shorten metadata, tags or hostname"
    )]
    NoRoom {
        /// The one to correct first.
        option: &'static str,
        /// As the gateway counts them.
        taken: usize,
        /// What it takes.
        most: usize,
    },
}

/// Why an object cannot be sent as it is; the block is set aside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Key too long or empty.
    #[error("the key has {0} bytes and S3 takes 1 to 1024: shorten path or host")]
    Key(usize),
    /// A metadata name that no header has.
    #[error("metadata name {0:?} takes letters, digits, dots, dashes and underscores")]
    Name(String),
    /// A value with control characters.
    #[error("metadata {0:?} has a value with control characters")]
    Value(String),
    /// `object_ttl` was a date, and it has passed.
    #[error("object_ttl is a date that has passed: write a later one, or a duration like 30d")]
    Expired,
    /// Too much metadata.
    #[error("the metadata has {0} bytes and S3 takes 2048")]
    TooMuch(usize),
    /// The block's own metadata would fit; with what the settings add it does not.
    #[error("the metadata has {0} bytes with that of the settings, and S3 takes 2048")]
    TooMuchAdded(usize),
}
