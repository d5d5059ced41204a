//! Format string to [`Program`], in one pass.

use jiff::tz::TimeZone;

use super::error::{FormatError, Mistake};
use super::fastly;
use super::options::{Dialect, Escape, MAX_LINE_MAX, MAX_LINE_MIN, MessageType, Options};
use super::prefix::Prefix;
use super::program::{
    Edge, HeaderWatch, Initials, LogWatch, Missing, Op, Place, Program, TagWatch, Unit, What,
    Which, slot,
};
use super::sample::Sample;
use super::tags::{Tag, TagError, TagTable};
use super::task::{Address, Side};
use super::time::{CLF, Layout, Zone};

const DEFAULT: &str = r#"%h %l %u %t "%r" %s %b "%{Referer}i" "%{User-agent}i""#;
/// What a value takes up at least when a line is cut: the longest number.
const VALUE_MIN: usize = 24;

type Result<T> = std::result::Result<T, Mistake>;

impl Program {
    /// Compiles `format` for the Varnish whose tags are `tags`.
    ///
    /// # Errors
    /// [`FormatError`] says everything that is wrong, each with its place.
    pub fn compile(
        format: &str,
        options: &Options,
        tags: &TagTable,
    ) -> std::result::Result<Self, FormatError> {
        if !(MAX_LINE_MIN..=MAX_LINE_MAX).contains(&options.max_line) {
            return Err(Mistake::whole(format!(
                "max_line takes {MAX_LINE_MIN} to {MAX_LINE_MAX} bytes, not {}",
                options.max_line
            ))
            .into());
        }
        let json = format.trim_start().starts_with('{');
        let escape = options.escape.unwrap_or(if json { Escape::Json } else { Escape::Clf });
        let zone = options.zone.unwrap_or(match options.dialect {
            Dialect::Apache => Zone::Utc,
            Dialect::Varnishncsa => Zone::Local,
        });
        let zone = zone.resolve();
        let mut compiler = Compiler::new(format, options.dialect, escape, zone.clone(), tags);
        compiler.sample = options.sample;
        if options.message != MessageType::Blank {
            compiler.used |= (1 << slot::START) | (1 << slot::END);
        }
        compiler.run(format);
        compiler.flush();
        if !compiler.unfinished
            && let Err(mistake) = compiler.check(format, options)
        {
            compiler.mistakes.push(mistake);
        }
        if !compiler.mistakes.is_empty() {
            return Err(FormatError::new(compiler.mistakes));
        }
        let mut program = Self {
            ops: compiler.ops,
            tags: tags.clone(),
            needed: tags.kinds(),
            reads: Vec::new(),
            request: compiler.request,
            response: compiler.response,
            initials: (Initials::of(&[]), Initials::of(&[])),
            logs: compiler.logs,
            any: compiler.any,
            used: compiler.used,
            slots: compiler.slots,
            uses_handling: compiler.uses_handling,
            dialect: options.dialect,
            escape,
            message: options.message,
            prefix: Prefix::new(options, zone),
            max_line: options.max_line,
            heal: options.heal,
            sample: options.sample,
        };
        program.prune();
        Ok(program)
    }
}

struct Compiler<'t> {
    dialect: Dialect,
    escape: Escape,
    zone: Option<TimeZone>,
    tags: &'t TagTable,
    text: String,
    ops: Vec<Op>,
    request: Vec<HeaderWatch>,
    response: Vec<HeaderWatch>,
    logs: Vec<LogWatch>,
    any: Vec<TagWatch>,
    used: u32,
    slots: u16,
    uses_handling: bool,
    in_string: bool,
    backslash: bool,
    broken: bool,
    trimmed: usize,
    sample: Sample,
    /// Everything wrong so far.
    mistakes: Vec<Mistake>,
    /// The rest of the format is inside a specifier that does not end.
    unfinished: bool,
}

/// A specifier: where it stands, its `{...}` argument and its letter.
struct Spec<'f> {
    format: &'f str,
    start: usize,
    end: usize,
    argument: Option<&'f str>,
}

impl Spec<'_> {
    fn refuse<T>(&self, what: &str) -> Result<T> {
        Err(Mistake::at(self.format, self.start, self.end, what))
    }
}

