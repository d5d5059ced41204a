//! A disk that loses power: what is in memory, and what would be left of it.
//!
//! A write is on the disk once its file was synced, a name once the directory was. Until then a power
//! cut keeps any subset of the writes, and tears them; and of the changes of names, independently of
//! the writes, those up to any one of them, as the journals of ext4, XFS and btrfs do. A sync that fails has written nothing, and what it
//! failed to write counts as written from then on, as in Linux; the memory may then be dropped.
//! A failed sync of the directory lies
//! about nothing: a journal that cannot be written takes the file system down.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::spool::Files;

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
}

#[derive(Debug, Clone)]
enum Named {
    Link(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next: u64,
    memory: BTreeMap<String, u64>,
    disk: BTreeMap<String, u64>,
    pending: Vec<Named>,
    /// Operations until the power is cut.
    cut_in: Option<u32>,
    cut: bool,
    /// Syncs until one fails, and whether the memory is dropped then.
    fail_in: Option<(u32, bool)>,
    /// Syncs that have failed.
    failed: u32,
}

/// The disk of one world.
#[derive(Debug, Default, Clone)]
pub(super) struct Disk(Arc<Mutex<State>>);

/// What decides about each thing that a power cut finds half done.
pub(super) struct Chance {
    random: fastrand::Rng,
    /// Of 8.
    kept: u8,
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        // Nothing, all, or a mixture.
        let kept = random.choice([0, 0, 1, 4, 4, 7, 8]).unwrap();
        Self { random, kept }
    }

    pub(super) fn keeps(&mut self) -> bool {
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
    pub(super) fn some(&mut self, length: usize) -> usize {
        if self.random.bool() { length } else { self.random.usize(0..=length) }
    }

    pub(super) fn flip(&mut self) -> bool {
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
    match change {
        Named::Link(name, inode) => drop(names.insert(name.clone(), *inode)),
        Named::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Named::Remove(name) => drop(names.remove(name)),
    }
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The power goes before the operation after the next `operations`.
    pub(super) fn cut_in(&self, operations: u32) {
        self.lock().cut_in = Some(operations);
    }

    /// The sync after the next `syncs` fails.
    pub(super) fn fail_in(&self, syncs: u32, drops_memory: bool) {
        self.lock().fail_in = Some((syncs, drops_memory));
    }

    pub(super) fn is_cut(&self) -> bool {
        self.lock().cut
    }

    pub(super) fn failed(&self) -> u32 {
        self.lock().failed
    }

    /// Counts an operation; an error once the power is gone.
    pub(super) fn ask(&self) -> io::Result<()> {
        let mut state = self.lock();
        match &mut state.cut_in {
            Some(0) => state.cut = true,
            Some(left) => *left -= 1,
            None => {}
        }
        if state.cut { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    /// Whether a sync fails now; with whether the memory is dropped.
    pub(super) fn sync_fails(&self) -> Option<bool> {
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

    /// The process ends; the machine does not.
    pub(super) fn kill(&self) {
        let mut state = self.lock();
        (state.cut_in, state.cut, state.fail_in) = (None, false, None);
    }

    /// The machine comes back with what the disk has.
    pub(super) fn come_back(&self, chance: &mut Chance) {
        let mut state = self.lock();
        for inode in state.inodes.values_mut() {
            inode.write_some(chance);
            inode.memory.clone_from(&inode.disk);
        }
        let pending = std::mem::take(&mut state.pending);
        for change in pending.iter().take(chance.up_to(pending.len())) {
            apply_name(&mut state.disk, change);
        }
        state.memory = state.disk.clone();
        let named: Vec<u64> = state.disk.values().copied().collect();
        state.inodes.retain(|inode, _| named.contains(inode));
        drop(state);
        self.kill();
    }

    fn name(&self, change: Named) {
        let mut state = self.lock();
        apply_name(&mut state.memory, &change);
        state.pending.push(change);
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        let mut state = self.lock();
        let inode = *state.memory.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(act(state.inodes.get_mut(&inode).unwrap()))
    }

    pub(super) fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.with(name, |inode| inode.memory.clone()).ok()
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
        self.ask()?;
        if self.contents(name).is_none() {
            let inode = {
                let mut state = self.lock();
                state.next += 1;
                let inode = state.next;
                state.inodes.insert(inode, Inode::default());
                inode
            };
            self.name(Named::Link(name.to_owned(), inode));
        }
        self.with(name, |inode| {
            inode.change(Change::Cut(0));
            inode.change(Change::Write(0, bytes.to_vec()));
        })
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.ask()?;
        self.with(name, |inode| inode.change(Change::Write(inode.memory.len(), bytes.to_vec())))
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        self.ask()?;
        self.with(name, |inode| inode.change(Change::Cut(usize::try_from(length).unwrap())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.ask()?;
        self.with(from, |_| ())?;
        self.name(Named::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.ask()?;
        self.with(name, |_| ())?;
        self.name(Named::Remove(name.to_owned()));
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

    fn modified(&self, _: &str) -> io::Result<u64> {
        Ok(0)
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        self.ask()?;
        let fails = self.sync_fails();
        self.with(name, |inode| match fails {
            Some(drops) => {
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
        self.ask()?;
        if self.sync_fails().is_some() {
            return Err(io::Error::other("input/output error"));
        }
        let mut state = self.lock();
        state.disk = state.memory.clone();
        state.pending.clear();
        Ok(())
    }
}
