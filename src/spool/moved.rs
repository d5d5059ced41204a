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
//! no `N.json` there any more, and who takes it syncs that first; until then X is nobody's. A kill before
//! that leaves the block to its own folder, whose next start removes X before the block can be sent
//! ([`take_back`]). The sidecar of what is made of X names it, so that a start after a kill makes it once.
//!
//! Non-goals: whether a block may go to another route at all; that is the caller's to judge. Blocks
//! are not decrypted: one that is encrypted stays as it is.

use std::fs;
use std::io;
use std::path::Path;

use super::commit::OpenBlock;
use super::files::names::{MOVED, Name};
use super::files::{for_each_buffer, hash, remove_if_there};
use super::owner::check_owner;
use super::seal::{Members, Origin, Stored, Written, finish, transform};
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
        self.lock().blocks.get(&number).is_some_and(|entry| entry.encrypted)
    }

    /// Hands a sealed block over to the spool `to`, see `Disk::beside`, and forgets it; `folder` is
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

/// Whether the block X is still where it was. A folder that was removed and made anew has blocks of the
/// same numbers, and of another boot.
///
/// # Errors
/// It cannot be told.
fn is_unmoved(root: &Path, name: &str) -> Result<bool, SpoolError> {
    let damaged = |name: String| SpoolError::Damaged { name };
    let Some(((folder, boot, number), spool)) = origin(name).zip(root.parent()) else {
        return Err(damaged(format!("{MOVED}/{name}")));
    };
    let path = spool.join(folder).join(Name::Sidecar(number).to_string());
    match sidecar::read(&path) {
        Ok(bytes) => match Sidecar::decode(&bytes) {
            Ok(sidecar) => Ok(sidecar.meta.boot.to_string() == boot),
            Err(_) => Err(damaged(path.display().to_string())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SpoolError::io("read", path.display())(error)),
    }
}

/// What the sidecar of the block X in `root` says, if it can be read.
fn described(root: &Path, name: &str) -> Option<Sidecar> {
    let bytes = sidecar::read(&root.join(description(name))).ok()?;
    Sidecar::decode(&bytes).ok()
}

/// Brings a folder's names to the disk.
fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Whether the block X in `root` will be sent from the folder `own`, where it was: its own description
/// cannot be read there, and the next start makes it anew from the same bytes.
fn is_made_anew(own: &Path, root: &Path, name: &str) -> bool {
    let Some(((_, _, number), described)) = origin(name).zip(described(root, name)) else {
        return false;
    };
    let at = |name: Name| own.join(name.to_string());
    let is_it = |name: Name| {
        let mut hasher = Hasher::default();
        let read = fs::File::open(at(name)).and_then(|mut file| io::copy(&mut file, &mut hasher));
        read.is_ok() && hasher.digest() == described.meta.sha256
    };
    // Of an encrypted block the members: without them it is not made anew.
    let readable = at(Name::Data(number)).exists() || !described.is_encrypted();
    readable && (is_it(Name::Data(number)) || is_it(Name::Sealed(number)))
}

/// Names of files in the folder `moved` of the spool in `root`; none where there is no such folder.
fn files_moved(root: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(root.join(MOVED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(io::Result::transpose).collect()
}

fn list_moved(root: &Path) -> Result<Vec<String>, SpoolError> {
    files_moved(root).map_err(SpoolError::io("list", root.join(MOVED).display()))
}

/// Removes from the folders beside the spool in `root` what was copied there of blocks that `root` has
/// still: moving them was stopped. Also what such a stop, or a removal that failed, has left in `root`
/// itself. For a start, with the lock of `root`, before any of its blocks can be sent.
///
/// # Errors
/// A folder that cannot be listed or a file that cannot be removed: the block must not be sent from here.
pub fn take_back(root: &Path) -> Result<(), SpoolError> {
    let (Some(spool), Some(own)) = (root.parent(), root.file_name()) else { return Ok(()) };
    let unlisted = |error| SpoolError::io("list", spool.display())(error);
    for entry in fs::read_dir(spool).map_err(unlisted)? {
        let sibling = entry.map_err(unlisted)?.path();
        // Not what is no spool, or is another user's altogether.
        if !sibling.join(MOVED).is_dir() {
            continue;
        }
        let mut copies: Vec<String> = list_moved(&sibling)?;
        copies.retain(|file| {
            let name = file.rsplit_once('.').map_or("", |(name, _)| name);
            let ours = origin(name).is_some_and(|(folder, ..)| *folder == *own);
            ours && is_unmoved(&sibling, name)
                .unwrap_or_else(|_| is_made_anew(root, &sibling, name))
        });
        // The description first: what has none is nobody's.
        copies.sort_by_key(|file| !file.ends_with(".json"));
        for file in &copies {
            let path = sibling.join(MOVED).join(file);
            fs::remove_file(&path).map_err(SpoolError::io("remove", path.display()))?;
        }
        if !copies.is_empty() {
            let path = sibling.join(MOVED);
            sync(&path).map_err(SpoolError::io("sync", path.display()))?;
        }
    }
    for file in list_moved(root)?.into_iter().filter(|file| !file.ends_with(".json")) {
        let Some((name, _)) = file.rsplit_once('.') else { continue };
        // In this order: whoever moves it names the description before the block is gone there.
        if is_unmoved(root, name).is_ok_and(|unmoved| !unmoved)
            && !root.join(description(name)).exists()
        {
            let _ = fs::remove_file(root.join(MOVED).join(&file));
        }
    }
    Ok(())
}

/// The blocks that have come into the spool in `root` from other folders beside it, in their order;
/// those left out that are still where they were. See [`check_left`] for those of which that cannot be
/// told.
///
/// # Errors
/// They cannot be listed.
pub fn moved_here(root: &Path) -> Result<Vec<String>, SpoolError> {
    let named = |file: String| Some(file.strip_suffix(".json")?.to_owned());
    let mut names: Vec<String> = list_moved(root)?
        .into_iter()
        .filter_map(named)
        .filter(|name| is_unmoved(root, name).map_or(true, |unmoved| !unmoved))
        .collect();
    names.sort();
    Ok(names)
}

/// Sees to it that the block `name` of [`moved_here`] cannot be sent from where it was, also after a power
/// cut, before it may be sent from here.
///
/// # Errors
/// It is still there, or that cannot be told, or what was done there cannot be brought to the disk.
pub fn check_left(root: &Path, name: &str) -> Result<(), SpoolError> {
    let still = || SpoolError::Damaged { name: format!("{MOVED}/{name}") };
    if is_unmoved(root, name)? {
        return Err(still());
    }
    let spool = root.parent().ok_or_else(still)?;
    let from = origin(name).map(|(folder, ..)| spool.join(folder)).ok_or_else(still)?;
    let synced = match sync(&from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => sync(spool),
        synced => synced,
    };
    synced.map_err(SpoolError::io("sync", from.display()))
}

/// How much has come into the spool in `root` and is not sealed anew yet; `None` when that cannot be listed
/// by who should be able to.
pub(super) fn tally(root: &Path) -> Option<Tally> {
    let mut tally = Tally::default();
    let names = match moved_here(root) {
        Ok(names) => names,
        // Who only uploads from it need not know.
        Err(_) => return check_owner(root).is_err().then_some(tally),
    };
    for name in names {
        if let Some(sidecar) = described(root, &name) {
            tally.add(sidecar.meta.records, sidecar.meta.bytes);
        }
    }
    Some(tally)
}

impl Spool {
    /// Whether the block `name` of [`moved_here`] can be sealed anew as far as it is concerned: reads all
    /// of it.
    ///
    /// # Errors
    /// It cannot be read, is damaged or of another release, or is encrypted while nothing is here.
    pub fn check_moved(&self, name: &str) -> Result<(), SpoolError> {
        check(&*self.store.files, name, self.options.sealing.is_some()).map(drop)
    }

    /// Seals the block `name` of [`moved_here`] anew, with the number of the open block, which has to be
    /// empty; `None` when it is not, when the block was sealed already, or while what the ring holds is still to be
    /// set aside ([`Spool::lacks_key`]): the next open block would not know of it.
    ///
    /// # Errors
    /// As those of [`Spool::seal`]; the block stays where it is. [`SpoolError::NoKey`] for one that is
    /// encrypted while nothing is here.
    pub fn take_moved(
        &mut self,
        name: &str,
        drops: &Drops,
    ) -> Result<Option<(Sealed, Payload)>, SpoolError> {
        let is_taken = self.taken.iter().any(|taken| taken == name);
        self.heal()?;
        self.forget_gone();
        if self.state.length > 0 || is_taken || self.lacks_key() {
            self.state.drops.add(drops);
            return Ok(None);
        }
        let source = load(&*self.store.files, &description(name))?;
        if source.is_encrypted() && self.options.sealing.is_none() {
            return Err(SpoolError::NoKey(source.meta.number));
        }
        // A plain block is copied to where the open block's file would be.
        self.heal.tail = true;
        let (written, unsynced) = self.commit_sealed(|spool| {
            let files = &*spool.store.files;
            let written = write_moved(files, &spool.options, spool.state, (name, &source), drops)?;
            if spool.options.sync != SyncPolicy::None {
                files.sync_directory().map_err(SpoolError::io("sync", "its directory"))?;
            }
            Ok(written)
        })?;
        self.heal.tail = false;
        self.taken.push(name.to_owned());
        self.forget_taken();
        Ok(Some(self.enter(written, unsynced)))
    }

    /// Removes what sealed blocks were made of, and what could not be removed before.
    pub(super) fn forget_taken(&mut self) {
        remove_taken(&*self.store.files, &mut self.taken, self.options.sync);
    }
}

/// The same for the block `name` among `files`, where there is something to encrypt to or not. What it is.
pub(super) fn check(files: &dyn Files, name: &str, encrypts: bool) -> Result<Meta, SpoolError> {
    let source = load(files, &description(name))?;
    if source.is_encrypted() && !encrypts {
        return Err(SpoolError::NoKey(source.meta.number));
    }
    let data = data(name);
    let (_, digest, _) = hash(files, &data, u64::MAX).map_err(SpoolError::io("read", &data))?;
    if digest == source.meta.sha256 {
        Ok(source.meta)
    } else {
        Err(SpoolError::Damaged { name: data })
    }
}

/// Removes what sealed blocks were made of, as far as it can be removed for good: once their sidecars are gone,
/// nothing tells that what a power cut brings back was taken.
pub(super) fn remove_taken(files: &dyn Files, taken: &mut Vec<String>, sync: SyncPolicy) {
    let gone = |name: &str| remove_if_there(files, name).is_ok();
    // The data last: what has no description is nobody's.
    let is_removed = |name: &String| gone(&description(name)) && gone(&data(name));
    let (removed, left): (Vec<_>, Vec<_>) = taken.drain(..).partition(is_removed);
    *taken = left;
    let synced = || match files.sync_file(MOVED) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced,
    };
    // Once more after a failure, as at a seal.
    if !removed.is_empty() && sync != SyncPolicy::None && synced().or_else(|_| synced()).is_err() {
        taken.extend(removed);
    }
}

/// Whether the block that another one is made of is still there.
pub(super) fn is_there(files: &dyn Files, name: &str) -> bool {
    files.length(&description(name)).is_ok_and(|length| length.is_some())
}

/// Whether a block waits here to be taken, of those that have come from other folders.
pub(super) fn some_wait(files: &dyn Files) -> Result<bool, SpoolError> {
    let mut some = false;
    match files.list(MOVED, &mut |file| some |= file.ends_with(".json")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        done => done.map(|()| some).map_err(SpoolError::io("list", MOVED)),
    }
}

/// Seals what was moved, up to and including the commit point.
fn write_moved(
    files: &dyn Files,
    options: &Options,
    state: OpenBlock,
    (name, source): (&str, &Sidecar),
    drops: &Drops,
) -> Result<Written, SpoolError> {
    let number = state.number;
    let (sha256, bytes) = (source.meta.sha256, source.meta.bytes);
    let made = if source.is_encrypted() {
        Err(None)
    } else {
        let Meta { codec, raw_bytes, .. } = source.meta;
        transform(files, options, &Members { file: &data(name), codec, raw_bytes, number })?
    };
    let stored = match made {
        Ok(stored) => stored,
        Err(kept_members) => {
            let encrypted = source.is_encrypted();
            let to = if encrypted { Name::Sealed(number) } else { Name::Data(number) };
            if copy(files, &data(name), files, &to.to_string())? != sha256 {
                return Err(SpoolError::Damaged { name: data(name) });
            }
            Stored { name: to, sha256, bytes, kept_members }
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
        bytes: stored.bytes,
        dropped,
        sha256: stored.sha256,
        previous: state.previous,
        route: options.route,
        signature: None,
        ..source.meta.clone()
    };
    let origin = Origin::Moved(name);
    let sidecar = finish(files, options, stored.name, meta, state.sequence, origin)?;
    Ok(Written { sidecar, kept_members: stored.kept_members })
}
