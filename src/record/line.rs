//! One line while it is written: what stands around a value, and how its bytes are escaped.
//!
//! What a cut would take away again is not written: a client's header may be much longer than
//! `max_line`. Limits: text stops within `SLACK` bytes behind `max_line`, and each JSON string
//! within as many behind the longest share of `max_line` that it may have in the end.

use smallvec::SmallVec;

use super::escape;
use super::limit;
use super::options::{Dialect, Escape};
use super::program::{Missing, Place, Program, Step};

/// Where in a line its JSON strings' values lie, as start and length: what is cut when the line is
/// too long.
pub(super) type Strings = SmallVec<[(usize, usize); 32]>;

/// How many bytes of a long value are escaped at a time.
const PIECE: usize = 256;

/// The longest escape of a byte: `\u00hh`.
const ESCAPE_MAX: usize = 6;

/// How much more than a cut keeps is written at most: the escapes of one piece, and the one that the
/// cut looks at. What the tests hold [`Line::part`] to.
#[cfg(test)]
pub(super) const SLACK: usize = (PIECE + 1) * ESCAPE_MAX;

/// Appends literals and values to one line.
pub(super) struct Line<'p, 'o> {
    program: &'p Program,
    /// Where in `out` the longest line ends that is not cut.
    most: usize,
    /// Where in `out` the JSON string under way begins.
    value: usize,
    strings: &'o mut Strings,
    /// Where the flags are, which are set when the line is complete.
    flags: SmallVec<[usize; 2]>,
    out: &'o mut Vec<u8>,
}

impl<'p, 'o> Line<'p, 'o> {
    /// Appends to `out` what comes behind the prefix of a line that begins at `start`, and is cut
    /// when it has more than `most` bytes; to `strings` where in `out` its JSON strings' values lie.
    pub(super) fn new(
        program: &'p Program,
        start: usize,
        most: usize,
        strings: &'o mut Strings,
        out: &'o mut Vec<u8>,
    ) -> Self {
        let flags = SmallVec::new();
        Self { program, most: start + most, value: start, strings, flags, out }
    }

