//! Blocks of another stream whose keys look like those of ours.
//!
//! `web-access` of host `a` and `access` of host `a-web` have keys of one shape; the metadata tells them apart. A boot
//! is of one stream, so that one block of each is asked, where host or stream has a `-` in its name. Where it says to be of
//! another, each of the boot is asked: objects that somebody has put there hide no others, however many there are.
//!
//! For what is shown of a listing. Who reads the lines or the metadata of each block goes by these.

use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

use super::heads::heads;
use super::list::FoundBlock;
use crate::block::{BootId, KeyParts, sanitise};
use crate::cli::Error;
use crate::cli::settings::Source;
use crate::cli::terminal::Progress;
use crate::s3::Outcome;

/// A boot of a stream's host, as keys tell it.
type Boot = (*const Source, Arc<str>, BootId);

/// The boots that were asked about, and whether one of their blocks is of another stream. Some 100 bytes each.
#[derive(Debug, Default)]
pub(in crate::cli) struct Others {
    known: HashMap<Boot, bool>,
}

impl Others {
    /// Leaves those of `blocks` that are of their own stream. Without the right to ask, keys are believed.
    ///
    /// # Errors
    /// Metadata that cannot be fetched.
    pub(in crate::cli) fn leave_out(
        &mut self,
        blocks: &mut Vec<FoundBlock<'_>>,
    ) -> Result<(), Error> {
        let mut places: HashMap<Boot, Vec<usize>> = HashMap::new();
        for (place, found) in blocks.iter().enumerate() {
            if let Some(boot) = boot(found).filter(|boot| !self.known.contains_key(boot)) {
                places.entry(boot).or_default().push(place);
            }
        }
        let boots: Vec<(Boot, Vec<usize>)> = places.into_iter().collect();
        let middle = |all: &Vec<usize>| all.get(all.len() / 2).and_then(|place| blocks.get(*place));
        let asked = of_others(boots.iter().filter_map(|(_, all)| middle(all)).collect())?;
        self.known.extend(boots.into_iter().map(|(boot, _)| boot).zip(asked));
        let doubted = |found: &FoundBlock<'_>| {
            boot(found).and_then(|boot| self.known.get(&boot).copied()).unwrap_or(false)
        };
        let doubted: Vec<bool> = blocks.iter().map(doubted).collect();
        let of_doubted = blocks.iter().zip(&doubted).filter(|(_, doubted)| **doubted);
        let mut others = of_others(of_doubted.map(|(found, _)| found).collect())?.into_iter();
        let mut doubted = doubted.into_iter();
        let mut other = || doubted.next() == Some(true) && others.next() == Some(true);
        blocks.retain(|_| !other());
        Ok(())
    }
}

/// The boot of a block that may be of another stream. What a manifest names is not.
fn boot(found: &FoundBlock<'_>) -> Option<Boot> {
    let host = found.host.as_ref()?;
    if found.within.is_some() || !(host.contains('-') || found.stream().contains('-')) {
        return None;
    }
    Some((ptr::from_ref(found.source), Arc::clone(host), found.boot))
}

/// Of each block whether its metadata says that it is of another stream, as its key may say as well.
fn of_others(blocks: Vec<&FoundBlock<'_>>) -> Result<Vec<bool>, Error> {
    let mut others = vec![false; blocks.len()];
    let progress = Progress::of(blocks.len() as u64, "metadata");
    heads(&blocks, &progress, |place, answer| {
        let head = match answer {
            Ok(head) => head,
            Err(answer) if matches!(answer.outcome, Outcome::NoObject | Outcome::Refused) => {
                return Ok(());
            }
            Err(answer) => return Err(answer),
        };
        if let (Some(found), Some(other)) = (blocks.get(place), others.get_mut(place)) {
            let stream = head.metadata.iter().find(|(name, _)| name == "stream");
            *other = stream.is_some_and(|(_, stream)| {
                let parts = KeyParts::parse(&found.key);
                *stream != sanitise(found.stream())
                    && parts.is_some_and(|parts| parts.before_stream(stream).is_some())
            });
        }
        Ok(())
    })?;
    Ok(others)
}
