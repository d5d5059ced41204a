//! A disk that loses power: what is in memory, and what would be left of it.
//!
//! A write is on the disk once its file was synced, a name once the directory was. Until then a power
//! cut keeps any subset of the writes, and tears them. Of the changes of names it keeps, independently
//! of the writes, those up to any one of them, as the journals of ext4 and XFS do, or any subset in
//! which no removal comes before what was done before it: the log of btrfs keeps the names of the files
//! that were synced. The names in the folder `moved` are on the disk once that was synced, whatever becomes of
//! the directory's. A sync that fails has written nothing, or some of it, and what it failed to
//! write counts as written from then on, as in Linux; the memory may then be dropped. A failed sync of
//! the directory lies about nothing: a journal that cannot be written takes the file system down.
//!
//! The process, or the machine, can end before any operation: that is a panic with a [`Stop`], so
//! that nothing is done after it. A process is not killed between a sync that fails and the copy that
//! makes it good: the next one could not know.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::spool::Files;

/// Bytes that a file takes at a time.
const PAGE: usize = 4096;

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    memory: Vec<u8>,
    disk: Vec<u8>,
    pending: Vec<Change>,
    /// A sync has failed, and the next one lies.
    lies: bool,
}

/// A file has one name at most.
#[derive(Debug, Clone)]
enum Named {
    /// It has this one from now on.
    Link(u64, String),
    Remove(u64),
}

/// A change of names that is not on the disk.
#[derive(Debug, Clone)]
struct Pending {
    change: Named,
    /// In that folder.
    moved: bool,
}

/// The folder whose names are synced by themselves.
const MOVED: &str = "moved";

fn is_moved(name: &str) -> bool {
    name.split_once('/').is_some_and(|(folder, _)| folder == MOVED)
}

/// How everything ends before an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) enum Stop {
    /// The process is killed.
    Kill,
    /// The power is cut.
    Cut,
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next: u64,
    memory: BTreeMap<String, u64>,
    disk: BTreeMap<String, u64>,
    pending: Vec<Pending>,
    /// Operations until the end.
    stop_in: Option<(u32, Stop)>,
    /// Syncs until one fails, and whether the memory is dropped then.
    fail_in: Option<(u32, bool)>,
    /// Writes until one finds the disk full.
    full_in: Option<u32>,
    /// How many pages all files together may have.
    pages: Option<usize>,
    /// It tells how many of them are left.
    tells: bool,
    /// Syncs that have failed.
    failed: u32,
}

/// The disk of one world.
#[derive(Debug, Default, Clone)]
pub(in crate::pipeline) struct Disk(Arc<Mutex<State>>);

/// What decides about each thing that a power cut finds half done.
pub(in crate::pipeline) struct Chance {
    random: fastrand::Rng,
    /// Of 8.
    kept: u8,
}

impl Chance {
    pub(in crate::pipeline) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        // Nothing, all, or a mixture.
        let kept = random.choice([0, 0, 1, 4, 4, 7, 8]).unwrap();
        Self { random, kept }
    }

    pub(in crate::pipeline) fn keeps(&mut self) -> bool {
        self.random.u8(0..8) < self.kept
    }

    /// So many of `length`.
    fn up_to(&mut self, length: usize) -> usize {
        match self.kept {
            0 => 0,
            8 => length,
            _ => self.random.usize(0..=length),
        }
    }

    /// Some of `length`, or all of it.
    pub(in crate::pipeline) fn some(&mut self, length: usize) -> usize {
        if self.random.bool() { length } else { self.random.usize(0..=length) }
    }

    pub(in crate::pipeline) fn flip(&mut self) -> bool {
        self.random.bool()
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, written) => {
            let end = at + written.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*at..end].copy_from_slice(written);
        }
        Change::Cut(length) => bytes.truncate(*length),
    }
}

