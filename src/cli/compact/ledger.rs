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
    /// A manifest that nobody can go by, and why.
    unusable: Option<String>,
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
    /// Reads all manifests of a day, up to one that nobody can go by, see [`Ledger::unusable`]: one that is no manifest,
    /// because what it names could be compacted twice, or one that no key of `keys` has signed, if there are any,
    /// because what it names may be in no object. Anyone who can write to the bucket can put one there, so it
    /// is nothing that ends the command.
    ///
    /// # Errors
    /// The listing, or a manifest that cannot be fetched.
    pub(super) fn read(source: &Source, day: Day, keys: &[Verifier]) -> Result<Self, Error> {
        let listed = manifests(source, (Some(day.start()), day.start()), &Progress::hidden())?;
        let (named, previous, unusable) = (Keys::default(), None, None);
        let mut ledger = Self { day, named, next: 1, previous, unusable };
        for key in listed.manifests.values() {
            let why = match read(source, key)? {
                None => "the manifest was deleted while this command ran".to_owned(),
                Some(loaded) => match (loaded.signed(keys), loaded.manifest) {
                    (Ok(()), Ok(manifest)) => {
                        ledger.add(&manifest, loaded.sha256);
                        continue;
                    }
                    (Err(not), _) => not.to_string(),
                    (Ok(()), Err(problem)) => {
                        format!("the manifest cannot be used: {problem}; run s3log verify")
                    }
                },
            };
            ledger.unusable = Some(format!("{key}: {why}; nothing of its day is compacted"));
            break;
        }
        Ok(ledger)
    }

    /// Why nothing of the day can be compacted: a sentence about a manifest.
    pub(super) fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
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
