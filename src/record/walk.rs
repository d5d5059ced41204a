//! One walk over a task's log, by varnishncsa's rules, into captured values.
//!
//! The rules (`dispatch_f`, `frag_needed` in varnishncsa.c):
//!
//! | value | client side | backend side |
//! |---|---|---|
//! | of the request | the first, until `VCL_call RECV` | the last, until `VCL_call BACKEND_RESPONSE` |
//! | of the response | the last | the first, until `VCL_call BACKEND_RESPONSE` |
//! | anything else | the first | the first |

use super::filter::Filter;
use super::program::{HeaderWatch, Plan, Program, Which, slot};
use super::tags::Tag;
use super::task::{Handling, Side, Task};
use super::text::{after_prefix, basic, field, header, same, trim};
use super::vsl::{LogRecord, Records, text};

/// Captured values that need no allocation.
pub(super) const INLINE: usize = 32;

/// Those of a short format: the fixed ones and two headers.
pub(super) const FEW: usize = 16;

/// A captured value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) bytes: Option<&'a [u8]>,
    /// The value ends where Varnish cut its record.
    pub(super) cut: bool,
    /// A header that was there and was taken away again.
    pub(super) gone: bool,
    /// It is known that nothing in it needs an escape.
    pub(super) plain: bool,
}

impl Slot<'_> {
    pub(super) const EMPTY: Self = Self { bytes: None, cut: false, gone: false, plain: false };
}

/// What one walk found.
#[derive(Debug)]
pub(super) struct Captured<'s, 'a> {
    pub(super) slots: &'s mut [Slot<'a>],
    pub(super) handling: Option<Handling>,
    /// The status, where it is known without the log.
    pub(super) status: Option<u16>,
    /// How long it took until the first byte could be sent, in seconds, where the same is so.
    pub(super) first_byte: Option<f64>,
    /// The text `hitmiss` has apart from `handling`: the last event decides both.
    pub(super) hit: Option<bool>,
    /// The log begins with the transaction's first record.
    pub(super) whole: bool,
    /// The request's values were looked for.
    pub(super) received: bool,
    /// The log has the response's status and, after it, the call of VCL that got the response:
    /// all of the response's headers are in the log, too.
    pub(super) answered: bool,
    /// Some captured value was cut.
    pub(super) cut: bool,
    /// A value was neither in the log nor in the structs.
    pub(super) incomplete: bool,
}

impl<'s, 'a> Captured<'s, 'a> {
    /// Nothing found yet, for `slots`, which are empty.
    pub(super) fn new(slots: &'s mut [Slot<'a>]) -> Self {
        Self {
            slots,
            handling: None,
            status: None,
            first_byte: None,
            hit: None,
            whole: false,
            received: true,
            answered: false,
            cut: false,
            incomplete: false,
        }
    }

    pub(super) fn get(&self, slot: u16) -> Slot<'a> {
        self.slots.get(usize::from(slot)).copied().unwrap_or(Slot::EMPTY)
    }

    pub(super) fn put(&mut self, slot: u16, bytes: &'a [u8], cut: bool) {
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = Slot { bytes: Some(bytes), cut, ..Slot::EMPTY };
            self.cut |= cut;
        }
    }

    /// The same for bytes in which nothing needs an escape.
    pub(super) fn put_plain(&mut self, slot: u16, bytes: &'a [u8]) {
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = Slot { bytes: Some(bytes), plain: true, ..Slot::EMPTY };
        }
    }

    /// Nothing is known of `slot`.
    pub(super) fn clear(&mut self, slot: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(slot)) {
            *slot = Slot::EMPTY;
        }
    }

    /// The header in `slot` was taken away again.
    pub(super) fn take_away(&mut self, slot: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(slot)) {
            slot.gone = true;
        }
    }
}

/// When a record's value is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Internal,
    Request,
    Response,
}