impl<'t> Compiler<'t> {
    fn new(
        format: &str,
        dialect: Dialect,
        escape: Escape,
        zone: Option<TimeZone>,
        tags: &'t TagTable,
    ) -> Self {
        Self {
            dialect,
            escape,
            zone,
            tags,
            text: String::new(),
            ops: Vec::new(),
            request: Vec::new(),
            response: Vec::new(),
            logs: Vec::new(),
            any: Vec::new(),
            used: 0,
            slots: slot::FIXED,
            uses_handling: false,
            in_string: false,
            backslash: false,
            broken: false,
            trimmed: format.trim_end_matches(['\r', '\n', ' ', '\t']).len(),
            sample: Sample::default(),
            mistakes: Vec::new(),
            unfinished: false,
        }
    }

    /// Goes on behind a mistake, so that an author reads of all of them at once.
    fn run(&mut self, format: &str) {
        let mut at = 0;
        while let Some(character) = format.get(at..).and_then(|rest| rest.chars().next()) {
            let next = at + character.len_utf8();
            let done = match character {
                '%' => self.specifier(format, at),
                '\\' => self.backslash(format, at),
                _ => self.literal(character, format, at).map(|()| next),
            };
            at = done.unwrap_or_else(|mistake| {
                let end = mistake.end().max(next);
                self.unfinished |= mistake.is_unfinished();
                self.mistakes.push(mistake);
                if character == '%' {
                    // What stands around it is checked as if it had a value.
                    self.print(What::Fixed("-"));
                }
                end
            });
        }
    }

    /// Adds a character of the operator's own text and follows JSON's strings.
    fn literal(&mut self, character: char, format: &str, at: usize) -> Result<()> {
        if self.escape == Escape::Json {
            if self.broken && !self.in_string && matches!(character, ' ' | '\t') {
                return Ok(());
            }
            self.broken = false;
            if matches!(character, '\n' | '\r') && !self.in_string {
                self.broken = true;
                return Ok(());
            }
            match character {
                _ if self.backslash => self.backslash = false,
                '\\' => self.backslash = self.in_string,
                '"' => self.in_string = !self.in_string,
                _ => {}
            }
        } else if matches!(character, '\n' | '\r') {
            if at >= self.trimmed {
                return Ok(());
            }
            let what = "a line break would split the record in two";
            return Err(Mistake::at(format, at, at + 1, what));
        }
        self.text.push(character);
        Ok(())
    }

    /// Backslash sequences of the format itself. JSON in dialect apache keeps them: there they
    /// are JSON's own.
    fn backslash(&mut self, format: &str, at: usize) -> Result<usize> {
        let next = format.get(at + 1..).and_then(|rest| rest.chars().next());
        let Some(next) = next.filter(|_| self.dialect_reads_backslashes()) else {
            self.literal('\\', format, at)?;
            return Ok(at + 1);
        };
        let end = at + 1 + next.len_utf8();
        match (next, self.dialect) {
            ('n', _) if end >= self.trimmed => {}
            ('n', _) | ('r', Dialect::Apache) => {
                let what = "a line break would split the record in two";
                return Err(Mistake::at(format, at, end, what));
            }
            ('t', _) => self.literal('\t', format, at)?,
            (_, Dialect::Varnishncsa) | ('\\' | '"', _) => self.literal(next, format, at)?,
            _ => {
                self.literal('\\', format, at)?;
                self.literal(next, format, at)?;
            }
        }
        Ok(end)
    }

