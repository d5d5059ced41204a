//! Deletes blocks that manifests name, after the objects with their lines were read back.
//!
//! Goes by the manifests in the bucket alone, so that a run that was ended is continued by the next.
//! A block is deleted when every object that its manifest names has the hash that the manifest says, and a
//! Parquet object the lines of each block, and the block itself is the one that the manifest names.
//!
//! That the lines of an object are those of the blocks is the word of whoever wrote the manifest, and anyone who can
//! write to the bucket could have. It is believed of the manifests that this run has written, and of those that its
//! own key has signed: that of a node is for blocks, and whoever has broken into the node could have those of all
//! others deleted. Of any other manifest the lines are read on both sides, of the object and of each block, and both
//! have the hash that the manifest says; and it has each pair of the block's metadata, which is all that is left of the
//! chain and of the signature.

use std::collections::HashSet;
use std::io::Read as _;
use std::ops::ControlFlow;

use super::batch::Batcher;
use super::ledger::Keys;
use super::lines::{Item, checked};
use super::plan::{Plan, SECOND};
use crate::block::{Decoder, Digest, Hasher, KeyParts};
use crate::cli::Error;
use crate::cli::blocks::{Listing, each, pages, patiently};
use crate::cli::compacted::{
    self, Day, Form, Input, Manifest, Part, Place, forms, manifests, read,
};
use crate::cli::settings::Source;
use crate::cli::terminal::{Complaints, Progress};
use crate::cli::verify::wrong_blocks;
use crate::s3::Outcome;
use crate::seal::{Signer, Verifier};

/// How often a connection may break within an object.
const BREAKS: u32 = 4;

/// Of whose blocks those can be deleted that manifests name.
pub(super) struct Deleter<'a> {
    pub(super) source: &'a Source,
    pub(super) plan: &'a Plan,
    /// How they were compacted.
    pub(super) batcher: &'a Batcher,
    /// SHA-256 of the manifests that this run has written.
    pub(super) written: HashSet<Digest>,
}

