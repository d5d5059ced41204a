//! The manifests of a range of time, and the blocks that they name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read as _;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::key::{CompactKey, Day, Object, forms, root};
use super::manifest::{BYTES_MAX, Manifest};
use super::place::{Place, Within};
use crate::block::{Digest, KeyParts, sanitise};
use crate::cli::Error;
use crate::cli::blocks::{FoundBlock, in_order, patiently, walk};
use crate::cli::settings::Source;
use crate::cli::terminal::{Complaints, Progress};
use crate::s3::Outcome;

/// More days than this are listed at once.
const DAYS: usize = 40;

/// Manifests that are fetched at a time: each is held whole.
const JOBS: usize = 4;

/// How often a connection may break within a manifest.
const BREAKS: u32 = 4;

/// What a listing of a stream's compacted objects came to.
#[derive(Debug, Default)]
pub(in crate::cli) struct Listed {
    /// Keys of manifests by folder and number.
    pub(in crate::cli) manifests: BTreeMap<(String, u32), String>,
    /// Objects with lines, and their sizes.
    pub(in crate::cli) parts: BTreeMap<String, u64>,
    /// Keys of objects that compaction does not make.
    pub(in crate::cli) foreign: Vec<String>,
}

/// A manifest as it was read.
#[derive(Debug)]
pub(in crate::cli) struct Loaded {
    /// Its key.
    pub(in crate::cli) key: String,
    /// Of its bytes.
    pub(in crate::cli) sha256: Digest,
    /// Its bytes, which a signature is about.
    pub(in crate::cli) text: String,
    /// Its own metadata.
    pub(in crate::cli) metadata: Vec<(String, String)>,
    /// What it says, or why it cannot be used.
    pub(in crate::cli) manifest: Result<Manifest, String>,
}

/// Lists what compaction has left of the days from `since` to `until`, in ns since 1970; others may
/// be among them. A stretch of time starts on the day that the blocks in it do.
///
/// # Errors
/// A page that cannot be fetched.
pub(in crate::cli) fn manifests(
    source: &Source,
    (since, until): (Option<u64>, u64),
    progress: &Progress,
) -> Result<Listed, Error> {
    let mut listed = Listed::default();
    let mut prefixes = Vec::new();
    if let Some(since) = since {
        let mut day = Day::of(since);
        while day <= Day::of(until) && prefixes.len() <= DAYS {
            prefixes.push(day.folder(&source.settings));
            day = day.next();
        }
    }
    if since.is_none() || prefixes.len() > DAYS {
        prefixes = vec![root(&source.settings)];
    }
    let stream = sanitise(&source.settings.stream);
    for prefix in prefixes {
        walk(source, &prefix, progress, |entries| {
            for entry in entries {
                match CompactKey::parse(&entry.key).filter(|key| key.stream == stream) {
                    Some(CompactKey { folder, object: Object::Manifest(number), .. }) => {
                        listed.manifests.insert((folder.to_owned(), number), entry.key);
                    }
                    Some(_) => {
                        listed.parts.insert(entry.key, entry.size);
                    }
                    None if entry.key.ends_with('/') => {}
                    None => listed.foreign.push(entry.key),
                }
            }
            Ok(())
        })?;
    }
    Ok(listed)
}

impl Listed {
    /// Numbers of manifests that are missing before one that is there, with the folder. With
    /// `open_start` the first ones of the oldest day may be: a retention rule deletes them, and those
    /// of a day's last hours are a day younger.
    pub(in crate::cli) fn gaps(&self, open_start: bool) -> Vec<(&str, u32)> {
        let mut gaps = Vec::new();
        let mut expected: Option<(&str, u32)> = None;
        for (folder, number) in self.manifests.keys() {
            let first = match expected {
                Some((of, next)) if of == folder => next,
                None if open_start => *number,
                _ => 1,
            };
            gaps.extend((first..*number).map(|missing| (folder.as_str(), missing)));
            expected = Some((folder, number.saturating_add(1)));
        }
        gaps
    }
}

/// Fetches a manifest; `None` when it is not there.
///
/// # Errors
/// The answer of the gateway.
pub(in crate::cli) fn read(source: &Source, key: &str) -> Result<Option<Loaded>, Error> {
    let mut tries = 0;
    loop {
        let got = match patiently(|| source.client.get(key)) {
            Ok(got) => got,
            Err(answer) if answer.outcome == Outcome::NoObject => return Ok(None),
            Err(answer) => return Err(Error::gateway(format!("get {key}"), answer)),
        };
        let mut bytes = Vec::new();
        let read = got.body.take(BYTES_MAX + 1).read_to_end(&mut bytes);
        match read {
            Ok(_) if got.len.is_none_or(|len| len == bytes.len() as u64) => {}
            Ok(len) if len as u64 > BYTES_MAX => {}
            _ if tries < BREAKS => {
                tries += 1;
                continue;
            }
            Ok(_) => return Err(broken(key, "the connection ended early")),
            Err(error) => return Err(broken(key, &error.to_string())),
        }
        let sha256 = Digest::of(&bytes);
        let manifest = if bytes.len() as u64 > BYTES_MAX {
            Err(format!("it has more than {} MiB", BYTES_MAX >> 20))
        } else {
            Manifest::parse(key, &bytes)
        };
        let text = String::from_utf8(bytes).unwrap_or_default();
        let metadata = got.metadata;
        return Ok(Some(Loaded { key: key.to_owned(), sha256, text, metadata, manifest }));
    }
}

