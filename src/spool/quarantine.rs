//! Blocks that the gateway refuses for good: set aside, counted, and sent again when a person asks.
//!
//! They count in `spool_max`, and the oldest block goes first wherever it is.
//!
//! A request to send block N again is an empty file `quarantine/N.requeue`, see [`request`]. The
//! process that has the spool looks for it now and then ([`SealedBlocks::take_requests`]), a start
//! always. So the command that asks needs no lock, and a request outlives both processes.
//!
//! Non-goal: judging why a block was refused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::files::names::{Name, QUARANTINE, Why};
use super::files::remove_if_there;
use super::note::{Note, Verdict};
use super::sidecar::{self, Sidecar};
use super::store::{Entry, Index, SealedBlocks, Tally, load};
use super::{Files, Hold, SpoolError};
use crate::block::{Digest, Drops, Meta};
use crate::printable::printable;

/// What became of the oldest block.
pub(super) enum Oldest {
    /// There is none that may be dropped.
    None,
    /// It is not there any more.
    Dropped(DroppedBlock),
    /// It is done with, and its note was not taken yet.
    Noted,
}

/// A block that `spool_max` dropped.
pub(super) struct DroppedBlock {
    pub(super) number: u64,
    /// Its records, and what it told of drops before it.
    pub(super) drops: Drops,
    /// Its data is deleted; else its last file has to stay until a start has deleted it.
    pub(super) clean: bool,
}

impl SealedBlocks {
    /// Sets a block aside that the gateway will never take: moves its files to `quarantine/` and
    /// writes `reason`, a gateway's words among it, beside them in printable characters. Nothing is
    /// deleted.
    ///
    /// # Errors
    /// When a file operation fails: call it again, the block is still in the store.
    pub fn quarantine(&self, number: u64, reason: &str) -> Result<(), SpoolError> {
        let mut index = self.lock();
        let entry = index.blocks.get(&number).copied().ok_or(SpoolError::NoBlock(number))?;
        if index.remote.is_some() {
            return self.note(&mut index, number, Verdict::Refused, reason);
        }
        move_to_quarantine(&*self.files, number, entry.data(number), reason)?;
        index.take(number);
        index.quarantine(number, entry);
        Ok(())
    }

    /// Puts back into the store what was asked for, each block with its number and key. What was
    /// put back, and why the others could not be, by number, whose requests stay: call it again. A request whose block
    /// is damaged or not there is taken away and changes nothing.
    ///
    /// # Errors
    /// The requests cannot be listed.
    pub fn take_requests(&self) -> Result<(Tally, BTreeMap<u64, SpoolError>), SpoolError> {
        let requests = match requested(&*self.files) {
            // Taken away from outside: nothing is asked for.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(SpoolError::io("list", QUARANTINE))?,
        };
        let (mut taken, mut failed) = (Tally::default(), BTreeMap::new());
        for number in requests {
            let mut index = self.lock();
            if index.blocks.contains_key(&number) {
                // Back already, and the request could not be removed then.
                let _ = remove_if_there(&*self.files, &Name::Requeue(number).quarantined());
                continue;
            }
            match put_back(&*self.files, number, index.shared) {
                Ok(Some(entry)) => {
                    index.leave_quarantine(number);
                    index.insert(number, entry);
                    taken.add(entry.records, entry.bytes);
                }
                Ok(None) => {}
                Err(error) => drop(failed.insert(number, error)),
            }
        }
        Ok((taken, failed))
    }

