//! Lines in, one independent gzip member, zstd frame or snappy stream out.
//!
//! A chunk is decodable alone, so a reader can start at any member and a torn one costs only
//! itself. A chunk is compressed in one call that sees all of it: the codec copies no input, and its tables
//! are no larger than the chunk needs. The contexts are made once and reset: a chunk allocates nothing but
//! what a larger one than before needs, and what the output vector needs to grow.
//!
//! Non-goals: parallel compression, dictionaries, members over 4 GiB (gzip's length field wraps
//! there; the packer closes a chunk at 1 MiB).

use std::io::{self, Cursor, Write};

use flate2::{Compress, Compression, FlushCompress};
use snap::write::FrameEncoder;
use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

use super::{Codec, snappy};

/// Free space that is made in the output before each call of zlib, bytes.
const STEP: usize = 32 * 1024;

/// gzip's window is 2^15 bytes (RFC 1951).
const GZIP_WINDOW_BITS: u8 = 15;

/// A long-lived compressor of chunks.
pub struct ChunkEncoder {
    codec: Codec,
    context: Context,
}

enum Context {
    Gzip(Compress),
    Zstd(Compressor<'static>),
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
    /// An encoder with its context: about 300 KiB for gzip and snappy; of zstd, for chunks of 1 MiB,
    /// 1.3 MiB for level 3 and 34 MiB for level 19.
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
                let mut encoder = Compressor::new(i32::from(level))?;
                // Without it a flipped bit in a stored frame would go unseen.
                encoder.include_checksum(true)?;
                Context::Zstd(encoder)
            }
            Codec::Snappy => {
                let mut encoder = FrameEncoder::new(Vec::new());
                encoder.write_all(b"identifier")?;
                encoder.flush()?;
                Context::Snappy(Box::new(encoder))
            }
            Codec::None => Context::None,
        };
        Ok(Self { codec, context })
    }

    /// What this encoder makes.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends `raw` to `out` as one member. One of no bytes is valid, too.
    ///
    /// # Errors
    /// When the compressor fails; `out` is then as long as before.
    pub fn encode(&mut self, raw: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        let done = match &mut self.context {
            Context::Gzip(compress) => deflate(compress, raw, out),
            Context::Zstd(encoder) => compress_frame(encoder, raw, out),
            Context::Snappy(encoder) => compress_stream(encoder, raw, out),
            Context::None => {
                out.extend_from_slice(raw);
                Ok(())
            }
        };
        done.inspect_err(|_| out.truncate(start))
    }
}

/// Runs zlib until it has taken all of `raw` and given all it has.
fn deflate(compress: &mut Compress, raw: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    compress.reset();
    loop {
        let before = (compress.total_in(), compress.total_out());
        let taken = usize::try_from(before.0).unwrap_or(usize::MAX);
        let rest = raw.get(taken..).unwrap_or_default();
        out.reserve(STEP);
        match compress.compress_vec(rest, out, FlushCompress::Finish)? {
            flate2::Status::StreamEnd => return Ok(()),
            flate2::Status::Ok | flate2::Status::BufError => {
                if before == (compress.total_in(), compress.total_out()) {
                    return Err(io::Error::other("the gzip encoder makes no progress"));
                }
            }
        }
    }
}

/// Zstd's one call for input and output in whole, which knows the length of both.
fn compress_frame(
    encoder: &mut Compressor<'static>,
    raw: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    out.reserve(compress_bound(raw.len()));
    let mut end = Cursor::new(&mut *out);
    end.set_position(end.get_ref().len() as u64);
    encoder.compress_to_buffer(raw, &mut end).map(drop)
}

fn compress_stream(
    encoder: &mut FrameEncoder<Vec<u8>>,
    raw: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    // What a call that failed has left.
    encoder.flush()?;
    encoder.get_mut().clear();
    out.extend_from_slice(snappy::IDENTIFIER);
    encoder.write_all(raw)?;
    encoder.flush()?;
    out.append(encoder.get_mut());
    Ok(())
}
