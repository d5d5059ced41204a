//! A [`Program`] and a finished task give one line.
//!
//! The line is appended to the caller's buffer, which is reused: usual formats (up to 32
//! captured values, usual strftime conversions) allocate nothing else.

use smallvec::SmallVec;

use super::heal::heal;
use super::limit;
use super::options::{Dialect, Escape, MessageType};
use super::prefix::LENGTH_MAX;
use super::program::{Edge, Missing, Op, Place, Program, Unit, What, slot};
use super::task::{Connection, Handling, Message, Moment, Side, Task};
use super::text::{header, trim};
use super::walk::{Captured, walk};
use super::{base64, escape, time};

/// What there is to count about a rendered line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rendered {
    /// The line was longer than `max_line` and is cut; it says so itself.
    pub truncated: bool,
    /// A value was cut or lost in the log, and the structs could not replace it.
    pub incomplete: bool,
}

impl Program {
    /// Appends exactly one line, with its newline, to `out`.
    pub fn render(&self, task: &Task<'_>, out: &mut Vec<u8>) -> Rendered {
        let start = out.len();
        let mut found = Captured::new(self.slots);
        walk(self, task, &mut found);
        heal(self, task, &mut found);
        let times = Times::new(self, task, &mut found);
        self.prefix.write(times.end.or(times.start), out);
        let found = &mut found;
        let mut line = Line { program: self, task, found, times, values: SmallVec::new(), out };
        for op in &self.ops {
            match op {
                Op::Literal(text) => line.out.extend_from_slice(text),
                Op::Print(place, what) => line.print(*place, what),
            }
        }
        let incomplete = line.found.incomplete;
        let values = line.values;
        out.push(b'\n');
        let logplex = self.message == MessageType::Logplex;
        let most = self.max_line.saturating_sub(if logplex { LENGTH_MAX } else { 0 });
        let truncated = out.len() - start > most;
        if truncated && self.escape == Escape::Json {
            limit::cut_values(out, start, most, &values);
        } else if truncated {
            limit::cut_line(out, start, most);
        }
        if logplex {
            frame(out, start);
        }
        Rendered { truncated, incomplete }
    }
}

/// Puts the length of `out[start..]` and a space before it.
pub(super) fn frame(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start;
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(length).as_bytes();
    let digits = text.len() + 1;
    out.extend_from_slice(text);
    out.push(b' ');
    if let Some(line) = out.get_mut(start..) {
        line.rotate_right(digits);
    }
}

/// When the task began and ended, in seconds since 1970.
struct Times {
    start: Option<f64>,
    end: Option<f64>,
}

impl Times {
    fn new(program: &Program, task: &Task<'_>, found: &mut Captured<'_>) -> Self {
        let start = found.get(slot::START).bytes.and_then(time::parse);
        let end = found.get(slot::END).bytes.and_then(time::parse);
        let mut times = Self { start, end };
        let lost = |slot, time: Option<f64>| program.uses(slot) && time.is_none();
        let some = lost(slot::START, start) || lost(slot::END, end);
        let masked = || program.masked(task.mask, super::tags::Tag::Timestamp);
        if some && program.heal && (!found.whole || masked()) {
            let ask = |moment| {
                let time = task.structs.moment(moment).filter(|time| time.is_finite());
                time.map(time::quantise)
            };
            times.start = times.start.or_else(|| ask(Moment::Start));
            times.end = times.end.or_else(|| ask(Moment::End));
            found.incomplete |= lost(slot::END, times.end);
        }
        found.incomplete |= lost(slot::START, times.start);
        times
    }

    fn at(&self, edge: Edge) -> Option<f64> {
        match edge {
            Edge::Begin => self.start,
            Edge::End => self.end.or(self.start),
        }
    }
}

struct Line<'l, 'p, 'a> {
    program: &'p Program,
    task: &'l Task<'a>,
    found: &'l mut Captured<'a>,
    times: Times,
    /// Where in `out` the JSON strings' values lie, for the day the line is too long.
    values: SmallVec<[(usize, usize); 32]>,
    out: &'l mut Vec<u8>,
}

