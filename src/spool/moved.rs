//! Blocks that come from the folder of another route, because an operator has asked for it.
//!
//! A block is copied into the other folder and then forgotten where it was; the process that has the
//! other folder seals it anew, with the next number of its chain. The first step needs the lock of
//! the folder that the block leaves, and keeps the other one from being removed ([`Disk::beside`]); the
//! second needs the lock of the folder that the block comes to, which a running varnishd may have.
//!
//! | in `moved/` | holds |
//! |---|---|
//! | `X.data` | the block's bytes, as they would have been uploaded |
//! | `X.json` | its sidecar; named last, from `X.new` |
//!
//! X is `FOLDER.BOOT.NUMBER` of the block where it was. The block has moved when its own sidecar is
//! no `N.json` there any more; until then X is nobody's. A kill before that leaves the block to its own
//! folder, whose next start removes X before the block can be sent ([`take_back`]). The sidecar of what
//! is made of X names it, so that a start after a kill makes it once.
//!
//! Non-goals: whether a block may go to another route at all; that is the caller's to judge. Blocks
//! are not decrypted: one that is encrypted stays as it is.

use std::fs;
use std::io;
use std::path::Path;

use super::commit::OpenBlock;
use super::files::names::{MOVED, Name};
use super::files::{for_each_buffer, remove_if_there};
use super::seal::{Origin, finish, write_transformed};
use super::sidecar::{self, Sidecar};
use super::store::{SealedBlocks, load};
use super::writer::Sealed;
use super::{Files, Options, Payload, Spool, SpoolError, SyncPolicy, Tally};
use crate::block::{Digest, Drops, Hasher, META_FORMAT, Meta, sanitise};

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

    /// Hands a sealed block over to the spool `to`, see [`Disk::beside`], and forgets it; `folder` is
    /// the name of the folder that it is in. What it was.
    ///
    /// # Errors
    /// A file that cannot be read or written, or a block that is not what was sealed: it stays. Call
    /// [`take_back`] before it can be sent.
    pub fn hand_over(&self, number: u64, folder: &str, to: &dyn Files) -> Result<Meta, SpoolError> {
        let entry = self.lock().blocks.get(&number).copied().ok_or(SpoolError::NoBlock(number))?;
        let sidecar = load(&*self.files, &Name::Sidecar(number).to_string())?;
        let name = format!("{folder}.{}.{number:010}", sidecar.meta.boot);
        let (data, description) = (data(&name), description(&name));
        let from = entry.data(number).to_string();
        if copy(&*self.files, &from, to, &data)? != sidecar.meta.sha256 {
            let _ = remove_if_there(to, &data);
            return Err(SpoolError::Damaged { name: from });
        }
        let new = format!("{MOVED}/{name}.new");
        let described = sidecar.encode().map_err(io::Error::from).and_then(|bytes| {
            to.create(&new, &bytes)?;
            to.sync_file(&data)?;
            to.sync_file(&new)?;
            to.rename(&new, &description)?;
            to.sync_file(MOVED)?;
            to.sync_directory()
        });
        described.map_err(SpoolError::io("write", description))?;
        self.uploaded(number)?;
        Ok(sidecar.meta)
    }
}

/// Copies a file; the hash of what it has.
fn copy(
    files: &dyn Files,
    from: &str,
    to_files: &dyn Files,
    to: &str,
) -> Result<Digest, SpoolError> {
    to_files.create(to, &[]).map_err(SpoolError::io("write", to))?;
    let mut hasher = Hasher::default();
    for_each_buffer(files, from, u64::MAX, |bytes| {
        hasher.update(bytes);
        to_files.append(to, bytes)
    })
    .map_err(SpoolError::io("copy", from))?;
    Ok(hasher.digest())
}

/// The folder that the block X was in, its boot, and its number there.
fn origin(name: &str) -> Option<(&str, &str, u64)> {
    let mut parts = name.rsplitn(3, '.');
    let number = parts.next()?.parse().ok()?;
    let boot = parts.next()?;
    let folder = parts.next().filter(|folder| !folder.contains('/'))?;
    Some((folder, boot, number))
}

