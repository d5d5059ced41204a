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
pub(super) enum Origin<'a> {
    /// In the open block.
    Open,
    /// Waiting for a key, under this number.
    Held(u64),
    /// Sealed in another folder, and here under this name until now.
    Moved(&'a str),
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
    origin: Origin<'_>,
    drops: &Drops,
) -> Result<Sidecar, SpoolError> {
    let (mut sha256, mut bytes) = (state.content, state.length);
    let mut stored = data;
    if let Some(sealing) = &options.sealing {
        stored = Name::Sealed(state.number);
        (sha256, bytes) = write_transformed(files, &data.to_string(), state.number, sealing)?;
    }
    let mut dropped = state.drops;
    dropped.add(drops);
    let meta = Meta {
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
    };
    finish(files, options, stored, meta, state.sequence, origin)
}

/// Makes what is in `stored`, which `meta` describes, a sealed block: up to and including the commit
/// point.
pub(super) fn finish(
    files: &dyn Files,
    options: &Options,
    stored: Name,
    meta: Meta,
    sequence: u64,
    origin: Origin<'_>,
) -> Result<Sidecar, SpoolError> {
    let sync = options.sync != SyncPolicy::None;
    if options.shared {
        // Who cannot read it says so; the members of an encrypted block stay private.
        let _ = files.share(&stored.to_string());
    }
    if sync {
        let name = stored.to_string();
        files.sync_file(&name).map_err(SpoolError::io("sync", &name))?;
    }
    let meta = options.signed(meta);
    let suffix = options.sealing.as_ref().map_or("", |sealing| sealing.suffix());
    let sidecar = Sidecar {
        format: sidecar::FORMAT,
        key: options.naming.key(&meta, suffix),
        transformed: options.sealing.is_some(),
        sequence,
        rebuilt: origin == Origin::Rebuilt,
        held: if let Origin::Held(number) = origin { Some(number) } else { None },
        moved: if let Origin::Moved(name) = origin { Some(name.to_owned()) } else { None },
        wait_until: options.wait_until,
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
fn write_sidecar(
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
