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

    /// What was there at an earlier run and is not any more; and remembers what is there now.
    pub(super) fn compare(&mut self, stream: &str, chains: &[Chain]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let hosts = self.ends.entry(stream.to_owned()).or_default();
        for (host, ends) in hosts.iter() {
            for end in ends {
                findings.extend(missing(host, end, chains));
            }
        }
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

/// What became of a block that ended a chain.
fn missing(host: &str, end: &End, chains: &[Chain]) -> Option<Finding> {
    let theirs = |chain: &&Chain| chain.host == host && may_be_one(end.route, chain.route);
    // Only what stands in a chain: objects of other streams may have any metadata.
    let of_host = chains.iter().filter(|chain| chain.host == host);
    let same = of_host.filter_map(|chain| chain.sha256_of(end.boot, end.number)).next();
    if let Some(sha256) = same {
        return (sha256 != end.sha256).then(|| {
            let text = "the content differs from what an earlier run saw: the block was replaced";
            Finding::new(FindingKind::Altered, text).at(host, end.number, end.number)
        });
    }
    let reached = chains
        .iter()
        .filter(theirs)
        .filter(|chain| chain.last_boot == end.boot || chain.first_boot == end.boot)
        .map(|chain| chain.last_number)
        .max();
    let first = match reached {
        // In the middle of a chain: the walk has said so already, or it expired.
        Some(last) if last > end.number => return None,
        Some(last) => last.saturating_add(1),
        None if chains.iter().filter(theirs).any(|chain| chain.last > end.last) => end.number,
        None => chains
            .iter()
            .filter(theirs)
            .map(|chain| chain.last_number.saturating_add(1))
            .filter(|first| *first <= end.number)
            .max()
            .unwrap_or(end.number),
    };
    let text = "an earlier run saw this block at the end of the chain; it is gone";
    Some(Finding::new(FindingKind::Missing, text).at(host, first, end.number))
}
