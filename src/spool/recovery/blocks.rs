//! Recovery of sealed blocks: each is whole, or is set aside, rebuilt, counted, or left for another start.

use std::collections::BTreeMap;

use super::look::{Undescribed, came_too_early, undescribed};
use super::{Recovery, SpoolFiles};
use crate::block::{Drops, Meta};
use crate::spool::commit::OpenBlock;
use crate::spool::files::names::{Name, QUARANTINE, Why};
use crate::spool::files::remove_if_there;
use crate::spool::moved::is_there;
use crate::spool::quarantine::{move_to_quarantine, put_back, remove_refused, requested};
use crate::spool::seal::{Origin, Written, write_sealed};
use crate::spool::sidecar::Sidecar;
use crate::spool::store::{Entry, load};
use crate::spool::{SpoolError, SyncPolicy};

/// What the quarantine has of one block.
#[derive(Debug, Default, Clone, Copy)]
struct RefusedFiles {
    sidecar: bool,
    data: bool,
    sealed: bool,
}

impl Recovery<'_> {
    /// Puts back what a person asked to be sent again, before anything is looked at. What cannot be put back
    /// keeps its request, which the packer tries again and tells.
    pub(super) fn take_requests(&self) -> Result<(), SpoolError> {
        let numbers = requested(self.files).map_err(SpoolError::io("list", QUARANTINE))?;
        let shared = self.options.shared;
        for number in numbers {
            let _ = put_back(self.files, number, shared);
        }
        Ok(())
    }

    /// Counts the quarantine and finishes moves into it and out of it that were cut short.
    pub(super) fn quarantined(
        &mut self,
        found: &mut BTreeMap<u64, SpoolFiles>,
    ) -> Result<(), SpoolError> {
        let mut refused = BTreeMap::<u64, RefusedFiles>::new();
        let mut each = |text: &str| match Name::parse(text) {
            Some(Name::Sidecar(number)) => refused.entry(number).or_default().sidecar = true,
            Some(Name::Data(number)) => refused.entry(number).or_default().data = true,
            Some(Name::Sealed(number)) => refused.entry(number).or_default().sealed = true,
            Some(Name::Reason(number)) => drop(refused.entry(number).or_default()),
            _ => {}
        };
        self.files.list(QUARANTINE, &mut each).map_err(SpoolError::io("list", QUARANTINE))?;
        for (number, files) in refused {
            if files.sidecar {
                self.refused(number, found.get_mut(&number))?;
            } else {
                self.left_quarantine(number, files, found.get_mut(&number))?;
            }
        }
        Ok(())
    }

    /// A block in quarantine; `found` is what it has left outside.
    fn refused(&mut self, number: u64, found: Option<&mut SpoolFiles>) -> Result<(), SpoolError> {
        let sidecar = load(self.files, &Name::Sidecar(number).quarantined()).ok();
        match &sidecar {
            Some(sidecar) => self.index.quarantine(number, Entry::of(sidecar)),
            None => self.index.counts.quarantined.add(0, 0),
        }
        self.see(number, sidecar.as_ref());
        let Some(found) = found else { return Ok(()) };
        if found.sidecar || found.done || found.gone.is_some() {
            return Ok(());
        }
        let transformed = sidecar.map(|sidecar| sidecar.transformed);
        let names = [
            (&mut found.data, Name::Data(number), transformed == Some(true)),
            (&mut found.sealed, Name::Sealed(number), transformed == Some(false)),
        ];
        for (there, name, superseded) in names {
            if !*there {
                continue;
            }
            *there = false;
            let (from, to) = (name.to_string(), name.quarantined());
            if superseded {
                // The members of an encrypted block, or an encryption not finished.
                self.remove_or_leave(&from)?;
                continue;
            }
            match self.files.rename(&from, &to).map_err(SpoolError::io("rename", from)) {
                Err(error) if error.is_of_one_block() => {
                    self.left_in_place += 1;
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// What a block has left in quarantine whose sidecar is not there: it was dropped, or is on its
    /// way out or in.
    fn left_quarantine(
        &mut self,
        number: u64,
        files: RefusedFiles,
        found: Option<&mut SpoolFiles>,
    ) -> Result<(), SpoolError> {
        match found {
            Some(found) if found.sidecar => {
                let names = [
                    (&mut found.data, Name::Data(number), files.data),
                    (&mut found.sealed, Name::Sealed(number), files.sealed),
                ];
                let mut moved = Ok(());
                for (there, name, aside) in names {
                    if aside && !*there && moved.is_ok() {
                        let (from, to) = (name.quarantined(), name.to_string());
                        moved =
                            self.files.rename(&from, &to).map_err(SpoolError::io("rename", from));
                        *there = moved.is_ok();
                    }
                }
                match moved {
                    Err(error) if error.is_of_one_block() => {
                        // Without its data it would be taken for lost.
                        let found = std::mem::take(found);
                        return self.leave_found(number, found, error);
                    }
                    done => done?,
                }
            }
            Some(found) if found.done || found.gone.is_some() => {}
            // Nothing tells what this is; a person may know.
            _ if files.data || files.sealed => return Ok(()),
            _ => {}
        }
        // What is in the way of that hurts nobody.
        self.left_in_place += u64::from(remove_refused(self.files, number).is_err());
        Ok(())
    }

    /// One block, in the order of numbers.
    pub(super) fn block(&mut self, number: u64, found: SpoolFiles) -> Result<(), SpoolError> {
        let SpoolFiles { data, sealed, sidecar, done, gone } = found;
        let (data_name, sealed_name) = (Name::Data(number), Name::Sealed(number));
        if done {
            let name = Name::Done(number);
            let anchor = load(self.files, &name.to_string()).ok();
            self.see(number, anchor.as_ref());
            if sidecar {
                self.put_aside(&Name::Sidecar(number).to_string());
            }
            self.remove(data, data_name)?;
            self.remove(sealed, sealed_name)?;
            if let Some(before) = self.index.anchor.replace(number) {
                self.remove(true, Name::Done(before))?;
            }
            return Ok(());
        }
        if let Some((sequence, why)) = gone {
            let name = Name::Gone { sequence, number, why };
            let last = load(self.files, &name.to_string()).ok();
            self.see(number, last.as_ref());
            self.remove(data, data_name)?;
            self.remove(sealed, sealed_name)?;
            self.note_lost(number, sequence, why);
            return Ok(());
        }
        if sidecar {
            match load(self.files, &Name::Sidecar(number).to_string()) {
                Ok(sidecar) if came_too_early(self.files, &sidecar, found)? => {
                    let moved = sidecar.moved.is_some_and(|name| is_there(self.files, &name));
                    if moved {
                        // It is taken once more, and what is here of it is no block of its own.
                        self.remove(data, data_name)?;
                        self.remove(sealed, sealed_name)?;
                    }
                    self.remove(true, Name::Sidecar(number))?;
                    if moved {
                        return Ok(());
                    }
                }
                Ok(sidecar) => return self.sealed(number, &sidecar, found),
                Err(SpoolError::Damaged { name }) => {
                    self.put_aside(&name);
                }
                Err(error) => return Err(error),
            }
        }
        // No sidecar that can be read.
        match undescribed(self.files, self.last, number, found)? {
            Undescribed::Foreign => {
                self.put_all_aside(found, number);
                Ok(())
            }
            Undescribed::Moved => self.remove(sealed, sealed_name),
            // Its members went when it was sealed and its description since, so that nothing else has what is
            // in it. What the ring tells of it is counted as lost with the open block.
            Undescribed::Open
                if sealed && !data && self.last.is_some_and(|last| last.length > 0) =>
            {
                self.put_aside(&sealed_name.to_string());
                Ok(())
            }
            Undescribed::Open if sealed => self.remove_or_leave(&sealed_name.to_string()),
            Undescribed::Open => Ok(()),
            Undescribed::Sealed => {
                let (from, to) = (sealed_name.to_string(), data_name.to_string());
                self.files.rename(&from, &to).map_err(SpoolError::io("rename", from))?;
                self.rebuild(number)
            }
            Undescribed::Data => {
                // A rebuilding that was cut short.
                self.remove(sealed, sealed_name)?;
                self.rebuild(number)
            }
        }
    }

    /// A block with a good sidecar.
    fn sealed(
        &mut self,
        number: u64,
        sidecar: &Sidecar,
        found: SpoolFiles,
    ) -> Result<(), SpoolError> {
        self.see(number, Some(sidecar));
        let (name, other, other_there) = if sidecar.transformed {
            (Name::Sealed(number), Name::Data(number), found.data)
        } else {
            (Name::Data(number), Name::Sealed(number), found.sealed)
        };
        let length = self.files.length(&name.to_string()).map_err(SpoolError::io("read", name))?;
        let Meta { bytes, .. } = sidecar.meta;
        match length {
            Some(length) if length == bytes => {
                self.remove(other_there, other)?;
                self.index.insert(number, Entry::of(sidecar));
            }
            Some(length) => {
                move_to_quarantine(self.files, number, name, &other_length(length, bytes))?;
                self.index.quarantine(number, Entry::of(sidecar));
            }
            None => {
                let sequence = self.next_sequence();
                let gone = Name::Gone { sequence, number, why: Why::Lost };
                let from = Name::Sidecar(number).to_string();
                self.files
                    .rename(&from, &gone.to_string())
                    .map_err(SpoolError::io("rename", from))?;
                self.note_lost(number, sequence, Why::Lost);
            }
        }
        Ok(())
    }

    /// Makes a sidecar for a block that has none, from its data. Where the disk has no room for that it
    /// waits for another start: the others have to be sent, or there will never be any. So does one whose
    /// data cannot be read.
    fn rebuild(&mut self, number: u64) -> Result<(), SpoolError> {
        match self.make_anew(number) {
            Err(error) if error.is_of_one_block() && self.may_wait(false)? => {
                self.leave_rebuilt(number, &error)
            }
            done => done,
        }
    }

    fn make_anew(&mut self, number: u64) -> Result<(), SpoolError> {
        let data = Name::Data(number);
        let Some(state) = self.look_into(data)? else {
            let name = data.to_string();
            if self.last.is_some_and(|last| last.number == number) {
                // Its records are counted with the open block.
                self.put_aside(&name);
            } else if self.lose(&name) {
                self.see(number, None);
            }
            return Ok(());
        };
        if self.options.sealing.is_none() && self.is_marked()? {
            self.unknown.push((number, state));
            return Ok(());
        }
        let state = OpenBlock {
            number,
            sequence: self.newest.map_or(0, |newest| newest.sequence),
            previous: self
                .newest
                .filter(|newest| newest.number + 1 == number)
                .and_then(|newest| newest.sha256),
            ..state
        };
        let drops = Drops::default();
        let Written { sidecar, kept_members } =
            write_sealed(self.files, self.options, state, data, Origin::Rebuilt, &drops)?;
        if let Some(error) = kept_members {
            self.kept_members.push(error.to_string());
        }
        // Before it can be sent: made anew once more, it would have another key.
        if self.options.sync != SyncPolicy::None {
            self.files.sync_directory().map_err(SpoolError::io("sync", "its directory"))?;
        }
        if sidecar.transformed {
            self.remove(true, data)?;
        }
        self.see(number, Some(&sidecar));
        self.index.insert(number, Entry::of(&sidecar));
        self.rebuilt.push(number);
        Ok(())
    }

    fn remove(&self, there: bool, name: Name) -> Result<(), SpoolError> {
        if there {
            let name = name.to_string();
            remove_if_there(self.files, &name).map_err(SpoolError::io("remove", name))?;
        }
        Ok(())
    }

    /// Sets aside what is there of a block without a description that is not made anew.
    fn put_all_aside(&mut self, found: SpoolFiles, number: u64) {
        if found.data {
            self.put_aside(&Name::Data(number).to_string());
        }
        // One of a higher number than the open block's does not end that, unless another one does.
        let newest = self.newest.map(|newest| newest.number);
        let is_older =
            self.last.is_none_or(|last| number < last.number || newest >= Some(last.number));
        if found.sealed && self.lose(&Name::Sealed(number).to_string()) && is_older {
            self.see(number, None);
        }
    }
}

/// Why a sealed block is set aside whose file has another length than it was sealed with.
pub(super) fn other_length(length: u64, bytes: u64) -> String {
    format!("the file has {length} bytes and was sealed with {bytes}")
}
