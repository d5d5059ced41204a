//! What a specifier's values are.

use super::atoms::Atom;
use super::column::ColumnType;
use crate::record::options::Dialect;
use crate::record::program::{Missing, Place, Program, Unit, What, slot};
use crate::record::task::Address;

impl Program {
    /// Type and absent text of a value that stands alone.
    pub(super) fn alone(&self, place: Place, what: &What) -> (ColumnType, Option<String>) {
        let csa = self.dialect == Dialect::Varnishncsa;
        let whole = |dash_for_zero: bool| match place {
            Place::Quoted if dash_for_zero => Some("-".to_owned()),
            // varnishncsa's `0` is a number.
            Place::Bare | Place::Quoted if csa => None,
            Place::Bare => Some("null".to_owned()),
            Place::Quoted => Some(String::new()),
            Place::Text => Some("-".to_owned()),
        };
        // One that is a dash in varnishncsa.
        let address = || match place {
            Place::Bare => Some("null".to_owned()),
            _ => whole(false).or_else(|| Some(String::new())),
        };
        let text = |dash: bool| match place {
            Place::Bare => Some("null".to_owned()),
            Place::Text if dash => Some("-".to_owned()),
            _ => None,
        };
        match what {
            What::Status => (ColumnType::Int32, whole(false)),
            What::Slot(slot::PORT, _)
            | What::Address(Address::ServerPort | Address::ClientPort) => {
                (ColumnType::Int32, address())
            }
            What::Incomplete => (ColumnType::Int32, None),
            What::Elapsed(_) | What::BytesIn | What::BytesOut | What::Vxid => {
                (ColumnType::Int64, whole(false))
            }
            What::AcctField(_, 1..) => (ColumnType::Int64, address()),
            What::BodyBytes { dash_for_zero } => (ColumnType::Int64, whole(*dash_for_zero)),
            What::FirstByte | What::ElapsedSeconds => {
                let absent = whole(false).or_else(|| Some("0".to_owned()));
                (ColumnType::Seconds, absent)
            }
            What::Epoch(_, Unit::Seconds) => (ColumnType::Epoch(1), whole(false)),
            What::Epoch(_, Unit::Millis) => (ColumnType::Epoch(1_000), whole(false)),
            What::Epoch(_, Unit::Micros) => (ColumnType::Epoch(1_000_000), whole(false)),
            // Elsewhere with leading zeros.
            What::Epoch(..) if place == Place::Bare => (ColumnType::Int32, whole(false)),
            What::Clock(_, layout) if !layout.is_utc() => (ColumnType::Text, text(true)),
            What::Clock(_, layout) => match layout.pattern().filter(|text| is_moment(text)) {
                Some(pattern) if place == Place::Bare => {
                    (ColumnType::Time(format!("\"{pattern}\"")), text(true))
                }
                Some(pattern) => {
                    let absent = if place == Place::Text { "-" } else { "" };
                    (ColumnType::Time(pattern), Some(absent.to_owned()))
                }
                None => (ColumnType::Text, text(true)),
            },
            What::Slot(_, Missing::Dash | Missing::Int) => (ColumnType::Text, text(true)),
            What::User | What::Cookie(..) | What::Address(_) | What::Value(_) => {
                (ColumnType::Text, text(true))
            }
            What::RequestLine => (ColumnType::Text, text(!csa)),
            What::HitMiss | What::Handling => (ColumnType::Text, text(true)),
            _ => (ColumnType::Text, text(false)),
        }
    }
}

/// A time with digits behind its seconds, if `atoms` are one and nothing else.
pub(super) fn moment(atoms: &[Atom<'_>]) -> Option<String> {
    let mut pattern = String::new();
    let mut of = None;
    for atom in atoms {
        let edge = match atom {
            Atom::Byte(b'%') => {
                pattern.push_str("%%");
                continue;
            }
            Atom::Byte(byte) if byte.is_ascii() => {
                pattern.push(char::from(*byte));
                continue;
            }
            Atom::Value(Place::Text | Place::Quoted, What::Clock(edge, layout))
                if layout.is_utc() =>
            {
                pattern.push_str(&layout.pattern()?);
                edge
            }
            Atom::Value(Place::Text | Place::Quoted, What::Epoch(edge, unit)) => {
                pattern.push_str(match unit {
                    Unit::MillisFraction => "%3",
                    Unit::MicrosFraction => "%6",
                    _ => return None,
                });
                edge
            }
            _ => return None,
        };
        if of.is_some_and(|of| of != *edge) {
            return None;
        }
        of = Some(*edge);
    }
    is_moment(&pattern).then_some(pattern)
}

/// How local time tells the moment: with its offset.
pub(super) fn local(what: &What) -> Option<String> {
    let What::Clock(_, layout) = what else { return None };
    layout.pattern().filter(|text| is_moment(text) && text.replace("%%", "").contains("%z"))
}

/// Whether a time's pattern says the day and the second.
fn is_moment(pattern: &str) -> bool {
    ["Y", "mb", "de", "H", "M", "S"].iter().all(|letters| {
        letters.chars().any(|letter| pattern.replace("%%", "").contains(&format!("%{letter}")))
    })
}
