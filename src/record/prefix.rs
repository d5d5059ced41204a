//! The line prefixes that syslog readers expect, without any system call.
//!
//! | type | bytes before the message |
//! |---|---|
//! | classic | `<134>Oct 11 22:14:15 host tag[pid]: ` (RFC 3164, section 4.1) |
//! | loggly | `<134>1 2026-10-11T22:14:15.003000Z host tag pid - - ` (RFC 5424, section 6) |
//! | logplex | `n <134>1 2026-10-11T22:14:15.003000+00:00 host tag pid - `; n counts what follows the space, the newline included (RFC 6587, section 3.4.1) |
//!
//! 134 is facility local0 (16) times 8 plus severity informational (6), as Fastly sends it. The
//! time is when the task ended.

use jiff::tz::TimeZone;

use super::options::{MessageType, Options};
use super::time::Layout;

/// The longest `n ` of logplex: five digits and a space.
pub(super) const LENGTH_MAX: usize = 6;

/// The parts of a prefix that no request changes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prefix {
    head: &'static str,
    layout: Option<Layout>,
    fraction: &'static str,
    tail: Vec<u8>,
}

impl Prefix {
    /// RFC 3164's time is local time; the others say their zone and are in UTC.
    pub(super) fn new(options: &Options, zone: Option<TimeZone>) -> Self {
        let host = word(&options.hostname, 255);
        let (head, layout, fraction, tail) = match options.message {
            MessageType::Blank => ("", None, "", String::new()),
            MessageType::Classic => (
                "<134>",
                Some("%b %e %H:%M:%S"),
                "",
                format!(" {host} {}[{}]: ", word(&options.tag, 32), options.pid),
            ),
            MessageType::Loggly => (
                "<134>1 ",
                Some("%Y-%m-%dT%H:%M:%S"),
                "Z",
                format!(" {host} {} {} - - ", word(&options.tag, 48), options.pid),
            ),
            MessageType::Logplex => (
                "<134>1 ",
                Some("%Y-%m-%dT%H:%M:%S"),
                "+00:00",
                format!(" {host} {} {} - ", word(&options.tag, 48), options.pid),
            ),
        };
        let zone = zone.filter(|_| options.message == MessageType::Classic);
        Self {
            head,
            layout: layout.and_then(|text| Layout::compile(text, zone).ok()),
            fraction,
            tail: tail.into_bytes(),
        }
    }

    /// Writes the prefix for a task that ended at `time`, in seconds since 1970.
    pub(super) fn write(&self, time: Option<f64>, out: &mut Vec<u8>) {
        let Some(layout) = &self.layout else { return };
        out.extend_from_slice(self.head.as_bytes());
        match time {
            None if !self.fraction.is_empty() => out.push(b'-'),
            _ => {
                let time = time.unwrap_or_default();
                if self.fraction.is_empty() {
                    layout.write(super::time::floor(time), out);
                } else {
                    // Both of the same count: what rounds up to a second has none left over.
                    let micros = (time * 1e6).round() as i64;
                    layout.write(micros.div_euclid(1_000_000), out);
                    out.push(b'.');
                    super::time::padded(micros.rem_euclid(1_000_000) as u32, 6, out);
                    out.extend_from_slice(self.fraction.as_bytes());
                }
            }
        }
        out.extend_from_slice(&self.tail);
    }

    /// An upper bound of what [`Self::write`] writes.
    pub(super) fn longest(&self) -> usize {
        if self.layout.is_none() { 0 } else { self.tail.len() + LENGTH_MAX + 48 }
    }
}

/// A field of printable ASCII without spaces, `-` if nothing is left.
fn word(text: &str, longest: usize) -> String {
    let word: String = text
        .chars()
        .take(longest)
        .map(|character| if character.is_ascii_graphic() { character } else { '-' })
        .collect();
    if word.is_empty() { "-".to_owned() } else { word }
}
