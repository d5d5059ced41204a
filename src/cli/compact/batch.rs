//! The blocks of a manifest: sorted out, written to objects, named.
//!
//! A block that turns out bad after some of its lines were written makes the objects of this attempt
//! useless, and the batch is written once more without it.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use serde::Serialize;

use super::ledger::Ledger;
use super::lines::{Checked, Item, QUEUE, pump};
use super::part::{Target, Writing, Written};
use super::upload;
use crate::block::{Digest, KeyParts, sanitise};
use crate::cli::Error;
use crate::cli::blocks::{FoundBlock, Opener, in_order};
use crate::cli::compacted::{self, Day, FORMAT, Input, Manifest, Part};
use crate::cli::settings::Source;
use crate::cli::terminal::{Complaints, Progress};
use crate::cli::verify::{Fit, fit};
use crate::seal::{Sealing, Signer, Verifier};

/// How blocks are compacted.
#[derive(Debug)]
pub(super) struct Batcher {
    pub(super) opener: Opener,
    /// Whose signatures blocks must have; none are asked for when empty.
    pub(super) keys: Vec<Verifier>,
    pub(super) signer: Option<Signer>,
    pub(super) sealing: Option<Sealing>,
    /// Lines of encrypted blocks may be written unencrypted.
    pub(super) unencrypted: bool,
    pub(super) target: Target,
    pub(super) max_bytes: u64,
    pub(super) temp_dir: PathBuf,
    pub(super) jobs: usize,
}

/// What a manifest came to.
#[derive(Debug, Serialize)]
pub(super) struct Compacted {
    pub(super) manifest: String,
    pub(super) blocks: u64,
    pub(super) hosts: u64,
    pub(super) records: u64,
    pub(super) raw_bytes: u64,
    /// Records that are not of the format of a Parquet object.
    pub(super) unparsed: u64,
    /// Of the blocks.
    pub(super) stored_bytes: u64,
    pub(super) objects: u64,
    pub(super) object_bytes: u64,
    /// Of the manifest's bytes.
    #[serde(skip)]
    pub(super) sha256: Digest,
}

