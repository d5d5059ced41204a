//! Which columns a format's lines have, and what stands between them.
//!
//! The lines of one format are the same texts with other values between them. [`Program::columns`] gives
//! both in their order: enough to take a line apart and to write it again. What each specifier prints
//! decides the type: a status is a number, `%t` a time. In JSON a column is a value with its key for a name;
//! elsewhere it is a specifier. Values that nothing separates are one column.
//!
//! Non-goals: taking lines apart (`cli::columns`). Limits: a time whose text does not say the moment (no
//! date, for example) is text, and so is local time: it could not be written again.

use serde::{Deserialize, Serialize};

use super::options::{Dialect, MessageType};
use super::program::{Edge, Missing, Place, Program, Unit, What, slot};
use super::task::Address;

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

/// Names that a column must not have: the partitions of a path that is written as Hive does.
const TAKEN: [&str; 2] = ["dt", "hour"];
/// What names of columns that no format has begin with.
const RESERVED: &str = "s3log_";

/// A piece of a line before columns are made of it.
#[derive(Clone, Copy)]
enum Atom<'p> {
    Byte(u8),
    Value(Place, &'p What),
}

impl Program {
    /// The parts of a line without its newline, in their order.
    #[must_use]
    pub fn columns(&self) -> Vec<Part> {
        let mut found = Columns { program: self, parts: Vec::new(), text: Vec::new() };
        found.prefix();
        let atoms = self.atoms();
        match atoms
            .iter()
            .any(|atom| matches!(atom, Atom::Value(place, _) if *place != Place::Text))
        {
            true => found.json(&atoms),
            false => found.plain(&atoms),
        }
        found.flush();
        found.parts
    }

