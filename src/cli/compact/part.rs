//! An object in the making: lines are compressed to one gzip member or zstd frame, or become a Parquet file;
//! encrypted if that is asked for, hashed, and kept in a temporary file.
//!
//! One member, because some readers stop after the first. Lines that are to be encrypted never reach
//! the file unencrypted: the encoder's output goes through a pipe to a thread that encrypts it. A Parquet
//! file is never encrypted, because no engine could read it.

use std::io::{self, PipeWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::scratch::Scratch;
use crate::block::{Codec, StreamEncoder};
use crate::cli::columns::{ColumnWriter, Layout};
use crate::cli::compacted::{Form, Input};
use crate::seal::Sealing;

/// What objects are made.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Lines(Codec),
    /// Parquet, with zstd of this level.
    Columns(Arc<Layout>, u8),
}

impl Target {
    /// What keys say of it.
    pub(super) fn form(&self) -> Form {
        match self {
            Self::Lines(codec) => Form::Lines(codec.kind()),
            Self::Columns(..) => Form::Columns,
        }
    }

    /// Bytes of the longest line that it takes, without the newline: a line that becomes columns is held whole.
    pub(super) fn longest(&self) -> Option<usize> {
        match self {
            Self::Lines(_) => None,
            Self::Columns(..) => Some(LINE_MAX),
        }
    }
}

/// Bytes of a line that becomes columns: 16 times the largest `max_line`.
const LINE_MAX: usize = 1 << 20;

/// Bytes that the encoder has made before they are written.
const BUFFER: usize = 256 * 1024;

/// An object that is being written.
pub(super) struct Writing {
    body: Body,
    records: u64,
    raw_bytes: u64,
    blocks: Vec<Input>,
}

enum Body {
    Lines(Box<Compressing>),
    Columns {
        file: Box<ColumnWriter<Scratch>>,
        /// Bytes of the file when a row group was last written.
        written: u64,
        /// Bytes of the blocks since then, as they were stored.
        waiting: u64,
    },
}

/// Lines that are compressed.
struct Compressing {
    encoder: StreamEncoder,
    sink: Sink,
    /// Bytes that were given to the sink.
    written: u64,
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
    /// Lines that are not of the format of a Parquet file.
    pub(super) unparsed: u64,
    pub(super) blocks: Vec<Input>,
}

impl Writing {
    /// An empty one.
    ///
    /// # Errors
    /// The file system's, or no memory for the encoder.
    pub(super) fn new(
        directory: &Path,
        target: &Target,
        sealing: Option<&Sealing>,
    ) -> io::Result<Self> {
        let scratch = Scratch::new(directory)?;
        let body = match target {
            Target::Lines(codec) => {
                Body::Lines(Box::new(Compressing::new(scratch, *codec, sealing)?))
            }
            Target::Columns(layout, level) => {
                let file = Box::new(ColumnWriter::new(scratch, layout, *level)?);
                Body::Columns { file, written: 0, waiting: 0 }
            }
        };
        Ok(Self { body, records: 0, raw_bytes: 0, blocks: Vec::new() })
    }

    /// Whether a block of this many bytes would make it larger than `most`, or it has as many row groups as a
    /// Parquet file is to have.
    pub(super) fn is_full(&mut self, more: u64, most: u64) -> bool {
        let mut full = false;
        let has = match &mut self.body {
            Body::Lines(lines) => lines.written.saturating_add(lines.encoder.made().len() as u64),
            Body::Columns { file, written, waiting } => {
                if file.written() > *written {
                    (*written, *waiting) = (file.written(), 0);
                }
                full = file.is_full();
                written.saturating_add(*waiting)
            }
        };
        !self.blocks.is_empty() && (full || has.saturating_add(more) > most)
    }

    /// Begins a block of `host` whose first record is of this time, ns since 1970, and which has so many bytes
    /// in the bucket.
    pub(super) fn start(&mut self, host: &str, first: u64, size: u64) {
        if let Body::Columns { file, waiting, .. } = &mut self.body {
            *waiting = waiting.saturating_add(size);
            file.start(host, first);
        }
    }

    /// Adds lines of the block that [`Writing::end`] will name.
    ///
    /// # Errors
    /// The encoder's or the file system's.
    pub(super) fn add(&mut self, lines: &[u8]) -> io::Result<()> {
        match &mut self.body {
            Body::Lines(body) => body.add(lines),
            Body::Columns { file, .. } => file.add(lines),
        }
    }

    /// Names the block whose lines were added.
    ///
    /// # Errors
    /// The encoder's or the file system's.
    pub(super) fn end(&mut self, block: Input, records: u64, raw_bytes: u64) -> io::Result<()> {
        self.blocks.push(block);
        self.records = self.records.saturating_add(records);
        self.raw_bytes = self.raw_bytes.saturating_add(raw_bytes);
        match &mut self.body {
            Body::Lines(_) => Ok(()),
            Body::Columns { file, .. } => file.end(),
        }
    }

    /// Ends the object.
    ///
    /// # Errors
    /// The encoder's, the encryption's or the file system's.
    pub(super) fn finish(self) -> io::Result<Written> {
        let (content, unparsed) = match self.body {
            Body::Lines(lines) => (lines.finish()?, 0),
            Body::Columns { file, .. } => file.finish()?,
        };
        let (records, raw_bytes, blocks) = (self.records, self.raw_bytes, self.blocks);
        Ok(Written { content, records, raw_bytes, unparsed, blocks })
    }
}

impl Compressing {
    fn new(scratch: Scratch, codec: Codec, sealing: Option<&Sealing>) -> io::Result<Self> {
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
        Ok(Self { encoder: StreamEncoder::new(codec)?, sink, written: 0 })
    }

    fn add(&mut self, lines: &[u8]) -> io::Result<()> {
        self.encoder.write(lines)?;
        if self.encoder.made().len() >= BUFFER { self.hand_on() } else { Ok(()) }
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

    fn finish(mut self) -> io::Result<Scratch> {
        self.encoder.finish()?;
        let handed = self.hand_on();
        match self.sink {
            Sink::Clear(scratch) => handed.map(|()| scratch),
            Sink::Sealed(pipe, thread) => {
                drop(pipe);
                let panicked = |_| io::Error::other("the thread that encrypts panicked");
                // Its error says why the pipe broke.
                let scratch = thread.join().map_err(panicked)??;
                handed.map(|()| scratch)
            }
        }
    }
}
