//! Whether each block is what its key and its metadata say.
//!
//! A block has an identity (host, boot, number) by its key and one by its metadata. Where the two
//! differ, and where content and metadata differ, the other blocks may tell what happened: the
//! identity or the content is another block's.

use std::collections::HashMap;

use super::finding::{Finding, FindingKind};
use super::inspect::Inspected;
use super::place;
use crate::block::{BootId, Digest, KeyParts, Kind, Meta, sanitise};
use crate::settings::Settings;

/// Host, boot and number.
type Identity<'a> = (&'a str, BootId, u64);

/// A block that has its place in a chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    pub(super) key: &'a str,
    pub(super) meta: &'a Meta,
}

/// What is wrong with blocks by themselves, and those that form the chains.
pub(super) fn tell<'a>(
    settings: &Settings,
    blocks: &'a [Inspected<'a>],
) -> (Vec<Finding>, Vec<Member<'a>>) {
    let stream = sanitise(&settings.stream);
    let mut told = Teller { findings: Vec::new(), by_key: HashMap::new(), by_sha: HashMap::new() };
    let mut readable = Vec::new();
    for block in blocks {
        if let Some((identity, meta)) = told.readable(&stream, block) {
            readable.push((block, identity, meta));
        }
    }
    for (block, identity, meta) in &readable {
        if *identity == of(meta) {
            told.by_key.insert(*identity, block);
        }
        told.by_sha.insert(meta.sha256, &block.found.key);
    }
    let mut members: HashMap<Identity<'a>, Member<'a>> = HashMap::new();
    let mut moved = Vec::new();
    for (block, identity, meta) in &readable {
        if *identity != of(meta) {
            moved.push((*block, *identity, *meta));
            continue;
        }
        told.itself(settings, block, meta);
        let member = Member { key: &block.found.key, meta };
        if let Some(first) = members.insert(*identity, member) {
            let text = "the block is stored twice, under two keys";
            let (host, _, number) = *identity;
            let finding = Finding::new(FindingKind::Doubled, text).at(host, number, number);
            told.findings.push(finding.key(first.key).key(member.key));
            // The one whose content is what others say of it stays.
            if told.by_key.get(identity).is_some_and(|block| *block.found.key == *first.key) {
                members.insert(*identity, first);
            }
        }
    }
    for member in told.moved(&moved) {
        members.entry(of(member.meta)).or_insert(member);
    }
    told.contents(&readable);
    let own = readable.iter().filter(|(_, identity, meta)| *identity == of(meta));
    let own: Vec<(&str, &Meta)> = own.map(|(block, _, meta)| (&*block.found.key, *meta)).collect();
    told.findings.extend(place::tell(&settings.naming, &own));
    (told.findings, members.into_values().collect())
}

/// Whether a block is one of another stream whose name ends alike: `web-access` of host `a` and `access` of host
/// `a-web` have keys of one shape.
pub(super) fn is_others(stream: &str, block: &Inspected<'_>) -> bool {
    let (Ok(meta), None, false) = (&block.meta, &block.unchecked, block.gone) else { return false };
    let parts = KeyParts::parse(&block.found.key);
    meta.stream != stream && parts.is_some_and(|parts| names(&parts, meta))
}

fn of(meta: &Meta) -> Identity<'_> {
    (&meta.host, meta.boot, meta.number)
}

struct Teller<'a> {
    findings: Vec<Finding>,
    /// Blocks that stand under their own keys.
    by_key: HashMap<Identity<'a>, &'a Inspected<'a>>,
    /// Which key has the metadata with this hash.
    by_sha: HashMap<Digest, &'a str>,
}

