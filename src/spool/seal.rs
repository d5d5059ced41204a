//! A block's last step on disk: its bytes as they are uploaded, and the sidecar that makes it sealed.
//!
//! The sidecar's rename is the commit point. What is left of a call that failed is the caller's to
//! take away, or the next call's to replace.

use std::io::{self, Write};

use super::commit::OpenBlock;
use super::files::names::Name;
use super::files::remove_if_there;
use super::sidecar::{self, Sidecar};
use super::{Files, Options, SpoolError, SyncPolicy};
use crate::block::{Codec, Digest, Drops, Hasher, Kind, META_FORMAT, Meta, OneMember, sanitise};
use crate::seal::Sealing;

/// Bytes that a transformed block is written in.
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

/// A block that has just been sealed.
pub(super) struct Written {
    pub(super) sidecar: Sidecar,
    /// Why it has many members although one was asked for.
    pub(super) kept_members: Option<SpoolError>,
}

/// A block's bytes as they are uploaded.
pub(super) struct Stored {
    /// The file they are in.
    pub(super) name: Name,
    pub(super) sha256: Digest,
    pub(super) bytes: u64,
    /// See [`Written`].
    pub(super) kept_members: Option<SpoolError>,
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
) -> Result<Written, SpoolError> {
    let members = Members {
        file: &data.to_string(),
        codec: state.codec,
        raw_bytes: state.raw_bytes,
        number: state.number,
    };
    let stored = transform(files, options, &members)?;
    let stored = stored.unwrap_or_else(|kept_members| Stored {
        name: data,
        sha256: state.content,
        bytes: state.length,
        kept_members,
    });
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
        bytes: stored.bytes,
        first: state.first,
        last: state.last,
        dropped,
        cut: state.cut,
        codec: state.codec,
        sha256: stored.sha256,
        previous: state.previous,
        route: options.route,
        signature: None,
    };
    let sidecar = finish(files, options, stored.name, meta, state.sequence, origin)?;
    Ok(Written { sidecar, kept_members: stored.kept_members })
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
        transformed: matches!(stored, Name::Sealed(_)),
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

/// A block's members before they are transformed.
pub(super) struct Members<'a> {
    /// The file they are in.
    pub(super) file: &'a str,
    pub(super) codec: Kind,
    pub(super) raw_bytes: u64,
    /// The block's number.
    pub(super) number: u64,
}

/// Makes a block's `.sealed` from its members, as `options` say it: one member of many, encrypted. `Err` in
/// `Ok` where nothing is to be made, with why not if there is an error. A call that failed leaves a file
/// behind that the next one replaces.
///
/// A block that cannot be made one member of is worth more as it is than not at all: its members may be
/// damaged on the disk, or there is no room for another file.
pub(super) fn transform(
    files: &dyn Files,
    options: &Options,
    members: &Members<'_>,
) -> Result<Result<Stored, Option<SpoolError>>, SpoolError> {
    let sealing = options.sealing.as_ref();
    let one = options.one_member.map(|codec| codec.or_default(members.codec));
    let mut kept_members = None;
    if let Some(codec) = one.filter(|codec| codec.kind() != Kind::None) {
        match write_transformed(files, members, Some(codec), sealing) {
            Ok(stored) => return Ok(Ok(stored)),
            Err(error) => kept_members = Some(error),
        }
    }
    if sealing.is_some() {
        let stored = write_transformed(files, members, None, sealing)?;
        return Ok(Ok(Stored { kept_members, ..stored }));
    }
    if kept_members.is_some() {
        let name = Name::Sealed(members.number).to_string();
        remove_if_there(files, &name).map_err(SpoolError::io("remove", &name))?;
    }
    Ok(Err(kept_members))
}

fn write_transformed(
    files: &dyn Files,
    members: &Members<'_>,
    one_member: Option<Codec>,
    sealing: Option<&Sealing>,
) -> Result<Stored, SpoolError> {
    let Members { file, raw_bytes, number, .. } = *members;
    let name = Name::Sealed(number);
    let sealed = name.to_string();
    let mut source = files.read(file).map_err(SpoolError::io("read", file))?;
    if let Some(codec) = one_member {
        let one = OneMember::new(source, codec, raw_bytes);
        source = Box::new(one.map_err(SpoolError::io("compress", file))?);
    }
    files.create(&sealed, &[]).map_err(SpoolError::io("write", &sealed))?;
    let mut sink = Sink::new(files, &sealed);
    let done = match sealing {
        Some(sealing) => sealing.encrypt(&mut source, &mut sink),
        None => io::copy(&mut source, &mut sink).map(drop),
    };
    let doing = if sealing.is_some() { "encrypt" } else { "compress" };
    done.and_then(|()| sink.flush()).map_err(SpoolError::io(doing, file))?;
    let (sha256, bytes) = (sink.hasher.digest(), sink.length);
    Ok(Stored { name, sha256, bytes, kept_members: None })
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

/// Collects what a transformation writes, hashes it and appends it to a file in large pieces.
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
