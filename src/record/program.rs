//! What a format compiles to: a list of operations and the values they watch for.

use super::filter::Filter;
use super::options::{Dialect, Escape, MessageType};
use super::tags::{Tag, TagTable};
use super::task::{Address, Names, Task};
use super::text;
use super::time::Layout;

/// Index of a captured value; the first ones are the same in every program.
pub(super) mod slot {
    pub(crate) const PROTOCOL: u16 = 0;
    pub(crate) const PATH: u16 = 1;
    pub(crate) const QUERY: u16 = 2;
    pub(crate) const HOST_IP: u16 = 3;
    pub(crate) const METHOD: u16 = 4;
    pub(crate) const STATUS: u16 = 5;
    pub(crate) const PIPE_IN: u16 = 6;
    pub(crate) const PIPE_OUT: u16 = 7;
    pub(crate) const START: u16 = 8;
    pub(crate) const END: u16 = 9;
    pub(crate) const FIRST_BYTE: u16 = 10;
    pub(crate) const HOST: u16 = 11;
    pub(crate) const AUTH: u16 = 12;
    pub(crate) const PORT: u16 = 13;
    pub(crate) const FIXED: u16 = 14;
}

/// What stands for a value that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// `-`; nothing inside a JSON string.
    Dash,
    /// `-`; `0` in JSON in dialect varnishncsa.
    Int,
    /// Nothing.
    Empty,
    /// This text.
    Text(&'static str),
}

/// Which occurrence of a repeated header is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// varnishncsa's choice for the side and direction.
    Usual,
    First,
    Last,
}

/// Which end of the task a time is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    Begin,
    End,
}

/// What a time is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Millis,
    Micros,
    MillisFraction,
    MicrosFraction,
}

/// A value that an operation prints.
#[derive(Debug, Clone, PartialEq)]
#[repr(u8)] // A tag of its own, which takes less to tell than one in the values' spare bits.
pub(super) enum What {
    /// Behind the last text.
    Nothing,
    /// Text that is no part of a step.
    Literal(Vec<u8>),
    Slot(u16, Missing),
    Status,
    RequestLine,
    User,
    Clock(Edge, Layout),
    Epoch(Edge, Unit),
    Elapsed(Unit),
    /// Seconds, with the digits of `Timestamp`.
    ElapsedSeconds,
    FirstByte,
    BodyBytes {
        dash_for_zero: bool,
    },
    BytesIn,
    BytesOut,
    /// A field of the counters of a side, which `%{VSL:ReqAcct}x` or `%{VSL:BereqAcct}x` means.
    AcctField(super::task::Side, u8),
    HitMiss,
    Handling,
    Side,
    Vxid,
    Cookie(u16, Vec<u8>),
    Address(Address),
    Connection,
    Fixed(&'static str),
    /// Whether the line lacks a value, `1` or `0`.
    Incomplete,
    Value(Vec<u8>),
}

/// Where in the line a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a line that is not JSON.
    Text,
    /// Inside a JSON string.
    Quoted,
    /// In JSON, where a value is expected.
    Bare,
}

/// One operation of a format.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Literal(Vec<u8>),
    Print(Place, What),
}

/// The most text that is part of a step.
pub(super) const BEFORE_MAX: usize = 8;

/// One step of rendering: a value and the text before it, which is short in most formats.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// The text, and zeros.
    pub(super) before: [u8; BEFORE_MAX],
    /// Its length.
    pub(super) length: usize,
    pub(super) place: Place,
    pub(super) what: What,
}

/// A header that some operation prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeaderWatch {
    pub(super) name: Vec<u8>,
    pub(super) which: Which,
    pub(super) slot: u16,
}

/// A `std.log("key: value")` that some operation prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogWatch {
    pub(super) key: Vec<u8>,
    pub(super) slot: u16,
}

/// A log record of any tag that some operation prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TagWatch {
    pub(super) number: u8,
    pub(super) raw: bool,
    pub(super) prefix: Vec<u8>,
    /// 0 for the whole text, else the field, from 1.
    pub(super) field: u8,
    pub(super) slot: u16,
}

