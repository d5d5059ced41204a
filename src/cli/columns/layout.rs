//! The parts of a format's lines. A file has its own as JSON, so that it needs no settings to be read.

use std::io;

use serde::{Deserialize, Serialize};

use super::moment::Pattern;
use super::row::{Cell, Row};
use crate::record::columns::{Column, ColumnType, Part, Position};
use crate::record::{Dialect, Escape, Program};

/// The version that this code writes and the newest that it reads.
const VERSION: u32 = 1;

/// What a file says of its lines.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    /// As the argument `escape`.
    escape: String,
    /// As the argument `dialect`.
    dialect: String,
    parts: Vec<Part>,
}

const ESCAPES: [(&str, Escape); 4] =
    [("clf", Escape::Clf), ("json", Escape::Json), ("tsv", Escape::Tsv), ("none", Escape::None)];

/// How a column's values are written.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Text,
    Int32,
    Int64,
    Seconds,
    Time(Pattern),
    Epoch(i64),
}

/// A column in a line.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) position: Position,
    /// How its text tells a moment.
    pub(super) moment: Option<Pattern>,
    pub(super) absent: Option<Vec<u8>>,
    /// The text behind it; the end of the line when empty.
    pub(super) end: Vec<u8>,
}

/// A part of a line.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Literal(Vec<u8>),
    Field(Box<Field>),
}

/// How lines are taken apart and written.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Layout {
    pub(super) escape: Escape,
    /// The dialect `apache`, which escapes two more bytes by a letter.
    pub(super) apache: bool,
    pub(super) pieces: Vec<Piece>,
    /// The column, by its place among columns, that says when a line was.
    pub(super) time: Option<usize>,
    json: String,
}

/// What is wrong with the bytes of a file.
pub(super) fn bad(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is no Parquet file of ours: {problem}"))
}

impl Layout {
    /// Of the lines of a program.
    ///
    /// # Errors
    /// A sentence: no line has a value.
    pub(in crate::cli) fn of(program: &Program) -> Result<Self, String> {
        let escape = program.escape();
        let name = ESCAPES.iter().find(|(_, known)| *known == escape);
        let document = Document {
            version: VERSION,
            escape: name.map_or("", |(name, _)| *name).to_owned(),
            dialect: match program.dialect() {
                Dialect::Apache => "apache",
                Dialect::Varnishncsa => "varnishncsa",
            }
            .to_owned(),
            parts: program.columns(),
        };
        if !document.parts.iter().any(|part| matches!(part, Part::Column(_))) {
            return Err("the format has no values".to_owned());
        }
        Self::compile(document).ok_or_else(|| "the format has no columns".to_owned())
    }

    /// Of what a file says.
    ///
    /// # Errors
    /// A sentence: it is not what [`Layout::json`] gives; [`io::ErrorKind::Unsupported`] for that of a newer
    /// release.
    pub(super) fn parse(json: &str) -> io::Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_str(json).map_err(|it| bad(&it.to_string()))?;
        if version > VERSION {
            let text = format!(
                "its lines have layout {version} and this release reads up to {VERSION}: use a newer \
                 s3log"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let document = serde_json::from_str(json).map_err(|it| bad(&it.to_string()))?;
        Self::compile(document).ok_or_else(|| bad("its layout cannot be used"))
    }

    fn compile(document: Document) -> Option<Self> {
        let json = serde_json::to_string(&document).ok()?;
        let (_, escape) = ESCAPES.iter().find(|(name, _)| *name == document.escape)?;
        let mut pieces = Vec::with_capacity(document.parts.len());
        let mut parts = document.parts.into_iter().peekable();
        while let Some(part) = parts.next() {
            pieces.push(match part {
                Part::Literal(text) => Piece::Literal(text.into_bytes()),
                Part::Column(column) => {
                    let end = match parts.peek() {
                        Some(Part::Literal(text)) => text.clone().into_bytes(),
                        // Nothing tells where one ends and the other begins.
                        Some(Part::Column(_)) => return None,
                        None => Vec::new(),
                    };
                    Piece::Field(Box::new(Field::new(column, end)?))
                }
            });
        }
        let mut layout = Self {
            escape: *escape,
            apache: document.dialect == "apache",
            pieces,
            time: None,
            json,
        };
        // The first of the finest: what a request begins with mostly stands before its end.
        let finest = layout.fields().enumerate().map(|(at, field)| (field.fineness(), at));
        let finest = finest.filter(|(fineness, _)| *fineness > 0);
        layout.time =
            finest.max_by_key(|(fineness, at)| (*fineness, usize::MAX - at)).map(|(_, at)| at);
        Some(layout)
    }

    /// Its columns.
    pub(super) fn fields(&self) -> impl Iterator<Item = &Field> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field(field) => Some(&**field),
            Piece::Literal(_) => None,
        })
    }

    /// When the line of `row` was, microseconds since 1970.
    pub(super) fn moment(&self, row: &Row) -> Option<i64> {
        let at = self.time?;
        match row.cells.get(at)? {
            Cell::Int(micros) => Some(*micros),
            Cell::Text(range) => {
                let pattern = self.fields().nth(at)?.moment.as_ref()?;
                pattern.parse(row.bytes(range)).map(|(micros, _)| micros)
            }
            Cell::Null | Cell::Real(_) => None,
        }
    }

    /// What a file keeps of it.
    pub(super) fn json(&self) -> &str {
        &self.json
    }
}

impl Field {
    fn new(column: Column, end: Vec<u8>) -> Option<Self> {
        let kind = match column.kind {
            ColumnType::Text => Kind::Text,
            ColumnType::Int32 => Kind::Int32,
            ColumnType::Int64 => Kind::Int64,
            ColumnType::Seconds => Kind::Seconds,
            ColumnType::Time(pattern) => Kind::Time(Pattern::compile(&pattern)?),
            ColumnType::Epoch(units @ (1 | 1_000 | 1_000_000)) => Kind::Epoch(i64::from(units)),
            ColumnType::Epoch(_) => return None,
        };
        let absent = column.absent.map(String::into_bytes);
        let moment =
            column.moment.as_deref().map(Pattern::compile).map_or(Some(None), |it| it.map(Some))?;
        Some(Self { name: column.name, kind, position: column.position, moment, absent, end })
    }

    /// Units in a second that its times tell; 0 for what is no time.
    fn fineness(&self) -> i64 {
        match &self.kind {
            Kind::Time(pattern) => pattern.fineness(),
            Kind::Epoch(units) => *units,
            _ => self.moment.as_ref().map_or(0, Pattern::fineness),
        }
    }
}
