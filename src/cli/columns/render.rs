//! Values to a line.

use super::layout::{Field, Kind, Layout, Piece};
use super::row::{Cell, Row};
use super::text::to_bytes;
use crate::record::columns::Position;
use crate::record::{Escape, escape, padded};

impl Layout {
    /// Appends the line of `row`, without a newline.
    pub(super) fn render(&self, row: &Row, out: &mut Vec<u8>) {
        let mut cells = row.cells.iter();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Field(field) => {
                    if let Some(cell) = cells.next() {
                        self.cell(field, cell, row, out);
                    }
                }
            }
        }
    }

    fn cell(&self, field: &Field, cell: &Cell, row: &Row, out: &mut Vec<u8>) {
        let whole = |number: i64, out: &mut Vec<u8>| {
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        };
        match (cell, &field.kind) {
            (Cell::Null, _) => out.extend_from_slice(field.absent.as_deref().unwrap_or_default()),
            (Cell::Text(range), _) => self.write_text(field, row.bytes(range), out),
            (Cell::Int(micros), Kind::Time(pattern)) => pattern.write(*micros, out),
            (Cell::Int(micros), Kind::Epoch(units)) => whole(micros / (1_000_000 / units), out),
            (Cell::Int(number), _) => whole(*number, out),
            (Cell::Real(seconds), _) => {
                let micros = (seconds * 1e6).round() as i64;
                whole(micros / 1_000_000, out);
                out.push(b'.');
                padded(micros.rem_euclid(1_000_000) as u32, 6, out);
            }
        }
    }

    fn write_text(&self, field: &Field, text: &[u8], out: &mut Vec<u8>) {
        let mut owned = Vec::new();
        let bytes = if text.is_ascii() {
            text
        } else {
            to_bytes(text, &mut owned);
            &owned
        };
        match field.position {
            Position::Prefix => out.extend_from_slice(bytes),
            Position::Bare if escape::bare(bytes) => out.extend_from_slice(bytes),
            Position::Bare => {
                out.push(b'"');
                escape::json(bytes, out);
                out.push(b'"');
            }
            Position::Text | Position::Quoted => match self.escape {
                Escape::Clf => escape::clf(bytes, self.apache, out),
                Escape::Json => escape::json(bytes, out),
                Escape::Tsv => escape::tsv(bytes, out),
                Escape::None => escape::none(bytes, out),
            },
        }
    }
}
