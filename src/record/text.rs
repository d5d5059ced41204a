//! The parts of a log record's text: headers, words, and what stands around them.

/// The value of header `name` in `Name: value`, leading spaces kept.
#[inline]
pub(super) fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if line.get(name.len()) != Some(&b':') {
        return None;
    }
    let (head, rest) = line.split_at_checked(name.len())?;
    if same(head, name) { rest.get(1..) } else { None }
}

/// What follows `Basic ` in an Authorization header.
pub(super) fn basic(value: &[u8]) -> Option<&[u8]> {
    let value = skip_spaces(value);
    let (scheme, rest) = value.split_at_checked(6)?;
    same(scheme, b"basic ").then(|| trim(rest))
}

/// `eq_ignore_ascii_case` with fewer instructions where the letters mostly agree.
#[inline]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && (a == b || a.eq_ignore_ascii_case(b))
}

pub(super) fn after_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    if prefix.is_empty() {
        return Some(text);
    }
    let (head, rest) = text.split_at_checked(prefix.len())?;
    same(head, prefix).then(|| skip_spaces(rest))
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let at = text.iter().position(|byte| *byte != b' ').unwrap_or(text.len());
    text.get(at..).unwrap_or_default()
}

/// C's `isspace` in the C locale.
#[inline]
fn space(byte: u8) -> bool {
    byte <= b' ' && matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Without white space at either end.
#[inline]
pub(super) fn trim(text: &[u8]) -> &[u8] {
    // Nearly always it is the space of `Name: value` alone.
    let text = text.strip_prefix(b" ").unwrap_or(text);
    if let ([first, ..], [.., last]) = (text, text)
        && *first > b' '
        && *last > b' '
    {
        return text;
    }
    trim_ends(text)
}

#[cold]
fn trim_ends(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [first, rest @ ..] = text
        && space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && space(*last)
    {
        text = rest;
    }
    text
}

/// Word `number` (from 1) of `text`, and whether it runs up to the end of the text.
pub(super) fn field(text: &[u8], number: u8) -> Option<(&[u8], bool)> {
    let mut rest = text;
    let mut left = number;
    loop {
        let from = rest.iter().position(|byte| !space(*byte))?;
        rest = rest.get(from..)?;
        let to = rest.iter().position(|byte| space(*byte)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at_checked(to)?;
        left = left.saturating_sub(1);
        if left == 0 {
            return Some((word, tail.is_empty()));
        }
        rest = tail;
    }
}