/// Which records a walk over a log looks at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// Whether there are any.
    pub(super) walks: bool,
    /// The tags that some operation needs, by number; the walk skips the others.
    pub(super) needed: [Tag; 256],
    pub(super) filter: Filter,
    /// What still says something once the request has been received.
    pub(super) later: Filter,
    /// Nothing does.
    pub(super) ends: bool,
    /// The first of the request's headers in [`Program::request`] that the walk looks for.
    pub(super) from: usize,
}

impl Plan {
    /// A walk that finds nothing.
    pub(super) fn none() -> Self {
        Self {
            walks: false,
            needed: [Tag::Other; 256],
            filter: Filter::none(),
            later: Filter::none(),
            ends: true,
            from: 0,
        }
    }

    /// What the walk does with records of tag number `number`.
    #[inline]
    pub(super) fn kind(&self, number: u8) -> Tag {
        self.needed.get(usize::from(number)).copied().unwrap_or(Tag::Other)
    }
}

/// A compiled format.
///
/// It holds no state of a request: one program serves all worker threads at once. Equal ones make the
/// same line of the same task.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) tags: TagTable,
    /// For all values.
    pub(super) all: Plan,
    /// For those that the structs of an answered request do not have.
    pub(super) rest: Plan,
    /// Those that the structs have come first.
    pub(super) request: Vec<HeaderWatch>,
    /// What is looked for among the headers in the request's struct.
    pub(super) names: Names,
    /// The slots of those that Varnish adds where the client sent none.
    pub(super) forwarded: Vec<u16>,
    /// The format prints the URL's path or its query apart from the request line.
    pub(super) splits_url: bool,
    /// The format prints the header `Host` apart from the request line.
    pub(super) host: bool,
    pub(super) response: Vec<HeaderWatch>,
    pub(super) logs: Vec<LogWatch>,
    pub(super) any: Vec<TagWatch>,
    /// Bit n: slot n of the fixed ones is printed by some operation.
    pub(super) used: u32,
    pub(super) slots: u16,
    pub(super) uses_handling: bool,
    /// The slot of the reason, if some operation prints it.
    pub(super) reason: Option<u16>,
    pub(super) dialect: Dialect,
    pub(super) escape: Escape,
    pub(super) message: MessageType,
    pub(super) prefix: super::prefix::Prefix,
    pub(super) max_line: usize,
    pub(super) heal: bool,
}

impl Program {
    /// The longest line in bytes, its newline included.
    #[must_use]
    pub const fn max_line(&self) -> usize {
        self.max_line
    }

    pub(super) fn uses(&self, slot: u16) -> bool {
        slot >= slot::FIXED || self.used & (1 << slot) != 0
    }

    /// Whether `vsl_mask` hides records of `tag`; one that Varnish does not have is hidden.
    pub(super) fn masked(&self, task: &Task<'_>, tag: Tag) -> bool {
        self.tags.number(tag).is_none_or(|number| (task.mask)(number))
    }

    /// Whether the format asks for response headers.
    #[must_use]
    pub(crate) fn reads_response_headers(&self) -> bool {
        !self.response.is_empty()
    }

    /// Whether the format asks for the reason of an answer.
    #[must_use]
    pub(crate) fn reads_reason(&self) -> bool {
        self.reason.is_some()
    }

    /// Whether the format prints from a response's header `line`, `Name: value`.
    #[must_use]
    pub(crate) fn prints_response_header(&self, line: &[u8]) -> bool {
        self.response.iter().any(|watch| text::header(line, &watch.name).is_some())
    }

    /// How the values of this program are escaped.
    #[must_use]
    pub fn escape(&self) -> Escape {
        self.escape
    }

    /// Whose rules its lines follow.
    #[cfg(feature = "parquet")]
    #[must_use]
    pub(crate) const fn dialect(&self) -> Dialect {
        self.dialect
    }
}
