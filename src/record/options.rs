//! The settings of a format, with the defaults that the module documents.

use super::sample::Sample;
use super::time::Zone;

/// Whose rules decide where Fastly's (Apache's) language and varnishncsa's disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Apache's `mod_log_config`, as Fastly has it.
    #[default]
    Apache,
    /// varnishncsa 7.7.
    Varnishncsa,
}

/// How values are made safe for the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// Backslash escapes, all output printable ASCII.
    Clf,
    /// JSON.
    Json,
    /// Tab-separated columns.
    Tsv,
    /// Nothing but newlines.
    None,
}

/// What stands before each line (Fastly's `message_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageType {
    /// Nothing.
    #[default]
    Blank,
    /// `<134>Oct 11 22:14:15 host tag[pid]: ` (RFC 3164).
    Classic,
    /// `<134>1 2026-10-11T22:14:15.003000Z host tag pid - - ` (RFC 5424).
    Loggly,
    /// `LENGTH <134>1 2026-10-11T22:14:15.003000+00:00 host tag pid - ` (Heroku).
    Logplex,
}

/// The smallest `max_line`.
pub(crate) const MAX_LINE_MIN: usize = 256;
/// The default of `max_line`.
pub(crate) const MAX_LINE_DEFAULT: usize = 16 * 1024;
/// The largest `max_line`: a ring record with its header stays below 64 KiB.
pub(crate) const MAX_LINE_MAX: usize = 65_000;

/// The settings of a format.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose rules.
    pub dialect: Dialect,
    /// How values are escaped; `None` takes JSON for a format that begins with `{`, else clf.
    pub escape: Option<Escape>,
    /// What stands before each line.
    pub message: MessageType,
    /// The host name of a syslog prefix; bytes outside 0x21 to 0x7e become `-`.
    pub hostname: String,
    /// The tag or application name of a syslog prefix.
    pub tag: String,
    /// The process id of a syslog prefix.
    pub pid: u32,
    /// The longest line in bytes, prefix and newline included: 256 to 65,000.
    pub max_line: usize,
    /// The zone of `%t`; `None` takes UTC in dialect apache and local time in varnishncsa.
    pub zone: Option<Zone>,
    /// Which transactions have a record.
    pub sample: Sample,
    /// Take from the structs what the log buffer cut, lost or never had.
    pub heal: bool,
}

impl Options {
    /// The zone of `%t`.
    pub(super) fn zone_of(&self) -> Zone {
        self.zone.unwrap_or(match self.dialect {
            Dialect::Apache => Zone::Utc,
            Dialect::Varnishncsa => Zone::Local,
        })
    }

    /// How values are escaped in `format`.
    pub(super) fn escape_of(&self, format: &str) -> Escape {
        let json = format.trim_start().starts_with('{');
        self.escape.unwrap_or(if json { Escape::Json } else { Escape::Clf })
    }
}

impl Dialect {
    /// Whether a backslash in a format is the format's own. JSON in dialect apache keeps them: there they are
    /// JSON's.
    pub(super) fn reads_backslashes(self, escape: Escape) -> bool {
        self == Self::Varnishncsa || escape != Escape::Json
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dialect: Dialect::Apache,
            escape: None,
            message: MessageType::Blank,
            hostname: "-".to_owned(),
            tag: "s3log".to_owned(),
            pid: std::process::id(),
            max_line: MAX_LINE_DEFAULT,
            zone: None,
            sample: Sample::default(),
            heal: true,
        }
    }
}
