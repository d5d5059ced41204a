//! Compacted blocks: what the manifests say takes the place of blocks that are not there any more.
//!
//! A manifest has the metadata of each of its blocks, so that chains are walked and signatures are
//! checked as if the blocks were there. What can be checked besides: that the manifests of a day follow
//! one another, that a block that is still there is the one that is named, that none is named twice,
//! and that each object is what its manifest says.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::finding::{Finding, FindingKind};
use super::inspect::{Inspected, Lens};
use super::parts::{self, InspectedPart};
use super::scope::Scope;
use super::signed::Signed;
use crate::block::Digest;
use crate::cli::Error;
use crate::cli::blocks::{FoundBlock, each};
use crate::cli::compacted::{self, Input, Loaded, Manifest, NotSigned, Part, manifests, read};
use crate::cli::settings::Source;
use crate::cli::terminal::Progress;
use crate::cli::terminal::output::counted;

/// What compaction has left of a stream.
#[derive(Debug, Default)]
pub(super) struct CompactedStream<'a> {
    pub(super) findings: Vec<Finding>,
    /// Blocks that manifests name and that are not there themselves.
    pub(super) blocks: Vec<Inspected<'a>>,
    /// Keys of all blocks that manifests name.
    pub(super) named: HashSet<Box<str>>,
    /// Objects that manifests name.
    pub(super) objects: u64,
    /// Blocks in objects whose lines only the holder of the key can count.
    pub(super) uncounted: u64,
    /// Keys that are neither a manifest's nor an object's.
    pub(super) foreign: Vec<String>,
}

/// Looks at the manifests and objects of a stream; `there` are the blocks that were looked at.
///
/// # Errors
/// The listing, or a manifest that could not be asked for.
pub(super) fn look<'a>(
    scope: Scope<'_>,
    source: &'a Source,
    lens: Lens<'_>,
    there: &[Inspected<'a>],
) -> Result<CompactedStream<'a>, Error> {
    let listed = manifests(source, scope.range.times(), &Progress::open("keys listed"))?;
    let mut looked = CompactedStream { foreign: listed.foreign.clone(), ..Default::default() };
    for (folder, number) in listed.gaps(scope.open_start) {
        let text = format!("manifest {number} of {folder} is not in the bucket");
        looked.findings.push(Finding::new(FindingKind::Missing, text));
    }
    let there: HashMap<&str, &Inspected<'a>> =
        there.iter().filter(|block| !block.gone).map(|block| (&*block.found.key, block)).collect();
    let mut hosts = HashMap::new();
    let mut objects: BTreeMap<String, Part> = BTreeMap::new();
    let mut before: Option<(&str, u32, Digest)> = None;
    for ((folder, number), key) in &listed.manifests {
        let Some(loaded) = read(source, key)? else {
            let text = "the manifest was deleted while this command ran";
            looked.findings.push(Finding::new(FindingKind::Missing, text).key(key));
            continue;
        };
        looked.itself(&loaded, lens);
        let follows = before.filter(|(in_folder, at, _)| (*in_folder, at + 1) == (folder, *number));
        before = Some((folder, *number, loaded.sha256));
        let manifest = match loaded.manifest {
            Ok(manifest) => manifest,
            Err(why) => {
                let text = format!("the manifest cannot be used: {why}");
                looked.findings.push(Finding::new(FindingKind::Altered, text).key(key));
                continue;
            }
        };
        let previous = follows.map(|(.., sha256)| sha256);
        if (previous.is_some() || *number == 1) && manifest.previous != previous {
            let text = "the manifest does not follow the one before: one of the two was altered";
            looked.findings.push(Finding::new(FindingKind::Altered, text).key(key));
        }
        looked.blocks_of(scope, source, &manifest, (lens, key), &there, &mut hosts);
        for part in manifest.parts {
            if let Some(twice) = objects.insert(part.key.clone(), part) {
                let text = "two manifests name this object";
                looked.findings.push(Finding::new(FindingKind::Doubled, text).key(&twice.key));
            }
        }
    }
    let left = listed.parts.keys().filter(|key| !objects.contains_key(*key)).count() as u64;
    if left > 0 {
        let text = format!(
            "{} that no manifest names: a run of s3log compact was ended, or is under way; nobody \
             reads them",
            counted(left, "compacted object")
        );
        looked.findings.push(Finding::new(FindingKind::Note, text));
    }
    let objects: Vec<Part> = objects.into_values().collect();
    looked.objects = objects.len() as u64;
    looked.contents(scope, source, lens, &objects);
    Ok(looked)
}

