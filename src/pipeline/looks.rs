//! Whether a thread looks for what waits for other routes, and for whom: one a pipeline, see `resume.rs`.

use std::sync::{Mutex, PoisonError};

/// Who wants to have looked for what waits.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Looking>);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Looking {
    /// No thread.
    #[default]
    No,
    /// A thread, for who asked first.
    Yes,
    /// Somebody has asked since, and that thread does not know it yet.
    Asked,
    /// It knows, and looks once more.
    More,
}

impl Looks {
    fn change<T>(&self, change: impl FnOnce(&mut Looking) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for a look. Whether a thread is to be started for it.
    pub(super) fn ask(&self) -> bool {
        self.change(|looking| {
            let none = *looking == Looking::No;
            *looking = if none { Looking::Yes } else { Looking::Asked };
            none
        })
    }

    /// Whether somebody has asked since the last call.
    pub(super) fn is_asked(&self) -> bool {
        self.change(|looking| {
            let asked = *looking == Looking::Asked;
            if asked {
                *looking = Looking::More;
            }
            asked
        })
    }

    /// A look has begun: it is one for all who have asked.
    pub(super) fn begin(&self) {
        self.change(|looking| *looking = Looking::Yes);
    }

    /// Nothing is left to be looked for. Whether the thread may end, for nobody has asked since it looked, or the
    /// pipeline is `closed` and nobody looks any more.
    pub(super) fn end(&self, closed: bool) -> bool {
        self.change(|looking| {
            let ends = closed || *looking == Looking::Yes;
            if ends {
                *looking = Looking::No;
            }
            ends
        })
    }

    /// The thread ends: whoever asks next starts another.
    pub(super) fn give_up(&self) {
        self.change(|looking| *looking = Looking::No);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_looks_for_all_who_ask_and_ends_when_nobody_has_since() {
        let looks = Looks::default();
        assert!(looks.ask(), "there is no thread");
        // While it waits: the look that comes is for both.
        assert!(!looks.ask() && looks.is_asked() && !looks.is_asked());
        looks.begin();
        // While it looks: that one may have missed something.
        assert!(!looks.ask() && !looks.end(false));
        assert!(!looks.ask() && looks.is_asked() && !looks.end(false));
        looks.begin();
        assert!(looks.end(false) && looks.ask());
        looks.give_up();
        assert!(looks.ask());
    }

    #[test]
    fn the_thread_of_a_closed_pipeline_ends_although_a_look_was_asked_for() {
        let looks = Looks::default();
        assert!(looks.ask() && !looks.ask());
        assert!(!looks.end(false) && looks.end(true));
        assert!(looks.ask() && !looks.ask() && looks.is_asked());
        assert!(!looks.end(false) && looks.end(true));
    }
}
