//! Text that others wrote, made safe to show: on a terminal, in a log, in a file for a person.
//!
//! Keys, hosts, metadata and a gateway's messages may hold any character. A line break in one of
//! them begins a line that looks like ours, an escape sequence overwrites one, and a mark of
//! direction turns one around.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with every character that is not printable as Rust writes it: `\n`, `\u{1b}`. These are
/// Unicode's control, format, surrogate, private and unassigned characters and all separators but
/// the space. Everything else, a backslash too, is as it was.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_printable(c) {
            safe.push(c);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(safe, "{}", c.escape_default());
        }
    }
    Cow::Owned(safe)
}

/// Whether `c` shows itself and nothing else.
#[must_use]
pub(crate) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // Behind another character a combining mark is printable; alone it would be escaped.
    let mut buffer = [0; 5];
    let length = 1 + c.len_utf8();
    if let Some((first, rest)) = buffer.split_first_mut() {
        *first = b'x';
        c.encode_utf8(rest);
    }
    let pair = buffer.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    pair.is_some_and(|pair| pair.escape_debug().eq(pair.chars()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_would_move_the_cursor_or_turn_the_text_is_escaped() {
        for (text, safe) in [
            ("a\x1b[2Jb", "a\\u{1b}[2Jb"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("\u{202e}gz\u{2066}", "\\u{202e}gz\\u{2066}"),
            ("a\u{200b}\u{feff}\u{2028}", "a\\u{200b}\\u{feff}\\u{2028}"),
        ] {
            assert_eq!(printable(text), safe);
        }
    }

    #[test]
    fn what_people_write_is_left_as_it_is() {
        for text in ["", "varnish/2026/a-b_c.log.gz", "käse 日本 Ελλάδα", "e\u{301}", "\"a\\b'"]
        {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_escape(text in any::<String>()) {
            let safe = printable(&text);
            prop_assert!(!safe.chars().any(char::is_control));
            prop_assert_eq!(printable(&safe), safe.clone());
        }
    }
}
