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

use libdeflater::{CompressionLvl, Compressor as GzipCompressor};
use snap::write::FrameEncoder;
use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

use super::{Codec, snappy};

/// A long-lived compressor of chunks.
pub struct ChunkEncoder {
    codec: Codec,
    context: Context,
}

enum Context {
    /// With room for what it makes. It asks for more than it fills, and what is not filled is no memory.
    Gzip(GzipCompressor, Vec<u8>),
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
    /// An encoder with its context: 300 KiB for snappy, up to 700 KiB for gzip; of zstd, for chunks of
    /// 1 MiB, 1.3 MiB for level 3 and 34 MiB for level 19.
    ///
    /// # Errors
    /// When zstd cannot allocate its context.
    pub fn new(codec: Codec) -> io::Result<Self> {
        let context = match codec {
            Codec::Gzip(level) => {
                let level = CompressionLvl::new(i32::from(level))
                    .map_err(|_| io::Error::other("libdeflate has no such level"))?;
                Context::Gzip(GzipCompressor::new(level), Vec::new())
            }
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
            Context::Gzip(encoder, room) => compress_member(encoder, room, raw, out),
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

fn compress_member(
    encoder: &mut GzipCompressor,
    room: &mut Vec<u8>,
    raw: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let most = encoder.gzip_compress_bound(raw.len());
    if room.len() < most {
        // Zeroed by the system when it is touched.
        *room = vec![0; most];
    }
    let length = encoder.gzip_compress(raw, room).map_err(io::Error::other)?;
    out.extend_from_slice(room.get(..length).unwrap_or_default());
    Ok(())
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
