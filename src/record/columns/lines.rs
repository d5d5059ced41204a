//! Columns of lines that are not JSON, and what both kinds share.

use super::atoms::Atom;
use super::column::{Column, ColumnType, Part, Position};
use super::types::{local, moment};
use crate::record::options::MessageType;
use crate::record::program::Program;

/// Names that a column must not have: the partitions of a path that is written as Hive does.
const TAKEN: [&str; 2] = ["dt", "hour"];
/// What names of columns that no format has begin with.
const RESERVED: &str = "s3log_";

/// The parts of a line, so far.
pub(super) struct Columns<'p> {
    pub(super) program: &'p Program,
    pub(super) parts: Vec<Part>,
    /// A literal that is being written.
    pub(super) text: Vec<u8>,
}

impl Columns<'_> {
    /// Ends the literal.
    pub(super) fn flush(&mut self) {
        if !self.text.is_empty() {
            // Formats are texts.
            let text = String::from_utf8_lossy(&self.text).into_owned();
            self.parts.push(Part::Literal(text));
            self.text.clear();
        }
    }

    /// Adds a column, under a name that none has.
    pub(super) fn column(
        &mut self,
        name: &str,
        (kind, absent): (ColumnType, Option<String>),
        position: Position,
        moment: Option<String>,
    ) {
        self.flush();
        let name = match name {
            "" => "value".to_owned(),
            name if name.to_ascii_lowercase().starts_with(RESERVED) => format!("_{name}"),
            name => name.to_owned(),
        };
        let has = |name: &str| {
            let known = self.parts.iter().filter_map(|part| match part {
                Part::Column(column) => Some(column.name.as_str()),
                Part::Literal(_) => None,
            });
            TAKEN.into_iter().chain(known).any(|known| known.eq_ignore_ascii_case(name))
        };
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| !has(name));
        let name = free.unwrap_or(name);
        let moment = moment.filter(|_| kind == ColumnType::Text);
        self.parts.push(Part::Column(Column { name, kind, position, moment, absent }));
    }

    /// What a message type puts before a line.
    pub(super) fn prefix(&mut self) {
        let end = match self.program.message {
            MessageType::Blank => return,
            MessageType::Classic => "]: ",
            MessageType::Loggly => " - - ",
            MessageType::Logplex => " - ",
        };
        self.column("syslog", (ColumnType::Text, None), Position::Prefix, None);
        self.text.extend_from_slice(end.as_bytes());
    }

    /// A line that is not JSON.
    pub(super) fn plain(&mut self, atoms: &[Atom<'_>]) {
        let mut at = 0;
        while let Some(atom) = atoms.get(at) {
            let Atom::Value(place, what) = atom else {
                if let Atom::Byte(byte) = atom {
                    self.text.push(*byte);
                }
                at += 1;
                continue;
            };
            // `%{%T}t.%{usec_frac}t`: a time and its fraction.
            let fraction = atoms.get(at..at + 3).and_then(|three| {
                let Some(Atom::Byte(b'.' | b',')) = three.get(1) else { return None };
                moment(three)
            });
            let values = atoms.get(at..).unwrap_or_default().iter();
            let together = values.take_while(|atom| matches!(atom, Atom::Value(..))).count();
            if let Some(pattern) = fraction.filter(|_| together == 1) {
                let of = (ColumnType::Time(pattern), None);
                self.column(&self.program.name(what), of, Position::Text, None);
                at += 3;
            } else if together == 1 {
                let of = self.program.alone(*place, what);
                self.column(&self.program.name(what), of, Position::Text, local(what));
                at += 1;
            } else {
                let name = self.joined(atoms.get(at..at + together).unwrap_or_default());
                self.column(&name, (ColumnType::Text, None), Position::Text, None);
                at += together;
            }
        }
    }

    /// The name of values that nothing separates.
    fn joined(&self, atoms: &[Atom<'_>]) -> String {
        let names: Vec<String> = atoms
            .iter()
            .filter_map(|atom| match atom {
                Atom::Value(_, what) => Some(self.program.name(what)),
                Atom::Byte(_) => None,
            })
            .collect();
        if names == ["path", "query"] { "url".to_owned() } else { names.join("_") }
    }
}
