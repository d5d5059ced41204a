//! Moves what waits for one route to another, because an operator has asked for it.
//!
//! It is never done by itself, and never so that somebody else can read what was encrypted: a route that
//! encrypts gives its blocks only to one with exactly the same keys. A route that does not encrypt may
//! give them to any. Whose signature the blocks have then changes only where that was asked for.

use std::sync::Arc;

use super::folder::{self, Folder};
use super::take_up::{Left, Opening};
use super::{Environment, Target};
use crate::ring;
use crate::settings::{Saved, Settings};
use crate::spool::{self, Disk, Selection, Tally, Uploading};

/// Why nothing is moved while another process uploads.
const UPLOADED: &str = "another process uploads from it: stop s3log ship first";

/// From which folder to which.
#[derive(Debug)]
pub struct Move<'a> {
    /// Where the blocks are.
    pub from: &'a Folder,
    /// Whose they are to be.
    pub to: &'a Folder,
    /// They may be signed by another key than until now, or by none.
    pub change_signer: bool,
}

/// What became of the blocks.
#[derive(Debug, Default)]
pub struct Moved {
    /// Those that were moved.
    pub moved: Tally,
    /// How many stay because to which keys they are to be encrypted is not known.
    pub keyless: u64,
    /// Those that could not be moved, by number or by the name that they came here with, and why.
    pub failed: Vec<(String, String)>,
    /// Why records stay in the ring, if they do.
    pub ring: Option<String>,
}

impl Moved {
    /// How many blocks stay where they were; what stays in the ring counts as one.
    #[must_use]
    pub const fn stay(&self) -> u64 {
        let ring = if self.ring.is_some() { 1 } else { 0 };
        self.keyless + self.failed.len() as u64 + ring
    }
}

