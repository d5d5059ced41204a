//! Settings as an operator writes them: named texts, from VCL arguments or a TOML table.
//!
//! VCL turns every literal into text for a STRING argument (`10s` arrives as `10.000`, `true` as
//! `true`), so both sources speak the same language here, and a bad value gets the same sentence
//! in both: which stream, which argument, what was given, what it takes.
//!
//! Ranges, words and defaults come from [`table`]; what a text means is its reader's business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::table::{self, Accepts};
use crate::{regular_file, units};

/// A setting that cannot be used, as one sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value outside what the argument takes.
    #[error("s3log: stream {stream}: {argument} is {given:?}; expected {takes}")]
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
        /// What is wrong is in a file, or in another place beside VCL and the settings file.
        file: bool,
    },
    /// An argument without a default was left out.
    #[error("s3log: stream {stream}: {argument} is missing; expected {takes}")]
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

impl Error {
    /// Whether a file of keys, the system's zones or AWS's own settings are at fault, which may be usable at
    /// another time. A settings file is not such a file: without it not even the format is known.
    #[must_use]
    pub fn blames_file(&self) -> bool {
        match self {
            Self::Problem { file, .. } => *file,
            // A package has the names, and may lose one.
            Self::Value { argument, .. } => *argument == "path_timezone",
            Self::Missing { .. } | Self::File { .. } => false,
        }
    }

    /// What an operator is told of it where the stream starts with it all the same.
    #[must_use]
    pub fn told(&self) -> String {
        let text = self.to_string();
        let text = text.strip_prefix("s3log: ").unwrap_or(&text);
        format!("{text}; the stream starts all the same: correct it and load the VCL again")
    }
}

/// The arguments of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    stream: String,
    values: BTreeMap<&'static str, String>,
    /// The settings file that values were taken from.
    file: Option<PathBuf>,
}

impl Arguments {
    /// No arguments yet for the stream named `stream`.
    #[must_use]
    pub fn new(stream: &str) -> Self {
        Self { stream: stream.to_owned(), values: BTreeMap::new(), file: None }
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The same arguments for another stream.
    #[must_use]
    pub fn named(&self, stream: &str) -> Self {
        Self { stream: stream.to_owned(), ..self.clone() }
    }

    /// Sets `argument`; `None` leaves it at what it was.
    pub fn set(&mut self, argument: &'static str, value: Option<String>) {
        if let Some(value) = value {
            self.values.insert(argument, value);
        }
    }

    /// Leaves `argument` at its default, whatever was given.
    pub(crate) fn unset(&mut self, argument: &'static str) {
        self.values.remove(argument);
    }

    /// Takes from the table `[<stream>]` of a TOML file what is not set yet, so that values
    /// given in VCL win.
    ///
    /// # Errors
    /// The file cannot be read or parsed, has no such table, or the table has a key that is not
    /// in the table of arguments or a value that is neither text, number nor boolean.
    pub fn fill_from_file(&mut self, path: &Path) -> Result<(), Error> {
        let text = regular_file::read_text(path, regular_file::SETTINGS_MAX)
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
            let Some(known) = table::argument(key) else {
                let problem = format!("has an unknown key {key:?}; expected {}", table::names());
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
            self.values.entry(known.name).or_insert(text);
        }
        self.file = Some(path.to_owned());
        Ok(())
    }

    fn file_error(&self, path: &Path, problem: String) -> Error {
        Error::File { stream: self.stream.clone(), path: path.display().to_string(), problem }
    }

    /// Every argument that was given, with its text.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The settings file that values were taken from.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
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
        let stream = self.stream.clone();
        Error::Problem { stream, argument, problem: problem.to_string(), file: false }
    }

    /// The same for an argument that may be the path of a file, where it is one.
    #[must_use]
    pub(crate) fn key_problem(
        &self,
        argument: &'static str,
        problem: impl std::fmt::Display,
    ) -> Error {
        if self.get(argument).is_some_and(|text| text.trim_start().starts_with('/')) {
            return self.problem_elsewhere(argument, problem);
        }
        self.problem(argument, problem)
    }

