//! Operations, put together from literals and values, and what they need of a task.
//!
//! Follows the strings of a JSON format, because what a value looks like depends on whether it is
//! inside one. Knows no specifier.

use super::error::Mistake;
use super::options::{Dialect, Escape};
use super::program::{
    Edge, HeaderWatch, LogWatch, Missing, Op, Place, TagWatch, What, Which, slot,
};

/// What becomes of a format, so far.
pub(super) struct Builder {
    pub(super) dialect: Dialect,
    pub(super) escape: Escape,
    pub(super) ops: Vec<Op>,
    pub(super) request: Vec<HeaderWatch>,
    pub(super) response: Vec<HeaderWatch>,
    pub(super) logs: Vec<LogWatch>,
    pub(super) any: Vec<TagWatch>,
    /// The fixed slots that are read, a bit each.
    pub(super) used: u32,
    pub(super) slots: u16,
    pub(super) uses_handling: bool,
    /// The slot of the reason, if some operation prints it.
    pub(super) reason: Option<u16>,
    /// Inside a string of a JSON format.
    pub(super) in_string: bool,
    backslash: bool,
    broken: bool,
    text: String,
    /// Where the line breaks and spaces at the format's end begin.
    trimmed: usize,
}

impl Builder {
    pub(super) fn new(format: &str, dialect: Dialect, escape: Escape) -> Self {
        Self {
            dialect,
            escape,
            ops: Vec::new(),
            request: Vec::new(),
            response: Vec::new(),
            logs: Vec::new(),
            any: Vec::new(),
            used: 0,
            slots: slot::FIXED,
            uses_handling: false,
            reason: None,
            in_string: false,
            backslash: false,
            broken: false,
            text: String::new(),
            trimmed: format.trim_end_matches(['\r', '\n', ' ', '\t']).len(),
        }
    }

    /// Whether byte `at` of the format is behind its last visible character.
    pub(super) fn is_behind_all(&self, at: usize) -> bool {
        at >= self.trimmed
    }

    /// Adds a character of the operator's own text and follows JSON's strings.
    pub(super) fn literal(
        &mut self,
        character: char,
        format: &str,
        at: usize,
    ) -> Result<(), Mistake> {
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
            if self.is_behind_all(at) {
                return Ok(());
            }
            let what = "a line break would split the record in two";
            return Err(Mistake::at(format, at, at + 1, what));
        }
        self.text.push(character);
        Ok(())
    }

    /// Adds text that is the same in every line and needs no escape.
    pub(super) fn constant(&mut self, text: &str) {
        self.backslash = false;
        self.broken = false;
        self.text.push_str(text);
    }

    /// Ends the literal that is being written.
    pub(super) fn flush(&mut self) {
        if !self.text.is_empty() {
            self.ops.push(Op::Literal(std::mem::take(&mut self.text).into_bytes()));
        }
    }

    /// Adds a value.
    pub(super) fn print(&mut self, what: What) {
        self.flush();
        self.used |= match &what {
            What::Clock(Edge::Begin, _) | What::Epoch(Edge::Begin, _) | What::FirstByte => {
                1 << slot::START
            }
            What::Clock(..) | What::Epoch(..) | What::Elapsed(_) | What::ElapsedSeconds => {
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

    /// Prints a value of a fixed slot.
    pub(super) fn slot(&mut self, slot: u16, missing: Missing) {
        self.used |= 1 << slot;
        self.print(What::Slot(slot, missing));
    }

    pub(super) fn next_slot(&mut self) -> u16 {
        let slot = self.slots;
        self.slots = self.slots.saturating_add(1);
        slot
    }

    /// The slot of a header's value, which is shared by all that ask for the same.
    pub(super) fn header(&mut self, name: &str, which: Which, request: bool) -> u16 {
        let watches = if request { &self.request } else { &self.response };
        let same =
            |w: &&HeaderWatch| w.which == which && w.name.eq_ignore_ascii_case(name.as_bytes());
        if let Some(watch) = watches.iter().find(same) {
            return watch.slot;
        }
        let slot = self.next_slot();
        let watch = HeaderWatch { name: name.as_bytes().to_vec(), which, slot };
        if request {
            self.request.push(watch)
        } else {
            self.response.push(watch)
        }
        slot
    }
}
