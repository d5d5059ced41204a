//! What a stream's settings say about its spool.

use std::fmt;
use std::time::Duration;

use crate::block::{BootId, Codec, Kind, Meta, Naming, RouteId, statement, trusted_comment};
use crate::seal::{Sealing, Signer};

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

/// Settings of a stream's spool.
pub struct Options {
    /// The stream's name, for keys and metadata.
    pub stream: String,
    /// The node's name, for keys and metadata.
    pub host: String,
    /// This start of the process.
    pub boot: BootId,
    /// Where blocks go and who can read them there, for metadata.
    pub route: Option<RouteId>,
    /// This start of the kernel, as `/proc/sys/kernel/random/boot_id` has it; zeroes when it is not
    /// known. A block that goes on after another one gets this `boot`: without syncing, what it was
    /// may be in the bucket under its key.
    pub kernel: [u8; 16],
    /// What the chunks are that will be appended.
    pub codec: Kind,
    /// How blocks are named.
    pub naming: Naming,
    /// Most bytes of open, sealed and quarantined blocks together.
    pub spool_max: u64,
    /// What gives way at `spool_max`.
    pub on_full: OnSpoolFull,
    /// When to sync.
    pub sync: SyncPolicy,
    /// How blocks are encrypted when they are sealed, if at all.
    pub sealing: Option<Sealing>,
    /// A block is made one member of when it is sealed, by this codec, or by the default of the block's if
    /// that is another one. `None`: it keeps its members.
    pub one_member: Option<Codec>,
    /// Another user's process uploads, whose group may read what it has to.
    pub shared: bool,
    /// The key that signs a block's metadata when it is sealed, if there is one.
    pub signer: Option<Signer>,
    /// Until when another process that uploads is to leave what is sealed now alone, ns since 1970.
    pub wait_until: Option<u64>,
}

impl Options {
    /// Signs a block's metadata if there is a key for it.
    pub(super) fn signed(&self, mut meta: Meta) -> Meta {
        meta.signature = self.signer.as_ref().map(|signer| {
            let pairs = meta.to_pairs();
            let get = |name: &str| {
                let pair = pairs.iter().find(|(known, _)| *known == name);
                pair.map(|(_, value)| value.as_str())
            };
            signer.sign(&statement(get), &trusted_comment(get))
        });
        meta
    }

    /// `spool_max` when none is given: 10 GiB.
    pub(crate) const SPOOL_MAX: u64 = 10 << 30;

    /// Default settings for a stream: gzip, 10 GiB, oldest dropped first, synced at a seal.
    #[must_use]
    pub fn new(stream: &str, host: &str, boot: BootId) -> Self {
        Self {
            stream: stream.to_owned(),
            host: host.to_owned(),
            boot,
            route: None,
            kernel: [0; 16],
            codec: Kind::Gzip,
            naming: Naming::default(),
            spool_max: Self::SPOOL_MAX,
            on_full: OnSpoolFull::default(),
            sync: SyncPolicy::default(),
            sealing: None,
            one_member: None,
            shared: false,
            signer: None,
            wait_until: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("stream", &self.stream)
            .field("host", &self.host)
            .field("boot", &self.boot)
            .field("route", &self.route)
            .field("codec", &self.codec)
            .field("naming", &self.naming)
            .field("spool_max", &self.spool_max)
            .field("on_full", &self.on_full)
            .field("sync", &self.sync)
            .field("sealing", &self.sealing.as_ref().map(Sealing::suffix))
            .field("one_member", &self.one_member)
            .field("shared", &self.shared)
            .field("signer", &self.signer)
            .field("wait_until", &self.wait_until)
            .finish()
    }
}
