//! Blocks in a directory: one open block that chunks are appended to, and sealed ones that wait for
//! upload, across restarts and kills at any instruction.
//!
//! [`Spool`] is the writing end, one thread's; [`SealedBlocks`] the sealed blocks, shared with the
//! uploaders. The spool knows nothing of the ring but this: what a call returned as [`Payload`] is
//! committed together with the ring's head before the next call.
//!
//! Non-goals: several writers, network file systems without working `flock` and rename, mending
//! what bit rot did to a sealed block (the gateway refuses it by its hash, and it is quarantined).
//!
//! # The directory, format 1
//!
//! Numbers have ten digits or more, zero padded. The directory is 0700, files are 0600; where another
//! user's process uploads, the directory is 0750, and sealed blocks, sidecars, `format` and `route`
//! are 0640.
//!
//! | name | holds |
//! |---|---|
//! | `lock` | flock of the process that uses the spool, and its id in decimal |
//! | `format` | `s3log spool 1` and a newline |
//! | `ring`, `route` | not the spool's |
//! | `N.data` | members of block N: the open block, or a sealed one that was not transformed |
//! | `N.sealed` | a sealed block N that was transformed: made one member of, encrypted, or both |
//! | `N.json` | the sidecar: block N is sealed |
//! | `N.done` | the sidecar of the newest block that is gone: the chain's anchor |
//! | `S-N.dropped` | the sidecar of a block that `spool_max` dropped, until its count is committed |
//! | `S-N.lost` | the same for a block whose data was not there |
//! | `N.new`, `format.new` | not yet renamed to `N.json` or `N.hold`, `format`; deleted at start |
//! | `N.held` | unencrypted members of a block that waits for a key to be encrypted to; N is its own |
//! | `N.hold` | what is known of them: a payload, as in `commit.rs` |
//! | `secret` | an open block of which the ring tells nothing is to be encrypted, and so may be a damaged one that waits for room to be mended; with content, what the ring holds as well |
//! | `quarantine/` | `N.json`, `N.data` or `N.sealed`, `N.reason` with the reason in words, and `N.requeue`, empty: send it again |
//! | `ship/` | notes of the process that uploads for this one, 0770: see `notes.rs` |
//! | `moved/` | blocks that come from another route's folder, see `moved.rs` |
//! | `foreign/` | what was found in the directory and is none of the above |
//!
//! The bytes of the payload, of a sidecar and of members stand in `commit.rs`, `sidecar.rs` and
//! the module `block`.
//!
//! # Order of operations
//!
//! A state is left by exactly one rename or, for an append, by the ring's commit:
//!
//! | step | operations, the commit point in bold |
//! |---|---|
//! | append | write `N.data`, **ring commit** |
//! | seal | (write, sync `N.sealed`), sync data, write and sync `N.new`, **rename to `N.json`**, sync directory, (remove `N.data`), ring commit |
//! | uploaded | **rename `N.json` to `N.done`**, remove data, remove the `.done` before |
//! | dropped | **rename `N.json` to `S-N.dropped`**, remove data, ring commit with S, remove `S-N.dropped` |
//! | hold | write and sync `N.new`, rename it to `N.hold`, **rename `N.data` to `N.held`**, sync directory, ring commit |
//! | release | as seal, from `N.held`, and remove `N.hold` and `N.held` before the block is in the store |
//! | quarantine | write `N.reason`, **rename `N.json`**, rename data |
//! | requeue | rename data, **rename `N.json`**, remove `N.reason`, remove `N.requeue` |
//!
//! A kill between a seal's rename and its ring commit leaves a payload that still says "N is open".
//! That is why the newest `N.done`, `S-N.dropped` or quarantined `N.json` stays: a number that was
//! sealed is never open again, and a block that is gone is not missed.
//!
//! A chunk whose commit never came is cut off, or its file removed, and that is synced before another
//! chunk takes its place: a power cut that undid it would find a commit that counts the other one.
//!
//! # Limits
//!
//! 2^64 blocks, less 2^32, and bytes; some 60 bytes of memory a sealed block; one open block of any length.
//! Files are read in pieces of 64 KiB.

mod commit;
mod error;
mod files;
mod folder;
mod held;
mod inspect;
mod moved;
mod note;
mod notes;
mod options;
mod owner;
mod quarantine;
mod recovery;
mod remote;
mod seal;
mod shipper;
mod sidecar;
mod store;
mod writer;

pub use commit::Payload;
pub use error::SpoolError;
pub(crate) use files::file_system_warning;
pub use files::{Disk, DiskError, Files, Guest, Hold, Memory};
pub use folder::remove_empty;
#[cfg(test)]
pub(crate) use folder::{AT_ONCE, NAMES_READ};
pub(crate) use folder::{SealedBy, has_blocks, has_secrets, is_large, sealed_by, tell_at_once};
pub use inspect::{Glance, OpenGlance, uploader};
pub(crate) use inspect::{glance, holder, open_glance};
pub use moved::{check_left, moved_here, take_back};
pub use notes::ShipperState;
pub(crate) use notes::group_problem;
pub use options::{OnSpoolFull, Options, SyncPolicy};
pub(crate) use owner::{Owner, check_owner, owner};
pub use quarantine::{Refused, Selection, refused, request};
pub use recovery::Recovered;
pub(crate) use recovery::forecast;
pub use shipper::{Look, Uploading};
pub use store::{Counts, Noted, SealedBlock, SealedBlocks, Tally};
pub use writer::{ChunkStats, Sealed, Spool};

#[cfg(test)]
mod tests;
