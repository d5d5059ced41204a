//! Takes from a task's structs what its log cut (`vsl_reclen`), lost (`vsl_buffer`) or never
//! had (`vsl_mask`).
//!
//! A cut value is replaced only by one that begins with it, so that a header which VCL has
//! changed since never stands in for the one that was logged.

use super::program::{HeaderWatch, Program, Which, slot};
use super::tags::Tag;
use super::task::{Address, Handling, Message, Part, Side, Structs, Task};
use super::text::{basic, header, trim};
use super::walk::Captured;

/// More headers than Varnish takes (`http_max_hdr` is at most 65,535) are not looked at.
const HEADERS_MAX: usize = 65_535;

/// Headers that Varnish itself adds to a request before `vcl_recv`, where the client sent none:
/// they are logged as received, but stand only in the request as VCL has it.
const ADDED: [&[u8]; 2] = [b"X-Forwarded-For", b"Via"];

/// Mends `found`; what cannot be mended sets `found.incomplete`.
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
        healer.unset(&program.response, Message::Response, Tag::RespUnset);
    } else {
        healer.unset(&program.request, Message::Request, Tag::BereqUnset);
    }
    healer.records();
    healer.handling();
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
        let logged = self.found.whole || response && self.found.answered;
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

    fn first_line(&mut self) {
        let client = self.task.side == Side::Client;
        let message = if client { Message::Received } else { Message::Request };
        let tag = |request, bereq| if client { request } else { bereq };
        if self.wants(slot::METHOD, tag(Tag::ReqMethod, Tag::BereqMethod)) {
            self.settle(slot::METHOD, self.structs.line(message, Part::Method));
        }
        if self.wants(slot::PROTOCOL, tag(Tag::ReqProtocol, Tag::BereqProtocol)) {
            self.settle(slot::PROTOCOL, self.structs.line(message, Part::Protocol));
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
        let Some(url) = self.structs.line(message, Part::Url) else {
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
        let added =
            message == Message::Received && ADDED.iter().any(|of| of.eq_ignore_ascii_case(name));
        match best {
            Some(value) => self.found.put(slot, value, false),
            None if added => {
                self.search(slot, name, Message::Request, first, pick);
                // VCL took it away, or this Varnish adds none.
                self.found.incomplete |= self.found.get(slot).bytes.is_none();
            }
            None if now.cut => self.found.incomplete = true,
            None if self.whole(message, index) => {}
            None => self.found.incomplete = true,
        }
    }

    /// Whether a message of which `lines` lines are known has no others that the format prints. A
    /// response's may be those that VCL had when it called `.log()`.
    fn whole(&self, message: Message, lines: usize) -> bool {
        match (message, self.task.side) {
            (Message::Response, Side::Client) => self.structs.response_is_final(),
            _ => lines > 0,
        }
    }

    /// With `tag` hidden, a header in the log may have been taken away after it was logged.
    fn unset(&mut self, watches: &[HeaderWatch], message: Message, tag: Tag) {
        if watches.is_empty() || !self.program.masked(self.task, tag) {
            return;
        }
        for watch in watches {
            let Some(value) = self.found.get(watch.slot).bytes else { continue };
            let structs = self.structs;
            if message == Message::Response && structs.response_is_final() {
                self.last(watch, message);
                continue;
            }
            let mut lines = (0..HEADERS_MAX).map_while(|index| structs.header(message, index));
            let still = lines.any(|line| {
                header(line, &watch.name).is_some_and(|now| trim(now).starts_with(value))
            });
            self.found.incomplete |= !still;
        }
    }

    /// The last value of a header in a message that is whole, or none.
    fn last(&mut self, watch: &HeaderWatch, message: Message) {
        let structs = self.structs;
        let lines = (0..HEADERS_MAX).map_while(|index| structs.header(message, index));
        let values = lines.filter_map(|line| header(line, &watch.name));
        match if watch.which == Which::First { values.take(1).last() } else { values.last() } {
            Some(value) => self.found.put(watch.slot, trim(value), false),
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
