//! Takes from a task's structs what its log cut (`vsl_reclen`), lost (`vsl_buffer`) or never
//! had (`vsl_mask`).
//!
//! A cut value is replaced only by one that begins with it, so that a header which VCL has
//! changed since never stands in for the one that was logged.

use super::program::{HeaderWatch, Program, Which, slot};
use super::tags::Tag;
use super::task::{Address, Handling, Message, Part, Side, Structs, Task};
use super::text::{basic, header, trim};
use super::walk::{Captured, Slot};

/// More headers than Varnish takes (`http_max_hdr` is at most 65,535) are not looked at.
const HEADERS_MAX: usize = 65_535;

/// Whether Varnish adds such a header to a request.
fn added_by_varnish(name: &[u8]) -> bool {
    [b"X-Forwarded-For".as_slice(), b"Via"].iter().any(|of| of.eq_ignore_ascii_case(name))
}

/// Completes `found`; what cannot be completed sets `found.incomplete`.
pub(super) fn heal<'a>(program: &Program, task: &Task<'a>, found: &mut Captured<'_, 'a>) {
    if !program.heal {
        found.incomplete |= found.cut && found.slots.iter().any(|slot| slot.cut);
        return;
    }
    let mut healer = Healer { program, task, structs: task.structs, found };
    healer.first_line();
    healer.addresses();
    let client = task.side == Side::Client;
    let received = if client { Message::Received } else { Message::Request };
    let tag = if client { Tag::ReqHeader } else { Tag::BereqHeader };
    healer.named(slot::HOST, b"Host", received, tag, client);
    healer.named(slot::AUTH, b"Authorization", received, tag, client);
    healer.headers(&program.request, received, tag, client);
    let tag = if client { Tag::RespHeader } else { Tag::BerespHeader };
    healer.headers(&program.response, Message::Response, tag, !client);
    if client {
        healer.unset(&program.response, Message::Response, [Tag::RespHeader, Tag::RespUnset]);
    } else {
        healer.unset(&program.request, Message::Request, [Tag::BereqHeader, Tag::BereqUnset]);
    }
    healer.records();
    healer.handling();
}

/// Completes what a walk by `program.rest` was to find.
pub(super) fn heal_rest<'a>(program: &Program, task: &Task<'a>, found: &mut Captured<'_, 'a>) {
    let mut healer = Healer { program, task, structs: task.structs, found };
    let logged = program.request.get(program.rest.from..).unwrap_or_default();
    healer.headers(logged, Message::Received, Tag::ReqHeader, true);
    healer.records();
}

/// Completes the reason in `slot`, which goes with the status that is printed.
#[inline(never)]
pub(super) fn heal_reason<'a>(
    program: &Program,
    task: &Task<'a>,
    found: &mut Captured<'_, 'a>,
    slot: u16,
) {
    if !program.heal {
        return;
    }
    if found.status.is_some() {
        // The log may have that of another answer behind it, or before it.
        match task.structs.reason() {
            Some(reason) => found.put(slot, trim(reason), false),
            None => {
                found.clear(slot);
                found.incomplete = true;
            }
        }
        return;
    }
    let client = task.side == Side::Client;
    // A pipe has no reason of its own.
    if client && task.acct.is_none() {
        return;
    }
    let value = found.get(slot);
    let tag = if client { Tag::RespReason } else { Tag::BerespReason };
    let lost = || !found.whole || program.masked(task, tag);
    found.incomplete |= value.cut || value.bytes.is_none() && lost();
}

/// The value of a response's last header `name`.
pub(super) fn last<'a>(structs: &'a dyn Structs, name: &[u8]) -> Option<&'a [u8]> {
    values(structs, Message::Response, name).last()
}

struct Healer<'h, 's, 'p, 'a> {
    program: &'p Program,
    task: &'h Task<'a>,
    structs: &'a dyn Structs,
    found: &'h mut Captured<'s, 'a>,
}

