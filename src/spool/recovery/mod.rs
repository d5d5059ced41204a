//! What a start finds in the directory, and what it makes of it.
//!
//! Recovery is a function of the directory and the ring's payload. It may be stopped after any
//! operation and begun again: it commits nothing to the ring itself, each thing it mends stays
//! mended, and what it counts as lost is counted from what is there until the caller has committed
//! [`Recovered::payload`].

mod blocks;
mod forecast;
mod held;
mod left;
mod look;
mod open_block;
mod salvage;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use self::forecast::forecast;
use self::salvage::set_aside;
use super::commit::{self, BadPayload, OpenBlock};
use super::files::names::{FORMAT, FORMAT_NEW, Name, Why, is_not_ours};
use super::files::{read_small, remove_if_there};
use super::moved::remove_taken;
use super::sidecar::Sidecar;
use super::store::Index;
use super::writer::Heal;
use super::{Counts, Files, Options, Payload, SealedBlocks, Spool, SpoolError, SyncPolicy};
use crate::block::{Digest, Drops};

/// Version of the directory that this code writes and the only one that it reads.
const FORMAT_VERSION: u64 = 1;

/// What stands before the version in the file `format`.
const FORMAT_PREFIX: &str = "s3log spool ";

/// Most names that [`Recovered::set_aside`] lists, and most foreign files moved in one start.
const NAMES_MAX: usize = 1000;

/// What [`Spool::open`] found.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// **Commit this to the ring before the first append.**
    pub payload: Payload,
    /// What waits for upload, what is in quarantine, what was lost.
    pub counts: Counts,
    /// Records in the open block.
    pub open_records: u64,
    /// Bytes of a chunk that was written and not committed; its records come again from the ring.
    pub uncommitted_bytes: u64,
    /// Blocks whose sidecars were made anew from their data.
    pub rebuilt: Vec<u64>,
    /// Files that were moved or copied to `foreign/`, under their names there; at most 1,000.
    pub set_aside: Vec<String>,
    /// Files that should have been moved there, or removed, and could not be; they stay where they are.
    pub left_in_place: u64,
    /// Damaged blocks that a full disk has no room to mend. They stay as they are, and are sent after the
    /// next start that has room.
    pub not_mended: Vec<u64>,
    /// Blocks with a file that cannot be read, or not be dealt with otherwise, each with why. They stay as
    /// they are, and are sent after the next start that can.
    pub unreadable: Vec<(u64, String)>,
    /// Why each block that was sealed here and keeps its members does so although one was asked for.
    pub(crate) kept_members: Vec<String>,
    /// The ring's payload was damaged, or older than the spool: records that the ring still holds
    /// may be sent a second time.
    pub stale_payload: bool,
}

impl Spool {
    /// Refuses a directory of another release, before anything of the stream is changed.
    ///
    /// # Errors
    /// [`SpoolError::Version`], or the file system's.
    pub(crate) fn check_format(files: &dyn Files) -> Result<(), SpoolError> {
        check_format(files)
    }

    /// Opens a stream's spool and mends what the last process left.
    ///
    /// `last_commit` is what the ring's commit record holds; `None` or empty when the ring is new. A
    /// new ring beside an old spool loses nothing that is in the spool: the open block's whole
    /// members are kept.
    ///
    /// # Errors
    /// A directory of another release, or a file system that does not let itself be read. Damaged
    /// and foreign files are no error.
    pub fn open(
        files: Arc<dyn Files>,
        options: Options,
        last_commit: Option<&[u8]>,
    ) -> Result<(Self, Recovered), SpoolError> {
        Self::open_into(&Arc::new(SealedBlocks::empty(files)), options, last_commit)
    }

    /// Refuses a ring's payload of another release.
    ///
    /// # Errors
    /// [`SpoolError::Version`].
    pub(crate) fn check_commit(last_commit: Option<&[u8]>) -> Result<(), SpoolError> {
        decode(last_commit).map(drop)
    }

