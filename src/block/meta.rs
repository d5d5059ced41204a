//! What a block says of itself, as S3 user metadata and as JSON.
//!
//! As user metadata each pair below is sent as `x-amz-meta-{name}: {value}`; all values are ASCII,
//! and names and values together stay under 1,024 of the 2,048 bytes that S3 allows, and under 1,280
//! with a signature, which leaves room for the operator's own pairs. `docs/chain.md` is about what
//! these prove.
//!
//! | name | value |
//! |---|---|
//! | `format` | 1 |
//! | `stream`, `host` | `[A-Za-z0-9._-]`, at most 128 bytes each |
//! | `boot` | 12 hexadecimal digits, see [`BootId`] |
//! | `number` | decimal; one more than the block before |
//! | `records` | records in this block |
//! | `raw-bytes` | their bytes, newlines included, uncompressed and unencrypted |
//! | `bytes` | length of the object |
//! | `first`, `last` | times of the first and the last record, ns since 1970-01-01T00:00:00Z |
//! | `dropped` | `ring,spool,panic,lost`: records dropped since the block before, see [`Drops`] |
//! | `cut` | records that are in the block but were shortened |
//! | `codec` | `gzip`, `zstd`, `snappy` or `none` |
//! | `sha256` | of the object's bytes, 64 hexadecimal digits |
//! | `previous` | `sha256` of the block before; absent for a stream's first block |
//! | `route` | see [`RouteId`]; absent in blocks that an older release sealed |
//! | `signature`, `global-signature` | see [`Signature`]; absent without `sign_key` |

use serde::{Deserialize, Serialize};

use super::{BootId, Digest, Kind, RouteId, sanitise};

/// The pairs that a statement is made of, in its order.
const STATED: [&str; 16] = [
    "format",
    "stream",
    "host",
    "boot",
    "number",
    "records",
    "raw-bytes",
    "bytes",
    "first",
    "last",
    "dropped",
    "cut",
    "codec",
    "sha256",
    "previous",
    "route",
];

/// The metadata as one text, which is what is signed: a line `name=value` for each pair above that
/// is there, in that order, each ended by a newline.
#[must_use]
pub fn statement<'a>(get: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut text = String::with_capacity(1024);
    for name in STATED {
        if let Some(value) = get(name) {
            for part in [name, "=", value, "\n"] {
                text.push_str(part);
            }
        }
    }
    text
}

/// The trusted comment of a block's signature: which block it is.
#[must_use]
pub fn trusted_comment<'a>(get: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut text = "s3log".to_owned();
    for name in ["stream", "host", "boot", "number"] {
        text.push(' ');
        text.push_str(get(name).unwrap_or_default());
    }
    text
}

/// The second and the fourth line of a minisign signature of a [`statement`], each in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Algorithm, key id and signature: 74 bytes, 100 characters.
    pub signature: String,
    /// Signature of the one above and of the trusted comment: 64 bytes, 88 characters.
    pub global: String,
}

/// Version of the metadata that this code writes and the newest that it reads.
pub(crate) const META_FORMAT: u32 = 1;

/// Records that are in no block, by cause. Each is counted in exactly one place, once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// The ring was full when they were pushed.
    pub ring: u64,
    /// The spool was at its limit, and its oldest or newest records went.
    pub spool: u64,
    /// Rendering them failed.
    pub panic: u64,
    /// They were committed, and the spool's or the ring's file was damaged from outside since.
    pub lost: u64,
}

impl Drops {
    /// All causes together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.ring.saturating_add(self.spool).saturating_add(self.panic).saturating_add(self.lost)
    }

    /// Adds `more` to each cause.
    pub const fn add(&mut self, more: &Self) {
        self.ring = self.ring.saturating_add(more.ring);
        self.spool = self.spool.saturating_add(more.spool);
        self.panic = self.panic.saturating_add(more.panic);
        self.lost = self.lost.saturating_add(more.lost);
    }

    /// Takes `less` from each cause.
    pub(crate) const fn take(&mut self, less: &Self) {
        self.ring = self.ring.saturating_sub(less.ring);
        self.spool = self.spool.saturating_sub(less.spool);
        self.panic = self.panic.saturating_sub(less.panic);
        self.lost = self.lost.saturating_sub(less.lost);
    }
}

/// What a sealed block says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// `META_FORMAT` of the release that sealed it.
    pub format: u32,
    /// The stream's name, sanitised.
    pub stream: String,
    /// The node's name, sanitised.
    pub host: String,
    /// The boot in which the block was begun.
    pub boot: BootId,
    /// Position of the block in its stream on this host, from 1, across boots.
    pub number: u64,
    /// Records in it.
    pub records: u64,
    /// Bytes of its records before compression.
    pub raw_bytes: u64,
    /// Bytes of the object.
    pub bytes: u64,
    /// Time of the first record, ns since 1970.
    pub first: u64,
    /// Time of the last record, ns since 1970.
    pub last: u64,
    /// Records dropped after the block before was sealed and before this one was.
    pub dropped: Drops,
    /// Records that were shortened to fit.
    pub cut: u64,
    /// How it is compressed.
    pub codec: Kind,
    /// Of the object's bytes.
    pub sha256: Digest,
    /// Digest of the block with the number before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// Where it goes and who can read it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteId>,
    /// Of the statement of all the above, by the node's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

