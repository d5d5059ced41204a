//! A block of many members as a block of one, for readers that stop after the first.
//!
//! The lines are decompressed and compressed once more, piece by piece: memory is that of [`Decoder`] and
//! [`StreamEncoder`], whatever the block's size.
//!
//! Non-goals: blocks of plain lines, which have no members.

use std::io::{self, Read};

use super::{Codec, Decoder, StreamEncoder};

/// Bytes of lines that are compressed at a time.
const PIECE: usize = 64 * 1024;

/// The bytes of the block of one member, made while they are read.
pub(crate) struct OneMember<R: Read> {
    lines: Decoder<R>,
    encoder: StreamEncoder,
    piece: Vec<u8>,
    /// What was read of what the encoder has made.
    taken: usize,
    /// Bytes of lines that are still to come.
    left: u64,
    ended: bool,
}

impl<R: Read> OneMember<R> {
    /// Of the block of `raw_bytes` of lines that is read from `source`; its members, and the one that is
    /// made, are `codec`'s.
    ///
    /// # Errors
    /// The first bytes of `source` cannot be read, or there is no memory.
    pub(crate) fn new(source: R, codec: Codec, raw_bytes: u64) -> io::Result<Self> {
        Ok(Self {
            lines: Decoder::new(source, codec.kind())?,
            encoder: StreamEncoder::new(codec)?,
            piece: vec![0; PIECE],
            taken: 0,
            left: raw_bytes,
            ended: false,
        })
    }

    /// Compresses more lines. Without any, ends the member.
    fn make(&mut self) -> io::Result<()> {
        self.encoder.made().clear();
        self.taken = 0;
        let read = self.lines.read(&mut self.piece)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or_else(|| not_as_long("more"))?;
        if read > 0 {
            return self.encoder.write(self.piece.get(..read).unwrap_or_default());
        }
        if self.left > 0 {
            // Snappy's streams have no mark at their end.
            return Err(not_as_long("less"));
        }
        self.ended = true;
        self.encoder.finish()
    }
}

fn not_as_long(how: &str) -> io::Error {
    let text = format!("the members have {how} lines than were put into them");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl<R: Read> Read for OneMember<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let made = self.encoder.made().get(self.taken..).unwrap_or_default();
            let length = made.len().min(out.len());
            if length > 0 || out.is_empty() {
                if let (Some(to), Some(from)) = (out.get_mut(..length), made.get(..length)) {
                    to.copy_from_slice(from);
                }
                self.taken += length;
                return Ok(length);
            }
            if self.ended {
                return Ok(0);
            }
            self.make()?;
        }
    }
}
