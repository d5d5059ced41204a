//! What becomes of the blocks of a spool from which all is moved, for who only asks: what a start makes of
//! them, and then [`SealedBlocks::hand_over`](crate::spool::SealedBlocks::hand_over).
//!
//! It takes no lock, changes nothing and reads every byte, as the move does.
//!
//! | there is | it |
//! |---|---|
//! | a sealed block, waiting or in quarantine | moves if its bytes are those that were sealed, else stays; one without any is lost |
//! | members that nothing describes | move as far as they are whole |
//! | a block that waits for a key | moves likewise if there is one, else stays |
//! | a block from another folder | moves if it is whole, else stays |
//! | a block with a file that cannot be read | stays |
//!
//! Non-goals: the open block, the ring, and whether the disk has room. What a start encrypts counts with the
//! bytes that it has before.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::blocks::other_length;
use super::look::{Undescribed, came_too_early, undescribed};
use super::salvage::{good_members, members_of};
use super::{HeldFiles, Scanned, SpoolFiles, decode, scan};
use crate::block::Kind;
use crate::spool::commit::{OpenBlock, Payload};
use crate::spool::files::names::{Name, QUARANTINE, SECRET};
use crate::spool::files::{Guest, hash, read_small};
use crate::spool::moved::{self, check_left, moved_here};
use crate::spool::note::{Note, Verdict};
use crate::spool::sidecar::{LIMIT, Sidecar};
use crate::spool::store::load;
use crate::spool::{Files, SpoolError, Tally, notes};

/// What would become of the blocks.
#[derive(Debug, Default)]
pub(crate) struct Forecast {
    /// Those that move.
    pub(crate) moved: Tally,
    /// How many stay because to which keys they are to be encrypted is not known.
    pub(crate) keyless: u64,
    /// Those that stay, by number or by the name that they came with, and why.
    pub(crate) failed: Vec<(String, SpoolError)>,
    /// Those that stay in quarantine, or go there, by number, and why.
    pub(crate) refused: Vec<(u64, String)>,
}

/// Forecasts it for the spool in `root`. `last_commit` is what the ring's commit record holds, `codec` that of
/// the settings, which have a key if the blocks are encrypted (`encrypts`).
///
/// # Errors
/// What would end the move before it began.
pub(crate) fn forecast(
    root: &Path,
    last_commit: Option<&[u8]>,
    codec: Kind,
    encrypts: bool,
) -> Result<Forecast, SpoolError> {
    let files = &Guest::looking(root);
    let (last, _) = decode(last_commit)?;
    let mut look = Look {
        files,
        last,
        notes: notes::left(root).map_err(SpoolError::io("list", "ship"))?,
        codec,
        encrypts,
        found: Forecast::default(),
        released: BTreeSet::new(),
        taken: BTreeSet::new(),
    };
    let Scanned { blocks, held, .. } = scan(files)?;
    for (number, found) in blocks {
        let looked = look.block(number, found);
        look.or_stays(number, looked)?;
    }
    look.quarantine()?;
    for (number, found) in held {
        let looked = look.held(number, found);
        look.or_stays(number, looked)?;
    }
    for name in moved_here(root)? {
        look.moved(root, name);
    }
    Ok(look.found)
}

struct Look<'a> {
    files: &'a dyn Files,
    last: Option<OpenBlock>,
    notes: BTreeSet<Note>,
    codec: Kind,
    encrypts: bool,
    found: Forecast,
    /// Blocks that waited for a key and are sealed.
    released: BTreeSet<u64>,
    /// Blocks that came from other folders and are sealed.
    taken: BTreeSet<String>,
}

