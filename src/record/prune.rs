//! Which of a log's records a program reads, so that the walk passes over the others.

use super::filter::{Class, Filter};
use super::program::{HeaderWatch, Program, slot};
use super::tags::Tag;

impl Program {
    /// Leaves in `needed` the tags that some operation prints from.
    pub(super) fn prune(&mut self) {
        let any = |slots: &[u16]| slots.iter().any(|slot| self.used & (1 << slot) != 0);
        let request = !self.request.is_empty() || any(&[slot::HOST, slot::AUTH]);
        let response = !self.response.is_empty();
        let line = any(&[slot::METHOD, slot::PATH, slot::QUERY, slot::PROTOCOL]);
        // Where the received request ends decides which of its values are taken.
        let calls = self.uses_handling || request || response || line || any(&[slot::STATUS]);
        let wanted = |tag| match tag {
            Tag::Timestamp => any(&[slot::START, slot::END, slot::FIRST_BYTE]),
            Tag::PipeAcct => any(&[slot::PIPE_IN, slot::PIPE_OUT]),
            Tag::BackendOpen => any(&[slot::HOST_IP]),
            Tag::ReqStart => any(&[slot::HOST_IP, slot::PORT]),
            Tag::ReqMethod | Tag::BereqMethod => any(&[slot::METHOD]),
            Tag::ReqUrl | Tag::BereqUrl => any(&[slot::PATH, slot::QUERY]),
            Tag::ReqProtocol | Tag::BereqProtocol => any(&[slot::PROTOCOL]),
            Tag::RespStatus | Tag::BerespStatus => response || any(&[slot::STATUS]),
            Tag::ReqHeader | Tag::BereqHeader => request,
            Tag::ReqUnset | Tag::BereqUnset => !self.request.is_empty(),
            Tag::RespHeader | Tag::RespUnset | Tag::BerespHeader | Tag::BerespUnset => response,
            Tag::HitMiss | Tag::HitPass | Tag::VclReturn => self.uses_handling,
            Tag::VclCall => calls,
            Tag::VclLog => !self.logs.is_empty(),
            _ => false,
        };
        let over = |tag| match tag {
            Tag::ReqMethod | Tag::ReqUrl | Tag::ReqProtocol | Tag::ReqHeader | Tag::ReqUnset => {
                true
            }
            Tag::BereqMethod | Tag::BereqUrl | Tag::BereqProtocol => true,
            Tag::BereqHeader | Tag::BereqUnset => true,
            Tag::VclCall => !self.uses_handling,
            Tag::Timestamp => !any(&[slot::END, slot::FIRST_BYTE]),
            _ => false,
        };
        self.needed = self.needed.map(|tag| if wanted(tag) { tag } else { Tag::Other });
        let later = self.needed.map(|tag| if over(tag) { Tag::Other } else { tag });
        self.filter = self.filter(&self.needed);
        self.later = self.filter(&later);
    }

    /// What is wanted of the records of `tags`, by number.
    fn filter(&self, tags: &[Tag; 256]) -> Filter {
        let uses = |slot, letters: &'static [u8]| if self.uses(slot) { letters } else { b"" };
        let mut filter = Filter::none();
        filter.begin(Class::RequestHeader, firsts(&self.request));
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
