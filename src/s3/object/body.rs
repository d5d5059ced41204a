//! A block's bytes on their way out: exactly as many as were announced, hashed while they are sent,
//! and its own errors told apart from the network's.

use std::io::{self, Read};

use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::options::{Checksum, ObjectOptions};
use super::{PutObject, Sums};

/// Reads `len` bytes; a body that ends sooner is an error, what comes after is not read.
struct Exact<R> {
    inner: R,
    left: u64,
    started: bool,
    failed: Option<Fault>,
}

/// The body of a request, hashed while it is sent.
pub(in crate::s3) struct Outgoing<R> {
    body: Exact<R>,
    sha256: Sha256,
    md5: Md5,
}

/// A body whose pieces somebody is told of as they are handed on.
pub(in crate::s3) struct Told<'a, R> {
    inner: R,
    sending: &'a dyn Fn(u64),
}

impl<'a, R: Read> Told<'a, R> {
    pub(in crate::s3) fn new(inner: R, sending: &'a dyn Fn(u64)) -> Self {
        Self { inner, sending }
    }
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        (self.sending)(read as u64);
        Ok(read)
    }
}

/// What was sent, by its hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::s3) struct Sent {
    pub(in crate::s3) sha256: [u8; 32],
    pub(in crate::s3) md5: [u8; 16],
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
    fn new(inner: R, len: u64) -> Self {
        Self { inner, left: len, started: false, failed: None }
    }
}

impl<R: Read> Outgoing<R> {
    pub(in crate::s3) fn new(inner: R, len: u64) -> Self {
        Self { body: Exact::new(inner, len), sha256: Sha256::new(), md5: Md5::new() }
    }

    /// Whether a part of it, and not all, was handed on.
    pub(in crate::s3) fn is_cut(&self) -> bool {
        self.body.started && self.body.left > 0
    }

    /// The hashes of the whole body; `None` when a part of it was not handed on.
    pub(in crate::s3) fn sent(&self) -> Option<Sent> {
        (self.body.left == 0).then(|| Sent {
            sha256: self.sha256.clone().finalize().into(),
            md5: self.md5.clone().finalize().into(),
        })
    }

    pub(in crate::s3) fn fault(&mut self) -> Option<Fault> {
        self.body.failed.take()
    }
}

impl<R: Read> Read for Outgoing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        let piece = buffer.get(..read).unwrap_or_default();
        self.sha256.update(piece);
        self.md5.update(piece);
        Ok(read)
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

/// The sums that `options` want, made by one pass over the body.
pub(in crate::s3) fn sums(object: &PutObject<'_>, options: &ObjectOptions) -> io::Result<Sums> {
    let mut md5 = options.wants_md5().then(Md5::new);
    let mut crc32c = (options.checksum == Checksum::Crc32c).then_some(0);
    let mut crc64 = (options.checksum == Checksum::Crc64Nvme)
        .then(|| crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme));
    if md5.is_none() && crc32c.is_none() && crc64.is_none() {
        return Ok(Sums::default());
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
    Ok(Sums {
        md5: md5.map(|md5| md5.finalize().into()),
        crc32c,
        crc64nvme: crc64.map(|crc64| crc64.finalize()),
    })
}

/// The hashes of the whole body, by reading it.
pub(in crate::s3) fn hashes(object: &PutObject<'_>) -> io::Result<Sent> {
    let mut body = Outgoing::new((object.open)()?, object.len);
    io::copy(&mut body, &mut io::sink())?;
    body.sent().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