impl Look<'_> {
    /// A block with a file that cannot be read stays.
    fn or_stays(&mut self, number: u64, looked: Result<(), SpoolError>) -> Result<(), SpoolError> {
        match looked {
            Err(error) if error.is_of_one_file() => {
                self.found.failed.push((number.to_string(), error));
                Ok(())
            }
            looked => looked,
        }
    }

    fn block(&mut self, number: u64, found: SpoolFiles) -> Result<(), SpoolError> {
        if found.done || found.gone.is_some() {
            let gone = |(sequence, why)| Name::Gone { sequence, number, why };
            let name = found.gone.filter(|_| !found.done).map_or(Name::Done(number), gone);
            if let Ok(sidecar) = load(self.files, &name.to_string()) {
                self.see(&sidecar);
            }
            return Ok(());
        }
        if found.sidecar {
            match load(self.files, &Name::Sidecar(number).to_string()) {
                Ok(sidecar) if !came_too_early(self.files, &sidecar, found)? => {
                    return self.sealed(number, &sidecar);
                }
                Ok(Sidecar { moved: Some(name), .. }) if moved::is_there(self.files, &name) => {
                    return Ok(());
                }
                Ok(_) | Err(SpoolError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match undescribed(self.files, self.last, number, found)? {
            Undescribed::Foreign | Undescribed::Moved | Undescribed::Open => Ok(()),
            Undescribed::Sealed => self.members(Name::Sealed(number)),
            Undescribed::Data => self.members(Name::Data(number)),
        }
    }

    /// What a sealed block was made of is no block any more.
    fn see(&mut self, sidecar: &Sidecar) {
        self.released.extend(sidecar.held);
        self.taken.extend(sidecar.moved.clone());
    }

    fn sealed(&mut self, number: u64, sidecar: &Sidecar) -> Result<(), SpoolError> {
        self.see(sidecar);
        let (name, bytes) = (data(sidecar), sidecar.meta.bytes);
        let sent = Note::new(number, sidecar.meta.sha256, Verdict::Sent);
        match self.length(&name)? {
            Some(length) if length != bytes => {
                self.found.refused.push((number, other_length(length, bytes)));
            }
            Some(_) if !self.notes.contains(&sent) => self.whole(number, sidecar, &name),
            _ => {}
        }
        Ok(())
    }

    /// A sealed block of the right length, whose bytes are in the file `at`.
    fn whole(&mut self, number: u64, sidecar: &Sidecar, at: &str) {
        if sidecar.is_encrypted() && !self.encrypts {
            self.found.keyless += 1;
            return;
        }
        let name = data(sidecar);
        let failure = match hash(self.files, at, u64::MAX) {
            Ok((_, digest, _)) if digest == sidecar.meta.sha256 => {
                self.found.moved.add(sidecar.meta.records, sidecar.meta.bytes);
                return;
            }
            Ok(_) => SpoolError::Damaged { name },
            Err(error) => SpoolError::io("copy", name)(error),
        };
        self.found.failed.push((number.to_string(), failure));
    }

    /// A file that nothing describes.
    fn members(&mut self, name: Name) -> Result<(), SpoolError> {
        if let Some((_, good)) = members_of(self.files, self.codec, name)? {
            let secret = !self.encrypts && self.length(SECRET)?.is_some();
            self.seal(good.records, good.length, !secret);
        }
        Ok(())
    }

    /// A block that a start seals if it `can`.
    fn seal(&mut self, records: u64, bytes: u64, can: bool) {
        if can {
            self.found.moved.add(records, bytes);
        } else {
            self.found.keyless += 1;
        }
    }

    fn quarantine(&mut self) -> Result<(), SpoolError> {
        let mut numbers = BTreeSet::new();
        let mut each = |text: &str| {
            if let Some(Name::Sidecar(number)) = Name::parse(text) {
                numbers.insert(number);
            }
        };
        match self.files.list(QUARANTINE, &mut each) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            listed => listed.map_err(SpoolError::io("list", QUARANTINE))?,
        }
        for number in numbers {
            let Ok(sidecar) = load(self.files, &Name::Sidecar(number).quarantined()) else {
                continue;
            };
            self.see(&sidecar);
            let outside = data(&sidecar);
            let inside = format!("{QUARANTINE}/{outside}");
            let mut at = None;
            for name in [inside, outside] {
                if at.is_none() && self.length(&name)? == Some(sidecar.meta.bytes) {
                    at = Some(name);
                }
            }
            match at {
                Some(at) => self.whole(number, &sidecar, &at),
                None => {
                    let reason = Name::Reason(number).quarantined();
                    let reason = read_small(self.files, &reason, LIMIT).unwrap_or_default();
                    let reason = String::from_utf8_lossy(&reason).trim_end().to_owned();
                    self.found.refused.push((number, reason));
                }
            }
        }
        Ok(())
    }

    fn held(&mut self, number: u64, found: HeldFiles) -> Result<(), SpoolError> {
        if !found.members || self.released.contains(&number) {
            return Ok(());
        }
        let (name, hold) = (Name::Held(number), Name::Hold(number).to_string());
        let told = if found.description {
            let bytes = read_small(self.files, &hold, 2 * Payload::LENGTH as u64);
            OpenBlock::decode(&bytes.map_err(SpoolError::io("read", &hold))?).ok()
        } else {
            None
        };
        let (records, bytes) = match told {
            Some(told) => self.left_of(&name.to_string(), &told)?,
            None => members_of(self.files, self.codec, name)?
                .map_or((0, 0), |(_, good)| (good.records, good.length)),
        };
        if bytes > 0 {
            self.seal(records, bytes, self.encrypts);
        }
        Ok(())
    }

    /// Records and bytes of what is left of the members in the file `name`, which `told` describes.
    fn left_of(&self, name: &str, told: &OpenBlock) -> Result<(u64, u64), SpoolError> {
        let length = self.length(name)?.unwrap_or(0);
        if length >= told.length {
            let (_, digest, _) =
                hash(self.files, name, told.length).map_err(SpoolError::io("read", name))?;
            if digest == told.content {
                return Ok((told.records, told.length));
            }
            if told.codec == Kind::None {
                // Which of the lines are whole cannot be told.
                return Ok((0, 0));
            }
        }
        let good = good_members(self.files, name, told.codec, told.length)?;
        Ok((good.records, good.length))
    }

    fn moved(&mut self, root: &Path, name: String) {
        if self.taken.contains(&name) {
            return;
        }
        let checked =
            check_left(root, &name).and_then(|()| moved::check(self.files, &name, self.encrypts));
        match checked {
            Ok(meta) => self.found.moved.add(meta.records, meta.bytes),
            Err(error) => self.found.failed.push((name, error)),
        }
    }

    fn length(&self, name: &str) -> Result<Option<u64>, SpoolError> {
        self.files.length(name).map_err(SpoolError::io("read", name))
    }
}

/// The file that has the bytes of a sealed block.
fn data(sidecar: &Sidecar) -> String {
    let number = sidecar.meta.number;
    if sidecar.transformed { Name::Sealed(number) } else { Name::Data(number) }.to_string()
}
