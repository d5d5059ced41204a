//! Settings as an operator writes them: named texts, from VCL arguments or a TOML table.
//!
//! VCL turns every literal into text for a STRING argument (`10s` arrives as `10.000`, `true` as
//! `true`), so both sources speak the same language here, and a bad value gets the same sentence
//! in both: which stream, which argument, what was given, what it takes.
//!
//! This module is a leaf: it knows how to read durations, sizes and choices, not what they are
//! for. Each part of the path reads its own arguments through [`Arguments`].

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

/// Every argument of `s3log.stream()`, which are also the keys of a table in the settings file.
pub const KEYS: &[&str] = &[
    "acl",
    "addressing",
    "allow_http",
    "bucket",
    "ca_file",
    "checksum",
    "client_certificate",
    "client_key",
    "compression",
    "connect_timeout",
    "content_type",
    "credentials",
    "dialect",
    "encrypt_to",
    "endpoint",
    "escape",
    "esi",
    "exit_timeout",
    "format",
    "gateway",
    "hostname",
    "if_none_match",
    "kms_key_id",
    "max_bytes",
    "max_line",
    "max_wait",
    "message_type",
    "metadata",
    "object_lock",
    "object_ttl",
    "on_full",
    "on_spool_full",
    "path",
    "period",
    "profile",
    "proxy",
    "public_key",
    "redundancy",
    "region",
    "ring",
    "role_arn",
    "server_side_encryption",
    "sign_key",
    "spool",
    "spool_max",
    "sync",
    "tag",
    "tags",
    "timeout",
    "timestamp_format",
    "timezone",
    "upload_threads",
];

/// A setting that cannot be used, as one sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value outside what the argument takes.
    #[error("s3log: stream {stream}: {argument} is {given:?}: it takes {takes}")]
    Value {
        /// The stream's name.
        stream: String,
        /// The argument's name.
        argument: &'static str,
        /// What was given.
        given: String,
        /// What it takes.
        takes: String,
    },
    /// A value that the part of the path that reads it has refused with a sentence of its own.
    #[error("s3log: stream {stream}: {argument}: {problem}")]
    Problem {
        /// The stream's name.
        stream: String,
        /// The argument's name.
        argument: &'static str,
        /// That sentence.
        problem: String,
    },
    /// An argument without a default was left out.
    #[error("s3log: stream {stream}: {argument} is missing: it takes {takes}")]
    Missing {
        /// The stream's name.
        stream: String,
        /// The argument's name.
        argument: &'static str,
        /// What it takes.
        takes: String,
    },
    /// The settings file cannot be used.
    #[error("s3log: stream {stream}: config {path}: {problem}")]
    File {
        /// The stream's name.
        stream: String,
        /// The file as given.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The arguments of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    stream: String,
    values: BTreeMap<&'static str, String>,
}

