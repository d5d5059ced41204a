//! A [`Program`] and a finished task give one line; so does a text of VCL's own, for `.log_line()`.
//!
//! The line is appended to the caller's buffer, which is reused: usual formats (up to 32
//! captured values, usual strftime conversions) allocate nothing else.

use super::heal::{heal, heal_reason};
use super::limit;
use super::line::{self, Line};
use super::options::{Escape, MessageType};
use super::prefix::LENGTH_MAX;
use super::program::{Program, slot};
use super::settled::settle;
use super::task::{Side, Task};
use super::times::Times;
use super::values::Values;
use super::walk::{Captured, FEW, INLINE, Slot, walk};

/// What there is to count about a rendered line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rendered {
    /// The line was longer than `max_line` and is cut; it says so itself.
    pub truncated: bool,
    /// A value was cut or lost in the log, and the structs could not replace it.
    pub(crate) incomplete: bool,
    /// The status sent, where the log or the structs tell.
    pub status: Option<u16>,
}

impl Program {
    /// Appends exactly one line, with its newline, to `out`.
    pub fn render(&self, task: &Task<'_>, out: &mut Vec<u8>) -> Rendered {
        self.render_within(self.room(), task, out)
    }

    /// The same, where only what cannot be left by a cut to `most` bytes may be missing when the line
    /// is cut.
    pub(super) fn render_within(
        &self,
        most: usize,
        task: &Task<'_>,
        out: &mut Vec<u8>,
    ) -> Rendered {
        let start = out.len();
        // As few as serve: each is written before it is used.
        let (mut few, mut more, mut heap);
        let count = usize::from(self.slots);
        let slots: &mut [Slot<'_>] = if count <= FEW {
            few = [Slot::EMPTY; FEW];
            &mut few
        } else if count <= INLINE {
            more = [Slot::EMPTY; INLINE];
            &mut more
        } else {
            heap = vec![Slot::EMPTY; count];
            &mut heap
        };
        let mut found = Captured::new(slots);
        let times = settle(self, task, &mut found).unwrap_or_else(|| {
            walk(self, &self.all, task, &mut found);
            heal(self, task, &mut found);
            found.status = self.delivered(task);
            if let Some(slot) = self.reason {
                heal_reason(self, task, &mut found, slot);
            }
            Times::new(self, task, &mut found)
        });
        self.prefix.write(times.end.or(times.start), out);
        let found = &mut found;
        let mut strings = line::Strings::new();
        let line = Line::new(self, start, most, &mut strings, out);
        let mut values = Values { program: self, task, found, times, line };
        for step in &self.steps {
            values.line.before(step);
            values.print(step.place, &step.what);
        }
        let incomplete = values.found.incomplete;
        if incomplete {
            values.line.set_flags();
        }
        let known = values.found.status;
        let status = known
            .or_else(|| status(&values.found.get(slot::STATUS)))
            .or_else(|| task.structs.status());
        let truncated = self.end(out, start, (self.escape == Escape::Json).then_some(&strings));
        Rendered { truncated, incomplete, status }
    }

    /// The status that was sent, where that is known. The last one in the log may be that of a 100 Continue, which
    /// Varnish sends when the answer is made already and the request's body is still to come.
    fn delivered(&self, task: &Task<'_>) -> Option<u16> {
        // A pipe has no status of its own.
        let answered = task.side == Side::Client && task.acct.is_some();
        if self.heal && answered {
            task.structs.status().filter(|status| *status != 0)
        } else {
            None
        }
    }

