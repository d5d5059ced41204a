//! Which records of a task's log are worth a look: most of some forty-five are not, and the walk
//! passes over them by their tag's number and the first byte of their text.

/// Tags that are told apart by the same letters.
#[derive(Clone, Copy)]
pub(super) enum Class {
    Never,
    Always,
    RequestHeader,
    ResponseHeader,
    Timestamp,
    Call,
    Return,
}

const CLASSES: usize = 8;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter {
    /// By tag number, a [`Class`].
    classes: [u8; 256],
    /// By class, what the text may begin with.
    letters: [[bool; 256]; CLASSES],
}

impl Filter {
    /// What wants no record.
    pub(super) fn none() -> Self {
        let mut letters = [[false; 256]; CLASSES];
        if let Some(always) = letters.get_mut(Class::Always as usize) {
            *always = [true; 256];
        }
        Self { classes: [Class::Never as u8; 256], letters }
    }

    /// Gives tag number `number` the class `class`.
    pub(super) fn class(&mut self, number: u8, class: Class) {
        if let Some(place) = self.classes.get_mut(usize::from(number)) {
            *place = class as u8;
        }
    }

    /// Lets records of `class` begin with `letters`, in either case.
    pub(super) fn begin(&mut self, class: Class, letters: impl IntoIterator<Item = u8>) {
        let Some(wanted) = self.letters.get_mut(class as usize) else { return };
        for letter in letters {
            for letter in [letter.to_ascii_lowercase(), letter.to_ascii_uppercase()] {
                if let Some(place) = wanted.get_mut(usize::from(letter)) {
                    *place = true;
                }
            }
        }
    }

    /// Whether a record of tag number `tag` is wanted, whose text begins with what `first` gives.
    #[inline]
    pub(super) fn wants(&self, tag: u8, first: impl FnOnce() -> u8) -> bool {
        let class = self.classes.get(usize::from(tag)).copied().unwrap_or_default();
        if class <= Class::Always as u8 {
            return class == Class::Always as u8;
        }
        let letters = self.letters.get(usize::from(class) % CLASSES);
        letters.and_then(|letters| letters.get(usize::from(first()))).is_some_and(|wanted| *wanted)
    }
}