    fn atoms(&self) -> Vec<Atom<'_>> {
        let mut atoms = Vec::new();
        for step in &self.steps {
            atoms.extend(step.before.iter().take(step.length).map(|byte| Atom::Byte(*byte)));
            match &step.what {
                What::Nothing => {}
                What::Literal(text) => atoms.extend(text.iter().map(|byte| Atom::Byte(*byte))),
                what => atoms.push(Atom::Value(step.place, what)),
            }
        }
        atoms
    }

    /// A name made of what a specifier prints.
    fn name(&self, what: &What) -> String {
        let edge = |edge: &Edge| if *edge == Edge::Begin { "time" } else { "end_time" };
        match what {
            What::Slot(at, _) => self.slot_name(*at),
            What::Status => "status".to_owned(),
            What::RequestLine => "request".to_owned(),
            What::User => "user".to_owned(),
            What::Clock(of, _) | What::Epoch(of, Unit::Seconds | Unit::Millis | Unit::Micros) => {
                edge(of).to_owned()
            }
            What::Epoch(of, Unit::MillisFraction) => format!("{}_ms", edge(of)),
            What::Epoch(of, Unit::MicrosFraction) => format!("{}_us", edge(of)),
            What::Elapsed(Unit::Seconds) => "duration_s".to_owned(),
            What::Elapsed(Unit::Millis | Unit::MillisFraction) => "duration_ms".to_owned(),
            What::Elapsed(Unit::Micros | Unit::MicrosFraction) => "duration_us".to_owned(),
            What::FirstByte => "first_byte_s".to_owned(),
            What::BodyBytes { .. } => "body_bytes".to_owned(),
            What::BytesIn => "bytes_in".to_owned(),
            What::BytesOut => "bytes_out".to_owned(),
            What::AcctField(_, 0) => "acct".to_owned(),
            What::AcctField(_, field) => format!("acct_{field}"),
            What::HitMiss => "hitmiss".to_owned(),
            What::Handling => "handling".to_owned(),
            What::Side => "side".to_owned(),
            What::Vxid => "vxid".to_owned(),
            What::Cookie(_, name) => format!("cookie_{}", word(name)),
            What::Address(Address::ServerIp) => "server_ip".to_owned(),
            What::Address(Address::ServerPort) => "server_port".to_owned(),
            What::Address(Address::ClientIp) => "client_ip".to_owned(),
            What::Address(Address::ClientPort) => "client_port".to_owned(),
            What::Connection => "connection".to_owned(),
            What::Incomplete => "incomplete".to_owned(),
            What::Value(key) => word(key),
            What::Fixed(_) | What::Nothing | What::Literal(_) => "constant".to_owned(),
        }
    }

    fn slot_name(&self, at: u16) -> String {
        let fixed = match at {
            slot::PROTOCOL => "protocol",
            slot::PATH => "path",
            slot::QUERY => "query",
            slot::HOST_IP => "client_ip",
            slot::METHOD => "method",
            slot::STATUS => "status",
            slot::HOST => "host",
            slot::PORT => "client_port",
            _ => "",
        };
        if !fixed.is_empty() {
            return fixed.to_owned();
        }
        let header = |side: &str, watches: &[super::program::HeaderWatch]| {
            let watch = watches.iter().find(|watch| watch.slot == at)?;
            let which = match watch.which {
                super::program::Which::Usual => "",
                super::program::Which::First => "_first",
                super::program::Which::Last => "_last",
            };
            Some(format!("{side}_{}{which}", word(&watch.name)))
        };
        if let Some(name) = header("req", &self.request).or_else(|| header("resp", &self.response))
        {
            return name;
        }
        if let Some(watch) = self.logs.iter().find(|watch| watch.slot == at) {
            return format!("log_{}", word(watch.key.strip_suffix(b":").unwrap_or(&watch.key)));
        }
        let Some(watch) = self.any.iter().find(|watch| watch.slot == at) else {
            return "value".to_owned();
        };
        let tag = self.tags.name(watch.number).unwrap_or_default();
        let prefix = watch.prefix.strip_suffix(b":").unwrap_or(&watch.prefix);
        let parts = ["vsl".to_owned(), word(tag.as_bytes()), word(prefix)];
        let mut name =
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
        if watch.field > 0 {
            name.push_str(&format!("_{}", watch.field));
        }
        name
    }

    /// Type and absent text of a value that stands alone.
    fn alone(&self, place: Place, what: &What) -> (ColumnType, Option<String>) {
        let csa = self.dialect == Dialect::Varnishncsa;
        let whole = |dash_for_zero: bool| match place {
            Place::Bare => Some("null".to_owned()),
            Place::Quoted if dash_for_zero => Some("-".to_owned()),
            // varnishncsa's `0` is a number.
            Place::Quoted if csa => None,
            Place::Quoted => Some(String::new()),
            Place::Text => Some("-".to_owned()),
        };
        let text = |dash: bool| match place {
            Place::Bare => Some("null".to_owned()),
            Place::Text if dash => Some("-".to_owned()),
            _ => None,
        };
        match what {
            What::Status => (ColumnType::Int32, whole(false)),
            What::Slot(slot::PORT, _)
            | What::Address(Address::ServerPort | Address::ClientPort) => {
                let absent = whole(false).or_else(|| Some(String::new()));
                (ColumnType::Int32, absent)
            }
            What::Incomplete => (ColumnType::Int32, None),
            What::Elapsed(_) | What::BytesIn | What::BytesOut | What::Vxid => {
                (ColumnType::Int64, whole(false))
            }
            What::AcctField(_, 1..) => {
                (ColumnType::Int64, whole(false).or_else(|| Some(String::new())))
            }
            What::BodyBytes { dash_for_zero } => (ColumnType::Int64, whole(*dash_for_zero)),
            What::FirstByte => (ColumnType::Seconds, whole(false)),
            What::Epoch(_, Unit::Seconds) => (ColumnType::Epoch(1), whole(false)),
            What::Epoch(_, Unit::Millis) => (ColumnType::Epoch(1_000), whole(false)),
            What::Epoch(_, Unit::Micros) => (ColumnType::Epoch(1_000_000), whole(false)),
            // Elsewhere with leading zeros.
            What::Epoch(..) if place == Place::Bare => (ColumnType::Int32, whole(false)),
            What::Clock(_, layout) if !layout.is_utc() => (ColumnType::Text, text(true)),
            What::Clock(_, layout) => match layout.pattern().filter(|text| is_moment(text)) {
                Some(pattern) if place == Place::Bare => {
                    (ColumnType::Time(format!("\"{pattern}\"")), text(true))
                }
                Some(pattern) => {
                    let absent = if place == Place::Text { "-" } else { "" };
                    (ColumnType::Time(pattern), Some(absent.to_owned()))
                }
                None => (ColumnType::Text, text(true)),
            },
            What::Slot(_, Missing::Dash | Missing::Int) => (ColumnType::Text, text(true)),
            What::User | What::Cookie(..) | What::Address(_) | What::Value(_) => {
                (ColumnType::Text, text(true))
            }
            What::RequestLine => (ColumnType::Text, text(!csa)),
            What::HitMiss | What::Handling => (ColumnType::Text, text(true)),
            _ => (ColumnType::Text, text(false)),
        }
    }
}