impl<'a> Teller<'a> {
    fn say(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The identity by the key, and the metadata, of a block that can be judged.
    fn readable(
        &mut self,
        stream: &str,
        block: &'a Inspected<'a>,
    ) -> Option<(Identity<'a>, &'a Meta)> {
        let key = &*block.found.key;
        let number = block.found.number;
        let told_host = block.found.host.as_deref().unwrap_or("?");
        if let Some(why) = &block.unchecked {
            let finding = Finding::new(FindingKind::Unchecked, why.clone());
            self.say(finding.at(told_host, number, number).key(key));
            return None;
        }
        if block.gone {
            // Listed and not there any more: the chain says that it is missing.
            return None;
        }
        let meta = match &block.meta {
            Ok(meta) => &**meta,
            Err(why) => {
                let text = format!("{why}: not a block, or its metadata was altered");
                let finding = Finding::new(FindingKind::Foreign, text);
                self.say(finding.at(told_host, number, number).key(key));
                return None;
            }
        };
        let parts = KeyParts::parse(key)?;
        let other = meta.stream != stream;
        let host = match parts.before_stream(stream) {
            _ if other && names(&parts, meta) => return None,
            _ if other => {
                let text = format!("a block of stream {}, host {}", meta.stream, meta.host);
                let finding = Finding::new(FindingKind::Foreign, text);
                self.say(finding.at(told_host, number, number).key(key));
                return None;
            }
            _ if names(&parts, meta) => meta.host.as_str(),
            Some(_) => block.found.host.as_deref().unwrap_or("?"),
            None => "?",
        };
        Some(((host, parts.boot, parts.number), meta))
    }

    /// Lengths, times and names of a block that is under its own key.
    fn itself(&mut self, settings: &Settings, block: &Inspected<'_>, meta: &Meta) {
        let key = &*block.found.key;
        let about = |kind, text: String| {
            Finding::new(kind, text).at(&meta.host, meta.number, meta.number).key(key)
        };
        let mut said = Vec::new();
        // With its bytes at hand, the content says it better; see `contents`.
        if block.content.is_none() {
            said.extend(length(block, meta).map(|(kind, text)| about(kind, text)));
        }
        let parts = KeyParts::parse(key);
        let told = parts.and_then(|parts| settings.naming.time(&parts));
        if told.is_some_and(|told| told != meta.first / 1_000_000_000) {
            let text = "key and metadata disagree on the time of the first record".to_owned();
            said.push(about(FindingKind::Altered, text));
        }
        if parts.is_some_and(|parts| parts.codec != meta.codec) {
            let text = "key and metadata disagree on the compression".to_owned();
            said.push(about(FindingKind::Altered, text));
        }
        let plain = parts.is_some_and(|parts| parts.seal.is_empty() && parts.codec == Kind::None);
        if plain && meta.codec == Kind::None && meta.bytes != meta.raw_bytes {
            let text = "the key says neither compressed nor encrypted, and the metadata another length than that of \
                        the lines: one of the two was altered";
            said.push(about(FindingKind::Altered, text.to_owned()));
        }
        if meta.first > meta.last {
            let text = "the last record is older than the first: the metadata was altered";
            said.push(about(FindingKind::Altered, text.to_owned()));
        }
        self.findings.append(&mut said);
    }

    /// Blocks whose key is another's than their metadata. Those whose own place is empty or was
    /// swapped with theirs are members all the same.
    fn moved(&mut self, moved: &[(&'a Inspected<'a>, Identity<'a>, &'a Meta)]) -> Vec<Member<'a>> {
        let there: HashMap<Identity<'a>, Identity<'a>> =
            moved.iter().map(|(_, identity, meta)| (*identity, of(meta))).collect();
        let keys: HashMap<Identity<'a>, &'a str> =
            moved.iter().map(|(block, identity, _)| (*identity, &*block.found.key)).collect();
        let mut members = Vec::new();
        for (block, identity, meta) in moved {
            let key = &*block.found.key;
            let own = of(meta);
            let (host, _, number) = *identity;
            let member = Member { key, meta };
            let named = format!("block {} of host {}, boot {}", meta.number, meta.host, meta.boot);
            if there.get(&own) == Some(identity) {
                members.push(member);
                // Told once, at the lower of the two.
                if *identity < own {
                    let text =
                        format!("the object contains {named}, whose object contains this block");
                    let finding = Finding::new(FindingKind::Swapped, text).at(host, number, number);
                    let other = keys.get(&own).copied().unwrap_or_default();
                    self.say(finding.key(key).key(other));
                }
            } else if let Some(original) = self.by_key.get(&own) {
                let original = original.found.key.to_string();
                let text = format!("the object contains {named} a second time");
                let finding = Finding::new(FindingKind::Doubled, text).at(host, number, number);
                self.say(finding.key(key).key(&original));
            } else {
                members.push(member);
                let text = format!("the object contains {named}, or its metadata was altered");
                self.say(
                    Finding::new(FindingKind::Altered, text).at(host, number, number).key(key),
                );
            }
        }
        members
    }

