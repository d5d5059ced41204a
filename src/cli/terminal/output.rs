//! What a person sees: sizes, counts, colours. What a script sees: one JSON object a line.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use crate::printable::is_printable;

/// Colours, when standard output is a terminal and `NO_COLOR` is not set.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Paint {
    on: bool,
}

impl Paint {
    /// For standard output. <https://no-color.org>: any value but the empty one turns them off.
    pub(in crate::cli) fn stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { on: !refused && !dumb && io::stdout().is_terminal() }
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What is right.
    pub(in crate::cli) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// What is wrong.
    pub(in crate::cli) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// What is worth a look.
    pub(in crate::cli) fn odd(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Headings.
    pub(in crate::cli) fn faint(self, text: &str) -> String {
        self.with("2", text)
    }
}

/// Bytes in the largest unit that leaves one digit before the point.
pub(in crate::cli) fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in units {
        if bytes >= 1 << shift {
            let tenths = ((bytes >> (shift - 10)) * 10) >> 10;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// A number with its thousands apart.
pub(in crate::cli) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number in at most four characters, rounded down: `999`, `1.2k`, `34k`, `1.0M`.
pub(in crate::cli) fn short(number: u64) -> String {
    let thousands = number.checked_ilog10().unwrap_or_default() / 3;
    let unit = 1_000_u64.pow(thousands);
    let name = ["", "k", "M", "G", "T", "P", "E"].get(thousands as usize).unwrap_or(&"");
    match number / unit {
        whole @ 1..10 if unit > 1 => format!("{whole}.{}{name}", number % unit / (unit / 10)),
        whole => format!("{whole}{name}"),
    }
}

/// A number as [`count`] shows it where that has at most `room` characters, else as [`short`] does.
pub(in crate::cli) fn count_within(number: u64, room: usize) -> String {
    let all = count(number);
    if all.len() <= room { all } else { short(number) }
}

/// `1 block`, `2,000 blocks`.
pub(in crate::cli) fn counted(number: u64, what: &str) -> String {
    counted_within(number, what, usize::MAX)
}

/// The same with the number as [`count_within`] shows it.
pub(in crate::cli) fn counted_within(number: u64, what: &str, room: usize) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", count_within(number, room))
}

/// One JSON object and a newline. What is not printable is escaped, so that a person may look.
///
/// # Errors
/// The output's.
pub(in crate::cli) fn json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Printable);
    value.serialize(&mut serializer).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

/// JSON on one line whose strings hold printable characters only; their values are the same.
struct Printable;

impl serde_json::ser::Formatter for Printable {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !is_printable(*c)) {
            let (plain, behind) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = behind.get(c.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_shows_printable_characters_only_and_means_the_same() {
        let value = "a\u{1b}\"\\\n\u{9b}\u{202e}käse\u{e0041}\u{7f}";
        let mut out = Vec::new();
        json(&mut out, &value).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
        assert!(text.trim_end().chars().all(is_printable), "{text:?}");
        assert!(text.contains("käse"), "{text}");
    }

    #[test]
    fn numbers_are_shown_for_people() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64.0 MiB")]
        {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1.0k"),
            (1_999, "1.9k"),
            (9_999, "9.9k"),
            (10_000, "10k"),
            (999_999, "999k"),
            (1_050_000, "1.0M"),
            (12_345_678_901, "12G"),
            (u64::MAX, "18E"),
        ] {
            assert_eq!(short(number), text);
        }
        assert_eq!((&*count_within(1_234, 5), &*count_within(1_234, 4)), ("1,234", "1.2k"));
        assert_eq!(counted(1, "block"), "1 block");
        assert_eq!(counted(2000, "block"), "2,000 blocks");
    }
}