/// Why user metadata is not a [`Meta`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// Not a block of this module, or stripped on its way.
    #[error("the metadata has no \"{0}\"")]
    Missing(&'static str),
    /// A value that this module never writes.
    #[error("the metadata's \"{0}\" cannot be read")]
    Bad(&'static str),
    /// Written by a later release.
    #[error(
        "the metadata has format {0} and this release reads up to {META_FORMAT}: use a newer s3log"
    )]
    Newer(u32),
}

impl Meta {
    /// As long as that of any block of this stream and host that is written in this century: what the
    /// settings may add is what it leaves.
    #[must_use]
    pub fn long(stream: &str, host: &str, signed: bool) -> Self {
        /// Twelve digits: a block per second for 30,000 years, or a terabyte.
        const COUNT: u64 = 999_999_999_999;
        let signature = || Signature { signature: "x".repeat(100), global: "x".repeat(88) };
        Self {
            format: META_FORMAT,
            stream: stream.to_owned(),
            host: host.to_owned(),
            boot: BootId::new(u64::from(u32::MAX), u16::MAX),
            number: COUNT,
            records: COUNT,
            raw_bytes: COUNT,
            bytes: COUNT,
            first: u64::MAX,
            last: u64::MAX,
            dropped: Drops { ring: COUNT, spool: COUNT, panic: COUNT, lost: COUNT },
            cut: COUNT,
            codec: Kind::Snappy,
            sha256: Digest([0xff; 32]),
            previous: Some(Digest([0xff; 32])),
            route: Some(RouteId::new([0xff; 8])),
            signature: signed.then(signature),
        }
    }

    /// The pairs to send, names without the `x-amz-meta-` prefix. Only ASCII, no control characters.
    #[must_use]
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let Drops { ring, spool, panic, lost } = self.dropped;
        let mut pairs = vec![
            ("format", self.format.to_string()),
            ("stream", sanitise(&self.stream)),
            ("host", sanitise(&self.host)),
            ("boot", self.boot.to_string()),
            ("number", self.number.to_string()),
            ("records", self.records.to_string()),
            ("raw-bytes", self.raw_bytes.to_string()),
            ("bytes", self.bytes.to_string()),
            ("first", self.first.to_string()),
            ("last", self.last.to_string()),
            ("dropped", format!("{ring},{spool},{panic},{lost}")),
            ("cut", self.cut.to_string()),
            ("codec", self.codec.name().to_owned()),
            ("sha256", self.sha256.to_string()),
        ];
        if let Some(previous) = self.previous {
            pairs.push(("previous", previous.to_string()));
        }
        if let Some(route) = self.route {
            pairs.push(("route", route.to_string()));
        }
        if let Some(Signature { signature, global }) = &self.signature {
            pairs.push(("signature", signature.clone()));
            pairs.push(("global-signature", global.clone()));
        }
        pairs
    }

    /// Reads what [`Meta::to_pairs`] made, from a look-up by name without the prefix; unknown names
    /// are the caller's business.
    ///
    /// # Errors
    /// A missing or unreadable pair, or a format of a later release.
    pub(crate) fn from_pairs<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, MetaError> {
        let text = |name| get(name).ok_or(MetaError::Missing(name));
        let count = |name| number(text(name)?).ok_or(MetaError::Bad(name));
        let format = u32::try_from(count("format")?).map_err(|_| MetaError::Bad("format"))?;
        if format > META_FORMAT {
            return Err(MetaError::Newer(format));
        }
        Ok(Self {
            format,
            stream: text("stream")?.to_owned(),
            host: text("host")?.to_owned(),
            boot: text("boot")?.parse().map_err(|_| MetaError::Bad("boot"))?,
            number: count("number")?,
            records: count("records")?,
            raw_bytes: count("raw-bytes")?,
            bytes: count("bytes")?,
            first: count("first")?,
            last: count("last")?,
            dropped: drops(text("dropped")?).ok_or(MetaError::Bad("dropped"))?,
            cut: count("cut")?,
            codec: Kind::from_name(text("codec")?).ok_or(MetaError::Bad("codec"))?,
            sha256: text("sha256")?.parse().map_err(|_| MetaError::Bad("sha256"))?,
            previous: match get("previous") {
                Some(hex) => Some(hex.parse().map_err(|_| MetaError::Bad("previous"))?),
                None => None,
            },
            route: match get("route") {
                Some(hex) => Some(hex.parse().map_err(|_| MetaError::Bad("route"))?),
                None => None,
            },
            signature: get("signature")
                .zip(get("global-signature"))
                .map(|(one, two)| Signature { signature: one.to_owned(), global: two.to_owned() }),
        })
    }
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn drops(text: &str) -> Option<Drops> {
    let mut counts = text.split(',').map(number);
    let mut next = || counts.next().flatten();
    let drops = Drops { ring: next()?, spool: next()?, panic: next()?, lost: next()? };
    // A later release may add causes behind these.
    Some(drops)
}
