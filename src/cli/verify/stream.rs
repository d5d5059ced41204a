//! One stream: its blocks are listed, looked at and judged, and those that come or go meanwhile are
//! neither forgotten nor accused.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use super::chain::{Chain, chains};
use super::compacted;
use super::finding::{Finding, FindingKind};
use super::inspect::{Inspected, Lens, inspect};
use super::scope::Scope;
use super::story;
use crate::block::sanitise;
use crate::cli::Error;
use crate::cli::blocks::{self, FoundBlock, Moved, each, filter, none_found};
use crate::cli::settings::Source;
use crate::cli::terminal::output::count;
use crate::cli::terminal::{Complaints, Progress};

/// What one stream came to.
pub(super) struct CheckedStream<'a> {
    pub(super) chains: Vec<Chain>,
    pub(super) findings: Vec<Finding>,
    pub(super) blocks: Vec<Inspected<'a>>,
    /// Blocks of other streams under the same prefix.
    pub(super) others: u64,
    /// Compacted objects.
    pub(super) objects: u64,
    /// Blocks that are there in compacted form only.
    pub(super) within: u64,
    /// Blocks in compacted objects whose lines only the holder of the key can count.
    pub(super) uncounted: u64,
}

/// Lists, looks at and judges the blocks of a stream.
///
/// # Errors
/// The listing, or metadata that a range needs.
pub(super) fn check<'a>(
    scope: Scope<'_>,
    source: &'a Source,
    lens: Lens<'_>,
    complaints: &mut Complaints,
) -> Result<CheckedStream<'a>, Error> {
    let listing = listed(scope, source)?;
    let (foreign, all, mut others) = (listing.foreign, listing.foreign_count, listing.others);
    let mut moved = Moved::default();
    let found = filter(listing.found, scope.range, Some(&mut moved), complaints)?;
    let mut seen: HashSet<Box<str>> = found.iter().map(|found| found.key.clone()).collect();
    let mut blocks = look(usize::from(scope.jobs), &found, lens);
    // The manifests after the blocks: blocks are deleted once a manifest names them.
    let mut compacted = compacted::look(scope, source, lens, &blocks)?;
    blocks.retain(|block| !(block.gone && compacted.named.contains(&block.found.key)));
    // After the manifests, which may name what has such metadata now.
    others += leave_out(source, &mut blocks);
    let within = compacted.blocks.len() as u64;
    blocks.append(&mut compacted.blocks);
    let (mut told, mut walked) = judge(source, &blocks, scope.open_start);
    if told.iter().any(|finding| matches!(finding.kind, FindingKind::Missing | FindingKind::Gap)) {
        // Blocks are uploaded several at a time: one that was missing may have come meanwhile.
        let again = listed(scope, source)?.found;
        let again = filter(again, scope.range, Some(&mut moved), complaints)?;
        let fresh: Vec<FoundBlock<'_>> =
            again.into_iter().filter(|found| seen.insert(found.key.clone())).collect();
        if !fresh.is_empty() {
            blocks.extend(look(usize::from(scope.jobs), &fresh, lens));
            others += leave_out(source, &mut blocks);
            (told, walked) = judge(source, &blocks, scope.open_start);
        }
    }
    told.extend(deleted(&blocks, &told, scope.open_start));
    if blocks.is_empty() {
        told.push(Finding::new(FindingKind::Empty, none_found(source)));
    }
    told.append(&mut compacted.findings);
    let unnamed = all - foreign.len() as u64;
    let listed: HashSet<&String> = foreign.iter().collect();
    let beside = compacted.foreign.iter().filter(|key| !listed.contains(key)).cloned();
    let foreign: Vec<String> = foreign.iter().cloned().chain(beside).collect();
    told.extend(
        foreign
            .into_iter()
            .map(|key| Finding::new(FindingKind::Foreign, "not the name of a block").key(&key)),
    );
    if unnamed > 0 {
        let text = format!("{} more objects that are not blocks", count(unnamed));
        told.push(Finding::new(FindingKind::Foreign, text));
    }
    let (objects, uncounted) = (compacted.objects, compacted.uncounted);
    let findings = told;
    Ok(CheckedStream { chains: walked, findings, blocks, others, objects, within, uncounted })
}