impl<'a> Line<'_, '_, 'a> {
    fn print(&mut self, place: Place, what: &What) {
        match what {
            What::Slot(at, missing) => {
                let value = self.found.get(*at);
                match value.bytes {
                    Some(bytes) if !value.gone => self.text(place, bytes),
                    _ => self.absent(place, *missing),
                }
            }
            What::Status => self.status(place),
            What::RequestLine => self.request_line(place),
            What::User => self.user(place),
            What::Clock(edge, layout) => match self.times.at(*edge) {
                Some(time) => {
                    let from = self.open(place);
                    layout.write(time.floor() as i64, self.out);
                    self.close(place, from);
                }
                None => self.absent(place, Missing::Dash),
            },
            What::Epoch(edge, unit) => match self.times.at(*edge) {
                Some(time) => self.epoch(place, time, *unit),
                None => self.absent(place, Missing::Int),
            },
            What::Elapsed(unit) => self.elapsed(place, *unit),
            What::FirstByte => self.first_byte(place),
            What::BodyBytes { dash_for_zero } => match self.acct(self.task.side, 5) {
                Some(0) if *dash_for_zero && place != Place::Bare => self.raw(place, b"-"),
                Some(count) => self.number(count),
                None => self.absent(place, Missing::Int),
            },
            What::BytesIn => self.total(place, slot::PIPE_IN, 3),
            What::BytesOut => self.total(place, slot::PIPE_OUT, 6),
            What::AcctField(side, 0) => self.acct_text(place, *side),
            What::AcctField(side, field) => match self.acct(*side, *field) {
                Some(count) => self.number(count),
                None => self.absent(place, Missing::Dash),
            },
            What::HitMiss => match self.found.hit {
                Some(hit) => self.raw(place, if hit { b"hit" } else { b"miss" }),
                None => self.unknown(place),
            },
            What::Handling => match self.found.handling {
                Some(handling) => self.raw(place, handling_name(handling)),
                None => self.unknown(place),
            },
            What::Side => {
                self.raw(place, if self.task.side == Side::Client { b"c" } else { b"b" });
            }
            What::Vxid => self.number(self.task.vxid),
            What::Cookie(at, name) => self.cookie(place, *at, name),
            What::Address(which) => {
                let structs = self.task.structs;
                match structs.address(*which) {
                    Some(address) => self.text(place, address),
                    None => self.absent(place, Missing::Dash),
                }
            }
            What::Connection => match self.task.structs.connection() {
                Some(Connection::Aborted) => self.raw(place, b"X"),
                Some(Connection::KeptAlive) => self.raw(place, b"+"),
                Some(Connection::Closed) => self.raw(place, b"-"),
                None => self.unknown(place),
            },
            What::Fixed(text) if *text == "-" => self.unknown(place),
            What::Fixed(text) => self.text(place, text.as_bytes()),
            What::Value(key) => {
                let structs = self.task.structs;
                match structs.value(key) {
                    Some(value) => self.text(place, value),
                    None => self.absent(place, Missing::Dash),
                }
            }
        }
    }

    /// Begins a value made of several parts.
    fn open(&mut self, place: Place) -> usize {
        if place == Place::Bare {
            self.out.push(b'"');
        }
        self.out.len()
    }

    /// Ends what [`Self::open`] began.
    fn close(&mut self, place: Place, from: usize) {
        if place != Place::Text {
            self.values.push((from, self.out.len() - from));
        }
        if place == Place::Bare {
            self.out.push(b'"');
        }
    }