    /// Drops the oldest block that is not claimed, waiting or in quarantine, as the `sequence`th of
    /// this spool's life. Its sidecar stays under another name until the count of its records has
    /// been committed. A block that another process uploads is claimed by it. With `past_notes` blocks
    /// with a note, which cannot be taken, are passed over.
    pub(super) fn drop_oldest(
        &self,
        sequence: u64,
        past_notes: bool,
    ) -> Result<Oldest, SpoolError> {
        let mut index = self.lock();
        let Some((number, entry, _hold)) = self.oldest(&index, past_notes)? else {
            return Ok(Oldest::None);
        };
        let refused = index.quarantine.contains_key(&number);
        let sidecar = Name::Sidecar(number);
        let name = if refused { sidecar.quarantined() } else { sidecar.to_string() };
        // What the block told of drops before it is told by nobody once it is gone.
        let mut drops = match load(&*self.files, &name) {
            Ok(sidecar)
                if !(refused || past_notes) && self.has_note(number, sidecar.meta.sha256)? =>
            {
                return Ok(Oldest::Noted);
            }
            Ok(sidecar) => sidecar.meta.dropped,
            // Whether there is a note cannot be told now.
            Err(error) if error.is_lack() => return Err(error),
            Err(_) => Drops::default(),
        };
        drops.add(&Drops { spool: entry.records, ..Drops::default() });
        let gone = Name::Gone { sequence, number, why: Why::Dropped }.to_string();
        match self.files.rename(&name, &gone) {
            // Taken away from outside; an error would stop every append from now on.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(SpoolError::io("rename", name))?,
        }
        index.counts.dropped.add(entry.records, entry.bytes);
        let clean = if refused {
            index.leave_quarantine(number);
            // Outside may be members that a seal has left, and data that could not be moved.
            let data_gone = self.tidy_data(&mut index, number, entry);
            remove_refused(&*self.files, number).is_ok() && data_gone
        } else {
            index.take(number);
            self.tidy_data(&mut index, number, entry)
        };
        Ok(Oldest::Dropped(DroppedBlock { number, drops, clean }))
    }

    /// The oldest block that may be dropped, kept from other processes while it is.
    ///
    /// # Errors
    /// Descriptors or memory are lacking, so that it cannot be told of a block whether it may be.
    fn oldest(
        &self,
        index: &Index,
        past_notes: bool,
    ) -> Result<Option<(u64, Entry, Option<Hold>)>, SpoolError> {
        let refused = index.quarantine.first_key_value().map(|(number, entry)| (*number, *entry));
        for (number, entry) in index.blocks.iter().filter(|(_, entry)| !entry.is_claimed()) {
            if refused.is_some_and(|(first, _)| first < *number) {
                break;
            }
            if past_notes {
                match load(&*self.files, &Name::Sidecar(*number).to_string()) {
                    Ok(sidecar) if self.has_note(*number, sidecar.meta.sha256)? => continue,
                    Err(error) if error.is_lack() => return Err(error),
                    _ => {}
                }
            }
            let data = entry.data(*number);
            match self.files.try_hold(&data.to_string()) {
                Ok(None) => {}
                Ok(hold) => return Ok(Some((*number, *entry, hold))),
                // Nobody can upload what is not there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Some((*number, *entry, None)));
                }
                Err(source) => {
                    let error = SpoolError::Io { doing: "read", name: data.to_string(), source };
                    if error.is_lack() {
                        return Err(error);
                    }
                    // Perhaps it is just being sent.
                }
            }
        }
        Ok(refused.map(|(number, entry)| (number, entry, None)))
    }

    /// Whether another process has left a note of the block, or may have.
    ///
    /// # Errors
    /// Descriptors or memory are lacking to look.
    fn has_note(&self, number: u64, sha256: Digest) -> Result<bool, SpoolError> {
        for verdict in [Verdict::Sent, Verdict::Refused] {
            let path = Note::new(number, sha256, verdict).path();
            match self.files.length(&path).map_err(SpoolError::io("read", path)) {
                Ok(None) => {}
                Err(error) if error.is_lack() => return Err(error),
                Ok(Some(_)) | Err(_) => return Ok(true),
            }
        }
        Ok(false)
    }
}

/// The sidecar is moved first: from then on the block is in quarantine. Data that has not followed,
/// for a stop or an error, does so at the next start.
pub(super) fn move_to_quarantine(
    files: &dyn Files,
    number: u64,
    data: Name,
    reason: &str,
) -> Result<(), SpoolError> {
    let note = Name::Reason(number).quarantined();
    files.create(&note, printable(reason).as_bytes()).map_err(SpoolError::io("write", note))?;
    let sidecar = Name::Sidecar(number);
    match files.rename(&sidecar.to_string(), &sidecar.quarantined()) {
        // An earlier start got this far, or somebody has taken it away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        moved => moved.map_err(SpoolError::io("rename", sidecar))?,
    }
    let _ = files.rename(&data.to_string(), &data.quarantined());
    Ok(())
}

