//! What a manifest says: which blocks went into which objects, and all that is needed to prove it.
//!
//! One JSON object. Each block is named with its key, with its metadata as it was in the bucket,
//! signature included, and with the SHA-256 of its lines. So the chain of the blocks can be walked
//! and their signatures checked when the blocks themselves are gone; and the lines of each block,
//! which follow one another in the object in the order in which they are named, can be hashed apart.
//! Each manifest of a stream's day names the SHA-256 of the one before.
//!
//! `docs/compaction.md` defines the format.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::key::{CompactKey, HASH, Object, forms};
use crate::block::{Digest, KeyParts, Meta, MetaError};

/// The version that this code writes and the newest that it reads.
pub(in crate::cli) const FORMAT: u32 = 1;

/// Most blocks that a manifest names: it is held in memory.
pub(in crate::cli) const INPUTS_MAX: usize = 10_000;

/// Longest manifest that is read, bytes.
pub(super) const BYTES_MAX: u64 = 64 << 20;

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Manifest {
    /// [`FORMAT`] of the release that wrote it.
    pub(in crate::cli) format: u32,
    /// The stream's name, sanitised.
    pub(in crate::cli) stream: String,
    /// `2026-11-22`, UTC.
    pub(in crate::cli) day: String,
    /// From 1, one more for each of the day.
    pub(in crate::cli) number: u32,
    /// SHA-256 of the manifest with the number before; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) previous: Option<Digest>,
    /// The stretch of time that the first records of the blocks are in: from `since` to before
    /// `until`, ns since 1970.
    pub(in crate::cli) since: u64,
    /// See there.
    pub(in crate::cli) until: u64,
    /// The objects, in the order of their lines.
    pub(in crate::cli) parts: Vec<Part>,
}

/// A compacted object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Part {
    /// Its key.
    pub(in crate::cli) key: String,
    /// Of its bytes, as they are in the bucket.
    pub(in crate::cli) sha256: Digest,
    /// Length of the object.
    pub(in crate::cli) bytes: u64,
    /// Lines in it.
    pub(in crate::cli) records: u64,
    /// Their bytes, newlines included, uncompressed and unencrypted.
    #[serde(rename = "raw-bytes")]
    pub(in crate::cli) raw_bytes: u64,
    /// Lines that a Parquet object has in one column, because they are not of the format; absent for none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(in crate::cli) unparsed: u64,
    /// The blocks, in the order of their lines.
    pub(in crate::cli) blocks: Vec<Input>,
}

const fn is_none(lines: &u64) -> bool {
    *lines == 0
}

/// A block that went into an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Input {
    /// The block's key.
    pub(in crate::cli) key: String,
    /// Of its lines, uncompressed and unencrypted.
    pub(in crate::cli) lines: Digest,
    /// The block's metadata, names without `x-amz-meta-`.
    pub(in crate::cli) metadata: BTreeMap<String, String>,
}

impl Input {
    /// What the block said of itself.
    ///
    /// # Errors
    /// A pair is missing or cannot be read.
    pub(in crate::cli) fn meta(&self) -> Result<Meta, MetaError> {
        Meta::from_pairs(|name| self.metadata.get(name).map(String::as_str))
    }
}

/// The trusted comment of a manifest's signature.
pub(in crate::cli) fn comment(stream: &str, day: &str, number: u32) -> String {
    format!("s3log {stream} manifest {day} {number}")
}

impl Manifest {
    /// Reads the manifest at `key`.
    ///
    /// # Errors
    /// A sentence: it is no manifest, does not agree with its key or with itself.
    pub(in crate::cli) fn parse(key: &str, bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if version.format > FORMAT {
            let format = version.format;
            return Err(format!(
                "it has format {format} and this release reads up to {FORMAT}: use a newer s3log"
            ));
        }
        let read: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        read.agrees(key)?;
        Ok(read)
    }

