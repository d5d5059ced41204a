//! Who is told when something happens, and how loud.
//!
//! WARN means nothing is lost; ERROR means something is lost or a human is needed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How loud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth knowing when looking.
    Info,
    /// Nothing is lost, and it goes on without help.
    Warn,
    /// Something is lost, or a human is needed.
    Error,
}

impl Level {
    /// The word in front of a message.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warning",
            Self::Error => "error",
        }
    }
}

/// Where messages go: varnishd's log and syslog, or a terminal.
pub trait Events: Send + Sync {
    /// Takes one message, a sentence without a line break.
    fn event(&self, level: Level, message: &str);
}

/// What a message says of those like it that were held back: nothing when there were none.
#[must_use]
pub(crate) fn more_like_it(held: u64) -> String {
    if held == 0 { String::new() } else { format!(" ({held} more like it)") }
}

/// Lets one message of a kind through in each `interval` and counts the others into the next.
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    kinds: Mutex<HashMap<&'static str, (Duration, u64)>>,
}

impl Default for RateLimit {
    /// One message of a kind a minute.
    fn default() -> Self {
        Self::new(Duration::from_secs(60))
    }
}

impl RateLimit {
    /// A limit of one message of a kind in each `interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, kinds: Mutex::new(HashMap::new()) }
    }

    /// Whether a message of `kind` may be sent at monotonic time `now`: `None` for no, else how
    /// many were held back since the last.
    pub(crate) fn admit(&self, kind: &'static str, now: Duration) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        match kinds.get_mut(kind) {
            Some((last, held)) if now.saturating_sub(*last) < self.interval => {
                *held += 1;
                None
            }
            Some((last, held)) => {
                *last = now;
                Some(std::mem::take(held))
            }
            None => {
                kinds.insert(kind, (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_a_minute_and_the_count_of_those_held_back() {
        let limit = RateLimit::default();
        let at = Duration::from_secs;
        assert_eq!(limit.admit("refused", at(5)), Some(0));
        assert_eq!(limit.admit("refused", at(20)), None);
        assert_eq!(limit.admit("refused", at(64)), None);
        assert_eq!(limit.admit("other", at(64)), Some(0));
        assert_eq!(limit.admit("refused", at(65)), Some(2));
        assert_eq!(limit.admit("refused", at(125)), Some(0));
    }
}
