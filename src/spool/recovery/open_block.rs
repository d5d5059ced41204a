//! The last part of recovery: the open block, and the counts that go on with it.

use super::Recovery;
use super::salvage::{cut, good_members};
use crate::block::{Drops, Hasher, Kind};
use crate::spool::SpoolError;
use crate::spool::commit::OpenBlock;
use crate::spool::files::hash;
use crate::spool::files::names::{Name, Why};
use crate::spool::store::load;

impl Recovery<'_> {
    /// The state to go on from, with the hash of the open block and the uncommitted bytes cut off.
    pub(super) fn open_block(&mut self) -> Result<(OpenBlock, Hasher, u64), SpoolError> {
        let empty = OpenBlock::empty(self.options);
        let mut state = match (self.last, self.newest) {
            (Some(last), Some(newest)) if last.number <= newest.number => OpenBlock {
                number: newest.number + 1,
                sequence: newest.sequence.max(last.sequence),
                previous: newest.sha256,
                secret: last.secret,
                ..empty
            },
            // It was set aside to wait for a key; the ring was not told any more.
            (Some(last), _) if self.last_waits => last.begun_anew(self.options),
            (Some(last), _) => last,
            (None, Some(newest)) => OpenBlock {
                number: newest.number + 1,
                sequence: newest.sequence,
                previous: newest.sha256,
                ..empty
            },
            (None, None) => empty,
        };
        let hasher;
        let mut uncommitted = 0;
        if state.length > 0 {
            let records = state.records;
            match self.check_members(Name::Data(state.number), state) {
                Err(error) if error.is_of_one_block() => {
                    (state, hasher) = self.leave_open(state, error)?;
                }
                checked => {
                    (state, hasher, uncommitted) = checked?;
                    let lost = records.saturating_sub(state.records);
                    state.drops.add(&Drops { lost, ..Drops::default() });
                }
            }
        } else {
            hasher = Hasher::default();
        }
        if state.kernel != self.options.kernel {
            // What was not on the disk when the machine went down may be in the bucket already,
            // under the key that this block would get.
            state.kernel = self.options.kernel;
            state.boot = self.options.boot;
        }
        state.drops.lost = state.drops.lost.saturating_add(self.untold_lost);
        state.secret |= self.options.sealing.is_some();
        state.reading = self.last.map_or(0, |last| last.reading);
        self.count_gone(&mut state)?;
        Ok((state, hasher, uncommitted))
    }

    /// Makes the file `name` what `state` says of it, or `state` what is left: whole members, the rest
    /// of which is set aside and counted here. Also the hash of that, and how many uncommitted bytes were
    /// cut off.
    pub(super) fn check_members(
        &mut self,
        name: Name,
        mut state: OpenBlock,
    ) -> Result<(OpenBlock, Hasher, u64), SpoolError> {
        let name = name.to_string();
        let found = self.files.length(&name).map_err(SpoolError::io("read", &name))?;
        let length = found.unwrap_or(0);
        let mut uncommitted = 0;
        if length >= state.length {
            let (hasher, digest, _) =
                hash(self.files, &name, state.length).map_err(SpoolError::io("read", &name))?;
            if digest == state.content {
                uncommitted = length - state.length;
                if uncommitted > 0 {
                    self.files
                        .truncate(&name, state.length)
                        .map_err(SpoolError::io("truncate", &name))?;
                }
                return Ok((state, hasher, uncommitted));
            }
        }
        // Damaged from outside: by a power cut, or by hand.
        let mut good_length = 0;
        let mut good_records = 0;
        let mut good_raw = 0;
        let checkable = state.codec != Kind::None || length < state.length;
        if found.is_some() && checkable {
            let good = good_members(self.files, &name, state.codec, state.length)?;
            (good_length, good_records, good_raw) = (good.length, good.records, good.raw_bytes);
        }
        if good_length == 0 && length > 0 {
            self.put_aside(&name);
        } else if let Some(copy) = cut(self.files, &name, good_length)? {
            self.note_aside(copy);
        }
        let lost = state.records.saturating_sub(good_records);
        self.index.counts.lost.add(lost, state.length.saturating_sub(good_length));
        let (hasher, content, _) = if good_length > 0 {
            hash(self.files, &name, good_length).map_err(SpoolError::io("read", &name))?
        } else {
            let hasher = Hasher::default();
            let digest = hasher.digest();
            (hasher, digest, 0)
        };
        state.length = good_length;
        state.records = good_records;
        state.raw_bytes = good_raw;
        state.cut = state.cut.min(good_records);
        state.content = content;
        Ok((state, hasher, uncommitted))
    }

    /// Counts the dropped and lost blocks that the payload does not count yet.
    fn count_gone(&mut self, state: &mut OpenBlock) -> Result<(), SpoolError> {
        let counted = state.sequence;
        for name in &self.lost {
            let Name::Gone { sequence, why, .. } = *name else { continue };
            if sequence <= counted {
                continue;
            }
            state.sequence = state.sequence.max(sequence);
            // What cannot be read cannot be counted, and must not keep the stream from starting.
            let Ok(sidecar) = load(self.files, &name.to_string()) else { continue };
            let (records, bytes) = (sidecar.meta.records, sidecar.meta.bytes);
            state.drops.add(&sidecar.meta.dropped);
            match why {
                Why::Dropped => {
                    state.drops.spool = state.drops.spool.saturating_add(records);
                    self.index.counts.dropped.add(records, bytes);
                }
                Why::Lost => {
                    state.drops.lost = state.drops.lost.saturating_add(records);
                    self.index.counts.lost.add(records, bytes);
                }
            }
        }
        Ok(())
    }
}
