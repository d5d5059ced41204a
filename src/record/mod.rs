//! From a compiled format and a finished task to one line of bytes.
//!
//! A [`Program`] is compiled once from a format string: the union of Fastly's variables and
//! varnishncsa's. [`Program::render`] takes from a request's structs what they have as it was logged,
//! walks the task's own log buffer for the rest, by varnishncsa's rules, takes from the structs what the
//! buffer cut or lost, and appends one line.
//!
//! | file | what it knows |
//! |---|---|
//! | [`tags`], [`vsl`] | Varnish's log tags and the layout of a task's log buffer |
//! | [`task`] | what the VMOD hands over |
//! | `compile`, `specifier`, `builder`, `json`, `program` | format string to operations |
//! | `text` | the parts of a record's text |
//! | `settled` | what Varnish's structs have exactly as the log does |
//! | `needs` | which tags of the log a format needs beside the structs |
//! | `walk`, `heal` | which record a value comes from, and what replaces it |
//! | `render`, `values`, `times`, [`time`] | operations to bytes |
//! | `line`, [`escape`], `limit`, `prefix` | how those bytes make one line |
//! | `fastly`, `convert` | what stands here for a format of Fastly's |
//! | [`columns`] | the columns that a format's lines have, and what stands between them |
//! | `example` | a request and a fetch to show a format with |
//! | [`privacy`] | pseudonyms for values that VCL sets |
//!
//! Limits: a format has at most 1,000 specifiers; a line at most `max_line` bytes (default
//! 16 KiB, 256 to 65,000), a longer one is cut visibly and counted, and little more of it is written
//! than the cut leaves (`line`); nothing but formats with
//! more than 32 captured values or unusual time conversions allocates. Nothing here reads a
//! clock, takes a lock, or knows a type of Varnish's.
//!
//! Not here: which tasks are logged, and when.

mod base64;
mod builder;
pub mod columns;
mod compile;
mod convert;
mod error;
pub mod escape;
mod example;
mod fastly;
mod fastly_header;
mod filter;
mod heal;
mod json;
mod limit;
mod line;
mod needs;
mod options;
mod prefix;
pub mod privacy;
mod program;
mod prune;
mod render;
mod sample;
mod settled;
mod specifier;
pub mod tags;
pub mod task;
mod text;
pub mod time;
mod times;
mod values;
pub mod vsl;
mod walk;

pub use convert::{Converted, SetValue, Untranslated, convert};
pub use error::FormatError;
pub use needs::{NamedTag, Need, When};
#[cfg(test)]
pub(crate) use options::MAX_LINE_MIN;
pub use options::{Dialect, Escape, MessageType, Options};
pub(crate) use options::{MAX_LINE_DEFAULT, MAX_LINE_MAX};
pub use program::Program;
pub use render::Rendered;
pub use sample::{NotASample, Sample};
pub use tags::{Tag, TagTable};
pub use task::{Acct, Names, Settled, Side, Structs, Task};
pub use time::Zone;
#[cfg(feature = "parquet")]
pub(crate) use time::{Civil, MONTHS, padded};

#[cfg(test)]
mod tests;
