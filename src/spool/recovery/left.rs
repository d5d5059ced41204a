//! Blocks that a start leaves as they are, for a later one: the disk has no room to mend them, or a file of
//! theirs cannot be read. One block's trouble is never another's.

use super::salvage::{good_members, members_of, set_aside};
use super::{Recovery, SpoolFiles};
use crate::block::{Drops, Hasher};
use crate::spool::commit::OpenBlock;
use crate::spool::files::names::{Name, SECRET};
use crate::spool::files::remove_if_there;
use crate::spool::{SpoolError, SyncPolicy};

impl Recovery<'_> {
    /// Whether a damaged block may wait for another start to mend it. Nothing but its members tells of it
    /// then. Where it is to be encrypted, of which the ring says that it is `secret`, the mark has to tell so:
    /// a later start may have no keys.
    pub(super) fn may_wait(&mut self, secret: bool) -> Result<bool, SpoolError> {
        if self.is_marked()? {
            self.secrets_wait = true;
        } else if secret || self.options.sealing.is_some() {
            if self.files.create(SECRET, &[]).is_err() {
                return Ok(false);
            }
            if self.options.sync != SyncPolicy::None {
                self.files.sync_directory().map_err(SpoolError::io("sync", "its directory"))?;
            }
            self.secrets_wait = true;
        }
        Ok(true)
    }

    /// Leaves a block after `why`, with all that was `found` of it. Its number is given to no other block.
    pub(super) fn leave_found(
        &mut self,
        number: u64,
        found: SpoolFiles,
        why: SpoolError,
    ) -> Result<(), SpoolError> {
        // Asked again: one that was damaged is set aside by now.
        let described = found.sidecar && self.is_there(Name::Sidecar(number))?;
        if !described && !self.may_wait(false)? {
            return Err(why);
        }
        self.see(number, None);
        let name = if found.sealed { Name::Sealed(number) } else { Name::Data(number) };
        self.leave_unread(number, name, None, &why);
        Ok(())
    }

    /// Leaves a block that has no sidecar.
    pub(super) fn leave_rebuilt(
        &mut self,
        number: u64,
        why: &SpoolError,
    ) -> Result<(), SpoolError> {
        for name in [Name::Sidecar(number), Name::New(number), Name::Sealed(number)] {
            let name = name.to_string();
            remove_if_there(self.files, &name).map_err(SpoolError::io("remove", name))?;
        }
        self.see(number, None);
        self.leave_members(number, Name::Data(number), None, why)
    }

    /// Leaves the block whose members are in the file `name`. `first` is the time of its first record, ns
    /// since 1970, or that of the file if nothing tells of it.
    pub(super) fn leave_members(
        &mut self,
        number: u64,
        name: Name,
        first: Option<u64>,
        why: &SpoolError,
    ) -> Result<(), SpoolError> {
        match members_of(self.files, self.options.codec, name) {
            Ok(Some((_, good))) => {
                let first = first.or_else(|| self.files.modified(&name.to_string()).ok());
                self.leave(number, (good.records, good.length), first, why);
            }
            Ok(None) => {}
            Err(error) if error.is_of_one_file() => self.leave_unread(number, name, first, &error),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Leaves the block of which nothing is known but the length of the file `name`, if that is.
    fn leave_unread(&mut self, number: u64, name: Name, first: Option<u64>, why: &SpoolError) {
        let name = name.to_string();
        let bytes = self.files.length(&name).ok().flatten().unwrap_or(0);
        let first = first.or_else(|| self.files.modified(&name).ok());
        self.leave(number, (0, bytes), first, why);
    }

    /// Counts a block that waits for another start: what is whole of it, records and bytes, the first of which
    /// is of `first`, ns since 1970.
    pub(super) fn leave(
        &mut self,
        number: u64,
        (records, bytes): (u64, u64),
        first: Option<u64>,
        why: &SpoolError,
    ) {
        let counts = &mut self.index.counts;
        counts.damaged.add(records, bytes);
        counts.damaged_since = counts.damaged_since.into_iter().chain(first).min();
        if why.is_no_room() {
            self.not_mended.push(number);
        } else {
            self.unreadable.push((number, why.to_string()));
        }
    }

    /// Leaves the open block, with its number, because of `why`: the sealed ones have to be sent, or there will
    /// never be room. A later start makes it a sealed one. What is known not to be there any more of `state` is
    /// counted now.
    pub(super) fn leave_open(
        &mut self,
        state: OpenBlock,
        why: SpoolError,
    ) -> Result<(OpenBlock, Hasher), SpoolError> {
        if !why.is_no_room() {
            return self.leave_open_unread(state, why);
        }
        let name = Name::Data(state.number).to_string();
        let good = match good_members(self.files, &name, state.codec, state.length) {
            Err(error) if error.is_of_one_file() => return self.leave_open_unread(state, error),
            good => good?,
        };
        // One that is whole would be sent with what comes behind it, which comes from the ring as well.
        if good.length >= state.length || !self.may_wait(state.secret)? {
            return Err(why);
        }
        let lost = state.records.saturating_sub(good.records);
        self.index.counts.lost.add(lost, state.length.saturating_sub(good.length));
        self.leave(state.number, (good.records, good.length), Some(state.first), &why);
        Ok(self.next_to(state, state.number + 1, lost))
    }

    /// Leaves an open block that cannot be read. What is behind its committed length comes from the ring as
    /// well; if it cannot be cut off unread, the block is set aside and counted as lost.
    fn leave_open_unread(
        &mut self,
        state: OpenBlock,
        why: SpoolError,
    ) -> Result<(OpenBlock, Hasher), SpoolError> {
        let name = Name::Data(state.number).to_string();
        let found = self.files.length(&name).map_err(SpoolError::io("read", &name))?;
        let is_cut = found.is_none_or(|length| length <= state.length)
            || self.files.truncate(&name, state.length).is_ok()
                && (self.options.sync == SyncPolicy::None || self.files.sync_file(&name).is_ok());
        if is_cut && self.may_wait(state.secret)? {
            self.leave(state.number, (state.records, state.length), Some(state.first), &why);
            return Ok(self.next_to(state, state.number + 1, 0));
        }
        let copy = set_aside(self.files, &name)?;
        self.note_aside(copy);
        self.index.counts.lost.add(state.records, state.length);
        Ok(self.next_to(state, state.number, state.records))
    }

    /// What goes on as block `number` after the open one could not, with the records that were `lost` of that.
    fn next_to(&self, state: OpenBlock, number: u64, lost: u64) -> (OpenBlock, Hasher) {
        let previous = state.previous.filter(|_| number == state.number);
        let mut next = OpenBlock { number, previous, ..state }.begun_anew(self.options);
        next.drops.add(&Drops { lost, ..Drops::default() });
        (next, Hasher::default())
    }

    /// Removes a file that is of no use; one that cannot be removed is counted.
    pub(super) fn remove_or_leave(&mut self, name: &str) -> Result<(), SpoolError> {
        match remove_if_there(self.files, name).map_err(SpoolError::io("remove", name)) {
            Err(error) if error.is_of_one_block() => self.left_in_place += 1,
            done => done?,
        }
        Ok(())
    }
}