impl<'a> Healer<'_, '_, '_, 'a> {
    /// Whether a value of `tag` that is absent may have been there.
    fn doubtful(&self, tag: Tag) -> bool {
        let response = matches!(tag, Tag::RespHeader | Tag::BerespHeader);
        let taken = self.found.received
            || matches!(tag, Tag::RespHeader | Tag::VclLog | Tag::ReqStart | Tag::BackendOpen);
        let logged = self.found.whole && taken || response && self.found.answered;
        !logged || self.program.masked(self.task, tag)
    }

    fn wants(&self, slot: u16, tag: Tag) -> bool {
        let value = self.found.get(slot);
        self.program.uses(slot) && (value.cut || value.bytes.is_none() && self.doubtful(tag))
    }

    /// Puts `healed` in `slot` if it continues what is there.
    fn settle(&mut self, slot: u16, healed: Option<&'a [u8]>) {
        let cut = self.found.get(slot).bytes.unwrap_or_default();
        match healed {
            Some(value) if value.starts_with(cut) => self.found.put(slot, value, false),
            _ => self.found.incomplete = true,
        }
    }

    /// A part of a message's first line, of which the log has `logged`; of a request that was restarted
    /// only what VCL left alone.
    fn part(&self, message: Message, part: Part, logged: Option<&[u8]>) -> Option<&'a [u8]> {
        let structs = self.structs;
        let value = structs.line(message, part);
        if !self.restarted(message) {
            return value;
        }
        let now = structs.line(Message::Request, part);
        // What the log has of it decides, if it has some.
        if logged.is_some() { now } else { value.filter(|_| now == value) }
    }

    fn first_line(&mut self) {
        let client = self.task.side == Side::Client;
        let message = if client { Message::Received } else { Message::Request };
        let tag = |request, bereq| if client { request } else { bereq };
        if self.wants(slot::METHOD, tag(Tag::ReqMethod, Tag::BereqMethod)) {
            let logged = self.found.get(slot::METHOD).bytes;
            self.settle(slot::METHOD, self.part(message, Part::Method, logged));
        }
        if self.wants(slot::PROTOCOL, tag(Tag::ReqProtocol, Tag::BereqProtocol)) {
            let logged = self.found.get(slot::PROTOCOL).bytes;
            self.settle(slot::PROTOCOL, self.part(message, Part::Protocol, logged));
        }
        let url = tag(Tag::ReqUrl, Tag::BereqUrl);
        if self.wants(slot::PATH, url) || self.wants(slot::QUERY, url) {
            self.url(message);
        }
    }

    /// Path and query go together: what was cut before its `?` had no query at all.
    fn url(&mut self, message: Message) {
        let path = self.found.get(slot::PATH);
        let query = self.found.get(slot::QUERY);
        let Some(url) = self.part(message, Part::Url, path.bytes.or(query.bytes)) else {
            self.found.incomplete = true;
            return;
        };
        let at = memchr::memchr(b'?', url).unwrap_or(url.len());
        let (whole_path, whole_query) = url.split_at_checked(at).unwrap_or((url, &[]));
        let fits = match query.bytes {
            Some(query) if !query.is_empty() => {
                path.bytes.is_none_or(|path| path == whole_path) && whole_query.starts_with(query)
            }
            _ => whole_path.starts_with(path.bytes.unwrap_or_default()),
        };
        if fits {
            self.found.put(slot::PATH, whole_path, false);
            self.found.put(slot::QUERY, whole_query, false);
        } else {
            self.found.incomplete = true;
        }
    }

    fn addresses(&mut self) {
        let client = self.task.side == Side::Client;
        let tag = if client { Tag::ReqStart } else { Tag::BackendOpen };
        if self.wants(slot::HOST_IP, tag) {
            self.settle(slot::HOST_IP, self.structs.address(Address::ClientIp));
        }
        if client && self.wants(slot::PORT, tag) {
            self.settle(slot::PORT, self.structs.address(Address::ClientPort));
        }
    }

    #[inline]
    fn named(&mut self, slot: u16, name: &[u8], message: Message, tag: Tag, first: bool) {
        if !self.wants(slot, tag) {
            return;
        }
        let pick = |value: &'a [u8]| {
            if slot == slot::AUTH { basic(value) } else { Some(trim(value)) }
        };
        self.search(slot, name, message, first, pick);
    }

    #[inline]
    fn headers(&mut self, watches: &[HeaderWatch], message: Message, tag: Tag, first: bool) {
        for watch in watches {
            // Varnish collects a header's lines before VCL runs, and takes them away for it.
            if message == Message::Received
                && self.found.get(watch.slot).gone
                && self.program.masked(self.task, tag)
            {
                self.found.clear(watch.slot);
            }
            if self.wants(watch.slot, tag) {
                let first = match watch.which {
                    Which::Usual => first,
                    Which::First => true,
                    Which::Last => false,
                };
                self.search(watch.slot, &watch.name, message, first, |value| Some(trim(value)));
            }
        }
    }

    /// Looks a header up in a message; one that is not there is an answer too.
    #[inline(never)]
    fn search(
        &mut self,
        slot: u16,
        name: &[u8],
        message: Message,
        first: bool,
        pick: impl Fn(&'a [u8]) -> Option<&'a [u8]>,
    ) {
        let now = self.found.get(slot);
        // What the log does not begin, VCL may have changed since it was logged: the headers of a
        // backend's response, and of a request at its restart.
        let response = message == Message::Response && self.task.side == Side::Backend;
        let changed = now.bytes.is_none() && response;
        if changed || message == Message::Received && self.is_rewritten(name) {
            self.found.incomplete = true;
            return;
        }
        let message = match now.bytes {
            // What the log has of it decides.
            Some(_) if self.restarted(message) => Message::Request,
            _ => message,
        };
        let (mut best, lines) = self.pick(now, name, message, first, &pick);
        if best.is_none() && message == Message::Received {
            best =
                self.added(name).filter(|value| value.starts_with(now.bytes.unwrap_or_default()));
            // VCL took it away, or this Varnish adds none.
            self.found.incomplete |= best.is_none() && added_by_varnish(name);
        }
        if self.restarted(message)
            && now.bytes.is_none()
            && self.pick(now, name, Message::Request, first, &pick).0 != best
        {
            self.found.incomplete = true;
            return;
        }
        match best {
            Some(value) => self.found.put(slot, value, false),
            None if now.cut => self.found.incomplete = true,
            None if self.whole(message, lines) => {}
            None => self.found.incomplete = true,
        }
    }

    /// The value of a header of which `now` is known, and how many lines the message has.
    fn pick(
        &self,
        now: Slot<'a>,
        name: &[u8],
        message: Message,
        first: bool,
        pick: impl Fn(&'a [u8]) -> Option<&'a [u8]>,
    ) -> (Option<&'a [u8]>, usize) {
        let mut best = None;
        let mut index = 0;
        while let Some(line) = self.structs.header(message, index)
            && index < HEADERS_MAX
        {
            index += 1;
            let Some(value) = header(line, name).and_then(&pick) else { continue };
            if now.bytes.is_some_and(|cut| !value.starts_with(cut)) {
                continue;
            }
            best = Some(value);
            if first {
                break;
            }
        }
        (best, index)
    }

    /// Whether a header of the request as received may not be what the client sent: for a body that it keeps
    /// `std.cache_req_body()` writes its length there (`vrb_pull`).
    fn is_rewritten(&self, name: &[u8]) -> bool {
        let lengths: [&[u8]; 2] = [b"Content-Length", b"Transfer-Encoding"];
        lengths.iter().any(|length| name.eq_ignore_ascii_case(length))
            && self.structs.body_is_kept()
    }

    /// Whether a request's message is that of before a restart, which may have another one.
    fn restarted(&self, message: Message) -> bool {
        message == Message::Received && self.task.restarts > 0
    }

    /// A header that Varnish adds to a request before `vcl_recv` where the client sent none
    /// (`cnt_recv_prep`): it is logged as received, but not in the request as received.
    fn added(&self, name: &[u8]) -> Option<&'a [u8]> {
        if name.eq_ignore_ascii_case(b"X-Forwarded-For") {
            return self.structs.address(Address::ClientIp);
        }
        if !name.eq_ignore_ascii_case(b"Via") {
            return None;
        }
        let via = values(self.structs, Message::Request, name).next()?;
        // `http_ViaHeader`, and not what VCL made of it.
        let own = via.starts_with(b"1.1 ") && via.ends_with(b")");
        let names: [&[u8]; 2] = [b" (Varnish/", b" (Vinyl-Cache/"];
        (own && names.iter().any(|name| memchr::memmem::find(via, name).is_some())).then_some(via)
    }

    /// Whether a message of which `lines` lines are known has no others that the format prints. A
    /// response's may be those that VCL had when it called `.log()`.
    fn whole(&self, message: Message, lines: usize) -> bool {
        match (message, self.task.side) {
            (Message::Response, Side::Client) => self.structs.response_is_final(),
            _ => lines > 0,
        }
    }

    /// With one of `tags` hidden, a header in the log may have been taken away after it was logged, or
    /// set again after it was taken away.
    fn unset(&mut self, watches: &[HeaderWatch], message: Message, tags: [Tag; 2]) {
        if watches.is_empty() || !tags.iter().any(|tag| self.program.masked(self.task, *tag)) {
            return;
        }
        for watch in watches {
            let now = self.found.get(watch.slot);
            let Some(value) = now.bytes else { continue };
            let structs = self.structs;
            if message == Message::Request || structs.response_is_final() {
                self.last(watch, message);
                continue;
            }
            if now.gone {
                self.found.incomplete = true;
                continue;
            }
            let still = values(structs, message, &watch.name).any(|now| now.starts_with(value));
            self.found.incomplete |= !still;
        }
    }

    /// The last value of a header in a message that is whole, or none.
    fn last(&mut self, watch: &HeaderWatch, message: Message) {
        let mut values = values(self.structs, message, &watch.name);
        match if watch.which == Which::First { values.next() } else { values.last() } {
            Some(value) => self.found.put(watch.slot, value, false),
            None => self.found.take_away(watch.slot),
        }
    }

    /// Log lines of VCL and records of any tag stand nowhere but in the log.
    fn records(&mut self) {
        for watch in &self.program.logs {
            if self.wants(watch.slot, Tag::VclLog) {
                self.found.incomplete = true;
            }
        }
        for watch in &self.program.any {
            let value = self.found.get(watch.slot);
            let lost = || !self.found.whole || (self.task.mask)(watch.number);
            if value.cut || value.bytes.is_none() && lost() {
                self.found.incomplete = true;
            }
        }
    }

    fn handling(&mut self) {
        if !self.program.uses_handling || self.task.side == Side::Backend {
            return;
        }
        // Each of these tags alone can tell one outcome from another.
        let tags = [Tag::VclCall, Tag::VclReturn, Tag::HitMiss, Tag::HitPass];
        let masked = tags.iter().any(|tag| self.program.masked(self.task, *tag));
        let lost = self.found.handling.is_none() && !self.found.whole;
        if !masked && !lost {
            return;
        }
        let logged = self.found.handling.filter(|_| !self.program.masked(self.task, Tag::VclCall));
        let handling = match (self.structs.handling(), logged) {
            (Some(known), None) => Some(known),
            (Some(known @ (Handling::HitMiss | Handling::HitPass | Handling::Pipe)), _) => {
                Some(known)
            }
            (_, logged) => logged,
        };
        self.found.hit = handling.map(|handling| handling == Handling::Hit);
        self.found.handling = handling;
        self.found.incomplete |= handling.is_none();
    }
}

/// The values of header `name` in a message, in its order.
fn values<'a>(
    structs: &'a dyn Structs,
    message: Message,
    name: &[u8],
) -> impl Iterator<Item = &'a [u8]> {
    let lines = (0..HEADERS_MAX).map_while(move |index| structs.header(message, index));
    lines.filter_map(move |line| header(line, name).map(trim))
}
