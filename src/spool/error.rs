//! Why the spool did not do what it was asked for.

use std::io;

/// After any of these nothing is lost: what was committed is as it was, and the call may be tried
/// again.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A chunk does not fit under `spool_max`, and nothing may be dropped for it. Wait for uploads,
    /// or drop the chunk's records and say so with [`Spool::count_drops`](super::Spool::count_drops).
    #[error(
        "the spool is full: {used} of {limit} bytes are waiting for upload or in quarantine, and {wanted} more do not fit"
    )]
    Full {
        /// Bytes of open, sealed and quarantined blocks.
        used: u64,
        /// `spool_max`.
        limit: u64,
        /// Bytes of the chunk.
        wanted: u64,
    },
    /// The file system refused.
    #[error("the spool cannot {doing} {name}: {source}")]
    Io {
        /// What was tried, a verb.
        doing: &'static str,
        /// The file, relative to the spool's directory.
        name: String,
        /// What the file system said.
        source: io::Error,
    },
    /// The directory was written by another release.
    #[error(
        "the spool's {name} has format {found} and this release reads format {reads}: run the release that wrote it, or drain it with that release's s3log"
    )]
    Version {
        /// The file, or what the ring holds of the spool.
        name: String,
        /// Its format.
        found: u64,
        /// What this code reads.
        reads: u64,
    },
    /// A block is to be encrypted, and there is nobody to encrypt it to.
    #[error(
        "block {0} must be encrypted but no key is configured; it will not be uploaded unencrypted"
    )]
    NoKey(u64),
    /// What was appended to the open block since it was last on the disk could not be written and
    /// is gone from the file; it is as it was then. With `Spool::defer_commits` nothing is lost:
    /// the records are in the ring, behind the last commit. Else they are counted as lost.
    #[error("the spool's {0} could not be written to the disk and has lost its last bytes")]
    Reverted(String),
    /// There is no sealed block of that number.
    #[error("the spool has no sealed block {0}")]
    NoBlock(u64),
    /// A sidecar was damaged while the process ran; the next start mends it.
    #[error("the spool's {name} is damaged")]
    Damaged {
        /// The file, relative to the spool's directory.
        name: String,
    },
}

impl SpoolError {
    /// Whether the disk has no room, or what its user may have of it is used up.
    pub(crate) fn is_no_room(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if [QuotaExceeded, StorageFull].contains(&source.kind()))
    }

    /// Whether descriptors or memory are what the process or the machine lacks: nothing is wrong with the file.
    pub(super) fn is_lack(&self) -> bool {
        use io::ErrorKind::{Interrupted, OutOfMemory, WouldBlock};
        let Self::Io { source, .. } = self else { return false };
        [OutOfMemory, Interrupted, WouldBlock].contains(&source.kind())
            || [libc::EMFILE, libc::ENFILE].map(Some).contains(&source.raw_os_error())
    }

    /// Whether one file is what is wrong, so that the others can be seen to: it may not be opened, or what the
    /// disk has of it cannot be read. Not a lack of room, or of what every file needs. Nor a sync, which is
    /// repeated: the kernel tells of a write that failed once.
    pub(super) fn is_of_one_file(&self) -> bool {
        use io::ErrorKind::{NotFound, ReadOnlyFilesystem};
        let Self::Io { doing, source, .. } = self else { return false };
        !["sync", "list"].contains(doing)
            && ![NotFound, ReadOnlyFilesystem].contains(&source.kind())
            && !self.is_no_room()
            && !self.is_lack()
    }

    /// Whether a start may leave the block that it was dealing with to a later one, and go on.
    pub(super) fn is_of_one_block(&self) -> bool {
        self.is_no_room() || self.is_of_one_file()
    }

    /// What turns an error of the system into this one: `doing` what, to which file.
    pub(crate) fn io(doing: &'static str, name: impl ToString) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, name: name.to_string(), source }
    }
}
