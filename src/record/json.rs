//! Holds a format to JSON's grammar, with every value filled in.

use super::error::Mistake;
use super::program::{Op, Place, What};

/// Refuses a format whose lines cannot be JSON.
pub(super) fn check(ops: &[Op]) -> Result<(), Mistake> {
    let mut skeleton = String::new();
    for op in ops {
        match op {
            Op::Literal(text) => skeleton.push_str(&String::from_utf8_lossy(text)),
            Op::Print(place, What::Clock(_, layout)) => {
                let text = layout.skeleton();
                if *place == Place::Bare {
                    // A string where there is a time, and `null` where there is none.
                    parse(&format!("\"{text}\""))?;
                    skeleton.push_str("null");
                } else {
                    skeleton.push_str(&text);
                }
            }
            // No text of the operator's can join with `null` into another token.
            Op::Print(Place::Bare, _) => skeleton.push_str("null"),
            Op::Print(..) => skeleton.push('x'),
        }
    }
    parse(&skeleton)
}

fn parse(skeleton: &str) -> Result<(), Mistake> {
    let Err(error) = serde_json::from_str::<serde_json::Value>(skeleton) else { return Ok(()) };
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    Err(Mistake::whole(format!(
        "the format is not JSON even with every value filled in: {what}, after: {}",
        tail(skeleton, error.column())
    )))
}

fn tail(text: &str, column: usize) -> String {
    let head: Vec<char> = text.chars().take(column).collect();
    let from = head.len().saturating_sub(24);
    head.get(from..).unwrap_or_default().iter().collect()
}
