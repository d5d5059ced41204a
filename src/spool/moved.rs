//! Blocks that come from the folder of another route, because an operator has asked for it.
//!
//! A block is copied into the other folder and then forgotten where it was; the process that has the
//! other folder seals it anew, with the next number of its chain. The first step needs the lock of
//! the folder that the block leaves, and the second that of the folder that it comes to, so that a
//! running varnishd may have either.
//!
//! | in `moved/` | holds |
//! |---|---|
//! | `X.data` | the block's bytes, as they would have been uploaded |
//! | `X.json` | its sidecar; named last, from `X.new` |
//!
//! X is `FOLDER.BOOT.NUMBER` of the block where it was. The block has moved when its own sidecar is
//! no `N.json` there any more; until then X is nobody's. The sidecar of what is made of it names X,
//! so that a start after a kill makes it once.
//!
//! Non-goals: whether a block may go to another route at all; that is the caller's to judge. Blocks
//! are not decrypted: one that is encrypted stays as it is.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::commit::OpenBlock;
use super::files::names::{MOVED, Name};
use super::files::remove_if_there;
use super::seal::{Origin, finish, write_transformed};
use super::sidecar::{self, Sidecar};
use super::store::{SealedBlocks, load};
use super::writer::Sealed;
use super::{Files, Options, Payload, Spool, SpoolError, SyncPolicy, Tally};
use crate::block::{Digest, Drops, Hasher, META_FORMAT, Meta, sanitise};

/// Bytes copied at a time.
const BUFFER: usize = 64 * 1024;

fn data(name: &str) -> String {
    format!("{MOVED}/{name}.data")
}

fn description(name: &str) -> String {
    format!("{MOVED}/{name}.json")
}

impl SealedBlocks {
    /// Whether a sealed block is encrypted.
    #[must_use]
    pub fn is_encrypted(&self, number: u64) -> bool {
        self.lock().blocks.get(&number).is_some_and(|entry| entry.transformed)
    }

    /// Hands a sealed block over to the spool in `to` and forgets it; `folder` is the name of the
    /// folder that it is in. What it was.
    ///
    /// # Errors
    /// A file that cannot be read or written, or a block that is not what was sealed: it stays.
    pub fn hand_over(&self, number: u64, folder: &str, to: &Path) -> Result<Meta, SpoolError> {
        let entry = self.lock().blocks.get(&number).copied().ok_or(SpoolError::NoBlock(number))?;
        let sidecar = load(&*self.files, &Name::Sidecar(number).to_string())?;
        let name = format!("{folder}.{}.{number:010}", sidecar.meta.boot);
        let bytes = sidecar.encode().map_err(io::Error::from);
        let bytes = bytes.map_err(SpoolError::io("write", description(&name)))?;
        let mut builder = fs::DirBuilder::new();
        match builder.mode(0o700).create(to.join(MOVED)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(SpoolError::io("make", MOVED))?,
        }
        let from = entry.data(number);
        let mut source =
            self.files.read(&from.to_string()).map_err(SpoolError::io("read", from))?;
        let copied = copy(&mut *source, &to.join(data(&name)));
        if copied.map_err(SpoolError::io("write", data(&name)))? != sidecar.meta.sha256 {
            let _ = fs::remove_file(to.join(data(&name)));
            return Err(SpoolError::Damaged { name: from.to_string() });
        }
        let new = to.join(MOVED).join(format!("{name}.new"));
        let described = copy(&mut &*bytes, &new)
            .and_then(|_| fs::rename(&new, to.join(description(&name))))
            .and_then(|()| fs::File::open(to.join(MOVED))?.sync_all())
            .and_then(|()| fs::File::open(to)?.sync_all());
        described.map_err(SpoolError::io("write", description(&name)))?;
        self.uploaded(number)?;
        Ok(sidecar.meta)
    }
}

/// Makes a file of what `source` gives, on the disk when this returns; its hash.
fn copy(source: &mut dyn Read, to: &Path) -> io::Result<Digest> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(to)?;
    let (mut buffer, mut hasher) = (vec![0; BUFFER], Hasher::default());
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        hasher.update(bytes);
        file.write_all(bytes)?;
    }
    file.sync_all()?;
    Ok(hasher.digest())
}

