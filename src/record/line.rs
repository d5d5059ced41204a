//! One line while it is written: what stands around a value, and how its bytes are escaped.

use smallvec::SmallVec;

use super::escape;
use super::options::{Dialect, Escape};
use super::program::{Missing, Place, Program};

/// Where in a line its JSON strings' values lie, as start and length: what is cut when the line is
/// too long.
pub(super) type Strings = SmallVec<[(usize, usize); 32]>;

/// Appends literals and values to one line.
pub(super) struct Line<'p, 'o> {
    program: &'p Program,
    strings: &'o mut Strings,
    out: &'o mut Vec<u8>,
}

impl<'p, 'o> Line<'p, 'o> {
    /// Appends to `out`, and to `strings` where in it its JSON strings' values lie.
    pub(super) fn new(
        program: &'p Program,
        strings: &'o mut Strings,
        out: &'o mut Vec<u8>,
    ) -> Self {
        Self { program, strings, out }
    }

    /// Appends the operator's own text, or text that needs no escape inside a value.
    pub(super) fn literal(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
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
        self.out.len()
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

    /// Escapes a part of a value.
    #[inline]
    pub(super) fn part(&mut self, bytes: &[u8]) {
        if escape::is_plain(bytes) {
            self.out.extend_from_slice(bytes);
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

    /// Prints a value of any bytes.
    pub(super) fn text(&mut self, place: Place, bytes: &[u8]) {
        match place {
            Place::Text => return self.part(bytes),
            Place::Bare if escape::bare(bytes) => return self.out.extend_from_slice(bytes),
            _ => {}
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

    pub(super) fn absent(&mut self, place: Place, missing: Missing) {
        let csa = self.program.dialect == Dialect::Varnishncsa;
        let text: &[u8] = match (place, missing) {
            (Place::Bare, Missing::Text(text)) => return self.raw(place, text.as_bytes()),
            (Place::Bare, _) => b"null",
            (_, Missing::Text(text)) => text.as_bytes(),
            (Place::Quoted, Missing::Int) if csa => b"0",
            (Place::Text, Missing::Dash | Missing::Int) => b"-",
            _ => b"",
        };
        self.out.extend_from_slice(text);
    }

    pub(super) fn number(&mut self, number: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}
