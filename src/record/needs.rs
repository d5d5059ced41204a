//! Which tags of Varnish's log a format needs: those whose records have a value that the structs of a
//! task do not have.
//!
//! All other tags may be hidden by `vsl_mask`, and no line changes. A need is either one of each line, or
//! one of the few requests that [`When`] names; in both cases a line that lacks the value counts as
//! incomplete. `e2e/masks.py` hides each tag and compares what is missing with this (UNAVAILABLE).
//!
//! Not here: what Varnish hides now, and what a tag costs.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::program::{Edge, HeaderWatch, Program, Step, TagWatch, Unit, What, Which, slot};
use super::tags::Tag;
use super::task::Side;

/// Which lines lack a value whose tag is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// Each one.
    Always,
    /// Those of ESI fragments, where these have lines.
    Fragment,
    /// Those of piped requests.
    Piped,
    /// Those of requests that VCL has restarted, where it has changed the value.
    Restarted,
    /// Those of requests that VCL has rolled back or that have failed in VCL.
    RolledBack,
    /// Those of requests that an HTTP/2 client has reset.
    Reset,
    /// Those of HTTP/1 requests that have waited for another one's fetch and are logged from `vcl_recv` alone.
    Waited,
    /// Those of requests whose body VCL keeps or reads (`std.cache_req_body()`).
    BodyRead,
}

impl When {
    /// Whether these are all lines of a stream, or all of its fragments' if these have lines (`esi`).
    #[must_use]
    pub const fn is_each(self, esi: bool) -> bool {
        matches!(self, Self::Always) || esi && matches!(self, Self::Fragment)
    }

    /// Which lines these are, for a sentence.
    #[must_use]
    pub const fn lines(self) -> &'static str {
        match self {
            Self::Always => "every line",
            Self::Fragment => "lines of ESI fragments",
            Self::Piped => "lines of piped requests",
            Self::Restarted => "lines of restarted requests",
            Self::RolledBack => "lines of requests that were rolled back or failed in VCL",
            Self::Reset => "lines of requests that an HTTP/2 client has reset",
            Self::Waited => "lines of requests that have waited for another one's fetch",
            Self::BodyRead => "lines of requests whose body VCL has read",
        }
    }
}

/// A tag of the running Varnish.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedTag {
    /// Its number, as `VSL_tag_is_masked` takes it.
    pub number: u8,
    /// Its name, as `vsl_mask` takes it.
    pub name: String,
}

/// Tags of which one must not be hidden, and what prints from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// One of these is enough. The first costs a request the least.
    pub tags: Vec<NamedTag>,
    /// The specifiers, as a format has them, in its order.
    pub fields: Vec<String>,
    /// Which lines lack the values of the fields where all of the tags are hidden.
    pub when: When,
}

impl Need {
    /// Whether `hidden` hides all of the tags.
    #[must_use]
    pub fn is_hidden(&self, hidden: &dyn Fn(&NamedTag) -> bool) -> bool {
        self.tags.iter().all(hidden)
    }

    /// Which tags to show so that every one of `needs` is met, each once and in their order. Of several that
    /// are enough for one it is one that is `shown` anyway or that another need leaves no choice of; else the
    /// first, which costs a request the least.
    #[must_use]
    pub fn to_show<'n>(needs: &[&'n Self], shown: &dyn Fn(&NamedTag) -> bool) -> Vec<&'n NamedTag> {
        let only = |tag: &NamedTag| needs.iter().any(|need| need.tags.as_slice() == [tag.clone()]);
        let mut found: Vec<&NamedTag> = Vec::new();
        for need in needs {
            let there = need.tags.iter().find(|tag| shown(tag) || only(tag));
            if let Some(tag) = there.or(need.tags.first())
                && !found.contains(&tag)
            {
                found.push(tag);
            }
        }
        found
    }
}

impl fmt::Display for Need {
    /// `TAG or TAG for SPECIFIER, SPECIFIER`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags: Vec<&str> = self.tags.iter().map(|tag| tag.name.as_str()).collect();
        write!(out, "{} for {}", tags.join(" or "), self.fields.join(", "))
    }
}

