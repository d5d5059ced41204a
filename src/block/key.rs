//! The name of a block in its bucket, and the way back.
//!
//! `{path}{timestamp}-{host}-{stream}-{boot}-{number}.log[.gz|.zst|.sz][.age|.pgp]`
//!
//! | part | what |
//! |---|---|
//! | path | strftime of the first record's time, in UTC or another zone; `/` makes folders |
//! | timestamp | the same, always in UTC, by default `%Y-%m-%dT%H-%M-%SZ` (no `:`, which many tools trip over) |
//! | host, stream | `[A-Za-z0-9._-]`, at most 128 bytes each |
//! | boot | 12 hexadecimal digits: seconds since 1970 at the start (8), random (4) |
//! | number | decimal, at least 10 digits, zero padded: keys of one boot sort by it |
//!
//! Boot and number make the key unique, and a retry uses the same key. The strftime directives are
//! those of jiff (<https://docs.rs/jiff/latest/jiff/fmt/strtime/>), a superset of POSIX's usual ones.

use std::collections::HashSet;

use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use super::names::{BootId, NAME_MAX, sanitise};
use super::{Kind, Meta};
use crate::zone::NamedZone;

/// S3's limit for a key, bytes of UTF-8
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
pub(crate) const KEY_MAX: usize = 1024;

/// Room that is kept for what follows the timestamp: two names, boot, 20 digits, suffixes.
const TAIL_MAX: usize = 2 * (NAME_MAX + 1) + 13 + 21 + 16;

/// Least digits of a block's number.
const NUMBER_DIGITS: usize = 10;

/// Why `path` or `timestamp_format` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A directive that is none.
    #[error(
        "{option} = \"{format}\" is not a valid strftime format: {reason}; expected directives such as %Y %m %d %H %M %S, and %% for a percent sign"
    )]
    Directive {
        /// `path` or `timestamp_format`.
        option: &'static str,
        /// What was given.
        format: String,
        /// jiff's words.
        reason: String,
    },
    /// A control character, which S3 allows and nearly no tool survives.
    #[error("{option} holds a control character; expected printable text")]
    Control {
        /// `path` or `timestamp_format`.
        option: &'static str,
    },
    /// Keys would be longer than S3 allows.
    #[error("path and timestamp_format together give {length} bytes; they may give {limit}")]
    Long {
        /// Bytes of the longest of a year.
        length: usize,
        /// What is left for them of a key's 1,024 bytes.
        limit: usize,
    },
}

/// Names the blocks of one stream on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    path: String,
    timestamp_format: String,
    /// Whose calendar `path` goes by.
    zone: NamedZone,
}

impl Default for Naming {
    /// No path, and [`Naming::DEFAULT_TIMESTAMP`].
    fn default() -> Self {
        Self {
            path: String::new(),
            timestamp_format: Self::DEFAULT_TIMESTAMP.to_owned(),
            zone: NamedZone::utc(),
        }
    }
}

impl Naming {
    /// `timestamp_format` when none is given: ISO 8601 without `:`.
    pub const DEFAULT_TIMESTAMP: &str = "%Y-%m-%dT%H-%M-%SZ";

    /// What keys begin with, as it was given.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How a key goes on after the path.
    #[must_use]
    pub(crate) fn timestamp_format(&self) -> &str {
        &self.timestamp_format
    }

    /// Whose calendar `path` goes by.
    #[must_use]
    pub fn zone(&self) -> &NamedZone {
        &self.zone
    }

    /// [`Naming::in_zone`] for UTC.
    ///
    /// # Errors
    /// See there.
    pub fn new(path: &str, timestamp_format: &str) -> Result<Self, NameError> {
        Self::in_zone(NamedZone::utc(), path, timestamp_format)
    }