    /// [`Spool::open`] for a store that others have already: until this succeeds, they find nothing
    /// in it.
    ///
    /// # Errors
    /// Those of [`Spool::open`]; it can then be tried again.
    pub(crate) fn open_into(
        store: &Arc<SealedBlocks>,
        options: Options,
        last_commit: Option<&[u8]>,
    ) -> Result<(Self, Recovered), SpoolError> {
        let files = Arc::clone(&store.files);
        check_format(&*files)?;
        let (last, damaged) = decode(last_commit)?;
        let mut recovery = Recovery {
            files: &*files,
            options: &options,
            last,
            index: Index::default(),
            newest: None,
            lost: Vec::new(),
            lost_sequence: 0,
            rebuilt: Vec::new(),
            set_aside: Vec::new(),
            left_in_place: 0,
            held: Vec::new(),
            held_free: 0,
            unknown: Vec::new(),
            last_waits: false,
            released: Vec::new(),
            taken: Vec::new(),
            untold_lost: 0,
            kept_members: Vec::new(),
            not_mended: Vec::new(),
            unreadable: Vec::new(),
            secrets_wait: false,
        };
        recovery.run()?;
        let (mut state, hasher, mut uncommitted_bytes) = recovery.open_block()?;
        let (marked, ring_is_marked) = (recovery.is_marked()?, recovery.ring_is_marked()?);
        state.secret |= ring_is_marked;
        let Recovery { index, lost, rebuilt, set_aside, left_in_place, newest, held, .. } =
            recovery;
        let mut kept_members = recovery.kept_members;
        let (not_mended, unreadable) = (recovery.not_mended, recovery.unreadable);
        let (secrets_wait, held_free) = (recovery.secrets_wait, recovery.held_free);
        let mut taken = recovery.taken;
        remove_taken(&*files, &mut taken, options.sync);
        let stale = newest.is_some_and(|n| last.is_some_and(|last| last.number < n.number));
        if state.length == 0 {
            // The first chunk of a block, written and not committed.
            let name = Name::Data(state.number).to_string();
            if let Some(length) = files.length(&name).map_err(SpoolError::io("read", &name))? {
                uncommitted_bytes = length;
                remove_if_there(&*files, &name).map_err(SpoolError::io("remove", name))?;
            }
        }
        let other_codec = state.length > 0 && state.codec != options.codec;
        let heal = undo_for_good(&*files, &options, &state);
        store.fill(index);
        if options.shared {
            store.share();
        }
        // Those that are left are looked at again by the packer, which says why.
        let _ = store.take_notes();
        // Of blocks that nobody has counted yet.
        let _ = store.noted();
        let synced = Some((state, hasher.clone()));
        let mut spool = Self {
            store: Arc::clone(store),
            options,
            state,
            hasher,
            heal,
            gone: lost,
            handed_out: 0,
            held,
            held_free,
            taken,
            marked,
            ring_is_marked,
            secrets_wait,
            synced,
            deferred: false,
            high_water: 0,
        };
        spool.mark();
        // What could have needed the mark is set aside for good now.
        if !heal.directory {
            spool.unmark();
        }
        if heal.unsure {
            // Else the payload may tell of bytes that the kernel has dropped.
            let _ = spool.heal();
        }
        if other_codec && !spool.lacks_key() {
            // A disk that is full must not keep the stream from starting: `append` tries again.
            if let Ok(Some((sealed, _))) = spool.seal(&Drops::default())
                && let Some(error) = sealed.kept_members
            {
                kept_members.push(error.to_string());
            }
        }
        if spool.state.length == 0 {
            spool.state.codec = spool.options.codec;
            spool.state.boot = spool.options.boot;
        }
        spool.handed_out = spool.state.sequence;
        let recovered = Recovered {
            payload: spool.payload(),
            counts: spool.store.counts(),
            open_records: spool.state.records,
            uncommitted_bytes,
            rebuilt,
            set_aside,
            left_in_place,
            not_mended,
            unreadable,
            kept_members,
            stale_payload: damaged || stale,
        };
        Ok((spool, recovered))
    }
}

/// Brings to the disk what recovery has cut off and removed, before other chunks take that place: a
/// power cut that brought it back would find a commit that counts those chunks. What could not be
/// brought there is left to the first call.
fn undo_for_good(files: &dyn Files, options: &Options, state: &OpenBlock) -> Heal {
    let mut heal = Heal::default();
    if options.sync != SyncPolicy::None {
        let open = state.length > 0;
        heal.unsure = open && files.sync_file(&Name::Data(state.number).to_string()).is_err();
        heal.directory = files.sync_directory().is_err();
    }
    heal
}

/// What the names in the directory say of one block.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct SpoolFiles {
    pub(super) data: bool,
    pub(super) sealed: bool,
    pub(super) sidecar: bool,
    pub(super) done: bool,
    pub(super) gone: Option<(u64, Why)>,
}