/// The blocks that have come into the spool in `root` from other folders beside it, in their order;
/// those left out that are still where they were.
#[must_use]
pub fn moved_here(root: &Path) -> Vec<String> {
    let is_there = |name: &str| {
        let mut parts = name.rsplitn(3, '.');
        let number = parts.next().and_then(|number| number.parse().ok());
        let folder = parts.nth(1).filter(|folder| !folder.contains('/'));
        let (Some(number), Some(folder), Some(spool)) = (number, folder, root.parent()) else {
            return true;
        };
        let sidecar = spool.join(folder).join(Name::Sidecar(number).to_string());
        sidecar.try_exists().unwrap_or(true)
    };
    let entries = fs::read_dir(root.join(MOVED)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
    names.retain(|name| !is_there(name));
    names.sort();
    names
}

/// How much has come into the spool in `root` and is not sealed anew yet.
pub(super) fn tally(root: &Path) -> Tally {
    let mut tally = Tally::default();
    for name in moved_here(root) {
        let bytes = sidecar::read(&root.join(description(&name))).ok();
        if let Some(sidecar) = bytes.and_then(|bytes| Sidecar::decode(&bytes).ok()) {
            tally.add(sidecar.meta.records, sidecar.meta.bytes);
        }
    }
    tally
}

impl Spool {
    /// Seals the block `name` of [`moved_here`] anew, with the number of the open block, which has to be
    /// empty; `None` when it is not, or when the block was sealed already.
    ///
    /// # Errors
    /// As those of [`Spool::seal`]; the block stays where it is. [`SpoolError::NoKey`] for one that is
    /// encrypted while nothing is here.
    pub fn take_moved(
        &mut self,
        name: &str,
        drops: &Drops,
    ) -> Result<Option<(Sealed, Payload)>, SpoolError> {
        self.heal()?;
        self.forget_gone();
        if self.state.length > 0 || self.taken.iter().any(|taken| taken == name) {
            self.state.drops.add(drops);
            remove_taken(&*self.store.files, &mut self.taken);
            return Ok(None);
        }
        let source = load(&*self.store.files, &description(name))?;
        if source.transformed && self.options.sealing.is_none() {
            return Err(SpoolError::NoKey(source.meta.number));
        }
        // A plain block is copied to where the open block's file would be.
        self.heal.tail = true;
        let (sidecar, unsynced) = self.commit_sealed(|spool| {
            let files = &*spool.store.files;
            let sidecar = write_moved(files, &spool.options, spool.state, (name, &source), drops)?;
            if spool.options.sync != SyncPolicy::None {
                files.sync_directory().map_err(SpoolError::io("sync", "its directory"))?;
            }
            Ok(sidecar)
        })?;
        self.heal.tail = false;
        self.taken.push(name.to_owned());
        remove_taken(&*self.store.files, &mut self.taken);
        Ok(Some(self.enter(sidecar, unsynced)))
    }
}

/// Removes what sealed blocks were made of, as far as it can be removed.
pub(super) fn remove_taken(files: &dyn Files, taken: &mut Vec<String>) {
    taken.retain(|name| {
        let gone = |name: &str| remove_if_there(files, name).is_ok();
        // The data last: what has no description is nobody's.
        !(gone(&description(name)) && gone(&data(name)))
    });
}

/// Whether the block that another one is made of is still there.
pub(super) fn is_there(files: &dyn Files, name: &str) -> bool {
    files.length(&description(name)).is_ok_and(|length| length.is_some())
}

/// Seals what was moved, up to and including the commit point.
fn write_moved(
    files: &dyn Files,
    options: &Options,
    state: OpenBlock,
    (name, source): (&str, &Sidecar),
    drops: &Drops,
) -> Result<Sidecar, SpoolError> {
    let number = state.number;
    let (mut sha256, mut bytes) = (source.meta.sha256, source.meta.bytes);
    let stored = match &options.sealing {
        Some(sealing) if !source.transformed => {
            (sha256, bytes) = write_transformed(files, &data(name), number, sealing)?;
            Name::Sealed(number)
        }
        sealing => {
            let to = if sealing.is_some() { Name::Sealed(number) } else { Name::Data(number) };
            let copied = copy_within(files, &data(name), &to.to_string())?;
            if copied != sha256 {
                return Err(SpoolError::Damaged { name: data(name) });
            }
            to
        }
    };
    let mut dropped = state.drops;
    dropped.add(drops);
    // Its own are told by nobody else.
    dropped.add(&source.meta.dropped);
    let meta = Meta {
        format: META_FORMAT,
        stream: sanitise(&options.stream),
        host: sanitise(&options.host),
        boot: options.boot,
        number,
        bytes,
        dropped,
        sha256,
        previous: state.previous,
        route: options.route,
        signature: None,
        ..source.meta.clone()
    };
    finish(files, options, stored, meta, state.sequence, Origin::Moved(name))
}

fn copy_within(files: &dyn Files, from: &str, to: &str) -> Result<Digest, SpoolError> {
    files.create(to, &[]).map_err(SpoolError::io("write", to))?;
    let mut hasher = Hasher::default();
    super::files::for_each_buffer(files, from, u64::MAX, |bytes| {
        hasher.update(bytes);
        files.append(to, bytes)
    })
    .map_err(SpoolError::io("copy", from))?;
    Ok(hasher.digest())
}