/// Whether the block X is still where it was; `None` where that cannot be told. A folder that was removed
/// and made anew has blocks of the same numbers, and of another boot.
fn is_unmoved(root: &Path, name: &str) -> Option<bool> {
    let (folder, boot, number) = origin(name)?;
    let path = root.parent()?.join(folder).join(Name::Sidecar(number).to_string());
    match sidecar::read(&path) {
        Ok(bytes) => Some(Sidecar::decode(&bytes).ok()?.meta.boot.to_string() == boot),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

/// Names of files in the folder `moved` of the spool in `root`; none if it cannot be read.
fn files_moved(root: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(root.join(MOVED)).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Removes from the folders beside the spool in `root` what was copied there of blocks that `root` has
/// still: moving them was stopped. Also what such a stop, or a removal that failed, has left in `root`
/// itself. For a start, with the lock of `root`, before any of its blocks can be sent.
///
/// # Errors
/// A file that cannot be removed: the block must not be sent from here.
pub fn take_back(root: &Path) -> Result<(), SpoolError> {
    let (Some(spool), Some(own)) = (root.parent(), root.file_name()) else { return Ok(()) };
    let sibling = |entry: fs::DirEntry| entry.path();
    for sibling in fs::read_dir(spool).into_iter().flatten().flatten().map(sibling) {
        let mut copies: Vec<String> = files_moved(&sibling)
            .filter(|file| {
                let name = file.rsplit_once('.').map_or("", |(name, _)| name);
                let ours = origin(name).is_some_and(|(folder, ..)| *folder == *own);
                ours && is_unmoved(&sibling, name) == Some(true)
            })
            .collect();
        // The description first: what has none is nobody's.
        copies.sort_by_key(|file| !file.ends_with(".json"));
        for file in &copies {
            let path = sibling.join(MOVED).join(file);
            fs::remove_file(&path).map_err(SpoolError::io("remove", path.display()))?;
        }
        if !copies.is_empty() {
            let path = sibling.join(MOVED);
            let synced = fs::File::open(&path).and_then(|folder| folder.sync_all());
            synced.map_err(SpoolError::io("sync", path.display()))?;
        }
    }
    for file in files_moved(root).filter(|file| !file.ends_with(".json")) {
        let Some((name, _)) = file.rsplit_once('.') else { continue };
        // In this order: whoever moves it names the description before the block is gone there.
        if is_unmoved(root, name) == Some(false) && !root.join(description(name)).exists() {
            let _ = fs::remove_file(root.join(MOVED).join(&file));
        }
    }
    Ok(())
}

/// The blocks that have come into the spool in `root` from other folders beside it, in their order;
/// those left out that are still where they were.
#[must_use]
pub fn moved_here(root: &Path) -> Vec<String> {
    let named = |file: String| Some(file.strip_suffix(".json")?.to_owned());
    let mut names: Vec<String> = files_moved(root)
        .filter_map(named)
        .filter(|name| is_unmoved(root, name) == Some(false))
        .collect();
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
    /// Whether the block `name` of [`moved_here`] can be sealed anew as far as it is concerned: reads all
    /// of it.
    ///
    /// # Errors
    /// It cannot be read, is damaged or of another release, or is encrypted while nothing is here.
    pub fn check_moved(&self, name: &str) -> Result<(), SpoolError> {
        let files = &*self.store.files;
        let source = load(files, &description(name))?;
        if source.transformed && self.options.sealing.is_none() {
            return Err(SpoolError::NoKey(source.meta.number));
        }
        let (data, mut hasher) = (data(name), Hasher::default());
        let read = for_each_buffer(files, &data, u64::MAX, |bytes| {
            hasher.update(bytes);
            Ok(())
        });
        read.map_err(SpoolError::io("read", &data))?;
        if hasher.digest() == source.meta.sha256 {
            Ok(())
        } else {
            Err(SpoolError::Damaged { name: data })
        }
    }

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
            if copy(files, &data(name), files, &to.to_string())? != sha256 {
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