/// A time with digits behind its seconds, if `atoms` are one and nothing else.
fn moment(atoms: &[Atom<'_>]) -> Option<String> {
    let mut pattern = String::new();
    let mut of = None;
    for atom in atoms {
        let edge = match atom {
            Atom::Byte(b'%') => {
                pattern.push_str("%%");
                continue;
            }
            Atom::Byte(byte) if byte.is_ascii() => {
                pattern.push(char::from(*byte));
                continue;
            }
            Atom::Value(Place::Text | Place::Quoted, What::Clock(edge, layout))
                if layout.is_utc() =>
            {
                pattern.push_str(&layout.pattern()?);
                edge
            }
            Atom::Value(Place::Text | Place::Quoted, What::Epoch(edge, unit)) => {
                pattern.push_str(match unit {
                    Unit::MillisFraction => "%3",
                    Unit::MicrosFraction => "%6",
                    _ => return None,
                });
                edge
            }
            _ => return None,
        };
        if of.is_some_and(|of| of != *edge) {
            return None;
        }
        of = Some(*edge);
    }
    is_moment(&pattern).then_some(pattern)
}

/// How local time tells the moment: with its offset.
fn local(what: &What) -> Option<String> {
    let What::Clock(_, layout) = what else { return None };
    layout.pattern().filter(|text| is_moment(text) && text.replace("%%", "").contains("%z"))
}

/// Whether a time's pattern says the day and the second.
fn is_moment(pattern: &str) -> bool {
    ["Y", "mb", "de", "H", "M", "S"].iter().all(|letters| {
        letters.chars().any(|letter| pattern.replace("%%", "").contains(&format!("%{letter}")))
    })
}

/// Lower case letters, digits and `_`.
fn word(bytes: &[u8]) -> String {
    let letter = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte.to_ascii_lowercase()),
        _ => '_',
    };
    bytes.iter().map(letter).collect()
}

/// A place in a JSON document.
struct Frame {
    /// What names in it begin with.
    path: String,
    /// Elements so far, in an array.
    elements: Option<usize>,
    /// The key of the value that comes next, in an object.
    key: Option<String>,
}

impl Frame {
    /// The name of the value that comes here.
    fn name(&self) -> String {
        let of = match self.elements {
            Some(elements) => elements.to_string(),
            None => self.key.clone().unwrap_or_default(),
        };
        if self.path.is_empty() { of } else { format!("{}_{of}", self.path) }
    }
}

struct Columns<'p> {
    program: &'p Program,
    parts: Vec<Part>,
    text: Vec<u8>,
}

