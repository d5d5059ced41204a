//! What could not be done although the command goes on.

use std::collections::HashSet;
use std::io::Write as _;
use std::process::ExitCode;

use crate::printable::printable;

/// Says each on standard error, at once and once, and remembers that there was one.
#[derive(Debug, Default)]
pub(in crate::cli) struct Complaints {
    said: HashSet<String>,
}

impl Complaints {
    /// Says one. No progress bar may be shown.
    pub(in crate::cli) fn say(&mut self, text: &str) {
        if self.said.insert(text.to_owned()) {
            let _ = writeln!(std::io::stderr(), "s3log: {}", printable(text));
        }
    }

    /// How many there were.
    pub(in crate::cli) fn count(&self) -> usize {
        self.said.len()
    }

    /// The exit code of a command that did all else: 1 when there was one.
    pub(in crate::cli) fn code(&self) -> ExitCode {
        if self.said.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