    /// Escapes a part of a value.
    fn part(&mut self, bytes: &[u8]) {
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
    fn text(&mut self, place: Place, bytes: &[u8]) {
        if place == Place::Bare && escape::bare(bytes) {
            self.out.extend_from_slice(bytes);
            return;
        }
        let from = self.open(place);
        self.part(bytes);
        self.close(place, from);
    }

    /// Prints text that needs no escape and is no number.
    fn raw(&mut self, place: Place, text: &[u8]) {
        if place == Place::Bare {
            self.out.push(b'"');
        }
        self.out.extend_from_slice(text);
        if place == Place::Bare {
            self.out.push(b'"');
        }
    }

    /// Prints the dash of a value that this place never has.
    fn unknown(&mut self, place: Place) {
        self.out.extend_from_slice(if place == Place::Bare { b"null" } else { b"-" });
    }

    fn absent(&mut self, place: Place, missing: Missing) {
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

    fn number(&mut self, number: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn acct(&self, side: Side, field: u8) -> Option<u64> {
        if side == self.task.side { self.task.acct?.field(field) } else { None }
    }

    fn total(&mut self, place: Place, piped: u16, field: u8) {
        if let Some(bytes) = self.found.get(piped).bytes {
            self.text(place, bytes);
        } else if let Some(count) = self.acct(self.task.side, field) {
            self.number(count);
        } else {
            let masked = self.program.masked(self.task.mask, super::tags::Tag::PipeAcct);
            self.found.incomplete |= masked || !self.found.whole;
            self.absent(place, Missing::Int);
        }
    }

    fn acct_text(&mut self, place: Place, side: Side) {
        if self.acct(side, 1).is_none() {
            return self.absent(place, Missing::Dash);
        }
        let from = self.open(place);
        for field in 1..=6 {
            if field > 1 {
                self.out.push(b' ');
            }
            self.number(self.acct(side, field).unwrap_or_default());
        }
        self.close(place, from);
    }

    fn status(&mut self, place: Place) {
        let program = self.program;
        if let Some(bytes) = self.found.get(slot::STATUS).bytes {
            return self.text(place, bytes);
        }
        let tag = match self.task.side {
            Side::Client => super::tags::Tag::RespStatus,
            Side::Backend => super::tags::Tag::BerespStatus,
        };
        if program.heal && (!self.found.whole || program.masked(self.task.mask, tag)) {
            match self.task.structs.status().filter(|status| *status != 0) {
                Some(status) => return self.number(u64::from(status)),
                None => self.found.incomplete = true,
            }
        }
        self.absent(place, Missing::Int);
    }

    fn request_line(&mut self, place: Place) {
        let get = |at| self.found.get(at).bytes;
        let (method, path, query) = (get(slot::METHOD), get(slot::PATH), get(slot::QUERY));
        let (protocol, host) = (get(slot::PROTOCOL), get(slot::HOST));
        let csa = self.program.dialect == Dialect::Varnishncsa;
        if !csa && method.is_none() {
            return self.absent(place, Missing::Dash);
        }
        let from = self.open(place);
        self.part(method.unwrap_or(b"-"));
        self.out.push(b' ');
        if csa {
            let host = host.unwrap_or(b"localhost");
            if !host.starts_with(b"http://") {
                self.out.extend_from_slice(b"http://");
            }
            self.part(host);
        }
        self.part(path.unwrap_or_default());
        self.part(query.unwrap_or_default());
        match protocol {
            None if !csa => {}
            _ => {
                self.out.push(b' ');
                self.part(protocol.unwrap_or(b"HTTP/1.0"));
            }
        }
        self.close(place, from);
    }

    fn user(&mut self, place: Place) {
        let auth = self.found.get(slot::AUTH).bytes;
        let decoded = auth.and_then(base64::decode);
        let Some(decoded) = decoded else {
            let csa = self.program.dialect == Dialect::Varnishncsa;
            return if csa { self.unknown(place) } else { self.absent(place, Missing::Dash) };
        };
        let end = decoded.iter().position(|b| matches!(b, b':' | 0)).unwrap_or(decoded.len());
        let user = decoded.get(..end).unwrap_or_default();
        if user.is_empty() && place == Place::Text && self.program.dialect == Dialect::Apache {
            self.out.extend_from_slice(b"\"\"");
            return;
        }
        let from = self.open(place);
        self.part(user);
        self.close(place, from);
    }

    fn epoch(&mut self, place: Place, time: f64, unit: Unit) {
        match unit {
            Unit::Seconds => self.number(time as i64),
            Unit::Millis => self.number((time * 1e3) as i64),
            Unit::Micros => self.number((time * 1e6) as i64),
            Unit::MillisFraction | Unit::MicrosFraction => {
                let (scale, width) = if unit == Unit::MillisFraction { (1e3, 3) } else { (1e6, 6) };
                let fraction = (time.fract() * scale) as u32;
                // A number in JSON has no leading zeros.
                if place == Place::Bare {
                    self.number(u64::from(fraction));
                } else {
                    time::padded(fraction, width, self.out);
                }
            }
        }
    }

    /// Time from begin to end. varnishncsa subtracts doubles and cuts, so that 250 ms may print
    /// as 249,999 us; dialect apache counts whole microseconds.
    fn elapsed(&mut self, place: Place, unit: Unit) {
        let (Some(start), Some(end)) = (self.times.start, self.times.at(Edge::End)) else {
            return self.absent(place, Missing::Int);
        };
        if self.program.dialect == Dialect::Varnishncsa {
            let elapsed = end - start;
            return self.number(match unit {
                Unit::Millis | Unit::MillisFraction => (elapsed * 1e3) as i64,
                Unit::Micros | Unit::MicrosFraction => (elapsed * 1e6) as i64,
                Unit::Seconds => elapsed as i64,
            });
        }
        let micros = |time: f64| (time * 1e6).round() as i64;
        let elapsed = micros(end).saturating_sub(micros(start));
        self.number(match unit {
            Unit::Millis | Unit::MillisFraction => elapsed / 1_000,
            Unit::Micros | Unit::MicrosFraction => elapsed,
            Unit::Seconds => elapsed / 1_000_000,
        });
    }

    fn first_byte(&mut self, place: Place) {
        if let Some(bytes) = self.found.get(slot::FIRST_BYTE).bytes {
            return self.text(place, bytes);
        }
        let masked = self.program.masked(self.task.mask, super::tags::Tag::Timestamp);
        if self.program.heal && (!self.found.whole || masked) {
            let first = self.task.structs.moment(Moment::FirstByte).filter(|t| t.is_finite());
            if let (Some(first), Some(start)) = (first, self.times.start) {
                let micros = ((first - start) * 1e6).max(0.0) as u64;
                self.number(micros / 1_000_000);
                self.out.push(b'.');
                return time::padded((micros % 1_000_000) as u32, 6, self.out);
            }
            self.found.incomplete = true;
        }
        self.absent(place, Missing::Int);
    }

    /// A cookie of the first `Cookie` header, or of any other as received.
    fn cookie(&mut self, place: Place, at: u16, name: &[u8]) {
        let captured = self.found.get(at).bytes.and_then(|value| cookie(value, name));
        let structs = self.task.structs;
        let value: Option<&'a [u8]> = captured.or_else(|| {
            (0..1_000)
                .map_while(|index| structs.header(Message::Received, index))
                .filter_map(|line| header(line, b"Cookie"))
                .find_map(|value| cookie(value, name))
        });
        match value {
            Some(value) => self.text(place, value),
            None => self.absent(place, Missing::Dash),
        }
    }
}

fn cookie<'v>(header: &'v [u8], name: &[u8]) -> Option<&'v [u8]> {
    header.split(|byte| *byte == b';').find_map(|pair| {
        let value = trim(pair).strip_prefix(name)?;
        trim(value).strip_prefix(b"=").map(trim)
    })
}

fn handling_name(handling: Handling) -> &'static [u8] {
    match handling {
        Handling::Hit => b"hit",
        Handling::HitMiss => b"hitmiss",
        Handling::HitPass => b"hitpass",
        Handling::Miss => b"miss",
        Handling::Pass => b"pass",
        Handling::Pipe => b"pipe",
        Handling::Synth => b"synth",
    }
}