impl Deleter<'_> {
    /// Deletes what can be deleted of the stretches of the plan; how many blocks it were.
    ///
    /// # Errors
    /// The listing, or a manifest that cannot be fetched.
    pub(super) fn delete(&self, complaints: &mut Complaints) -> Result<u64, Error> {
        let (source, keys) = (self.source, &self.batcher.keys);
        let signer = self.batcher.signer.as_ref().map(Signer::verifier);
        let listed = manifests(source, self.plan.times(), &Progress::hidden())?;
        if listed.manifests.is_empty() {
            return Ok(0);
        }
        let there = self.there()?;
        let mut deleted = 0;
        for key in listed.manifests.values() {
            let Some(loaded) = read(source, key)? else { continue };
            let signed = loaded.signed(keys);
            let own = |own: &Verifier| loaded.signed(std::slice::from_ref(own)).is_ok();
            let believed =
                self.written.contains(&loaded.sha256) || signer.as_ref().is_some_and(own);
            let manifest = match loaded.manifest {
                Ok(manifest) => manifest,
                Err(problem) => {
                    complaints.say(&format!(
                        "{key}: the manifest cannot be used: {problem}; run s3log verify; none of its blocks is \
                         deleted"
                    ));
                    continue;
                }
            };
            let left = self.left(&manifest, &there);
            if left.is_empty() {
                continue;
            }
            if let Err(not) = signed {
                complaints.say(&format!("{key}: {not}; {} blocks are kept", left.len()));
                continue;
            }
            let strange = left.iter().find(|block| !believed && !self.is_of(&manifest, block));
            if let Some(block) = strange {
                complaints.say(&format!(
                    "{key}: it names {}, which is of another time; {} blocks are kept",
                    block.key,
                    left.len()
                ));
                continue;
            }
            deleted += self.of_manifest(&manifest, &left, believed, complaints);
        }
        Ok(deleted)
    }

    /// The keys of the stream's blocks that are in the bucket.
    fn there(&self) -> Result<Keys, Error> {
        let mut there = Keys::default();
        let mut listing = Listing::default();
        let progress = Progress::open("keys listed");
        pages(self.source, self.plan.times(), &progress, &mut listing, |found| {
            for block in found.drain(..) {
                there.insert(&block.key);
            }
            Ok(())
        })?;
        Ok(there)
    }

    /// The blocks of a manifest of a stretch that is due, those that are there.
    fn left<'m>(&self, manifest: &'m Manifest, there: &Keys) -> Vec<&'m Input> {
        if !self.plan.has(manifest.since, manifest.until) {
            return Vec::new();
        }
        let blocks = manifest.parts.iter().flat_map(|part| &part.blocks);
        blocks.filter(|block| there.contains(&block.key)).collect()
    }

    /// Whether a block is of the time of its manifest, and that of its day: readers look for its lines there. The time
    /// is that of its key or of its metadata, which differ where settings have changed meanwhile.
    fn is_of(&self, manifest: &Manifest, block: &Input) -> bool {
        let told = KeyParts::parse(&block.key)
            .and_then(|parts| self.source.settings.naming.time(&parts))
            .map(|seconds| seconds.saturating_mul(SECOND));
        let first = block.meta().ok().map(|meta| meta.first);
        let stretch = manifest.since..manifest.until;
        Day::of(manifest.since).text() == manifest.day
            && [told, first].iter().flatten().any(|time| stretch.contains(time))
    }

    fn of_manifest(
        &self,
        manifest: &Manifest,
        left: &[&Input],
        believed: bool,
        complaints: &mut Complaints,
    ) -> u64 {
        for part in &manifest.parts {
            if let Err(why) = self.is_whole(part, believed) {
                let kept = left.len();
                complaints.say(&format!("{}: {why}; {kept} blocks are kept", part.key));
                return 0;
            }
        }
        let progress = Progress::of(left.len() as u64, "blocks deleted");
        let mut failures = Vec::new();
        let mut deleted = 0;
        each(
            left,
            self.batcher.jobs,
            |block| self.remove(block, believed),
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
    fn remove(&self, block: &Input, believed: bool) -> Result<(), String> {
        let there = if believed { self.is_named(block) } else { self.has_named_lines(block) };
        if !there.map_err(|why| format!("not deleted: {why}"))? {
            return Ok(());
        }
        patiently(|| self.source.client.delete(&block.key))
            .map_err(|answer| format!("not deleted: {answer}"))
    }

    /// Whether the block is there; and then it says to be the one that the manifest names.
    fn is_named(&self, block: &Input) -> Result<bool, String> {
        let head = match patiently(|| self.source.client.head(&block.key)) {
            Ok(head) => head,
            Err(answer) if answer.outcome == Outcome::NoObject => return Ok(false),
            Err(answer) => return Err(answer.to_string()),
        };
        let sha256 =
            head.metadata.iter().find(|(name, _)| name == "sha256").map(|(_, value)| value);
        if sha256 != block.metadata.get("sha256") {
            return Err("it is not the block that the manifest names".to_owned());
        }
        Ok(true)
    }

    /// Whether the block is there; and then its bytes, all of its metadata and its lines are those that the manifest
    /// names.
    fn has_named_lines(&self, block: &Input) -> Result<bool, String> {
        let batcher = self.batcher;
        let checked = match checked(self.source, &block.key, &batcher.opener, &batcher.temp_dir) {
            Ok(checked) => checked,
            Err(Item::Failed(Error::Block { problem, .. }) | Item::Bad(problem)) => {
                return Err(problem);
            }
            Err(Item::Failed(error)) => return Err(error.to_string()),
            Err(_) => return Ok(false),
        };
        if checked.metadata != block.metadata {
            // Chain and signature are then the manifest's alone.
            return Err("its metadata is not what the manifest says".to_owned());
        }
        if checked.lines != block.lines {
            return Err("it has not the lines that the manifest names; one of the two was altered"
                .to_owned());
        }
        Ok(true)
    }

    /// Reads an object back and compares its hash with the manifest's, and its lines with those of its blocks.
    fn is_whole(&self, part: &Part, believed: bool) -> Result<(), String> {
        let mut breaks = 0;
        loop {
            let got = patiently(|| self.source.client.get(&part.key)).map_err(unread)?;
            let mut body = got.body.take(part.bytes.saturating_add(1));
            let mut hasher = Hasher::default();
            match std::io::copy(&mut body, &mut hasher) {
                Ok(len) if (len, hasher.digest()) == (part.bytes, part.sha256) => {
                    return self.has_lines(part, believed);
                }
                Ok(len) if got.len.is_none_or(|all| all == len) || len > part.bytes => {
                    return Err("it does not have the hash that its manifest says".to_owned());
                }
                _ if breaks < BREAKS => breaks += 1,
                Ok(_) => return Err(unread("the connection ended early")),
                Err(error) => return Err(unread(error)),
            }
        }
    }

    /// Whether the lines of an object are those of its blocks. Those of a Parquet object are written again from its
    /// columns; compressed lines are what was hashed, if whoever wrote the manifest is believed.
    fn has_lines(&self, part: &Part, believed: bool) -> Result<(), String> {
        let Some((form, seal)) = forms(&part.key) else { return Ok(()) };
        let wrong = match form {
            Form::Columns => {
                let place = Place { key: part.key.as_str().into(), size: part.bytes, form, seal };
                let lines = compacted::lines(self.source, &place, None);
                lines.and_then(|lines| wrong_blocks(part, lines))
            }
            Form::Lines(_) if believed => return Ok(()),
            Form::Lines(codec) => {
                let got = patiently(|| self.source.client.get(&part.key)).map_err(unread)?;
                let opened = self.batcher.opener.open(seal, got.body);
                let lines = opened.and_then(|body| Decoder::expecting(body, codec));
                lines.and_then(|lines| wrong_blocks(part, lines))
            }
        };
        match wrong {
            Ok(0) => Ok(()),
            Ok(_) => Err("it does not have the lines of its blocks".to_owned()),
            Err(error) => Err(unread(error)),
        }
    }
}

fn unread(why: impl std::fmt::Display) -> String {
    format!("it cannot be read back: {why}")
}