    /// The same for what a file, or another place beside VCL and the settings file, says.
    #[must_use]
    pub(super) fn problem_elsewhere(
        &self,
        argument: &'static str,
        problem: impl std::fmt::Display,
    ) -> Error {
        let stream = self.stream.clone();
        Error::Problem { stream, argument, problem: problem.to_string(), file: true }
    }

    /// What `argument` accepts, and its text or its default.
    fn entry(&self, argument: &'static str) -> Result<(Accepts, Option<&str>), Error> {
        let known = table::argument(argument)
            .ok_or_else(|| self.problem(argument, "there is no such argument"))?;
        Ok((known.accepts, self.get(argument).or(known.default)))
    }

    /// The error for an argument that is read as something that the table does not have it as.
    fn misread(&self, argument: &'static str) -> Error {
        self.problem(argument, "it is read as something else than it is declared as")
    }

    /// A duration within the range of the table.
    ///
    /// # Errors
    /// The text is not a duration (see [`units::duration`]) or is outside the range.
    pub fn duration(&self, argument: &'static str) -> Result<Duration, Error> {
        let (Accepts::Duration(least, most), Some(text)) = self.entry(argument)? else {
            return Err(self.misread(argument));
        };
        within(text, units::duration, least, most).ok_or_else(|| {
            self.bad(
                argument,
                format!("a duration from {least} to {most}, such as 500ms, 10s or 5m"),
            )
        })
    }

    /// A number of bytes within the range of the table.
    ///
    /// # Errors
    /// The text is not a size (see [`units::bytes`]) or is outside the range.
    pub fn bytes(&self, argument: &'static str) -> Result<u64, Error> {
        let (Accepts::Size(least, most), Some(text)) = self.entry(argument)? else {
            return Err(self.misread(argument));
        };
        within(text, units::bytes, least, most).ok_or_else(|| {
            let takes =
                format!("a size from {least} to {most}, such as 65536, \"64KB\" or \"64MB\"");
            self.bad(argument, takes)
        })
    }

    /// A whole number within the range of the table.
    ///
    /// # Errors
    /// The text is not a number or is outside the range.
    pub fn number(&self, argument: &'static str) -> Result<u64, Error> {
        let (Accepts::Number(least, most), Some(text)) = self.entry(argument)? else {
            return Err(self.misread(argument));
        };
        text.parse()
            .ok()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.bad(argument, format!("a whole number from {least} to {most}")))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// Anything else.
    pub fn flag(&self, argument: &'static str) -> Result<bool, Error> {
        match self.entry(argument)? {
            (Accepts::Flag, Some("true")) => Ok(true),
            (Accepts::Flag, Some("false")) => Ok(false),
            (Accepts::Flag, _) => Err(self.bad(argument, "true or false")),
            _ => Err(self.misread(argument)),
        }
    }

    /// The meaning of one of the table's words, which `choices` lists in the same order; `None`
    /// for an argument without a default that was left out.
    ///
    /// # Errors
    /// Any other word.
    pub fn choice<T: Copy>(
        &self,
        argument: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Error> {
        let (Accepts::Words(words), text) = self.entry(argument)? else {
            return Err(self.misread(argument));
        };
        if !choices.iter().map(|(word, _)| word).eq(words) {
            return Err(self.misread(argument));
        }
        let Some(text) = text else { return Ok(None) };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => Err(self.bad(argument, words.join(", "))),
        }
    }
}

/// `text` as `read` reads it, if it is between `least` and `most`.
fn within<T: PartialOrd>(
    text: &str,
    read: fn(&str) -> Option<T>,
    least: &str,
    most: &str,
) -> Option<T> {
    let range = read(least)?..=read(most)?;
    read(text).filter(|value| range.contains(value))
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
    fn a_bad_value_names_stream_argument_value_and_what_it_takes() {
        let error = arguments(&[("period", "0.000")]).duration("period").unwrap_err();
        assert_eq!(
            error.to_string(),
            "s3log: stream access: period is \"0.000\"; expected a duration from 100ms to 1d, \
             such as 500ms, 10s or 5m"
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
        assert!(error.contains("unknown key \"buckett\"; expected acl, "), "{error}");
    }
}