impl Move<'_> {
    /// Whether the blocks may be moved.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), String> {
        let Some(to) = &self.to.saved else {
            return Err("where blocks of that folder go is unknown".to_owned());
        };
        let readers: &[String] = match &self.from.saved {
            Some(from) => from.readers(),
            None if spool::has_secrets(&self.from.path)
                || spool::sealed_by(&self.from.path).is_some_and(|sealed| sealed.encrypted) =>
            {
                return Err(
                    "its blocks were logged to be encrypted, to which keys is unknown; load a \
                            VCL with the stream as it was"
                        .to_owned(),
                );
            }
            None => &[],
        };
        if !readers.is_empty() && readers != to.readers() {
            return Err(match to.readers().len() {
                0 => "its blocks are encrypted, and those of the other route are not".to_owned(),
                _ => "the other route encrypts to other keys".to_owned(),
            });
        }
        let signer = |saved: &Saved| saved.signer().map(str::to_owned);
        let was = self.from.saved.as_ref().map_or(Some(String::new()), signer);
        if (was.is_none() || was != signer(to)) && !self.change_signer {
            let show = |id: Option<String>| match id.as_deref() {
                None => "an unknown key".to_owned(),
                Some("") => "no key".to_owned(),
                Some(id) => format!("key {id}"),
            };
            return Err(format!(
                "its blocks are signed by {}, and would be signed by {} instead; give --change-signer \
                 if that is meant",
                show(was),
                show(signer(to))
            ));
        }
        Ok(())
    }

    /// What [`Move::carry_out`] would do with the blocks, without those that the ring and the open block hold
    /// and without a look at the room on the disk. Changes nothing and takes no lock.
    ///
    /// # Errors
    /// Why nothing would be moved.
    pub fn foretell(&self) -> Result<Moved, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let (settings, root) = (self.settings()?, &self.from.path);
        if spool::uploader(root).is_some() {
            return Err(UPLOADED.to_owned());
        }
        // A start makes a ring that cannot be read anew.
        let ring = ring::glance(&root.join("ring")).ok();
        let commit = ring.as_ref().map(|ring| &*ring.payload);
        let found =
            spool::forecast(root, commit, settings.codec.kind(), settings.sealing.is_some());
        let found = found.map_err(|error| text(&error))?;
        let failed = found.failed.iter().map(|(block, why)| (block.clone(), text(why)));
        let refused = found.refused.iter().map(|(number, why)| in_quarantine(*number, why));
        let failed = failed.chain(refused).collect();
        Ok(Moved { moved: found.moved, keyless: found.keyless, failed, ring: None })
    }

    /// The settings that the blocks are moved with.
    fn settings(&self) -> Result<Settings, String> {
        self.check()?;
        for Folder { path, .. } in [self.from, self.to] {
            spool::check_owner(path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let root = &self.from.path;
        let directory = root.parent().unwrap_or(root);
        let settings = self.from.saved.as_ref().or(self.to.saved.as_ref());
        let settings = settings.ok_or("its settings are unknown")?.settings_to_move(directory);
        let mut settings = settings.map_err(|error| error.to_string())?;
        if self.from.saved.is_none() {
            // The other route encrypts what it gets.
            settings.sealing = None;
        }
        Ok(settings)
    }

    /// Moves all blocks, those in quarantine and what is in the ring included, and removes the folder
    /// when nothing is left in it. One that cannot be moved stops none behind it. Whenever it is stopped,
    /// each block is sent by one of the two routes.
    ///
    /// # Errors
    /// Why nothing was moved.
    pub fn carry_out(&self, environment: &Environment) -> Result<Moved, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let mut settings = self.settings()?;
        let root = &self.from.path;
        // What is moved makes no room for itself.
        settings.spool_max = u64::MAX;
        let target = Arc::new(Target { settings, client: None });
        let mut opening = Opening::new(&target, environment, Some(root.clone()), None)
            .map_err(|error| text(&error))?;
        let beside = Disk::beside(&self.to.path).map_err(|error| {
            format!("{}: {error}; run the command again", self.to.path.display())
        })?;
        self.check_again()?;
        let right = Uploading::take(root).map_err(|error| text(&error))?;
        let Some(_right) = right else { return Err(UPLOADED.to_owned()) };
        let Left { blocks, ring } = opening.seal_all().map_err(|error| text(&error))?;
        let (left, ring) = (blocks.to_vec(), ring.map(|error| text(&error)));
        let store = Arc::clone(&opening.store);
        let noted = store.take_all_notes().map_err(|error| text(&error))?;
        // Also what the notes have set aside.
        spool::request(root, &Selection::All).map_err(|error| text(&error))?;
        let (_, unfit) = store.take_requests().map_err(|error| text(&error))?;
        let encrypts = self.from.saved.as_ref().is_some_and(|saved| !saved.readers().is_empty());
        let name =
            root.file_name().and_then(|name| name.to_str()).ok_or("its name is not UTF-8")?;
        let failed = opening.take_moved().into_iter().map(|(name, error)| (name, text(&error)));
        let failed = failed.collect();
        let keyless = store.counts().held.blocks;
        let mut done = Moved { failed, keyless, ring, ..Moved::default() };
        done.failed.extend(left.into_iter().map(|(number, why)| (number.to_string(), why)));
        for number in store.sealed() {
            if store.is_encrypted(number) && !encrypts {
                // To which keys is not known here.
                done.keyless += 1;
                continue;
            }
            if noted.contains(&number) {
                let why = "a note of s3log ship says that it was sent or refused, and cannot be taken: \
                           see the folder ship, and run the command again";
                done.failed.push((number.to_string(), why.to_owned()));
                continue;
            }
            match store.hand_over(number, name, &beside) {
                Ok(meta) => done.moved.add(meta.records, meta.bytes),
                Err(error) => done.failed.push((number.to_string(), text(&error))),
            }
        }
        done.failed.extend(unfit.iter().map(|(number, why)| (number.to_string(), text(why))));
        let mut refused = spool::refused(root).map_err(|error| text(&error))?;
        refused.retain(|refused| !unfit.contains_key(&refused.meta.number));
        for refused in refused {
            done.failed.push(in_quarantine(refused.meta.number, &refused.reason));
        }
        // What could not be forgotten is not to be found in both folders.
        spool::take_back(root).map_err(|error| text(&error))?;
        if done.stay() == 0 {
            // Something else is in it: the next start looks at it again.
            let _ = folder::remove(root);
        }
        Ok(done)
    }

    /// [`Move::check`] now that neither folder can be removed and made anew for another route.
    fn check_again(&self) -> Result<(), String> {
        let [from, to] = [self.from, self.to].map(|folder| Folder::read(folder.path.clone()));
        if from.route() != self.from.route() || to.route() != self.to.route() {
            return Err("the folders are other routes' by now; run the command again".to_owned());
        }
        Move { from: &from, to: &to, change_signer: self.change_signer }.check()
    }
}

/// A block that stays because it is not whole in quarantine, and why.
fn in_quarantine(number: u64, reason: &str) -> (String, String) {
    (number.to_string(), format!("it is in quarantine and cannot be put back: {reason}"))
}
