//! The rows of a row group, in memory, column by column.

use super::layout::{Field, Kind, Layout};
use super::row::{Cell, Row};

/// The values of a column; a row without one has zero or no text, and is not valid.
#[derive(Debug)]
pub(super) enum Values {
    Int(Vec<i64>),
    Real(Vec<f64>),
    Text(Texts),
}

/// Texts behind one another.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    /// Where text `at` is.
    pub(super) fn range(&self, at: usize) -> std::ops::Range<usize> {
        let end = |at: usize| self.ends.get(at).copied().unwrap_or_default();
        at.checked_sub(1).map_or(0, end)..end(at)
    }

    pub(super) fn get(&self, at: usize) -> &[u8] {
        self.bytes.get(self.range(at)).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// A column of the format.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) values: Values,
    pub(super) valid: Vec<bool>,
}

impl Column {
    fn of(field: &Field) -> Self {
        let values = match field.kind {
            Kind::Text => Values::Text(Texts::default()),
            Kind::Seconds => Values::Real(Vec::new()),
            _ => Values::Int(Vec::new()),
        };
        Self { values, valid: Vec::new() }
    }

    /// An empty one of texts.
    pub(super) fn texts() -> Self {
        Self { values: Values::Text(Texts::default()), valid: Vec::new() }
    }

    fn push(&mut self, cell: &Cell, row: &Row) {
        self.valid.push(*cell != Cell::Null);
        match (&mut self.values, cell) {
            (Values::Int(values), Cell::Int(value)) => values.push(*value),
            (Values::Int(values), _) => values.push(0),
            (Values::Real(values), Cell::Real(value)) => values.push(*value),
            (Values::Real(values), _) => values.push(0.0),
            (Values::Text(texts), Cell::Text(range)) => texts.push(row.bytes(range)),
            (Values::Text(texts), _) => texts.push(b""),
        }
    }

    /// Adds the value of row `at` to `row`.
    fn get(&self, at: usize, row: &mut Row) {
        let valid = self.valid.get(at).copied().unwrap_or_default();
        let cell = match &self.values {
            _ if !valid => Cell::Null,
            Values::Int(values) => Cell::Int(values.get(at).copied().unwrap_or_default()),
            Values::Real(values) => Cell::Real(values.get(at).copied().unwrap_or_default()),
            Values::Text(texts) => {
                let from = row.text.len();
                row.text.extend_from_slice(texts.get(at));
                Cell::Text(from..row.text.len())
            }
        };
        row.cells.push(cell);
    }

    fn clear(&mut self) {
        self.valid.clear();
        match &mut self.values {
            Values::Int(values) => values.clear(),
            Values::Real(values) => values.clear(),
            Values::Text(texts) => texts.clear(),
        }
    }
}

/// Rows that were added one after the other.
#[derive(Debug)]
pub(super) struct Table {
    /// Microseconds since 1970.
    pub(super) times: Vec<i64>,
    /// Places of the blocks among those of the object.
    pub(super) blocks: Vec<i32>,
    /// Places of the lines in their blocks.
    pub(super) lines: Vec<i32>,
    pub(super) columns: Vec<Column>,
    /// Lines that were not taken apart.
    pub(super) raw: Column,
    bytes: usize,
}

impl Table {
    /// One without rows.
    pub(super) fn new(layout: &Layout) -> Self {
        Self {
            times: Vec::new(),
            blocks: Vec::new(),
            lines: Vec::new(),
            columns: layout.fields().map(Column::of).collect(),
            raw: Column::texts(),
            bytes: 0,
        }
    }

    /// Its rows.
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// Bytes of its values.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of a row without its texts: for each value that it is and where, and 33 of our own columns.
    pub(super) fn row_bytes(&self) -> usize {
        9 * self.columns.len() + 33
    }

    /// Adds a row: a line's values, or the line itself, as text.
    pub(super) fn push(
        &mut self,
        time: i64,
        (block, line): (i32, i32),
        row: &Row,
        raw: Option<&[u8]>,
    ) {
        self.times.push(time);
        self.blocks.push(block);
        self.lines.push(line);
        for (at, column) in self.columns.iter_mut().enumerate() {
            let cell = row.cells.get(at).filter(|_| raw.is_none());
            column.push(cell.unwrap_or(&Cell::Null), row);
        }
        self.raw.valid.push(raw.is_some());
        if let Values::Text(texts) = &mut self.raw.values {
            texts.push(raw.unwrap_or_default());
        }
        let text = raw.map_or(row.text.len(), <[u8]>::len);
        self.bytes += text + self.row_bytes();
    }

    /// The line of row `at`, appended to `out` with its newline.
    pub(super) fn line(&self, at: usize, layout: &Layout, row: &mut Row, out: &mut Vec<u8>) {
        row.clear();
        match &self.raw.values {
            Values::Text(texts) if self.raw.valid.get(at) == Some(&true) => {
                super::text::to_bytes(texts.get(at), out);
            }
            _ => {
                self.columns.iter().for_each(|column| column.get(at, row));
                layout.render(row, out);
            }
        }
        out.push(b'\n');
    }

    /// No rows; their room is kept.
    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.blocks.clear();
        self.lines.clear();
        self.columns.iter_mut().for_each(Column::clear);
        self.raw.clear();
        self.bytes = 0;
    }
}