/// What is known in the middle of a walk; [`Captured`] says what the fields mean.
struct Walk<'w, 'p, 'a> {
    program: &'p Program,
    plan: &'p Plan,
    side: Side,
    whole: bool,
    /// The request's values were taken, or cannot be told from VCL's.
    received: bool,
    filter: &'p Filter,
    /// Nothing more is looked for.
    ended: bool,
    /// A response's status was logged.
    status: bool,
    slots: &'w mut [Slot<'a>],
    handling: Option<Handling>,
    hit: Option<bool>,
    answered: bool,
    /// Some captured value was cut.
    cuts: bool,
    /// This record was.
    cut: bool,
}

/// Walks `task`'s log by `plan`, which is one of `program`'s, and puts what it finds into `found`.
#[inline(never)]
pub(super) fn walk<'a>(
    program: &Program,
    plan: &Plan,
    task: &Task<'a>,
    found: &mut Captured<'_, 'a>,
) {
    let mut records = Records::new(task.log, task.overhead);
    let mut early = records.clone().take(2);
    let first = early.next();
    let kind = |record: &LogRecord<'_>| program.tags.kind(record.tag);
    let whole = match first {
        Some(first) if kind(&first) == Tag::Begin => true,
        // The second one, if that is hidden; a fetch has VCL_use in between.
        first => {
            first.into_iter().chain(early).any(|record| {
                kind(&record) == Tag::Timestamp && text(record.bytes).starts_with(b"Start:")
            }) && program.masked(task, Tag::Begin)
        }
    };
    // After a flush, or without VCL_call, nobody can tell whether a request's header was received
    // or set by VCL. Without VCL_call that is so of a backend's response, too.
    let hidden = program.heal && program.masked(task, Tag::VclCall);
    let torn = hidden || !whole && task.side == Side::Client;
    let received = torn && program.heal;
    let mut walk = Walk {
        program,
        plan,
        side: task.side,
        whole,
        received: false,
        filter: &plan.filter,
        ended: false,
        status: false,
        slots: found.slots,
        handling: None,
        hit: None,
        answered: false,
        cuts: false,
        cut: false,
    };
    let any = !program.any.is_empty();
    let reclen = task.reclen;
    if received {
        walk.receive();
    }
    while let Some(record) = records.find(walk.filter) {
        let tag = plan.kind(record.tag);
        walk.cut = record.bytes.len() >= reclen;
        walk.record(tag, text(record.bytes));
        if any {
            walk.any(record.tag, record.bytes);
        }
        if walk.ended {
            break;
        }
    }
    let Walk { handling, hit, answered, cuts, .. } = walk;
    (found.handling, found.hit, found.whole) = (handling, hit, whole);
    (found.answered, found.cut) = (answered, cuts);
    found.received = !received;
}

impl<'a> Walk<'_, '_, 'a> {
    fn record(&mut self, tag: Tag, text: &'a [u8]) {
        match tag {
            Tag::PipeAcct => {
                self.field(text, 3, slot::PIPE_IN);
                self.field(text, 4, slot::PIPE_OUT);
            }
            Tag::BackendOpen => self.field(text, 3, slot::HOST_IP),
            Tag::ReqStart => {
                self.field(text, 1, slot::HOST_IP);
                self.field(text, 2, slot::PORT);
            }
            Tag::BereqMethod | Tag::ReqMethod => self.line(Policy::Request, text, slot::METHOD),
            Tag::BereqUrl | Tag::ReqUrl => self.url(text),
            Tag::BereqProtocol | Tag::ReqProtocol => {
                self.line(Policy::Request, text, slot::PROTOCOL);
            }
            Tag::BerespStatus | Tag::RespStatus => {
                self.status = true;
                self.line(Policy::Response, text, slot::STATUS);
            }
            Tag::BerespReason | Tag::RespReason => {
                if let Some(slot) = self.program.reason {
                    self.line(Policy::Response, text, slot);
                }
            }
            Tag::Timestamp => self.timestamp(text),
            Tag::BereqHeader | Tag::ReqHeader => self.request_header(text, false),
            Tag::BereqUnset | Tag::ReqUnset => self.request_header(text, true),
            Tag::BerespHeader | Tag::RespHeader => self.response_header(text, false),
            Tag::BerespUnset | Tag::RespUnset => self.response_header(text, true),
            Tag::HitMiss => self.handled(Some(Handling::HitMiss), Some(false)),
            Tag::HitPass => self.handled(Some(Handling::HitPass), Some(false)),
            Tag::VclCall => self.call(text),
            Tag::VclReturn if same(text, b"pipe") => {
                self.handled(Some(Handling::Pipe), Some(false));
            }
            Tag::VclLog => self.log(text),
            _ => {}
        }
    }