impl<'a> CompactedStream<'a> {
    fn say(&mut self, kind: FindingKind, text: impl Into<String>, key: &str) {
        self.findings.push(Finding::new(kind, text).key(key));
    }

    /// Whether a manifest is what its own metadata says, and who vouches for it.
    fn itself(&mut self, loaded: &Loaded, lens: Lens<'_>) {
        let key = &loaded.key;
        let get = |wanted: &str| {
            let mut pairs = loaded.metadata.iter();
            pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        };
        if get("sha256") != Some(loaded.sha256.to_string().as_str()) {
            let text = "the manifest does not have the hash that its metadata says";
            self.say(FindingKind::Altered, text, key);
        }
        match loaded.signed(lens.keys) {
            Ok(()) => {}
            Err(not @ NotSigned::Not) => self.say(FindingKind::Unsigned, not.to_string(), key),
            Err(NotSigned::Bad(bad)) => self.say(FindingKind::Forged, bad.to_string(), key),
        }
    }

    /// Takes in the blocks of a manifest.
    fn blocks_of(
        &mut self,
        scope: Scope<'_>,
        source: &'a Source,
        manifest: &Manifest,
        (lens, key): (Lens<'_>, &str),
        there: &HashMap<&str, &Inspected<'a>>,
        hosts: &mut HashMap<String, Arc<str>>,
    ) {
        let found = compacted::blocks(source, manifest, hosts);
        let inputs = manifest.parts.iter().flat_map(|part| &part.blocks);
        for (found, input) in found.into_iter().zip(inputs) {
            if !self.named.insert(found.key.clone()) {
                self.findings.push(
                    Finding::new(FindingKind::Doubled, "two manifests name this block")
                        .at(found.host.as_deref().unwrap_or("?"), found.number, found.number)
                        .key(&found.key)
                        .key(key),
                );
                continue;
            }
            if let Some(block) = there.get(&*found.key) {
                if let (Ok(meta), Ok(mut named)) = (&block.meta, input.meta()) {
                    // Judged, and not kept.
                    named.signature = None;
                    if **meta != named {
                        let text = "the block is not the one that the manifest names: one of the two \
                                    was altered";
                        self.findings.push(
                            Finding::new(FindingKind::Altered, text)
                                .at(&named.host, named.number, named.number)
                                .key(&found.key)
                                .key(key),
                        );
                    }
                }
                continue;
            }
            if scope.range.covers(&found) {
                self.blocks.push(of_manifest(found, input, lens));
            }
        }
    }

    /// Looks at the objects, many at a time.
    fn contents(&mut self, scope: Scope<'_>, source: &Source, lens: Lens<'_>, objects: &[Part]) {
        let progress = Progress::of(objects.len() as u64, "objects checked");
        let work = |part: &Part| parts::inspect(source, part, lens);
        each(objects, usize::from(scope.jobs), work, |place, inspected| {
            progress.add(1);
            let InspectedPart { mut findings, uncounted } = inspected;
            self.findings.append(&mut findings);
            if uncounted {
                self.uncounted += objects.get(place).map_or(0, |part| part.blocks.len()) as u64;
            }
            ControlFlow::Continue(())
        });
    }
}

/// A block as its manifest describes it.
fn of_manifest<'a>(found: FoundBlock<'a>, input: &Input, lens: Lens<'_>) -> Inspected<'a> {
    let pairs: Vec<(String, String)> =
        input.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let meta = input.meta().map_err(|error| error.to_string()).map(|mut meta| {
        // Judged by the pairs; there may be very many.
        meta.signature = None;
        Box::new(meta)
    });
    Inspected {
        len: found.size,
        meta,
        content: None,
        misnamed: false,
        lines: None,
        signed: Signed::of(&pairs, lens.keys),
        unchecked: None,
        gone: false,
        found,
    }
}
