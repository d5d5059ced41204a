//! Lines in, one independent gzip member, zstd frame or snappy stream out.
//!
//! A chunk is decodable alone, so a reader can start at any member and a torn one costs only
//! itself. The contexts are made once and reset: a chunk allocates nothing but what the output
//! vector needs to grow, and a vector that is kept stops growing.
//!
//! Non-goals: parallel compression, dictionaries, members over 4 GiB (gzip's length field wraps
//! there; the packer closes a chunk at 1 MiB).

use std::io::{self, Write};

use flate2::{Compress, Compression, FlushCompress};
use snap::write::FrameEncoder;
use zstd::stream::raw::{CParameter, Encoder as ZstdEncoder, InBuffer, Operation, OutBuffer};

use super::{Codec, snappy};

/// Free space that is made in the output before each call of a compressor, bytes.
const STEP: usize = 32 * 1024;

/// gzip's window is 2^15 bytes (RFC 1951).
const GZIP_WINDOW_BITS: u8 = 15;

/// A long-lived compressor of chunks.
pub struct ChunkEncoder {
    codec: Codec,
    context: Context,
    /// Where [`ChunkEncoder::begin`] found the end of the output; a failed chunk is cut off there.
    start: usize,
}

enum Context {
    Gzip(Compress),
    Zstd(Box<ZstdEncoder<'static>>),
    /// Has written its identifier once and never does again: each member begins with one of ours.
    Snappy(Box<FrameEncoder<Vec<u8>>>),
    None,
}

impl std::fmt::Debug for ChunkEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkEncoder").field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl ChunkEncoder {
    /// An encoder with its context: about 300 KiB for gzip and snappy, 1 MiB for `zstd:3`, up to
    /// 100 MiB for `zstd:19`.
    ///
    /// # Errors
    /// When zstd cannot allocate its context.
    pub fn new(codec: Codec) -> io::Result<Self> {
        let context = match codec {
            Codec::Gzip(level) => Context::Gzip(Compress::new_gzip(
                Compression::new(u32::from(level)),
                GZIP_WINDOW_BITS,
            )),
            Codec::Zstd(level) => {
                let mut encoder = ZstdEncoder::new(i32::from(level))?;
                // Without it a flipped bit in a stored frame would go unseen.
                encoder.set_parameter(CParameter::ChecksumFlag(true))?;
                Context::Zstd(Box::new(encoder))
            }
            Codec::Snappy => {
                let mut encoder = FrameEncoder::new(Vec::new());
                encoder.write_all(b"identifier")?;
                Context::Snappy(Box::new(encoder))
            }
            Codec::None => Context::None,
        };
        Ok(Self { codec, context, start: 0 })
    }

    /// What this encoder makes.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends `raw` to `out` as one member.
    ///
    /// # Errors
    /// As [`ChunkEncoder::finish`]; `out` is then as long as before.
    pub fn encode(&mut self, raw: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.begin(out)?;
        self.write(raw, out)?;
        self.finish(out)
    }

    /// Starts a member at the end of `out`. A member that was begun and not finished is forgotten.
    ///
    /// # Errors
    /// When the compressor refuses to start anew.
    pub fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.start = out.len();
        match &mut self.context {
            Context::Gzip(compress) => compress.reset(),
            Context::Zstd(encoder) => encoder.reinit()?,
            Context::Snappy(encoder) => {
                // What was written to a member that was not finished.
                encoder.flush()?;
                encoder.get_mut().clear();
                out.extend_from_slice(snappy::IDENTIFIER);
            }
            Context::None => {}
        }
        Ok(())
    }

    /// Adds `raw` to the member; `out` is the vector that was given to [`ChunkEncoder::begin`].
    ///
    /// # Errors
    /// When the compressor fails; `out` is then as long as before the member.
    pub fn write(&mut self, raw: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let done = match &mut self.context {
            Context::Gzip(compress) => deflate(compress, raw, FlushCompress::None, out),
            Context::Zstd(encoder) => compress_frame(encoder, raw, out),
            Context::Snappy(encoder) => encoder.write_all(raw).map(|()| take_frames(encoder, out)),
            Context::None => {
                out.extend_from_slice(raw);
                Ok(())
            }
        };
        done.inspect_err(|_| out.truncate(self.start))
    }

    /// Ends the member. A member of no bytes is valid, too.
    ///
    /// # Errors
    /// When the compressor fails; `out` is then as long as before the member.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let done = match &mut self.context {
            Context::Gzip(compress) => deflate(compress, &[], FlushCompress::Finish, out),
            Context::Zstd(encoder) => end_frame(encoder, out),
            Context::Snappy(encoder) => encoder.flush().map(|()| take_frames(encoder, out)),
            Context::None => Ok(()),
        };
        done.inspect_err(|_| out.truncate(self.start))
    }
}

/// Moves what the encoder has made to `out`.
fn take_frames(encoder: &mut FrameEncoder<Vec<u8>>, out: &mut Vec<u8>) {
    out.append(encoder.get_mut());
}

/// Runs zlib until it has taken all of `raw` and, at the end, given all it has.
fn deflate(
    compress: &mut Compress,
    raw: &[u8],
    flush: FlushCompress,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let begin = compress.total_in();
    loop {
        let taken = usize::try_from(compress.total_in() - begin).unwrap_or(usize::MAX);
        let rest = raw.get(taken..).unwrap_or_default();
        let ending = matches!(flush, FlushCompress::Finish);
        if rest.is_empty() && !ending {
            return Ok(());
        }
        out.reserve(STEP);
        let before = (compress.total_in(), compress.total_out());
        match compress.compress_vec(rest, out, flush)? {
            flate2::Status::StreamEnd => return Ok(()),
            flate2::Status::Ok | flate2::Status::BufError => {
                if before == (compress.total_in(), compress.total_out()) {
                    return Err(io::Error::other("the gzip encoder makes no progress"));
                }
            }
        }
    }
}

fn compress_frame(
    encoder: &mut ZstdEncoder<'static>,
    raw: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let mut input = InBuffer::around(raw);
    while input.pos() < raw.len() {
        out.reserve(STEP);
        let at = out.len();
        let before = input.pos();
        encoder.run(&mut input, &mut OutBuffer::around_pos(out, at))?;
        if input.pos() == before && out.len() == at {
            return Err(io::Error::other("the zstd encoder makes no progress"));
        }
    }
    Ok(())
}

fn end_frame(encoder: &mut ZstdEncoder<'static>, out: &mut Vec<u8>) -> io::Result<()> {
    loop {
        out.reserve(STEP);
        let at = out.len();
        if encoder.finish(&mut OutBuffer::around_pos(out, at), false)? == 0 {
            return Ok(());
        }
        if out.len() == at {
            return Err(io::Error::other("the zstd encoder makes no progress"));
        }
    }
}
