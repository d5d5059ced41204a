//! Why a format was refused, for the operator who wrote it.

use std::fmt::Write as _;

/// Most mistakes that a message lists.
const LISTED: usize = 20;

/// A format that does not compile: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FormatError {
    message: String,
    column: usize,
}

impl FormatError {
    /// There is at least one.
    pub(super) fn new(mistakes: Vec<Mistake>) -> Self {
        let column = mistakes.first().map_or(0, |mistake| mistake.column);
        if let [only] = mistakes.as_slice() {
            return Self { message: only.message.clone(), column };
        }
        let mut message = format!("{} mistakes:", mistakes.len());
        for (number, mistake) in mistakes.iter().take(LISTED).enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(message, " ({}) {};", number + 1, mistake.message);
        }
        if mistakes.len() > LISTED {
            let _ = write!(message, " and {} more", mistakes.len() - LISTED);
        }
        Self { message: message.trim_end_matches(';').to_owned(), column }
    }

    /// The column of the first mistake, in characters from 1; 0 if it has no one place.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }
}

impl From<Mistake> for FormatError {
    fn from(mistake: Mistake) -> Self {
        Self::new(vec![mistake])
    }
}

/// One thing that is wrong.
#[derive(Debug)]
pub(super) struct Mistake {
    message: String,
    column: usize,
    /// The byte behind it.
    end: usize,
    unfinished: bool,
}

impl Mistake {
    /// `what` happened at byte `start` of `format`, up to byte `end`.
    pub(super) fn at(format: &str, start: usize, end: usize, what: &str) -> Self {
        let start = floor(format, start);
        let end = floor(format, end.max(start));
        let before = format.get(..start).unwrap_or_default();
        let bad = format.get(start..end).unwrap_or_default();
        let after = format.get(end..).unwrap_or_default();
        let column = before.chars().count() + 1;
        let head: Vec<char> = before.chars().rev().take(16).collect();
        let head: String = head.into_iter().rev().collect();
        let tail: String = after.chars().take(16).collect();
        let dots = |cut: bool| if cut { "..." } else { "" };
        let excerpt = format!(
            "{}{head}>>{bad}<<{tail}{}",
            dots(head.len() < before.len()),
            dots(tail.len() < after.len())
        );
        let message = format!("{what} at column {column} of the format: {excerpt}");
        Self { message: one_line(&message), column, end, unfinished: false }
    }

    /// A specifier that begins at byte `start` and does not end.
    pub(super) fn unfinished(format: &str, start: usize, end: usize) -> Self {
        let what = "the specifier is not finished";
        Self { unfinished: true, ..Self::at(format, start, end, what) }
    }

    /// Something that has no place in the format.
    pub(super) fn whole(what: String) -> Self {
        Self { message: one_line(&what), column: 0, end: 0, unfinished: false }
    }

    pub(super) fn end(&self) -> usize {
        self.end
    }

    pub(super) fn is_unfinished(&self) -> bool {
        self.unfinished
    }
}

/// A message that quotes the format may quote its line breaks.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
