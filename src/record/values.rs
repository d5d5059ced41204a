//! The values of a format's specifiers, printed into a line one at a time.

use super::base64;
use super::line::Line;
use super::options::Dialect;
use super::program::{Edge, Missing, Place, Program, Unit, What, slot};
use super::tags::Tag;
use super::task::{Connection, Handling, Message, Moment, Side, Task};
use super::text::{header, trim};
use super::time;
use super::times::Times;
use super::walk::Captured;

/// What nearly all requests that came as HTTP/1 say of it.
const USUAL: &[u8; 8] = b"HTTP/1.1";

/// Prints what was found of one task.
pub(super) struct Values<'l, 'p, 'o, 'a> {
    pub(super) program: &'p Program,
    pub(super) task: &'l Task<'a>,
    pub(super) found: &'l mut Captured<'l, 'a>,
    pub(super) times: Times,
    pub(super) line: Line<'p, 'o>,
}

impl<'a> Values<'_, '_, '_, 'a> {
    pub(super) fn print(&mut self, place: Place, what: &What) {
        match what {
            What::Nothing => {}
            What::Literal(text) => self.line.literal(text),
            What::Slot(at, missing) => {
                let value = self.found.get(*at);
                match value.bytes {
                    Some(bytes) if value.plain && place == Place::Text => self.line.literal(bytes),
                    Some(bytes) if !value.gone => self.line.text(place, bytes),
                    _ => self.line.absent(place, *missing),
                }
            }
            What::Status => self.status(place),
            What::RequestLine => self.request_line(place),
            What::User => self.user(place),
            What::Clock(edge, layout) => match self.times.at(*edge) {
                Some(time) => {
                    let from = self.line.open(place);
                    self.line.with(|out| layout.write(time::floor(time), out));
                    self.line.close(place, from);
                }
                None => self.line.absent(place, Missing::Dash),
            },
            What::Epoch(edge, unit) => match self.times.at(*edge) {
                Some(time) => self.epoch(place, time, *unit),
                None => self.line.absent(place, Missing::Int),
            },
            What::Elapsed(unit) => self.elapsed(place, *unit),
            What::ElapsedSeconds => match (self.times.start, self.times.at(Edge::End)) {
                (Some(start), Some(end)) => {
                    let micros = whole_micros(end).saturating_sub(whole_micros(start));
                    self.micros(u64::try_from(micros).unwrap_or(0));
                }
                _ => self.line.absent(place, Missing::Int),
            },
            What::FirstByte => self.first_byte(place),
            What::BodyBytes { dash_for_zero } => match self.acct(self.task.side, 5) {
                Some(0) if *dash_for_zero && place != Place::Bare => self.line.raw(place, b"-"),
                Some(count) => self.line.number(count),
                None => self.line.absent(place, Missing::Int),
            },
            What::BytesIn => self.total(place, slot::PIPE_IN, 3),
            What::BytesOut => self.total(place, slot::PIPE_OUT, 6),
            What::AcctField(side, 0) => self.acct_text(place, *side),
            What::AcctField(side, field) => match self.acct(*side, *field) {
                Some(count) => self.line.number(count),
                None => self.line.absent(place, Missing::Dash),
            },
            What::HitMiss => match self.found.hit {
                Some(hit) => self.line.raw(place, if hit { b"hit" } else { b"miss" }),
                None => self.nothing(place),
            },
            What::Handling => match self.found.handling {
                Some(handling) => self.line.raw(place, handling_name(handling)),
                None => self.nothing(place),
            },
            What::Side => {
                self.line.raw(place, if self.task.side == Side::Client { b"c" } else { b"b" });
            }
            What::Vxid => self.line.number(self.task.vxid),
            What::Cookie(at, name) => self.cookie(place, *at, name),
            What::Address(which) => {
                let structs = self.task.structs;
                match structs.address(*which) {
                    Some(address) => self.line.text(place, address),
                    None => self.line.absent(place, Missing::Dash),
                }
            }
            What::Connection => match self.task.structs.connection() {
                Some(Connection::Aborted) => self.line.raw(place, b"X"),
                Some(Connection::KeptAlive) => self.line.raw(place, b"+"),
                Some(Connection::Closed) => self.line.raw(place, b"-"),
                None => self.nothing(place),
            },
            What::Incomplete => self.line.flag(),
            What::Fixed(text) if *text == "-" => self.line.unknown(place),
            What::Fixed(text) => self.line.text(place, text.as_bytes()),
            What::Value(key) => {
                let structs = self.task.structs;
                match structs.value(key) {
                    Some(value) => self.line.text(place, value),
                    None => self.line.absent(place, Missing::Dash),
                }
            }
        }
    }

    /// Stands for a word that this task has not: in JSON, varnishncsa's own dash is text.
    fn nothing(&mut self, place: Place) {
        match self.program.dialect {
            Dialect::Apache => self.line.absent(place, Missing::Dash),
            Dialect::Varnishncsa => self.line.unknown(place),
        }
    }

    fn acct(&self, side: Side, field: u8) -> Option<u64> {
        if side == self.task.side { self.task.acct?.field(field) } else { None }
    }

    fn total(&mut self, place: Place, piped: u16, field: u8) {
        if let Some(bytes) = self.found.get(piped).bytes {
            self.line.text(place, bytes);
        } else if let Some(count) = self.acct(self.task.side, field) {
            self.line.number(count);
        } else {
            let masked = self.program.masked(self.task, Tag::PipeAcct);
            self.found.incomplete |= masked || !self.found.whole;
            self.line.absent(place, Missing::Int);
        }
    }

    fn acct_text(&mut self, place: Place, side: Side) {
        if self.acct(side, 1).is_none() {
            return self.line.absent(place, Missing::Dash);
        }
        let from = self.line.open(place);
        for field in 1..=6 {
            if field > 1 {
                self.line.literal(b" ");
            }
            self.line.number(self.acct(side, field).unwrap_or_default());
        }
        self.line.close(place, from);
    }

    fn status(&mut self, place: Place) {
        let program = self.program;
        if let Some(status) = self.found.status {
            return self.line.status(status);
        }
        if let Some(bytes) = self.found.get(slot::STATUS).bytes {
            return self.line.text(place, bytes);
        }
        let tag = match self.task.side {
            Side::Client => Tag::RespStatus,
            Side::Backend => Tag::BerespStatus,
        };
        // A pipe has no status of its own.
        let piped = self.task.side == Side::Client && self.task.acct.is_none();
        let lost = !self.found.whole || program.masked(self.task, tag);
        self.found.incomplete |= program.heal && !piped && lost;
        self.line.absent(place, Missing::Int);
    }

    fn request_line(&mut self, place: Place) {
        let get = |at| self.found.get(at).bytes;
        let (method, path, query) = (get(slot::METHOD), get(slot::PATH), get(slot::QUERY));
        let (protocol, host) = (get(slot::PROTOCOL), get(slot::HOST));
        let csa = self.program.dialect == Dialect::Varnishncsa;
        if !csa && method.is_none() {
            return self.line.absent(place, Missing::Dash);
        }
        let from = self.line.open(place);
        // Nearly always; neither it nor the protocol below has anything to escape.
        if method == Some(b"GET") {
            self.line.fixed(b"GET ");
        } else {
            self.line.part(method.unwrap_or(b"-"));
            self.line.fixed(b" ");
        }
        if csa {
            let host = host.unwrap_or(b"localhost");
            if !host.starts_with(b"http://") {
                self.line.literal(b"http://");
            }
            self.line.part(host);
        }
        self.line.part(path.unwrap_or_default());
        if let Some(query) = query {
            self.line.part(query);
        }
        // Compared as one word, which a pattern is not.
        if protocol == Some(USUAL.as_slice()) {
            self.line.fixed(b" ");
            self.line.fixed(USUAL);
        } else if csa || protocol.is_some() {
            self.line.fixed(b" ");
            self.line.part(protocol.unwrap_or(b"HTTP/1.0"));
        }
        self.line.close(place, from);
    }

    fn user(&mut self, place: Place) {
        let auth = self.found.get(slot::AUTH).bytes;
        // One byte more than a line has, so that a line that is cut says so.
        let user = auth.and_then(|auth| base64::user(auth, self.program.max_line() + 1));
        let Some(user) = user else { return self.nothing(place) };
        if user.is_empty() && place == Place::Text && self.program.dialect == Dialect::Apache {
            self.line.literal(b"\"\"");
            return;
        }
        let from = self.line.open(place);
        self.line.part(&user);
        self.line.close(place, from);
    }

    /// A time, or the part of a second that it has. varnishncsa cuts a double, so that 1 us of a second may
    /// print as 0; dialect apache counts whole microseconds.
    fn epoch(&mut self, place: Place, time: f64, unit: Unit) {
        let csa = self.program.dialect == Dialect::Varnishncsa;
        let micros = whole_micros(time);
        let (number, width) = match unit {
            Unit::Seconds => (time as i64, 0),
            Unit::Millis if csa => ((time * 1e3) as i64, 0),
            Unit::Millis => (micros / 1_000, 0),
            Unit::Micros if csa => ((time * 1e6) as i64, 0),
            Unit::Micros => (micros, 0),
            Unit::MillisFraction if csa => ((time.fract() * 1e3) as i64, 3),
            Unit::MillisFraction => (micros / 1_000 % 1_000, 3),
            Unit::MicrosFraction if csa => ((time.fract() * 1e6) as i64, 6),
            Unit::MicrosFraction => (micros % 1_000_000, 6),
        };
        // A number in JSON has no leading zeros.
        if width == 0 || place == Place::Bare {
            self.line.number(number);
        } else {
            self.line.with(|out| time::padded(number as u32, width, out));
        }
    }

    /// Time from begin to end. varnishncsa subtracts doubles and cuts, so that 250 ms may print
    /// as 249,999 us; dialect apache counts whole microseconds.
    fn elapsed(&mut self, place: Place, unit: Unit) {
        let (Some(start), Some(end)) = (self.times.start, self.times.at(Edge::End)) else {
            return self.line.absent(place, Missing::Int);
        };
        if self.program.dialect == Dialect::Varnishncsa {
            let elapsed = end - start;
            return self.line.number(match unit {
                Unit::Millis | Unit::MillisFraction => (elapsed * 1e3) as i64,
                Unit::Micros | Unit::MicrosFraction => (elapsed * 1e6) as i64,
                Unit::Seconds => elapsed as i64,
            });
        }
        let elapsed = whole_micros(end).saturating_sub(whole_micros(start));
        self.line.number(match unit {
            Unit::Millis | Unit::MillisFraction => elapsed / 1_000,
            Unit::Micros | Unit::MicrosFraction => elapsed,
            Unit::Seconds => elapsed / 1_000_000,
        });
    }

    fn first_byte(&mut self, place: Place) {
        if let Some(elapsed) = self.found.first_byte {
            return self.seconds(elapsed);
        }
        // The first of several counts, which a log without its beginning may have lost.
        let first = self.found.get(slot::FIRST_BYTE).bytes;
        if let Some(bytes) = first.filter(|_| self.found.whole || !self.program.heal) {
            return self.line.text(place, bytes);
        }
        let masked = || self.program.masked(self.task, Tag::Timestamp);
        if self.program.heal && (!self.found.whole || masked()) {
            let first = self.task.structs.moment(Moment::FirstByte).filter(|t| t.is_finite());
            let start = self.task.structs.moment(Moment::Start).filter(|t| t.is_finite());
            if let (Some(first), Some(start)) = (first, start) {
                return self.seconds(first - start);
            }
            self.found.incomplete = true;
        }
        self.line.absent(place, Missing::Int);
    }

    /// A duration as `VSLb_ts` writes it.
    fn seconds(&mut self, elapsed: f64) {
        self.micros((elapsed * 1e6).max(0.0) as u64);
    }

    /// Seconds, with six digits behind the point.
    fn micros(&mut self, micros: u64) {
        self.line.number(micros / 1_000_000);
        self.line.literal(b".");
        self.line.with(|out| time::padded((micros % 1_000_000) as u32, 6, out));
    }

    /// A cookie of the `Cookie` header that `%{Cookie}i` prints, or of another one beside it.
    fn cookie(&mut self, place: Place, at: u16, name: &[u8]) {
        let printed = self.found.get(at);
        let captured = printed.bytes.and_then(|value| cookie(value, name));
        let value = match printed.gone {
            true => None,
            false => captured.or_else(|| self.other_cookie(printed.bytes, name)),
        };
        match value {
            Some(value) => self.line.text(place, value),
            None => self.line.absent(place, Missing::Dash),
        }
    }

    /// A cookie of the message that has the header `printed`. What the client sent stands as it came until VCL
    /// restarts the request; what VCL has sent it may have changed since.
    fn other_cookie(&self, printed: Option<&[u8]>, name: &[u8]) -> Option<&'a [u8]> {
        let structs = self.task.structs;
        let as_received = self.task.side == Side::Client && self.task.restarts == 0;
        let message = if as_received { Message::Received } else { Message::Request };
        let lines = || (0..1_000).map_while(|index| structs.header(message, index));
        let headers = || lines().filter_map(|line| header(line, b"Cookie"));
        if !as_received && !headers().any(|value| Some(trim(value)) == printed) {
            return None;
        }
        headers().find_map(|value| cookie(value, name))
    }
}

/// Which microsecond since 1970 a time is: no double is exactly that of its decimal digits.
fn whole_micros(time: f64) -> i64 {
    (time * 1e6).round() as i64
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