    /// Appends `text` as exactly one line, with the prefix of its message type and its newline,
    /// to `out`. A line break inside it is written as `\n`; nothing else is escaped. `now` is in
    /// seconds since 1970.
    pub(crate) fn render_line(&self, text: &[u8], now: f64, out: &mut Vec<u8>) -> Rendered {
        let start = out.len();
        self.prefix.write(Some(now), out);
        // What comes after it would be cut away.
        let text = text.get(..=self.room()).unwrap_or(text);
        for (index, part) in text.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                out.extend_from_slice(b"\\n");
            }
            out.extend_from_slice(part);
        }
        let truncated = self.end(out, start, None);
        Rendered { truncated, ..Rendered::default() }
    }

    /// The longest line that is not cut, without what goes before it when its length is known.
    fn room(&self) -> usize {
        let logplex = self.message == MessageType::Logplex;
        self.max_line.saturating_sub(if logplex { LENGTH_MAX } else { 0 })
    }

    /// Ends the line that begins at `start`: its newline, its length where a prefix has that, and
    /// the cut of one that is too long, which is JSON where the places of its strings are given.
    fn end(&self, out: &mut Vec<u8>, start: usize, strings: Option<&line::Strings>) -> bool {
        out.push(b'\n');
        let most = self.room();
        let truncated = out.len() - start > most;
        match strings {
            Some(strings) if truncated => limit::cut_values(out, start, most, strings),
            None if truncated => limit::cut_line(out, start, most),
            _ => {}
        }
        if self.message == MessageType::Logplex {
            frame(out, start);
        }
        truncated
    }
}

/// The number of a captured status.
fn status(captured: &Slot<'_>) -> Option<u16> {
    std::str::from_utf8(captured.bytes?).ok()?.parse().ok()
}

/// Puts the length of `out[start..]` and a space before it.
fn frame(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start;
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(length).as_bytes();
    let digits = text.len() + 1;
    out.extend_from_slice(text);
    out.push(b' ');
    if let Some(line) = out.get_mut(start..) {
        line.rotate_right(digits);
    }
}

#[cfg(test)]
mod tests {
    use crate::record::limit::MARK;
    use crate::record::{MessageType, Options, Program, TagTable};

    fn line(options: &Options, text: &[u8]) -> (Vec<u8>, bool) {
        let program = Program::compile("%s", options, &TagTable::new([])).unwrap();
        let mut out = b"before\n".to_vec();
        let rendered = program.render_line(text, 1_760_177_655.003, &mut out);
        (out.split_off(7), rendered.truncated)
    }

    #[test]
    fn a_line_break_inside_a_line_never_starts_a_new_one() {
        let (out, truncated) = line(&Options::default(), b"one\ntwo\n");
        assert_eq!(out, b"one\\ntwo\\n\n");
        assert!(!truncated);
    }

    #[test]
    fn a_line_of_vcl_gets_the_prefix_of_its_message_type() {
        let options = Options {
            message: MessageType::Loggly,
            hostname: "edge".into(),
            tag: "access".into(),
            pid: 7,
            ..Options::default()
        };
        let (out, _) = line(&options, b"\xff x");
        assert_eq!(out, b"<134>1 2025-10-11T10:14:15.003000Z edge access 7 - - \xff x\n");
    }

    #[test]
    fn a_lines_second_and_its_fraction_are_of_one_moment() {
        let options = Options { message: MessageType::Loggly, ..Options::default() };
        let program = Program::compile("%h", &options, &TagTable::new([])).unwrap();
        // The last is nearer to the next second than to any microsecond of its own.
        for (now, time) in [
            (1_700_000_000.999_999, "22:13:20.999999Z"),
            (1_700_000_000.999_999_4, "22:13:20.999999Z"),
            (1_700_000_000.999_999_8, "22:13:21.000000Z"),
        ] {
            let mut out = Vec::new();
            program.render_line(b"x", now, &mut out);
            let line = String::from_utf8(out).unwrap();
            assert!(line.contains(time), "{now}: {line}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_marked() {
        let options = Options { max_line: 256, ..Options::default() };
        let (out, truncated) = line(&options, &[b'x'; 1000]);
        assert!(truncated && out.len() <= 256);
        assert!(out.strip_suffix(b"\n").unwrap().ends_with(MARK));
    }
}
