//! What a stream's settings say about its spool.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

use crate::block::{BootId, Kind, Meta, Naming, Signature, statement, trusted_comment};

/// What happens to records when the spool has reached `spool_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnSpoolFull {
    /// The oldest sealed blocks that are not being uploaded make room.
    #[default]
    DropOldest,
    /// Chunks are refused until uploads have made room.
    DropNewest,
}

/// When bytes are brought to the disk, beyond what the kernel does by itself. A killed process loses
/// nothing under any of them; this is about a power cut or a crash of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// Never: the kernel's time, some 30 seconds, is the loss window.
    None,
    /// When a block is sealed: the open block is the loss window.
    #[default]
    Block,
    /// At a seal, and whenever the caller calls [`Spool::sync`](super::Spool::sync), which it does
    /// this often: that time is the loss window.
    Every(Duration),
}

/// Makes the file that is uploaded from the members, when a block is sealed: encryption.
pub trait Transform: Send {
    /// What it adds to the key, such as `.age`.
    fn suffix(&self) -> &str;

    /// Reads the block from `source` and writes what is uploaded to `sink`, in bounded memory.
    ///
    /// # Errors
    /// Those of `source` and `sink`, and its own; the block then stays open.
    fn transform(&self, source: &mut dyn Read, sink: &mut dyn Write) -> io::Result<()>;
}

/// Signs what a sealed block says of itself.
pub trait Sign: Send {
    /// Signs `statement`, and with it `comment`, in memory.
    fn sign(&self, statement: &str, comment: &str) -> Signature;
}

/// Settings of a stream's spool.
pub struct Options {
    /// The stream's name, for keys and metadata.
    pub stream: String,
    /// The node's name, for keys and metadata.
    pub host: String,
    /// This start of the process.
    pub boot: BootId,
    /// What the chunks are that will be appended.
    pub codec: Kind,
    /// How blocks are named.
    pub naming: Naming,
    /// Most bytes of open and sealed blocks together; quarantined blocks are not counted.
    pub spool_max: u64,
    /// What gives way at `spool_max`.
    pub on_full: OnSpoolFull,
    /// When to sync.
    pub sync: SyncPolicy,
    /// What is done to a block when it is sealed, if anything.
    pub transform: Option<Box<dyn Transform>>,
    /// Who signs blocks when they are sealed, if anybody.
    pub sign: Option<Box<dyn Sign>>,
}

impl Options {
    /// Signs a block's metadata, if there is somebody who does.
    pub(super) fn signed(&self, mut meta: Meta) -> Meta {
        meta.signature = self.sign.as_ref().map(|sign| {
            let pairs = meta.to_pairs();
            let get = |name: &str| {
                let pair = pairs.iter().find(|(known, _)| *known == name);
                pair.map(|(_, value)| value.as_str())
            };
            sign.sign(&statement(get), &trusted_comment(get))
        });
        meta
    }

    /// `spool_max` when none is given: 10 GiB.
    pub const SPOOL_MAX: u64 = 10 << 30;

    /// Default settings for a stream: gzip, 10 GiB, oldest dropped first, synced at a seal.
    #[must_use]
    pub fn new(stream: &str, host: &str, boot: BootId) -> Self {
        Self {
            stream: stream.to_owned(),
            host: host.to_owned(),
            boot,
            codec: Kind::Gzip,
            naming: Naming::default(),
            spool_max: Self::SPOOL_MAX,
            on_full: OnSpoolFull::default(),
            sync: SyncPolicy::default(),
            transform: None,
            sign: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("stream", &self.stream)
            .field("host", &self.host)
            .field("boot", &self.boot)
            .field("codec", &self.codec)
            .field("naming", &self.naming)
            .field("spool_max", &self.spool_max)
            .field("on_full", &self.on_full)
            .field("sync", &self.sync)
            .field("transform", &self.transform.as_ref().map(|transform| transform.suffix()))
            .field("sign", &self.sign.is_some())
            .finish()
    }
}
