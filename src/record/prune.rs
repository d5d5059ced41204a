//! Which of a log's records a program reads, so that the walk passes over the others: of any task, and
//! of a request whose structs have the most of it (`settled`).

use super::filter::{Class, Filter};
use super::program::{HeaderWatch, Plan, Program, Step, What, slot};
use super::settled::FORWARDED;
use super::tags::Tag;

impl Program {
    /// Plans what is looked for, and where.
    pub(super) fn prune(&mut self) {
        self.request.sort_by_key(|watch| !watch.is_settled());
        let settled = self.request.iter().take_while(|watch| watch.is_settled()).count();
        for watch in self.request.iter().take(settled) {
            self.names.add(&watch.name, watch.slot);
            if watch.name.eq_ignore_ascii_case(FORWARDED) {
                self.forwarded.push(watch.slot);
            }
        }
        for (slot, name) in [(slot::HOST, b"Host".as_slice()), (slot::AUTH, b"Authorization")] {
            if self.uses(slot) {
                self.names.add(name, slot);
            }
        }
        let part = |step: &Step| matches!(step.what, What::Slot(slot::PATH | slot::QUERY, _));
        self.splits_url = self.steps.iter().any(part);
        self.host = self.request.iter().any(|watch| watch.name.eq_ignore_ascii_case(b"host"));
        self.all = self.plan(0, |tag| self.reads(tag), |tag| self.is_over(tag));
        let logged = settled < self.request.len();
        let rest = |tag| match tag {
            Tag::ReqHeader | Tag::ReqUnset | Tag::VclCall => logged,
            Tag::VclLog => !self.logs.is_empty(),
            _ => false,
        };
        let over = |tag| matches!(tag, Tag::ReqHeader | Tag::ReqUnset | Tag::VclCall);
        self.rest = self.plan(settled, rest, over);
    }

    /// Whether some operation prints from records of `tag`.
    fn reads(&self, tag: Tag) -> bool {
        let any = |slots: &[u16]| slots.iter().any(|slot| self.used & (1 << slot) != 0);
        let request = !self.request.is_empty() || any(&[slot::HOST, slot::AUTH]);
        let response = !self.response.is_empty();
        let line = any(&[slot::METHOD, slot::PATH, slot::QUERY, slot::PROTOCOL]);
        match tag {
            Tag::Timestamp => any(&[slot::START, slot::END, slot::FIRST_BYTE]),
            Tag::PipeAcct => any(&[slot::PIPE_IN, slot::PIPE_OUT]),
            Tag::BackendOpen => any(&[slot::HOST_IP]),
            Tag::ReqStart => any(&[slot::HOST_IP, slot::PORT]),
            Tag::ReqMethod | Tag::BereqMethod => any(&[slot::METHOD]),
            Tag::ReqUrl | Tag::BereqUrl => any(&[slot::PATH, slot::QUERY]),
            Tag::ReqProtocol | Tag::BereqProtocol => any(&[slot::PROTOCOL]),
            Tag::RespStatus | Tag::BerespStatus => response || any(&[slot::STATUS]),
            Tag::RespReason | Tag::BerespReason => self.reason.is_some(),
            Tag::ReqHeader | Tag::BereqHeader => request,
            Tag::ReqUnset | Tag::BereqUnset => !self.request.is_empty(),
            Tag::RespHeader | Tag::RespUnset | Tag::BerespHeader | Tag::BerespUnset => response,
            Tag::HitMiss | Tag::HitPass | Tag::VclReturn => self.uses_handling,
            // Where the received request ends decides which of its values are taken.
            Tag::VclCall => {
                let reason = self.reason.is_some();
                self.uses_handling || request || response || line || reason || any(&[slot::STATUS])
            }
            Tag::VclLog => !self.logs.is_empty(),
            _ => false,
        }
    }

    /// Whether records of `tag` say nothing any more once the request has been received.
    fn is_over(&self, tag: Tag) -> bool {
        match tag {
            Tag::ReqMethod | Tag::ReqUrl | Tag::ReqProtocol | Tag::ReqHeader | Tag::ReqUnset => {
                true
            }
            Tag::BereqMethod | Tag::BereqUrl | Tag::BereqProtocol => true,
            Tag::BereqHeader | Tag::BereqUnset => true,
            Tag::VclCall => !self.uses_handling,
            Tag::Timestamp => !self.uses(slot::END) && !self.uses(slot::FIRST_BYTE),
            _ => false,
        }
    }

    /// A walk that looks at the records of the tags that are `wanted`, until they are `over`, and for
    /// the request's headers from number `from` on.
    fn plan(&self, from: usize, wanted: impl Fn(Tag) -> bool, over: impl Fn(Tag) -> bool) -> Plan {
        let needed = self.tags.kinds().map(|tag| if wanted(tag) { tag } else { Tag::Other });
        let later = needed.map(|tag| if over(tag) { Tag::Other } else { tag });
        let walks = !self.any.is_empty() || needed.iter().any(|tag| *tag != Tag::Other);
        let ends = self.any.is_empty() && later.iter().all(|tag| *tag == Tag::Other);
        let filter = self.filter(&needed, from);
        let later = self.filter(&later, from);
        Plan { walks, needed, filter, later, ends, from }
    }

    /// What is wanted of the records of `tags`, by number.
    fn filter(&self, tags: &[Tag; 256], from: usize) -> Filter {
        let uses = |slot, letters: &'static [u8]| if self.uses(slot) { letters } else { b"" };
        let mut filter = Filter::none();
        filter.begin(Class::RequestHeader, firsts(self.request.get(from..).unwrap_or_default()));
        filter.begin(Class::RequestHeader, uses(slot::HOST, b"h").iter().copied());
        filter.begin(Class::RequestHeader, uses(slot::AUTH, b"a").iter().copied());
        filter.begin(Class::ResponseHeader, firsts(&self.response));
        filter.begin(Class::Timestamp, uses(slot::START, b"s").iter().copied());
        filter.begin(Class::Timestamp, uses(slot::END, b"rpb").iter().copied());
        filter.begin(Class::Timestamp, uses(slot::FIRST_BYTE, b"pb").iter().copied());
        let calls: &[u8] = if self.uses_handling { b"rhmpsdb" } else { b"rsdb" };
        filter.begin(Class::Call, calls.iter().copied());
        filter.begin(Class::Return, *b"p");
        for (number, tag) in (0..=255).zip(tags) {
            filter.class(number, class_of(*tag));
        }
        for watch in &self.any {
            filter.class(watch.number, Class::Always);
        }
        filter
    }
}

fn firsts(watches: &[HeaderWatch]) -> impl Iterator<Item = u8> {
    watches.iter().filter_map(|watch| watch.name.first().copied())
}

fn class_of(tag: Tag) -> Class {
    match tag {
        Tag::Other => Class::Never,
        Tag::ReqHeader | Tag::ReqUnset | Tag::BereqHeader | Tag::BereqUnset => Class::RequestHeader,
        Tag::RespHeader | Tag::RespUnset | Tag::BerespHeader | Tag::BerespUnset => {
            Class::ResponseHeader
        }
        Tag::Timestamp => Class::Timestamp,
        Tag::VclCall => Class::Call,
        Tag::VclReturn => Class::Return,
        _ => Class::Always,
    }
}
