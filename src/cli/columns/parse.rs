//! A line to values.
//!
//! A value ends where the text behind it in the format begins, the first time that is not escaped. A value
//! that is not quoted and has that text in it shifts those after it; where these do not fit then, the line
//! is not taken apart.

use super::layout::{Field, Kind, Layout, Piece};
use super::row::{Cell, Row};
use super::text::unescape;
use crate::record::Escape;
use crate::record::columns::Position;

impl Layout {
    /// Takes `line`, without its newline, apart. Whether it is a line of this layout, which
    /// [`Layout::render`] writes as it was.
    pub(super) fn parse_line(&self, line: &[u8], row: &mut Row) -> bool {
        row.clear();
        let mut rest = line;
        for piece in &self.pieces {
            let left = match piece {
                Piece::Literal(text) => rest.strip_prefix(text.as_slice()),
                Piece::Field(field) => {
                    self.value(field, rest, row).and_then(|length| rest.get(length..))
                }
            };
            let Some(left) = left else { return false };
            rest = left;
        }
        rest.is_empty()
    }

    /// Reads the value that `rest` begins with; the length of its text.
    fn value(&self, field: &Field, rest: &[u8], row: &mut Row) -> Option<usize> {
        if let Some(absent) = &field.absent
            && let Some(after) = rest.strip_prefix(absent.as_slice())
            && if field.end.is_empty() { after.is_empty() } else { after.starts_with(&field.end) }
        {
            row.cells.push(Cell::Null);
            return Some(absent.len());
        }
        let (cell, length) = match &field.kind {
            Kind::Text => return self.read_text(field, rest, row),
            Kind::Int32 => {
                let (number, length) = whole(rest)?;
                (Cell::Int(i64::from(i32::try_from(number).ok()?)), length)
            }
            Kind::Int64 => {
                let (number, length) = whole(rest)?;
                (Cell::Int(number), length)
            }
            Kind::Epoch(units) => {
                let (number, length) = whole(rest)?;
                (Cell::Int(number.checked_mul(1_000_000 / units)?), length)
            }
            Kind::Seconds => {
                let (seconds, length) = whole(rest)?;
                let fraction = rest.get(length..)?.strip_prefix(b".")?.get(..6)?;
                let (micros, _) =
                    fraction.iter().all(u8::is_ascii_digit).then(|| number(fraction))??;
                let all = seconds.checked_mul(1_000_000)?.checked_add(micros)?;
                (Cell::Real(all as f64 / 1e6), length + 7)
            }
            Kind::Time(pattern) => {
                let (micros, length) = pattern.parse(rest)?;
                (Cell::Int(micros), length)
            }
        };
        row.cells.push(cell);
        Some(length)
    }

    fn read_text(&self, field: &Field, rest: &[u8], row: &mut Row) -> Option<usize> {
        let from = row.text.len();
        let (value, length, escape) = match field.position {
            Position::Bare if rest.first() == Some(&b'"') => {
                let inside = rest.get(1..)?;
                let length = end(inside, b"\"", true)?;
                (inside.get(..length)?, length + 2, Escape::Json)
            }
            Position::Bare => {
                let token = |byte: &u8| !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
                let length = rest.iter().position(token).unwrap_or(rest.len());
                (rest.get(..length)?, length, Escape::None)
            }
            Position::Prefix => {
                let length = end(rest, &field.end, false)?;
                (rest.get(..length)?, length, Escape::None)
            }
            Position::Text | Position::Quoted => {
                // A time may have the text behind it in itself.
                let moment = field.moment.as_ref().and_then(|pattern| pattern.parse(rest));
                let length = match moment {
                    Some((_, length)) => Some(length),
                    None => end(rest, &field.end, self.escape != Escape::None),
                }?;
                (rest.get(..length)?, length, self.escape)
            }
        };
        unescape(value, escape, &mut row.text)?;
        row.cells.push(Cell::Text(from..row.text.len()));
        Some(length)
    }
}

/// Where in `text` the first `mark` is, or the text ends where that is empty. A backslash hides the byte
/// behind it.
fn end(text: &[u8], mark: &[u8], escapes: bool) -> Option<usize> {
    let Some(first) = mark.first() else { return Some(text.len()) };
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let found = if escapes {
            memchr::memchr2(*first, b'\\', rest)
        } else {
            memchr::memchr(*first, rest)
        };
        at += found?;
        let rest = text.get(at..)?;
        if rest.starts_with(mark) {
            return Some(at);
        }
        at += if escapes && rest.first() == Some(&b'\\') { 2 } else { 1 };
    }
}

/// A whole number as it is written: no sign but a minus, no zero before other digits.
fn whole(text: &[u8]) -> Option<(i64, usize)> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let (value, length) = number(digits)?;
    if digits.len() == text.len() {
        return Some((value, length));
    }
    (value != 0).then_some((-value, length + 1))
}

/// The number that `text` begins with, at most eighteen digits.
fn number(text: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0;
    let mut length = 0;
    for byte in text.iter().take_while(|byte| byte.is_ascii_digit()) {
        value = value * 10 + i64::from(byte - b'0');
        length += 1;
        if length > 18 {
            return None;
        }
    }
    (length > 0).then_some((value, length))
}
