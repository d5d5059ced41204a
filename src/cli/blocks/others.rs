//! Blocks of another stream whose keys look like those of ours.
//!
//! `web-access` of host `a` and `access` of host `a-web` have keys of one shape; the metadata tells them apart. A boot
//! is of one stream, so that one block of each is asked, where host or stream has a `-` in its name. Before a boot is left
//! out its first and its last block are asked as well: an object that somebody has put there hides no others.
//!
//! For what is shown of a listing. Who reads the lines or the metadata of each block goes by these.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::ptr;
use std::sync::Arc;

use super::list::FoundBlock;
use super::parallel::{each, patiently};
use super::select::HEADS;
use crate::block::{BootId, KeyParts, sanitise};
use crate::cli::Error;
use crate::cli::settings::Source;
use crate::cli::terminal::Progress;
use crate::s3::Outcome;

/// A boot of a stream's host, as keys tell it.
type Boot = (*const Source, Arc<str>, BootId);

/// The boots that were asked about, and whether they are of another stream. Some 100 bytes each.
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
        let of = |place: Option<&usize>| place.and_then(|place| blocks.get(*place));
        let middle = boots.iter().filter_map(|(_, all)| of(all.get(all.len() / 2))).collect();
        let asked = boots.iter().zip(of_others(middle)?);
        let doubted: Vec<_> = asked.filter(|(_, other)| *other).map(|(boot, _)| boot).collect();
        let firsts = of_others(doubted.iter().filter_map(|(_, all)| of(all.first())).collect())?;
        let lasts = of_others(doubted.iter().filter_map(|(_, all)| of(all.last())).collect())?;
        let all_three = firsts.into_iter().zip(lasts).map(|(first, last)| first && last);
        let others: HashMap<Boot, bool> =
            doubted.iter().map(|(boot, _)| boot.clone()).zip(all_three).collect();
        for (boot, _) in boots {
            let other = others.get(&boot).copied().unwrap_or(false);
            self.known.insert(boot, other);
        }
        let other = |found: &FoundBlock<'_>| {
            boot(found).and_then(|boot| self.known.get(&boot).copied()).unwrap_or(false)
        };
        blocks.retain(|found| !other(found));
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
    let mut failed = None;
    let progress = Progress::of(blocks.len() as u64, "metadata");
    each(
        &blocks,
        HEADS,
        |found| patiently(|| found.source.client.head(&found.key)),
        |place, answer| {
            progress.add(1);
            let Some(found) = blocks.get(place) else { return ControlFlow::Continue(()) };
            match answer {
                Ok(head) => {
                    let stream = head.metadata.iter().find(|(name, _)| name == "stream");
                    let other = stream.is_some_and(|(_, stream)| {
                        let parts = KeyParts::parse(&found.key);
                        *stream != sanitise(found.stream())
                            && parts.is_some_and(|parts| parts.before_stream(stream).is_some())
                    });
                    if let Some(of) = others.get_mut(place) {
                        *of = other;
                    }
                }
                Err(answer) if matches!(answer.outcome, Outcome::NoObject | Outcome::Refused) => {}
                Err(answer) => {
                    failed = Some(Error::Gateway {
                        what: format!("head {}", found.key),
                        answer: answer.into(),
                    });
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        },
    );
    failed.map_or(Ok(others), Err)
}
