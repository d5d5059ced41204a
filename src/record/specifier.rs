//! What each specifier prints: `%` with a letter, or with an argument in braces.
//!
//! The union of Apache's specifiers and varnishncsa's, by the latter's rules where both have one.

use jiff::tz::TimeZone;

use super::builder::Builder;
use super::error::Mistake;
use super::fastly;
use super::options::{Dialect, Escape};
use super::program::{Edge, LogWatch, Missing, TagWatch, Unit, What, Which, slot};
use super::sample::Sample;
use super::tags::{Tag, TagError, TagTable};
use super::task::{Address, Side};
use super::time::{CLF, Layout};

const DEFAULT: &str = r#"%h %l %u %t "%r" %s %b "%{Referer}i" "%{User-agent}i""#;
/// Most specifiers of a format, and most values that it captures.
const MOST: usize = 1_000;

type Result<T> = std::result::Result<T, Mistake>;

/// What a specifier's meaning depends on, beside the format.
pub(super) struct Context<'t> {
    pub(super) tags: &'t TagTable,
    pub(super) zone: Option<TimeZone>,
    pub(super) sample: Sample,
    /// What a build before has taken is no mistake.
    pub(super) again: bool,
}

/// A specifier that was compiled.
pub(super) struct Done {
    /// The byte behind it.
    pub(super) end: usize,
    /// A format that stands for it, still to be compiled.
    pub(super) instead: Option<String>,
}

/// Compiles the specifier at byte `start` of `format`.
pub(super) fn compile(
    builder: &mut Builder,
    context: &Context<'_>,
    format: &str,
    start: usize,
) -> Result<Done> {
    let rest = format.get(start + 1..).unwrap_or_default();
    let mut chars = rest.char_indices();
    let unfinished = || Mistake::unfinished(format, start, format.len());
    let (_, first) = chars.next().ok_or_else(unfinished)?;
    let end = start + 1 + first.len_utf8();
    let mut spec = Specifier { builder, context, format, start, end, argument: None };
    let mut instead = None;
    match first {
        '{' => {
            let close = closing(rest).ok_or_else(unfinished)?;
            let letter = rest.get(close + 1..).and_then(|tail| tail.chars().next());
            let letter = letter.ok_or_else(unfinished)?;
            spec.argument = rest.get(1..close);
            spec.end = start + 1 + close + 1 + letter.len_utf8();
            instead = spec.with_argument(letter)?;
        }
        '>' | '<' => match chars.next() {
            None => return Err(unfinished()),
            Some((_, 's')) => {
                spec.end = start + 3;
                spec.plain('s')?;
            }
            Some((_, other)) => {
                spec.end = start + 2 + other.len_utf8();
                return spec.refuse("only %>s and %<s know a direction; unknown specifier");
            }
        },
        letter => spec.plain(letter)?,
    }
    if spec.builder.ops.len() > MOST || usize::from(spec.builder.slots) > MOST {
        return spec.refuse("more than 1,000 specifiers");
    }
    Ok(Done { end: spec.end, instead })
}

struct Specifier<'b, 'f> {
    builder: &'b mut Builder,
    context: &'b Context<'b>,
    format: &'f str,
    start: usize,
    end: usize,
    /// What is in its braces.
    argument: Option<&'f str>,
}

impl Specifier<'_, '_> {
    fn refuse<T>(&self, what: &str) -> Result<T> {
        Err(Mistake::at(self.format, self.start, self.end, what))
    }

    fn plain(&mut self, letter: char) -> Result<()> {
        let apache = self.builder.dialect == Dialect::Apache;
        match letter {
            '%' => self.builder.literal('%', self.format, self.start)?,
            'a' | 'h' => self.builder.slot(slot::HOST_IP, Missing::Dash),
            'A' => self.builder.print(What::Address(Address::ServerIp)),
            'b' => self.builder.print(What::BodyBytes { dash_for_zero: apache }),
            'B' => self.builder.print(What::BodyBytes { dash_for_zero: false }),
            'D' => self.builder.print(What::Elapsed(Unit::Micros)),
            'f' | 'U' => self.builder.slot(slot::PATH, Missing::Dash),
            'H' if apache => self.builder.slot(slot::PROTOCOL, Missing::Dash),
            'H' => self.builder.slot(slot::PROTOCOL, Missing::Text("HTTP/1.0")),
            'I' => {
                self.builder.used |= 1 << slot::PIPE_IN;
                self.builder.print(What::BytesIn);
            }
            'k' => self.builder.print(What::Fixed("0")),
            'l' | 'P' | 'R' => self.builder.print(What::Fixed("-")),
            'm' => self.builder.slot(slot::METHOD, Missing::Dash),
            'O' => {
                self.builder.used |= 1 << slot::PIPE_OUT;
                self.builder.print(What::BytesOut);
            }
            'p' => self.builder.print(What::Address(Address::ServerPort)),
            'q' => self.builder.slot(slot::QUERY, Missing::Empty),
            'r' => {
                for part in [slot::METHOD, slot::PATH, slot::QUERY, slot::PROTOCOL] {
                    self.builder.used |= 1 << part;
                }
                if !apache {
                    self.builder.used |= 1 << slot::HOST;
                }
                self.builder.print(What::RequestLine);
            }
            's' => {
                self.builder.used |= 1 << slot::STATUS;
                self.builder.print(What::Status);
            }
            't' => self.clock(Edge::Begin, CLF)?,
            'T' => self.builder.print(What::Elapsed(Unit::Seconds)),
            'u' => {
                self.builder.used |= 1 << slot::AUTH;
                self.builder.print(What::User);
            }
            'v' | 'V' => self.builder.slot(slot::HOST, Missing::Dash),
            'X' => self.builder.print(What::Connection),
            _ => return self.refuse("unknown specifier"),
        }
        Ok(())
    }

