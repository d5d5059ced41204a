//! Times as text, and as microseconds since 1970.
//!
//! Each conversion has a fixed length, so a pattern has one. What is read is not checked to be a real date:
//! a text that is written back as another one is no value of the column.

use std::iter::Peekable;
use std::str::Chars;

use crate::record::{Civil, MONTHS, padded};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Year,
    Month,
    MonthName,
    Day,
    DayBlank,
    Hour,
    Minute,
    Second,
    /// Hours and minutes before UTC; written as those of UTC.
    Offset,
    Millis,
    Micros,
}

/// How a time is written.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Vec<Token>);

impl Pattern {
    /// Of strftime's conversions, see `ColumnType::Time`; `None` for others.
    pub(super) fn compile(text: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '%' => tokens.push(conversion(&mut characters)?),
                other => {
                    let mut buffer = [0; 4];
                    tokens.extend(other.encode_utf8(&mut buffer).bytes().map(Token::Byte));
                }
            }
        }
        Some(Self(tokens))
    }

    /// Units in a second that it tells.
    pub(super) fn fineness(&self) -> i64 {
        match &self.0 {
            tokens if tokens.contains(&Token::Micros) => 1_000_000,
            tokens if tokens.contains(&Token::Millis) => 1_000,
            _ => 1,
        }
    }

    /// Reads the time that `text` begins with: microseconds, and the length of its text.
    pub(super) fn parse(&self, text: &[u8]) -> Option<(i64, usize)> {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        let (mut hour, mut minute, mut second, mut micros) = (0, 0, 0, 0);
        let mut offset = 0;
        let mut at = 0;
        for token in &self.0 {
            let rest = text.get(at..)?;
            at += match token {
                Token::Byte(byte) => (rest.first() == Some(byte)).then_some(1)?,
                Token::Year => digits(rest, 4, &mut year)?,
                Token::Month => digits(rest, 2, &mut month)?,
                Token::MonthName => {
                    let name = rest.first_chunk::<3>()?;
                    let place = MONTHS.iter().position(|known| *known == name)?;
                    month = place as i64 + 1;
                    3
                }
                Token::DayBlank if rest.first() == Some(&b' ') => {
                    1 + digits(rest.get(1..)?, 1, &mut day)?
                }
                Token::Day | Token::DayBlank => digits(rest, 2, &mut day)?,
                Token::Hour => digits(rest, 2, &mut hour)?,
                Token::Minute => digits(rest, 2, &mut minute)?,
                Token::Second => digits(rest, 2, &mut second)?,
                Token::Offset => {
                    let (mut hours, mut minutes) = (0, 0);
                    digits(rest.get(1..)?, 2, &mut hours)?;
                    digits(rest.get(3..)?, 2, &mut minutes)?;
                    offset = match rest.first()? {
                        b'+' => hours * 60 + minutes,
                        b'-' => -hours * 60 - minutes,
                        _ => return None,
                    };
                    5
                }
                Token::Millis => {
                    let read = digits(rest, 3, &mut micros)?;
                    micros *= 1_000;
                    read
                }
                Token::Micros => digits(rest, 6, &mut micros)?,
            };
        }
        let seconds =
            days(year, month, day) * 86_400 + hour * 3_600 + (minute - offset) * 60 + second;
        Some((seconds * 1_000_000 + micros, at))
    }

    /// Writes a time of `micros` microseconds since 1970.
    pub(super) fn write(&self, micros: i64, out: &mut Vec<u8>) {
        let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
        let micros = micros as u32;
        let civil = Civil::new(seconds);
        for token in &self.0 {
            match token {
                Token::Byte(byte) => out.push(*byte),
                Token::Year => padded(civil.year.unsigned_abs() as u32, 4, out),
                Token::Month => padded(civil.month, 2, out),
                Token::MonthName => {
                    let name = MONTHS.get(civil.month.saturating_sub(1) as usize);
                    out.extend_from_slice(name.copied().unwrap_or(b"???"));
                }
                Token::DayBlank if civil.day < 10 => {
                    out.push(b' ');
                    padded(civil.day, 1, out);
                }
                Token::Day | Token::DayBlank => padded(civil.day, 2, out),
                Token::Hour => padded(civil.hour, 2, out),
                Token::Minute => padded(civil.minute, 2, out),
                Token::Second => padded(civil.second, 2, out),
                Token::Offset => out.extend_from_slice(b"+0000"),
                Token::Millis => padded(micros / 1_000, 3, out),
                Token::Micros => padded(micros, 6, out),
            }
        }
    }
}

fn conversion(characters: &mut Peekable<Chars<'_>>) -> Option<Token> {
    Some(match characters.next()? {
        '%' => Token::Byte(b'%'),
        'Y' => Token::Year,
        'm' => Token::Month,
        'b' => Token::MonthName,
        'd' => Token::Day,
        'e' => Token::DayBlank,
        'H' => Token::Hour,
        'M' => Token::Minute,
        'S' => Token::Second,
        'z' => Token::Offset,
        '3' => Token::Millis,
        '6' => Token::Micros,
        _ => return None,
    })
}

/// Reads `count` digits into `number`; how many that are.
fn digits(text: &[u8], count: usize, number: &mut i64) -> Option<usize> {
    *number = 0;
    for byte in text.get(..count)? {
        *number = *number * 10 + i64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
    }
    Some(count)
}

/// Days since 1970 of a date. Eras of 400 years start on 1 March, so that the leap day is the last of a year.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_another_library_reads_them() {
        let clf = Pattern::compile("[%d/%b/%Y:%H:%M:%S %z]").unwrap();
        let text = b"[14/Nov/2023:22:13:20 +0000] and more";
        assert_eq!(clf.parse(text), Some((1_700_000_000_000_000, 28)));
        let local = b"[14/Nov/2023:17:43:20 -0430]";
        assert_eq!(clf.parse(local), Some((1_700_000_000_000_000, 28)));
        let iso = Pattern::compile("%Y-%m-%dT%H:%M:%S.%6Z").unwrap();
        for second in (0..4_102_444_800i64).step_by(9_876_543) {
            let text =
                jiff::Timestamp::from_second(second).unwrap().strftime("%Y-%m-%dT%H:%M:%S.000042Z");
            let text = text.to_string();
            let micros = second * 1_000_000 + 42;
            assert_eq!(iso.parse(text.as_bytes()), Some((micros, text.len())));
            let mut out = Vec::new();
            iso.write(micros, &mut out);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn what_is_no_date_is_written_as_another_one() {
        let pattern = Pattern::compile("%Y-%m-%d %e").unwrap();
        for text in ["2023-02-30 30", "2023-13-01  1", "2023-00-10 10", "2023-01-00 00"] {
            let mut out = Vec::new();
            if let Some((micros, _)) = pattern.parse(text.as_bytes()) {
                pattern.write(micros, &mut out);
            }
            assert_ne!(out, text.as_bytes());
        }
        assert!(pattern.parse(b"2023-1-01 01").is_none() && pattern.parse(b"").is_none());
    }
}
