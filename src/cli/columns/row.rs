//! The values of one line.

use std::ops::Range;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    /// A number; of a time, microseconds since 1970.
    Int(i64),
    Real(f64),
    /// Where in [`Row::text`] it is, UTF-8.
    Text(Range<usize>),
}

/// The values of a line, in the order of its layout's columns.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
    pub(super) text: Vec<u8>,
}

impl Row {
    /// No values.
    pub(super) fn clear(&mut self) {
        self.cells.clear();
        self.text.clear();
    }

    /// The bytes of a text.
    pub(super) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }
}