/// Leaves out the blocks of other streams; how many there were.
fn leave_out(source: &Source, blocks: &mut Vec<Inspected<'_>>) -> u64 {
    let (stream, before) = (sanitise(&source.settings.stream), blocks.len());
    blocks.retain(|block| !story::is_others(&stream, block));
    (before - blocks.len()) as u64
}

fn listed<'a>(scope: Scope<'_>, source: &'a Source) -> Result<blocks::Listing<'a>, Error> {
    let progress = Progress::open("keys listed");
    blocks::list(source, scope.range.times(), &progress)
}

/// Looks at each block, many at a time.
pub(super) fn look<'a>(
    jobs: usize,
    found: &[FoundBlock<'a>],
    lens: Lens<'_>,
) -> Vec<Inspected<'a>> {
    let mut slots: Vec<Option<Inspected<'a>>> = Vec::new();
    slots.resize_with(found.len(), || None);
    {
        let progress = Progress::of(found.len() as u64, "blocks checked");
        let work = |found: &FoundBlock<'a>| inspect(found, lens);
        each(found, jobs, work, |place, inspected| {
            progress.add(1);
            if let Some(slot) = slots.get_mut(place) {
                *slot = Some(inspected);
            }
            ControlFlow::Continue(())
        });
    }
    slots.into_iter().flatten().collect()
}

/// Whether all blocks that `finding` misses are there and could only not be read.
fn is_unread(finding: &Finding, blocks: &[Inspected<'_>]) -> bool {
    let (FindingKind::Missing | FindingKind::Gap, Some((first, last))) =
        (finding.kind, finding.numbers)
    else {
        return false;
    };
    let unread: HashSet<u64> = blocks
        .iter()
        .filter(|block| block.unchecked.is_some())
        .filter(|block| block.found.host.as_deref() == finding.host.as_deref())
        .map(|block| block.found.number)
        .collect();
    // As many numbers as there are blocks at most are looked at.
    (first..=last).take(unread.len() + 1).all(|number| unread.contains(&number))
}

/// Blocks that were deleted after they were listed, as far as no chain misses them: nothing
/// follows a chain's last block. With `open_start` the first ones may go.
fn deleted(blocks: &[Inspected<'_>], told: &[Finding], open_start: bool) -> Vec<Finding> {
    let lost = |kind| matches!(kind, FindingKind::Missing | FindingKind::Gap);
    let mut newest: HashMap<&str, u64> = HashMap::new();
    for block in blocks.iter().filter(|block| !block.gone) {
        let number = newest.entry(block.found.host.as_deref().unwrap_or("?")).or_default();
        *number = block.found.number.max(*number);
    }
    let mut findings = Vec::new();
    for block in blocks.iter().filter(|block| block.gone) {
        let (host, number) = (block.found.host.as_deref().unwrap_or("?"), block.found.number);
        let missed = told.iter().any(|finding| {
            let covers = finding.numbers.is_some_and(|(a, b)| (a..=b).contains(&number));
            lost(finding.kind) && covers && finding.host.as_deref() == Some(host)
        });
        let later = newest.get(host).is_some_and(|newest| *newest > number);
        if missed || (open_start && later) {
            continue;
        }
        let text = "the block was deleted while this command ran";
        let finding = Finding::new(FindingKind::Missing, text).at(host, number, number);
        findings.push(finding.key(&block.found.key));
    }
    findings
}

/// What the blocks tell, each by itself and all together.
pub(super) fn judge(
    source: &Source,
    blocks: &[Inspected<'_>],
    open_start: bool,
) -> (Vec<Finding>, Vec<Chain>) {
    let (mut findings, members) = story::tell(&source.settings, blocks);
    let (walked, broken) = chains(&members, open_start);
    findings.extend(broken.into_iter().filter(|finding| !is_unread(finding, blocks)));
    (findings, walked)
}
