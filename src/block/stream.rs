//! One member of any length, of lines that come piece by piece, for who cannot have all of them at once.
//!
//! It is made as the libraries write streams, which needs more memory than [`ChunkEncoder`], and for gzip
//! more time.
//!
//! [`ChunkEncoder`]: super::ChunkEncoder

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use snap::write::FrameEncoder;

use super::Codec;

/// A member in the making. What is made of it so far is in a buffer that the caller empties.
pub(crate) struct StreamEncoder(Stream);

enum Stream {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
    Snappy(Box<FrameEncoder<Vec<u8>>>),
    None(Vec<u8>),
}

impl StreamEncoder {
    /// A member without lines.
    ///
    /// # Errors
    /// When zstd cannot allocate its context.
    pub(crate) fn new(codec: Codec) -> io::Result<Self> {
        let out = Vec::new();
        Ok(Self(match codec {
            Codec::Gzip(level) => {
                Stream::Gzip(GzEncoder::new(out, Compression::new(u32::from(level))))
            }
            Codec::Zstd(level) => {
                let mut encoder = zstd::Encoder::new(out, i32::from(level))?;
                // Without it a flipped bit in a stored frame would go unseen.
                encoder.include_checksum(true)?;
                Stream::Zstd(encoder)
            }
            Codec::Snappy => Stream::Snappy(Box::new(FrameEncoder::new(out))),
            Codec::None => Stream::None(out),
        }))
    }

    /// Adds lines.
    ///
    /// # Errors
    /// The compressor's.
    pub(crate) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Stream::Gzip(encoder) => encoder.write_all(lines),
            Stream::Zstd(encoder) => encoder.write_all(lines),
            Stream::Snappy(encoder) => encoder.write_all(lines),
            Stream::None(out) => out.write_all(lines),
        }
    }

    /// Ends the member; nothing may be added after it.
    ///
    /// # Errors
    /// The compressor's.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Stream::Gzip(encoder) => encoder.try_finish(),
            Stream::Zstd(encoder) => encoder.do_finish(),
            Stream::Snappy(encoder) => encoder.flush(),
            Stream::None(_) => Ok(()),
        }
    }

    /// What has been made and not been taken from there, to be emptied.
    pub(crate) fn made(&mut self) -> &mut Vec<u8> {
        match &mut self.0 {
            Stream::Gzip(encoder) => encoder.get_mut(),
            Stream::Zstd(encoder) => encoder.get_mut(),
            Stream::Snappy(encoder) => encoder.get_mut(),
            Stream::None(out) => out,
        }
    }
}
