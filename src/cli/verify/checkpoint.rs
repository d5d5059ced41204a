//! What an earlier run saw: the end of every chain.
//!
//! A bucket cannot show that its newest blocks are gone, because nothing follows them. This file can,
//! from the second run on. Kept out of reach of those who can write to the bucket, it also reveals a
//! chain that was forged from the start. One JSON object, written whole or not at all.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::Error;
use super::chain::{Chain, may_be_one};
use super::finding::{Finding, FindingKind};
use crate::block::{BootId, Digest, RouteId};
use crate::regular_file;

/// Largest checkpoint, bytes: some 100,000 chains.
const CHECKPOINT_MAX: u64 = 32 << 20;

/// The end of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    number: u64,
    boot: BootId,
    sha256: Digest,
    /// ns since 1970.
    last: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<RouteId>,
}

#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    /// By stream and host.
    ends: BTreeMap<String, BTreeMap<String, Vec<End>>>,
}

impl Checkpoint {
    /// Reads the file; none is an empty one.
    ///
    /// # Errors
    /// The file system's, or a file that is something else.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.display().to_string(), source };
        let ends = match regular_file::read(path, CHECKPOINT_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { path: path.to_owned(), ends })
    }

    /// What was there at an earlier run and is not any more; and remembers what is there now. `told` is what
    /// was found without the file. With `expired`, the first blocks of a chain may be gone.
    pub(super) fn compare(
        &mut self,
        stream: &str,
        chains: &[Chain],
        told: &[Finding],
        expired: bool,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let hosts = self.ends.entry(stream.to_owned()).or_default();
        let oldest = chains.iter().map(|chain| chain.oldest).min().filter(|_| expired);
        for (host, ends) in hosts.iter_mut() {
            let theirs: Vec<&Chain> = chains.iter().filter(|chain| chain.host == *host).collect();
            ends.retain(|end| {
                let then = Then { host, end, theirs: &theirs, oldest };
                let finding = then.finding(told);
                // Worth a note, and not wrong: it has expired.
                let forgotten = finding.as_ref().is_some_and(|finding| !finding.kind.counts());
                findings.extend(finding);
                !forgotten
            });
        }
        hosts.retain(|_, ends| !ends.is_empty());
        let mut now: BTreeMap<String, Vec<End>> = BTreeMap::new();
        for chain in chains {
            now.entry(chain.host.clone()).or_default().push(End {
                number: chain.last_number,
                boot: chain.last_boot,
                sha256: chain.last_sha256,
                last: chain.last,
                route: chain.route,
            });
        }
        // Hosts that were not asked for this time stay remembered.
        for (host, ends) in now {
            hosts.insert(host, ends);
        }
        findings
    }

    /// Writes the file in one step.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn write(&self) -> Result<(), Error> {
        let failed = |source| Error::File { path: self.path.display().to_string(), source };
        let bytes =
            serde_json::to_vec_pretty(&self.ends).map_err(io::Error::from).map_err(failed)?;
        let mut beside = self.path.as_os_str().to_owned();
        beside.push(".new");
        std::fs::write(&beside, bytes).map_err(failed)?;
        std::fs::rename(&beside, &self.path).map_err(failed)
    }
}

/// The end of a chain, and the chains of its host as they are now. Only blocks that stand in a chain count:
/// objects of other streams may have any metadata.
struct Then<'a> {
    host: &'a str,
    end: &'a End,
    theirs: &'a [&'a Chain],
    /// The end of the oldest block that is there, of any host; `None` when nothing expires.
    oldest: Option<u64>,
}

impl Then<'_> {
    /// What became of the block.
    fn finding(&self, told: &[Finding]) -> Option<Finding> {
        let end = self.end;
        match self.theirs.iter().find_map(|chain| chain.sha256_of(end.boot, end.number)) {
            Some(sha256) => (sha256 != end.sha256).then(|| {
                let text =
                    "the content differs from what an earlier run saw: the block was replaced";
                self.say(FindingKind::Altered, text, end.number, end.number)
            }),
            None => self.replaced().or_else(|| self.lost(told)),
        }
    }

    /// Another block has its place, or follows it.
    fn replaced(&self) -> Option<Finding> {
        let number = self.end.number;
        if self.own().any(|chain| chain.has(number)) {
            let text = "another block than the one that an earlier run saw at the end of the chain: it was replaced";
            return Some(self.say(FindingKind::Altered, text, number, number));
        }
        let next = number.checked_add(1)?;
        let follows = |chain: &Chain| chain.previous == Some(self.end.sha256);
        self.own().find(|chain| chain.first_number == next && !follows(chain)).map(|_| {
            let text = format!(
                "the block does not follow block {number}, the one that an earlier run saw at the end of the chain"
            );
            self.say(FindingKind::Altered, text, next, next)
        })
    }

    /// Nothing has its place.
    fn lost(&self, told: &[Finding]) -> Option<Finding> {
        let end = self.end;
        let first = match self.own().map(|chain| chain.last_number).max() {
            Some(last) if last > end.number => {
                let longer = |chain: &&Chain| chain.last_number > end.number;
                let behind = |chain: &Chain| chain.first_number > end.number;
                let expired = || self.own().filter(longer).all(behind) && self.may_have_expired();
                if self.is_told(told) || expired() {
                    return None;
                }
                end.number
            }
            Some(last) => last.saturating_add(1),
            None if self.may_have_expired() => {
                let text = "the chain that an earlier run saw to its end is gone, and all that is there is newer: it is \
                            taken for expired, and forgotten";
                return Some(self.say(FindingKind::Note, text, end.number, end.number));
            }
            None => {
                let of_route = |chain: &&&Chain| may_be_one(end.route, chain.route);
                let theirs = || self.theirs.iter().filter(of_route);
                if theirs().any(|chain| chain.last > end.last) {
                    end.number
                } else {
                    let behind = theirs().map(|chain| chain.last_number.saturating_add(1));
                    behind.filter(|first| *first <= end.number).max().unwrap_or(end.number)
                }
            }
        };
        let text = "an earlier run saw this block at the end of the chain; it is gone";
        Some(self.say(FindingKind::Missing, text, first, end.number))
    }

    /// Whether all that is there is newer: retention deletes the oldest first.
    fn may_have_expired(&self) -> bool {
        self.oldest.is_some_and(|oldest| oldest > self.end.last)
    }

    /// The chains that have a block of the same boot, which is of one chain.
    fn own(&self) -> impl Iterator<Item = &Chain> {
        self.theirs.iter().copied().filter(|chain| chain.is_of(self.end.boot))
    }

    /// Whether the walk misses the block, too.
    fn is_told(&self, told: &[Finding]) -> bool {
        let missing = told
            .iter()
            .filter(|finding| matches!(finding.kind, FindingKind::Missing | FindingKind::Gap));
        let numbers = missing
            .filter(|finding| finding.host.as_deref() == Some(self.host))
            .filter_map(|finding| finding.numbers);
        let mut numbers = numbers.map(|(first, last)| first..=last);
        numbers.any(|numbers| numbers.contains(&self.end.number))
    }

    fn say(&self, kind: FindingKind, text: impl Into<String>, first: u64, last: u64) -> Finding {
        Finding::new(kind, text).at(self.host, first, last)
    }
}
