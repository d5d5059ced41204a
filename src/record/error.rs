//! Why a format was refused, in a sentence for the operator who wrote it.

/// A format that does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FormatError {
    message: String,
    column: usize,
}

impl FormatError {
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
        Self { message: one_line(&message), column }
    }

    /// Something that has no place in the format.
    pub(super) fn whole(what: String) -> Self {
        Self { message: one_line(&what), column: 0 }
    }

    /// The column, in characters from 1; 0 if the error has no one place.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }
}

/// A sentence that quotes the format may quote its line breaks.
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