fn broken(key: &str, problem: &str) -> Error {
    Error::Block { key: key.to_owned(), problem: problem.to_owned() }
}

/// The blocks that the manifests of a range of time name, see [`manifests`]. Says which manifests are
/// missing, but for those that may have expired.
///
/// # Errors
/// A manifest that cannot be fetched or used.
pub(in crate::cli) fn load<'a>(
    source: &'a Source,
    times: (Option<u64>, u64),
    complaints: &mut Complaints,
) -> Result<Vec<FoundBlock<'a>>, Error> {
    let (listed, loaded) = {
        let progress = Progress::open("keys listed");
        let listed = manifests(source, times, &progress)?;
        let progress = Progress::of(listed.manifests.len() as u64, "manifests");
        let keys: Vec<&String> = listed.manifests.values().collect();
        let mut found = Vec::new();
        let mut hosts = HashMap::new();
        let work = |key: &&String, send: &Sender<Result<Option<Loaded>, Error>>| {
            // Whoever does not listen any more has ended the work.
            let _ = send.send(read(source, key));
        };
        in_order(&keys, JOBS, 1, work, |key, answers| {
            progress.add(1);
            for loaded in answers {
                let Some(loaded) = loaded? else { continue };
                let manifest = loaded.manifest.map_err(|problem| {
                    let text = format!("the manifest cannot be used: {problem}; run s3log verify");
                    broken(key, &text)
                })?;
                found.append(&mut blocks(source, &manifest, &mut hosts));
            }
            Ok::<(), Error>(())
        })?;
        (listed, found)
    };
    for (folder, number) in listed.gaps(true) {
        complaints.say(&format!(
            "manifest {number} of {folder} is missing: lines of blocks that were deleted after \
             compaction may be left out; run s3log verify"
        ));
    }
    Ok(loaded)
}

/// The blocks that a manifest names, in its order.
pub(in crate::cli) fn blocks<'a>(
    source: &'a Source,
    manifest: &Manifest,
    hosts: &mut HashMap<String, Arc<str>>,
) -> Vec<FoundBlock<'a>> {
    let mut found = Vec::new();
    for part in &manifest.parts {
        // What `Manifest::parse` lets through has a name that tells.
        let Some((form, seal)) = forms(&part.key) else { continue };
        let (key, size) = (part.key.as_str().into(), part.bytes);
        let place = Arc::new(Place { key, size, form, seal });
        let mut at = 0u64;
        for (block, input) in (0..).zip(&part.blocks) {
            let Ok(meta) = input.meta() else { continue };
            let known = hosts.entry(meta.host.clone());
            let host = Arc::clone(known.or_insert_with(|| Arc::from(meta.host.as_str())));
            let within = Within {
                place: Arc::clone(&place),
                block,
                at,
                bytes: meta.raw_bytes,
                records: meta.records,
                last: meta.last,
                beside: false,
            };
            at = at.saturating_add(meta.raw_bytes);
            // By its key as a listing tells it, so that both have one place in the order of time.
            let told = KeyParts::parse(&input.key)
                .and_then(|parts| source.settings.naming.time(&parts))
                .unwrap_or(meta.first / 1_000_000_000);
            found.push(FoundBlock {
                key: input.key.as_str().into(),
                size: meta.bytes,
                boot: meta.boot,
                number: meta.number,
                time: Some(told),
                host: Some(host),
                source,
                within: Some(Box::new(within)),
            });
        }
    }
    found
}

/// The blocks of a stream, each once: one that a manifest names is read from the compacted object.
pub(in crate::cli) fn merge<'a>(
    found: Vec<FoundBlock<'a>>,
    compacted: Vec<FoundBlock<'a>>,
) -> Vec<FoundBlock<'a>> {
    if compacted.is_empty() {
        return found;
    }
    let listed: HashSet<Box<str>> = found.iter().map(|block| block.key.clone()).collect();
    let mut named: HashSet<Box<str>> = HashSet::with_capacity(compacted.len());
    let mut all = Vec::with_capacity(found.len());
    for mut block in compacted {
        if let Some(within) = &mut block.within {
            within.beside = listed.contains(&block.key);
        }
        if named.insert(block.key.clone()) {
            all.push(block);
        }
    }
    all.extend(found.into_iter().filter(|block| !named.contains(&block.key)));
    all
}
