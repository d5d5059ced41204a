//! Compresses a file in members of 1 MiB with a codec's own library and throws the result away:
//! `s3log-codec FILE gzip:LEVEL|zstd:LEVEL`. What it spends is the least that any packer could.

use std::error::Error;
use std::io;

use flate2::{Compress, Compression, FlushCompress, Status};

const CHUNK: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = || io::Error::other("usage: s3log-codec FILE gzip:LEVEL|zstd:LEVEL");
    let path = arguments.next().ok_or_else(usage)?;
    let codec = arguments.next().ok_or_else(usage)?;
    let (name, level) = codec.split_once(':').ok_or_else(usage)?;
    let level: u8 = level.parse()?;
    let raw = std::fs::read(path)?;
    let mut out = Vec::with_capacity(2 * CHUNK);
    let mut stored = 0;
    match name {
        "gzip" => {
            let mut compress = Compress::new_gzip(Compression::new(level.into()), 15);
            for chunk in raw.chunks(CHUNK) {
                out.clear();
                compress.reset();
                match compress.compress_vec(chunk, &mut out, FlushCompress::Finish)? {
                    Status::StreamEnd => stored += out.len(),
                    _ => return Err(io::Error::other("a chunk grew").into()),
                }
            }
        }
        "zstd" => {
            let mut compressor = zstd::bulk::Compressor::new(level.into())?;
            compressor.include_checksum(true)?;
            for chunk in raw.chunks(CHUNK) {
                out.clear();
                stored += compressor.compress_to_buffer(chunk, &mut out)?;
            }
        }
        _ => return Err(usage().into()),
    }
    eprintln!("{} bytes -> {stored}", raw.len());
    Ok(())
}
