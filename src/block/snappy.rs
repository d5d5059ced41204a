//! Members in a file of snappy's framing format
//! (<https://github.com/google/snappy/blob/main/framing_format.txt>).
//!
//! A file is a sequence of frames; the format's own word for them is chunk, which here is another
//! thing.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | type: 0xff stream identifier, 0 compressed, 1 stored, 0xfe padding |
//! | 1 | 3 | length of what follows, little-endian |
//! | 4 | 4 | of types 0 and 1: masked CRC-32C of the decoded bytes |
//! | 8 | | of types 0 and 1: at most 64 KiB of lines |
//!
//! The identifier may be repeated, so that files may be concatenated. Each member begins with one,
//! which is how [`Member`] finds where it ends. The format has no mark at the end of a stream: a
//! file cut between two frames reads as a shorter one, and only its length or hash tells.

use std::io::{self, BufRead, Read};

/// The frame that begins each member.
pub(super) const IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// What tells such a file from others: [`IDENTIFIER`]'s header.
pub(super) const MAGIC: &[u8] = b"\xff\x06\x00\x00";

/// Type and length of a frame, bytes.
const HEADER: usize = 4;

/// The bytes of one member: to the next identifier, or to the end of `source`.
///
/// What is no frame is passed on as it is: the decoder finds out.
pub(super) struct Member<'s, B> {
    pub(super) source: &'s mut B,
    header: [u8; HEADER],
    /// How much of the header was handed on.
    handed: usize,
    /// How much of the header is there.
    filled: usize,
    /// Bytes of the frame behind its header that are still to come.
    left: u64,
    begun: bool,
}

impl<'s, B: BufRead> Member<'s, B> {
    pub(super) fn new(source: &'s mut B) -> Self {
        Self { source, header: [0; HEADER], handed: 0, filled: 0, left: 0, begun: false }
    }

    /// Reads the next frame's header; `false` at the member's end.
    fn next(&mut self) -> io::Result<bool> {
        let next = self.source.fill_buf()?.first();
        if next.is_none() || (self.begun && next == IDENTIFIER.first()) {
            return Ok(false);
        }
        self.begun = true;
        (self.handed, self.filled) = (0, 0);
        while let Some(room) = self.header.get_mut(self.filled..).filter(|room| !room.is_empty()) {
            match self.source.read(room) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let [_, low, middle, high] = self.header;
        self.left = u64::from(u32::from_le_bytes([low, middle, high, 0]));
        Ok(true)
    }
}

impl<B: BufRead> Read for Member<'_, B> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.handed == self.filled && self.left == 0 && !self.next()? {
            return Ok(0);
        }
        let header = self.header.get(self.handed..self.filled).unwrap_or_default();
        if !header.is_empty() {
            let n = header.len().min(out.len());
            if let (Some(from), Some(to)) = (header.get(..n), out.get_mut(..n)) {
                to.copy_from_slice(from);
            }
            self.handed += n;
            return Ok(n);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let read = self.source.read(out.get_mut(..most).unwrap_or_default())?;
        self.left = if read == 0 { 0 } else { self.left - read as u64 };
        Ok(read)
    }
}
