//! What all streams of this process have: values of which equal ones are one.
//!
//! So a worker tells by an address that two streams have the same line (`lines`), or the same pipeline
//! (`identity`), and a VCL that is loaded again brings nothing of its own. Limit: a value is looked for among
//! those in use, one by one, when a VCL loads.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// See the module.
pub(super) struct Shared<T>(Mutex<Vec<Weak<T>>>);

impl<T: PartialEq> Shared<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The one that is equal to `value`.
    pub(super) fn of(&self, value: T) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        if let Some(same) = all.iter().filter_map(Weak::upgrade).find(|one| **one == value) {
            return same;
        }
        let value = Arc::new(value);
        all.push(Arc::downgrade(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{MessageType, Options, Program, TagTable};

    #[test]
    fn formats_are_shared_while_a_stream_has_them_and_only_if_they_print_the_same() {
        let programs = Shared::new();
        let of = |format: &str, options: &Options| {
            programs.of(Program::compile(format, options, &TagTable::new([])).unwrap())
        };
        // What no line of this type shows makes no difference: each stream has a tag of its own.
        let tagged = |tag: &str| Options { tag: tag.to_owned(), ..Options::default() };
        let first = of("%t %h", &tagged("one"));
        assert!(Arc::ptr_eq(&first, &of("%t %h", &tagged("two"))));
        let syslog = |tag| Options { message: MessageType::Classic, ..tagged(tag) };
        assert!(!Arc::ptr_eq(&of("%h", &syslog("one")), &of("%h", &syslog("two"))));
        assert!(!Arc::ptr_eq(&first, &of("%{%F}t %h", &tagged("one"))));
        let short = Options { max_line: 256, ..tagged("one") };
        assert!(!Arc::ptr_eq(&first, &of("%t %h", &short)));
        drop(first);
        of("%m", &tagged("one"));
        assert_eq!(
            programs.0.lock().unwrap().iter().filter(|one| one.strong_count() > 0).count(),
            0
        );
    }
}