    fn dialect_reads_backslashes(&self) -> bool {
        self.dialect == Dialect::Varnishncsa || self.escape != Escape::Json
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.ops.push(Op::Literal(std::mem::take(&mut self.text).into_bytes()));
        }
    }

    fn print(&mut self, what: What) {
        self.flush();
        self.used |= match &what {
            What::Clock(Edge::Begin, _) | What::Epoch(Edge::Begin, _) | What::FirstByte => {
                1 << slot::START
            }
            What::Clock(..) | What::Epoch(..) | What::Elapsed(_) => {
                (1 << slot::START) | (1 << slot::END)
            }
            _ => 0,
        };
        self.backslash = false;
        self.broken = false;
        let place = match (self.escape, self.in_string) {
            (Escape::Json, true) => Place::Quoted,
            (Escape::Json, false) => Place::Bare,
            _ => Place::Text,
        };
        self.ops.push(Op::Print(place, what));
    }

    fn slot(&mut self, slot: u16, missing: Missing) {
        self.used |= 1 << slot;
        self.print(What::Slot(slot, missing));
    }

    fn next_slot(&mut self) -> u16 {
        let slot = self.slots;
        self.slots = self.slots.saturating_add(1);
        slot
    }

    /// Compiles the specifier at byte `start`; returns where it ends.
    fn specifier(&mut self, format: &str, start: usize) -> Result<usize> {
        let rest = format.get(start + 1..).unwrap_or_default();
        let mut chars = rest.char_indices();
        let unfinished = |end: usize| Mistake::unfinished(format, start, end);
        let Some((_, first)) = chars.next() else { return Err(unfinished(format.len())) };
        let mut spec = Spec { format, start, end: start + 1 + first.len_utf8(), argument: None };
        match first {
            '{' => {
                let Some(close) = closing(rest) else { return Err(unfinished(format.len())) };
                let Some(letter) = rest.get(close + 1..).and_then(|tail| tail.chars().next())
                else {
                    return Err(unfinished(format.len()));
                };
                spec.argument = rest.get(1..close);
                spec.end = start + 1 + close + 1 + letter.len_utf8();
                self.with_argument(&spec, letter)?;
            }
            '>' | '<' => match chars.next() {
                None => return Err(unfinished(format.len())),
                Some((_, 's')) => {
                    spec.end = start + 3;
                    self.plain(&spec, 's')?;
                }
                Some((_, other)) => {
                    spec.end = start + 2 + other.len_utf8();
                    return spec.refuse("only %>s and %<s know a direction; unknown specifier");
                }
            },
            letter => self.plain(&spec, letter)?,
        }
        if self.ops.len() > 1_000 || self.slots > 1_000 {
            return spec.refuse("more than 1,000 specifiers");
        }
        Ok(spec.end)
    }

    fn plain(&mut self, spec: &Spec<'_>, letter: char) -> Result<()> {
        let apache = self.dialect == Dialect::Apache;
        match letter {
            '%' => self.literal('%', spec.format, spec.start)?,
            'a' | 'h' => self.slot(slot::HOST_IP, Missing::Dash),
            'A' => self.print(What::Address(Address::ServerIp)),
            'b' => self.print(What::BodyBytes { dash_for_zero: apache }),
            'B' => self.print(What::BodyBytes { dash_for_zero: false }),
            'D' => self.print(What::Elapsed(Unit::Micros)),
            'f' | 'U' => self.slot(slot::PATH, Missing::Dash),
            'H' if apache => self.slot(slot::PROTOCOL, Missing::Dash),
            'H' => self.slot(slot::PROTOCOL, Missing::Text("HTTP/1.0")),
            'I' => {
                self.used |= 1 << slot::PIPE_IN;
                self.print(What::BytesIn);
            }
            'k' => self.print(What::Fixed("0")),
            'l' | 'P' | 'R' => self.print(What::Fixed("-")),
            'm' => self.slot(slot::METHOD, Missing::Dash),
            'O' => {
                self.used |= 1 << slot::PIPE_OUT;
                self.print(What::BytesOut);
            }
            'p' => self.print(What::Address(Address::ServerPort)),
            'q' => self.slot(slot::QUERY, Missing::Empty),
            'r' => {
                for part in [slot::METHOD, slot::PATH, slot::QUERY, slot::PROTOCOL, slot::HOST] {
                    self.used |= 1 << part;
                }
                self.print(What::RequestLine);
            }
            's' => {
                self.used |= 1 << slot::STATUS;
                self.print(What::Status);
            }
            't' => self.clock(spec, Edge::Begin, CLF)?,
            'T' => self.print(What::Elapsed(Unit::Seconds)),
            'u' => {
                self.used |= 1 << slot::AUTH;
                self.print(What::User);
            }
            'v' | 'V' => self.slot(slot::HOST, Missing::Dash),
            'X' => self.print(What::Connection),
            _ => return spec.refuse("unknown specifier"),
        }
        Ok(())
    }

    fn with_argument(&mut self, spec: &Spec<'_>, letter: char) -> Result<()> {
        let argument = spec.argument.unwrap_or_default();
        match letter {
            'C' => {
                let slot = self.header(spec, "Cookie", true)?;
                self.print(What::Cookie(slot, argument.as_bytes().to_vec()));
            }
            'e' | 'n' | 'P' => self.print(What::Fixed("-")),
            'i' | 'o' => {
                let slot = self.header(spec, argument, letter == 'i')?;
                self.print(What::Slot(slot, Missing::Dash));
            }
            'p' => match argument {
                "canonical" | "local" => self.print(What::Address(Address::ServerPort)),
                "remote" => self.slot(slot::PORT, Missing::Dash),
                _ => return spec.refuse("%{...}p takes canonical, local or remote"),
            },
            't' => self.time(spec, argument)?,
            'T' => self.print(What::Elapsed(match argument {
                "s" => Unit::Seconds,
                "ms" => Unit::Millis,
                "us" => Unit::Micros,
                _ => return spec.refuse("%{...}T takes s, ms or us"),
            })),
            'V' => {
                return spec.refuse(&format!(
                    "a format has no VCL expressions here: {}",
                    fastly::equivalent(argument).advice()
                ));
            }
            'x' => self.extension(spec, argument)?,
            _ => return spec.refuse("unknown specifier"),
        }
        Ok(())
    }

    fn header(&mut self, spec: &Spec<'_>, argument: &str, request: bool) -> Result<u16> {
        let (name, which) = match argument.rsplit_once(':') {
            None => (argument, Which::Usual),
            Some((name, "first")) => (name, Which::First),
            Some((name, "last")) => (name, Which::Last),
            Some(_) => return spec.refuse("a header's name may end in :first or :last"),
        };
        if name.is_empty() || name.bytes().any(|b| b <= b' ' || b == b':' || b == 0x7f) {
            return spec.refuse("this is not the name of a header");
        }
        let watches = if request { &self.request } else { &self.response };
        let same =
            |w: &&HeaderWatch| w.which == which && w.name.eq_ignore_ascii_case(name.as_bytes());
        if let Some(watch) = watches.iter().find(same) {
            return Ok(watch.slot);
        }
        let slot = self.next_slot();
        let watch = HeaderWatch { name: name.as_bytes().to_vec(), which, slot };
        if request {
            self.request.push(watch)
        } else {
            self.response.push(watch)
        }
        Ok(slot)
    }

    fn time(&mut self, spec: &Spec<'_>, argument: &str) -> Result<()> {
        let (edge, format) = match argument.split_once(':') {
            Some(("begin", format)) => (Edge::Begin, format),
            Some(("end", format)) => (Edge::End, format),
            _ => (Edge::Begin, argument),
        };
        let unit = match format {
            "sec" => Unit::Seconds,
            "msec" => Unit::Millis,
            "usec" => Unit::Micros,
            "msec_frac" => Unit::MillisFraction,
            "usec_frac" => Unit::MicrosFraction,
            "" => return self.clock(spec, edge, CLF),
            _ => return self.clock(spec, edge, format),
        };
        self.print(What::Epoch(edge, unit));
        Ok(())
    }

    fn clock(&mut self, spec: &Spec<'_>, edge: Edge, format: &str) -> Result<()> {
        if format.len() > 256 || format.contains(['\n', '\r', '\0']) {
            return spec.refuse("a time's format takes up to 256 bytes without a line break");
        }
        match Layout::compile(format, self.zone.clone()) {
            Ok(layout) => {
                self.print(What::Clock(edge, layout));
                Ok(())
            }
            Err(bad) => spec.refuse(&format!("strftime knows no \"{bad}\"")),
        }
    }

    fn extension(&mut self, spec: &Spec<'_>, argument: &str) -> Result<()> {
        match argument {
            "Varnish:time_firstbyte" => {
                self.used |= 1 << slot::FIRST_BYTE;
                self.print(What::FirstByte);
            }
            "Varnish:hitmiss" => {
                self.uses_handling = true;
                self.print(What::HitMiss);
            }
            "Varnish:handling" => {
                self.uses_handling = true;
                self.print(What::Handling);
            }
            "Varnish:side" => self.print(What::Side),
            "Varnish:vxid" => self.print(What::Vxid),
            "Varnish:default_format" if self.escape == Escape::Json && !self.in_string => {
                return spec.refuse("a whole line has no place in JSON outside a string");
            }
            "Varnish:default_format" if self.escape == Escape::Json => {
                // Its own quotes would end the JSON string.
                self.run(&DEFAULT.replace('"', "'"));
            }
            "Varnish:default_format" => self.run(DEFAULT),
            // The same in every line.
            "s3log:sample" => {
                self.backslash = false;
                self.broken = false;
                self.text.push_str(&self.sample.factor().to_string());
            }
            "" => return spec.refuse("%{...}x takes the key of a value"),
            _ => {
                if let Some(key) = argument.strip_prefix("VCL_Log:") {
                    let slot = self.next_slot();
                    self.logs.push(LogWatch { key: format!("{key}:").into_bytes(), slot });
                    self.print(What::Slot(slot, Missing::Empty));
                } else if let Some(tag) = argument.strip_prefix("VSL:") {
                    self.any_tag(spec, tag)?;
                } else if argument.starts_with("s3log:") {
                    return spec.refuse("s3log: takes sample");
                } else if argument.starts_with("Varnish:") {
                    return spec.refuse(
                        "Varnish: takes time_firstbyte, hitmiss, handling, side, vxid or \
                         default_format",
                    );
                } else {
                    self.print(What::Value(argument.as_bytes().to_vec()));
                }
            }
        }
        Ok(())
    }

    /// `tag:prefix[field]`, by the rules of `parse_x_format` in varnishncsa.c.
    fn any_tag(&mut self, spec: &Spec<'_>, argument: &str) -> Result<()> {
        if argument.is_empty() {
            return spec.refuse("a tag is missing after VSL:");
        }
        let (body, field) = match argument.strip_suffix(']') {
            None => (argument, 0),
            Some(inner) => {
                let Some((body, number)) = inner.rsplit_once('[').filter(|(b, _)| !b.is_empty())
                else {
                    return spec.refuse("a field is written as VSL:tag:prefix[number]");
                };
                match number.parse::<u8>() {
                    Ok(field) if field > 0 => (body, field),
                    _ => return spec.refuse("a field's number is 1 to 255"),
                }
            }
        };
        let (name, prefix) = match body.split_once(':') {
            Some((name, prefix)) => (name, Some(prefix)),
            None => (body, None),
        };
        let info = match self.tags.find(name) {
            Ok(info) => info,
            Err(TagError::Unknown) => return spec.refuse("this Varnish has no such log tag"),
            Err(TagError::Ambiguous) => {
                return spec.refuse("more than one log tag begins like this");
            }
        };
        if info.raw && self.escape != Escape::Json {
            return spec.refuse("records of this tag may hold control bytes and need escape json");
        }
        let prefix = prefix.map(|text| format!("{text}:").into_bytes()).unwrap_or_default();
        if prefix.is_empty() && matches!(info.tag, Tag::ReqAcct | Tag::BereqAcct) {
            let side = if info.tag == Tag::ReqAcct { Side::Client } else { Side::Backend };
            self.print(What::AcctField(side, field));
            return Ok(());
        }
        if info.tag == Tag::End && prefix.is_empty() && field == 0 {
            // Logged after the task is over, and always empty.
            self.print(What::Fixed(""));
            return Ok(());
        }
        let slot = self.next_slot();
        self.any.push(TagWatch { number: info.number, raw: info.raw, prefix, field, slot });
        self.print(What::Slot(slot, Missing::Dash));
        Ok(())
    }

    /// Holds a JSON format to JSON's grammar, and every format to the length of a line.
    fn check(&self, format: &str, options: &Options) -> Result<()> {
        let mut skeleton = String::new();
        let mut literal = Prefix::new(options, None).longest() + 1;
        for op in &self.ops {
            match op {
                Op::Literal(text) => {
                    literal += text.len();
                    skeleton.push_str(&String::from_utf8_lossy(text));
                }
                Op::Print(place, _) => {
                    literal += VALUE_MIN;
                    // No text of the operator's can join with `null` into another token.
                    skeleton.push_str(if *place == Place::Bare { "null" } else { "x" });
                }
            }
        }
        if self.escape == Escape::Json
            && let Err(error) = serde_json::from_str::<serde_json::Value>(&skeleton)
        {
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            return Err(Mistake::whole(format!(
                "the format is not JSON even with every value filled in: {what}, after: {}",
                tail(&skeleton, error.column())
            )));
        }
        if literal > options.max_line {
            return Err(Mistake::whole(format!(
                "this format of {} bytes may need {literal} bytes even without its values, more \
                 than max_line = {}",
                format.len(),
                options.max_line
            )));
        }
        Ok(())
    }
}

/// Index of the brace that closes the one `text` begins with; braces nest, as in varnishncsa.
fn closing(text: &str) -> Option<usize> {
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

fn tail(text: &str, column: usize) -> String {
    let head: Vec<char> = text.chars().take(column).collect();
    let from = head.len().saturating_sub(24);
    head.get(from..).unwrap_or_default().iter().collect()
}
