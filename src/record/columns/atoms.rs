//! A format as bytes and values, before columns are made of it.

use crate::record::program::{Place, Program, What};

/// A piece of a line before columns are made of it.
#[derive(Clone, Copy)]
pub(super) enum Atom<'p> {
    Byte(u8),
    Value(Place, &'p What),
}

impl Program {
    /// The bytes and values of a line, without its newline.
    pub(super) fn atoms(&self) -> Vec<Atom<'_>> {
        let mut atoms = Vec::new();
        for step in &self.steps {
            atoms.extend(step.before.iter().take(step.length).map(|byte| Atom::Byte(*byte)));
            match &step.what {
                What::Nothing => {}
                What::Literal(text) => atoms.extend(text.iter().map(|byte| Atom::Byte(*byte))),
                what => atoms.push(Atom::Value(step.place, what)),
            }
        }
        atoms
    }
}
