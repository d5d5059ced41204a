//! Deletes blocks that manifests name, after the objects with their lines were read back.
//!
//! Goes by the manifests in the bucket alone, so that a run that was ended is continued by the next.
//! A block is deleted when every object that its manifest names has the hash that the manifest says, and a
//! Parquet object the lines of each block, and the block itself is the one that the manifest names.

use std::io::Read as _;
use std::ops::ControlFlow;

use super::ledger::Keys;
use super::plan::Plan;
use crate::block::Hasher;
use crate::cli::Error;
use crate::cli::blocks::{Listing, each, pages, patiently};
use crate::cli::compacted::{self, Form, Input, Manifest, Part, Place, forms, manifests, read};
use crate::cli::settings::Source;
use crate::cli::terminal::{Complaints, Progress};
use crate::cli::verify::wrong_blocks;
use crate::s3::{Answer, Outcome};

/// How often a connection may break within an object.
const BREAKS: u32 = 4;

/// Deletes what can be deleted of the stretches of `plan`; how many blocks it were.
///
/// # Errors
/// The listing, or a manifest that cannot be used.
pub(super) fn delete(
    source: &Source,
    plan: &Plan,
    jobs: u8,
    complaints: &mut Complaints,
) -> Result<u64, Error> {
    let listed = manifests(source, plan.times(), &Progress::hidden())?;
    if listed.manifests.is_empty() {
        return Ok(0);
    }
    let there = there(source, plan)?;
    let mut deleted = 0;
    for key in listed.manifests.values() {
        let Some(loaded) = read(source, key)? else { continue };
        let failed = |problem: String| Error::Block { key: key.clone(), problem };
        let manifest = loaded.manifest.map_err(|problem| {
            failed(format!("the manifest cannot be used: {problem}; run s3log verify"))
        })?;
        deleted += of_manifest(source, plan, &manifest, &there, jobs, complaints);
    }
    Ok(deleted)
}

/// The keys of the stream's blocks that are in the bucket.
fn there(source: &Source, plan: &Plan) -> Result<Keys, Error> {
    let mut there = Keys::default();
    let mut listing = Listing::default();
    let progress = Progress::open("keys listed");
    pages(source, plan.times(), &progress, &mut listing, |found| {
        for block in found.drain(..) {
            there.insert(&block.key);
        }
        Ok(())
    })?;
    Ok(there)
}

fn of_manifest(
    source: &Source,
    plan: &Plan,
    manifest: &Manifest,
    there: &Keys,
    jobs: u8,
    complaints: &mut Complaints,
) -> u64 {
    let blocks = manifest.parts.iter().flat_map(|part| &part.blocks);
    let left: Vec<&Input> = blocks.filter(|block| there.contains(&block.key)).collect();
    if left.is_empty() || !plan.has(manifest.since, manifest.until) {
        return 0;
    }
    for part in &manifest.parts {
        if let Err(why) = is_whole(source, part) {
            let kept = left.len();
            complaints.say(&format!("{}: {why}; {kept} blocks are kept", part.key));
            return 0;
        }
    }
    let progress = Progress::of(left.len() as u64, "blocks deleted");
    let mut failures = Vec::new();
    let mut deleted = 0;
    each(
        &left,
        usize::from(jobs),
        |block| remove(source, block),
        |place, done| {
            progress.add(1);
            match (done, left.get(place)) {
                (Ok(()), _) => deleted += 1,
                (Err(why), Some(block)) => failures.push(format!("{}: {why}", block.key)),
                (Err(_), None) => {}
            }
            ControlFlow::Continue(())
        },
    );
    drop(progress);
    failures.iter().for_each(|text| complaints.say(text));
    deleted
}

/// Deletes a block, if it is the one that the manifest names.
fn remove(source: &Source, block: &Input) -> Result<(), String> {
    let told = |answer: Answer| format!("not deleted: {answer}");
    let head = match patiently(|| source.client.head(&block.key)) {
        Ok(head) => head,
        Err(answer) if answer.outcome == Outcome::NoObject => return Ok(()),
        Err(answer) => return Err(told(answer)),
    };
    let sha256 = head.metadata.iter().find(|(name, _)| name == "sha256").map(|(_, value)| value);
    if sha256 != block.metadata.get("sha256") {
        return Err("not deleted: it is not the block that the manifest names".to_owned());
    }
    patiently(|| source.client.delete(&block.key)).map_err(told)
}

/// Reads an object back and compares its hash with the manifest's.
fn is_whole(source: &Source, part: &Part) -> Result<(), String> {
    let mut breaks = 0;
    loop {
        let got = patiently(|| source.client.get(&part.key))
            .map_err(|answer| format!("it cannot be read back: {answer}"))?;
        let mut body = got.body.take(part.bytes.saturating_add(1));
        let mut hasher = Hasher::default();
        match std::io::copy(&mut body, &mut hasher) {
            Ok(len) if (len, hasher.digest()) == (part.bytes, part.sha256) => {
                return has_lines(source, part);
            }
            Ok(len) if got.len.is_none_or(|all| all == len) || len > part.bytes => {
                return Err("it does not have the hash that its manifest says".to_owned());
            }
            _ if breaks < BREAKS => breaks += 1,
            Ok(_) => return Err("it cannot be read back: the connection ended early".to_owned()),
            Err(error) => return Err(format!("it cannot be read back: {error}")),
        }
    }
}

/// Whether the lines of a Parquet object, written again from its columns, are those of its blocks. Compressed
/// lines are what was hashed.
fn has_lines(source: &Source, part: &Part) -> Result<(), String> {
    let Some((Form::Columns, seal)) = forms(&part.key) else { return Ok(()) };
    let place =
        Place { key: part.key.as_str().into(), size: part.bytes, form: Form::Columns, seal };
    let wrong = compacted::lines(source, &place, None).and_then(|lines| wrong_blocks(part, lines));
    match wrong {
        Ok(0) => Ok(()),
        Ok(_) => Err("its rows do not give the lines of its blocks".to_owned()),
        Err(error) => Err(format!("it cannot be read back: {error}")),
    }
}