fn apply_name(names: &mut BTreeMap<String, u64>, change: &Named) {
    let (Named::Link(inode, _) | Named::Remove(inode)) = change;
    names.retain(|_, named| named != inode);
    if let Named::Link(inode, name) = change {
        names.insert(name.clone(), *inode);
    }
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Everything ends before the operation after the next `operations`.
    pub(in crate::pipeline) fn stop_in(&self, operations: u32, stop: Stop) {
        self.lock().stop_in = Some((operations, stop));
    }

    /// The sync after the next `syncs` fails.
    pub(in crate::pipeline) fn fail_in(&self, syncs: u32, drops_memory: bool) {
        self.lock().fail_in = Some((syncs, drops_memory));
    }

    /// The write after the next `writes` finds the disk full half way.
    pub(in crate::pipeline) fn full_in(&self, writes: u32) {
        self.lock().full_in = Some(writes);
    }

    /// All files together have room in so many pages from now on.
    pub(in crate::pipeline) fn resize(&self, pages: usize) {
        self.lock().pages = Some(pages);
    }

    /// It tells how much room there is, or does not, as where a user's quota is what there is.
    pub(in crate::pipeline) fn tells_room(&self, tells: bool) {
        self.lock().tells = tells;
    }

    /// Pages that files have.
    pub(in crate::pipeline) fn used(&self) -> usize {
        self.lock().used()
    }

    /// Nothing fails or ends any more.
    pub(in crate::pipeline) fn behave(&self) {
        let mut state = self.lock();
        (state.stop_in, state.fail_in, state.full_in) = (None, None, None);
    }

    pub(in crate::pipeline) fn failed(&self) -> u32 {
        self.lock().failed
    }

    /// Counts an operation.
    pub(in crate::pipeline) fn ask(&self) {
        let stop = {
            let mut state = self.lock();
            match state.stop_in {
                Some((0, Stop::Kill)) if state.lies() => None,
                Some((0, stop)) => {
                    state.stop_in = None;
                    Some(stop)
                }
                Some((left, stop)) => {
                    state.stop_in = Some((left - 1, stop));
                    None
                }
                None => None,
            }
        };
        if let Some(stop) = stop {
            resume_unwind(Box::new(stop));
        }
    }

    /// How much of a write is done.
    fn room(&self, length: usize) -> Result<usize, usize> {
        let mut state = self.lock();
        match state.full_in {
            // One fault at a time.
            Some(0) if state.lies() => Ok(length),
            Some(0) => {
                state.full_in = None;
                Err(length / 2)
            }
            Some(left) => {
                state.full_in = Some(left - 1);
                Ok(length)
            }
            None => Ok(length),
        }
    }

    fn write(&self, name: &str, bytes: &[u8], from: Option<usize>) -> io::Result<()> {
        let room = self.room(bytes.len()).and_then(|all| {
            let fits = self.lock().fits(name, from, all);
            if fits < all { Err(fits) } else { Ok(all) }
        });
        let (Ok(length) | Err(length)) = room;
        self.with(name, |inode| {
            if from.is_some() {
                inode.change(Change::Cut(0));
            }
            let at = from.unwrap_or(inode.memory.len());
            inode.change(Change::Write(at, bytes[..length].to_vec()));
        })?;
        room.map(drop).map_err(|_| io::ErrorKind::StorageFull.into())
    }

    /// Whether a sync fails now; with whether the memory is dropped.
    pub(in crate::pipeline) fn sync_fails(&self) -> Option<bool> {
        let mut state = self.lock();
        match state.fail_in {
            Some((0, drops)) => {
                state.fail_in = None;
                state.failed += 1;
                Some(drops)
            }
            Some((left, drops)) => {
                state.fail_in = Some((left - 1, drops));
                None
            }
            None => None,
        }
    }

    /// The machine comes back with what the disk has.
    pub(in crate::pipeline) fn come_back(&self, chance: &mut Chance) {
        let mut state = self.lock();
        for inode in state.inodes.values_mut() {
            inode.write_some(chance);
            inode.memory.clone_from(&inode.disk);
        }
        let mut pending = std::mem::take(&mut state.pending);
        if chance.flip() {
            pending.truncate(chance.up_to(pending.len()));
        } else {
            let mut all = true;
            pending.retain(|pending| {
                let kept = chance.keeps() && (all || matches!(pending.change, Named::Link(..)));
                all &= kept;
                kept
            });
        }
        for Pending { change, .. } in &pending {
            apply_name(&mut state.disk, change);
        }
        state.memory = state.disk.clone();
        let named: Vec<u64> = state.disk.values().copied().collect();
        state.inodes.retain(|inode, _| named.contains(inode));
        drop(state);
        self.behave();
    }

    fn name(&self, change: Named) {
        let mut state = self.lock();
        let moved = match &change {
            Named::Link(_, name) => is_moved(name),
            Named::Remove(inode) => {
                state.memory.iter().any(|(name, named)| named == inode && is_moved(name))
            }
        };
        apply_name(&mut state.memory, &change);
        state.pending.push(Pending { change, moved });
    }

    /// Brings names to the disk: those in that folder, or all others.
    fn sync_names(&self, moved: bool) -> io::Result<()> {
        self.ask();
        if self.sync_fails().is_some() {
            return Err(io::Error::other("input/output error"));
        }
        let mut state = self.lock();
        let (done, left) = std::mem::take(&mut state.pending)
            .into_iter()
            .partition(|pending: &Pending| pending.moved == moved);
        state.pending = left;
        let done: Vec<Pending> = done;
        for Pending { change, .. } in &done {
            apply_name(&mut state.disk, change);
        }
        Ok(())
    }

    /// What another process does, of which only the result is looked at.
    pub(super) fn elsewhere(&self, act: impl FnOnce(&Self)) {
        let mut state = self.lock();
        let plan = (state.stop_in.take(), state.fail_in.take(), state.full_in.take());
        drop(state);
        act(self);
        let mut state = self.lock();
        (state.stop_in, state.fail_in, state.full_in) = plan;
    }

    fn inode(&self, name: &str) -> io::Result<u64> {
        Ok(*self.lock().memory.get(name).ok_or(io::ErrorKind::NotFound)?)
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        let mut state = self.lock();
        let inode = *state.memory.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(act(state.inodes.get_mut(&inode).unwrap()))
    }

    pub(in crate::pipeline) fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.with(name, |inode| inode.memory.clone()).ok()
    }
}