    /// Checks both formats on times of a whole year, so that none fails later.
    ///
    /// # Errors
    /// A sentence for the operator, see [`NameError`].
    pub fn in_zone(zone: NamedZone, path: &str, timestamp_format: &str) -> Result<Self, NameError> {
        let utc = NamedZone::utc();
        let options = [("path", path, &zone), ("timestamp_format", timestamp_format, &utc)];
        let mut length = 0;
        for (option, format, zone) in options {
            if format.chars().any(char::is_control) {
                return Err(NameError::Control { option });
            }
            let mut longest = 0;
            // Every weekday and month, whose names differ in length, in hours of one and two digits.
            for day in 0..366_u64 {
                let time = 1_767_225_600 + day * 86_400 + (day % 24) * 3_600;
                let text = zone.strftime(format, time * 1_000_000_000).map_err(|reason| {
                    NameError::Directive { option, format: format.to_owned(), reason }
                })?;
                if text.chars().any(char::is_control) {
                    return Err(NameError::Control { option });
                }
                longest = longest.max(text.len());
            }
            length += longest;
        }
        let limit = KEY_MAX - TAIL_MAX;
        if length > limit {
            return Err(NameError::Long { length, limit });
        }
        Ok(Self { path: path.to_owned(), timestamp_format: timestamp_format.to_owned(), zone })
    }

    /// What keys of blocks begin with whose first record is of this time, in ns since 1970.
    #[must_use]
    pub fn path_at(&self, ns: u64) -> String {
        // The formats were tried on a year of times in `in_zone`; a failure is not to be expected, and
        // a key stays unique without the part that failed.
        self.zone.strftime(&self.path, ns).unwrap_or_default()
    }

    /// The key of a block; `seal` is what an encryption adds, such as `.age`, or nothing.
    #[must_use]
    pub fn key(&self, meta: &Meta, seal: &str) -> String {
        let path = self.path_at(meta.first);
        let utc = NamedZone::utc();
        let timestamp = utc.strftime(&self.timestamp_format, meta.first).unwrap_or_default();
        format!(
            "{path}{timestamp}-{}-{}-{}-{:0width$}{}{seal}",
            sanitise(&meta.host),
            sanitise(&meta.stream),
            meta.boot,
            meta.number,
            meta.codec.suffix(),
            width = NUMBER_DIGITS,
        )
    }

    /// What a block's key begins with, before the timestamp of its first record. `None` when timestamp, host or
    /// stream are not those of the metadata.
    #[must_use]
    pub(crate) fn folder<'k>(&self, parts: &KeyParts<'k>, meta: &Meta) -> Option<&'k str> {
        let head = parts.before_stream(&meta.stream)?.strip_suffix(&*meta.host)?;
        let timestamp = NamedZone::utc().strftime(&self.timestamp_format, meta.first).ok()?;
        head.strip_suffix('-')?.strip_suffix(&*timestamp)
    }

    /// Whether this is the path of some time.
    #[must_use]
    pub(crate) fn is_path(&self, folder: &str) -> bool {
        let parsed = BrokenDownTime::parse_prefix(&self.path, folder);
        parsed.is_ok_and(|(_, length)| length == folder.len())
    }

    /// Whether this is the path of a time, in ns since 1970, on any clock: zones are from 12 hours behind Greenwich
    /// to 14 hours ahead of it, by quarters of an hour.
    #[must_use]
    pub(crate) fn is_path_of(&self, folder: &str, ns: u64) -> bool {
        const QUARTER: u64 = 900_000_000_000;
        let utc = NamedZone::utc();
        let first = ns.saturating_sub(12 * 4 * QUARTER);
        (0..=26 * 4).any(|quarters| {
            let there = first.saturating_add(quarters * QUARTER);
            utc.strftime(&self.path, there).is_ok_and(|path| path == folder)
        })
    }

    /// Whether a path comes again after another one, as with the same day of another year where it has no year.
    #[must_use]
    pub(crate) fn comes_again(&self) -> bool {
        let utc = NamedZone::utc();
        // Seconds and minutes of two hours, hours of two days, days of two leap years and more.
        [(1, 120), (60, 120), (3_600, 48), (86_400, 5 * 366)].into_iter().any(|(step, count)| {
            let mut seen = HashSet::new();
            let mut last = None;
            (0..=count).any(|at| {
                let time = (1_767_225_600 + at * step) * 1_000_000_000;
                let path = utc.strftime(&self.path, time).unwrap_or_default();
                let again = last.as_ref() != Some(&path) && !seen.insert(path.clone());
                last = Some(path);
                again
            })
        })
    }

    /// What stands in a key between the timestamp and the boot: `{host}-{stream}`. `None` when the
    /// key was not made with these formats, or they hold a directive that cannot be read back.
    #[must_use]
    pub(crate) fn origin<'k>(&self, parts: &KeyParts<'k>) -> Option<&'k str> {
        let format = format!("{}{}", self.path, self.timestamp_format);
        let (_, length) = BrokenDownTime::parse_prefix(format, parts.head).ok()?;
        parts.head.get(length..)?.strip_prefix('-')
    }

    /// When the block's first record was, in seconds since 1970, as its key tells it. `None` when
    /// the key was not made with these formats, or they tell less than the second.
    #[must_use]
    pub fn time(&self, parts: &KeyParts<'_>) -> Option<u64> {
        let read = if self.zone.is_utc() {
            let format = format!("{}{}", self.path, self.timestamp_format);
            BrokenDownTime::parse_prefix(format, parts.head).ok()?.0
        } else {
            // The path tells another clock's time.
            let (_, length) = BrokenDownTime::parse_prefix(&self.path, parts.head).ok()?;
            let rest = parts.head.get(length..)?;
            BrokenDownTime::parse_prefix(&self.timestamp_format, rest).ok()?.0
        };
        let time = match read.to_timestamp() {
            Ok(time) => time,
            Err(_) => {
                read.second()?;
                TimeZone::UTC.to_timestamp(read.to_datetime().ok()?).ok()?
            }
        };
        u64::try_from(time.as_second()).ok()
    }
}