    /// Appends the operator's own text, or text that needs no escape inside a value.
    pub(super) fn literal(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    /// Appends the operator's own text before a value: all of the step's bytes, and then away with the
    /// rest, for a copy of a known length is no call.
    #[inline]
    pub(super) fn before(&mut self, step: &Step) {
        let end = self.out.len() + step.length;
        self.out.extend_from_slice(&step.before);
        self.out.truncate(end);
    }

    /// Appends text that needs no escape, whose length is known when this is compiled.
    #[inline]
    pub(super) fn fixed<const N: usize>(&mut self, text: &[u8; N]) {
        self.out.extend_from_slice(text);
    }

    /// Prints a status.
    #[inline]
    pub(super) fn status(&mut self, status: u16) {
        if let 100..=999 = status {
            let digit = |value: u16| b'0' + (value % 10) as u8;
            self.fixed(&[digit(status / 100), digit(status / 10), digit(status)]);
        } else {
            self.number(status);
        }
    }

    /// Appends a flag that is not set.
    pub(super) fn flag(&mut self) {
        self.flags.push(self.out.len());
        self.out.push(b'0');
    }

    /// Sets the flags.
    pub(super) fn set_flags(&mut self) {
        for at in &self.flags {
            if let Some(flag) = self.out.get_mut(*at) {
                *flag = b'1';
            }
        }
    }

    /// Appends what `write` appends.
    pub(super) fn with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.out);
    }

    /// Begins a value made of several parts.
    pub(super) fn open(&mut self, place: Place) -> usize {
        if place == Place::Bare {
            self.out.push(b'"');
        }
        self.value = self.out.len();
        self.value
    }

    /// Ends what [`Self::open`] began.
    pub(super) fn close(&mut self, place: Place, from: usize) {
        if place != Place::Text {
            self.strings.push((from, self.out.len() - from));
        }
        if place == Place::Bare {
            self.out.push(b'"');
        }
    }

    /// Escapes a part of a value, as far as a cut could leave it.
    #[inline]
    pub(super) fn part(&mut self, bytes: &[u8]) {
        if self.out.len() + bytes.len() * ESCAPE_MAX <= self.most && escape::is_plain(bytes) {
            self.out.extend_from_slice(bytes);
        } else {
            self.unusual(bytes);
        }
    }

    /// The same for one that has something to escape, or may become too long.
    #[inline(never)]
    fn unusual(&mut self, bytes: &[u8]) {
        if self.out.len() + bytes.len() * ESCAPE_MAX > self.most {
            self.long(bytes);
        } else {
            self.escaped(bytes);
        }
    }

    #[inline(never)]
    fn escaped(&mut self, bytes: &[u8]) {
        match self.program.escape {
            Escape::Clf => {
                escape::clf(bytes, self.program.dialect == Dialect::Apache, self.out);
            }
            Escape::Json => escape::json(bytes, self.out),
            Escape::Tsv => escape::tsv(bytes, self.out),
            Escape::None => escape::none(bytes, self.out),
        }
    }

    /// The same for one that may become too long.
    #[inline(never)]
    fn long(&mut self, bytes: &[u8]) {
        let end = self.end();
        let mut rest = bytes;
        while !rest.is_empty() && self.out.len() <= end {
            let (piece, after) = rest.split_at_checked(piece(rest)).unwrap_or((rest, &[]));
            self.escaped(piece);
            rest = after;
        }
    }

    /// Behind which byte of `out` nothing of the value under way is left by a cut.
    fn end(&self) -> usize {
        if self.program.escape != Escape::Json {
            return self.most;
        }
        let strings: usize = self.strings.iter().map(|(_, length)| length).sum();
        let around = self.value.saturating_sub(strings);
        let share = limit::share(self.strings, self.most.saturating_sub(around));
        // The cut looks at what begins where the mark will be, which is a whole escape.
        self.value + share + ESCAPE_MAX
    }

    /// Prints a value of any bytes.
    #[inline]
    pub(super) fn text(&mut self, place: Place, bytes: &[u8]) {
        if place == Place::Text { self.part(bytes) } else { self.string(place, bytes) }
    }

    /// The same in JSON.
    #[inline(never)]
    fn string(&mut self, place: Place, bytes: &[u8]) {
        if place == Place::Bare && escape::bare(bytes) {
            return self.out.extend_from_slice(bytes);
        }
        let from = self.open(place);
        self.part(bytes);
        self.close(place, from);
    }

    /// Prints text that needs no escape and is no number.
    pub(super) fn raw(&mut self, place: Place, text: &[u8]) {
        if place == Place::Bare {
            self.out.push(b'"');
        }
        self.out.extend_from_slice(text);
        if place == Place::Bare {
            self.out.push(b'"');
        }
    }

    /// Prints the dash of a value that this place never has.
    pub(super) fn unknown(&mut self, place: Place) {
        self.out.extend_from_slice(if place == Place::Bare { b"null" } else { b"-" });
    }

    #[inline]
    pub(super) fn absent(&mut self, place: Place, missing: Missing) {
        if let (Place::Text, Missing::Dash | Missing::Int) = (place, missing) {
            self.fixed(b"-");
        } else {
            self.absent_else(place, missing);
        }
    }

    #[inline(never)]
    fn absent_else(&mut self, place: Place, missing: Missing) {
        let csa = self.program.dialect == Dialect::Varnishncsa;
        let text: &[u8] = match (place, missing) {
            (Place::Bare, Missing::Text(text)) => return self.raw(place, text.as_bytes()),
            (Place::Bare | Place::Quoted, Missing::Int) if csa => b"0",
            (Place::Bare, _) => b"null",
            (_, Missing::Text(text)) => text.as_bytes(),
            _ => b"",
        };
        self.out.extend_from_slice(text);
    }

    pub(super) fn number(&mut self, number: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

/// How many bytes of `text` to escape at once: all, or about [`PIECE`], up to the beginning of a
/// character.
fn piece(text: &[u8]) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let inside = |at: &usize| text.get(*at).is_some_and(|byte| matches!(byte, 0x80..=0xbf));
    // A character has three such bytes at most: more are no character.
    (PIECE - 3..=PIECE).rev().find(|at| !inside(at)).unwrap_or(PIECE)
}
