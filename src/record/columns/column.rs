//! What a format's lines are made of.

use serde::{Deserialize, Serialize};

/// Where a value stands, which decides how it is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// In a line that is not JSON.
    Text,
    /// Inside a JSON string, whose quotes are text.
    Quoted,
    /// Where JSON has a value: a number, a word, or a string with its quotes.
    Bare,
    /// The prefix of a message type, which is not escaped.
    Prefix,
}

/// What a column's values are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Any text.
    Text,
    /// A whole number that 32 bits hold.
    Int32,
    /// A whole number.
    Int64,
    /// Seconds with six digits behind the point.
    Seconds,
    /// A moment, written as this pattern: strftime's `%Y %m %b %d %e %H %M %S %z` (UTC), `%3` and `%6` for
    /// the digits of milliseconds and microseconds.
    Time(String),
    /// A moment in whole units since 1970, of which there are so many in a second.
    Epoch(u32),
}

/// A column of a format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name: a JSON key, or one made of the specifier. Unique but for case.
    pub name: String,
    /// What its values are.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Where they stand.
    pub position: Position,
    /// How a text tells a moment, as in [`ColumnType::Time`], with any offset from UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<String>,
    /// What is printed for no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The same in every line.
    Literal(String),
    /// A value.
    Column(Column),
}