    #[inline]
    fn put(&mut self, slot: u16, bytes: &'a [u8], cut: bool) {
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = Slot { bytes: Some(bytes), cut, ..Slot::EMPTY };
            self.cuts |= cut;
        }
    }

    #[inline]
    fn empty(&self, slot: u16) -> bool {
        self.slots.get(usize::from(slot)).is_some_and(|slot| slot.bytes.is_none())
    }

    /// The request's values are complete.
    fn receive(&mut self) {
        self.received = true;
        // What a log without its beginning lacks is told from all of its tags.
        if self.whole {
            self.filter = &self.plan.later;
            self.ended = self.plan.ends;
        }
    }

    fn handled(&mut self, handling: Option<Handling>, hit: Option<bool>) {
        self.handling = handling;
        self.hit = hit;
    }

    /// Whether `slot` takes a value now.
    #[inline]
    fn wants(&self, policy: Policy, which: Which, slot: u16) -> bool {
        let client = self.side == Side::Client;
        let (first, open) = match policy {
            Policy::Internal => (true, true),
            Policy::Request => (client, !self.received),
            Policy::Response => (!client, client || !self.received),
        };
        let first = match which {
            Which::Usual => first,
            Which::First => true,
            Which::Last => false,
        };
        open && (!first || self.empty(slot))
    }

    fn line(&mut self, policy: Policy, text: &'a [u8], slot: u16) {
        if self.program.uses(slot) && self.wants(policy, Which::Usual, slot) {
            self.put(slot, trim(text), self.cut);
        }
    }

    fn field(&mut self, text: &'a [u8], number: u8, slot: u16) {
        if self.program.uses(slot)
            && self.wants(Policy::Internal, Which::Usual, slot)
            && let Some((word, last)) = field(text, number)
        {
            self.put(slot, word, self.cut && last);
        }
    }

    fn url(&mut self, text: &'a [u8]) {
        if self.received || !(self.program.uses(slot::PATH) || self.program.uses(slot::QUERY)) {
            return;
        }
        let at = memchr::memchr(b'?', text).unwrap_or(text.len());
        let (path, query) = text.split_at_checked(at).unwrap_or((text, &[]));
        let cut = self.cut;
        self.cut = cut && query.is_empty();
        self.line(Policy::Request, path, slot::PATH);
        self.cut = cut;
        self.line(Policy::Request, query, slot::QUERY);
    }

    fn timestamp(&mut self, text: &'a [u8]) {
        let after = |label: &[u8]| {
            let (head, rest) = text.split_at_checked(label.len())?;
            same(head, label).then_some(rest)
        };
        // Most labels are none of these: their first letter says so.
        match text.first().map(u8::to_ascii_lowercase) {
            Some(b's') => {
                if let Some(rest) = after(b"Start:") {
                    self.field(rest, 1, slot::START);
                }
            }
            Some(b'r') => {
                if let Some(rest) = after(b"Resp:") {
                    self.field(rest, 1, slot::END);
                }
            }
            Some(b'p') => {
                if let Some(rest) = after(b"PipeSess:") {
                    self.field(rest, 1, slot::END);
                } else if let Some(rest) = after(b"Process:").or_else(|| after(b"Pipe:")) {
                    self.field(rest, 2, slot::FIRST_BYTE);
                }
            }
            Some(b'b') => {
                if let Some(rest) = after(b"BerespBody:") {
                    self.field(rest, 1, slot::END);
                } else if let Some(rest) = after(b"Beresp:") {
                    self.field(rest, 2, slot::FIRST_BYTE);
                }
            }
            _ => {}
        }
    }

    fn request_header(&mut self, text: &'a [u8], unset: bool) {
        if self.received {
            return;
        }
        let program = self.program;
        let watches = program.request.get(self.plan.from..).unwrap_or_default();
        self.headers(watches, Policy::Request, text, unset);
        if unset {
            return;
        }
        if program.uses(slot::HOST)
            && let Some(value) = header(text, b"Host")
        {
            self.line(Policy::Request, value, slot::HOST);
        } else if program.uses(slot::AUTH)
            && let Some(value) = header(text, b"Authorization").and_then(basic)
        {
            self.line(Policy::Request, value, slot::AUTH);
        }
    }

    fn response_header(&mut self, text: &'a [u8], unset: bool) {
        let program = self.program;
        self.headers(&program.response, Policy::Response, text, unset);
    }

    #[inline]
    fn headers(&mut self, watches: &[HeaderWatch], policy: Policy, text: &'a [u8], unset: bool) {
        for watch in watches {
            if let Some(value) = header(text, &watch.name)
                && self.wants(policy, watch.which, watch.slot)
            {
                // varnishncsa prints "-" for a header that was taken away, and keeps to it.
                self.put(watch.slot, trim(value), self.cut && !unset);
                if unset && let Some(slot) = self.slots.get_mut(usize::from(watch.slot)) {
                    slot.gone = true;
                }
            }
        }
    }

    fn call(&mut self, text: &'a [u8]) {
        let is = |name: &[u8]| same(text, name);
        let now = self.handling;
        if self.status && !self.whole {
            let got = is(b"DELIVER") || is(b"SYNTH");
            self.answered |= got || is(b"BACKEND_RESPONSE") || is(b"BACKEND_ERROR");
        }
        match text.first().map(u8::to_ascii_lowercase) {
            Some(b'r') if is(b"RECV") => {
                self.receive();
                self.handled(None, None);
            }
            Some(b'h') if is(b"HIT") => self.handled(Some(Handling::Hit), Some(true)),
            Some(b'm') if is(b"MISS") && now != Some(Handling::HitMiss) => {
                self.handled(Some(Handling::Miss), Some(false));
            }
            Some(b'p') if is(b"PASS") && now != Some(Handling::HitPass) => {
                self.handled(Some(Handling::Pass), Some(false));
            }
            Some(b's') if is(b"SYNTH") => {
                self.handled(Some(Handling::Synth), Some(false));
            }
            Some(b'b') if is(b"BACKEND_RESPONSE") => self.receive(),
            _ => {}
        }
    }

    /// The first value counts, and in a log that has lost its beginning nobody knows the first.
    fn first_is_lost(&self) -> bool {
        self.program.heal && !self.whole
    }

    fn log(&mut self, text: &'a [u8]) {
        if self.first_is_lost() {
            return;
        }
        for watch in &self.program.logs {
            if let Some(value) = text.strip_prefix(watch.key.as_slice())
                && self.wants(Policy::Internal, Which::Usual, watch.slot)
            {
                self.put(watch.slot, trim(value), self.cut);
            }
        }
    }

    fn any(&mut self, number: u8, bytes: &'a [u8]) {
        if self.first_is_lost() {
            return;
        }
        for watch in self.program.any.iter().filter(|watch| watch.number == number) {
            if !self.wants(Policy::Internal, Which::Usual, watch.slot) {
                continue;
            }
            let all = if watch.raw { bytes } else { text(bytes) };
            let Some(value) = after_prefix(all, &watch.prefix) else { continue };
            if watch.field == 0 {
                self.put(watch.slot, trim(value), self.cut);
            } else if let Some((word, last)) = field(value, watch.field) {
                self.put(watch.slot, word, self.cut && last);
            }
        }
    }
}
