//! The records of one task's private log buffer (`struct vsl_log`, `include/vapi/vsl_int.h`).
//!
//! | word | bits | meaning |
//! |---|---|---|
//! | 0 | 31..24 | tag |
//! | 0 | 15..0 | length of the text in bytes, its NUL included |
//! | 1 | all | low 32 bits of the transaction's number (vxid) |
//! | 2 | 18..0 | high bits of it, from Varnish 7.3 on |
//! | 3.. | | text, padded to a whole word |
//!
//! Words are in the machine's order. The walk is bounded by the slice it was given: whatever
//! the bytes say, it neither panics nor reads beyond them, and it ends.

use super::filter::Filter;

/// One record: its tag number and its text with the NUL that ends it, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// The tag's number in the running Varnish.
    pub tag: u8,
    /// The text as it lies in the buffer, at most 65,535 bytes.
    pub bytes: &'a [u8],
}

/// Iterates over the records between `wlb` and `wlp`.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    /// From the next record on.
    rest: &'a [u8],
    header: usize,
}

impl<'a> Records<'a> {
    /// Reads `log`, whose records have `overhead` words before their text: 3 from Varnish 7.3
    /// on, 2 before. A smaller number is taken as 1, so that every step moves on.
    #[must_use]
    pub fn new(log: &'a [u8], overhead: usize) -> Self {
        Self { rest: log, header: overhead.clamp(1, 16) * 4 }
    }

    /// The next record that `filter` wants.
    #[inline]
    pub(super) fn find(&mut self, filter: &Filter) -> Option<LogRecord<'a>> {
        let mut rest = self.rest;
        loop {
            let word = u32::from_ne_bytes(*rest.first_chunk::<4>()?);
            let (tag, length) = ((word >> 24) as u8, (word & 0xffff) as usize);
            let next = self.header + ((length + 3) & !3);
            let first = || rest.get(self.header).copied().unwrap_or_default();
            if filter.wants(tag, first) {
                self.rest = rest.get(next..).unwrap_or_default();
                let bytes = rest.get(self.header..self.header + length)?;
                return Some(LogRecord { tag, bytes });
            }
            rest = rest.get(next..)?;
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = LogRecord<'a>;

    #[inline]
    fn next(&mut self) -> Option<LogRecord<'a>> {
        let word = u32::from_ne_bytes(*self.rest.first_chunk::<4>()?);
        let length = (word & 0xffff) as usize;
        let text = self.rest.get(self.header..)?;
        let bytes = text.get(..length)?;
        self.rest = text.get((length + 3) & !3..).unwrap_or_default();
        Some(LogRecord { tag: (word >> 24) as u8, bytes })
    }
}

/// A record's text without the NULs that end it.
#[must_use]
#[inline]
pub fn text(bytes: &[u8]) -> &[u8] {
    match bytes {
        // One, as Varnish writes it.
        [head @ .., 0] if head.last().is_none_or(|last| *last != 0) => head,
        _ => without_nuls(bytes),
    }
}

#[cold]
fn without_nuls(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    bytes.get(..end).unwrap_or_default()
}