    fn with_argument(&mut self, letter: char) -> Result<Option<String>> {
        let argument = self.argument.unwrap_or_default();
        match letter {
            'C' => {
                let slot = self.header("Cookie", true)?;
                self.builder.print(What::Cookie(slot, argument.as_bytes().to_vec()));
            }
            'e' | 'n' | 'P' => self.builder.print(What::Fixed("-")),
            'i' | 'o' => {
                let slot = self.header(argument, letter == 'i')?;
                self.builder.print(What::Slot(slot, Missing::Dash));
            }
            'p' => match argument {
                "canonical" | "local" => self.builder.print(What::Address(Address::ServerPort)),
                "remote" => self.builder.slot(slot::PORT, Missing::Dash),
                _ => return self.refuse("%{...}p takes canonical, local or remote"),
            },
            't' => self.time(argument)?,
            'T' => self.builder.print(What::Elapsed(match argument {
                "s" => Unit::Seconds,
                "ms" => Unit::Millis,
                "us" => Unit::Micros,
                _ => return self.refuse("%{...}T takes s, ms or us"),
            })),
            'V' => {
                return self.refuse(&format!(
                    "a format has no VCL expressions here: {}",
                    fastly::equivalent(argument).advice()
                ));
            }
            'x' => return self.extension(argument),
            _ => return self.refuse("unknown specifier"),
        }
        Ok(None)
    }

    fn header(&mut self, argument: &str, request: bool) -> Result<u16> {
        let (name, which) = match argument.rsplit_once(':') {
            None => (argument, Which::Usual),
            Some((name, "first")) => (name, Which::First),
            Some((name, "last")) => (name, Which::Last),
            Some(_) => return self.refuse("a header's name may end in :first or :last"),
        };
        if name.is_empty() || name.bytes().any(|b| b <= b' ' || b == b':' || b == 0x7f) {
            return self.refuse("this is not the name of a header");
        }
        Ok(self.builder.header(name, which, request))
    }

    fn time(&mut self, argument: &str) -> Result<()> {
        let apache = self.builder.dialect == Dialect::Apache;
        let (edge, format) = match argument.split_once(':') {
            Some(("begin", format)) => (Edge::Begin, format),
            Some(("end", format)) => (Edge::End, format),
            None if apache && argument == "begin" => (Edge::Begin, ""),
            None if apache && argument == "end" => (Edge::End, ""),
            _ => (Edge::Begin, argument),
        };
        let unit = match format {
            "sec" => Unit::Seconds,
            "msec" => Unit::Millis,
            "usec" => Unit::Micros,
            "msec_frac" => Unit::MillisFraction,
            "usec_frac" => Unit::MicrosFraction,
            "" => return self.clock(edge, CLF),
            // It would print itself, in each line.
            text if apache && !self.context.again && !text.contains('%') => {
                return self.refuse(
                    "%{...}t takes a format of strftime, sec, msec, usec, msec_frac or usec_frac, \
                     each also behind begin: or end:",
                );
            }
            _ => return self.clock(edge, format),
        };
        self.builder.print(What::Epoch(edge, unit));
        Ok(())
    }

    fn clock(&mut self, edge: Edge, format: &str) -> Result<()> {
        if format.len() > 256 || format.contains(['\n', '\r', '\0']) {
            return self.refuse("a time's format takes up to 256 bytes without a line break");
        }
        match Layout::compile(format, self.context.zone.clone()) {
            Ok(layout) => {
                self.builder.print(What::Clock(edge, layout));
                Ok(())
            }
            Err(bad) => self.refuse(&format!("strftime knows no \"{bad}\"")),
        }
    }

