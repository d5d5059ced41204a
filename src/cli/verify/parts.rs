//! Compacted objects: whether each is what its manifest says, down to the lines of each block.

use std::io::{self, Read};

use super::finding::{Finding, FindingKind};
use super::inspect::{Hashed, Lens, Mode, Shared};
use crate::block::{Decoder, Digest, Hasher};
use crate::cli::blocks::patiently;
use crate::cli::compacted::{self, Form, Part, Place, forms};
use crate::cli::settings::Source;
use crate::cli::terminal::output::counted;
use crate::s3::{Answer, Outcome};

/// How often a connection may break within an object.
const BREAKS: u32 = 4;

/// What was found of an object.
#[derive(Debug, Default)]
pub(super) struct InspectedPart {
    pub(super) findings: Vec<Finding>,
    /// Lines were to be counted, and there is no key for them.
    pub(super) uncounted: bool,
}

/// Looks at an object as far as `lens` goes.
pub(super) fn inspect(source: &Source, part: &Part, lens: Lens<'_>) -> InspectedPart {
    let mut inspected = InspectedPart::default();
    let mut broken = None;
    for _ in 0..BREAKS {
        let looked = match lens.mode {
            Mode::Heads => heads(source, part),
            Mode::Download | Mode::Deep => contents(source, part, lens, &mut inspected.uncounted),
        };
        match looked {
            Ok(findings) => {
                inspected.findings = findings;
                return inspected;
            }
            Err(Trouble::Answer(answer)) if answer.outcome == Outcome::NoObject => {
                inspected.findings = vec![missing(part)];
                return inspected;
            }
            Err(Trouble::Answer(answer)) => {
                let text = answer.to_string();
                inspected.findings = vec![about(part, FindingKind::Unchecked, text)];
                return inspected;
            }
            Err(Trouble::Broken(error)) => broken = Some(error),
        }
    }
    let text = broken.map_or_else(String::new, |error| format!("the connection failed: {error}"));
    inspected.findings = vec![about(part, FindingKind::Unchecked, text)];
    inspected
}

enum Trouble {
    Answer(Answer),
    Broken(io::Error),
}

fn about(part: &Part, kind: FindingKind, text: impl Into<String>) -> Finding {
    Finding::new(kind, text).key(&part.key)
}

/// A length that is not what the manifest says.
fn length(part: &Part, has: u64) -> Option<Finding> {
    let said = part.bytes;
    if has < said {
        let text = format!("the last {} of {said} bytes are missing", said - has);
        return Some(about(part, FindingKind::Cut, text));
    }
    (has > said).then(|| {
        let text = format!("the object has {has} bytes, but {said} were written");
        about(part, FindingKind::Altered, text)
    })
}

fn heads(source: &Source, part: &Part) -> Result<Vec<Finding>, Trouble> {
    let head = patiently(|| source.client.head(&part.key)).map_err(Trouble::Answer)?;
    if let Some(finding) = head.len.and_then(|len| length(part, len)) {
        return Ok(vec![finding]);
    }
    let named = head.metadata.iter().find(|(name, _)| name == "sha256");
    let named = named.and_then(|(_, text)| text.parse::<Digest>().ok());
    Ok(if named == Some(part.sha256) {
        Vec::new()
    } else {
        let text = "its metadata does not have the hash that the manifest says";
        vec![about(part, FindingKind::Altered, text)]
    })
}

fn contents(
    source: &Source,
    part: &Part,
    lens: Lens<'_>,
    uncounted: &mut bool,
) -> Result<Vec<Finding>, Trouble> {
    let got = patiently(|| source.client.get(&part.key)).map_err(Trouble::Answer)?;
    // The decoder reads from one end, the hasher from the other.
    let mut body = Shared::new(Hashed::new(got.body));
    let mut findings = Vec::new();
    let (form, seal) = forms(&part.key).unwrap_or((Form::Lines(crate::block::Kind::None), ""));
    if let (Mode::Deep, Form::Lines(codec)) = (lens.mode, form) {
        let opened = lens.opener.open(seal, body.clone());
        let read = opened.and_then(|body| Decoder::expecting(body, codec));
        match read.and_then(|lines| slices(part, lines)) {
            Ok(wrong) => findings = wrong,
            // Only the holder of the key can count.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => *uncounted = true,
            Err(error) => findings = vec![undecodable(part, &error)],
        }
    }
    let rest = io::copy(&mut body, &mut io::sink());
    let (len, sha256, failed) = body.ended();
    if let Some(error) = failed.or(rest.err()) {
        return Err(Trouble::Broken(error));
    }
    // With other bytes, what the decoder says of them adds nothing.
    if let Some(finding) = length(part, len) {
        return Ok(vec![finding]);
    }
    if sha256 != part.sha256 {
        let text = "the content is not what was written: same length, different bytes";
        return Ok(vec![about(part, FindingKind::Altered, text)]);
    }
    if (lens.mode, form) == (Mode::Deep, Form::Columns) {
        // Decoded from its end, and only with the hash that it had.
        let place = Place { key: part.key.as_str().into(), size: part.bytes, form, seal };
        let read = compacted::lines(source, &place, None).and_then(|lines| slices(part, lines));
        findings = read.unwrap_or_else(|error| vec![unread(part, &error)]);
    }
    Ok(findings)
}

fn missing(part: &Part) -> Finding {
    let blocks = counted(part.blocks.len() as u64, "block");
    let text = format!("the compacted object with the lines of {blocks} is not in the bucket");
    about(part, FindingKind::Missing, text)
}

/// Why there are no lines of a Parquet object: only [`io::ErrorKind::InvalidData`] speaks of its bytes.
/// Connections that broke were made again by `compacted::lines`.
fn unread(part: &Part, error: &io::Error) -> Finding {
    match error.kind() {
        io::ErrorKind::InvalidData => undecodable(part, error),
        io::ErrorKind::NotFound => missing(part),
        io::ErrorKind::Unsupported => {
            let text = format!("its bytes are those that were written, its lines unread: {error}");
            about(part, FindingKind::Unchecked, text)
        }
        _ => about(part, FindingKind::Unchecked, error.to_string()),
    }
}

fn undecodable(part: &Part, error: &io::Error) -> Finding {
    about(part, FindingKind::Altered, format!("the object cannot be decompressed: {error}"))
}

/// How many blocks have other lines than those that the manifest names.
///
/// # Errors
/// Those of `lines`.
pub(in crate::cli) fn wrong_blocks(part: &Part, lines: impl Read) -> io::Result<usize> {
    slices(part, lines).map(|findings| findings.len())
}

/// Hashes and counts the lines of each block.
fn slices(part: &Part, mut lines: impl Read) -> io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    for block in &part.blocks {
        // `Manifest::parse` lets no other through.
        let Ok(meta) = block.meta() else { continue };
        let mut left = Read::by_ref(&mut lines).take(meta.raw_bytes);
        let (mut hasher, mut records) = (Hasher::default(), 0);
        loop {
            match left.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    let got = buffer.get(..n).unwrap_or_default();
                    hasher.update(got);
                    records += memchr::memchr_iter(b'\n', got).count() as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if hasher.digest() != block.lines || records != meta.records {
            let text = "the lines of the block are not those that its manifest says";
            let finding = about(part, FindingKind::Altered, text);
            findings.push(finding.at(&meta.host, meta.number, meta.number));
        }
    }
    if io::copy(&mut lines, &mut io::sink())? > 0 {
        let text = "it has lines of no block that its manifest names";
        findings.push(about(part, FindingKind::Altered, text));
    }
    Ok(findings)
}