/// What is there of a block that waits.
#[derive(Debug, Default, Clone, Copy)]
struct HeldFiles {
    members: bool,
    description: bool,
}

/// What a directory has by name.
#[derive(Debug, Default)]
struct Scanned {
    blocks: BTreeMap<u64, SpoolFiles>,
    /// Blocks that wait for a key: whether their members and whether their description are there.
    held: BTreeMap<u64, HeldFiles>,
    foreign: Vec<String>,
    /// Files that were never renamed.
    leftovers: Vec<String>,
}

/// The newest block that was sealed, whatever became of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newest {
    pub(super) number: u64,
    pub(super) sequence: u64,
    /// `None` when its sidecar cannot be read any more.
    pub(super) sha256: Option<Digest>,
}

/// A recovery under way.
pub(super) struct Recovery<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) options: &'a Options,
    pub(super) last: Option<OpenBlock>,
    pub(super) index: Index,
    pub(super) newest: Option<Newest>,
    /// Dropped and lost blocks whose last file is still there.
    pub(super) lost: Vec<Name>,
    /// The highest sequence of those.
    pub(super) lost_sequence: u64,
    pub(super) rebuilt: Vec<u64>,
    pub(super) set_aside: Vec<String>,
    pub(super) left_in_place: u64,
    /// Blocks that wait for a key.
    pub(super) held: Vec<(u64, OpenBlock)>,
    /// Above the number of every one that was found, damaged ones included, and of every one that a sealed
    /// block was made of.
    pub(super) held_free: u64,
    /// Blocks that are to be set aside for a key, of which nothing tells but their members.
    pub(super) unknown: Vec<(u64, OpenBlock)>,
    /// The block that `last` tells of was set aside to be one of them.
    pub(super) last_waits: bool,
    /// Those that a sealed block was made of.
    pub(super) released: Vec<u64>,
    /// Blocks of other folders that a sealed block was made of.
    pub(super) taken: Vec<String>,
    /// Lost records of which no file tells: of blocks that waited for a key and are gone, and one for each
    /// block that was set aside and of which nothing is known.
    pub(super) untold_lost: u64,
    /// See [`Recovered`].
    pub(super) kept_members: Vec<String>,
    /// See [`Recovered`].
    pub(super) not_mended: Vec<u64>,
    /// See [`Recovered`].
    pub(super) unreadable: Vec<(u64, String)>,
    /// Some of those may have to be encrypted.
    pub(super) secrets_wait: bool,
}

impl Recovery<'_> {
    /// Everything but the open block.
    fn run(&mut self) -> Result<(), SpoolError> {
        self.take_requests()?;
        let Scanned { blocks: mut found, held, foreign, leftovers } = scan(self.files)?;
        for name in leftovers {
            self.remove_or_leave(&name)?;
        }
        for name in foreign {
            self.put_aside(&name);
        }
        self.quarantined(&mut found)?;
        for (number, found) in found {
            match self.block(number, found) {
                Err(error) if error.is_of_one_block() => {
                    self.leave_found(number, found, error)?;
                }
                done => done?,
            }
        }
        // After the blocks: only their sidecars tell which of these are sealed, and which numbers were theirs.
        let held = self.forget_released(held)?;
        self.take_up_held(held)?;
        self.hold_unknown()
    }

    /// Above every sequence that was ever given.
    pub(super) fn next_sequence(&self) -> u64 {
        let of_state = self.last.map_or(0, |last| last.sequence);
        let of_blocks = self.newest.map_or(0, |newest| newest.sequence);
        self.lost_sequence.max(of_state).max(of_blocks) + 1
    }

    /// Counts a dropped or lost block, whose last file is there.
    pub(super) fn note_lost(&mut self, number: u64, sequence: u64, why: Why) {
        self.lost_sequence = self.lost_sequence.max(sequence);
        self.lost.push(Name::Gone { sequence, number, why });
    }

    pub(super) fn see(&mut self, number: u64, sidecar: Option<&Sidecar>) {
        if let Some(held) = sidecar.and_then(|sidecar| sidecar.held) {
            self.released.push(held);
            // While the sidecar is there, another block of that number would be taken for it.
            self.held_free = self.held_free.max(held.saturating_add(1));
        }
        self.taken.extend(sidecar.and_then(|sidecar| sidecar.moved.clone()));
        if self.newest.is_none_or(|newest| newest.number < number) {
            let before = self.newest.map_or(0, |newest| newest.sequence);
            let sequence = sidecar.map_or(before, |sidecar| sidecar.sequence);
            let sha256 = sidecar.map(|sidecar| sidecar.meta.sha256);
            self.newest = Some(Newest { number, sequence, sha256 });
        }
    }

    /// Never fatal: what cannot be moved stays and is counted. Whether it was moved.
    pub(super) fn put_aside(&mut self, name: &str) -> bool {
        match set_aside(self.files, name) {
            Ok(copy) => {
                self.note_aside(copy);
                true
            }
            Err(_) => {
                self.left_in_place += 1;
                false
            }
        }
    }

    /// Sets a file aside that had a block, or a part of one, of which nothing is known any more. As a damaged
    /// place of the ring does, it counts as one record. Whether there was something in it.
    pub(super) fn lose(&mut self, name: &str) -> bool {
        let bytes = self.files.length(name).ok().flatten().unwrap_or(0);
        let lost = self.put_aside(name) && bytes > 0;
        if lost {
            self.untold_lost = self.untold_lost.saturating_add(1);
            self.index.counts.lost.add(1, bytes);
        }
        lost
    }

    pub(super) fn note_aside(&mut self, name: String) {
        if self.set_aside.len() < NAMES_MAX {
            self.set_aside.push(name);
        }
    }
}