    /// Gives the format that takes the specifier's place, where it has one.
    fn extension(&mut self, argument: &str) -> Result<Option<String>> {
        // As vinylncsa has it (Vinyl Cache 9.0).
        let renamed = argument.strip_prefix("Vinyl:").map(|key| format!("Varnish:{key}"));
        let argument = renamed.as_deref().unwrap_or(argument);
        match argument {
            "Varnish:time_firstbyte" => {
                self.builder.used |= 1 << slot::FIRST_BYTE;
                self.builder.print(What::FirstByte);
            }
            "Varnish:hitmiss" => {
                self.builder.uses_handling = true;
                self.builder.print(What::HitMiss);
            }
            "Varnish:handling" => {
                self.builder.uses_handling = true;
                self.builder.print(What::Handling);
            }
            "Varnish:side" => self.builder.print(What::Side),
            "Varnish:vxid" => self.builder.print(What::Vxid),
            "Varnish:default_format"
                if self.builder.escape == Escape::Json && !self.builder.in_string =>
            {
                return self.refuse("a whole line has no place in JSON outside a string");
            }
            "Varnish:default_format" if self.builder.escape == Escape::Json => {
                // Its own quotes would end the JSON string.
                return Ok(Some(DEFAULT.replace('"', "'")));
            }
            "Varnish:default_format" => return Ok(Some(DEFAULT.to_owned())),
            // The same in every line.
            "s3log:sample" => {
                self.builder.constant(&self.context.sample.factor().to_string());
            }
            "s3log:elapsed" => self.builder.print(What::ElapsedSeconds),
            "s3log:reason" => {
                let slot = match self.builder.reason {
                    Some(slot) => slot,
                    None => self.builder.next_slot(),
                };
                self.builder.reason = Some(slot);
                self.builder.print(What::Slot(slot, Missing::Dash));
            }
            "s3log:incomplete" => self.builder.print(What::Incomplete),
            "" => return self.refuse("%{...}x takes the key of a value"),
            _ => {
                if let Some(key) = argument.strip_prefix("VCL_Log:") {
                    let slot = self.builder.next_slot();
                    self.builder.logs.push(LogWatch { key: format!("{key}:").into_bytes(), slot });
                    self.builder.print(What::Slot(slot, Missing::Empty));
                } else if let Some(tag) = argument.strip_prefix("VSL:") {
                    self.any_tag(tag)?;
                } else if argument.starts_with("s3log:") {
                    return self.refuse("s3log: takes reason, elapsed, sample or incomplete");
                } else if argument.starts_with("Varnish:") {
                    return self.refuse(
                        "Varnish: takes time_firstbyte, hitmiss, handling, side, vxid or \
                         default_format",
                    );
                } else {
                    self.builder.print(What::Value(argument.as_bytes().to_vec()));
                }
            }
        }
        Ok(None)
    }

    /// `tag:prefix[field]`, by the rules of `parse_x_format` in varnishncsa.c.
    fn any_tag(&mut self, argument: &str) -> Result<()> {
        if argument.is_empty() {
            return self.refuse("a tag is missing after VSL:");
        }
        let (body, field) = match argument.strip_suffix(']') {
            None => (argument, 0),
            Some(inner) => {
                let Some((body, number)) = inner.rsplit_once('[').filter(|(b, _)| !b.is_empty())
                else {
                    return self.refuse("a field is written as VSL:tag:prefix[number]");
                };
                match number.parse::<u8>() {
                    Ok(field) if field > 0 => (body, field),
                    _ => return self.refuse("a field's number is 1 to 255"),
                }
            }
        };
        let (name, prefix) = match body.split_once(':') {
            Some((name, prefix)) => (name, Some(prefix)),
            None => (body, None),
        };
        let info = match self.context.tags.find(name) {
            Ok(info) => info,
            Err(TagError::Unknown) => return self.refuse("this Varnish has no such log tag"),
            Err(TagError::Ambiguous) => {
                return self.refuse("more than one log tag begins like this");
            }
        };
        if info.raw && self.builder.escape != Escape::Json {
            return self.refuse("records of this tag may hold control bytes and need escape json");
        }
        let prefix = prefix.map(|text| format!("{text}:").into_bytes()).unwrap_or_default();
        if prefix.is_empty() && matches!(info.tag, Tag::ReqAcct | Tag::BereqAcct) {
            let side = if info.tag == Tag::ReqAcct { Side::Client } else { Side::Backend };
            self.builder.print(What::AcctField(side, field));
            return Ok(());
        }
        if info.tag == Tag::End && prefix.is_empty() && field == 0 {
            // Logged after the task is over, and always empty.
            self.builder.print(What::Fixed(""));
            return Ok(());
        }
        let slot = self.builder.next_slot();
        self.builder.any.push(TagWatch { number: info.number, raw: info.raw, prefix, field, slot });
        self.builder.print(What::Slot(slot, Missing::Dash));
        Ok(())
    }
}

/// Index of the brace that closes the one `text` begins with; braces nest, as in varnishncsa.
pub(super) fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}
