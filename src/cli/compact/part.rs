//! An object in the making: lines are compressed to one gzip member or zstd frame, encrypted if that is
//! asked for, hashed, and kept in a temporary file.
//!
//! One member, because some readers stop after the first. Lines that are to be encrypted never reach
//! the file unencrypted: the encoder's output goes through a pipe to a thread that encrypts it.

use std::io::{self, PipeWriter, Write};
use std::path::Path;
use std::thread::JoinHandle;

use super::scratch::Scratch;
use crate::block::{Codec, StreamEncoder};
use crate::cli::compacted::Input;
use crate::seal::Sealing;

/// Bytes that the encoder has made before they are written.
const BUFFER: usize = 256 * 1024;

/// An object that is being written.
pub(super) struct Writing {
    encoder: StreamEncoder,
    sink: Sink,
    /// Bytes that were given to the sink.
    written: u64,
    records: u64,
    raw_bytes: u64,
    blocks: Vec<Input>,
}

/// Where what the encoder makes goes.
enum Sink {
    Clear(Scratch),
    Sealed(PipeWriter, JoinHandle<io::Result<Scratch>>),
}

/// An object that is whole.
pub(super) struct Written {
    pub(super) content: Scratch,
    pub(super) records: u64,
    pub(super) raw_bytes: u64,
    pub(super) blocks: Vec<Input>,
}

impl Writing {
    /// An empty one.
    ///
    /// # Errors
    /// The file system's, or no memory for the encoder.
    pub(super) fn new(
        directory: &Path,
        codec: Codec,
        sealing: Option<&Sealing>,
    ) -> io::Result<Self> {
        let scratch = Scratch::new(directory)?;
        let sink = match sealing {
            None => Sink::Clear(scratch),
            Some(sealing) => {
                let (mut from, into) = io::pipe()?;
                let sealing = sealing.clone();
                let mut scratch = scratch;
                let thread = std::thread::spawn(move || {
                    sealing.encrypt(&mut from, &mut scratch)?;
                    Ok(scratch)
                });
                Sink::Sealed(into, thread)
            }
        };
        Ok(Self {
            encoder: StreamEncoder::new(codec)?,
            sink,
            written: 0,
            records: 0,
            raw_bytes: 0,
            blocks: Vec::new(),
        })
    }

    /// Whether a block of this many bytes would make it larger than `most`.
    pub(super) fn is_full(&mut self, more: u64, most: u64) -> bool {
        let has = self.written.saturating_add(self.encoder.made().len() as u64);
        !self.blocks.is_empty() && has.saturating_add(more) > most
    }

    /// Adds lines of the block that [`Writing::end`] will name.
    ///
    /// # Errors
    /// The encoder's or the file system's.
    pub(super) fn add(&mut self, lines: &[u8]) -> io::Result<()> {
        self.encoder.write(lines)?;
        if self.encoder.made().len() >= BUFFER { self.hand_on() } else { Ok(()) }
    }

    /// Names the block whose lines were added.
    pub(super) fn end(&mut self, block: Input, records: u64, raw_bytes: u64) {
        self.blocks.push(block);
        self.records = self.records.saturating_add(records);
        self.raw_bytes = self.raw_bytes.saturating_add(raw_bytes);
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let out = self.encoder.made();
        match &mut self.sink {
            Sink::Clear(scratch) => scratch.write_all(out)?,
            Sink::Sealed(pipe, _) => pipe.write_all(out)?,
        }
        self.written += out.len() as u64;
        out.clear();
        Ok(())
    }

    /// Ends the object.
    ///
    /// # Errors
    /// The encoder's, the encryption's or the file system's.
    pub(super) fn finish(mut self) -> io::Result<Written> {
        self.encoder.finish()?;
        let handed = self.hand_on();
        let content = match self.sink {
            Sink::Clear(scratch) => {
                handed?;
                scratch
            }
            Sink::Sealed(pipe, thread) => {
                drop(pipe);
                let panicked = |_| io::Error::other("the thread that encrypts panicked");
                // Its error says why the pipe broke.
                let scratch = thread.join().map_err(panicked)??;
                handed?;
                scratch
            }
        };
        let (records, raw_bytes, blocks) = (self.records, self.raw_bytes, self.blocks);
        Ok(Written { content, records, raw_bytes, blocks })
    }
}