/// Sorts the names of a directory.
fn scan(files: &dyn Files) -> Result<Scanned, SpoolError> {
    let mut scanned = Scanned::default();
    let Scanned { blocks, held, foreign, leftovers } = &mut scanned;
    let mut each = |text: &str| match Name::parse(text) {
        Some(Name::Data(number)) => blocks.entry(number).or_default().data = true,
        Some(Name::Sealed(number)) => blocks.entry(number).or_default().sealed = true,
        Some(Name::Sidecar(number)) => blocks.entry(number).or_default().sidecar = true,
        Some(Name::Done(number)) => blocks.entry(number).or_default().done = true,
        Some(Name::Gone { sequence, number, why }) => {
            blocks.entry(number).or_default().gone = Some((sequence, why));
        }
        Some(Name::Held(number)) => held.entry(number).or_default().members = true,
        Some(Name::Hold(number)) => held.entry(number).or_default().description = true,
        Some(Name::New(_)) => leftovers.push(text.to_owned()),
        _ if text == FORMAT_NEW => leftovers.push(text.to_owned()),
        Some(Name::Reason(_) | Name::Requeue(_)) | None => {
            if !is_not_ours(text) && foreign.len() < NAMES_MAX {
                foreign.push(text.to_owned());
            }
        }
    };
    files.list("", &mut each).map_err(SpoolError::io("list", "its directory"))?;
    Ok(scanned)
}

/// The state that a commit holds, and whether it is damaged.
fn decode(last_commit: Option<&[u8]>) -> Result<(Option<OpenBlock>, bool), SpoolError> {
    match last_commit {
        None | Some([]) => Ok((None, false)),
        Some(bytes) => match OpenBlock::decode(bytes) {
            Ok(state) => Ok((Some(state), false)),
            Err(BadPayload::Damaged) => Ok((None, true)),
            Err(BadPayload::Version(found)) => Err(SpoolError::Version {
                name: "commit record".to_owned(),
                found: u64::from(found),
                reads: commit::VERSION.into(),
            }),
        },
    }
}

/// Refuses a directory of another release; writes the version into one that has none.
fn check_format(files: &dyn Files) -> Result<(), SpoolError> {
    let there = files.length(FORMAT).map_err(SpoolError::io("read", FORMAT))?.is_some();
    if there {
        let bytes = read_small(files, FORMAT, 64).map_err(SpoolError::io("read", FORMAT))?;
        let version = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.strip_prefix(FORMAT_PREFIX)?.strip_suffix('\n')?.parse().ok());
        match version {
            Some(FORMAT_VERSION) => return Ok(()),
            Some(found) => {
                let name = FORMAT.to_owned();
                return Err(SpoolError::Version { name, found, reads: FORMAT_VERSION });
            }
            // Torn: only this release's neighbours could have written it.
            None => {}
        }
    }
    let text = format!("{FORMAT_PREFIX}{FORMAT_VERSION}\n");
    files
        .create(FORMAT_NEW, text.as_bytes())
        .and_then(|()| files.rename(FORMAT_NEW, FORMAT))
        .map_err(SpoolError::io("write", FORMAT))
}