impl State {
    fn used(&self) -> usize {
        let lengths = self.memory.values().map(|inode| self.inodes[inode].memory.len());
        lengths.map(|length| length.div_ceil(PAGE)).sum()
    }

    /// How much of `length` bytes find room in a file, `from` there on or at its end.
    fn fits(&self, name: &str, from: Option<usize>, length: usize) -> usize {
        let Some(pages) = self.pages else { return length };
        let there = self.memory.get(name).map_or(0, |inode| self.inodes[inode].memory.len());
        let own = there.div_ceil(PAGE) + pages.saturating_sub(self.used());
        length.min((own * PAGE).saturating_sub(from.unwrap_or(there)))
    }

    /// Whether a file is in use that a sync has failed on.
    fn lies(&self) -> bool {
        self.memory.values().any(|inode| self.inodes[inode].lies)
    }
}

impl Inode {
    /// Brings to the disk what chance has it.
    fn write_some(&mut self, chance: &mut Chance) {
        for mut change in std::mem::take(&mut self.pending) {
            if !chance.keeps() {
                continue;
            }
            if let Change::Write(_, bytes) = &mut change {
                let whole = chance.some(bytes.len());
                if chance.flip() {
                    bytes.truncate(whole);
                } else {
                    bytes[whole..].fill(0);
                }
            }
            apply(&mut self.disk, &change);
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.memory, &change);
        self.pending.push(change);
    }
}

impl Files for Disk {
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.ask();
        if self.contents(name).is_none() {
            let inode = {
                let mut state = self.lock();
                state.next += 1;
                let inode = state.next;
                state.inodes.insert(inode, Inode::default());
                inode
            };
            self.name(Named::Link(inode, name.to_owned()));
        }
        self.write(name, bytes, Some(0))
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.ask();
        self.write(name, bytes, None)
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        self.ask();
        self.with(name, |inode| inode.change(Change::Cut(usize::try_from(length).unwrap())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.ask();
        let inode = self.inode(from)?;
        self.name(Named::Link(inode, to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.ask();
        let inode = self.inode(name)?;
        self.name(Named::Remove(inode));
        Ok(())
    }

    fn list(&self, folder: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        let names: Vec<String> = self.lock().memory.keys().cloned().collect();
        for name in &names {
            match name.split_once('/') {
                None if folder.is_empty() => each(name),
                Some((place, name)) if place == folder => each(name),
                _ => {}
            }
        }
        Ok(())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.with(name, |inode| inode.memory.clone())?;
        Ok(Box::new(io::Cursor::new(bytes)))
    }

    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.contents(name).map(|bytes| bytes.len() as u64))
    }

    fn room(&self) -> Option<u64> {
        let state = self.lock();
        let pages = state.pages.filter(|_| state.tells)?;
        Some((pages.saturating_sub(state.used()) * PAGE) as u64)
    }

    fn modified(&self, _: &str) -> io::Result<u64> {
        Ok(0)
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        if name == MOVED {
            return self.sync_names(true);
        }
        self.ask();
        let fails = self.sync_fails();
        self.with(name, |inode| match fails {
            Some(drops) => {
                inode.lies = true;
                inode.write_some(&mut Chance::new(inode.memory.len() as u64));
                if drops {
                    inode.memory.clone_from(&inode.disk);
                }
                Err(io::Error::other("input/output error"))
            }
            None => {
                let pending = std::mem::take(&mut inode.pending);
                pending.iter().for_each(|change| apply(&mut inode.disk, change));
                Ok(())
            }
        })?
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.sync_names(false)
    }
}
