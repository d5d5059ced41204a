//! Which blocks are fit to be compacted: what metadata and chain tell, before a byte is read.

use std::collections::{BTreeMap, HashSet};

use super::finding::FindingKind;
use super::inspect::{Lens, Mode};
use super::{signatures, stream};
use crate::block::sanitise;
use crate::cli::Error;
use crate::cli::blocks::{FoundBlock, Opener};
use crate::cli::settings::Source;
use crate::seal::Verifier;

/// Blocks sorted out.
pub(in crate::cli) struct Fit<'a> {
    /// In their order, without those of other streams and those that are gone.
    pub(in crate::cli) good: Vec<FoundBlock<'a>>,
    /// Keys of the others, with what is wrong.
    pub(in crate::cli) bad: BTreeMap<String, String>,
}

/// Sorts out `blocks`, which are part of a chain: blocks before and behind them, and missing ones among
/// them, are not asked for.
///
/// # Errors
/// A block that could not be asked for.
pub(in crate::cli) fn fit<'a>(
    source: &'a Source,
    blocks: &[FoundBlock<'a>],
    keys: &[Verifier],
    jobs: usize,
) -> Result<Fit<'a>, Error> {
    let opener = Opener::default();
    let lens = Lens { mode: Mode::Heads, opener: &opener, keys };
    let inspected = stream::look(jobs, blocks, lens);
    let (mut findings, _) = stream::judge(source, &inspected, true);
    findings.extend(signatures::judge(&source.settings, &inspected, keys));
    let mut bad = BTreeMap::new();
    for finding in findings {
        let ours = !matches!(finding.kind, FindingKind::Missing | FindingKind::Gap);
        if finding.kind == FindingKind::Unchecked {
            let key = finding.keys.first().cloned().unwrap_or_default();
            return Err(Error::Block { key, problem: finding.detail });
        }
        if ours && finding.kind.counts() {
            for key in finding.keys {
                bad.entry(key).or_insert_with(|| finding.detail.clone());
            }
        }
    }
    let stream = sanitise(&source.settings.stream);
    let ours: HashSet<&str> = inspected
        .iter()
        .filter(|block| block.meta.as_ref().is_ok_and(|meta| meta.stream == stream))
        .map(|block| &*block.found.key)
        .collect();
    let good =
        |found: &&FoundBlock<'_>| ours.contains(&*found.key) && !bad.contains_key(&*found.key);
    let good = blocks.iter().filter(good).cloned().collect();
    Ok(Fit { good, bad })
}
