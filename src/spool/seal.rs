//! A block's last step on disk: its bytes as they are uploaded, and the sidecar that makes it sealed.
//!
//! The sidecar's rename is the commit point. What is left of a call that failed is the caller's to
//! take away, or the next call's to replace.

use std::io::{self, Write};

use super::commit::OpenBlock;
use super::files::names::Name;
use super::sidecar::{self, Sidecar};
use super::{Files, Options, SpoolError, SyncPolicy};
use crate::block::{Digest, Drops, Hasher, META_FORMAT, Meta, sanitise};
use crate::seal::Sealing;

/// Bytes that ciphertext is written in.
const BUFFER: usize = 64 * 1024;

/// Where a block's members were until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the open block.
    Open,
    /// Waiting for a key, under this number.
    Held(u64),
    /// In a file of which nothing told but the members themselves.
    Rebuilt,
}

/// Seals the block that `state` describes and whose members are in `data`, up to and including the
/// commit point. `drops` are counted beside those of `state`.
pub(super) fn write_sealed(
    files: &dyn Files,
    options: &Options,
    state: OpenBlock,
    data: Name,
    origin: Origin,
    drops: &Drops,
) -> Result<Sidecar, SpoolError> {
    let sync = options.sync != SyncPolicy::None;
    let (mut sha256, mut bytes, mut suffix) = (state.content, state.length, "");
    let mut stored = data;
    if let Some(sealing) = &options.sealing {
        stored = Name::Sealed(state.number);
        suffix = sealing.suffix();
        (sha256, bytes) = write_transformed(files, &data.to_string(), state.number, sealing)?;
    }
    if options.shared {
        // Who cannot read it says so; its members in `data` stay private where it is encrypted.
        let _ = files.share(&stored.to_string());
    }
    if sync {
        let name = stored.to_string();
        files.sync_file(&name).map_err(SpoolError::io("sync", &name))?;
    }
    let mut dropped = state.drops;
    dropped.add(drops);
    let meta = options.signed(Meta {
        format: META_FORMAT,
        stream: sanitise(&options.stream),
        host: sanitise(&options.host),
        boot: state.boot,
        number: state.number,
        records: state.records,
        raw_bytes: state.raw_bytes,
        bytes,
        first: state.first,
        last: state.last,
        dropped,
        cut: state.cut,
        codec: state.codec,
        sha256,
        previous: state.previous,
        route: options.route,
        signature: None,
    });
    let sidecar = Sidecar {
        format: sidecar::FORMAT,
        key: options.naming.key(&meta, suffix),
        transformed: options.sealing.is_some(),
        sequence: state.sequence,
        rebuilt: origin == Origin::Rebuilt,
        held: if let Origin::Held(number) = origin { Some(number) } else { None },
        moved: None,
        meta,
    };
    write_sidecar(files, &sidecar, sync, options.shared)?;
    Ok(sidecar)
}

/// Makes a block's `.sealed` from its members in `data`; digest and length of what was written. A
/// call that failed leaves a file behind that the next one replaces.
pub(super) fn write_transformed(
    files: &dyn Files,
    data: &str,
    number: u64,
    sealing: &Sealing,
) -> Result<(Digest, u64), SpoolError> {
    let sealed = Name::Sealed(number).to_string();
    let mut source = files.read(data).map_err(SpoolError::io("read", data))?;
    files.create(&sealed, &[]).map_err(SpoolError::io("write", &sealed))?;
    let mut sink = Sink::new(files, &sealed);
    sealing
        .encrypt(&mut source, &mut sink)
        .and_then(|()| sink.flush())
        .map_err(SpoolError::io("encrypt", data))?;
    Ok((sink.hasher.digest(), sink.length))
}

/// Makes `sidecar` appear whole or not at all.
pub(super) fn write_sidecar(
    files: &dyn Files,
    sidecar: &Sidecar,
    sync: bool,
    shared: bool,
) -> Result<(), SpoolError> {
    let new = Name::New(sidecar.meta.number).to_string();
    let bytes = sidecar.encode().map_err(|error| SpoolError::Io {
        doing: "write",
        name: new.clone(),
        source: error.into(),
    })?;
    files.create(&new, &bytes).map_err(SpoolError::io("write", &new))?;
    if shared {
        let _ = files.share(&new);
    }
    if sync {
        files.sync_file(&new).map_err(SpoolError::io("sync", &new))?;
    }
    let name = Name::Sidecar(sidecar.meta.number).to_string();
    files.rename(&new, &name).map_err(SpoolError::io("rename", &new))
}

/// Collects what the encryption writes, hashes it and appends it to a file in large pieces.
struct Sink<'a> {
    files: &'a dyn Files,
    name: &'a str,
    buffer: Vec<u8>,
    hasher: Hasher,
    length: u64,
}

impl<'a> Sink<'a> {
    fn new(files: &'a dyn Files, name: &'a str) -> Self {
        let buffer = Vec::with_capacity(BUFFER);
        Self { files, name, buffer, hasher: Hasher::default(), length: 0 }
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.files.append(self.name, &self.buffer)?;
            self.hasher.update(&self.buffer);
            self.length += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}