    /// Contents that are not what the metadata says.
    fn contents(&mut self, readable: &[(&'a Inspected<'a>, Identity<'a>, &'a Meta)]) {
        let held: HashMap<&str, Digest> = readable
            .iter()
            .filter_map(|(block, ..)| Some((&*block.found.key, block.content?)))
            .collect();
        for (block, (host, _, number), meta) in readable {
            let Some(content) = block.content else { continue };
            let key = &*block.found.key;
            let about = |kind, text: String| Finding::new(kind, text).at(host, *number, *number);
            if content == meta.sha256 {
                if block.len != meta.bytes {
                    let text = format!(
                        "the metadata says {} bytes, but the object has {}",
                        meta.bytes, block.len
                    );
                    self.say(about(FindingKind::Altered, text).key(key));
                }
                // Another compression than the metadata's is told by the key.
                let codec = KeyParts::parse(key).map(|parts| parts.codec);
                if block.misnamed && codec == Some(meta.codec) {
                    let text =
                        "the object is not what its suffix says, encrypted or not: it was renamed";
                    self.say(about(FindingKind::Altered, text.to_owned()).key(key));
                    continue;
                }
                match &block.lines {
                    Some(Ok((lines, bytes)))
                        if (*lines, *bytes) != (meta.records, meta.raw_bytes) =>
                    {
                        let text = format!(
                            "the metadata says {} records in {} bytes, but the block has {lines} in \
                             {bytes}: the metadata was altered",
                            meta.records, meta.raw_bytes
                        );
                        self.say(about(FindingKind::Altered, text).key(key));
                    }
                    Some(Err(why)) => {
                        let text = format!("the block cannot be decompressed: {why}");
                        self.say(about(FindingKind::Altered, text).key(key));
                    }
                    _ => {}
                }
                continue;
            }
            let source = self.by_sha.get(&content).copied();
            match source {
                Some(other) if held.get(other) == Some(&meta.sha256) => {
                    if key < other {
                        let text = "the contents of these two blocks are swapped";
                        let finding = about(FindingKind::Swapped, text.to_owned());
                        self.say(finding.key(key).key(other));
                    }
                }
                Some(other) => {
                    let text = "the content was replaced with that of another block";
                    self.say(about(FindingKind::Altered, text.to_owned()).key(key).key(other));
                }
                None => {
                    let (kind, text) = length(block, meta).unwrap_or_else(|| {
                        let text =
                            "the content is not what was sealed: same length, different bytes";
                        (FindingKind::Altered, text.to_owned())
                    });
                    self.say(about(kind, text).key(key));
                }
            }
        }
    }
}

/// Whether a key ends in the names and numbers of the metadata.
fn names(parts: &KeyParts<'_>, meta: &Meta) -> bool {
    let host = parts.before_stream(&meta.stream).and_then(|head| head.strip_suffix(&*meta.host));
    host.is_some_and(|head| head.is_empty() || head.ends_with('-'))
}

/// A length that is not what the metadata says.
fn length(block: &Inspected<'_>, meta: &Meta) -> Option<(FindingKind, String)> {
    let (has, sealed) = (block.len, meta.bytes);
    if has < sealed {
        let text = format!("the last {} of {sealed} bytes are missing", sealed - has);
        return Some((FindingKind::Cut, text));
    }
    (has > sealed).then(|| {
        let text = format!("the object has {has} bytes, but {sealed} were sealed");
        (FindingKind::Altered, text)
    })
}