/// Why the objects of an attempt are of no use.
enum Stop {
    /// The block under this key is not what it says, or is gone.
    Without(String, Option<String>),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Batcher {
    /// Compacts `blocks`, all of one stretch of time and in order. `None` when none of them can be, or
    /// another run has done it. The ledger is one that can be gone by, and may not be so afterwards.
    ///
    /// # Errors
    /// A request that is not about a single block, a temporary file, or a key that is missing.
    pub(super) fn run(
        &self,
        source: &Source,
        ledger: &mut Ledger,
        stretch: (u64, u64),
        blocks: &[FoundBlock<'_>],
        complaints: &mut Complaints,
    ) -> Result<Option<Compacted>, Error> {
        let Fit { mut good, bad } = fit(source, blocks, &self.keys, self.jobs)?;
        // Of these alone: others may be of a stream whose blocks have keys of the same shape.
        self.may_read(source, &good)?;
        let mut left_out = |key: &str, why: &str| {
            complaints.say(&format!("{key}: {why}; not compacted, see s3log verify"));
        };
        bad.iter().for_each(|(key, why)| left_out(key, why));
        let parts = loop {
            if good.is_empty() {
                return Ok(None);
            }
            match self.write(source, stretch.0, &good) {
                Ok(parts) => break parts,
                Err(Stop::Without(key, why)) => {
                    if let Some(why) = why {
                        left_out(&key, &why);
                    }
                    good.retain(|found| *found.key != *key);
                }
                Err(Stop::Failed(error)) => return Err(error),
            }
        };
        self.name(source, ledger, stretch, parts, complaints)
    }

    /// Nothing that is encrypted is written unencrypted because nobody has said a word about it.
    fn may_read(&self, source: &Source, blocks: &[FoundBlock<'_>]) -> Result<(), Error> {
        let sealed = |found: &&FoundBlock<'_>| {
            KeyParts::parse(&found.key).is_some_and(|parts| !parts.seal.is_empty())
        };
        match blocks.iter().find(sealed) {
            Some(found) if self.sealing.is_none() && !self.unencrypted => {
                Err(Error::Usage(format!(
                    "stream {}: {} is encrypted, and it is not said what the compacted objects are to \
                     be: give --encrypt-to KEYS, or --unencrypted",
                    source.settings.stream, found.key
                )))
            }
            _ => Ok(()),
        }
    }

    /// Writes and stores the objects.
    fn write(
        &self,
        source: &Source,
        start: u64,
        blocks: &[FoundBlock<'_>],
    ) -> Result<Vec<Part>, Stop> {
        let progress = Progress::of(blocks.len() as u64, "blocks compacted");
        let mut parts: Vec<Part> = Vec::new();
        let mut open: Option<Writing> = None;
        let failed = |error| Stop::Failed(self.file(error));
        let work = |found: &FoundBlock<'_>, send: &crossbeam_channel::Sender<Item>| {
            pump(found, &self.opener, &self.temp_dir, self.target.longest(), send);
        };
        in_order(blocks, self.jobs, QUEUE, work, |found, items| {
            if let Some(full) = open.take_if(|part| part.is_full(found.size, self.max_bytes)) {
                let full = full.finish().map_err(failed)?;
                parts.push(self.store(source, start, parts.len() + 1, full)?);
            }
            let part = match &mut open {
                Some(part) => part,
                None => {
                    let new = Writing::new(&self.temp_dir, &self.target, self.sealing.as_ref());
                    open.insert(new.map_err(failed)?)
                }
            };
            for item in items {
                match item {
                    Item::Start(meta) => part.start(&meta.host, meta.first, found.size),
                    Item::Lines(lines) => part.add(&lines).map_err(failed)?,
                    Item::End(checked) => {
                        let Checked { meta, metadata, lines } = *checked;
                        let block = Input { key: found.key.to_string(), lines, metadata };
                        part.end(block, meta.records, meta.raw_bytes).map_err(failed)?;
                    }
                    Item::Bad(why) => return Err(Stop::Without(found.key.to_string(), Some(why))),
                    Item::Gone => return Err(Stop::Without(found.key.to_string(), None)),
                    Item::Failed(error) => return Err(Stop::Failed(error)),
                }
            }
            progress.add(1);
            Ok(())
        })?;
        if let Some(part) = open {
            let last = part.finish().map_err(failed)?;
            parts.push(self.store(source, start, parts.len() + 1, last)?);
        }
        Ok(parts)
    }

    fn file(&self, source: io::Error) -> Error {
        Error::File { path: self.temp_dir.display().to_string(), source }
    }

    /// Stores an object.
    fn store(
        &self,
        source: &Source,
        start: u64,
        number: usize,
        written: Written,
    ) -> Result<Part, Error> {
        let Written { content, records, raw_bytes, unparsed, blocks } = written;
        let (sha256, bytes) = (content.sha256(), content.len());
        let seal = self.sealing.as_ref().map_or("", Sealing::suffix);
        let settings = &source.settings;
        let key = compacted::part(settings, start, number, &sha256, self.target.form(), seal);
        let mut metadata = upload::pairs("part", &sanitise(&settings.stream), sha256, bytes);
        metadata.push(("records".to_owned(), records.to_string()));
        metadata.push(("raw-bytes".to_owned(), raw_bytes.to_string()));
        upload::part(source, &key, &content, &metadata)?;
        Ok(Part { key, sha256, bytes, records, raw_bytes, unparsed, blocks })
    }

    /// Writes the manifest: from here on the objects are what is read.
    fn name(
        &self,
        source: &Source,
        ledger: &mut Ledger,
        (since, until): (u64, u64),
        parts: Vec<Part>,
        complaints: &mut Complaints,
    ) -> Result<Option<Compacted>, Error> {
        let (day, stream) = (Day::of(since), sanitise(&source.settings.stream));
        let text = day.text();
        let mut manifest = Manifest {
            format: FORMAT,
            stream: stream.clone(),
            day: text,
            number: 0,
            previous: None,
            since,
            until,
            parts,
        };
        loop {
            (manifest.number, manifest.previous) = ledger.next();
            let key = day.manifest(&source.settings, manifest.number);
            let text = serde_json::to_string(&manifest).map_err(io::Error::from)?;
            let sha256 = Digest::of(text.as_bytes());
            let mut metadata = upload::pairs("manifest", &stream, sha256, text.len() as u64);
            if let Some(signer) = &self.signer {
                let comment = compacted::comment(&stream, &manifest.day, manifest.number);
                upload::sign(&mut metadata, signer.sign(&text, &comment));
            }
            if upload::manifest(source, &key, &text, &metadata)? {
                ledger.add(&manifest, sha256);
                return Ok(Some(Compacted::of(key, sha256, &manifest)));
            }
            *ledger = Ledger::read(source, day, &self.keys)?;
            if let Some(why) = ledger.unusable() {
                complaints.say(why);
                return Ok(None);
            }
            let blocks = manifest.parts.iter().flat_map(|part| &part.blocks);
            if blocks.clone().any(|block| ledger.names(&block.key)) {
                complaints.say(&format!(
                    "stream {stream}: another run compacts the same blocks of {} at this time; run one \
                     at a time",
                    manifest.day
                ));
                return Ok(None);
            }
        }
    }
}

impl Compacted {
    fn of(key: String, sha256: Digest, manifest: &Manifest) -> Self {
        let mut done = Self {
            manifest: key,
            blocks: 0,
            hosts: 0,
            records: 0,
            raw_bytes: 0,
            unparsed: 0,
            stored_bytes: 0,
            objects: manifest.parts.len() as u64,
            object_bytes: 0,
            sha256,
        };
        let mut hosts = HashSet::new();
        for part in &manifest.parts {
            done.object_bytes += part.bytes;
            done.records += part.records;
            done.raw_bytes += part.raw_bytes;
            done.unparsed += part.unparsed;
            done.blocks += part.blocks.len() as u64;
            for block in &part.blocks {
                hosts.extend(block.metadata.get("host"));
                let bytes = block.metadata.get("bytes").and_then(|bytes| bytes.parse().ok());
                done.stored_bytes += bytes.unwrap_or(0u64);
            }
        }
        done.hosts = hosts.len() as u64;
        done
    }
}