/// Moves a block out of quarantine; `None` when it is not whole there. Its data goes first: while
/// the sidecar is in quarantine, the block is. Where the directory is `shared`, the block was perhaps
/// sealed before it was.
pub(super) fn put_back(
    files: &dyn Files,
    number: u64,
    shared: bool,
) -> Result<Option<Entry>, SpoolError> {
    let (sidecar, request) = (Name::Sidecar(number), Name::Requeue(number).quarantined());
    let entry = match load(files, &sidecar.quarantined()) {
        Ok(sidecar) => Some((Entry::of(&sidecar), sidecar.meta.bytes)),
        Err(SpoolError::Damaged { .. }) => None,
        Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some((entry, bytes)) = entry {
        let data = entry.data(number);
        let length = |name: &str| files.length(name).map_err(SpoolError::io("read", name));
        if length(&data.quarantined())? == Some(bytes) {
            files
                .rename(&data.quarantined(), &data.to_string())
                .map_err(SpoolError::io("rename", data.quarantined()))?;
        }
        // Now, or by an earlier try.
        if length(&data.to_string())? == Some(bytes) {
            if shared {
                // Before the block is to be seen. What cannot be shared its uploader cannot read, and
                // says so.
                let _ = files.share(&data.to_string());
                let _ = files.share(&sidecar.quarantined());
            }
            files
                .rename(&sidecar.quarantined(), &sidecar.to_string())
                .map_err(SpoolError::io("rename", sidecar.quarantined()))?;
            // It is back, whatever becomes of these: a later look or the next start removes them.
            for name in [Name::Reason(number).quarantined(), request] {
                let _ = remove_if_there(files, &name);
            }
            return Ok(Some(entry));
        }
    }
    remove_if_there(files, &request).map_err(SpoolError::io("remove", request))?;
    Ok(None)
}

/// Removes what a block has left in quarantine.
pub(super) fn remove_refused(files: &dyn Files, number: u64) -> Result<(), SpoolError> {
    let names =
        [Name::Data(number), Name::Sealed(number), Name::Reason(number), Name::Requeue(number)];
    for name in names.map(Name::quarantined) {
        remove_if_there(files, &name).map_err(SpoolError::io("remove", name))?;
    }
    Ok(())
}

/// A block in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What it says of itself.
    pub meta: Meta,
    /// Why it was refused, in words; empty when the file that says so is not there.
    pub reason: String,
    /// It will be sent again: see [`request`].
    pub requested: bool,
}

/// Which blocks are sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Every block in quarantine.
    All,
    /// Those whose reason has this word: the gateway's error code, or the status.
    Code(String),
    /// The block of this number.
    Number(u64),
}

impl Selection {
    fn has(&self, refused: &Refused) -> bool {
        match self {
            Self::All => true,
            Self::Code(code) => {
                let mut words = refused.reason.split(|c: char| !c.is_alphanumeric() && c != '.');
                words.any(|word| word.trim_matches('.') == code)
            }
            Self::Number(number) => refused.meta.number == *number,
        }
    }
}

/// The blocks in quarantine that are to be sent again.
pub(super) fn requested(files: &dyn Files) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    files.list(QUARANTINE, &mut |text| {
        if let Some(Name::Requeue(number)) = Name::parse(text) {
            numbers.push(number);
        }
    })?;
    Ok(numbers)
}

/// The blocks in quarantine of the spool in `root`, by number. Changes nothing and takes no lock.
///
/// # Errors
/// The directory cannot be read. A sidecar that cannot be read is passed over.
pub fn refused(root: &Path) -> io::Result<Vec<Refused>> {
    let folder = root.join(QUARANTINE);
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name();
        let Some(Name::Sidecar(number)) = Name::parse(&name.to_string_lossy()) else { continue };
        let read = |name: String| sidecar::read(&root.join(name));
        let Ok(bytes) = read(Name::Sidecar(number).quarantined()) else { continue };
        let Ok(Sidecar { meta, .. }) = Sidecar::decode(&bytes) else { continue };
        let reason = read(Name::Reason(number).quarantined()).unwrap_or_default();
        let reason = String::from_utf8_lossy(&reason).trim_end().to_owned();
        let requested = root.join(Name::Requeue(number).quarantined()).exists();
        found.push(Refused { meta, reason, requested });
    }
    found.sort_by_key(|refused| refused.meta.number);
    Ok(found)
}

/// Asks that blocks in quarantine of the spool in `root` be sent again, whether or not a process
/// has the spool: it does so within seconds, or the next start does. The blocks that were asked for.
///
/// # Errors
/// The directory cannot be read or written.
pub fn request(root: &Path, selection: &Selection) -> io::Result<Vec<Refused>> {
    let mut chosen = refused(root)?;
    chosen.retain(|refused| selection.has(refused));
    for refused in &mut chosen {
        let name = Name::Requeue(refused.meta.number).quarantined();
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        options.open(root.join(name))?;
        refused.requested = true;
    }
    Ok(chosen)
}
