//! What the manifests of a day name already.
//!
//! Memory: 16 bytes a block.

use std::collections::HashSet;

use crate::block::Digest;
use crate::cli::Error;
use crate::cli::compacted::{Day, Manifest, manifests, read};
use crate::cli::settings::Source;
use crate::cli::terminal::Progress;
use crate::seal::Verifier;

/// The manifests of a stream's day.
#[derive(Debug)]
pub(super) struct Ledger {
    day: Day,
    named: Keys,
    /// Number of the manifest that comes next.
    next: u32,
    /// SHA-256 of the newest one.
    previous: Option<Digest>,
}

/// Keys, by the first half of their SHA-256.
#[derive(Debug, Default)]
pub(super) struct Keys(HashSet<[u8; 16]>);

impl Keys {
    /// Adds one.
    pub(super) fn insert(&mut self, key: &str) {
        self.0.insert(short(key));
    }

    /// Whether it is there.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.0.contains(&short(key))
    }
}

fn short(key: &str) -> [u8; 16] {
    let digest = Digest::of(key.as_bytes()).0;
    digest.first_chunk().copied().unwrap_or_default()
}

impl Ledger {
    /// Reads all manifests of a day.
    ///
    /// # Errors
    /// One that cannot be fetched or used: what it names could be compacted twice. One that no key of `keys` has
    /// signed, if there are any: what it names may be in no object.
    pub(super) fn read(source: &Source, day: Day, keys: &[Verifier]) -> Result<Self, Error> {
        let listed = manifests(source, (Some(day.start()), day.start()), &Progress::hidden())?;
        let mut ledger = Self { day, named: Keys::default(), next: 1, previous: None };
        for key in listed.manifests.values() {
            let failed = |problem: String| Error::Block { key: key.clone(), problem };
            let loaded = read(source, key)?
                .ok_or_else(|| failed("the manifest was deleted while this command ran".into()))?;
            loaded.signed(keys).map_err(|not| failed(not.to_string()))?;
            let manifest = loaded.manifest.map_err(|problem| {
                failed(format!("the manifest cannot be used: {problem}; run s3log verify"))
            })?;
            ledger.add(&manifest, loaded.sha256);
        }
        Ok(ledger)
    }

    /// Whose manifests these are.
    pub(super) const fn day(&self) -> Day {
        self.day
    }

    /// Whether a manifest names the block under `key`.
    pub(super) fn names(&self, key: &str) -> bool {
        self.named.contains(key)
    }

    /// Number and predecessor of the next manifest.
    pub(super) const fn next(&self) -> (u32, Option<Digest>) {
        (self.next, self.previous)
    }

    /// Takes down a manifest that was written, with the SHA-256 of its bytes.
    pub(super) fn add(&mut self, manifest: &Manifest, sha256: Digest) {
        for block in manifest.parts.iter().flat_map(|part| &part.blocks) {
            self.named.insert(&block.key);
        }
        self.next = manifest.number.saturating_add(1);
        self.previous = Some(sha256);
    }
}
