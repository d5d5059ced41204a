//! Blocks that wait for a key: begun to be encrypted, and there is nobody to encrypt them to.
//!
//! A node whose varnishd was killed has an unencrypted open block. When it comes back without
//! `encrypt_to`, that block must not go out as it is: it is set aside ([`Spool::hold`]), and sealed
//! when there is a key again ([`Spool::release`]). It gets its number then, so that the chain of
//! what goes out in the meantime has no hole.
//!
//! Non-goal: dropping any of them for room; `spool_max` does not count them.

use std::io;

use super::commit::{OpenBlock, Payload};
use super::files::names::{Name, SECRET};
use super::files::{Files, remove_if_there};
use super::seal::{Origin, write_sealed};
use super::writer::Sealed;
use super::{Spool, SpoolError, SyncPolicy};
use crate::block::{Drops, Hasher};

/// What [`SECRET`] holds while what comes into the ring is secret and the ring's commit may not say so.
const OF_THE_RING: &[u8] = b"ring\n";

impl Spool {
    /// Says that what comes into the ring from now on is to be encrypted. For a start, before anybody can push: until
    /// [`Spool::ring_tells`] the ring's commit is that of the process before, and a kill leaves that.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn expect_secrets(files: &dyn Files) -> io::Result<()> {
        files.create(SECRET, OF_THE_RING)
    }

    /// The ring's commit says from now on whether what the ring holds is to be encrypted.
    pub(crate) fn ring_tells(&mut self) {
        if self.ring_is_marked {
            // Left as it is it makes a start cautious, and nothing else.
            self.ring_is_marked = self.store.files.create(SECRET, &[]).is_err();
        }
    }

    /// Whether the open block, and what the ring holds, is to be encrypted and cannot be: there is
    /// no [`Sealing`](crate::seal::Sealing).
    #[must_use]
    pub fn lacks_key(&self) -> bool {
        self.state.secret && self.options.sealing.is_none()
    }

    /// Sets the open block aside to wait for a key, and begins it anew; `None` when it is empty.
    /// What is appended next is as secret, until [`Spool::end_secrecy`].
    ///
    /// # Errors
    /// The file system's; the block is open as it was.
    pub fn hold(&mut self) -> Result<Option<Payload>, SpoolError> {
        self.heal()?;
        if self.state.length == 0 {
            return Ok(None);
        }
        let state = self.state;
        let number = state.number.max(self.held_free);
        let (data, held) = (Name::Data(state.number).to_string(), Name::Held(number).to_string());
        let files = &*self.store.files;
        let sync = self.options.sync != SyncPolicy::None;
        describe(files, number, &state, sync)?;
        if sync {
            files.sync_file(&data).map_err(SpoolError::io("sync", &data))?;
        }
        files.rename(&data, &held).map_err(SpoolError::io("rename", &data))?;
        // Before the ring forgets it: a name that a power cut undid would be one of a chunk without commit.
        let synced =
            if sync { files.sync_directory().or_else(|_| files.sync_directory()) } else { Ok(()) };
        if let Err(source) = synced {
            // Nothing is appended before its name is on the disk, whichever that is.
            self.heal.directory = true;
            if files.rename(&held, &data).is_ok() {
                // What describes nothing would be taken for lost.
                let hold = Name::Hold(number).to_string();
                let _ = remove_if_there(files, &hold);
                let name = "its directory".to_owned();
                return Err(SpoolError::Io { doing: "sync", name, source });
            }
        }
        self.held.push((number, state));
        self.held_free = number + 1;
        count(&mut self.store.lock().counts, &self.held);
        self.state = state.begun_anew(&self.options);
        self.hasher = Hasher::default();
        Ok(Some(self.hand_out()))
    }

    /// What is appended from now on is not secret any more, unless there is a key. To be
    /// called when nothing secret is in the open block or in the ring.
    pub fn end_secrecy(&mut self) -> Payload {
        if self.state.length == 0 {
            self.state.secret = self.options.sealing.is_some();
        }
        self.unmark();
        self.hand_out()
    }

    /// Whether blocks wait that can be encrypted now.
    #[must_use]
    pub(crate) fn can_release(&self) -> bool {
        !self.held.is_empty() && self.options.sealing.is_some()
    }

    /// Seals the oldest block that waits for a key, with the number of the open block, which has to
    /// be empty; `None` when that is not so, when none waits, or when there is still no key.
    ///
    /// # Errors
    /// As those of [`Spool::seal`]; the block waits on.
    pub fn release(&mut self, drops: &Drops) -> Result<Option<(Sealed, Payload)>, SpoolError> {
        self.heal()?;
        self.forget_gone();
        let first = self.held.first().copied();
        let ready = self.state.length == 0 && self.can_release();
        let Some((number, held)) = first.filter(|_| ready) else {
            self.state.drops.add(drops);
            return Ok(None);
        };
        let state = OpenBlock {
            number: self.state.number,
            boot: self.options.boot,
            sequence: self.state.sequence,
            drops: self.state.drops,
            previous: self.state.previous,
            ..held
        };
        let (written, unsynced) = self.commit_sealed(|spool| {
            let files = &*spool.store.files;
            let origin = Origin::Held(number);
            let data = Name::Held(number);
            let written = write_sealed(files, &spool.options, state, data, origin, drops)?;
            if spool.options.sync != SyncPolicy::None {
                files.sync_directory().map_err(SpoolError::io("sync", "its directory"))?;
            }
            // The members last: what fails before can be taken back.
            for name in [Name::Hold(number), Name::Held(number)] {
                let name = name.to_string();
                remove_if_there(files, &name).map_err(SpoolError::io("remove", &name))?;
            }
            Ok(written)
        })?;
        self.held.remove(0);
        count(&mut self.store.lock().counts, &self.held);
        Ok(Some(self.enter(written, unsynced)))
    }

    /// Makes the file that says that there are secrets, once. The ring says so as well; it matters
    /// when the ring is lost, and so a failure does not.
    pub(super) fn mark(&mut self) {
        if self.state.secret && !self.marked {
            self.marked = self.store.files.create(SECRET, &[]).is_ok();
        }
    }

    /// Removes that file once nothing secret is in the open block, in the ring, or in a block that waits to
    /// be mended.
    pub(super) fn unmark(&mut self) {
        if self.state.secret {
            return;
        }
        if self.marked && !self.secrets_wait {
            // Left there it makes a start cautious, and nothing else.
            self.marked = remove_if_there(&*self.store.files, SECRET).is_err();
            self.ring_is_marked &= self.marked;
        }
        self.ring_tells();
    }
}

/// Writes what is known of a block that waits for a key, whole or not at all: a full disk leaves what was
/// there before.
pub(super) fn describe(
    files: &dyn Files,
    number: u64,
    state: &OpenBlock,
    sync: bool,
) -> Result<(), SpoolError> {
    let (new, name) = (Name::New(number).to_string(), Name::Hold(number).to_string());
    let written = files
        .create(&new, state.encode().as_bytes())
        .and_then(|()| if sync { files.sync_file(&new) } else { Ok(()) })
        .and_then(|()| files.rename(&new, &name));
    written.map_err(|source| {
        let _ = remove_if_there(files, &new);
        SpoolError::Io { doing: "write", name, source }
    })
}

pub(super) fn count(counts: &mut super::Counts, held: &[(u64, OpenBlock)]) {
    counts.held = super::Tally::default();
    for (_, state) in held {
        counts.held.add(state.records, state.length);
    }
    counts.held_since = held.iter().map(|(_, state)| state.first).min();
}
