//! A block's bytes on their way out: exactly as many as were announced, and its own errors told
//! apart from the network's.

use std::io::{self, Read};

use sha2::Digest as _;

use super::options::{Checksum, ObjectOptions};
use super::{PutObject, Sums};

/// Reads `len` bytes; a body that ends sooner is an error, what comes after is not sent.
pub(in crate::s3) struct Exact<R> {
    inner: R,
    left: u64,
    started: bool,
    failed: Option<Fault>,
}

/// What was wrong with the body itself.
#[derive(Debug)]
pub(in crate::s3) enum Fault {
    /// It ended early.
    Short(u64),
    /// It could not be read.
    Io(String),
}

impl<R: Read> Exact<R> {
    pub(in crate::s3) fn new(inner: R, len: u64) -> Self {
        Self { inner, left: len, started: false, failed: None }
    }

    /// Whether a part of it, and not all, was handed on.
    pub(in crate::s3) fn is_cut(&self) -> bool {
        self.started && self.left > 0
    }

    pub(in crate::s3) fn fault(&mut self) -> Option<Fault> {
        self.failed.take()
    }
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(room) = buffer.get_mut(..most).filter(|room| !room.is_empty()) else {
            return Ok(0);
        };
        let read = loop {
            match self.inner.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                other => break other,
            }
        };
        match read {
            Ok(0) => {
                self.failed = Some(Fault::Short(self.left));
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the block ended early"))
            }
            Ok(read) => {
                self.started = true;
                self.left = self.left.saturating_sub(read as u64);
                Ok(read)
            }
            Err(error) => {
                self.failed = Some(Fault::Io(error.to_string()));
                Err(error)
            }
        }
    }
}

/// The sums that `options` want, those that are missing made by one pass over the body.
pub(in crate::s3) fn complete(object: &PutObject<'_>, options: &ObjectOptions) -> io::Result<Sums> {
    let mut sums = object.sums;
    let mut md5 = (options.wants_md5() && sums.md5.is_none()).then(md5::Md5::new);
    let mut crc32c = (options.checksum == Checksum::Crc32c && sums.crc32c.is_none()).then_some(0);
    let mut crc64 = (options.checksum == Checksum::Crc64Nvme && sums.crc64nvme.is_none())
        .then(|| crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme));
    if md5.is_none() && crc32c.is_none() && crc64.is_none() {
        return Ok(sums);
    }
    let mut body = Exact::new((object.open)()?, object.len);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = body.read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        if let Some(md5) = &mut md5 {
            md5.update(piece);
        }
        if let Some(sum) = &mut crc32c {
            *sum = crc32c::crc32c_append(*sum, piece);
        }
        if let Some(crc64) = &mut crc64 {
            crc64.update(piece);
        }
    }
    sums.md5 = md5.map(|md5| md5.finalize().into()).or(sums.md5);
    sums.crc32c = crc32c.or(sums.crc32c);
    sums.crc64nvme = crc64.map(|crc64| crc64.finalize()).or(sums.crc64nvme);
    Ok(sums)
}