    /// Whether it is what its key says and its sums are right.
    fn agrees(&self, key: &str) -> Result<(), String> {
        let parsed = CompactKey::parse(key).ok_or("its name is not a manifest's")?;
        let day = format!("dt={}/", self.day);
        if parsed.stream != self.stream
            || !parsed.folder.ends_with(&day)
            || parsed.object != Object::Manifest(self.number)
        {
            let (stream, day, number) = (&self.stream, &self.day, self.number);
            return Err(format!("it is manifest {number} of stream {stream} and day {day}"));
        }
        for part in &self.parts {
            let there = CompactKey::parse(&part.key).filter(|of| of.folder == parsed.folder);
            if there.is_none_or(|of| of.object != Object::Part) || forms(&part.key).is_none() {
                return Err(format!(
                    "it names {}, which is no compacted object of its day",
                    part.key
                ));
            }
            if !part.key.contains(part.sha256.to_string().get(..HASH).unwrap_or_default()) {
                return Err(format!("the name of {} is not that of its hash", part.key));
            }
            let (mut records, mut bytes) = (0u64, 0u64);
            for block in &part.blocks {
                if KeyParts::parse(&block.key).is_none() {
                    return Err(format!("it names {}, which is no block", block.key));
                }
                let meta = block.meta().map_err(|error| format!("{}: {error}", block.key))?;
                if meta.stream != self.stream {
                    return Err(format!("{}: a block of stream {}", block.key, meta.stream));
                }
                records = records.saturating_add(meta.records);
                bytes = bytes.saturating_add(meta.raw_bytes);
            }
            if (records, bytes) != (part.records, part.raw_bytes) {
                return Err(format!(
                    "it says that {} has {} records in {} bytes, but its blocks have {records} in \
                     {bytes}",
                    part.key, part.records, part.raw_bytes
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Drops, Kind};

    const KEY: &str = "compact/access/dt=2026-11-22/manifest-0001.json";

    /// A manifest of one object with one block of `records` records and `raw_bytes` bytes.
    fn manifest(records: u64, raw_bytes: u64) -> Manifest {
        let mut meta = Meta::long("access", "edge-1", true);
        (meta.records, meta.raw_bytes, meta.codec) = (records, raw_bytes, Kind::Gzip);
        meta.dropped = Drops::default();
        let pairs = meta.to_pairs().into_iter().map(|(name, value)| (name.to_owned(), value));
        let input = Input {
            key: "2026-11-22T10-00-00Z-edge-1-access-6b02c5e00001-0000000001.log.gz".to_owned(),
            lines: Digest([1; 32]),
            metadata: pairs.collect(),
        };
        let part = Part {
            key: "compact/access/dt=2026-11-22/hour=10/part-0001-abababababababab.log.zst"
                .to_owned(),
            sha256: Digest([0xab; 32]),
            bytes: 10,
            records,
            raw_bytes,
            unparsed: 0,
            blocks: vec![input],
        };
        Manifest {
            format: FORMAT,
            stream: "access".to_owned(),
            day: "2026-11-22".to_owned(),
            number: 1,
            previous: None,
            since: 0,
            until: u64::MAX,
            parts: vec![part],
        }
    }

    fn parse(manifest: &Manifest) -> Result<Manifest, String> {
        Manifest::parse(KEY, &serde_json::to_vec(manifest).unwrap())
    }

    #[test]
    fn what_is_written_is_read_again_with_all_that_the_blocks_said() {
        let written = manifest(3, 30);
        assert_eq!(parse(&written).as_ref(), Ok(&written));
        let meta = written.parts[0].blocks[0].meta().unwrap();
        assert!(meta.signature.is_some() && meta.previous.is_some() && meta.route.is_some());
        let large = manifest(u64::MAX, u64::MAX);
        assert_eq!(parse(&large), Ok(large), "absurd numbers are numbers");
    }

    #[test]
    fn a_manifest_that_does_not_agree_with_its_key_or_with_itself_is_refused_with_a_reason() {
        let changed = |change: fn(&mut Manifest)| {
            let mut manifest = manifest(3, 30);
            change(&mut manifest);
            parse(&manifest).unwrap_err()
        };
        for (said, word) in [
            (changed(|m| m.format = 2), "use a newer s3log"),
            (changed(|m| "errors".clone_into(&mut m.stream)), "of stream errors"),
            (changed(|m| "2026-11-23".clone_into(&mut m.day)), "day 2026-11-23"),
            (changed(|m| m.number = 2), "manifest 2"),
            (changed(|m| m.parts[0].records = 4), "has 4 records"),
            (changed(|m| m.parts[0].raw_bytes = 31), "in 31 bytes"),
            (changed(|m| m.parts[0].sha256 = Digest([1; 32])), "not that of its hash"),
            (changed(|m| "../other".clone_into(&mut m.parts[0].key)), "no compacted object"),
            (changed(|m| "notes".clone_into(&mut m.parts[0].blocks[0].key)), "which is no block"),
            (changed(|m| m.parts[0].blocks[0].metadata.clear()), "the metadata has no"),
        ] {
            assert!(said.contains(word), "{said}");
        }
        for bytes in [&b""[..], b"{}", b"[]", b"null", b"{\"format\":-1}", b"\xff\xfe"] {
            assert!(Manifest::parse(KEY, bytes).is_err());
        }
    }
}
