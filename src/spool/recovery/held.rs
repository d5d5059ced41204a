//! Recovery of blocks that wait for a key.

use std::collections::BTreeMap;

use super::salvage::{cut, members_of};
use super::{HeldFiles, Recovery};
use crate::spool::commit::{OpenBlock, Payload};
use crate::spool::files::names::{Name, SECRET};
use crate::spool::files::{hash, read_small, remove_if_there};
use crate::spool::held::{count, describe};
use crate::spool::{SpoolError, SyncPolicy};

impl Recovery<'_> {
    /// Takes up what waits, and finishes what was cut short.
    pub(super) fn take_up_held(
        &mut self,
        found: BTreeMap<u64, HeldFiles>,
    ) -> Result<(), SpoolError> {
        for (number, files) in found {
            let lost = self.index.counts.lost;
            match self.take_up_one(number, files) {
                // As in `rebuild`; the start that mends it counts what is lost of it.
                Err(error) if error.is_of_one_block() => {
                    self.index.counts.lost = lost;
                    self.leave_held(number, files, &error)?;
                }
                done => done?,
            }
        }
        count(&mut self.index.counts, &self.held);
        Ok(())
    }

    fn description(&self, number: u64) -> Result<Option<OpenBlock>, SpoolError> {
        let hold = Name::Hold(number).to_string();
        let bytes = read_small(self.files, &hold, 2 * Payload::LENGTH as u64)
            .map_err(SpoolError::io("read", &hold))?;
        Ok(OpenBlock::decode(&bytes).ok())
    }

    fn take_up_one(
        &mut self,
        number: u64,
        HeldFiles { members, description }: HeldFiles,
    ) -> Result<(), SpoolError> {
        let told = if description { self.description(number)? } else { None };
        if !members {
            let hold = Name::Hold(number).to_string();
            remove_if_there(self.files, &hold).map_err(SpoolError::io("remove", &hold))?;
            // Never set aside, or taken away from outside.
            if let Some(told) = told.filter(|told| self.last != Some(*told)) {
                self.untold_lost = self.untold_lost.saturating_add(told.records);
                self.index.counts.lost.add(told.records, told.length);
            }
            return Ok(());
        }
        self.held_free = self.held_free.max(number + 1);
        // Whatever is left of it.
        self.last_waits |= told.is_some() && told == self.last;
        let state = match told {
            Some(told) => self.check_held(number, told)?,
            None => self.look_into(Name::Held(number))?,
        };
        match state {
            Some(mut state) => {
                if told.is_none() {
                    // A power cut may have kept its new name and not its description's.
                    if let Some(last) = self.last.filter(|last| last.has_content_of(&state))
                        && !self.is_there(Name::Data(last.number))?
                    {
                        (state, self.last_waits) = (last, true);
                    }
                    self.describe_unknown(number, &state)?;
                }
                self.held.push((number, state));
            }
            None if told.is_some() => {}
            None => {
                self.lose(&Name::Held(number).to_string());
            }
        }
        Ok(())
    }

    /// Leaves a block that waits for a key to another start, after `why`.
    fn leave_held(
        &mut self,
        number: u64,
        HeldFiles { members, description }: HeldFiles,
        why: &SpoolError,
    ) -> Result<(), SpoolError> {
        if !members {
            self.left_in_place += 1;
            return Ok(());
        }
        self.held_free = self.held_free.max(number + 1);
        let name = Name::Held(number);
        let told = if description { self.description(number).ok().flatten() } else { None };
        if told.is_none()
            && let Some(last) = self.last.filter(|last| last.length > 0)
            && !self.is_there(Name::Data(last.number))?
        {
            // Else it would be counted as lost.
            let length =
                self.files.length(&name.to_string()).map_err(SpoolError::io("read", name))?;
            self.last_waits |= length == Some(last.length);
        }
        self.leave_members(number, name, told.map(|told| told.first), why)
    }

    pub(super) fn is_there(&self, name: impl ToString) -> Result<bool, SpoolError> {
        let name = name.to_string();
        let length = self.files.length(&name).map_err(SpoolError::io("read", name))?;
        Ok(length.is_some())
    }

    /// What is left of a block that is described as `told`; `None` when nothing is. Encrypted as they are,
    /// bytes that a power cut has torn would be found by nobody but the reader.
    fn check_held(
        &mut self,
        number: u64,
        told: OpenBlock,
    ) -> Result<Option<OpenBlock>, SpoolError> {
        let (state, ..) = self.check_members(Name::Held(number), told)?;
        let lost = told.records.saturating_sub(state.records);
        if state == told {
            return Ok(Some(told));
        }
        // At once, or each start would count them again.
        if state.length == 0 {
            let hold = Name::Hold(number).to_string();
            remove_if_there(self.files, &hold).map_err(SpoolError::io("remove", &hold))?;
        } else {
            describe(self.files, number, &state, self.options.sync != SyncPolicy::None)?;
        }
        self.untold_lost = self.untold_lost.saturating_add(lost);
        Ok(Some(state).filter(|state| state.length > 0))
    }

    /// Removes what sealed blocks were made of, of those that were found. A kill may have come before that.
    /// The others.
    pub(super) fn forget_released(
        &mut self,
        mut found: BTreeMap<u64, HeldFiles>,
    ) -> Result<BTreeMap<u64, HeldFiles>, SpoolError> {
        for number in std::mem::take(&mut self.released) {
            if found.remove(&number).is_none() {
                continue;
            }
            for name in [Name::Hold(number), Name::Held(number)] {
                let name = name.to_string();
                remove_if_there(self.files, &name).map_err(SpoolError::io("remove", &name))?;
            }
        }
        Ok(found)
    }

    pub(super) fn is_marked(&self) -> Result<bool, SpoolError> {
        self.is_there(SECRET)
    }

    /// See [`Spool::expect_secrets`](super::Spool::expect_secrets).
    pub(super) fn ring_is_marked(&self) -> Result<bool, SpoolError> {
        let length = self.files.length(SECRET).map_err(SpoolError::io("read", SECRET))?;
        Ok(length.is_some_and(|length| length > 0))
    }

    /// Sets those blocks aside of which nothing tells but their members.
    pub(super) fn hold_unknown(&mut self) -> Result<(), SpoolError> {
        for (number, state) in std::mem::take(&mut self.unknown) {
            let data = Name::Data(number).to_string();
            let free = self.held_free.max(number);
            let held = Name::Held(free).to_string();
            match self.files.rename(&data, &held).map_err(SpoolError::io("rename", &data)) {
                Err(error) if error.is_of_one_block() && self.may_wait(true)? => {
                    self.leave_rebuilt(number, &error)?;
                    continue;
                }
                done => done?,
            }
            self.held_free = free + 1;
            self.describe_unknown(free, &state)?;
            self.held.push((free, state));
        }
        count(&mut self.index.counts, &self.held);
        Ok(())
    }

    /// Writes what the members of a block tell of it. After a kill before that, and where it cannot be written,
    /// the next start looks into them once more.
    fn describe_unknown(&self, number: u64, state: &OpenBlock) -> Result<(), SpoolError> {
        match describe(self.files, number, state, self.options.sync != SyncPolicy::None) {
            Err(error) if !error.is_of_one_block() => Err(error),
            _ => Ok(()),
        }
    }

    /// What the members of a file tell of themselves; `None` when it has none.
    pub(super) fn look_into(&mut self, name: Name) -> Result<Option<OpenBlock>, SpoolError> {
        let Some((codec, good)) = members_of(self.files, self.options.codec, name)? else {
            return Ok(None);
        };
        let name = name.to_string();
        let io = |doing| SpoolError::io(doing, name.clone());
        if let Some(copy) = cut(self.files, &name, good.length)? {
            self.note_aside(copy);
        }
        let (_, content, length) =
            hash(self.files, &name, u64::MAX).map_err(SpoolError::io("read", &name))?;
        let time = self.files.modified(&name).map_err(io("read"))?;
        Ok(Some(OpenBlock {
            length,
            records: good.records,
            raw_bytes: good.raw_bytes,
            first: time,
            last: time,
            codec,
            content,
            secret: true,
            ..OpenBlock::empty(self.options)
        }))
    }
}