impl Arguments {
    /// No arguments yet for the stream named `stream`.
    #[must_use]
    pub fn new(stream: &str) -> Self {
        Self { stream: stream.to_owned(), values: BTreeMap::new() }
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Sets `argument`; `None` leaves it at what it was.
    pub fn set(&mut self, argument: &'static str, value: Option<String>) {
        if let Some(value) = value {
            self.values.insert(argument, value);
        }
    }

    /// Leaves `argument` at its default, whatever was given.
    pub fn unset(&mut self, argument: &'static str) {
        self.values.remove(argument);
    }

    /// Takes from the table `[<stream>]` of a TOML file what is not set yet, so that values
    /// given in VCL win.
    ///
    /// # Errors
    /// The file cannot be read or parsed, has no such table, or the table has a key that is not
    /// in [`KEYS`] or a value that is neither text, number nor boolean.
    pub fn fill_from_file(&mut self, path: &Path) -> Result<(), Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| self.file_error(path, format!("cannot be read: {error}")))?;
        let file: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            self.file_error(path, format!("is not valid TOML: {}", error.message()))
        })?;
        let table = match file.get(&self.stream) {
            Some(toml::Value::Table(table)) => table,
            _ => {
                let problem = format!("has no table [{}]", self.stream);
                return Err(self.file_error(path, problem));
            }
        };
        for (key, value) in table {
            let Some(known) = KEYS.iter().find(|known| *known == key) else {
                let problem = format!("has an unknown key {key:?}: it takes {}", KEYS.join(", "));
                return Err(self.file_error(path, problem));
            };
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Float(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                _ => {
                    let problem = format!("{key} must be a text, a number, true or false");
                    return Err(self.file_error(path, problem));
                }
            };
            self.values.entry(known).or_insert(text);
        }
        Ok(())
    }

    fn file_error(&self, path: &Path, problem: String) -> Error {
        Error::File { stream: self.stream.clone(), path: path.display().to_string(), problem }
    }

    /// The text of `argument`, if it was given.
    #[must_use]
    pub fn get(&self, argument: &'static str) -> Option<&str> {
        self.values.get(argument).map(String::as_str)
    }

    /// The text of an argument that has no default.
    ///
    /// # Errors
    /// It was left out or is empty.
    pub fn required(&self, argument: &'static str, takes: &str) -> Result<&str, Error> {
        match self.get(argument) {
            Some("") => Err(self.bad(argument, takes)),
            Some(text) => Ok(text),
            None => Err(Error::Missing {
                stream: self.stream.clone(),
                argument,
                takes: takes.to_owned(),
            }),
        }
    }

    /// The error for `argument` as it was given.
    #[must_use]
    pub fn bad(&self, argument: &'static str, takes: impl Into<String>) -> Error {
        Error::Value {
            stream: self.stream.clone(),
            argument,
            given: self.get(argument).unwrap_or_default().to_owned(),
            takes: takes.into(),
        }
    }

    /// The error for `argument` in the words of whoever refused it.
    #[must_use]
    pub fn problem(&self, argument: &'static str, problem: impl std::fmt::Display) -> Error {
        Error::Problem { stream: self.stream.clone(), argument, problem: problem.to_string() }
    }

    /// `argument` read by `parse`, whose error says what the argument takes.
    ///
    /// # Errors
    /// `parse` refused the text.
    pub fn parsed<T>(
        &self,
        argument: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Error> {
        match self.get(argument) {
            None => Ok(default),
            Some(text) => parse(text).map_err(|takes| self.bad(argument, takes)),
        }
    }

    /// A duration between `range`'s ends, both included.
    ///
    /// # Errors
    /// The text is not a duration (see [`parse_duration`]) or is outside the range.
    pub fn duration(
        &self,
        argument: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, Error> {
        self.within(argument, default, &range, parse_duration, |low, high| {
            let (low, high) = (show_duration(*low), show_duration(*high));
            format!("a duration from {low} to {high}, as 500ms, 10s or 5m")
        })
    }

    /// A number of bytes between `range`'s ends, both included.
    ///
    /// # Errors
    /// The text is not a size (see [`parse_bytes`]) or is outside the range.
    pub fn bytes(
        &self,
        argument: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, Error> {
        self.within(argument, default, &range, parse_bytes, |low, high| {
            let (low, high) = (show_bytes(*low), show_bytes(*high));
            format!("a size from {low} to {high}, as 65536, \"64KB\" or \"64MB\"")
        })
    }

    /// A whole number between `range`'s ends, both included.
    ///
    /// # Errors
    /// The text is not a number or is outside the range.
    pub fn number(
        &self,
        argument: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, Error> {
        self.within(
            argument,
            default,
            &range,
            |text| text.parse().ok(),
            |low, high| format!("a whole number from {low} to {high}"),
        )
    }

    fn within<T: PartialOrd>(
        &self,
        argument: &'static str,
        default: T,
        range: &RangeInclusive<T>,
        parse: fn(&str) -> Option<T>,
        takes: impl FnOnce(&T, &T) -> String,
    ) -> Result<T, Error> {
        self.parsed(argument, default, |text| {
            parse(text)
                .filter(|value| range.contains(value))
                .ok_or_else(|| takes(range.start(), range.end()))
        })
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// Anything else.
    pub fn flag(&self, argument: &'static str, default: bool) -> Result<bool, Error> {
        self.parsed(argument, default, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("true or false".to_owned()),
        })
    }

    /// One of `choices`, each a word and what it means.
    ///
    /// # Errors
    /// Any other word.
    pub fn choice<T: Copy>(
        &self,
        argument: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> Result<T, Error> {
        self.parsed(argument, default, |text| {
            choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(
                || {
                    let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                    words.join(", ")
                },
            )
        })
    }
}

/// A duration: a number with one of VCL's units `ms`, `s`, `m`, `h`, `d`, or without one, which
/// means seconds. `None` for anything else, for negative numbers and for more than 1,000 years.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * factor;
    if seconds > 3.2e10 {
        return None;
    }
    // To the microsecond: 0.1 as text must compare equal to 100 ms.
    Duration::try_from_secs_f64(seconds)
        .ok()
        .map(|value| Duration::from_micros(u64::try_from(value.as_micros()).unwrap_or(u64::MAX)))
}

/// A size: a whole number with one of VCL's units `B`, `KB`, `MB`, `GB`, `TB` (powers of 1024),
/// or without one, which means bytes. `None` for anything else.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit {
        "" | "B" => 0,
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn show_duration(value: Duration) -> String {
    match value.as_millis() {
        ms if ms % 1_000 != 0 => format!("{ms}ms"),
        ms if ms % 86_400_000 == 0 => format!("{}d", ms / 86_400_000),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms => format!("{}s", ms / 1_000),
    }
}

fn show_bytes(value: u64) -> String {
    let units = [(40, "TB"), (30, "GB"), (20, "MB"), (10, "KB")];
    for (shift, unit) in units {
        if value >= 1 << shift && value.is_multiple_of(1 << shift) {
            return format!("{}{unit}", value >> shift);
        }
    }
    format!("{value}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(pairs: &[(&'static str, &str)]) -> Arguments {
        let mut arguments = Arguments::new("access");
        for (key, value) in pairs {
            arguments.set(key, Some((*value).to_owned()));
        }
        arguments
    }

    #[test]
    fn durations_are_read_as_vcl_writes_them() {
        for (text, ms) in
            [("10.000", 10_000), ("10s", 10_000), ("500ms", 500), ("0.1", 100), ("5m", 300_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "-1", "10 s", "1x", "1e9", "nan", "inf", "1..2", "9999999999999999s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_varnish_units() {
        for (text, bytes) in [("65536", 65_536), ("64KB", 65_536), ("5GB", 5 << 30), ("7B", 7)] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "-1", "1.5MB", "64kb", "99999999999TB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn a_bad_value_names_stream_argument_value_and_what_it_takes() {
        let range = Duration::from_millis(100)..=Duration::from_secs(86_400);
        let error = arguments(&[("period", "0.000")])
            .duration("period", Duration::from_secs(60), range)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "s3log: stream access: period is \"0.000\": it takes a duration from 100ms to 1d, \
             as 500ms, 10s or 5m"
        );
    }

    #[test]
    fn an_argument_of_vcl_wins_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[access]\nbucket = 'file'\nperiod = 10\n[other]\n").unwrap();
        let mut arguments = arguments(&[("bucket", "vcl")]);
        arguments.fill_from_file(file.path()).unwrap();
        assert_eq!(arguments.get("bucket"), Some("vcl"));
        assert_eq!(arguments.get("period"), Some("10"));
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[access]\nbuckett = 'x'\n").unwrap();
        let error = arguments(&[]).fill_from_file(file.path()).unwrap_err().to_string();
        assert!(error.contains("unknown key \"buckett\": it takes acl, "), "{error}");
    }
}