/// A key taken apart from its end, where every part has a known shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyParts<'k> {
    /// `{path}{timestamp}-{host}-{stream}`. Each of them may hold a `-`: ask [`KeyParts::host`] with
    /// the stream's name or `Naming::origin` with the formats, or read the metadata.
    pub head: &'k str,
    /// The boot in which the block was begun.
    pub boot: BootId,
    /// The block's number.
    pub number: u64,
    /// How it is compressed.
    pub codec: Kind,
    /// `.age`, `.pgp` or nothing.
    pub seal: &'k str,
}

impl<'k> KeyParts<'k> {
    /// Takes `key` apart; `None` for a key that is not a block's.
    #[must_use]
    pub fn parse(key: &'k str) -> Option<Self> {
        let (rest, seal) = [".age", ".pgp"]
            .into_iter()
            .find_map(|seal| Some((key.strip_suffix(seal)?, key.get(key.len() - seal.len()..)?)))
            .unwrap_or((key, ""));
        let (rest, codec) = Kind::ALL
            .into_iter()
            .find_map(|kind| Some((rest.strip_suffix(kind.suffix())?, kind)))?;
        let (rest, digits) = rest.rsplit_once('-')?;
        let (head, boot) = rest.rsplit_once('-')?;
        let padded = digits.len() == NUMBER_DIGITS
            || (digits.len() > NUMBER_DIGITS && !digits.starts_with('0'));
        if !padded || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self { head, boot: boot.parse().ok()?, number: digits.parse().ok()?, codec, seal })
    }

    /// `{path}{timestamp}-{host}` of a block of `stream`; `None` if it is another stream's.
    #[must_use]
    pub(crate) fn before_stream(&self, stream: &str) -> Option<&'k str> {
        self.head.strip_suffix(stream)?.strip_suffix('-')
    }

    /// The host that wrote it, for the `stream` and the formats it was named with; `None` if it is
    /// another stream's or was named otherwise.
    #[must_use]
    pub fn host(&self, naming: &Naming, stream: &str) -> Option<&'k str> {
        naming.origin(self)?.strip_suffix(stream)?.strip_suffix('-')
    }
}