impl Columns<'_> {
    fn flush(&mut self) {
        if !self.text.is_empty() {
            // Formats are texts.
            let text = String::from_utf8_lossy(&self.text).into_owned();
            self.parts.push(Part::Literal(text));
            self.text.clear();
        }
    }

    fn column(
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
    fn prefix(&mut self) {
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
    fn plain(&mut self, atoms: &[Atom<'_>]) {
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

    /// A JSON document, whose grammar has been checked.
    fn json(&mut self, atoms: &[Atom<'_>]) {
        let mut frames: Vec<Frame> = Vec::new();
        let mut at = 0;
        while let Some(atom) = atoms.get(at) {
            at += 1;
            let byte = match atom {
                Atom::Byte(byte) => *byte,
                Atom::Value(place, what) => {
                    let name = frames.last().map_or_else(String::new, Frame::name);
                    let of = self.program.alone(*place, what);
                    self.column(&name, of, Position::Bare, None);
                    continue;
                }
            };
            self.text.push(byte);
            match byte {
                b'{' | b'[' => {
                    let path = frames.last().map_or_else(String::new, Frame::name);
                    let elements = (byte == b'[').then_some(0);
                    frames.push(Frame { path, elements, key: None });
                }
                b'}' | b']' => {
                    frames.pop();
                }
                b',' => {
                    if let Some(frame) = frames.last_mut() {
                        frame.elements = frame.elements.map(|elements| elements + 1);
                        frame.key = None;
                    }
                }
                b'"' => {
                    let rest = atoms.get(at..).unwrap_or_default();
                    let inside = rest.get(..closing(rest)).unwrap_or_default();
                    // Its end, too.
                    at += inside.len() + 1;
                    self.string(frames.last_mut(), inside);
                    self.text.push(b'"');
                }
                _ => {}
            }
        }
    }

    /// What is inside a string of a JSON document: a key, a constant, or a column.
    fn string(&mut self, frame: Option<&mut Frame>, inside: &[Atom<'_>]) {
        let bytes = inside.iter().filter_map(|atom| match atom {
            Atom::Byte(byte) => Some(*byte),
            Atom::Value(..) => None,
        });
        let bytes: Vec<u8> = bytes.collect();
        let is_text = bytes.len() == inside.len();
        let mut name = String::new();
        if let Some(frame) = frame {
            if frame.elements.is_none() && frame.key.is_none() {
                // A key with values in it is named after its text alone.
                let text = String::from_utf8_lossy(&bytes);
                let key = serde_json::from_str(&format!("\"{text}\""))
                    .unwrap_or_else(|_| text.into_owned());
                name = format!("{key}_key");
                frame.key = Some(key);
            } else {
                name = frame.name();
            }
        }
        let of = match inside {
            _ if is_text => {
                self.text.extend_from_slice(&bytes);
                return;
            }
            [Atom::Value(place, what)] => self.program.alone(*place, what),
            _ => match moment(inside) {
                Some(pattern) => (ColumnType::Time(pattern), None),
                None => (ColumnType::Text, None),
            },
        };
        let moment = match inside {
            [Atom::Value(_, what)] => local(what),
            _ => None,
        };
        self.column(&name, of, Position::Quoted, moment);
    }
}

/// Where the string ends that `atoms` are the inside of.
fn closing(atoms: &[Atom<'_>]) -> usize {
    let mut escaped = false;
    let end = atoms.iter().position(|atom| match atom {
        Atom::Byte(b'"') if !escaped => true,
        Atom::Byte(b'\\') => {
            escaped = !escaped;
            false
        }
        _ => {
            escaped = false;
            false
        }
    });
    end.unwrap_or(atoms.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Options, TagTable};

    fn shown(format: &str) -> String {
        let program =
            Program::compile(format, &Options::default(), &TagTable::varnish_7()).unwrap();
        let parts = program.columns();
        let show = |part: &Part| match part {
            Part::Literal(text) => text.clone(),
            Part::Column(column) => {
                let absent = column.absent.as_ref().map_or_else(String::new, |a| format!("|{a}"));
                format!("<{}:{:?}{absent}>", column.name, column.kind)
            }
        };
        parts.iter().map(show).collect()
    }

    #[test]
    fn the_columns_of_the_combined_format_have_the_types_of_its_specifiers() {
        assert_eq!(
            shown(r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#),
            "<client_ip:Text|-> - <user:Text|-> \
             <time:Time(\"[%d/%b/%Y:%H:%M:%S %z]\")|-> \"<request:Text|->\" \
             <status:Int32|-> <body_bytes:Int64|-> \"<req_referer:Text|->\" \"<req_user_agent:Text|->\""
        );
        assert_eq!(
            shown("%{%Y-%m-%dT%T}t.%{msec_frac}tZ %U%q %{X}i%D %{sec}t %{end:usec}t %{a}x"),
            "<time:Time(\"%Y-%m-%dT%H:%M:%S.%3\")>Z <url:Text> <req_x_duration_us:Text> \
             <time_2:Epoch(1)|-> <end_time:Epoch(1000000)|-> <a:Text|->"
        );
    }

    #[test]
    fn the_columns_of_a_json_format_have_the_names_of_its_keys() {
        assert_eq!(
            shown(
                r#"{"time":"%{%Y-%m-%dT%H:%M:%S}t.%{usec_frac}tZ","req":{"url":"%U%q","h":[%{A}i,"%m"]},
                "v":1,"status":%>s,"dt":"%B","first":%{Varnish:time_firstbyte}x,"age":"x%{Age}oy","s3log_x":%I}"#
            ),
            "{\"time\":\"<time:Time(\"%Y-%m-%dT%H:%M:%S.%6Z\")>\",\"req\":{\"url\":\"<req_url:Text>\",\
             \"h\":[<req_h_0:Text|null>,\"<req_h_1:Text>\"]},\"v\":1,\"status\":<status:Int32|null>,\
             \"dt\":\"<dt_2:Int64|>\",\"first\":<first:Seconds|null>,\"age\":\"<age:Text>\",\
             \"s3log_x\":<_s3log_x:Int64|null>}"
        );
    }
}