/// Tags of which one is enough, for some lines.
type Rule = (When, &'static [Tag]);

/// Where a log begins, without which nobody can tell whether an earlier value is lost.
const BEGIN: &[Tag] = &[Tag::Begin, Tag::Timestamp];
const PIPED: &[Rule] = &[(When::Piped, &[Tag::PipeAcct])];
const START: &[Rule] = &[(When::Restarted, &[Tag::Timestamp])];
const FIRST_BYTE: &[Rule] = &[
    (When::Piped, &[Tag::Timestamp]),
    (When::Waited, &[Tag::Timestamp]),
    (When::BodyRead, &[Tag::Timestamp]),
];
const METHOD: &[Rule] = &[(When::Restarted, &[Tag::ReqMethod])];
const URL: &[Rule] = &[(When::Restarted, &[Tag::ReqUrl])];
const HEADER: &[Rule] = &[(When::Restarted, &[Tag::ReqHeader])];
const VIA: &[Rule] = &[(When::Restarted, &[Tag::ReqHeader]), (When::RolledBack, &[Tag::ReqHeader])];
const LENGTH: &[Rule] =
    &[(When::Restarted, &[Tag::ReqHeader]), (When::BodyRead, &[Tag::ReqHeader])];
const LINE: &[Rule] = &[(When::Restarted, &[Tag::ReqMethod]), (When::Restarted, &[Tag::ReqUrl])];
const HANDLING: &[Rule] = &[
    (When::Fragment, &[Tag::VclCall]),
    (When::Waited, &[Tag::VclCall]),
    (When::Reset, &[Tag::VclCall]),
    (When::Reset, &[Tag::VclReturn]),
    (When::Reset, &[Tag::HitMiss]),
    (When::Reset, &[Tag::HitPass]),
];
const SENT_STATUS: &[Rule] =
    &[(When::Fragment, &[Tag::RespStatus]), (When::Waited, &[Tag::RespStatus])];
const SENT_REASON: &[Rule] =
    &[(When::Fragment, &[Tag::RespReason]), (When::Waited, &[Tag::RespReason])];
const SENT_HEADER: &[Rule] =
    &[(When::Fragment, &[Tag::RespHeader]), (When::Waited, &[Tag::RespHeader])];
const LOG: &[Rule] = &[(When::Always, &[Tag::VclLog]), (When::Always, BEGIN)];
const ADDRESS: &[Rule] = &[(When::Always, &[Tag::BackendOpen])];
const STATUS: &[Rule] = &[(When::Always, &[Tag::BerespStatus]), (When::Always, &[Tag::VclCall])];
const REASON: &[Rule] = &[(When::Always, &[Tag::BerespReason]), (When::Always, &[Tag::VclCall])];
const RESPONSE: &[Rule] = &[(When::Always, &[Tag::BerespHeader]), (When::Always, &[Tag::VclCall])];

impl Program {
    /// What lines of `side` need of Varnish's log, in the order of [`When`]. Where one of the request's
    /// values is needed of a restarted request, so are `VCL_call`, which tells it from what VCL has set,
    /// and the log's beginning.
    #[must_use]
    pub fn needs(&self, side: Side) -> Vec<Need> {
        let mut found: BTreeMap<(When, Vec<NamedTag>), Vec<String>> = BTreeMap::new();
        let mut need = |when, tags: Vec<NamedTag>, field: &str| {
            let fields = found.entry((when, tags)).or_default();
            if !fields.iter().any(|known| known == field) {
                fields.push(field.to_owned());
            }
        };
        for Step { what, .. } in &self.steps {
            let Some((field, rules)) = self.rules(what, side) else { continue };
            for (when, tags) in rules {
                need(*when, self.named(tags), &field);
                let received = tags
                    .iter()
                    .any(|tag| matches!(tag, Tag::ReqMethod | Tag::ReqUrl | Tag::ReqHeader));
                if *when == When::Restarted && received {
                    need(*when, self.named(&[Tag::VclCall]), &field);
                    need(*when, self.named(BEGIN), &field);
                }
            }
            if let What::Slot(at, _) = what
                && let Some(watch) = self.any.iter().find(|watch| watch.slot == *at)
            {
                need(When::Always, vec![self.tag(watch.number)], &field);
                need(When::Always, self.named(BEGIN), &field);
            }
        }
        found.into_iter().map(|((when, tags), fields)| Need { tags, fields, when }).collect()
    }

    fn named(&self, tags: &[Tag]) -> Vec<NamedTag> {
        tags.iter().filter_map(|tag| self.tags.number(*tag)).map(|at| self.tag(at)).collect()
    }

    fn tag(&self, number: u8) -> NamedTag {
        NamedTag { number, name: self.tags.name(number).unwrap_or_default().to_owned() }
    }

    /// The specifier that prints `what`, and what it needs; `None` where it needs nothing.
    fn rules(&self, what: &What, side: Side) -> Option<(String, &'static [Rule])> {
        let client = side == Side::Client;
        let of = |field: &str, client_rules: &'static [Rule], backend_rules: &'static [Rule]| {
            Some((field.to_owned(), if client { client_rules } else { backend_rules }))
        };
        match what {
            What::Slot(slot::METHOD, _) => of("%m", METHOD, &[]),
            What::Slot(slot::PATH, _) => of("%U", URL, &[]),
            What::Slot(slot::QUERY, _) => of("%q", URL, &[]),
            What::Slot(slot::HOST, _) => of("%v", HEADER, &[]),
            What::Slot(slot::HOST_IP, _) => of("%h", &[], ADDRESS),
            What::RequestLine => of("%r", LINE, &[]),
            What::User => of("%u", HEADER, &[]),
            What::Status => of("%s", SENT_STATUS, STATUS),
            What::Clock(Edge::Begin, _) | What::Epoch(Edge::Begin, _) => of("%t", START, &[]),
            What::Clock(Edge::End, _) | What::Epoch(Edge::End, _) => of("%{end:...}t", &[], &[]),
            What::Elapsed(Unit::Micros) => of("%D", START, &[]),
            What::Elapsed(Unit::Millis) => of("%{ms}T", START, &[]),
            What::Elapsed(_) => of("%T", START, &[]),
            What::ElapsedSeconds => of("%{s3log:elapsed}x", START, &[]),
            What::FirstByte => of("%{Varnish:time_firstbyte}x", FIRST_BYTE, &[]),
            What::BytesIn => of("%I", PIPED, &[]),
            What::BytesOut => of("%O", PIPED, &[]),
            What::HitMiss => of("%{Varnish:hitmiss}x", HANDLING, &[]),
            What::Handling => of("%{Varnish:handling}x", HANDLING, &[]),
            What::Cookie(_, name) => of(&argument("", name, "C"), HEADER, &[]),
            What::Slot(at, _) => self.captured(*at, client),
            _ => None,
        }
    }

    /// A header, a text of VCL's, or a record.
    fn captured(&self, at: u16, client: bool) -> Option<(String, &'static [Rule])> {
        if let Some(watch) = self.request.iter().find(|watch| watch.slot == at) {
            let is = |name: &[u8]| watch.name.eq_ignore_ascii_case(name);
            let rules: &[Rule] = match () {
                () if !client => &[],
                () if is(b"Via") => VIA,
                () if is(b"Content-Length") || is(b"Transfer-Encoding") => LENGTH,
                () => HEADER,
            };
            return Some((header(watch, "i"), rules));
        }
        if let Some(watch) = self.response.iter().find(|watch| watch.slot == at) {
            return Some((header(watch, "o"), if client { SENT_HEADER } else { RESPONSE }));
        }
        if self.reason == Some(at) {
            let rules = if client { SENT_REASON } else { REASON };
            return Some(("%{s3log:reason}x".to_owned(), rules));
        }
        if let Some(watch) = self.logs.iter().find(|watch| watch.slot == at) {
            let key = watch.key.strip_suffix(b":").unwrap_or(&watch.key);
            return Some((argument("VCL_Log:", key, "x"), LOG));
        }
        let watch = self.any.iter().find(|watch| watch.slot == at)?;
        Some((self.record(watch), &[]))
    }

    fn record(&self, watch: &TagWatch) -> String {
        let mut text = self.tag(watch.number).name;
        if let Some(prefix) = watch.prefix.strip_suffix(b":") {
            text.push(':');
            text.push_str(&String::from_utf8_lossy(prefix));
        }
        if watch.field > 0 {
            // Writing into a String does not fail.
            let _ = write!(text, "[{}]", watch.field);
        }
        format!("%{{VSL:{text}}}x")
    }
}

fn header(watch: &HeaderWatch, letter: &str) -> String {
    let which = match watch.which {
        Which::Usual => "",
        Which::First => ":first",
        Which::Last => ":last",
    };
    format!("%{{{}{which}}}{letter}", String::from_utf8_lossy(&watch.name))
}

fn argument(before: &str, name: &[u8], letter: &str) -> String {
    format!("%{{{before}{}}}{letter}", String::from_utf8_lossy(name))
}
